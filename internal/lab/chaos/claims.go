package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// What a planned move asks of a machine, and nothing else may: each such request is
// claimed, and must come to be justified by an operation. That may be told by agents that
// are asked later.
type requestKind int

const (
	claimStop    requestKind = iota // a copy shut down cleanly, anywhere
	claimChange                     // a structure's host: a guest's configuration
	claimBackup                     // a structure's host: a backup of a guest
	claimRestore                    // a structure's host: a copy that comes home
	claimDelete                     // a structure's host: such a copy, taken back
	claimStart                      // what another copy has owned for long
)

// request is such a request, and what was known of its guest then.
type request struct {
	effectSeen
	kind  requestKind
	guest string    // of a start: whose copy it was
	owner ownership // of that guest, then
}

// firstForeignID is the first id under which a lab restores guests of other sites; those
// of the copies that come home are below it.
const firstForeignID = 90000

// homeComers are the ids under which a lab's guests come home.
var homeComers = [2]int{5000, 5999}

func isHomeHost(host string) bool { return strings.HasPrefix(host, "pve-") }

// place takes a site/vmid apart.
func place(key string) (where string, vmid int) {
	where, id, _ := strings.Cut(key, "/")
	vmid, _ = strconv.Atoi(id) // made by at
	return where, vmid
}

func (c *checker) claim(l *Look, e site.Effect, kind requestKind) {
	guest := c.copyOf[at(l.Site, e.ID)]
	c.claims = append(c.claims, request{effectSeen{l.Site, e}, kind, guest, c.owner[guest]})
}

// justifyClaims looks for the planned moves that allowed what was asked; a violation if an
// agent that is in contact and is asked well after it knows of none.
func (c *checker) justifyClaims(l *Look) {
	c.claims = slices.DeleteFunc(c.claims, func(p request) bool {
		if c.justified(p) {
			return true
		}
		if c.upToDate(l) && l.Asked.Sub(p.At) > knownAfter {
			c.unjustified(p)
			return true
		}
		return false
	})
}

func (c *checker) justified(p request) bool {
	key := at(p.site, p.ID)
	guest := c.copyOf[key]
	switch p.kind {
	case claimStop:
		// What it gives the guest to is what serves from then on.
		return c.anyMove(guest, func(m *moveSeen) bool {
			left := m.view.Kind != failover.KindReturn || p.owner.at != key && c.isHome(guest, key)
			return left && !m.bound[key] && m.under(guest, p.At, m.given[guest])
		})
	case claimChange, claimBackup:
		return c.anyMove(guest, func(m *moveSeen) bool {
			return m.view.Kind != failover.KindReturn && m.under(guest, p.At, time.Time{})
		})
	case claimRestore:
		return p.ID >= homeComers[0] && p.ID <= homeComers[1] && c.comes(guest, key)
	case claimDelete:
		return p.ID >= homeComers[0] && p.ID <= homeComers[1] && c.comes(guest, key) && c.starts[key] == 0
	case claimStart:
		return c.owner[guest].at == key && p.owner.epoch.Less(c.owner[guest].epoch) || c.rejoins(guest, key, p)
	}
	return false
}

func (c *checker) unjustified(p request) {
	key := at(p.site, p.ID)
	switch p.kind {
	case claimStop:
		c.fail(p.At, "S9", "%s was asked to shut %s of %s down, which no planned move wants", p.site, key, c.copyOf[key])
	case claimChange:
		c.fail(p.At, "S9", "%s was asked to change %s on %s, which no planned move wants", p.site, key, p.Host)
	case claimBackup:
		c.fail(p.At, "S9", "%s was asked to back %s up on %s, which no planned move wants", p.site, key, p.Host)
	case claimRestore:
		c.fail(p.At, "S7", "a restore of %s on %s, where no failback brings it", key, p.Host)
	case claimDelete:
		c.fail(p.At, "S7", "deletion of %d at %s, where nothing is ours", p.ID, p.Host)
	case claimStart:
		c.fail(p.At, "S3", "start of %s for %s, which %s has owned for %s", key, p.guest, p.owner.at, p.At.Sub(p.owner.since))
	}
}

func (c *checker) anyMove(guest string, ok func(*moveSeen) bool) bool {
	for _, m := range c.moves {
		if guest != "" && m.has(guest) && ok(m) {
			return true
		}
	}
	return false
}

func (m *moveSeen) has(guest string) bool {
	return slices.ContainsFunc(m.view.Guests, func(g failover.OpGuestView) bool { return string(g.Guest) == guest })
}

// under says whether a planned move of a guest was under way at a time, or had been over
// for no longer than the leader's word counts.
func (m *moveSeen) under(guest string, at, over time.Time) bool {
	if over.IsZero() {
		over = m.ended
	}
	return !m.view.Begun.After(at) && (over.IsZero() || at.Sub(over) <= knownAfter)
}

// isHome says whether a copy stands on its guest's own host.
func (c *checker) isHome(guest, key string) bool {
	where, id := place(key)
	m, ok := c.lab.Guest(guest)
	return ok && c.atHome(m, where, id)
}

// comes says whether a failback brings a guest to a copy at its home.
func (c *checker) comes(guest, key string) bool {
	return c.anyMove(guest, func(m *moveSeen) bool { return m.view.Kind == failover.KindFailback && m.bound[key] })
}

// rejoins says whether a failback that was given up starts the copy at home again which it
// had shut down: that guest is still served elsewhere, by whom it was.
func (c *checker) rejoins(guest, key string, p request) bool {
	return c.anyMove(guest, func(m *moveSeen) bool {
		given := !m.given[guest].IsZero()
		return m.view.Kind == failover.KindFailback && given && !m.bound[key] && c.isHome(guest, key) && m.from[guest] == p.owner.at && m.under(guest, p.At, time.Time{})
	})
}

// sealed notes which sealed branches a site's backup server holds and protects.
func (c *checker) sealed(where string, points []string) {
	for _, p := range points {
		f := strings.Split(p, "/") // sealed/HOME/TYPE/ID/TIME
		if len(f) < 5 {
			continue
		}
		key := f[1] + " " + f[3]
		if !slices.Contains(c.seals[key], where) {
			c.seals[key] = append(c.seals[key], where)
		}
	}
}

// unsealed: S7, what a failback does not keep lies sealed at two sites, unless one has lost
// power, which may take a protection back.
func (c *checker) unsealed() []string {
	var out []string
	for id, m := range c.moves {
		if m.view.Kind != failover.KindFailback {
			continue
		}
		for _, g := range m.view.Guests {
			name := string(g.Guest)
			loser := m.left[name]
			if m.bound[loser] {
				loser = m.from[name]
			}
			s, _ := c.lab.Guest(name)
			_, vmid := place(loser)
			held := c.seals[fmt.Sprintf("%s %d", c.lab.Home(s), vmid)]
			if g.State == failover.RunDone && loser != "" && len(held) < 2 && len(c.failed) == 0 {
				out = append(out, fmt.Sprintf("%s is home by %s, and %s is sealed at %v only", name, id, loser, held))
			}
		}
	}
	return out
}
