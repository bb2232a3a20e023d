package failover

import (
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// MaxAttempts bounds how often a step is tried before another restore point,
// another target, or a person.
const MaxAttempts = 5

// progress moves the operations on: what the executors have reported, the two
// steps that are log entries (own, serve), what has failed, what has ended.
func (d *decider) progress() {
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		if d.s.Unconfirmed[id] {
			d.why(because(CodeUnconfirmed, "op", string(id)))
			continue
		}
		if c := d.nextFor(op); c != nil {
			d.propose(c)
			return
		}
		if op.Phase == OpScheduled {
			continue
		}
		if _, done := op.outcome(); done {
			d.propose(EndOp{Op: id})
			return
		}
	}
}

func (d *decider) nextFor(op Operation) Command {
	for _, g := range op.workOrder() {
		run := op.Guests[g]
		step, _, left := run.Current()
		if !left || !op.mayRun(run) {
			continue
		}
		token := op.TokenOf(g)
		switch {
		case step.Status == StatusFailed:
			return d.afterFailure(op, run, step, token)
		case step.ID == StepRevive || step.ID == StepRejoin: // whatever becomes of the target
		case d.nextSwitched(op, run, step, token) != nil:
			return d.nextSwitched(op, run, step, token)
		case d.resting(run.Assignment.Target) || d.targetGone(run.Assignment.Target, run.Assignment.Host):
			if c := d.withoutTarget(op, run); c != nil {
				return c
			}
		case step.ID == StepOwn && run.Admitted != 0 && d.sound(run.Assignment.Target) && d.standing(run.Assignment.Host) && (!op.Kind.planned() || op.together(run, StepStill)):
			if run.lookedLong(d.now, stillCounts) {
				return LookAgain{Token: token}
			}
			return Own{Token: token}
		case step.ID == StepServe:
			return Serve{Token: token}
		case run.State == RunActive && (step.ID == StepStart || step.ID == StepLive):
			if dep, ok := d.deadDependency(op, run); ok {
				return Stick{Op: op.ID, Guest: g, Reason: because(CodeWaitsFor, "guest", string(g), "for", string(dep))}
			}
		}
	}
	return nil
}

// withoutTarget says what becomes of a run whose target cannot work; nil: it
// waits for the target to come back.
func (d *decider) withoutTarget(op Operation, run GuestRun) Command {
	target := run.Assignment.Target
	movable := !run.Owned() && run.State == RunActive
	if op.Kind.planned() && movable {
		return d.back(op, run.Assignment.Guest, because(CodeLost, "domain", string(SiteDomain(target))))
	}
	code, waits := CodeLost, op.Kind.aside()
	if d.resting(target) {
		code, waits = CodeMaintenance, !movable || op.Kind.aside()
	}
	why := because(code, "domain", string(SiteDomain(target)))
	switch {
	case waits:
		return nil
	case movable:
		return d.elsewhere(op, run, why)
	}
	return Stick{Op: op.ID, Guest: run.Assignment.Guest, Reason: why}
}

// targetGone says whether a target is lost itself, or was unable to work for
// as long as makes a loss: without its agent or its host no step goes on.
func (d *decider) targetGone(site SiteID, host HostID) bool {
	v := d.verdicts[SiteDomain(site)]
	if v.Cause == CauseLost && v.Hold.IsZero() && v.Level >= LevelPrepareA {
		return true
	}
	for id, causes := range map[DomainID][]Cause{
		SiteDomain(site): {CauseAgentOnly},
		HostDomain(host): {CauseHostDown, CauseLocked},
	} {
		known := d.s.Domains[id]
		long := d.now.Sub(known.Since.At) >= d.s.Network.Policy.Commit.D()
		if long && slices.Contains(causes, known.Cause) && d.verdicts[id].Cause == known.Cause {
			return true
		}
	}
	return false
}

// resting says whether a target is silent because people work on it. What was
// restored there waits for them; what was not yet owned goes elsewhere once
// that is worth a second restore.
func (d *decider) resting(site SiteID) bool {
	v := d.verdicts[SiteDomain(site)]
	return v.Cause == CauseMaintenance && v.Seeing == 0 && v.Silence >= d.s.Network.Policy.PrepareB.D()
}

// sound says whether nothing speaks against giving a guest to a target now.
// Ownership cannot be taken back: what is suspected may wait for its verdict.
func (d *decider) sound(site SiteID) bool {
	v := d.verdicts[SiteDomain(site)]
	host, _, _ := d.s.Network.Target(site)
	return v.Level < LevelSuspect && v.Cause != CauseLost && v.Cause != CauseMeshDown && v.Cause != CauseMaintenance && d.standing(host)
}

// standing says whether a host is not known to be down.
func (d *decider) standing(host HostID) bool {
	return d.verdicts[HostDomain(host)].Cause != CauseHostDown
}

// deadDependency finds a guest that this one waits for and that a person has
// to look at first.
func (d *decider) deadDependency(op Operation, run GuestRun) (GuestID, bool) {
	for _, dep := range d.s.waitsFor(op, run) {
		if op.Guests[dep].State == RunStuck {
			return dep, true
		}
	}
	return "", false
}

