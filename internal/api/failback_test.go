package api_test

import (
	"maps"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// awayBackend is newBackend with nuage failed over to quai, and all declared that brings
// it home.
func awayBackend(t *testing.T) *apitest.Backend {
	t.Helper()
	b := newBackend(t)
	spec := *b.State().Network
	spec.Sites = maps.Clone(spec.Sites)
	for id, site := range spec.Sites {
		site.Hosts = maps.Clone(site.Hosts)
		for h, host := range site.Hosts {
			if host.PVE == nil {
				continue
			}
			host.Lineages = map[network.SiteID]network.LineageStorages{"moulin": {Away: "pbs-away-moulin", Sealed: "pbs-sealed-moulin"}}
			if host.Restore == nil {
				host.Restore = &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 5000, Last: 5009}, Parallel: 1}
			}
			site.Hosts[h] = host
		}
		spec.Sites[id] = site
	}
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{"nuage"}, Target: "quai", ByHand: true}
	if err := b.Apply(failover.ApplyNetwork{Spec: &spec, IfVersion: b.State().NetworkVersion}); err != nil {
		t.Fatal(err)
	}
	plan := failover.PlanFor(b.State(), loss, b.Now())
	if err := b.Apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true}); err != nil {
		t.Fatal(err)
	}
	id := failover.OpID("")
	for op := range b.State().Ops {
		id = op
	}
	for {
		op := b.State().Ops[id]
		if _, _, left := op.Guests["nuage"].Current(); !left {
			break
		}
		var err error
		switch token := op.TokenOf("nuage"); token.Step {
		case failover.StepOwn:
			err = b.Apply(failover.Own{Token: token})
		case failover.StepServe:
			err = b.Apply(failover.Serve{Token: token})
		default:
			err = b.Apply(
				failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning},
				failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone},
			)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Apply(failover.EndOp{Op: id}); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFailback: a name means what lives away of a site, a structure or a guest; the plan has
// both copies; which of them goes on is said each time.
func TestFailback(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	for _, name := range []string{"nuage", "guest:nuage", "site:moulin"} {
		plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: name, Keep: failover.KeepAway})
		if err != nil || len(plan.Assignments) != 1 || len(plan.Branches) != 1 || plan.Confirm != "" {
			t.Fatalf("PlanByHand(%s): got %+v, %v", name, plan, err)
		}
		v := plan.Branches[0]
		if v.Serves.Site != "quai" || v.Left == nil || v.Left.VMID != 1101 || v.Sealed != nil || v.Propose != failover.KeepAway || v.Parted.IsZero() {
			t.Errorf("branches of %s: %+v", name, v)
		}
	}
	for _, bad := range []api.FailoverRequest{
		{Failback: "nuage"},
		{Failback: "nuage", Keep: "both"},
		{Failback: "nowhere", Keep: failover.KeepAway},
		{Failback: "structure:nuage", Keep: failover.KeepAway},
		{Failback: "site:quai", Keep: failover.KeepAway},
		{Failback: "nuage", Keep: failover.KeepAway, To: "quai"},
		{Failback: "nuage", Keep: failover.KeepAway, Switchover: "nuage"},
		{Failback: "nuage", Keep: failover.KeepAway, At: b.Now().Add(-time.Hour)},
		{Failback: "nuage", Keep: failover.KeepAway, Stop: []failover.GuestID{"nobody"}},
		{Failback: "site:moulin", Keep: failover.KeepAway, Only: []failover.GuestID{"wiki"}},
		{Failback: "nuage", Undo: true},
		{Failback: "nobody", Undo: true},
	} {
		if _, err := c.Failover(t.Context(), bad); err == nil {
			t.Errorf("Failover(%+v): accepted", bad)
		}
	}
	if _, err := c.AckSeal(t.Context(), "nuage"); err == nil {
		t.Error("AckSeal of a guest that is away: accepted")
	}
	if _, err := c.AckSeal(t.Context(), "nobody"); err == nil {
		t.Error("AckSeal of nobody: accepted")
	}
	done, err := c.Failover(t.Context(), api.FailoverRequest{Failback: "nuage", Keep: failover.KeepHome})
	if err != nil {
		t.Fatal(err)
	}
	op := b.State().Ops[done.Op]
	if op.Kind != failover.KindFailback || op.Phase != failover.OpCommitted || op.Plan.Loss.Keep != failover.KeepHome || op.Guests["nuage"].Source.Site != "quai" {
		t.Errorf("operation %+v, want a failback under way", op)
	}
}

// TestFailbackWaitsForItsTime: it holds no guest until then.
func TestFailbackWaitsForItsTime(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	later, err := c.Failover(t.Context(), api.FailoverRequest{Failback: "nuage", Keep: failover.KeepAway, At: b.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if op := b.State().Ops[later.Op]; op.Kind != failover.KindFailback || op.Phase != failover.OpScheduled || b.State().Guests["nuage"].Op != "" {
		t.Errorf("%s is %s %s, want it to wait", op.ID, op.Kind, op.Phase)
	}
}
