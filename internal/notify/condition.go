package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Urgency says whether a person has to act now.
type Urgency string

// Urgencies, mildest first. Quiet hours hold back everything but Urgent.
const (
	Info    Urgency = "info"    // to be known
	Warning Urgency = "warning" // to be looked at this week
	Urgent  Urgency = "urgent"  // a person has to act now
)

// Urgencies in their order.
func Urgencies() []Urgency { return []Urgency{Info, Warning, Urgent} }

// atLeast says whether an urgency is not milder than another.
func (u Urgency) atLeast(o Urgency) bool {
	return slices.Index(Urgencies(), u) >= slices.Index(Urgencies(), o)
}

// Condition is something that is so now and that people should know.
type Condition struct {
	Key     string // what it is about, the same for all agents
	Reason  failover.Reason
	Site    failover.SiteID
	Since   time.Time // zero: as long as the log can tell
	Urgency Urgency
	Hold    time.Duration // how long it must last before it is told
	Quiet   bool          // told once: no reminder, nothing when it is over
	Stage   int           // of the digest: year and week
}

// How long what may pass by itself must last before people are told.
const (
	holdDegraded = 10 * time.Minute
	holdDNS      = 10 * time.Minute
	holdQuorum   = 15 * time.Minute
)

// Conditions lists what is so, by its urgency and key. It reads nothing but its arguments.
func Conditions(s *failover.State, st failover.Status) []Condition {
	if s.Network == nil {
		return nil
	}
	var out []Condition
	for _, v := range st.Sites {
		out = append(out, siteConditions(s, st, v)...)
	}
	out = append(out, operations(st)...)
	out = append(out, todo(st)...)
	for _, z := range st.Zones {
		if servers := behind(z); !z.InSync && len(servers) > 0 {
			out = append(out, Condition{
				Key: "zone:" + z.Zone, Urgency: Urgent, Hold: holdDNS,
				Reason: reason(failover.CodeZoneBehind, "zone", z.Zone, "servers", strings.Join(servers, ", ")),
			})
		}
	}
	if q := st.Quorum; q.Voters >= failover.MinVoters && q.Present == q.Needed {
		out = append(out, Condition{
			Key: "quorum-edge", Urgency: Warning, Hold: holdQuorum,
			Reason: reason(failover.CodeQuorumEdge, "present", fmt.Sprint(q.Present), "voters", fmt.Sprint(q.Voters), "needed", fmt.Sprint(q.Needed)),
		})
	}
	return out
}

func reason(code string, pairs ...string) failover.Reason {
	r := failover.Reason{Code: code, Args: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Args[pairs[i]] = pairs[i+1]
	}
	return r
}

// siteConditions: lost, locked, or only partly there. A lost site of which an operation takes
// care, or of which nothing is to be moved, is no reason to wake anybody.
func siteConditions(s *failover.State, st failover.Status, v failover.SiteView) []Condition {
	domain := string(failover.SiteDomain(v.Site))
	c := Condition{Key: "site:" + string(v.Site) + ":" + v.State, Site: v.Site, Since: v.Since}
	switch v.State {
	case "lost":
		c.Reason, c.Urgency = reason(failover.CodeLost, "domain", domain), Urgent
		_, cared := caring(st, v.Site)
		if cared || v.CommitAt > 0 || !ownsGuests(s, v.Site) {
			c.Urgency = Warning
		}
	case "locked":
		c.Reason, c.Urgency = reason(failover.CodeLocked, "domain", domain, "site", string(v.Site)), Urgent
	case "degraded":
		code := v.Cause.Code()
		if code == "" {
			return nil
		}
		c.Key = "site:" + string(v.Site) + ":" + string(v.Cause)
		c.Reason, c.Urgency, c.Hold = reason(code, "domain", domain, "site", string(v.Site)), Warning, holdDegraded
	default:
		return nil
	}
	return []Condition{c}
}

func ownsGuests(s *failover.State, site failover.SiteID) bool {
	for _, p := range s.Guests {
		if p.Owner == site && p.Phase != failover.PhaseExcluded {
			return true
		}
	}
	return false
}

// caring returns the operation that moves the guests of a site.
func caring(st failover.Status, site failover.SiteID) (failover.OpView, bool) {
	for _, op := range st.Ops {
		if op.Domain == failover.SiteDomain(site) && !op.Phase.Ended() && op.Phase != failover.OpReleasing {
			return op, true
		}
	}
	return failover.OpView{}, false
}

// operations: those that take guests over. A countdown that is cancelled changes nothing.
func operations(st failover.Status) []Condition {
	var out []Condition
	for _, op := range st.Ops {
		told := []failover.OpKind{failover.KindFailover, failover.KindRescue, failover.KindSwitchover, failover.KindFailback}
		if op.Phase == failover.OpCommitted && slices.Contains(told, op.Kind) {
			out = append(out, Condition{
				Key: "op:" + string(op.ID), Since: op.Committed, Urgency: Warning,
				Reason: reason(failover.CodeOpCommitted, "op", string(op.ID), "domain", string(op.Domain), "guests", fmt.Sprint(len(op.Guests))),
			})
		}
	}
	return out
}

// todo: what a person has to do. That a site is lost or locked is told of the site itself.
func todo(st failover.Status) []Condition {
	var out []Condition
	seen := map[string]bool{}
	for _, r := range st.Todo {
		if r.Code == failover.CodeGoThere || r.Code == failover.CodeLocked || r.Code == failover.CodeNoNetwork {
			continue
		}
		c := Condition{Key: "todo:" + r.Code, Reason: r, Site: failover.SiteID(r.Args["site"]), Urgency: urgencyOf(r.Code)}
		for _, name := range []string{"op", "domain", "site", "guest"} {
			if v := r.Args[name]; v != "" {
				c.Key += ":" + strings.TrimPrefix(v, "site:")
			}
		}
		if seen[c.Key] {
			continue
		}
		seen[c.Key] = true
		out = append(out, c)
	}
	return out
}

// urgencyOf follows the catalogue: an error needs a person.
func urgencyOf(code string) Urgency {
	switch m, _ := message.Entry(message.English, code); m.Severity {
	case message.Critical, message.Error:
		return Urgent
	case message.Warning:
		return Warning
	}
	return Info
}

func behind(z failover.ZoneView) []string {
	var out []string
	for _, server := range network.SortedKeys(z.Servers) {
		if !z.Servers[server] {
			out = append(out, server)
		}
	}
	return out
}
