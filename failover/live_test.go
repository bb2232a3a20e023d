package failover_test

import (
	"maps"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// A plan restores live only what declares it, is a VM, and comes from the target's own PBS;
// never for a planned move or a rescue.
func TestWhatIsRestoredLive(t *testing.T) {
	const g = failover.GuestID("wiki-atelier")
	for name, tc := range map[string]struct {
		guest  func(*network.Guest)
		remote bool
		loss   failover.Loss
		want   bool
	}{
		"declared":               {nil, false, failover.Loss{}, true},
		"not declared":           {func(g *network.Guest) { g.LiveRestore = false }, false, failover.Loss{}, false},
		"a container":            {func(g *network.Guest) { g.Type = network.CT }, false, failover.Loss{}, false},
		"a PBS of another site":  {nil, true, failover.Loss{}, false},
		"a planned move":         {nil, false, failover.Loss{Planned: true}, false},
		"a rescue, same address": {nil, false, failover.Loss{Host: "pve-moulin", Local: true}, false},
	} {
		l := rescueLog(t)
		spec := *l.s.Network
		spec.Guests = maps.Clone(spec.Guests)
		guest := spec.Guests[g]
		guest.Type, guest.LiveRestore = network.VM, true
		if tc.guest != nil {
			tc.guest(&guest)
		}
		spec.Guests[g] = guest
		l.must(failover.ApplyNetwork{Spec: &spec, IfVersion: l.s.NetworkVersion})
		for _, site := range []failover.SiteID{"moulin", "quai"} {
			ready := l.s.Readiness[site].Ready
			ready.Points = maps.Clone(ready.Points)
			pt := ready.Points[g][0]
			pt.Remote = tc.remote
			ready.Points[g] = []failover.RestorePoint{pt}
			l.must(failover.ReportReadiness{Ready: ready})
		}
		tc.loss.Site, tc.loss.ByHand, tc.loss.Guests = "moulin", true, []failover.GuestID{g}
		plan := failover.PlanFor(l.s, tc.loss, l.now)
		if len(plan.Assignments) != 1 || plan.Assignments[0].Live != tc.want {
			t.Errorf("%s: %+v, want one assignment, live %t", name, plan, tc.want)
		}
	}
}
