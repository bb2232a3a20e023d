package failover

import (
	"fmt"
	"slices"
)

// find returns the run that a token names, with its current step, and refuses
// a token that is not the newest.
func (s *State) find(t Token) (Operation, GuestRun, int, error) {
	if err := s.confirmed(t.Op); err != nil {
		return Operation{}, GuestRun{}, 0, err
	}
	op, err := s.openOp(t.Op)
	if err != nil {
		return op, GuestRun{}, 0, err
	}
	run, ok := op.Guests[t.Guest]
	if !ok {
		return op, run, 0, reject(CodeUnknownGuest, "op", string(t.Op), "guest", string(t.Guest))
	}
	if holder := s.Guests[t.Guest].Op; holder != op.ID && !op.holdsNone(t.Guest) {
		return op, run, 0, reject(CodeGuestBusy, "op", string(t.Op), "guest", string(t.Guest), "holder", string(holder))
	}
	if run.Token != t.Index || run.Epoch != t.Epoch {
		return op, run, 0, reject(CodeStaleToken, "op", string(t.Op), "guest", string(t.Guest),
			"have", fmt.Sprintf("%d epoch %s", run.Token, run.Epoch), "got", fmt.Sprintf("%d epoch %s", t.Index, t.Epoch))
	}
	step, i, ok := run.Current()
	if !ok || step.ID != t.Step {
		return op, run, 0, reject(CodeWrongStep, "op", string(t.Op), "guest", string(t.Guest), "have", string(step.ID), "got", string(t.Step))
	}
	return op, run.edit(), i, nil
}

// TokenCurrent says whether an effect with this token may go ahead: it is what
// the leader answers to an executor before an irreversible step. It returns
// nil or a *RejectedError.
func (s *State) TokenCurrent(t Token) error {
	op, run, i, err := s.find(t)
	if err != nil {
		return err
	}
	if run.Steps[i].Status != StatusRunning || run.State == RunStuck {
		return reject(CodeWrongPhase, "op", string(op.ID), "guest", string(t.Guest), "phase", string(run.Steps[i].Status))
	}
	if (t.Step == StepFence || t.Step == StepBefore) && run.Admitted == 0 {
		return reject(CodeWrongPhase, "guest", string(t.Guest), "phase", "not admitted")
	}
	if p := s.Guests[t.Guest]; (t.Step == StepStart || t.Step == StepLive) && (p.Epoch != run.Epoch || p.Owner != run.Assignment.Target) {
		return reject(CodeStaleToken, "guest", string(t.Guest), "have", p.Epoch.String(), "got", run.Epoch.String())
	}
	if t.Step == StepShutdown && !s.mayShutDown(op, run) || t.Step == StepRevive && !s.mayRevive(run) ||
		t.Step == StepRejoin && !s.mayRejoin(run) || t.Step == StepLeave && !s.mayShutDown(op, run) {
		return reject(CodeStaleToken, "guest", string(t.Guest), "have", s.Guests[t.Guest].Epoch.String(), "got", run.Source.Epoch.String())
	}
	if t.Step.removes() {
		if err := s.mayRemove(op, run, t.Step); err != nil {
			return err
		}
	}
	if t.Step == StepLeave && op.ranAtHome(run) {
		return reject(CodeHomeRan, "guest", string(t.Guest), "structure", string(run.Assignment.Structure), "site", string(run.Left.Site))
	}
	if t.Step == StepReplace {
		if err := s.mayMakeRoom(op, run); err != nil {
			return err
		}
	}
	if t.Step == StepFork {
		if err := s.mayFork(run); err != nil {
			return err
		}
	}
	if t.Step == StepCleanup && run.Owned() {
		return reject(CodeWrongPhase, "guest", string(t.Guest), "phase", "owned")
	}
	return nil
}

// TokenOf returns the token of a run's current step.
func (o Operation) TokenOf(g GuestID) Token {
	run := o.Guests[g]
	step, _, _ := run.Current()
	return Token{Op: o.ID, Guest: g, Step: step.ID, Index: run.Token, Epoch: run.Epoch}
}

