package failover

import (
	"slices"
	"time"
)

// Runnable returns the tokens of the steps that the agent of a site may carry
// out or go on with now, in the order of the work. A step that waits for its
// turn, its dependencies, its back-off or its release is not in it.
func Runnable(s *State, site SiteID, now time.Time) []Token {
	if s.Network == nil {
		return nil
	}
	var out []Token
	left := s.turnAt(site, now)
	for _, id := range s.opOrder() {
		op := s.Ops[id]
		if s.Unconfirmed[id] {
			continue
		}
		for _, g := range op.workOrder() {
			run := op.Guests[g]
			if !op.mayRun(run) { // most of a long operation, in the end
				continue
			}
			step, _, ok := run.Current()
			if run.site(step.ID) != site {
				continue
			}
			if !ok || step.Status == StatusFailed || step.Status == StatusPending && now.Before(step.NotBefore) {
				continue
			}
			if !s.gate(op, run, step, now, &left) {
				continue
			}
			out = append(out, op.TokenOf(g))
		}
	}
	return out
}

// mayRun says whether the state of an operation and a run lets steps go on.
func (o Operation) mayRun(run GuestRun) bool {
	if o.Phase.Ended() {
		return false
	}
	return run.State == RunActive || run.State == RunCancelled
}

// turn is what a site may still begin.
type turn struct {
	restores int  // so many
	start    bool // one more guest may be started
}

// gate says whether a step's own conditions hold, and takes its turn.
func (s *State) gate(op Operation, run GuestRun, step Step, now time.Time, left *turn) bool {
	switch step.ID {
	case StepProtect:
		return !s.unprepared(op, run)
	case StepVerify, StepBackup, StepPull, StepSeal, StepSealVerify, StepSealCopy, StepPark:
		return true
	case StepReplace:
		return s.mayMakeRoom(op, run) == nil
	case StepUnpark:
		return !s.standingDown(run.Assignment.Guest)
	case StepReady, StepLeave:
		return run.Admitted != 0
	case StepShutdown:
		if op.Kind == KindReturn {
			return s.stillSuperseded(run) && (step.Status == StatusRunning || !s.chosen(run.Assignment.Guest))
		}
		return run.Admitted != 0 && (step.Status == StatusRunning || s.behind(op, run, StepShutdown) == "")
	case StepStill:
		return s.behind(op, run, StepStill) == ""
	case StepRevive, StepRejoin:
		return s.mayReviveOrRejoin(run)
	case StepRestore:
		if step.Status == StatusRunning || run.Assignment.Warm != "" {
			return true
		}
		if op.Kind != KindWarm && s.mustWait(run.Assignment.Target) {
			return false
		}
		left.restores--
		return left.restores >= 0
	case StepFence, StepBefore:
		return run.Admitted != 0
	case StepFork:
		return s.mayFork(run) == nil
	case StepRemove, StepUnseal, StepUnsealCopy:
		return s.mayRemove(op, run, step.ID) == nil
	case StepStart, StepLive:
		if !run.Owned() || len(s.waitsFor(op, run)) > 0 {
			return false
		}
		if step.Status == StatusRunning {
			return true
		}
		if step.ID == StepLive {
			if left.restores--; left.restores < 0 {
				return false
			}
		}
		may := left.start
		left.start = may && s.startEvery(run.Assignment.Target) == 0
		return may
	case StepCheck, StepWhole, StepAfter, StepSettle:
		return run.Owned()
	case StepRelease:
		return run.Owned() || op.Kind == KindTidy
	case StepCleanup:
		return step.Status == StatusRunning || !now.Before(op.ReleaseAt)
	}
	return false // own and serve are the leader's
}

// turnAt returns what may begin at a site besides what runs there: as many restores as it does
// at once, and a guest's start if the last one is long enough ago.
func (s *State) turnAt(site SiteID, now time.Time) turn {
	_, host, ok := s.Network.Target(site)
	if !ok {
		return turn{}
	}
	out := turn{restores: host.Restore.Parallel, start: true}
	every := s.startEvery(site)
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			if run.Assignment.Target != site {
				continue
			}
			if every > 0 {
				if st, _ := run.starting(); st.Attempt > 0 && now.Sub(st.Begun.At) < every {
					out.start = false
				}
			}
			if op.mayRun(run) && run.restoring() {
				out.restores--
			}
		}
	}
	return out
}

// startEvery is how far apart a site starts guests.
func (s *State) startEvery(site SiteID) time.Duration {
	_, host, ok := s.Network.Target(site)
	if !ok {
		return 0
	}
	return host.Restore.StartEvery.D()
}

// waitsFor returns the guests of the same operation that must be checked
// before this one may start. One that a later operation has taken over is not
// waited for: it runs, or is looked after there.
func (s *State) waitsFor(op Operation, run GuestRun) []GuestID {
	var out []GuestID
	for _, dep := range s.Network.Guests[run.Assignment.Guest].After {
		other, ok := op.Guests[dep]
		if !ok || other.State == RunCancelled || other.State == RunDone || s.Guests[dep].Op != op.ID {
			continue
		}
		if check, ok := other.Step(StepCheck); !ok || check.Status != StatusDone {
			out = append(out, dep)
		}
	}
	return out
}

// opOrder returns the running operations, oldest first.
func (s *State) opOrder() []OpID {
	var out []OpID
	for id, op := range s.Ops {
		if !op.Phase.Ended() {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b OpID) int { return compareIndex(s.Ops[a].Begun.Index, s.Ops[b].Begun.Index) })
	return out
}

func compareIndex(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// workOrder returns the guests of an operation in the order of its plan.
func (o Operation) workOrder() []GuestID {
	out := make([]GuestID, 0, len(o.Guests))
	for _, a := range o.Plan.Assignments {
		if _, ok := o.Guests[a.Guest]; ok {
			out = append(out, a.Guest)
		}
	}
	return out
}