// afterFailure chooses what follows a failed attempt.
func (d *decider) afterFailure(op Operation, run GuestRun, step Step, t Token) Command {
	note := because(CodeStepFailed, "guest", string(t.Guest), "step", string(step.ID), "note", step.Note)
	fixed := op.Kind.aside() && op.Kind != KindWarm // to one copy, at its place
	movable := !run.Owned() && run.State == RunActive && !fixed
	switch {
	case step.ID.called():
		return d.afterHook(op, run, step, t)
	case step.Failure == FailProof, step.ID == StepFence && step.Failure == FailTransient && step.Attempt >= MaxAttempts:
		return Stick{Op: op.ID, Guest: t.Guest, Reason: because(CodeNoProof, "guest", string(t.Guest), "op", string(op.ID),
			"host", string(op.Plan.Loss.Host), "note", step.Note)}
	case step.Failure == FailTransient && step.Attempt < MaxAttempts:
		return RetryStep{Token: t, Wait: backoff(step.Attempt)}
	case movable && op.Kind.planned():
		return d.back(op, t.Guest, note)
	case op.Kind == KindWarm && step.ID == StepRestore:
		return CancelOp{Op: op.ID, Reason: because(CodeWarmFailed, "guest", string(t.Guest), "site", string(run.Assignment.Target), "note", step.Note)}
	case movable && run.Assignment.Warm != "":
		if a, ok := d.coldHere(op, run); ok {
			return Retarget{Op: op.ID, Guest: t.Guest, Assignment: a, Reason: note}
		}
		return d.elsewhere(op, run, note)
	case movable && step.Failure == FailTaken:
		if a, ok := d.otherID(op, run); ok {
			return Retarget{Op: op.ID, Guest: t.Guest, Assignment: a, Reason: note}
		}
		return d.elsewhere(op, run, note)
	case run.Owned() && run.State == RunActive && !op.Kind.planned() && step.ID == StepRestore && step.Failure == FailPoint:
		if a, ok := d.olderSame(op, run); ok {
			return Retarget{Op: op.ID, Guest: t.Guest, Assignment: a, Reason: note}
		}
	case movable && step.Failure == FailPoint:
		if a, ok := d.olderPoint(op, run); ok {
			return Retarget{Op: op.ID, Guest: t.Guest, Assignment: a, Reason: note}
		}
		return d.elsewhere(op, run, note)
	case movable && step.Failure != FailFatal:
		return d.elsewhere(op, run, note)
	}
	return Stick{Op: op.ID, Guest: t.Guest, Reason: note}
}

// backoff doubles from two seconds to one minute.
func backoff(attempt int) time.Duration {
	return min(time.Minute, 2*time.Second<<max(0, attempt-1))
}

// olderPoint returns the same assignment with the next older usable restore
// point that has not been tried, by the mode that is declared now: it may have
// changed since the plan was made.
func (d *decider) olderPoint(op Operation, run GuestRun) (Assignment, bool) {
	a := run.Assignment
	a.Automatic = d.s.Network.Structures[a.Structure].Mode == network.ModeAuto
	limit := d.s.Network.Guests[a.Guest].MaxLoss.D()
	points, older := d.s.PointsAt(a.Guest, a.Target)
	if op.Plan.Loss.ByHand {
		points = append(points, older...)
	}
	for _, pt := range points {
		tooOld := limit > 0 && !op.Plan.Loss.ByHand && d.now.Sub(pt.Time) > limit
		if pt.Unusable != "" || tooOld || !pt.Time.Before(a.Point.Time) || tried(run, a.Target, pt.Volid) {
			continue
		}
		a.Point, a.Warm = pt, ""
		a.Live = d.s.mayLive(op.Kind, a.Guest, pt)
		a.Loss = max(0, lastWrite(d.s, op.Plan.Loss, d.now).Sub(pt.Time))
		return a, d.mayGo(op, a)
	}
	return a, false
}

// otherID returns the same assignment if the target has an id left for it.
func (d *decider) otherID(op Operation, run GuestRun) (Assignment, bool) {
	a := run.Assignment
	a.Automatic = d.s.Network.Structures[a.Structure].Mode == network.ModeAuto
	return a, d.mayGo(op, a)
}

// mayGo says whether the log takes an assignment that gets an id of its own. What it would refuse
// is no way on: it would be proposed for ever.
func (d *decider) mayGo(op Operation, a Assignment) bool {
	_, free := d.s.nextID(a.Target, nil, d.s.idsInUse())
	return free && d.s.checkAssignment(op.Kind, a) == nil
}

func tried(run GuestRun, target SiteID, volid string) bool {
	for _, t := range run.Tried {
		if t.Target == target && t.Volid == volid {
			return true
		}
	}
	return run.Assignment.Target == target && run.Assignment.Point.Volid == volid
}

// elsewhere looks for the best target that has not been tried for this guest.
func (d *decider) elsewhere(op Operation, run GuestRun, why Reason) Command {
	g := run.Assignment.Guest
	if op.Kind == KindRescue { // its only target is the site's own
		return Stick{Op: op.ID, Guest: g, Reason: why}
	}
	free := d.s.Clone()
	p := free.Guests[g]
	p.Op = ""
	free.Guests[g] = p
	avoid := map[SiteID]bool{run.Assignment.Target: true}
	for _, t := range run.Tried {
		avoid[t.Target] = true
	}
	for _, target := range d.s.Network.SiteIDs() {
		avoid[target] = avoid[target] || !d.sound(target)
	}
	loss := Loss{Site: op.Plan.Loss.Site, Host: op.Plan.Loss.Host, Guests: []GuestID{g}, Target: op.Plan.Loss.Target, ByHand: op.Plan.Loss.ByHand}
	if plan := planAvoiding(free, loss, d.now, avoid); len(plan.Assignments) == 1 {
		return Retarget{Op: op.ID, Guest: g, Assignment: plan.Assignments[0], Reason: why}
	}
	return Stick{Op: op.ID, Guest: g, Reason: why}
}
