package failover

import "fmt"

// leaveBehind begins the operation that removes what a run leaves at a target
// or under an id that it gives up before ownership moved: nothing that was
// prepared stays behind. It is an operation of its own, since it may have to
// wait for a lost target to come back while the guest is long served elsewhere.
// It holds no guest: placements do not know of it. to is where the run goes on.
func (s *State) leaveBehind(op Operation, run GuestRun, to Assignment, why Reason, st Stamp) {
	if len(run.Steps) == 0 || !run.Steps[0].begun() {
		return // nothing was begun there
	}
	if step, _, left := run.Current(); left && step.Failure == FailTaken && to.Target == run.Assignment.Target && to.Point == run.Assignment.Point {
		return // nothing of ours is there, and the restore point stays pinned for the next id
	}
	a := run.Assignment
	tidy := tidies(op.origin(), op.Plan.Loss, why, st)
	tidy.removes(GuestRun{Assignment: a, VMID: run.VMID, Steps: pendingSteps(StepCleanup)})
	s.beginTidy(tidy)
}

// cleanAside takes the cleanups at which an operation is stuck out of it whose guests another one
// has moved since: its retry may decide about them no more, but what it has prepared must not stay,
// nor its restore point be kept from pruning for ever. It returns how many they are.
func (s *State) cleanAside(op *Operation, st Stamp) int {
	tidy := tidies(op.origin(), op.Plan.Loss, op.Cancelled, st)
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g].edit()
		step, i, left := run.Current()
		if run.State != RunStuck || !left || step.ID != StepCleanup || s.stillStuckIn(*op, g) {
			continue
		}
		tidy.removes(GuestRun{Assignment: run.Assignment, VMID: run.VMID, Steps: pendingSteps(StepCleanup), Tried: run.Tried})
		run.State, run.Token, run.Stuck, run.Steps = RunCancelled, st.Index, Reason{}, run.Steps[:i]
		op.Guests[g] = run
	}
	if len(tidy.Guests) > 0 {
		s.beginTidy(tidy)
	}
	return len(tidy.Guests)
}

// tidies is an operation that removes copies of another one, none yet.
func tidies(of OpID, loss Loss, why Reason, st Stamp) Operation {
	return Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindTidy, Of: of, Phase: OpReleasing, Begun: st, ReleaseAt: st.At,
		Plan: Plan{Loss: loss}, Cancelled: why, Guests: map[GuestID]GuestRun{},
	}
}

// beginTidy begins it. What it lets go may have been seen protected while no run was there to own up to it:
// of a run that was stuck, say, and whose guest has come home since.
func (s *State) beginTidy(tidy Operation) {
	s.Ops[tidy.ID] = tidy
	for _, a := range tidy.Plan.Assignments {
		if r, ok := s.Readiness[a.Target]; ok {
			r.Ready = s.withoutOurPins(r.Ready)
			s.Readiness[a.Target] = r
		}
	}
}

// removes adds what is to be done about one guest's copy.
func (o *Operation) removes(run GuestRun) {
	run.State, run.Token = RunCancelled, o.Begun.Index
	o.Guests[run.Assignment.Guest] = run
	o.Plan.Assignments = append(o.Plan.Assignments, run.Assignment)
}

// origin is the operation whose copies an operation deals with.
func (o Operation) origin() OpID {
	if o.Of != "" {
		return o.Of
	}
	return o.ID
}

// Marks returns the id that the copies of an operation carry in their marker.
func (o Operation) Marks() OpID { return o.origin() }

// holds says whether an operation decides about a guest's placement.
func (s *State) holds(op Operation, g GuestID) bool {
	return !op.holdsNone(g) && s.Guests[g].Op == op.ID
}
