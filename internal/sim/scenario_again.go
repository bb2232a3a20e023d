package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// RetriedBesideLoss has a person retry stuck guests of an operation again and again while
// another site is lost: that one is failed over as fast as if nobody did.
func RetriedBesideLoss() Scenario {
	const killed = 7 * time.Minute // when the other site is: the first operation has ended, and was opened again
	var f *facts
	beside := false // the first operation was open, by a person's word, when the other one was committed
	return Scenario{
		Name: "retried beside a loss",
		Plan: func(w *World) {
			f, w.unpulled = w.observe(), true
			count := w.watch
			retry := func() {
				if op, _ := w.mainOp(); op.Phase == failover.OpStuck {
					w.propose(failover.RetryOp{Op: op.ID})
				}
			}
			w.watch = func(e Committed) {
				count(e)
				if op, _ := w.mainOp(); len(f.committed) == 2 && len(w.faults.List()) > 0 {
					beside = op.Phase == failover.OpCommitted && op.Again.Index != 0
					w.faults.Clear()
				}
				if _, ends := e.Command.(failover.EndOp); ends {
					w.loop.In(time.Second, "a person tries again", retry)
				}
			}
			w.at(0, func() {
				w.kill(lost)
				start := lab.Match{Method: "POST", Path: "/nodes/raoull-quai/*/start"}
				if err := w.faults.Add(lab.Fault{Match: start, Effect: lab.EffectStatus, Status: 500, Text: "got timeout"}); err != nil {
					w.check.violated(err)
				}
			})
			w.at(killed, func() { w.kill(second) })
		},
		Until: Warm + 14*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) != 2 {
				return fmt.Errorf("invariant L1 violated: %d commits, two sites were lost", len(f.committed))
			}
			took, most := f.committed[1].Sub(Epoch.Add(Warm+killed)), w.opts.Timing.Commit+3*time.Second
			if !beside || took > most {
				return fmt.Errorf("invariant L1 violated: committed after %s, want within %s; beside what a person retried: %t", took, most, beside)
			}
			s := w.log.Last()
			for _, g := range s.Network.GuestIDs() {
				p := s.Guests[g]
				if s.Network.Home(g) == second && s.Network.Guests[g].Priority != 4 && (p.Owner != "quai" || p.Serving != p.Owner) {
					return fmt.Errorf("%s is %s, owned by %s and served at %q", g, p.Phase, p.Owner, p.Serving)
				}
			}
			return nil
		},
	}
}

// CopyGone is a person who deletes the first copy that becomes its guest, before it starts, then
// does what the operation says: the retry has it restored once more.
func CopyGone() Scenario {
	var guest failover.GuestID
	return Scenario{
		Name: "copy gone before its start",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.watch = func(e Committed) {
				own, ok := e.Command.(failover.Own)
				if !ok || guest != "" {
					return
				}
				guest = own.Token.Guest
				run := w.log.Last().Ops[own.Token.Op].Guests[guest]
				w.loop.In(0, "a person deletes the copy", func() { w.deleteCopy(w.sites[run.Assignment.Target], run) })
			}
			w.at(2*time.Minute, func() {
				op, _ := w.mainOp()
				if note := stuckNote(op.Guests[guest]); !strings.Contains(note, "wwwctl op retry "+string(op.ID)) {
					w.check.violated(fmt.Errorf("%s waits with note %q, want what to type", guest, note))
				}
				w.propose(failover.RetryOp{Op: op.ID})
			})
		},
		Until: Warm + 5*time.Minute,
		Check: func(w *World) error { return w.failedOver(lost) },
	}
}
