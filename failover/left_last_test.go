package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestHomeLeftForTheSecondTimeIsLookedAt: a guest came home and is failed over again. What its home does
// with the copy there counts, not what stands where it lived before.
func TestHomeLeftForTheSecondTimeIsLookedAt(t *testing.T) {
	p, _, former := settledPlay(t, failover.KeepAway)
	home := p.s.Guests[kept1].Now()
	plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1}, Target: "quai", ByHand: true}, p.now)
	if len(plan.Assignments) != 1 {
		t.Fatalf("it is not failed over again: %+v", plan.LeftOut)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true})
	p.done(kept1, failover.StepStart)
	p.done(kept1, "")
	p.settle()
	p.seen() // all are off
	copies := p.s.CopiesAt("moulin")
	for i := range copies {
		if copies[i].VMID == home.VMID {
			copies[i].Running, copies[i].OnBoot, copies[i].Since = true, true, p.now.Add(-100*time.Hour)
		}
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
	g := p.s.Guests[kept1]
	if g.Branch == nil || g.Branch.Host != home.Host || g.Branch.VMID != home.VMID || g.Branch.Since.IsZero() {
		t.Errorf("the copy %d at home runs beside the one at %s; told is %+v, and %d is what it left before", home.VMID, g.Owner, g.Branch, former.VMID)
	}
	if left := p.s.LeftCopies(kept1, p.now); left[0].VMID != home.VMID {
		t.Errorf("left last is %d on %s, want %d on %s", left[0].VMID, left[0].Host, home.VMID, home.Host)
	}
}
