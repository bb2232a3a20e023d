package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// answers: S2, what a DNS server says is what some committed prefix of the log
// says; a server in contact with the quorum does not point at a copy that was
// never checked.
func (c *checker) answers(a *Agent) {
	if c.w.primaries != nil {
		return // the agents do not serve the zone
	}
	s := a.node.State()
	key := fmt.Sprint(a.boot, s.Zones)
	if s.Network == nil || c.content[a.site.name] == key {
		return
	}
	c.content[a.site.name] = key
	for _, g := range s.Network.GuestIDs() {
		for _, name := range s.Network.Guests[g].Names {
			site := c.served(a, name)
			if !c.w.log.Quorum(a.site.name) {
				continue
			}
			home := s.Network.Home(g)
			if _, held := s.Holds[name]; held {
				continue // in a person's hands
			}
			if p := s.Guests[g]; site != home && (site != p.Serving || !c.proved[c.shown[g]]) {
				c.fail("S2", "%s's server points %s at %q, State at %q", a.site.name, name, site, p.Serving)
			}
		}
	}
}

// served asks an agent's server which site a name points at.
func (c *checker) served(a *Agent, name string) failover.SiteID {
	_, answer, _ := a.life.dns.Query(name, "CNAME")
	site := failover.SiteID("")
	for _, r := range answer {
		if r.Type != "CNAME" {
			continue
		}
		first, _, _ := strings.Cut(r.Data, ".")
		if site != "" {
			c.fail("S2", "%s's server points %s at %s and %s", a.site.name, name, site, first)
		}
		site = failover.SiteID(first)
	}
	if site == "" {
		c.fail("S2", "%s's server points %s at nothing", a.site.name, name)
	}
	return site
}

// maxBehind is how long a server in contact with the quorum may show an older
// state: a slow follower, and a turn of its loop.
const maxBehind = 20 * time.Second

// converging: L5, every server in contact comes to serve what the log says.
func (c *checker) converging(now time.Time) {
	if c.w.primaries != nil {
		c.w.primaries.converging(now)
		return
	}
	last := c.w.log.Last()
	for _, id := range c.w.ids {
		a := c.w.sites[id].agent
		in := true
		if last.Network == nil || !c.w.log.Quorum(id) {
			delete(c.behind, id)
			continue
		}
		for _, g := range last.Network.GuestIDs() {
			for _, name := range last.Network.Guests[g].Names {
				_, answer, _ := a.life.dns.Query(name, "CNAME")
				want := last.Guests[g].Serving
				if h, held := last.Holds[name]; held {
					want = h.Site
				}
				in = in && len(answer) > 0 && strings.HasPrefix(answer[0].Data, string(want)+".")
			}
		}
		since, known := c.behind[id]
		switch {
		case in:
			delete(c.behind, id)
		case !known:
			c.behind[id] = now
		case now.Sub(since) > maxBehind:
			c.fail("L5", "the server of %s has not followed the log for %s", id, now.Sub(since))
		}
	}
}
