package failover

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A switchover moves guests whose home lives, and loses nothing: the guest is shut down
// before its last backup is made, and its new copy is restored from that very backup.
// Until ownership moves all is taken back when something fails: the guest starts again
// at home. A structure moves as a whole: none of its guests is owned elsewhere before
// every one of them is ready to start there.

// switchoverSteps is the way of a guest that is moved by plan.
var switchoverSteps = []StepID{
	StepReady, StepShutdown, StepBackup, StepPull, StepProtect, StepVerify, StepRestore, StepStill,
	StepOwn, StepStart, StepCheck, StepServe, StepRelease,
}

// atSource says whether a step is done by the agent of the site that a guest leaves.
func (s StepID) atSource() bool {
	return s == StepShutdown || s == StepBackup || s == StepStill || s == StepRevive
}

// needsSource says whether a step cannot be done when the site that the guest leaves is silent, or
// should not hold its guest then: people may take hours to make room.
func (s StepID) needsSource() bool {
	return s == StepReady || s == StepReplace || s == StepShutdown || s == StepBackup || s == StepPull
}

// Source is the copy that a switchover leaves, as it was when the operation began.
type Source struct {
	Site  SiteID `json:"site"`
	Host  HostID `json:"host"`
	VMID  int    `json:"vmid"`
	Epoch Epoch  `json:"epoch,omitzero"`
	// Found is when its agent told how it found the guest: running, and started with
	// its host or not. Nothing of it is changed before that is in the log.
	Found  Stamp     `json:"found,omitzero"`
	OnBoot bool      `json:"onboot,omitempty"`
	Ran    bool      `json:"ran,omitempty"`  // it was found running
	Off    bool      `json:"off,omitempty"`  // return: it was off when the operation began
	Final  time.Time `json:"final,omitzero"` // of its last backup
	// Of is set where the guest is stuck with this copy: the operation that the copy's marker
	// names. Unstarted: its host has proven that it never ran, or that it is not there.
	Of        OpID `json:"of,omitempty"`
	Unstarted bool `json:"unstarted,omitempty"`
}

// place is where the copy stands.
func (c Source) place() Place { return Place{Site: c.Site, Host: c.Host, VMID: c.VMID} }

// Found is what an agent tells of a guest before it shuts it down.
type Found struct {
	OnBoot  bool `json:"onboot,omitempty"`  // it starts with its host
	Running bool `json:"running,omitempty"` // it runs
	Gone    bool `json:"gone,omitempty"`    // it is not there any more
	// Unstarted: its host proves that it never ran. Of a copy that its guest is stuck with.
	Unstarted bool `json:"unstarted,omitempty"`
}

// ScheduleLate is how long a switchover that was asked for a time waits for a home and a
// target that are well, and is given up then.
const ScheduleLate = time.Hour

// site is where a run's step is carried out.
func (r GuestRun) site(step StepID) SiteID {
	switch {
	case step.atSource():
		return r.Source.Site
	case step == StepSeal || step == StepSealVerify:
		return r.loser().Site
	case step == StepSealCopy || step == StepUnsealCopy:
		return r.Assignment.Vault
	}
	return r.Assignment.Target
}

// concerns is the domain that an operation is shown with: a switchover answers to the
// loss of none.
func (o Operation) concerns() DomainID {
	if o.Kind.planned() {
		return SiteDomain(o.Plan.Loss.Site)
	}
	return o.Domain
}

func (s *State) sourceOf(g GuestID) Source {
	p := s.Guests[g]
	return Source{Site: p.Owner, Host: p.Host, VMID: p.VMID, Epoch: p.Epoch}
}

// reviving says whether what is left of a run is to start its guest at home again. Such
// a run holds its guest no more: a failover may take it over.
func (r GuestRun) reviving() bool {
	step, _, left := r.Current()
	return left && (step.ID == StepRevive || step.ID == StepRejoin)
}

// holdsNone says whether an operation has work for a guest that does not decide about
// the guest's placement.
func (o Operation) holdsNone(g GuestID) bool { return o.Kind.aside() || o.Guests[g].reviving() }

