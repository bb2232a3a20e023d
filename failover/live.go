package failover

import (
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A live restore starts a VM at once, on disks that are fetched from the PBS behind it. If
// that breaks before it is complete, Proxmox switches the VM off, and what was written to it
// since its start is lost. So it is opt-in per VM, only from the target's own PBS, only after
// ownership moved (a VM that runs counts), and names follow when the disks are whole; before
// that only if the structure has said that it accepts the risk. One that broke is restored whole
// before it starts, at a person's word: what broke it may come again.

// liveSteps is the way of a guest that starts before its disks are there.
var liveSteps = []StepID{StepProtect, StepOwn, StepLive, StepCheck, StepWhole, StepServe, StepRelease}

// boldSteps is that of one whose structure accepts to lose what is written meanwhile.
var boldSteps = []StepID{StepProtect, StepOwn, StepLive, StepCheck, StepServe, StepWhole, StepRelease}

// mayLive says whether a guest is restored live from a point.
func (s *State) mayLive(kind OpKind, g GuestID, pt RestorePoint) bool {
	guest := s.Network.Guests[g]
	return kind == KindFailover && guest.LiveRestore && guest.Type == network.VM && !pt.Remote
}

// stepsOf is the way of a run of a kind, failbacks apart.
func (s *State) stepsOf(kind OpKind, a Assignment) []Step {
	steps := kind.steps()
	switch {
	case a.Live && s.Network.Structures[a.Structure].AcceptLiveRisk:
		steps = pendingSteps(boldSteps...)
	case a.Live:
		steps = pendingSteps(liveSteps...)
	}
	return steps
}

// copying is the step in which a run's disks are written: restore, or that of a live restore.
func (r GuestRun) copying() (Step, bool) {
	if !r.Assignment.Live {
		return r.Step(StepRestore)
	}
	if live, ok := r.Step(StepLive); ok && live.Status != StatusDone {
		return live, true
	}
	return r.Step(StepWhole)
}

// starting is the step in which a run's guest starts.
func (r GuestRun) starting() (Step, bool) {
	if r.Assignment.Live {
		return r.Step(StepLive)
	}
	return r.Step(StepStart)
}

// rewind lets a restore begin anew, at a person's word: of a copy that was deleted before it
// started, and of a live restore that broke, whose remains are gone by then, or the step says so
// again.
func (r *GuestRun) rewind() {
	step, at, left := r.Current()
	switch {
	case left && step.ID == StepStart && step.Failure == FailGone:
		r.restoreAgain(at)
	case left && r.Assignment.Live && r.has(StepLive) && (step.Failure == FailBroke || step.ID == StepLive && step.Failure == FailPoint):
		r.restoreWhole()
	}
}

// restoreWhole has a VM whose live restore broke restored before it starts. The step of the live
// restore stays: by its task the remains are told from those of the restore that follows.
func (r *GuestRun) restoreWhole() {
	live := slices.IndexFunc(r.Steps, func(st Step) bool { return st.ID == StepLive })
	steps := slices.Clone(r.Steps[:live+1])
	steps[live].Status, steps[live].Failure = StatusDone, FailBroke
	steps = append(steps, pendingSteps(StepRestore, StepStart)...)
	for _, st := range r.Steps[live+1:] {
		if st.ID != StepWhole {
			steps = append(steps, pendingSteps(st.ID)...)
		}
	}
	r.Steps = steps
	r.Assignment.Live, r.Assignment.Estimate = false, 0
}

// Broke is the live restore of a run that broke, if one did: what stands under the run's id and
// was made by it may have run, and is a person's to remove.
func (r GuestRun) Broke() (Step, bool) {
	live, ok := r.Step(StepLive)
	return live, ok && live.Failure == FailBroke && !r.Assignment.Live
}

// LiveOf returns the live restore that was begun for the copy of an epoch, if one was. What it has made
// may have run without any start.
func (s *State) LiveOf(g GuestID, e Epoch) (Step, bool) {
	for _, id := range sortedKeys(s.Ops) {
		run, has := s.Ops[id].Guests[g]
		if live, ok := run.Step(StepLive); has && ok && run.Owned() && run.Epoch == e && live.Attempt > 0 {
			return live, true
		}
	}
	return Step{}, false
}

// restoreAgain puts a new restore right before the start, at which a run stands. Its guest stays
// the target's: nobody has used the copy that is gone, and there is no other.
func (r *GuestRun) restoreAgain(start int) {
	old := slices.IndexFunc(r.Steps, func(st Step) bool { return st.ID == StepRestore })
	if old < 0 || old > start {
		return // the copy at home, say: nothing restores that
	}
	copy(r.Steps[old:start], r.Steps[old+1:start])
	r.Steps[start-1] = Step{ID: StepRestore, Status: StatusPending}
	r.Steps[start] = Step{ID: StepStart, Status: StatusPending}
	r.Assignment.Warm, r.Assignment.Estimate = "", 0
}

// restoring says whether bytes of a run are on their way.
func (r GuestRun) restoring() bool {
	step, _, left := r.Current()
	if live, ok := r.Step(StepLive); ok && r.Assignment.Live {
		whole, _ := r.Step(StepWhole)
		return left && live.begun() && live.Status != StatusPending && whole.Status != StatusDone
	}
	return left && step.ID == StepRestore && step.Status == StatusRunning && r.Assignment.Warm == ""
}

// copyBegins is the step with which a run's disks are allocated.
func (r GuestRun) copyBegins() (Step, bool) {
	if r.Assignment.Live {
		return r.Step(StepLive)
	}
	return r.Step(StepRestore)
}
