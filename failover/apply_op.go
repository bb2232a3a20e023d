package failover

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// restoreSteps is the way of a guest that is restored elsewhere.
var restoreSteps = []StepID{StepProtect, StepRestore, StepOwn, StepStart, StepCheck, StepServe, StepRelease}

// rescueSteps is the way of one that is restored beside its dead host. Both copies have
// the same address, so that nothing is owned before that host is known to be off.
var rescueSteps = slices.Insert(slices.Clone(restoreSteps), slices.Index(restoreSteps, StepOwn), StepFence)

func (k OpKind) steps() []Step {
	if k == KindSwitchover {
		return pendingSteps(switchoverSteps...)
	}
	if k == KindRescue {
		return pendingSteps(rescueSteps...)
	}
	return pendingSteps(restoreSteps...)
}

func pendingSteps(ids ...StepID) []Step {
	steps := make([]Step, len(ids))
	for i, id := range ids {
		steps[i] = Step{ID: id, Status: StatusPending}
	}
	return steps
}

// Current returns the first step that is not done, and its place.
func (r GuestRun) Current() (Step, int, bool) {
	for i, st := range r.Steps {
		if st.Status != StatusDone {
			return st, i, true
		}
	}
	return Step{}, 0, false
}

// Step returns a step by its id.
func (r GuestRun) Step(id StepID) (Step, bool) {
	for _, st := range r.Steps {
		if st.ID == id {
			return st, true
		}
	}
	return Step{}, false
}

// begun says whether anybody has ever tried a step: a retry by a person counts
// its attempts anew, and does not undo what earlier ones did.
func (s Step) begun() bool { return s.Begun.Index != 0 }

// Owned says whether ownership of the guest moved in this run.
func (r GuestRun) Owned() bool { return r.Epoch != Epoch{} }

func (c BeginOp) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	if len(c.Plan.Assignments) == 0 {
		return reject(CodeNothing, "what", "guests to move", "domain", string(c.Domain))
	}
	if err := c.checkKind(s); err != nil {
		return err
	}
	if err := c.due(s, st); err != nil {
		return err
	}
	if c.At.After(st.At) {
		return c.schedule(s, st)
	}
	for _, id := range sortedKeys(s.Ops) {
		if op := s.Ops[id]; op.Domain == c.Domain && !op.Phase.Ended() && !c.Forced && !c.Window {
			return reject(CodeAlreadyBegun, "domain", string(c.Domain), "op", string(id))
		}
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: c.Kind, Phase: OpPreparing, Domain: c.Domain,
		Plan: c.Plan, Forced: c.Forced, Begun: st, Guests: map[GuestID]GuestRun{},
	}
	if c.Op != "" {
		op.ID, op.At = c.Op, s.Ops[c.Op].At
	}
	cursors, ids := map[SiteID]int{}, s.idsInUse()
	for _, a := range c.Plan.Assignments {
		if err := c.mayMove(s, a); err != nil {
			return err
		}
		if _, twice := op.Guests[a.Guest]; twice {
			return reject(CodeInvalid, "what", fmt.Sprintf("%s twice in one plan", a.Guest))
		}
		run, err := s.newRun(c.Kind, a, st, cursors, ids)
		if err != nil {
			return err
		}
		if c.Forced || c.Window {
			run.Admitted = st.Index
		}
		if c.Kind.planned() {
			run.Source = s.sourceOf(a.Guest)
		}
		if c.Kind == KindFailback {
			s.placed(&run)
		}
		run.Steps = s.withHooks(a.Guest, run.Steps)
		op.Guests[a.Guest] = run
	}
	if c.Forced || c.Window {
		op.Phase, op.Committed = OpCommitted, st
	}
	for target, id := range cursors {
		s.Cursors[target] = id
	}
	s.Ops[op.ID] = op
	for _, g := range sortedKeys(op.Guests) {
		s.setPhase(g, PhasePreparing, op.ID, st)
		s.dropRemovals(g, st)
	}
	s.event(st, because(CodeOpBegun, "op", string(op.ID), "kind", string(op.Kind), "domain", string(op.concerns()),
		"guests", fmt.Sprint(len(op.Guests)), "plan", op.Plan.Hash), Event{Op: op.ID, Site: c.Plan.Loss.Site})
	s.dropOldOps()
	return nil
}

