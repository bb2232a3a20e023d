package failover_test

import (
	"errors"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestRescuedAt: a parpaing rescues nobody, whatever stands there.
func TestRescuedAt(t *testing.T) {
	spec := fiveSites()
	halle := spec.Sites["halle"]
	halle.Hosts["pve-halle"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.40.1.10:8006", Node: "pve-halle"}}
	spec.Sites["halle"] = halle
	quai := spec.Sites["quai"]
	quai.Hosts["pve2-quai"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.30.1.11:8006", Node: "pve2-quai"}}
	spec.Sites["quai"] = quai
	s := failover.NewState()
	s.Network = spec.WithDefaults()
	for _, tc := range []struct {
		site failover.SiteID
		host failover.HostID
		want failover.HostID
		code string
	}{
		{"moulin", "", "pve-moulin", ""},
		{"moulin", "pve-moulin", "pve-moulin", ""},
		{"moulin", "raoull-moulin", "", failover.CodeNothing},
		{"moulin", "pve-quai", "", failover.CodeNothing},
		{"quai", "", "", failover.CodeInvalid},
		{"quai", "pve2-quai", "pve2-quai", ""},
		{"halle", "", "", failover.CodeNoRescue},
		{"temoin", "", "", failover.CodeNoRescue},
	} {
		got, err := s.RescuedAt(tc.site, tc.host)
		code := ""
		if r, ok := errors.AsType[*failover.RejectedError](err); ok {
			code = r.Reason.Code
		}
		if got != tc.want || code != tc.code {
			t.Errorf("RescuedAt(%q, %q) = %q, %v, want %q, %q", tc.site, tc.host, got, err, tc.want, tc.code)
		}
	}
}

// TestRescueIsWhatItsPlanSays: the log refuses a rescue with the plan of a failover,
// a failover with that of a rescue, and a domain that is not the planned host.
func TestRescueIsWhatItsPlanSays(t *testing.T) {
	l := rescueLog(t)
	local := failover.PlanFor(l.s, failover.Loss{Site: "moulin", Host: "pve-moulin", Local: true, ByHand: true}, l.now)
	away := failover.PlanFor(l.s, failover.Loss{Site: "moulin", Host: "pve-moulin", ByHand: true}, l.now)
	if len(local.Assignments) == 0 || len(away.Assignments) == 0 {
		t.Fatalf("plans %+v and %+v move nothing", local, away)
	}
	own := failover.HostDomain("pve-moulin")
	elsewhere := local
	elsewhere.Assignments = away.Assignments
	for name, c := range map[string]failover.BeginOp{
		"rescue with a failover's plan": {Kind: failover.KindRescue, Domain: own, Plan: away, Forced: true},
		"failover with a rescue's plan": {Kind: failover.KindFailover, Domain: own, Plan: local, Forced: true},
		"rescue of another host":        {Kind: failover.KindRescue, Domain: failover.HostDomain("pve-quai"), Plan: local, Forced: true},
		"rescue of a site":              {Kind: failover.KindRescue, Domain: failover.SiteDomain("moulin"), Plan: local, Forced: true},
		"rescue to another site":        {Kind: failover.KindRescue, Domain: own, Plan: elsewhere, Forced: true},
	} {
		if err := l.apply(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	l.must(failover.BeginOp{Kind: failover.KindRescue, Domain: own, Plan: local, Forced: true})
}

// rescueLog is the network of fiveSites whose site moulin can restore its own guests.
func rescueLog(t *testing.T) *log {
	l := newLog(t)
	spec := fiveSites()
	l.boot(spec.WithDefaults())
	for _, site := range []failover.SiteID{"moulin", "quai"} {
		points := map[failover.GuestID][]failover.RestorePoint{}
		for _, g := range []failover.GuestID{"nextcloud-moulin", "compta-moulin", "wiki-atelier"} {
			points[g] = []failover.RestorePoint{restorePoint(g, start.Add(-time.Hour), gib)}
		}
		l.must(failover.ReportReadiness{Ready: failover.Readiness{
			Site: site, Host: failover.HostID("raoull-" + site), Points: points, MemoryFree: 64 * gib, StorageFree: 512 * gib,
		}})
	}
	return l
}

// TestFenceWaitsForAdmission: a host is never put off before somebody committed to it,
// and a copy beside it never owned before that.
func TestFenceWaitsForAdmission(t *testing.T) {
	l := rescueLog(t)
	loss := failover.Loss{Site: "moulin", Host: "pve-moulin", Local: true, Guests: []failover.GuestID{"wiki-atelier"}}
	l.must(failover.BeginOp{Kind: failover.KindRescue, Domain: failover.HostDomain("pve-moulin"), Plan: failover.PlanFor(l.s, loss, l.now)})
	token := func() failover.Token {
		for _, op := range l.s.Ops {
			return op.TokenOf("wiki-atelier")
		}
		return failover.Token{}
	}
	for token().Step != failover.StepFence {
		tok := token()
		l.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusRunning})
		l.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusDone})
	}
	if r := failover.Runnable(l.s, "moulin", l.now); len(r) != 0 {
		t.Errorf("runnable before admission: %v", r)
	}
	if err := l.s.TokenCurrent(token()); err == nil {
		t.Error("the leader would confirm a fence that nobody admitted")
	}
	l.must(failover.Approve{Op: token().Op, Hash: l.s.OfferOf(token().Op, l.now).Hash})
	if r := failover.Runnable(l.s, "moulin", l.now); len(r) != 1 || r[0].Step != failover.StepFence {
		t.Errorf("runnable after admission: %v, want the fence", r)
	}
	own := token()
	own.Step = failover.StepOwn
	if err := l.apply(failover.Own{Token: own}); err == nil {
		t.Error("owned before the old host was known to be off")
	}
}

// TestFenceIsProvenAnew: a rescue that was given up while its host was being put off, or after, and that goes on since the host is
// down again after all, begins with the proof: somebody may have put it on meanwhile.
func TestFenceIsProvenAnew(t *testing.T) {
	for _, to := range []failover.StepStatus{failover.StatusRunning, failover.StatusDone} {
		l := rescueLog(t)
		loss := failover.Loss{Site: "moulin", Host: "pve-moulin", Local: true, Guests: []failover.GuestID{"wiki-atelier"}}
		l.must(failover.BeginOp{Kind: failover.KindRescue, Domain: failover.HostDomain("pve-moulin"), Plan: failover.PlanFor(l.s, loss, l.now)})
		var id failover.OpID
		for id = range l.s.Ops {
		}
		token := func() failover.Token { return l.s.Ops[id].TokenOf("wiki-atelier") }
		for token().Step != failover.StepFence {
			tok := token()
			l.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusRunning})
			l.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusDone})
		}
		l.must(failover.Approve{Op: id, Hash: l.s.OfferOf(id, l.now).Hash})
		tok := token()
		l.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusRunning})
		if to == failover.StatusDone {
			l.must(failover.StepMoved{Token: tok, Attempt: 1, To: to})
		}
		l.must(failover.CancelOp{Op: id, Reason: failover.Reason{Code: failover.CodeBack}})
		l.must(failover.ResumeOp{Op: id})
		run := l.s.Ops[id].Guests["wiki-atelier"]
		fence, _ := run.Step(failover.StepFence)
		restore, _ := run.Step(failover.StepRestore)
		if fence.Status != failover.StatusPending || fence.Attempt != 0 || run.Admitted != 0 || restore.Status != failover.StatusDone {
			t.Errorf("fence was %s: resumed with fence %+v, restore %s, admitted %d", to, fence, restore.Status, run.Admitted)
		}
	}
}

// TestPlanPromisesALoss: a plan that a person was shown is refused when more would be lost.
func TestPlanPromisesALoss(t *testing.T) {
	l := rescueLog(t)
	loss := failover.Loss{Site: "moulin", ByHand: true}
	shown := failover.PlanFor(l.s, loss, l.now)
	if shown.Bound() != "2h" {
		t.Fatalf("bound %q of a plan that loses %s, want 2h", shown.Bound(), shown.WorstLoss())
	}
	for _, tc := range []struct {
		later time.Duration
		same  bool
	}{{0, true}, {failover.ApprovalAge, true}, {59 * time.Minute, true}, {61 * time.Minute, false}} {
		now := failover.PlanFor(l.s, loss, l.now.Add(tc.later))
		if now.Is(shown.Hash) != tc.same {
			t.Errorf("%s later, losing %s: same = %t, want %t", tc.later, now.WorstLoss(), now.Is(shown.Hash), tc.same)
		}
	}
	for _, bad := range []string{"", "p-00000000-2h", shown.Hash[:10], shown.Hash[:11] + "any"} {
		if shown.Is(bad) {
			t.Errorf("the plan takes %q for its hash", bad)
		}
	}
}
