package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// What the simulator has of homes without room for two copies of a guest (wwwctl failback run
// --replace): a person names the copies that are given up, and the structure's people remove
// them when the operation says so, or do not, and cancel.

// replacesAll says whether a person who brings guests home names the copies there.
func replacesAll(pick int, keep failover.Keep) bool { return keep == failover.KeepAway && pick%4 == 1 }

// waitsForRoom has people act on a failback that waits until they have removed a copy.
func (c *checker) waitsForRoom(next *failover.State, m failover.StepMoved) {
	w := c.w
	key := string(m.Token.Op) + " " + string(m.Token.Guest)
	if m.Token.Step != failover.StepReplace || m.To != failover.StatusRunning || m.Note == "" || c.asked[key] {
		return
	}
	c.asked[key] = true
	run := next.Ops[m.Token.Op].Guests[m.Token.Guest]
	r := w.rand("room " + key)
	act, after := chance(r, 0.85), between(r, 2*time.Second, 15*time.Second)
	var look func(tries int)
	look = func(tries int) {
		now, waits := w.log.Last().Ops[m.Token.Op].Guests[m.Token.Guest]
		if step, _, left := now.Current(); !waits || !left || step.ID != failover.StepReplace {
			return
		}
		if !act {
			w.tell("operator: there is no hurry")
			w.cancelled(m.Token.Op)
			return
		}
		switch done := w.giveUpHome(m.Token.Op, m.Token.Guest, placeOf(run.Left)); {
		case done:
		case tries == 0:
			w.tell("operator: the copy cannot be removed")
			w.cancelled(m.Token.Op)
		default:
			w.loop.In(20*time.Second, "people look again at an operation that waits for them", func() { look(tries - 1) })
		}
	}
	w.loop.In(after, "people look at an operation that waits for them", func() { look(4) })
}

// giveUpHome has the structure's people delete the copy that a failback waits to be gone, if
// it is off and says that it is parked; S7: all that its users were told is written lies sealed
// at two sites. false: not now.
func (w *World) giveUpHome(op failover.OpID, g failover.GuestID, where failover.Place) (done bool) {
	c, s := w.check, w.sites[where.Site]
	there, ok := w.guestAt(where)
	if ok && (!s.own || there.Running) {
		return false
	}
	if !ok {
		return true
	}
	seal := w.log.Last().SealOf(g, where)
	if seal == nil {
		c.fail("S7", "people are asked to delete %s of %s, which is not sealed", at(where.Site, where.VMID), g)
		return true
	}
	if !w.deleteSealed(g, where, *seal) {
		w.cancelled(op)
	}
	return true
}

// deleteSealed has people of a structure delete a copy at home whose branch is sealed; false: they look
// into what is sealed first, and cannot read it.
func (w *World) deleteSealed(g failover.GuestID, where failover.Place, seal failover.Seal) bool {
	c, s := w.check, w.sites[where.Site]
	for _, at := range seal.Copies {
		if _, err := w.sites[at.Site].raoull.SavedData(at.Point.Volid); err != nil {
			w.tell("people of %s look into what is sealed first, and delete nothing: %v", s.name, err) // out of reach just now, corrupt since, or under another key for now: whether all can be read is looked at in the end
			return false
		}
	}
	for _, wr := range c.ledger.written[g] {
		if wr.place() == where && c.ledger.sealed(seal, wr) < c.ledger.sealsLeft(seal) {
			c.fail("S7", "people are asked to delete %s, and %s of %s lies sealed at %d sites", at(where.Site, where.VMID), wr.note, g, c.ledger.sealed(seal, wr))
			return true
		}
	}
	w.tell("people of %s delete %d: there is no room", s.name, where.VMID)
	c.replaced[where] = true
	if err := s.structure.SetOption(where.VMID, "protection", "0"); err != nil {
		c.violated(err)
	}
	if err := s.structure.RemoveGuest(where.VMID, w.loop.Now()); err != nil {
		c.violated(fmt.Errorf("people delete %s: %w", at(where.Site, where.VMID), err))
	}
	return true
}

// cancelled has a person cancel an operation.
func (w *World) cancelled(op failover.OpID) {
	w.propose(failover.CancelOp{Op: op, Reason: failover.Reason{Code: "WWW-1409"}})
}

// named lists the guests of which a person gives the copy at home up.
func named(s *failover.State, guests []failover.GuestID) []failover.GuestID {
	return slices.DeleteFunc(slices.Clone(guests), func(g failover.GuestID) bool {
		_, left := s.HomeBranch(g)
		return !left
	})
}
