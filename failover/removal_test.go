package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// settledPlay is apartPlay after a failback of kept1 has ended.
func settledPlay(t *testing.T, keep failover.Keep) (p *play, home, away failover.Place) {
	t.Helper()
	p = apartPlay(t)
	home, away = p.s.HomePlace(kept1), p.s.Guests[kept1].Now()
	op := p.failback(keep, kept1)
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	return p, home, away
}

// seen has the agents of all sites tell that every copy stands there but those at these places.
func (p *play) seen(gone ...failover.Place) {
	p.t.Helper()
	for _, site := range p.s.Network.SiteIDs() {
		copies := slices.DeleteFunc(p.s.CopiesAt(site), func(c failover.Copy) bool {
			return slices.ContainsFunc(gone, func(at failover.Place) bool { return at.Host == c.Host && at.VMID == c.VMID })
		})
		if len(copies) > 0 || len(p.s.CopiesAt(site)) > 0 {
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: site, Copies: copies, AsOf: p.s.Index}})
		}
	}
}

func removal(at failover.Place) failover.RemoveCopy {
	return failover.RemoveCopy{Guest: kept1, Host: at.Host, VMID: at.VMID}
}

func lineageOf(t *testing.T, p *play, at failover.Place) failover.LineageID {
	t.Helper()
	for _, l := range p.s.LineagesOf(kept1) {
		if l.Host == at.Host && l.VMID == at.VMID {
			return l.ID()
		}
	}
	t.Fatalf("no lineage of %+v", at)
	return ""
}

