package chaos

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// Look is what could be seen of one site at one time.
type Look struct {
	Site    string
	Asked   time.Time // before anything was asked
	At      time.Time // when all answers were there
	Agent   *Agent    // nil: it does not answer
	Hosts   *site.Status
	DNS     map[string][]string // by name: the sites that its server points at; nil: it does not answer
	Effects []site.Effect       // that are new
}

// Agent is what a site's agent says.
type Agent struct {
	Status failover.Status
	Guests api.GuestList
	Ops    api.OpList
}

// inContact says whether the agent hears a leader and knows of nothing wrong with itself.
func (a *Agent) inContact() bool { return a != nil && a.Status.Local.HasLeader }

func (a *Agent) well() bool { return a.inContact() && len(a.Status.Local.Unwell) == 0 }