// mayMove refuses a guest that the operation has no business with: what a
// person forces may take any guest, automation only those of the lost domain
// whose structure lets it (S10).
func (c BeginOp) mayMove(s *State, a Assignment) error {
	p, ok := s.Guests[a.Guest]
	mode := s.Network.Structures[s.Network.Guests[a.Guest].Structure].Mode
	switch {
	case !ok:
		return reject(CodeUnknownGuest, "guest", string(a.Guest))
	case c.Kind == KindFailback:
		return c.mayComeHome(s, a)
	case p.Op != "":
		return reject(CodeGuestBusy, "guest", string(a.Guest), "op", string(p.Op))
	case c.Kind == KindSwitchover:
		return c.mayLeave(s, a)
	case c.Forced:
		return nil
	case p.Owner != c.Plan.Loss.Site || s.SiteOfDomain(c.Domain) != p.Owner || c.Plan.Loss.Host != "" && p.Host != c.Plan.Loss.Host:
		return reject(CodeInvalid, "what", fmt.Sprintf("%s is not at %s", a.Guest, c.Domain))
	case mode != network.ModeAuto && mode != network.ModeAsk:
		return reject(CodeMode, "guest", string(a.Guest), "mode", string(mode))
	case !s.current(a.Guest, a.Point):
		return reject(CodeAwayThere, "guest", string(a.Guest), "site", string(p.Owner))
	}
	return nil
}

// newRun checks one assignment against the state as it is now and gives it an
// id at its target. cursors collects the ids handed out by this command.
func (s *State) newRun(kind OpKind, a Assignment, st Stamp, cursors map[SiteID]int, ids usedIDs) (GuestRun, error) {
	if err := s.checkAssignment(kind, a); err != nil {
		return GuestRun{}, err
	}
	if kind == KindFailback {
		id, err := s.homeID(a, ids)
		ids.take(a.Target, id)
		return GuestRun{State: RunActive, Assignment: a, VMID: id, Token: st.Index}, err
	}
	id, fresh, err := s.idOf(a, cursors, ids)
	if err != nil {
		return GuestRun{}, err
	}
	if fresh {
		ids.take(a.Target, id)
		cursors[a.Target] = id
	}
	return GuestRun{State: RunActive, Assignment: a, VMID: id, Token: st.Index, Steps: s.stepsOf(kind, a)}, nil
}

// checkAssignment refuses what no plan may say, whoever made it: S10, S11.
func (s *State) checkAssignment(kind OpKind, a Assignment) error {
	if kind == KindFailback {
		return s.checkFailback(a)
	}
	g := s.Network.Guests[a.Guest]
	structure := s.Network.Structures[g.Structure]
	host, _, ok := s.Network.Target(a.Target)
	switch {
	case !ok || host != a.Host || !s.leads(kind, a):
		return reject(CodeNotTarget, "guest", string(a.Guest), "site", string(a.Target))
	case a.Structure != g.Structure:
		return reject(CodeInvalid, "what", fmt.Sprintf("structure %q for %s, declared %q", a.Structure, a.Guest, g.Structure))
	case g.Priority == 4:
		return reject(CodePriority4, "guest", string(a.Guest))
	case structure.Mode == network.ModeNever || a.Automatic && structure.Mode != network.ModeAuto:
		return reject(CodeMode, "guest", string(a.Guest), "mode", string(structure.Mode))
	case structure.OffSite.Policy != "allowed" && kind != KindRescue:
		return reject(CodeNoConsent, "guest", string(a.Guest), "structure", string(g.Structure))
	case a.VLAN != structure.VLAN:
		return reject(CodeInvalid, "what", fmt.Sprintf("vlan %d for %s, declared %d", a.VLAN, a.Guest, structure.VLAN))
	case a.Live && (a.Warm != "" || !s.mayLive(kind, a.Guest, a.Point)):
		return reject(CodeInvalid, "what", "a "+string(kind)+" of "+string(a.Guest)+" that starts before its disks are there")
	case a.Warm != "" && kind != KindFailover:
		return reject(CodeInvalid, "what", "a "+string(kind)+" with a warm copy")
	case a.Point.IsZero() || a.Point.Unusable != "":
		return reject(CodeNoPoint, "guest", string(a.Guest), "site", string(a.Target))
	}
	return nil
}

func (s *State) setPhase(g GuestID, phase Phase, op OpID, st Stamp) {
	p := s.Guests[g]
	if p.Phase != phase {
		p.Since = st
	}
	p.Phase, p.Op = phase, op
	s.Guests[g] = p
}