// TestCopyIsRemovedAfterItsSeal: a copy that was left goes only once a person has said that
// nothing of it is missed and both sites have read what is sealed again; what is sealed goes
// last, after its retention.
func TestCopyIsRemovedAfterItsSeal(t *testing.T) {
	p, _, left := settledPlay(t, failover.KeepHome)
	if err := p.apply(removal(left)); rejection(err) != failover.CodeNotAcked {
		t.Fatalf("before it is acknowledged: %v, want %s", err, failover.CodeNotAcked)
	}
	p.must(failover.AckSeal{Guest: kept1})
	p.seen()
	p.must(removal(left))
	op := p.newest()
	if got, want := p.steps(op.ID, kept1), []failover.StepID{failover.StepSealVerify, failover.StepSealCopy, failover.StepRemove}; !slices.Equal(got, want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	if p.s.Guests[kept1].Op != "" {
		t.Error("a removal holds its guest")
	}
	if err := p.apply(removal(left)); rejection(err) != failover.CodeGuestBusy {
		t.Errorf("a second one beside it: %v, want %s", err, failover.CodeGuestBusy)
	}
	early := op.TokenOf(kept1)
	early.Step = failover.StepRemove
	if p.s.MayDestroy(early) == nil {
		t.Error("the copy may be deleted before anything was read")
	}
	for _, at := range []struct {
		step failover.StepID
		site failover.SiteID
	}{{failover.StepSealVerify, "quai"}, {failover.StepSealCopy, "moulin"}, {failover.StepRemove, "quai"}} {
		p.done(kept1, at.step)
		if !p.runs(kept1, at.site) {
			t.Fatalf("%s is not to do at %s", at.step, at.site)
		}
	}
	token := p.s.Ops[op.ID].TokenOf(kept1)
	if p.s.MayDestroy(token) == nil {
		t.Error("the copy may be deleted before the step is claimed")
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.MayDestroy(token); err != nil {
		t.Fatalf("the copy may not be deleted: %v", err)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	p.must(failover.EndOp{Op: op.ID})
	if got := p.s.Ops[op.ID].Phase; got != failover.OpDone {
		t.Fatalf("the removal ended %s", got)
	}
	if err := p.apply(removal(left)); rejection(err) != failover.CodeNothing {
		t.Errorf("typed twice: %v, want %s", err, failover.CodeNothing)
	}

	line := lineageOf(t, p, left)
	up := failover.GiveUpSeal{Guest: kept1, Lineage: line}
	if err := p.apply(up); rejection(err) != failover.CodeStillKept {
		t.Errorf("given up at once: %v, want %s", err, failover.CodeStillKept)
	}
	p.now = p.now.Add(failover.KeepSealed + time.Hour)
	p.seen()
	if err := p.apply(up); rejection(err) != failover.CodeCopyStands {
		t.Errorf("given up while the copy is seen: %v, want %s", err, failover.CodeCopyStands)
	}
	p.seen(left)
	p.tell(kept(true))
	if p.s.Lineages[line].Sealed == nil {
		t.Fatal("forgotten where its backups are sealed, since its site keeps none")
	}
	p.must(up)
	op = p.newest()
	p.done(kept1, failover.StepUnseal)
	if token := p.s.Ops[op.ID].TokenOf(kept1); !p.runs(kept1, "quai") || p.s.MayUnseal(token) == nil {
		t.Error("not to do at quai, or the protection may be lifted before the step is claimed")
	}
	p.done(kept1, failover.StepUnsealCopy)
	if !p.runs(kept1, "moulin") {
		t.Error("the second site does not give it up")
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op.ID})
	if p.s.Lineages[line].Sealed != nil {
		t.Error("given up, and the log says that it is sealed")
	}
}

// TestParkedCopyIsItsStructures: on a structure's host the program removes nothing.
func TestParkedCopyIsItsStructures(t *testing.T) {
	p, parked, away := settledPlay(t, failover.KeepAway)
	p.must(failover.AckSeal{Guest: kept1})
	if err := p.apply(removal(parked)); rejection(err) != failover.CodeTheirCopy {
		t.Errorf("removed on pve-moulin: %v, want %s", err, failover.CodeTheirCopy)
	}
	copies := p.s.LeftCopies(kept1, p.now)
	if len(copies) != 2 {
		t.Fatalf("left: %+v, want the parked copy and the one at quai", copies)
	}
	for _, c := range copies {
		if theirs := c.Host == parked.Host; c.Theirs != theirs || c.Gone || (c.Remove.Code == failover.CodeTheirCopy) != theirs || c.Moved != (c.Host == away.Host) {
			t.Errorf("told %+v", c)
		}
	}
}

// TestCopyThatMovedIsSealedAndRemoved: what moved home has nothing of its own that could be
// missed; it is sealed all the same before it goes.
func TestCopyThatMovedIsSealedAndRemoved(t *testing.T) {
	p, _, away := settledPlay(t, failover.KeepAway)
	p.must(removal(away))
	op := p.newest()
	want := []failover.StepID{failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy, failover.StepRemove}
	if got := p.steps(op.ID, kept1); !slices.Equal(got, want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	p.done(kept1, failover.StepRemove)
	if seal := p.s.SealOf(kept1, away); seal == nil || len(seal.Sites()) != 2 || seal.Acked.Index != op.Begun.Index {
		t.Fatalf("sealed as %+v, want at two sites and acknowledged by who had it removed", seal)
	}
	if !p.runs(kept1, "quai") {
		t.Error("the removal is not to do at quai")
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op.ID})
}

// TestUnsealedBranchIsOnlySealed: a copy that may hold what no other one has is not removed
// with the same word that seals it.
func TestUnsealedBranchIsOnlySealed(t *testing.T) {
	p, _, away := settledPlay(t, failover.KeepAway)
	l := p.s.Lineages[lineageOf(t, p, away)]
	l.Moved = false
	p.s.Lineages[l.ID()], p.snapshot = l, ""
	p.must(removal(away))
	op := p.newest()
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op.ID})
	if seal := p.s.SealOf(kept1, away); seal == nil || seal.Acked.Index != 0 {
		t.Fatalf("sealed as %+v, want sealed and not acknowledged", seal)
	}
	if err := p.apply(removal(away)); rejection(err) != failover.CodeNotAcked {
		t.Errorf("removed before a person looked: %v, want %s", err, failover.CodeNotAcked)
	}
}

// TestRemovalYieldsToAMove: whose guest moves again may need the copy; its removal ends.
func TestRemovalYieldsToAMove(t *testing.T) {
	p, _, left := settledPlay(t, failover.KeepHome)
	p.must(failover.AckSeal{Guest: kept1})
	p.must(removal(left))
	op := p.newest()
	p.done(kept1, failover.StepRemove)
	token := p.s.Ops[op.ID].TokenOf(kept1)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	point := restorePoint(kept1, p.now, gib)
	point.Namespace = "moulin"
	p.tell(func(r *failover.Readiness) { r.Points = map[failover.GuestID][]failover.RestorePoint{kept1: {point}} })
	p.move(kept1)
	if p.s.TokenCurrent(token) == nil || p.s.MayDestroy(token) == nil {
		t.Error("the copy may still be deleted")
	}
	if end, ok := p.decided().(failover.EndOp); !ok || end.Op != op.ID {
		t.Errorf("decided %+v, want that the removal ends", p.decided())
	}
}