func (c StepMoved) apply(s *State, st Stamp) error {
	op, run, i, err := s.find(c.Token)
	if err != nil {
		return err
	}
	if run.State == RunStuck {
		return reject(CodeWrongPhase, "guest", string(c.Token.Guest), "phase", string(run.State))
	}
	if c.Token.Step == StepOwn || c.Token.Step == StepServe {
		return reject(CodeWrongStep, "guest", string(c.Token.Guest), "got", string(c.Token.Step))
	}
	step := run.Steps[i]
	if err := c.checkMove(step); err != nil {
		return err
	}
	if c.Found != nil && c.Found.Unstarted && !c.Found.Gone && s.HeldData(run) {
		return reject(CodeInvalid, "what", "a copy that never ran, and that its guest has served from")
	}
	if err := run.learn(c, st); err != nil {
		return err
	}
	s.learnBoot(run, st)
	claimed := step.Status == StatusPending
	step.Status, step.Attempt = c.To, c.Attempt
	step.Note, step.Failure, step.Moved = c.Note, c.Failure, st
	if c.UPID != "" || claimed {
		step.UPID = c.UPID // the task of an earlier attempt is not this one's
	}
	if c.Total > 0 {
		step.Total = c.Total
	}
	step.Bytes = max(step.Bytes, c.Bytes)
	if claimed {
		step.Begun, step.Ended = st, Stamp{}
		step.Bytes = c.Bytes
	}
	if c.To == StatusDone || c.To == StatusFailed {
		step.Ended = st
	}
	run.Steps[i] = step
	s.moved(&run, op, c, claimed, st)
	op.Guests[c.Token.Guest] = run
	s.Ops[op.ID] = op
	s.failedWarm(op, run, c, st)
	return nil
}

// checkMove says whether a step may go where the executor reports it.
func (c StepMoved) checkMove(step Step) error {
	fits := false
	switch step.Status {
	case StatusPending:
		fits = c.To == StatusRunning && c.Attempt == step.Attempt+1
	case StatusRunning:
		fits = c.Attempt == step.Attempt && (c.To == StatusRunning || c.To == StatusDone || c.To == StatusFailed)
	}
	if !fits {
		return reject(CodeWrongAttempt, "guest", string(c.Token.Guest), "step", string(step.ID),
			"have", fmt.Sprintf("%s %d", step.Status, step.Attempt), "got", fmt.Sprintf("%s %d", c.To, c.Attempt))
	}
	return nil
}

// moved draws the consequences of a step's move for its guest.
func (s *State) moved(run *GuestRun, op Operation, c StepMoved, claimed bool, st Stamp) {
	switch op.Kind {
	case KindWarm:
		movedWarm(run, c)
		return
	case KindReturn:
		s.stoodDown(run, c, st)
		return
	case KindWake:
		s.woken(run, c, st)
		return
	case KindRemoval:
		s.removed(run, op, c, st)
		return
	}
	g, where := c.Token.Guest, Event{Op: op.ID, Guest: c.Token.Guest, Site: run.Assignment.Target}
	args := []string{"guest", string(g), "site", string(run.Assignment.Target), "id", fmt.Sprint(run.VMID)}
	switch {
	case claimed && c.Token.Step == StepRestore && run.Assignment.Warm != "":
		s.event(st, because(CodeWarmUsed, append(args, "point", clockText(run.Assignment.Point.Time))...), where)
	case claimed && (c.Token.Step == StepRestore || c.Token.Step == StepLive):
		if c.Token.Step == StepLive {
			s.setPhase(g, PhaseStarting, op.ID, st)
		}
		s.event(st, because(CodeRestoring, append(args, "point", run.Assignment.Point.Volid)...), where)
	case c.To == StatusDone && c.Token.Step == StepRestore:
		if !run.Owned() { // the first time
			s.setPhase(g, PhaseStaged, op.ID, st)
		}
		if run.Assignment.Warm == "" {
			s.event(st, because(CodeRestored, args...), where)
		}
	case claimed && c.Token.Step == StepCleanup:
		s.wasted(run)
		run.Parked = nil // from here on the copy is not what they say
	case claimed && c.Token.Step == StepStart:
		s.setPhase(g, PhaseStarting, op.ID, st)
	case c.To == StatusDone && c.Token.Step == StepWhole:
		s.event(st, because(CodeRestored, args...), where)
	case c.To == StatusDone && (c.Token.Step == StepStart || c.Token.Step == StepLive):
		s.event(st, because(CodeStarted, args...), where)
	case c.To == StatusDone && c.Token.Step == StepFence:
		s.event(st, because(CodeHostOff, "host", string(op.Plan.Loss.Host), "guest", string(g), "note", c.Note), where)
	case c.Token.Step.called():
		s.hooked(*run, op, c, st)
	case c.To == StatusDone && c.Token.Step == StepCheck:
		s.event(st, because(CodeChecked, args...), where)
	case c.To == StatusDone && c.Token.Step == StepRelease:
		run.State = RunDone
	case c.To == StatusDone && c.Token.Step == StepCleanup:
		s.event(st, because(CodeCleaned, args...), where)
	default:
		s.switched(*run, op, c, st)
		s.settled(run, op, c, st)
	}
}

