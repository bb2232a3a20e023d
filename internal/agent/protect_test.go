package agent_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestPointIsProtectedWhileItIsUsed: from before the restore until the copy serves.
func TestPointIsProtectedWhileItIsUsed(t *testing.T) {
	r := newRig(t)
	r.begin()
	protected := func() bool { return r.pbs.Snapshots("moulin")[0].Protected }
	if protected() {
		t.Fatal("protected before anything was done")
	}
	r.until("restore running")
	for range 400 {
		step, _, left := r.run().Current()
		if !left || step.ID == failover.StepRelease {
			break
		}
		if !protected() {
			t.Fatalf("not protected at %s", r.status())
		}
		r.step()
	}
	r.until("nothing left")
	if protected() {
		t.Error("still protected after its release")
	}
}

// TestProtectionOfAPersonStays: what somebody protected before an operation chose
// it is not released by it; what the operation protects itself is not taken for that.
func TestProtectionOfAPersonStays(t *testing.T) {
	for _, theirs := range []bool{false, true} {
		r := declared(t)
		snap := r.pbs.Snapshots("moulin")[0]
		snap.Time++
		snap.Protected = theirs
		if err := r.pbs.AddSnapshot(snap); err != nil {
			t.Fatal(err)
		}
		s := r.readiness()
		r.now = r.now.Add(time.Minute)
		r.pass(s, 10*time.Second)
		plan := failover.PlanFor(r.log.state, failover.Loss{Site: home, ByHand: true}, r.now)
		if len(plan.Assignments) != 1 || plan.Assignments[0].Point.Protected != theirs {
			t.Fatalf("plan %+v, want the point protected: %v", plan, theirs)
		}
		r.must(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true, Plan: plan})
		r.until("start running")
		newest := func() bool { all := r.pbs.Snapshots("moulin"); return all[len(all)-1].Protected }
		if !newest() {
			t.Error("the chosen point is not protected")
		}
		r.pass(s, time.Minute)
		if got := r.log.state.Readiness[away].Ready.Points[guest][0].Protected; got != theirs {
			t.Errorf("readiness says protected by a person: %v, want %v", got, theirs)
		}
		r.until("nothing left")
		if newest() != theirs {
			t.Errorf("protected after the operation: %v, want %v", newest(), theirs)
		}
	}
}
