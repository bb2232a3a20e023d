package failover

import "time"

// MaxAttempts bounds how often a step is tried before another restore point,
// another target, or a person.
const MaxAttempts = 5

// progress moves the operations on: what the executors have reported, the two
// steps that are log entries (own, serve), what has failed, what has ended.
func (d *decider) progress() {
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		if c := d.nextFor(op); c != nil {
			d.propose(c)
			return
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
		case step.ID == StepOwn && run.Admitted != 0:
			return Own{Token: token}
		case step.ID == StepServe:
			return Serve{Token: token}
		case !run.Owned() && run.State == RunActive && d.targetGone(run.Assignment.Target):
			return d.elsewhere(op, run, because(CodeLost, "domain", string(SiteDomain(run.Assignment.Target))))
		case run.State == RunActive && step.ID == StepStart:
			if dep, ok := d.deadDependency(op, run); ok {
				return Stick{Op: op.ID, Guest: g, Reason: because(CodeWaitsFor, "guest", string(g), "for", string(dep))}
			}
		}
	}
	return nil
}

// targetGone says whether a target is lost itself.
func (d *decider) targetGone(site SiteID) bool {
	v := d.verdicts[SiteDomain(site)]
	return v.Cause == CauseLost && v.Hold.IsZero() && v.Level >= LevelPrepareA
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
	note := because(CodeRetry, "guest", string(t.Guest), "step", string(step.ID), "note", step.Note)
	movable := !run.Owned() && run.State == RunActive
	switch {
	case step.Failure == FailTransient && step.Attempt < MaxAttempts:
		return RetryStep{Token: t, Wait: backoff(step.Attempt)}
	case movable && step.Failure == FailPoint:
		if a, ok := d.olderPoint(run); ok {
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
// point that has not been tried.
func (d *decider) olderPoint(run GuestRun) (Assignment, bool) {
	a := run.Assignment
	for _, pt := range d.s.Readiness[a.Target].Ready.Points[a.Guest] {
		if pt.Unusable != "" || !pt.Time.Before(a.Point.Time) || tried(run, a.Target, pt.Volid) {
			continue
		}
		a.Point = pt
		a.Loss = max(0, d.now.Sub(pt.Time))
		return a, true
	}
	return a, false
}

func tried(run GuestRun, target SiteID, volid string) bool {
	for _, t := range run.Tried {
		if t.Target == target && t.Volid == volid {
			return true
		}
	}
	return run.Assignment.Target == target && run.Assignment.Point.Volid == volid
}

// elsewhere looks for another target that has not been tried for this guest.
func (d *decider) elsewhere(op Operation, run GuestRun, why Reason) Command {
	g := run.Assignment.Guest
	free := d.s.Clone()
	p := free.Guests[g]
	p.Op = ""
	free.Guests[g] = p
	for _, target := range d.s.Network.SiteIDs() {
		if target == run.Assignment.Target || triedTarget(run, target) || d.targetGone(target) {
			continue
		}
		if op.Plan.Loss.Target != "" && target != op.Plan.Loss.Target {
			continue
		}
		loss := Loss{Site: op.Plan.Loss.Site, Guests: []GuestID{g}, Target: target, ByHand: op.Plan.Loss.ByHand}
		if plan := PlanFor(free, loss, d.now); len(plan.Assignments) == 1 {
			return Retarget{Op: op.ID, Guest: g, Assignment: plan.Assignments[0], Reason: why}
		}
	}
	return Stick{Op: op.ID, Guest: g, Reason: why}
}

func triedTarget(run GuestRun, target SiteID) bool {
	for _, t := range run.Tried {
		if t.Target == target {
			return true
		}
	}
	return false
}
