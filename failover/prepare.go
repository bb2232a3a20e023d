package failover

// Preparation: what a failover would need is restored during its countdown already, stopped.
// A structure may want none of it (prepare: never): a backup of its guests is pinned and
// restored once they are admitted.

// unprepared says whether a run waits for its admission before anything is restored.
func (s *State) unprepared(op Operation, run GuestRun) bool {
	answers := op.Kind == KindFailover || op.Kind == KindRescue
	return answers && run.State == RunActive && run.Admitted == 0 && s.Network.Structures[run.Assignment.Structure].Prepare == "never"
}

// wasted counts what a run that was given up has restored in vain. Its copy is about to be removed.
func (s *State) wasted(run GuestRun) {
	for _, step := range run.Parked {
		if step.ID != StepRestore || run.Assignment.Warm != "" {
			continue
		}
		bytes := step.Bytes
		if step.Status == StatusDone {
			bytes = max(step.Total, step.Bytes, run.Assignment.Point.Size)
		}
		if bytes > 0 {
			s.Wasted[run.Assignment.Target] += bytes
		}
	}
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