// dropOldOps keeps the newest ended operations.
func (s *State) dropOldOps() {
	var ended []OpID
	for id, op := range s.Ops {
		if op.Phase.Ended() {
			ended = append(ended, id)
		}
	}
	slices.SortFunc(ended, func(a, b OpID) int { return compareIndex(s.Ops[a].Begun.Index, s.Ops[b].Begun.Index) })
	for len(ended) > MaxEndedOps {
		delete(s.Ops, ended[0])
		ended = ended[1:]
	}
}

// openOp returns a running operation for editing.
func (s *State) openOp(id OpID) (Operation, error) {
	op, ok := s.Ops[id]
	if !ok {
		return op, reject(CodeUnknownOp, "op", string(id))
	}
	if op.Phase.Ended() {
		return op, reject(CodeOpEnded, "op", string(id), "phase", string(op.Phase))
	}
	return op.edit(), nil
}

func (c CommitOp) apply(s *State, st Stamp) error {
	if err := s.confirmed(c.Op); err != nil {
		return err
	}
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	if op.Phase == OpReleasing {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	for _, g := range c.Guests {
		run, ok := op.Guests[g]
		if !ok || run.State != RunActive || run.Admitted != 0 {
			return reject(CodeWrongPhase, "op", string(op.ID), "guest", string(g), "phase", string(run.State))
		}
		run.Admitted = st.Index
		op.Guests[g] = run
	}
	if err := s.mayCommit(op, c, st.At); err != nil {
		return err
	}
	if op.Phase == OpPreparing {
		op.Phase, op.Committed, op.Votes = OpCommitted, st, c.Votes
		s.Blocks[op.Domain] = Block{Until: st.At.Add(s.Network.Policy.Block.D()), Op: op.ID}
	}
	op.Again = Stamp{} // from here on it goes on by itself
	s.Ops[op.ID] = op
	s.event(st, because(CodeOpCommitted, "op", string(op.ID), "guests", fmt.Sprint(len(c.Guests)), "votes", fmt.Sprint(darkVotes(c.Votes))),
		Event{Op: op.ID, Site: op.Plan.Loss.Site})
	return nil
}

func (c Approve) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	switch {
	case op.Phase == OpReleasing:
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	case !op.admits():
		return reject(CodeNothingWaits, "op", string(op.ID))
	case !op.offers(c.Hash, st.At):
		return reject(CodeStalePlan, "op", string(op.ID), "have", s.OfferOf(op.ID, st.At).Hash, "got", c.Hash)
	}
	n := 0
	for _, g := range sortedKeys(op.Guests) {
		if run := op.Guests[g]; run.State == RunActive && run.Admitted == 0 {
			run.Admitted = st.Index
			op.Guests[g] = run
			n++
		}
	}
	if op.Phase == OpPreparing {
		op.Phase, op.Committed = OpCommitted, st
	}
	s.Ops[op.ID] = op
	s.event(st, because(CodeApproved, "op", string(op.ID), "guests", fmt.Sprint(n), "by", st.Actor), Event{Op: op.ID})
	return nil
}

// CancelOp is judged here, when it applies: whole structures only, and none of
// which a guest is owned already.
func (c CancelOp) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	switch op.Kind {
	case KindWarm:
		return s.cancelWarm(op, c.Reason, st)
	case KindRemoval:
		return s.cancelRemoval(op, c.Reason, st)
	}
	if op.Phase == OpReleasing {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	if op.Kind.planned() {
		return c.cancelSwitchover(s, op, st)
	}
	cancel := s.cancellable(op)
	if len(cancel) == 0 {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", "owned")
	}
	useless := false
	for _, g := range cancel {
		run := op.Guests[g].edit()
		useless = useless || run.Steps[0].begun()
		run.Parked, run.Admitted, run.Token, run.State = run.Steps, 0, st.Index, RunCancelled
		run.Steps = nil
		if run.Parked[0].begun() || len(run.Tried) > 0 {
			run.Steps = pendingSteps(StepCleanup)
		}
		op.Guests[g] = run
		s.setPhase(g, s.homePhase(g), op.ID, st)
	}
	if c.Reason.Code != CodeBack {
		// A person's word: automation does not begin the same again at once.
		s.Blocks[op.Domain] = Block{Until: st.At.Add(s.Network.Policy.Block.D()), Op: op.ID}
	}
	op.Cancelled = c.Reason
	op.ReleaseAt = st.At.Add(s.Network.Policy.KeepPrepared.D())
	if len(cancel) == len(op.Guests) {
		delete(s.Unconfirmed, op.ID)
		op.Phase = OpReleasing
	}
	s.Ops[op.ID] = op
	if useless {
		s.countUseless(op.Domain, st.At)
	}
	s.event(st, because(CodeOpCancelled, "op", string(op.ID), "guests", fmt.Sprint(len(cancel)), "why", c.Reason.Code),
		Event{Op: op.ID, Site: op.Plan.Loss.Site})
	return nil
}

