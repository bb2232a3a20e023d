package failover

import (
	"fmt"
	"slices"
	"time"
)

// shownFor is how long an ended operation stays on the status screen.
const shownFor = 24 * time.Hour

// ops returns the operations worth a place on the screen: running ones first,
// then the recently ended, newest first.
func (e explainer) ops() []OpView {
	out := []OpView{}
	for _, id := range e.s.opOrder() {
		if e.s.Ops[id].Kind == KindWarm {
			continue // it shows in the guest, unless it needs a person
		}
		out = append(out, ExplainOp(e.s, id, e.now))
	}
	var ended []OpID
	for id, op := range e.s.Ops {
		if op.Phase.Ended() && e.now.Sub(op.Ended.At) < shownFor {
			ended = append(ended, id)
		}
	}
	slices.SortFunc(ended, func(a, b OpID) int { return compareIndex(e.s.Ops[b].Ended.Index, e.s.Ops[a].Ended.Index) })
	for _, id := range ended {
		out = append(out, ExplainOp(e.s, id, e.now))
	}
	return out
}

// ExplainOp returns one operation as the screens show it; the zero view when
// there is none of that id.
func ExplainOp(s *State, id OpID, now time.Time) OpView {
	op, ok := s.Ops[id]
	if !ok {
		return OpView{}
	}
	v := OpView{
		ID: op.ID, Kind: op.Kind, Phase: op.Phase, Domain: op.concerns(), Of: op.Of, Begun: op.Begun.At, At: op.At, Committed: op.Committed.At,
		Ended: op.Ended.At, By: op.Begun.Actor, PlanHash: op.Plan.Hash, LeftOut: op.Plan.LeftOut, Cancelled: op.Cancelled,
		Waiting: op.Waiting(), Offer: s.OfferOf(id, now), Guests: []OpGuestView{}, Retry: s.retryable(op),
	}
	if op.Phase == OpScheduled {
		for _, a := range op.Plan.Assignments {
			v.Guests = append(v.Guests, OpGuestView{
				Guest: a.Guest, Priority: a.Priority, Target: a.Target, Total: a.Point.Size, Status: StatusPending,
				Waits: because(CodeScheduled, "op", string(id), "guests", fmt.Sprint(len(op.Plan.Assignments)), "site", string(op.Plan.Loss.Site), "at", clockText(op.At)),
			})
		}
	}
	j := newJudge(s, s.notBefore(now))
	for _, g := range op.workOrder() {
		gv := s.opGuest(op, g)
		if run := op.Guests[g]; run.Served.Index != 0 && s.Guests[g].Epoch == run.Epoch {
			gv.Reach = j.reach(g)
		}
		v.Bytes += gv.Bytes
		v.Total += gv.Total
		v.Guests = append(v.Guests, gv)
	}
	v.Remaining = s.remaining(op, v, now)
	return v
}

func (s *State) opGuest(op Operation, g GuestID) OpGuestView {
	run := op.Guests[g]
	step, _, left := run.Current()
	if !left && len(run.Steps) > 0 {
		step = run.Steps[len(run.Steps)-1]
	}
	v := OpGuestView{
		Guest: g, Priority: run.Assignment.Priority, Target: run.Assignment.Target, VMID: run.VMID, State: run.State,
		Step: step.ID, Status: step.Status, Attempt: step.Attempt, Loss: run.Assignment.Loss, Served: run.Served.At,
		Note: step.Note, Stuck: run.Stuck, Back: run.Back, Total: run.Assignment.Point.Size,
	}
	if restore, ok := run.copying(); ok {
		v.Bytes = restore.Bytes
		if restore.Total > 0 {
			v.Total = restore.Total
		}
		if restore.Status == StatusDone {
			v.Bytes = v.Total
		}
	}
	if run.Served.Index != 0 {
		v.Took = run.Served.At.Sub(op.Begun.At)
		// What was lost is what was written after the restore point until the
		// silence began, not until the plan was made.
		v.Loss = run.Assignment.Loss
	}
	v.Waits = s.waits(op, run, step)
	if run.stuckIn(s.Guests[g].Epoch) && s.WayHomeOpen(g) {
		v.Home = s.Network.Home(g)
	}
	return v
}

// waits says what a step that is not running waits for.
func (s *State) waits(op Operation, run GuestRun, step Step) Reason {
	if run.State != RunActive || step.Status != StatusPending || op.Phase.Ended() {
		return Reason{}
	}
	g := string(run.Assignment.Guest)
	switch step.ID {
	case StepProtect:
		switch {
		case s.unprepared(op, run) && !run.Assignment.Automatic:
			return because(CodeWaitApproval, "guest", g, "op", string(op.ID))
		case s.unprepared(op, run):
			return because(CodeCountdown, "guest", g, "op", string(op.ID))
		}
	case StepRestore:
		return because(CodeQueued, "guest", g, "site", string(run.Assignment.Target))
	case StepFence, StepBefore, StepOwn:
		if run.Admitted == 0 && !run.Assignment.Automatic {
			return because(CodeWaitApproval, "guest", g, "op", string(op.ID))
		}
		if run.Admitted == 0 {
			return because(CodeCountdown, "guest", g, "op", string(op.ID))
		}
	case StepShutdown, StepStill:
		if g := s.behind(op, run, step.ID); g != "" {
			return because(CodeWaitsFor, "guest", string(run.Assignment.Guest), "for", string(g))
		}
	case StepStart, StepLive:
		if deps := s.waitsFor(op, run); len(deps) > 0 {
			return because(CodeWaitsFor, "guest", g, "for", string(deps[0]))
		}
	}
	return Reason{}
}

// remaining extrapolates the restores from what they have done so far.
func (s *State) remaining(op Operation, v OpView, now time.Time) time.Duration {
	if op.Phase.Ended() || v.Bytes == 0 || v.Bytes >= v.Total {
		return 0
	}
	elapsed := now.Sub(op.Begun.At)
	if elapsed <= 0 {
		return 0
	}
	return time.Duration(float64(elapsed) * float64(v.Total-v.Bytes) / float64(v.Bytes))
}