func (c RetryStep) apply(s *State, st Stamp) error {
	op, run, i, err := s.find(c.Token)
	if err != nil {
		return err
	}
	if run.Steps[i].Status != StatusFailed {
		return reject(CodeWrongPhase, "guest", string(c.Token.Guest), "phase", string(run.Steps[i].Status))
	}
	run.Steps[i].Status = StatusPending
	run.Steps[i].NotBefore = st.At.Add(c.Wait)
	op.Guests[c.Token.Guest] = run
	s.Ops[op.ID] = op
	s.event(st, because(CodeRetry, "guest", string(c.Token.Guest), "step", string(c.Token.Step),
		"attempt", fmt.Sprint(run.Steps[i].Attempt+1), "note", run.Steps[i].Note), Event{Op: op.ID, Guest: c.Token.Guest})
	return nil
}

func (c Retarget) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	run, ok := op.Guests[c.Guest]
	step, _, _ := run.Current()
	if ok && run.Owned() {
		return c.repoint(s, op, st)
	}
	if !ok || run.State == RunCancelled || run.State == RunDone || step.ID == StepCleanup || s.Guests[c.Guest].Op != op.ID {
		return reject(CodeWrongPhase, "op", string(c.Op), "guest", string(c.Guest), "phase", string(run.State))
	}
	if c.Assignment.Guest != c.Guest {
		return reject(CodeInvalid, "what", fmt.Sprintf("assignment of %q for %q", c.Assignment.Guest, c.Guest))
	}
	if err := s.checkAssignment(op.Kind, c.Assignment); err != nil {
		return err
	}
	if !op.Forced && !s.current(c.Guest, c.Assignment.Point) {
		return reject(CodeAwayThere, "guest", string(c.Guest), "site", string(s.Guests[c.Guest].Owner))
	}
	id, fresh, err := s.idOf(c.Assignment, nil, s.idsInUse())
	if err != nil {
		return err
	}
	if fresh {
		s.Cursors[c.Assignment.Target] = id
	}
	s.leaveBehind(op, run, c.Assignment, c.Reason, st)
	run.Tried = append(slices.Clone(run.Tried), Tried{
		Target: run.Assignment.Target, Volid: run.Assignment.Point.Volid, VMID: run.VMID, Reason: c.Reason,
	})
	run.Assignment, run.VMID, run.Token, run.State, run.Stuck = c.Assignment, id, st.Index, RunActive, Reason{}
	run.Steps = s.withHooks(c.Guest, s.stepsOf(op.Kind, c.Assignment))
	op.Guests[c.Guest] = run
	s.Ops[op.ID] = op
	s.setPhase(c.Guest, PhasePreparing, op.ID, st)
	s.event(st, because(CodeRetarget, "guest", string(c.Guest), "site", string(c.Assignment.Target),
		"point", c.Assignment.Point.Volid, "why", c.Reason.Code), Event{Op: op.ID, Guest: c.Guest, Site: c.Assignment.Target})
	return nil
}