// revivedBy returns the operation that has yet to start a guest at home again.
func (s *State) revivedBy(g GuestID) (OpID, bool) {
	for _, id := range sortedKeys(s.Ops) {
		if s.Ops[id].Guests[g].reviving() {
			return id, true
		}
	}
	return "", false
}

// mayRevive says whether a guest may be started at home again: it is still that site's,
// and nobody was promised it elsewhere.
func (s *State) mayRevive(run GuestRun) bool {
	p := s.Guests[run.Assignment.Guest]
	later := s.Ops[p.Op].Guests[run.Assignment.Guest]
	return p.Owner == run.Source.Site && p.Host == run.Source.Host && p.Epoch == run.Source.Epoch && (p.Op == "" || later.Admitted == 0)
}

// noHands says whether nobody may shut down and start the guests of a host: its site's agent
// has told on which it may (Readiness.Acts), and this is none of them, or it is that of a
// parpaing, which acts on none.
func (s *State) noHands(site SiteID, host HostID) bool {
	if s.Network.Sites[site].Kind == network.Parpaing {
		return true
	}
	acts := s.Readiness[site].Ready.Acts
	return len(acts) > 0 && !slices.Contains(acts, host)
}

// mayLeave refuses a guest that a switchover cannot move.
func (c BeginOp) mayLeave(s *State, a Assignment) error {
	p := s.Guests[a.Guest]
	site := s.Domains[SiteDomain(p.Owner)]
	host := s.Domains[HostDomain(p.Host)]
	busy, reviving := s.revivedBy(a.Guest)
	switch {
	case !c.Forced:
		return reject(CodeInvalid, "what", "a switchover without a person")
	case p.Owner != c.Plan.Loss.Site || !s.AtHome(a.Guest):
		return reject(CodeInvalid, "what", fmt.Sprintf("%s is not at home at %s", a.Guest, c.Plan.Loss.Site))
	case reviving:
		return reject(CodeGuestBusy, "guest", string(a.Guest), "op", string(busy))
	case site.Cause.gone(SiteDomain(p.Owner)) || site.Level >= LevelSuspect || host.Cause == CauseHostDown || host.Cause == CauseLocked:
		return reject(CodeSourceDown, "guest", string(a.Guest), "site", string(p.Owner))
	}
	return nil
}

// schedule keeps a switchover in the log until its time. It holds no guest meanwhile.
func (c BeginOp) schedule(s *State, st Stamp) error {
	if !c.Kind.planned() || !c.Forced {
		return reject(CodeInvalid, "what", "only a planned move waits for a time")
	}
	for _, a := range c.Plan.Assignments {
		if err := c.mayMove(s, a); err != nil {
			return err
		}
		if err := s.checkAssignment(c.Kind, a); err != nil {
			return err
		}
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: c.Kind, Phase: OpScheduled, Plan: c.Plan, Forced: true,
		Begun: st, At: c.At, Guests: map[GuestID]GuestRun{},
	}
	s.Ops[op.ID] = op
	s.event(st, because(CodeScheduled, "op", string(op.ID), "site", string(c.Plan.Loss.Site), "guests", fmt.Sprint(len(c.Plan.Assignments)),
		"at", clockText(c.At)), Event{Op: op.ID, Site: c.Plan.Loss.Site})
	s.dropOldOps()
	return nil
}

