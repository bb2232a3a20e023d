package api_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// withStructureHost gives moulin a host of its structure with the guest nuage, which
// moulin's own PBS could restore; target says whether Raoull's PVE there receives guests.
func withStructureHost(t *testing.T, b *apitest.Backend, target bool) {
	t.Helper()
	spec := *b.State().Network
	spec.Sites, spec.Guests = maps.Clone(spec.Sites), maps.Clone(spec.Guests)
	site := spec.Sites["moulin"]
	site.Hosts = maps.Clone(site.Hosts)
	site.Hosts["pve-asso"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.11:8006", Node: "pve-asso"}}
	for id, h := range site.Hosts {
		if !target {
			h.Restore, h.Sources, h.Lineages = nil, nil, nil
			site.Hosts[id] = h
		}
	}
	spec.Sites["moulin"] = site
	g := spec.Guests["nuage"]
	g.Host = "pve-asso"
	spec.Guests["nuage"] = g
	ready := failover.Readiness{Site: "moulin", MemoryFree: 32 << 30, StorageFree: 2 << 40, Points: map[failover.GuestID][]failover.RestorePoint{
		"nuage": {{Storage: "pbs-own", Volid: "pbs-own:backup/vm/1/2026-11-22T02:00:00Z", Time: apitest.Start().Add(-time.Hour), Size: 1 << 30}},
	}}
	if err := b.Apply(failover.ApplyNetwork{Spec: &spec, IfVersion: b.State().NetworkVersion}, failover.ReportReadiness{Ready: ready}); err != nil {
		t.Fatal(err)
	}
	see(t, b, failover.SeenUp, 2)
}

// see has the others report the structure's host.
func see(t *testing.T, b *apitest.Backend, seen failover.Seen, seq uint64) {
	t.Helper()
	for _, observer := range []failover.SiteID{"fabrique", "quai"} {
		r := apitest.Report(b.State().Network, observer, seq, nil)
		for i, o := range r.Observations {
			if o.Target == "pve:pve-asso" {
				r.Observations[i].Seen, r.Observations[i].For = seen, time.Minute
			}
		}
		if err := b.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRescue(t *testing.T) {
	b := newBackend(t)
	withStructureHost(t, b, true)
	c := serve(t, &root, api.Options{Backend: b})
	req := api.FailoverRequest{Site: "moulin", Rescue: true}
	plan, err := c.PlanByHand(t.Context(), req)
	if err != nil || len(plan.Assignments) != 1 || plan.Assignments[0].Target != "moulin" || plan.Loss.Host != "pve-asso" || len(plan.Answers) == 0 {
		t.Fatalf("PlanByHand: got %+v, %v", plan, err)
	}
	req.Confirm = "pve-asso"
	var e *api.Error
	if _, err := c.Failover(t.Context(), req); !errors.As(err, &e) || e.Code != failover.CodeStillRuns || !strings.Contains(e.Hint, "wwwctl rescue moulin") {
		t.Errorf("rescue of a host that answers: got %v, want %s", err, failover.CodeStillRuns)
	}
	see(t, b, failover.SeenDown, 3)
	for _, bad := range []api.FailoverRequest{
		{Site: "moulin", Rescue: true, To: "quai"}, {Guest: "nuage", Rescue: true}, {Site: "nowhere", Rescue: true}, {Host: "nowhere", Rescue: true},
	} {
		if _, err := c.Failover(t.Context(), bad); err == nil {
			t.Errorf("Failover(%+v): accepted", bad)
		}
	}
	done, err := c.Failover(t.Context(), api.FailoverRequest{Host: "pve-asso", Rescue: true})
	if err != nil {
		t.Fatal(err)
	}
	op := b.State().Ops[done.Op]
	if op.Kind != failover.KindRescue || op.Domain != "host:pve-asso" || !op.Forced {
		t.Errorf("operation %+v, want a rescue of pve-asso", op)
	}
	if err := b.Apply(failover.Stick{Op: op.ID, Guest: "nuage", Reason: failover.Reason{Code: failover.CodeNoProof}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Act(t.Context(), op.ID, "retry", api.ActionRequest{HostOff: true}); err != nil {
		t.Fatal(err)
	}
	if by := b.State().Ops[done.Op].HostOff; by.Actor != "unix:root" {
		t.Errorf("who said that the host is off: %q, want unix:root", by.Actor)
	}
}

// TestPlanOfAHostIsWhatWouldBeDone: a structure's dead host is rescued beside it, and its guests go elsewhere
// only by hand, or where somebody names the site.
func TestPlanOfAHostIsWhatWouldBeDone(t *testing.T) {
	for _, beside := range []bool{true, false} {
		b := newBackend(t)
		withStructureHost(t, b, beside)
		c := serve(t, &root, api.Options{Backend: b})
		lost, err := c.PlanAsLoss(t.Context(), api.FailoverRequest{Host: "pve-asso"})
		if err != nil || !lost.Loss.Local || (len(lost.Assignments) == 1) != beside || beside && lost.Assignments[0].Target != "moulin" {
			t.Errorf("a PVE beside it %t: by itself %+v, %v", beside, lost, err)
		}
		byHand, err := c.PlanByHand(t.Context(), api.FailoverRequest{Host: "pve-asso"})
		if err != nil || byHand.Loss.Local || len(byHand.Assignments) != 1 || byHand.Assignments[0].Target == "moulin" {
			t.Errorf("a PVE beside it %t: by hand %+v, %v", beside, byHand, err)
		}
		to, err := c.PlanAsLoss(t.Context(), api.FailoverRequest{Host: "pve-asso", To: "quai"})
		if err != nil || to.Loss.Local || to.Loss.Target != "quai" {
			t.Errorf("a PVE beside it %t: to quai %+v, %v", beside, to, err)
		}
	}
}

// TestRescueWithoutPVE: where Raoull has nothing that receives guests, both ways that
// there are stand in the refusal.
func TestRescueWithoutPVE(t *testing.T) {
	b := newBackend(t)
	withStructureHost(t, b, false)
	c := serve(t, &root, api.Options{Backend: b})
	var e *api.Error
	_, err := c.Failover(t.Context(), api.FailoverRequest{Site: "moulin", Rescue: true})
	if !errors.As(err, &e) || !errors.Is(err, api.ErrRefused) || e.Code != failover.CodeNoRescue {
		t.Fatalf("got %v, want ErrRefused with %s", err, failover.CodeNoRescue)
	}
	if plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Site: "moulin"}); err != nil || len(plan.Assignments) == 0 {
		t.Errorf("the full failover: %+v, %v", plan, err)
	}
}
