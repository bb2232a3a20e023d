package failover

import "fmt"

// RetryOp opens an operation that ended stuck again, or frees the stuck runs
// of a running one.
func (c RetryOp) apply(s *State, st Stamp) error {
	op, ok := s.Ops[c.Op]
	if !ok {
		return reject(CodeUnknownOp, "op", string(c.Op))
	}
	if c.HostOff && op.Kind != KindRescue {
		return reject(CodeInvalid, "what", "only a rescue asks whether a host is off")
	}
	op = op.edit()
	for _, g := range sortedKeys(op.Guests) {
		if err := s.mayGoOn(op, g); err != nil {
			return err
		}
	}
	freed := s.free(&op, st)
	aside := s.cleanAside(&op, st)
	if freed+aside == 0 {
		return reject(CodeNothing, "what", "stuck guests", "op", string(op.ID))
	}
	if c.HostOff {
		op.HostOff = st
	}
	if freed > 0 {
		op.reopen(st)
	} else if phase, done := op.outcome(); done && op.Phase == OpStuck {
		op.Phase = phase
	}
	s.Ops[op.ID] = op
	s.event(st, because(CodeRetry, "op", string(op.ID), "guests", fmt.Sprint(freed+aside)), Event{Op: op.ID})
	return nil
}

// retryable says whether a retry of an operation would be taken: some run is stuck in it, and
// nothing that was declared since forbids to go on.
func (s *State) retryable(op Operation) bool {
	some := false
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g]
		if s.mayGoOn(op, g) != nil {
			return false
		}
		step, _, left := run.Current()
		some = some || run.State == RunStuck && left && (s.stillStuckIn(op, g) || step.ID == StepCleanup)
	}
	return some && !s.Unconfirmed[op.ID]
}

// free lets the stuck runs of an operation go on whose guests are still its own, and counts them.
func (s *State) free(op *Operation, st Stamp) int {
	n := 0
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g].edit()
		_, i, left := run.Current()
		if run.State != RunStuck || !left || !s.stillStuckIn(*op, g) {
			continue
		}
		run.State, run.Stuck, run.Token = RunActive, Reason{}, st.Index
		if run.Steps[i].ID == StepCleanup || run.reviving() {
			run.State = RunCancelled
		}
		run.Steps[i].Status, run.Steps[i].NotBefore = StatusPending, st.At
		run.Steps[i].Attempt = 0
		run.rewind()
		op.Guests[g] = run
		if !op.holdsNone(g) {
			s.setPhase(g, s.phaseIn(run), op.ID, st)
		}
		n++
	}
	return n
}

// reopen lets an operation that has ended go on.
func (o *Operation) reopen(st Stamp) {
	if !o.Phase.Ended() {
		return
	}
	o.Phase, o.Ended = OpCommitted, Stamp{}
	switch {
	case o.Kind.aside():
		o.Phase = OpReleasing
	case o.Committed.Index == 0:
		o.Phase = OpPreparing
	default:
		o.Again = st
	}
}

// stillStuckIn says whether a stuck guest is this operation's to free: neither
// held nor moved by a later one, whose copy would be older than the newest.
func (s *State) stillStuckIn(op Operation, g GuestID) bool {
	p, run := s.Guests[g], op.Guests[g]
	if op.Kind.aside() {
		return true
	}
	if run.reviving() {
		return s.mayReviveOrRejoin(run)
	}
	if p.Op != "" {
		return p.Op == op.ID
	}
	if run.Owned() {
		return p.Phase == PhaseStuck && p.Epoch == run.Epoch
	}
	return p.Phase == PhaseStuck && p.Epoch.Index < op.Begun.Index
}

// mayGoOn refuses to take a stuck run up again on ground that a new
// declaration has changed since (S10, S11).
func (s *State) mayGoOn(op Operation, g GuestID) error {
	run := op.Guests[g]
	step, _, left := run.Current()
	switch {
	case op.Kind == KindReturn || run.State != RunStuck || !left || step.ID == StepCleanup || run.reviving() || !s.stillStuckIn(op, g):
		return nil
	case op.Kind == KindRemoval && step.ID == StepFork:
		return s.mayFork(run)
	case op.Kind == KindRemoval: // one that is at work ends when its guest leaves home (dropRemovals), and none waits for that
		return s.restsAtHome(g)
	case run.Owned() && run.Assignment.VLAN != s.Network.Structures[s.Network.Guests[g].Structure].VLAN:
		return reject(CodeInvalid, "what", fmt.Sprintf("vlan %d for %s, declared otherwise since", run.Assignment.VLAN, g))
	case run.Owned():
		if busy, reviving := s.revivedBy(g); reviving { // a failback that was given up starts its copy again first
			return reject(CodeGuestBusy, "guest", string(g), "op", string(busy))
		}
		return nil
	}
	run.Assignment.Automatic = false // it is admitted, or a person admits it
	if run.isDone(StepReplace) {
		run.Assignment.Replace = 0 // that copy is gone
	}
	return s.checkAssignment(op.Kind, run.Assignment)
}

// phaseIn is the phase of a guest whose run goes on.
func (s *State) phaseIn(run GuestRun) Phase {
	switch {
	case run.State == RunCancelled:
		return s.homePhase(run.Assignment.Guest)
	case run.Served.Index != 0:
		return s.homePhase(run.Assignment.Guest)
	case run.Owned():
		return PhaseStarting
	}
	return PhasePreparing
}
