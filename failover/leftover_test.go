package failover_test

import (
	"reflect"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestCleanupOfAGuestThatMovedSince: a cleanup waits for a person, and the guest is moved by another
// operation meanwhile. The retry decides nothing about the guest, but what was prepared is removed, and
// its restore point let go (campaign, seed 252959: the retry was refused for ever).
func TestCleanupOfAGuestThatMovedSince(t *testing.T) {
	p := movePlay(t)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1}, Target: "quai", ByHand: true}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	first := p.newest().ID
	p.done(kept1, failover.StepOwn)
	p.must(failover.CancelOp{Op: first, Reason: failover.Reason{Code: "WWW-1409"}})
	p.refuse(kept1)
	p.settle()
	run := p.s.Ops[first].Guests[kept1]
	if p.s.Ops[first].Phase != failover.OpStuck || run.State != failover.RunStuck {
		t.Fatalf("%s is %s, its run %s: want the cleanup stuck", first, p.s.Ops[first].Phase, run.State)
	}

	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	second := p.newest()
	p.done(kept1, "")
	before := p.s.Guests[kept1]
	p.must(failover.RetryOp{Op: first})
	if at := p.s.Guests[kept1]; !reflect.DeepEqual(at, before) {
		t.Errorf("the guest is %+v, was %+v", at, before)
	}
	if op := p.s.Ops[first]; op.Phase != failover.OpCancelled || op.Guests[kept1].State != failover.RunCancelled {
		t.Errorf("%s is %s, its run %s; want both cancelled", first, op.Phase, op.Guests[kept1].State)
	}
	tidies := p.tidies()
	if len(tidies) != 1 {
		t.Fatalf("%d operations remove what was prepared, want one", len(tidies))
	}
	tidy := p.s.Ops[tidies[0]]
	token := tidy.TokenOf(kept1)
	if got := tidy.Guests[kept1]; tidy.Marks() != first || token.Step != failover.StepCleanup || got.VMID != run.VMID || got.Assignment.Point != run.Assignment.Point {
		t.Errorf("%s of %+v, whose marker names %s", token.Step, got, tidy.Marks())
	}
	if got := second.Guests[kept1].VMID; got == run.VMID {
		t.Errorf("the second copy has the id %d of the first", got)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.MayDestroy(token); err != nil {
		t.Errorf("may it be deleted? %v", err)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	if err := p.apply(failover.RetryOp{Op: first}); rejection(err) != failover.CodeNothing {
		t.Errorf("a second retry: %v, want %s", err, failover.CodeNothing)
	}
}
