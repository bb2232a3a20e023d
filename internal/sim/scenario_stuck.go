package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Guests that are stuck away from home, with copies that never start there, while their home is
// back: people keep the copies at home (wwwctl failback run --keep home).

// Times of such a scenario after its loss.
const (
	stuckBack   = 3 * time.Minute                // home is back
	stuckChosen = 4*time.Minute + 30*time.Second // a person chooses
)

// StuckAway fails a site over to others that refuse to start what they are given, brings it back,
// and has people keep the copies at home. When a step of the first guest is claimed, the agent that
// works on it dies for a while ("": none does).
func StuckAway(at failover.StepID) Scenario {
	h := &stuckHome{at: at}
	return h.scenario("stuck away, home again", func(w *World) {
		w.at(0, func() { w.kill(lost) })
		w.at(stuckBack, func() { w.revive(lost) })
	})
}

// StuckRescue is the same for a rescue: the copies beside the dead machine do not start, and it
// is repaired.
func StuckRescue(at failover.StepID) Scenario {
	h := &stuckHome{at: at}
	return h.scenario("stuck rescue, home again", func(w *World) {
		w.at(0, func() { w.crashOwn(w.sites[lost], 0) })
		w.at(stuckBack, func() { w.unplugged(w.sites[lost]) })
	})
}

// StuckStarted has a person get a copy away to start after all, and somebody write to it, before it
// is put off again: it is sealed before its guest comes home, and stays.
func StuckStarted() Scenario {
	h := &stuckHome{started: true}
	return h.scenario("stuck away, started by hand", func(w *World) {
		w.at(0, func() { w.kill(lost) })
		w.at(stuckBack, func() { w.revive(lost) })
		w.at(stuckBack+30*time.Second, h.startByHand)
	})
}

// StuckGivenUp has the person take that back when a step of the first guest is claimed, before its
// home owns it: all are stuck as before, and what they were told to type then works.
func StuckGivenUp(at failover.StepID) Scenario {
	h := &stuckHome{at: at, givenUp: true}
	return h.scenario("stuck away, given up", func(w *World) {
		w.at(0, func() { w.kill(lost) })
		w.at(stuckBack, func() { w.revive(lost) })
		w.at(stuckChosen+90*time.Second, func() {
			h.unspoil()
			w.retryAll()
		})
	})
}

// StuckCrashAt is StuckAway in which the agent that works on the first guest's way home dies at the n-th
// boundary of that work; n < 0: never. seen collects them.
func StuckCrashAt(n int, seen *Boundaries) Scenario {
	return crashesAt(StuckAway(""), "stuck away", stuckChosen, n, seen)
}

// StuckSteps are the steps of that way home that an agent carries out.
func StuckSteps() []failover.StepID {
	return []failover.StepID{
		failover.StepShutdown, failover.StepUnpark, failover.StepStill, failover.StepStart, failover.StepCheck, failover.StepSettle, failover.StepCleanup,
	}
}

// stuckHome is a run of these scenarios.
type stuckHome struct {
	w       *World
	at      failover.StepID
	struck  bool
	started bool // a copy, by hand
	givenUp bool
	away    map[failover.GuestID]failover.Place // the copies that do not start
	hand    failover.Place                      // that which was started by hand
}

func (h *stuckHome) scenario(name string, fault func(*World)) Scenario {
	if h.at != "" {
		name += fmt.Sprintf(", trouble at %s", h.at)
	}
	return Scenario{
		Name:    name,
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			h.w, h.away, w.watch = w, map[failover.GuestID]failover.Place{}, h.watch
			fault(w)
			w.at(stuckChosen, h.choose)
		},
		Until: Warm + 9*time.Minute,
		Check: func(*World) error { return h.check() },
	}
}

func (h *stuckHome) watch(e Committed) {
	switch c := e.Command.(type) {
	case failover.Own:
		op := h.w.log.Last().Ops[c.Token.Op]
		if op.Kind != failover.KindFailback {
			run := op.Guests[c.Token.Guest]
			h.away[c.Token.Guest] = targetOf(run)
			h.w.loop.In(0, "a copy does not start", func() { h.w.spoil(targetOf(run)) })
		}
	case failover.StepMoved:
		h.trouble(c)
	}
}

// unspoil is a person who mends that.
func (h *stuckHome) unspoil() {
	for _, g := range sortedKeys(h.away) {
		h.w.unspoil(h.away[g])
	}
}

