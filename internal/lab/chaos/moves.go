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
	from  map[string]string    // guests: site/vmid of the copy that served when it was first seen
	left  map[string]string    // guests that lived away: that of the copy at home
	bound map[string]bool      // site/vmid of copies that it gives guests to
}

// planned keeps what is told of planned moves: what they may do at a structure's host.
func (c *checker) planned(l *Look, o failover.OpView) {
	switch {
	case o.Phase == failover.OpScheduled:
		return
	case o.Kind != failover.KindSwitchover && o.Kind != failover.KindFailback && o.Kind != failover.KindReturn:
		return
	}
	m := c.moves[o.ID]
	if m == nil {
		m = &moveSeen{
			given: map[string]time.Time{}, back: map[string]bool{}, from: map[string]string{}, left: map[string]string{}, bound: map[string]bool{},
		}
		c.moves[o.ID] = m
	}
	if l.Agent.Ops.Index < m.index {
		return
	}
	m.index, m.view = l.Agent.Ops.Index, o
	if !o.Phase.Ended() {
		m.ended = time.Time{} // a person may have it go on
	} else if m.ended.IsZero() {
		m.ended = l.At
	}
	for _, g := range o.Guests {
		c.plannedGuest(l, m, g)
	}
}

func (c *checker) plannedGuest(l *Look, m *moveSeen, g failover.OpGuestView) {
	name := string(g.Guest)
	if g.VMID != 0 && m.view.Kind != failover.KindReturn { // that is about a copy which was left
		key := at(string(g.Target), g.VMID)
		m.bound[key], c.copyOf[key] = true, name
	}
	if _, known := m.from[name]; !known && g.State == failover.RunActive {
		m.from[name] = c.owner[name].at
		if s, ok := c.lab.Guest(name); ok && c.owner[name].at != at(c.lab.Home(s), c.homeID(s)) {
			m.left[name] = at(c.lab.Home(s), c.homeID(s))
		}
	}
	if g.State == failover.RunCancelled && m.given[name].IsZero() {
		m.given[name] = l.At
	}
	// It may have been touched from the moment that it is in the log.
	if first := c.down[name]; first == "" || c.moves[first] == nil || c.moves[first].view.Begun.Before(m.view.Begun) {
		c.down[name] = m.view.ID
	}
}

// homeID is the id of a guest's copy on its own host that was the last to own it.
func (c *checker) homeID(m site.Member) int {
	best, epoch := m.ID, failover.Epoch{}
	for e, seen := range c.epochs[m.Name] {
		for _, owner := range seen.owners {
			where, id := place(owner)
			if c.atHome(m, where, id) && epoch.Less(e) {
				best, epoch = id, e
			}
		}
	}
	return best
}

// stoodDown says whether a home guest may be off for a planned move: it is another site's
// by now, or the move is not over yet. One that was given up is started at home again.
func (c *checker) stoodDown(m site.Member, now time.Time) bool {
	move := c.moves[c.down[m.Name]]
	if move == nil || move.back[m.Name] {
		return false
	}
	if c.owner[m.Name].at != at(c.lab.Home(m), c.homeID(m)) {
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

// beside: S3, two copies at a guest's home have one address, and must not run beside each
// other, unless a person started either.
func (c *checker) beside(l *Look, h site.HostStatus) {
	for _, mine := range h.Guests {
		for _, other := range l.Hosts.Hosts {
			for _, copied := range other.Guests {
				same := copied.Name == mine.Name && (other.Name != h.Name || copied.ID > mine.ID)
				if !same || !other.Power || !copied.Running || !mine.Running {
					continue
				}
				if c.touched[at(l.Site, mine.ID)] != "start" && c.touched[at(l.Site, copied.ID)] != "start" {
					c.fail(l.At, "S3", "%s runs on %s and on %s, with one address", copied.Name, h.Name, other.Name)
				}
			}
		}
	}
}

// wasStopped: S9, nothing is shut down but a guest's copy, cleanly, by a planned move of it.
func (c *checker) wasStopped(l *Look, e site.Effect) {
	guest, known := c.copyOf[at(l.Site, e.ID)]
	switch {
	case !known:
		c.fail(e.At, "S9", "%s was asked to stop %d of %s: no step does", l.Site, e.ID, e.Host)
	case !strings.HasSuffix(e.Path, "/status/shutdown"):
		c.fail(e.At, "S9", "%s was asked to switch %s off, and nobody wanted that", l.Site, guest)
	default:
		c.claim(l, e, claimStop)
	}
}

// refused says whether a request did nothing.
func refused(e site.Effect) bool { return e.Status >= http.StatusBadRequest }