// due checks that the scheduled operation which a BeginOp starts is there.
func (c BeginOp) due(s *State, st Stamp) error {
	if c.Op == "" {
		return nil
	}
	if err := s.confirmed(c.Op); err != nil {
		return err
	}
	op, err := s.openOp(c.Op)
	switch {
	case err != nil:
		return err
	case op.Phase != OpScheduled || op.Kind != c.Kind || st.At.Before(op.At):
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	return nil
}

// takeBack gives guests up that are not owned yet: those that were touched at home start
// there again, and what lies at the target is removed by an operation of its own.
func (s *State) takeBack(op Operation, guests []GuestID, why Reason, st Stamp) {
	tidy := tidies(op.origin(), op.Plan.Loss, why, st)
	for _, g := range guests {
		run := op.Guests[g].edit()
		if protect, ok := run.Step(StepProtect); ok && protect.Attempt > 0 {
			tidy.removes(GuestRun{Assignment: run.Assignment, VMID: run.VMID, Steps: pendingSteps(StepCleanup)})
		}
		run.State, run.Token, run.Admitted, run.Back, run.Steps = RunCancelled, st.Index, 0, why, nil
		if run.Source.Found.Index != 0 && (run.Source.Ran || !run.FromStuck()) {
			run.Steps = pendingSteps(StepRevive)
		}
		if run.Left.Found.Index != 0 && run.Left.Ran {
			run.Steps = append(run.Steps, pendingSteps(StepRejoin)...)
		}
		op.Guests[g] = run
		s.setPhase(g, s.phaseBefore(run), "", st)
	}
	if len(tidy.Guests) > 0 {
		s.beginTidy(tidy)
	}
	op.Cancelled = why
	s.Ops[op.ID] = op
	s.event(st, because(CodeTakenBack, "op", string(op.ID), "guests", fmt.Sprint(len(guests)), "why", why.Code, "note", why.Args["note"]),
		Event{Op: op.ID, Site: op.Plan.Loss.Site})
}

// cancelSwitchover is CancelOp for a switchover: nothing of it is kept for later.
func (c CancelOp) cancelSwitchover(s *State, op Operation, st Stamp) error {
	if op.Phase == OpScheduled {
		op.Phase, op.Ended, op.Cancelled = OpCancelled, st, c.Reason
		delete(s.Unconfirmed, op.ID)
		s.Ops[op.ID] = op
		s.event(st, because(CodeOpCancelled, "op", string(op.ID), "guests", fmt.Sprint(len(op.Plan.Assignments)), "why", c.Reason.Code),
			Event{Op: op.ID, Site: op.Plan.Loss.Site})
		return nil
	}
	cancel := s.cancellable(op)
	if len(c.Guests) > 0 {
		structures := map[StructureID]bool{}
		for _, g := range c.Guests {
			structures[op.Guests[g].Assignment.Structure] = true
		}
		cancel = slices.DeleteFunc(cancel, func(g GuestID) bool { return !structures[op.Guests[g].Assignment.Structure] })
	}
	if len(cancel) == 0 {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", "owned")
	}
	s.takeBack(op, cancel, c.Reason, st)
	return nil
}

// learn takes over what a step of a switchover has found out.
func (r *GuestRun) learn(c StepMoved, st Stamp) error {
	switch {
	case c.Token.Step == StepShutdown:
		if c.Found != nil && r.Source.Found.Index == 0 {
			if err := r.learnStuck(*c.Found); err != nil {
				return err
			}
			r.Source.Found, r.Source.OnBoot = st, c.Found.OnBoot
		}
		if c.To == StatusDone && r.Source.Found.Index == 0 {
			return reject(CodeInvalid, "what", "a shutdown of a guest of which nobody told how it was")
		}
	case c.Token.Step == StepBackup && c.To == StatusDone:
		if c.Point.Time.IsZero() {
			return reject(CodeInvalid, "what", "a backup without its time")
		}
		r.Source.Final = c.Point.Time
	case c.Token.Step == StepLeave || c.Token.Step == StepSeal || c.Token.Step == StepSealCopy:
		return r.learnSeal(c, st)
	case c.Token.Step == StepPull && c.To == StatusDone:
		if !c.Point.Time.Equal(r.Source.Final) || c.Point.Volid == "" || c.Point.Unusable != "" {
			return reject(CodeNoPoint, "guest", string(c.Token.Guest), "site", string(r.Assignment.Target))
		}
		r.Assignment.Point, r.Assignment.Loss = c.Point, 0
	}
	return nil
}

// switched draws the consequences of the moves of a switchover's own steps.
func (s *State) switched(run GuestRun, op Operation, c StepMoved, st Stamp) {
	g := c.Token.Guest
	where := Event{Op: op.ID, Guest: g, Site: run.Source.Site}
	args := []string{"guest", string(g), "site", string(run.Source.Site), "host", string(run.Source.Host), "id", fmt.Sprint(run.Source.VMID)}
	if c.To != StatusDone {
		return
	}
	switch c.Token.Step {
	case StepShutdown:
		s.event(st, because(CodeShutDown, args...), where)
	case StepBackup:
		s.event(st, because(CodeBackedUp, append(args, "point", run.Source.Final.UTC().Format(time.RFC3339))...), where)
	case StepPull:
		where.Site = run.Assignment.Target
		s.event(st, because(CodePulled, "guest", string(g), "site", string(run.Assignment.Target), "point", run.Assignment.Point.Volid), where)
	case StepRevive:
		s.event(st, because(CodeRevived, args...), where)
		if p := s.Guests[g]; p.Phase == PhaseStuck && p.Op == "" {
			s.setPhase(g, s.phaseBefore(run), "", st)
		}
	}
}

// dropRevives ends the work of starting a guest at home again: it is another site's now.
func (s *State) dropRevives(g GuestID, st Stamp) {
	s.dropRuns(g, st, func(_ Operation, run GuestRun) bool { return run.reviving() })
}

// behind returns a guest of the same operation for which a run's shutdown or last look
// at home waits, "" for none: one of its structure that is not ready, one that depends on
// it and still runs, one of its structure that is not restored.
func (s *State) behind(op Operation, run GuestRun, at StepID) GuestID {
	done := func(r GuestRun, id StepID) bool { step, ok := r.Step(id); return !ok || step.Status == StatusDone }
	for _, g := range op.workOrder() {
		other := op.Guests[g]
		if other.State == RunCancelled || other.Owned() || g == run.Assignment.Guest {
			continue
		}
		same := other.Assignment.Structure == run.Assignment.Structure
		depends := at == StepShutdown && slices.Contains(s.Network.Guests[g].After, run.Assignment.Guest)
		if same && !done(other, other.before(at)) || depends && !done(other, StepShutdown) {
			return g
		}
	}
	return ""
}

// before is the step that all of a structure have done before one of it is shut down, or
// given away.
func (r GuestRun) before(at StepID) StepID {
	switch {
	case at != StepStill && r.has(StepBefore):
		return StepBefore // a program that forbids the move of one of them stops all while they serve
	case at != StepStill:
		return StepReady
	case r.has(StepRestore):
		return StepRestore
	}
	return StepUnpark
}

// together says whether every guest of a run's structure that the operation moves has
// come as far as a step.
func (o Operation) together(run GuestRun, before StepID) bool {
	for _, other := range o.Guests {
		if other.Assignment.Structure != run.Assignment.Structure || other.State == RunCancelled || other.Owned() {
			continue
		}
		if step, ok := other.Step(before); !ok || step.Status != StatusDone {
			return false
		}
	}
	return true
}

// planned starts the switchovers whose time has come, with a plan made now, if it moves
// the same guests to the same places.
func (d *decider) planned() {
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		if op.Phase != OpScheduled || d.now.Before(op.At) || d.s.Unconfirmed[id] {
			continue
		}
		c, why := d.startOf(op)
		switch {
		case why.IsZero():
			d.propose(c)
			return
		case d.now.Sub(op.At) >= ScheduleLate:
			d.propose(CancelOp{Op: id, Reason: why})
			return
		default:
			d.why(why)
		}
	}
}

