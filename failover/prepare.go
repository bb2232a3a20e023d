package failover

import (
	"cmp"
	"slices"
)

// Preparation: what a failover would need is restored during its countdown already, stopped.
// A structure may want none of it (prepare: never): a backup of its guests is pinned and
// restored once they are admitted.

// unprepared says whether a run waits for its admission before anything is restored.
func (s *State) unprepared(op Operation, run GuestRun) bool {
	answers := op.Kind == KindFailover || op.Kind == KindRescue
	return answers && run.State == RunActive && run.Admitted == 0 && s.Network.Structures[run.Assignment.Structure].Prepare == "never"
}

// restoredBytes is what a run's restore has written, so far or in all; of a warm copy nothing.
func (r GuestRun) restoredBytes(restore Step) int64 {
	switch {
	case r.Assignment.Warm != "":
		return 0
	case restore.Status == StatusDone:
		return max(restore.Total, restore.Bytes, r.Assignment.Point.Size)
	}
	return restore.Bytes
}

// wasted counts what a run that was given up has restored in vain. Its copy is about to be removed.
func (s *State) wasted(run *GuestRun) {
	for _, step := range run.Parked {
		if bytes := run.restoredBytes(step); step.ID == StepRestore && bytes > 0 {
			s.Wasted[run.Assignment.Target] += bytes
			run.Wasted += bytes
		}
	}
}

// What became of a copy that was restored before its guest was admitted, or for what was given up.
const (
	PreparedUsed   = "used"        // the guest is owned with it
	PreparedWaits  = "waits"       // it is kept, stopped
	PreparedThrown = "thrown away" // it was removed, or is about to be
)

// prepared says what became of the copy that was restored for a run ahead of its admission;
// "": none was.
func (o Operation) prepared(run GuestRun) string {
	if run.Wasted > 0 {
		return PreparedThrown
	}
	restore, ok := GuestRun{Steps: append(slices.Clone(run.Steps), run.Parked...)}.Step(StepRestore)
	admitted := cmp.Or(run.Admitted, o.Committed.Index)
	switch ahead := restore.begun() && (admitted == 0 || restore.Begun.Index < admitted); {
	case !ok || !ahead || run.Assignment.Warm != "" || o.Kind != KindFailover && o.Kind != KindRescue:
		return ""
	case run.Owned():
		return PreparedUsed
	case run.State == RunCancelled && !o.Resumable():
		return PreparedThrown
	}
	return PreparedWaits
}

// checkUnprepared: S10, nothing is restored for a guest of a structure that wants no preparation
// before it is admitted.
func checkUnprepared(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			if !next.unprepared(op, run) || next.NetworkVersion >= op.Begun.Index {
				continue
			}
			for _, step := range []StepID{StepProtect, StepRestore} {
				before, _ := prev.Ops[id].Guests[g].Step(step)
				if now, _ := run.Step(step); now.Attempt > before.Attempt && prev.Ops[id].Guests[g].State == RunActive {
					return violated("S10", "%s of %s: step %s begins before it is admitted", g, id, step)
				}
			}
		}
	}
	return nil
}