// trouble kills the agent that works on the first guest's step, or has its person cancel.
func (h *stuckHome) trouble(c failover.StepMoved) {
	w := h.w
	op := w.log.Last().Ops[c.Token.Op]
	run := op.Guests[c.Token.Guest]
	if h.struck || h.at == "" || c.Token.Step != h.at || c.To != failover.StatusRunning || op.Kind != failover.KindFailback && op.Kind != failover.KindTidy {
		return
	}
	h.struck = true
	if h.givenUp {
		w.loop.In(50*time.Millisecond, "operator: cancel", func() { w.cancelled(op.ID) })
		return
	}
	where := run.Assignment.Target
	if c.Token.Step == failover.StepShutdown || c.Token.Step == failover.StepStill {
		where = run.Source.Site
	}
	w.loop.In(400*time.Millisecond, "trouble", func() { w.crashAgent(w.sites[where], 10*time.Second) })
}

// startByHand has a person mend one copy, look into it, and put it off again.
func (h *stuckHome) startByHand() {
	const first = failover.GuestID("nuage-moulin")
	where := h.away[first]
	h.hand = where
	w, pve := h.w, h.w.sites[where.Site].raoull
	w.unspoil(where)
	key := at(where.Site, where.VMID)
	w.check.foreign[key], w.check.handled[key] = true, true
	if err := pve.StartGuest(where.VMID, w.loop.Now()); err != nil {
		w.check.violated(err)
	}
	w.loop.In(20*time.Second, "a person puts it off again", func() {
		w.check.ledger.write(first, where)
		if err := pve.StopGuest(where.VMID, w.loop.Now()); err != nil {
			w.check.violated(err)
		}
	})
}

// choose is a person who is told that the copies at home can be kept, and does it.
func (h *stuckHome) choose() {
	s := h.w.log.Last()
	for _, g := range sortedKeys(h.away) {
		if !s.WayHomeOpen(g) {
			h.w.check.violated(fmt.Errorf("%s is %s at %s in %q, and nobody is told that it can come home", g, s.Guests[g].Phase, s.Guests[g].Owner, s.Guests[g].Op))
		}
	}
	plan := failover.PlanFor(s, failover.Loss{Site: lost, Planned: true, ByHand: true, Keep: failover.KeepHome}, h.w.loop.Now())
	h.w.tell("operator: failback of %d guests that are stuck; left out %v", len(plan.Assignments), plan.LeftOut)
	h.w.propose(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
}

// check: all serve at home, from the copies there; those that never ran are gone, one that did
// is sealed and stays; no operation waits for anybody.
func (h *stuckHome) check() error {
	s := h.w.log.Last()
	if len(h.away) < 3 || h.at != "" && !h.struck {
		return fmt.Errorf("%d guests were stuck, step %q struck %t", len(h.away), h.at, h.struck)
	}
	for _, id := range sortedKeys(s.Ops) {
		if p := s.Ops[id].Phase; p != failover.OpDone && p != failover.OpCancelled {
			return fmt.Errorf("%s %s is %s", s.Ops[id].Kind, id, p)
		}
	}
	for _, g := range sortedKeys(h.away) {
		p := s.Guests[g]
		copied, ok := h.w.guestAt(p.Now())
		other, there := h.w.guestAt(h.away[g])
		seal := s.SealOf(g, h.away[g])
		switch kept := h.hand == h.away[g]; {
		case h.givenUp && (p.Now().VMID != h.away[g].VMID || p.Serving != p.Owner || !copied.Running):
			return fmt.Errorf("%s is %s, owned by %s and served at %q, running %t; want at %v after the retry", g, p.Phase, p.Owner, p.Serving, copied.Running, h.away[g])
		case h.givenUp:
		case p.Owner != lost || p.Host != structureHost(lost) || p.Serving != lost || p.Phase != failover.PhaseHome || !ok || !copied.Running:
			return fmt.Errorf("%s is %s, owned by %s on %s and served at %q; its copy there %t, running %t", g, p.Phase, p.Owner, p.Host, p.Serving, ok, copied.Running)
		case there != kept || other.Running:
			return fmt.Errorf("the copy of %s away, started by hand %t: there %t, running %t", g, kept, there, other.Running)
		case kept && (seal == nil || len(seal.Sites()) < 2):
			return fmt.Errorf("invariant S7 violated: the copy of %s that somebody wrote to is sealed as %+v", g, seal)
		case !kept && seal != nil:
			return fmt.Errorf("the copy of %s that never ran was sealed", g)
		}
	}
	return nil
}
