package sim

import (
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// end checks what must be so when a run is over: L2, L3, L5.
func (c *checker) end() {
	c.compared = time.Time{}
	c.world()
	c.ledger.check()
	c.ledger.readable()
	state := c.w.log.Last()
	for _, id := range sortedKeys(state.Ops) {
		op := state.Ops[id]
		if !op.Phase.Ended() && len(op.Waiting()) == 0 && !tidiesLost(op, c.w.burnt()) && !c.w.undecided && !c.paused(op) && !refreshes(op, state.Clock) {
			c.fail("L2", "%s has not ended: %s", id, op.Phase)
		}
	}
	for _, id := range c.w.ids {
		s := c.w.sites[id]
		if s.raoull != nil && s.power && s.host {
			c.residue(s)
		}
		if s.pbs != nil && s.power && s.host {
			c.pinned(s)
		}
	}
	for _, z := range sortedKeys(state.Zones) {
		if state.Zones[z].Verified != state.Zones[z].Changed {
			c.fail("L5", "zone %s changed at %d is verified at %d", z, state.Zones[z].Changed, state.Zones[z].Verified)
		}
	}
}

// refreshes says whether an operation has just begun to restore a warm copy: there is always a
// next one.
func refreshes(op failover.Operation, now time.Time) bool {
	return op.Kind == failover.KindWarm && now.Sub(op.Begun.At) < 5*time.Minute
}

// paused says whether a person holds all that an operation has not admitted yet: guests that live
// away, by a pause of their homes.
func (c *checker) paused(op failover.Operation) bool {
	state := c.w.log.Last()
	for g, run := range op.Guests {
		_, paused := state.PausedAt(state.Network.Home(g), c.w.loop.Now())
		if run.State != failover.RunDone && (!paused || run.Admitted != 0) {
			return false
		}
	}
	return true
}

// residue: L3, nothing that was prepared and is not owned stays behind, but
// for a person to look at.
func (c *checker) residue(s *Site) {
	for _, g := range s.raoull.Guests() {
		op, run, ok := c.runAt(s, g.ID)
		switch {
		case c.foreign[at(s.name, g.ID)], c.w.isWarm(s, g.ID):
		case !ok:
			c.fail("L3", "%s stays behind", at(s.name, g.ID))
		case run.Owned() || run.State == failover.RunStuck || !op.Phase.Ended():
		default:
			c.fail("L3", "the copy %s of %s stays behind", at(s.name, g.ID), run.Assignment.Guest)
		}
	}
}

// pinned: L3, no restore point stays protected from pruning but for an
// operation that is open or waits for a person.
func (c *checker) pinned(s *Site) {
	for _, ns := range c.w.ids {
		for _, snap := range s.pbs.Snapshots(string(ns)) {
			if snap.Protected && !c.needed(s, string(ns), snap.Name()) {
				c.fail("L3", "the restore point %s/%s stays protected at %s", ns, snap.Name(), s.name)
			}
		}
	}
}

// needed says whether an operation that has not ended well holds a restore point.
func (c *checker) needed(s *Site, ns, name string) bool {
	state := c.w.log.Last()
	for _, op := range state.Ops {
		for g, run := range op.Guests {
			a := run.Assignment
			if run.Source.Of != "" { // what the guest was stuck with is let go when it serves at home
				a = state.Ops[run.Source.Of].Guests[g].Assignment
			}
			if op.Phase.Ended() && run.State != failover.RunStuck || a.Point.Namespace != ns {
				continue
			}
			if a.Target == s.name && strings.HasSuffix(a.Point.Volid, ":backup/"+name) {
				return true
			}
			for _, t := range run.Tried { // a bad one is let go with what followed it
				if t.Target == s.name && strings.HasSuffix(t.Volid, ":backup/"+name) {
					return true
				}
			}
		}
	}
	return false
}