func (c Stick) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	run, ok := op.Guests[c.Guest]
	if _, _, left := run.Current(); !ok || !left || run.State == RunStuck || !op.holdsNone(c.Guest) && s.Guests[c.Guest].Op != op.ID {
		return reject(CodeWrongPhase, "op", string(c.Op), "guest", string(c.Guest), "phase", string(run.State))
	}
	// A new token stops an executor that is still at it.
	run.State, run.Stuck, run.Token = RunStuck, c.Reason, st.Index
	op.Guests[c.Guest] = run
	s.Ops[op.ID] = op
	switch {
	case s.holds(op, c.Guest):
		s.setPhase(c.Guest, PhaseStuck, op.ID, st)
	case run.stepIs(StepRevive) && s.Guests[c.Guest].Op == "": // it is off, and a person has to start it
		s.setPhase(c.Guest, PhaseStuck, "", st)
	}
	args := []string{"guest", string(c.Guest), "op", string(op.ID), "why", c.Reason.Code}
	for _, k := range sortedKeys(c.Reason.Args) {
		if k != "guest" && k != "op" {
			args = append(args, k, c.Reason.Args[k])
		}
	}
	s.event(st, because(CodeStuck, args...), Event{Op: op.ID, Guest: c.Guest})
	return nil
}

// Own is the birth of an epoch: from here on the old copy is superseded.
func (c Own) apply(s *State, st Stamp) error {
	op, run, i, err := s.find(c.Token)
	if err != nil {
		return err
	}
	if run.Steps[i].ID != StepOwn || run.Admitted == 0 || run.State != RunActive || op.Kind.planned() && !op.together(run, StepStill) ||
		run.lookedLong(st.At, 2*stillCounts) {
		return reject(CodeWrongPhase, "guest", string(c.Token.Guest), "step", string(run.Steps[i].ID), "phase", string(run.State))
	}
	run.Steps[i].Status, run.Steps[i].Begun, run.Steps[i].Ended = StatusDone, st, st
	run.Epoch = Epoch{Generation: s.Generation, Index: st.Index}
	op.Guests[c.Token.Guest] = run
	s.Ops[op.ID] = op
	p := s.Guests[c.Token.Guest]
	s.beginLineage(op, run, p, st)
	s.leave(c.Token.Guest, &p, st)
	if op.Kind == KindFailback && run.Assignment.Keep != KeepBack {
		s.cameHome(run, &p, st)
	}
	p.Owner, p.Epoch, p.Host, p.VMID = run.Assignment.Target, run.Epoch, run.Assignment.Host, run.VMID
	p.Point, p.Phase, p.Since = run.Assignment.Point, PhaseStarting, st
	if run.Assignment.Keep == KeepBack {
		p.Point = s.baseOf(LineageOf(c.Token.Guest, Placement{Epoch: run.Epoch}))
	}
	p.Parked = op.Kind.planned()
	s.Guests[c.Token.Guest] = p
	s.closeStuck(run, st)
	s.dropRevives(c.Token.Guest, st)
	s.dropReturns(c.Token.Guest, st)
	s.ownWarm(run)
	s.event(st, because(CodeOwned, "guest", string(c.Token.Guest), "site", string(p.Owner), "epoch", p.Epoch.String()),
		Event{Op: op.ID, Guest: c.Token.Guest, Site: p.Owner})
	return nil
}

// Serve makes the checked copy the one that the world is shown.
func (c Serve) apply(s *State, st Stamp) error {
	op, run, i, err := s.find(c.Token)
	if err != nil {
		return err
	}
	if run.Steps[i].ID != StepServe || run.State != RunActive {
		return reject(CodeWrongStep, "guest", string(c.Token.Guest), "have", string(run.Steps[i].ID))
	}
	run.Steps[i].Status, run.Steps[i].Begun, run.Steps[i].Ended = StatusDone, st, st
	run.Served = st
	op.Guests[c.Token.Guest] = run
	s.Ops[op.ID] = op
	p := s.Guests[c.Token.Guest]
	elsewhere := p.Serving != p.Owner
	p.Serving, p.Phase, p.Since = p.Owner, s.homePhase(c.Token.Guest), st
	s.Guests[c.Token.Guest] = p
	if elsewhere { // a rescue changes no name
		s.touchZones(c.Token.Guest, st)
	}
	s.tidyStuck(run, op.Plan.Loss, st)
	s.event(st, because(CodeServing, "guest", string(c.Token.Guest), "site", string(p.Owner)),
		Event{Op: op.ID, Guest: c.Token.Guest, Site: p.Owner})
	return nil
}

// touchZones marks the zones that hold a guest's names as changed.
func (s *State) touchZones(g GuestID, st Stamp) {
	for _, name := range s.Network.Guests[g].Names {
		s.touchZone(s.Network.ZoneOf(name), st)
	}
}