// TestRemovalIsCancelled: what is sealed stays sealed, the copy stays.
func TestRemovalIsCancelled(t *testing.T) {
	p, _, left := settledPlay(t, failover.KeepHome)
	p.must(failover.AckSeal{Guest: kept1})
	p.must(removal(left))
	op := p.newest()
	token := op.TokenOf(kept1)
	p.must(failover.CancelOp{Op: op.ID, Reason: failover.Reason{Code: "WWW-1409"}})
	p.must(failover.EndOp{Op: op.ID})
	if p.s.TokenCurrent(token) == nil || p.s.Ops[op.ID].Phase != failover.OpCancelled || p.s.SealOf(kept1, left) == nil {
		t.Errorf("cancelled: %+v, sealed %+v", p.s.Ops[op.ID].Phase, p.s.SealOf(kept1, left))
	}
}

// TestRemovalThatFailsWaitsForAPerson: nothing is retargeted that has only one place.
func TestRemovalThatFailsWaitsForAPerson(t *testing.T) {
	for _, failure := range []failover.Failure{failover.FailTransient, failover.FailPoint, failover.FailTarget} {
		p, _, left := settledPlay(t, failover.KeepHome)
		p.must(failover.AckSeal{Guest: kept1})
		p.must(removal(left))
		op := p.newest()
		for attempt := 1; ; attempt++ {
			token := p.s.Ops[op.ID].TokenOf(kept1)
			p.must(failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusRunning})
			p.must(failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusFailed, Failure: failure, Note: "no"})
			c := p.decided()
			if retry, again := c.(failover.RetryStep); again && attempt < failover.MaxAttempts {
				p.must(retry)
				continue
			}
			if _, ok := c.(failover.Stick); !ok {
				t.Errorf("%s: decided %T, want a person", failure, c)
			}
			p.must(c)
			break
		}
		p.must(failover.EndOp{Op: op.ID})
		p.must(failover.RetryOp{Op: op.ID})
		p.done(kept1, "")
	}
}

// TestStuckRemovalWaitsForItsGuestToBeHome: a retry would wait for as long as the guest is away, and hold
// up whatever else its copies are wanted for (histories, seed 23207).
func TestStuckRemovalWaitsForItsGuestToBeHome(t *testing.T) {
	p, _, left := settledPlay(t, failover.KeepHome)
	p.must(failover.AckSeal{Guest: kept1})
	p.must(removal(left))
	op := p.newest()
	token := p.s.Ops[op.ID].TokenOf(kept1)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusFailed, Failure: failover.FailFatal, Note: "it was started"})
	p.must(p.decided()) // stick
	p.must(failover.EndOp{Op: op.ID})
	point := restorePoint(kept1, p.now, gib)
	point.Namespace = "moulin"
	p.tell(func(r *failover.Readiness) { r.Points = map[failover.GuestID][]failover.RestorePoint{kept1: {point}} })
	p.move(kept1)
	if err := p.apply(failover.RetryOp{Op: op.ID}); rejection(err) != failover.CodeGuestBusy {
		t.Errorf("while it moves: %v, want %s", err, failover.CodeGuestBusy)
	}
	p.done(kept1, "")
	p.must(p.decided()) // that the move has ended
	if err := p.apply(failover.RetryOp{Op: op.ID}); rejection(err) != failover.CodeStillAway {
		t.Errorf("while it is away: %v, want %s", err, failover.CodeStillAway)
	}
	if p.s.Ops[op.ID].Phase != failover.OpStuck {
		t.Errorf("the removal is %s, want that it stays stuck", p.s.Ops[op.ID].Phase)
	}
}

// TestHeadlineOfAFailback: guests that come home are no failover, and one that waits for its time is nothing yet.
func TestHeadlineOfAFailback(t *testing.T) {
	p := apartPlay(t)
	head := func() failover.Headline {
		return failover.Explain(p.s, failover.LocalView{Site: "quai", HasLeader: true}, p.now).Headline
	}
	before := head()
	plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1}, Planned: true, ByHand: true, Keep: failover.KeepAway}, p.now)
	p.must(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true, At: p.now.Add(time.Hour)})
	if got := head(); got != before || got == failover.HeadFailover {
		t.Errorf("scheduled: %q, want %q as before", got, before)
	}
	p.must(failover.CancelOp{Op: p.newest().ID, Reason: failover.Reason{Code: "WWW-1409"}})
	p.failback(failover.KeepAway, kept1)
	if got := head(); got != failover.HeadFailback {
		t.Errorf("under way: %q, want %q", got, failover.HeadFailback)
	}
}
