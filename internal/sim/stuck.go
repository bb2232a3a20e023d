package sim

import (
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// What a campaign has of guests that are stuck away from home while their home is back: people do
// what they are told, and keep the copies there.

// stuckHomeAtMost is how often people try that with a guest after one incident.
const stuckHomeAtMost = 2

// bringStuck has people bring home what is stuck away when all is well again; false: nothing.
func (c *campaign) bringStuck() bool {
	w := c.w
	if !w.opts.Homeward { // its token may not ask the guests at home for their addresses
		return false
	}
	s := w.log.Last()
	byHome := map[failover.SiteID][]failover.GuestID{}
	for _, g := range s.Network.GuestIDs() {
		key := fmt.Sprintf("%d %s", c.n, g)
		if !s.WayHomeOpen(g) || c.brought[key] >= stuckHomeAtMost {
			continue
		}
		c.brought[key]++
		if chance(w.rand(fmt.Sprintf("stuck %s %d", key, c.brought[key])), 0.75) {
			home := s.Network.Home(g)
			byHome[home] = append(byHome[home], g)
		}
	}
	begun := len(s.Ops)
	for _, home := range sortedKeys(byHome) {
		w.keepHome(home, byHome[home])
	}
	return len(w.log.Last().Ops) > begun
}

// keepHome has an operator bring guests of a site home that are stuck elsewhere.
func (w *World) keepHome(home failover.SiteID, guests []failover.GuestID) {
	loss := failover.Loss{Site: home, Guests: guests, ByHand: true, Planned: true, Keep: failover.KeepHome}
	plan := failover.PlanFor(w.log.Last(), loss, w.loop.Now())
	w.tell("operator: %v are stuck away and can come home: %d do, left out %v", guests, len(plan.Assignments), plan.LeftOut)
	w.cover.count(coverOp, "stuck away, brought home")
	if len(plan.Assignments) > 0 {
		w.propose(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
	}
}

// mayNotStart gives some copies, once they are their guests', what their host refuses.
func (c *checker) mayNotStart(next *failover.State, t failover.Token) {
	w, op := c.w, next.Ops[t.Op]
	if op.Kind == failover.KindFailback || !chance(w.rand(fmt.Sprintf("spoilt %s %s", t.Op, t.Guest)), w.opts.Spoilt) {
		return
	}
	where := targetOf(op.Guests[t.Guest])
	w.loop.In(0, "a copy does not start", func() {
		w.tell("fault: %s of %s will not start", at(where.Site, where.VMID), t.Guest)
		w.spoil(where)
	})
}

// What a copy declares that its host has, and what it has not.
const (
	goodMachine, newMachine = "pc-q35-8.1", "pc-q35-99.0"
	noBridge                = "vmbr9"
)

// spoil gives a copy what its host refuses: a machine that its QEMU does not know, or for a
// container a bridge that is not there.
func (w *World) spoil(where failover.Place) { w.alter(where, newMachine, bridge, noBridge) }

// unspoil is a person who mends that.
func (w *World) unspoil(where failover.Place) { w.alter(where, goodMachine, noBridge, bridge) }

func (w *World) alter(where failover.Place, machine, was, now string) {
	copied, ok := w.guestAt(where)
	if !ok || copied.Running {
		return
	}
	key, value := "machine", machine
	if copied.Kind != "qemu" {
		key, value = "net0", strings.Replace(copied.Config["net0"], was, now, 1)
	}
	if err := w.sites[where.Site].raoull.SetOption(where.VMID, key, value); err != nil {
		w.check.violated(err)
	}
}

// revived says whether the start of a copy is that of a failback which was given up, and found it running:
// the operation in which its guest is stuck has no part in that.
func (c *checker) revived(where failover.Place) bool {
	op, run := c.w.newestAt(where)
	step, _, left := run.Current()
	return op.Kind == failover.KindFailback && left && step.ID == failover.StepRevive && placeOf(run.Source) == where
}
