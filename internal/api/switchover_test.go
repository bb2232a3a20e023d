package api_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// TestSwitchover: a name means a site, a structure or a guest; no name is typed, since
// nothing is lost; with a time it waits in the log.
func TestSwitchover(t *testing.T) {
	b := newBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Switchover: "nuage", To: "quai"})
	if err != nil || len(plan.Assignments) != 1 || plan.Confirm != "" || plan.WorstLoss() != 0 || !plan.Loss.Planned {
		t.Fatalf("PlanByHand: got %+v, %v", plan, err)
	}
	for _, bad := range []api.FailoverRequest{
		{Switchover: "nowhere"},
		{Switchover: "nuage", Site: "moulin"},
		{Switchover: "structure:nuage"},
		{Switchover: "nuage", To: "moulin"},
		{Switchover: "nuage", At: b.Now().Add(-time.Hour)},
		{Switchover: "nuage", Stop: []failover.GuestID{"nobody"}},
	} {
		if _, err := c.Failover(t.Context(), bad); err == nil {
			t.Errorf("Failover(%+v): accepted", bad)
		}
	}
	later, err := c.Failover(t.Context(), api.FailoverRequest{Switchover: "guest:nuage", To: "quai", At: b.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if op := b.State().Ops[later.Op]; op.Phase != failover.OpScheduled || b.State().Guests["nuage"].Op != "" {
		t.Errorf("%s is %s, want it to wait", op.ID, op.Phase)
	}
	if _, err := c.Act(t.Context(), later.Op, "cancel", api.ActionRequest{}); err != nil {
		t.Fatal(err)
	}
	done, err := c.Failover(t.Context(), api.FailoverRequest{Switchover: "nuage", To: "quai", Stop: []failover.GuestID{"nuage"}})
	if err != nil {
		t.Fatal(err)
	}
	op := b.State().Ops[done.Op]
	if op.Kind != failover.KindSwitchover || op.Domain != "" || op.Phase != failover.OpCommitted || len(op.Plan.Loss.HardStop) != 1 {
		t.Errorf("operation %+v, want a switchover under way", op)
	}
	if v := failover.ExplainOp(b.State(), done.Op, b.Now()); v.Domain != "site:moulin" {
		t.Errorf("shown of %q, want of the site that it leaves", v.Domain)
	}
}