func (s *State) countUseless(domain DomainID, at time.Time) {
	d := s.Domains[domain]
	recent := slices.DeleteFunc(slices.Clone(d.Useless), func(t time.Time) bool { return at.Sub(t) > 24*time.Hour })
	recent = append(recent, at)
	d.Useless = recent[max(0, len(recent)-maxUseless):]
	s.Domains[domain] = d
}

// Cancellable returns the guests that a cancel would give up: those of the
// structures of which nothing is owned yet, and of the others those that were
// not admitted. A run that is being cleaned up already is none of them.
func (o Operation) Cancellable() []GuestID {
	owned := map[StructureID]bool{}
	for _, run := range o.Guests {
		if run.Owned() {
			owned[run.Assignment.Structure] = true
		}
	}
	var out []GuestID
	for _, g := range sortedKeys(o.Guests) {
		run := o.Guests[g]
		step, _, left := run.Current()
		if run.State == RunCancelled || run.State == RunDone || run.Owned() || !left || step.ID == StepCleanup {
			continue
		}
		if !owned[run.Assignment.Structure] || run.Admitted == 0 {
			out = append(out, g)
		}
	}
	return out
}

// cancellable leaves out the guests that a later operation has taken over from
// a stuck run of this one.
func (s *State) cancellable(op Operation) []GuestID {
	return slices.DeleteFunc(op.Cancellable(), func(g GuestID) bool { return s.Guests[g].Op != op.ID })
}

func (c ResumeOp) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	if op.Phase != OpReleasing {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	if !op.Resumable() {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", "cleaning")
	}
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g].edit()
		run.Steps, run.Parked = run.Parked, nil
		run.proveAnew()
		run.State, run.Token = RunActive, st.Index
		op.Guests[g] = run
		s.setPhase(g, PhasePreparing, op.ID, st)
	}
	op.Phase, op.Cancelled, op.ReleaseAt, op.HostOff = OpPreparing, Reason{}, time.Time{}, Stamp{}
	s.Ops[op.ID] = op
	s.event(st, because(CodeOpResumed, "op", string(op.ID)), Event{Op: op.ID, Site: op.Plan.Loss.Site})
	return nil
}

// Resumable says whether a cancelled countdown can be taken up again: no copy
// of it was touched by its cleanup.
func (o Operation) Resumable() bool {
	for _, run := range o.Guests {
		if run.State != RunCancelled || len(run.Parked) == 0 {
			return false
		}
	}
	return o.Phase == OpReleasing
}

func (c EndOp) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	phase, ok := op.outcome()
	if !ok {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	if op.Kind == KindWarm && phase != OpStuck {
		s.endWarm(op, phase, st)
		return nil
	}
	delete(s.Unconfirmed, op.ID)
	op.Phase, op.Ended = phase, st
	s.Ops[op.ID] = op
	for _, g := range sortedKeys(op.Guests) {
		if s.Guests[g].Op != op.ID {
			continue
		}
		next := s.homePhase(g)
		if op.Guests[g].State == RunStuck {
			next = PhaseStuck
		}
		s.setPhase(g, next, "", st)
	}
	code := CodeOpDone
	if phase == OpStuck {
		code = CodeOpStuck
	}
	s.event(st, because(code, "op", string(op.ID), "phase", string(phase)), Event{Op: op.ID, Site: op.Plan.Loss.Site})
	return nil
}

// outcome says how an operation ends, if none of its runs has work left.
func (o Operation) outcome() (OpPhase, bool) {
	phase := OpCancelled
	for _, g := range sortedKeys(o.Guests) {
		run := o.Guests[g]
		_, _, left := run.Current()
		switch {
		case run.State == RunStuck:
			phase = OpStuck
		case left:
			return "", false
		case run.State == RunDone && phase == OpCancelled:
			phase = OpDone
		}
	}
	return phase, true
}