// startOf is the command that starts a scheduled switchover, or what it waits for.
func (d *decider) startOf(op Operation) (BeginOp, Reason) {
	site := op.Plan.Loss.Site
	if v := d.verdicts[SiteDomain(site)]; v.Cause != CauseUp || v.Level != LevelNone {
		return BeginOp{}, because(CodeSourceDown, "op", string(op.ID), "site", string(site))
	}
	plan := PlanFor(d.s, op.Plan.Loss, d.now)
	for _, want := range op.Plan.Assignments {
		i := slices.IndexFunc(plan.Assignments, func(a Assignment) bool { return a.Guest == want.Guest })
		if i < 0 || plan.Assignments[i].Target != want.Target || !d.sound(want.Target) {
			return BeginOp{}, because(CodeStalePlan, "op", string(op.ID), "guest", string(want.Guest), "got", op.Plan.Hash, "have", plan.Hash)
		}
	}
	if len(plan.Assignments) != len(op.Plan.Assignments) {
		return BeginOp{}, because(CodeStalePlan, "op", string(op.ID), "got", op.Plan.Hash, "have", plan.Hash)
	}
	return BeginOp{Kind: op.Kind, Plan: plan, Forced: true, Op: op.ID}, Reason{}
}

// sourceGone says whether the copy that a guest leaves is out of reach: its site is lost
// or silent while people work on it, or its host is down. That only its agent is gone
// makes nothing better by taking it back, and nobody could say what runs there.
func (d *decider) sourceGone(run GuestRun) bool {
	site := run.Source.Site
	v := d.verdicts[SiteDomain(site)]
	if v.Cause == CauseLost && v.Hold.IsZero() && v.Level >= LevelPrepareA || d.resting(site) {
		return true
	}
	known := d.s.Domains[HostDomain(run.Source.Host)]
	return known.Cause == CauseHostDown && d.now.Sub(known.Since.At) >= d.s.Network.Policy.PrepareB.D()
}

