package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// LittleRoom is a loss whose most important guest is too large for every
// target: what is less important does not take the room that it lacks (S12).
func LittleRoom() Scenario {
	return Scenario{
		Name:    "little room",
		Prepare: func(o *Options) { o.HostMemory, o.FirstMemory = reserved+3*guestMemory, 8*guestMemory },
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
		},
		Until: Warm + 3*time.Minute,
		Check: func(w *World) error {
			if op, ok := w.mainOp(); ok {
				return fmt.Errorf("invariant S12 violated: %s moves %d guests, and not the most important one", op.ID, len(op.Plan.Assignments))
			}
			if d := w.log.Last().Domains[failover.SiteDomain(lost)]; d.Cause != failover.CauseLost {
				return fmt.Errorf("%s is %s", lost, d.Cause)
			}
			return nil
		},
	}
}

// ApprovedLate is a person who looks at an offer and approves it when the
// guests have been given to another target: it is refused, and shown anew.
func ApprovedLate() Scenario {
	var hash string
	var op failover.OpID
	var refused error
	return Scenario{
		Name:    "approved late",
		Prepare: func(o *Options) { o.Mode = network.ModeAsk },
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(60*time.Second, func() {
				main, _ := w.mainOp()
				op, hash = main.ID, w.offer(main)
				w.crashHost(w.sites["quai"], 5*time.Minute)
			})
			w.at(4*time.Minute, func() {
				w.proposeAs("p-approver", failover.Approve{Op: op, Hash: hash}, func(_ failover.Stamp, err error) { refused = err })
			})
			w.at(4*time.Minute+10*time.Second, func() { w.approve() })
		},
		Until: Warm + 9*time.Minute,
		Check: func(w *World) error {
			if r, ok := errors.AsType[*failover.RejectedError](refused); !ok || r.Reason.Code != failover.CodeStalePlan {
				return fmt.Errorf("invariant S10 violated: the approval of what was shown before the target died was answered by %v", refused)
			}
			return w.failedOver(lost)
		},
	}
}
