package failover

import (
	"fmt"
	"slices"
)

// A guest whose copy was deleted or broke after ownership moved is restored again, at a person's
// word. If its restore point turns out unusable then, an older one follows as it would before
// ownership: under the same id, at the same target, from the same backups.

// olderSame returns the assignment of an owned run with the next older restore point.
func (d *decider) olderSame(op Operation, run GuestRun) (Assignment, bool) {
	a := run.Assignment
	limit := d.s.Network.Guests[a.Guest].MaxLoss.D()
	for _, pt := range d.s.Readiness[a.Target].Ready.Points[a.Guest] { // newest first
		tooOld := limit > 0 && !op.Plan.Loss.ByHand && d.now.Sub(pt.Time) > limit
		if tooOld || !d.s.mayRepoint(run, pt) {
			continue
		}
		a.Loss += a.Point.Time.Sub(pt.Time)
		a.Point = pt
		return a, true
	}
	return a, false
}

// mayRepoint says whether an owned run may be restored from a point after its own was no good.
func (s *State) mayRepoint(run GuestRun, pt RestorePoint) bool {
	was := run.Assignment.Point
	return pt.Unusable == "" && pt.Storage == was.Storage && pt.Namespace == was.Namespace && pt.Time.Before(was.Time) &&
		!tried(run, run.Assignment.Target, pt.Volid)
}

// repoint has an owned run restored from an older point.
func (c Retarget) repoint(s *State, op Operation, st Stamp) error {
	run := op.Guests[c.Guest]
	step, at, left := run.Current()
	was, a := run.Assignment, c.Assignment
	switch {
	case !left || step.ID != StepRestore || step.Status != StatusFailed || step.Failure != FailPoint || op.Kind.planned() || run.State != RunActive || s.Guests[c.Guest].Op != op.ID:
		return reject(CodeWrongPhase, "op", string(c.Op), "guest", string(c.Guest), "phase", "owned")
	case a.Guest != was.Guest || a.Target != was.Target || a.Host != was.Host || a.VLAN != was.VLAN || a.Live || a.Warm != "":
		return reject(CodeInvalid, "what", fmt.Sprintf("another target for %s, which is %s's", c.Guest, was.Target))
	case !s.mayRepoint(run, a.Point):
		return reject(CodeNoPoint, "guest", string(c.Guest), "site", string(was.Target))
	}
	run.Tried = append(slices.Clone(run.Tried), Tried{
		Target: was.Target, Volid: was.Point.Volid, VMID: run.VMID, Reason: c.Reason, Protected: was.Point.Protected,
	})
	run.Assignment, run.Token = a, st.Index
	again := pendingSteps(StepProtect, StepRestore)
	if at > 0 && run.Steps[at-1].ID == StepProtect {
		at--
		run.Steps = slices.Replace(run.Steps, at, at+2, again...)
	} else {
		run.Steps = slices.Replace(run.Steps, at, at+1, again...)
	}
	op.Guests[c.Guest] = run
	s.Ops[op.ID] = op
	s.setPhase(c.Guest, s.phaseIn(run), op.ID, st)
	s.event(st, because(CodeRetarget, "guest", string(c.Guest), "site", string(a.Target),
		"point", a.Point.Volid, "why", c.Reason.Code), Event{Op: op.ID, Guest: c.Guest, Site: a.Target})
	return nil
}
