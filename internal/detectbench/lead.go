package detectbench

import (
	"github.com/raoull/worldwidewelsh/failover"
)

// decide is the leader's look, and what the executors do at once upon it.
func (w *World) decide() {
	open := w.gate.open(w)
	if w.opts.Strict {
		// On anything that was applied, and every five seconds whatever happened.
		open = open || w.index != w.decided || w.t%(5*second) == 0
	}
	if !open {
		return
	}
	// Bounded: an operation has some dozens of steps.
	for range 2000 {
		moved := false
		w.decisions++
		if d := failover.Decide(w.state, w.now()); len(d.Commands) > 0 {
			moved = w.apply(w.t, d.Commands[0]) == nil
			if !moved {
				break
			}
		}
		if !w.execute() && !moved {
			break
		}
	}
	w.decided = w.index
	w.gate.shut(w)
	w.suspect()
}

// execute carries out every step that may run now, at once: the bench measures
// decisions, not restores. It says whether anything moved.
func (w *World) execute() (moved bool) {
	for s := range briques {
		if !w.mayReport[s] {
			continue
		}
		for _, token := range failover.Runnable(w.state, siteNames[s], w.now()) {
			step, ok := w.state.Ops[token.Op].Guests[token.Guest].Step(token.Step)
			if !ok {
				continue
			}
			attempt := step.Attempt
			if step.Status == failover.StatusPending {
				attempt++
				if w.apply(w.t, failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusRunning}) != nil {
					continue
				}
			}
			if w.apply(w.t, failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusDone}) == nil {
				moved = true
			}
		}
	}
	return moved
}

// suspect recomputes what every observer reads from State: whether somebody
// suspects something (cmd/wwwd computes it so).
func (w *World) suspect() {
	is := false
	for _, d := range w.state.Domains {
		is = is || d.Level >= failover.LevelSuspect || d.Lost.Index != 0 && d.Cause != failover.CauseLost
	}
	if is == w.suspicion {
		return
	}
	w.suspicion = is
	for _, a := range w.agents {
		a.next = w.t + tick // look at the new pace
	}
}

// tidy is what people do when all is well again: guests go home, blocks are
// acknowledged. It keeps each loss a question of its own.
func (w *World) tidy() {
	s := w.state
	for _, op := range s.Ops {
		if !op.Phase.Ended() {
			return
		}
	}
	s.Events, s.Seen = nil, nil
	if len(s.Ops) == 0 {
		return
	}
	for _, g := range w.place.Spec.GuestIDs() {
		p := s.Guests[g]
		home := w.place.Spec.Home(g)
		p.Phase, p.Owner, p.Serving, p.Op = failover.PhaseHome, home, home, ""
		p.Host, p.VMID, p.Point = w.place.Spec.Guests[g].Host, w.place.Spec.Guests[g].ID, failover.RestorePoint{}
		s.Guests[g] = p
	}
	clear(s.Ops)
	clear(s.Blocks)
	w.gate.stir()
}