// nextSwitched is what a switchover's run needs beyond what every run does; nil: nothing.
func (d *decider) nextSwitched(op Operation, run GuestRun, step Step, t Token) Command {
	if !op.Kind.planned() || run.State != RunActive || run.Owned() {
		return nil
	}
	if op.ranAtHome(run) {
		return d.back(op, t.Guest, because(CodeHomeRan, "guest", string(t.Guest), "structure", string(run.Assignment.Structure), "site", string(run.Left.Site)))
	}
	switch gone := d.sourceGone(run); {
	case !gone:
		return nil
	case step.ID.needsSource():
		return d.back(op, t.Guest, because(CodeSourceDown, "guest", string(t.Guest), "site", string(run.Source.Site)))
	case step.ID != StepStill || !op.together(run, run.before(StepStill)):
		return nil
	case step.Status == StatusPending: // it was shut down, and nobody there could start it
		return StepMoved{Token: t, Attempt: step.Attempt + 1, To: StatusRunning}
	case step.Status == StatusRunning:
		return StepMoved{Token: t, Attempt: step.Attempt, To: StatusDone, Note: string(run.Source.Site) + " is silent"}
	}
	return nil
}

// back takes the structure of a guest back, or calls a person if one of it moved already.
func (d *decider) back(op Operation, g GuestID, why Reason) Command {
	if !slices.Contains(d.s.cancellable(op), g) {
		return Stick{Op: op.ID, Guest: g, Reason: why}
	}
	return CancelOp{Op: op.ID, Guests: []GuestID{g}, Reason: why}
}

// checkSwitchover: a guest that was moved by plan is owned elsewhere only after it was
// shut down, and from the backup that was made then (never two copies, nothing lost);
// and nothing starts at home again what is another's.
func checkSwitchover(s *State, op Operation, run GuestRun) error {
	if !op.Kind.planned() {
		return nil
	}
	g := run.Assignment.Guest
	if run.Owned() && run.Assignment.Keep.Stays() {
		for _, id := range []StepID{StepShutdown, StepSealCopy, StepStill} {
			if step, ok := run.Step(id); (!ok || step.Status != StatusDone) && (id != StepSealCopy || !run.Source.Unstarted) {
				return violated("S1", "%s is owned by %s before %s was done", g, run.Assignment.Target, id)
			}
		}
	} else if run.Owned() {
		for _, id := range []StepID{StepShutdown, StepBackup, StepPull, StepRestore, StepStill} {
			if step, ok := run.Step(id); !ok || step.Status != StatusDone {
				return violated("S1", "%s is owned by %s before %s was done", g, run.Assignment.Target, id)
			}
		}
		if run.Source.Final.IsZero() || !run.Assignment.Point.Time.Equal(run.Source.Final) {
			return violated("S7", "%s was moved from the backup of %s, its last is of %s", g, run.Assignment.Point.Time, run.Source.Final)
		}
	}
	if run.reviving() && s.Guests[g].Epoch != run.Source.Epoch {
		return violated("S1", "%s is to start at %s again and is %s's", g, run.Source.Site, s.Guests[g].Owner)
	}
	return nil
}
