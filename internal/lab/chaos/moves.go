package chaos

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// moveSeen is a planned move as it was last told.
type moveSeen struct {
	index uint64 // of the state that told it
	view  failover.OpView
	ended time.Time            // first seen so; zero: it goes on
	given map[string]time.Time // guests: first seen given up
	back  map[string]bool      // guests that ran at home after it
}

// planned keeps what is told of planned moves: what they may shut down.
func (c *checker) planned(l *Look, o failover.OpView) {
	if o.Kind != failover.KindSwitchover || o.Phase == failover.OpScheduled {
		return
	}
	m := c.moves[o.ID]
	if m == nil {
		m = &moveSeen{given: map[string]time.Time{}, back: map[string]bool{}}
		c.moves[o.ID] = m
	}
	if l.Agent.Ops.Index < m.index {
		return
	}
	m.index, m.view = l.Agent.Ops.Index, o
	if o.Phase.Ended() && m.ended.IsZero() {
		m.ended = l.At
	}
	for _, g := range o.Guests {
		name := string(g.Guest)
		if g.State == failover.RunCancelled && m.given[name].IsZero() {
			m.given[name] = l.At
		}
		// It may have been touched from the moment that it is in the log.
		if first := c.down[name]; first == "" || c.moves[first] == nil || c.moves[first].view.Begun.Before(o.Begun) {
			c.down[name] = o.ID
		}
	}
}

// wasStopped: S9, nothing is shut down but a guest at home, cleanly, by a planned move of
// it. That move may be told by agents that are asked later.
func (c *checker) wasStopped(l *Look, e site.Effect) {
	m, ok := c.homeGuest(l.Site, e)
	switch {
	case !ok:
		c.fail(e.At, "S9", "%s was asked to stop %d of %s: no step does", l.Site, e.ID, e.Host)
	case !strings.HasSuffix(e.Path, "/status/shutdown"):
		c.fail(e.At, "S9", "%s was asked to switch %s off, and nobody wanted that", l.Site, m.Name)
	default:
		c.stops = append(c.stops, effectSeen{l.Site, e})
	}
}

func (c *checker) homeGuest(where string, e site.Effect) (site.Member, bool) {
	home := c.lab.GuestsOf(where)
	i := slices.IndexFunc(home, func(m site.Member) bool { return m.ID == e.ID })
	if i < 0 || !strings.HasPrefix(e.Host, "pve-") {
		return site.Member{}, false
	}
	return home[i], true
}

// justifyStops looks for the planned move that allowed a shutdown; S9 if an agent that is
// in contact and is asked well after it knows of none.
func (c *checker) justifyStops(l *Look) {
	c.stops = slices.DeleteFunc(c.stops, func(p effectSeen) bool {
		m, _ := c.homeGuest(p.site, p.Effect)
		if c.allowed(m.Name, p.At) {
			return true
		}
		if c.upToDate(l) && l.Asked.Sub(p.At) > knownAfter {
			c.fail(p.At, "S9", "%s was asked to shut %s down, which no planned move wants", p.site, m.Name)
			return true
		}
		return false
	})
}

// allowed says whether a planned move of a guest was under way at a time, or had been
// given up for no longer than the leader's word counts.
func (c *checker) allowed(guest string, at time.Time) bool {
	for _, m := range c.moves {
		has := slices.ContainsFunc(m.view.Guests, func(g failover.OpGuestView) bool { return string(g.Guest) == guest })
		over := m.given[guest]
		if over.IsZero() {
			over = m.ended
		}
		if has && !m.view.Begun.After(at) && (over.IsZero() || at.Sub(over) <= knownAfter) {
			return true
		}
	}
	return false
}

// stoodDown says whether a home guest may be off for a planned move: it is another site's
// by now, or the move is not over yet. One that was given up is started at home again.
func (c *checker) stoodDown(m site.Member, now time.Time) bool {
	move := c.moves[c.down[m.Name]]
	if move == nil || move.back[m.Name] {
		return false
	}
	if c.owner[m.Name].at != at(c.lab.Home(m), m.ID) {
		return true
	}
	stuck := slices.ContainsFunc(move.view.Guests, func(g failover.OpGuestView) bool {
		return string(g.Guest) == m.Name && g.State == failover.RunStuck // a person is called
	})
	return move.ended.IsZero() || stuck || now.Sub(move.ended) < bootGrace
}

// ranAtHome notes that a guest which a planned move has given up runs at home again.
func (c *checker) ranAtHome(m site.Member) {
	if move := c.moves[c.down[m.Name]]; move != nil && !move.ended.IsZero() && !move.given[m.Name].IsZero() {
		move.back[m.Name] = true
	}
}

// beside: S3, a rescued copy has the address of the one at home, and must not run beside it,
// unless a person started either.
func (c *checker) beside(l *Look, h site.HostStatus) {
	for _, other := range l.Hosts.Hosts {
		if other.Name == h.Name || !other.Power {
			continue
		}
		for _, copied := range other.Guests {
			i := slices.IndexFunc(h.Guests, func(g site.GuestStatus) bool { return g.Name == copied.Name })
			if i < 0 || !copied.Running || !h.Guests[i].Running {
				continue
			}
			mine, theirs := at(l.Site, h.Guests[i].ID), at(l.Site, copied.ID)
			if c.touched[mine] != "start" && c.touched[theirs] != "start" {
				c.fail(l.At, "S3", "%s runs on %s and on %s, with one address", copied.Name, h.Name, other.Name)
			}
		}
	}
}

// refused says whether a request did nothing.
func refused(e site.Effect) bool { return e.Status >= http.StatusBadRequest }
