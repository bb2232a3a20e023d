package failover_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// placing is a network in which moulin's guests may go to fabrique and quai, whose free memory
// and what of it is reserved are given.
func placing(t *testing.T, free int64, change func(spec *network.Spec)) *failover.State {
	t.Helper()
	l := newLog(t)
	spec := fiveSites()
	if change != nil {
		change(&spec)
	}
	l.boot(spec.WithDefaults())
	for _, site := range []failover.SiteID{"fabrique", "quai", "moulin"} {
		r := failover.Readiness{
			Site: site, MemoryTotal: 64 * gib, MemoryFree: free, StorageFree: 100 * gib, Rate: 100 << 20,
			Points: map[failover.GuestID][]failover.RestorePoint{},
		}
		for _, g := range spec.GuestIDs() {
			if spec.Home(g) != site {
				r.Points[g] = []failover.RestorePoint{restorePoint(g, start.Add(-time.Hour), 10*gib)}
			}
		}
		l.must(failover.ReportReadiness{Ready: r})
	}
	return l.s
}

func targetsOf(p failover.Plan) map[failover.GuestID]failover.SiteID {
	out := map[failover.GuestID]failover.SiteID{}
	for _, a := range p.Assignments {
		out[a.Guest] = a.Target
	}
	return out
}

func apartFrom(g, other network.GuestID) func(spec *network.Spec) {
	return func(spec *network.Spec) {
		guest := spec.Guests[g]
		guest.ApartFrom = []network.GuestID{other}
		spec.Guests[g] = guest
	}
}

// TestGuestsAreKeptApart: whichever of two guests names the other, they go to different sites,
// against their preference too; where one site is all there is they share it, and it is said.
func TestGuestsAreKeptApart(t *testing.T) {
	loss := failover.Loss{Site: "moulin"}
	together := targetsOf(failover.PlanFor(placing(t, 32*gib, nil), loss, start))
	if together["nextcloud-moulin"] != "quai" || together["compta-moulin"] != "quai" {
		t.Fatalf("without the wish: %v, want both at quai, which they prefer", together)
	}
	for name, wish := range map[string]func(*network.Spec){
		"the first names the second": apartFrom("nextcloud-moulin", "compta-moulin"),
		"the second names the first": apartFrom("compta-moulin", "nextcloud-moulin"),
	} {
		got := targetsOf(failover.PlanFor(placing(t, 32*gib, wish), loss, start))
		if got["nextcloud-moulin"] != "quai" || got["compta-moulin"] != "fabrique" {
			t.Errorf("%s: %v, want quai and fabrique", name, got)
		}
	}
	loss.Target = "quai"
	plan := failover.PlanFor(placing(t, 32*gib, apartFrom("nextcloud-moulin", "compta-moulin")), loss, start)
	if len(plan.Assignments) != 3 {
		t.Fatalf("%d guests placed at the only target, want 3: %v", len(plan.Assignments), plan.LeftOut)
	}
	told := slices.ContainsFunc(plan.Assignments, func(a failover.Assignment) bool {
		return slices.ContainsFunc(a.Why, func(r failover.Reason) bool {
			return r.Code == failover.CodeNotApart && r.Args["other"] != string(a.Guest)
		})
	})
	if !told {
		t.Error("nothing says that guests stand together which should be apart")
	}
}

// TestApartFromOneThatIsAway: a guest that is away already counts where it is.
func TestApartFromOneThatIsAway(t *testing.T) {
	s := placing(t, 32*gib, apartFrom("nextcloud-moulin", "compta-moulin"))
	p := s.Guests["compta-moulin"]
	p.Owner, p.Host, p.Phase = "quai", "raoull-quai", failover.PhaseAway
	s.Guests["compta-moulin"] = p
	if got := targetsOf(failover.PlanFor(s, failover.Loss{Site: "moulin"}, start))["nextcloud-moulin"]; got != "fabrique" {
		t.Errorf("nextcloud-moulin goes to %s, want fabrique", got)
	}
}

// TestStorageThatResidentsMayFill is not given away.
func TestStorageThatResidentsMayFill(t *testing.T) {
	s := placing(t, 32*gib, func(spec *network.Spec) {
		site := spec.Sites["quai"]
		site.Hosts = maps.Clone(site.Hosts)
		for id, h := range site.Hosts {
			if h.Restore != nil {
				r := *h.Restore
				r.ReserveStorage = network.Bytes(85 * gib) // of 100: room for one guest of 10
				h.Restore = &r
				site.Hosts[id] = h
			}
		}
		spec.Sites["quai"] = site
	})
	got := targetsOf(failover.PlanFor(s, failover.Loss{Site: "moulin"}, start))
	n := 0
	for _, site := range got {
		if site == "quai" {
			n++
		}
	}
	if n != 1 || len(got) != 3 {
		t.Errorf("%v, want one guest at quai and the others at fabrique", got)
	}
}

// TestOutlook: a plan tells how full its targets would be, and who would find no place if one of
// them were lost then too. Its own state is not touched.
func TestOutlook(t *testing.T) {
	reserve := int64(network.Bytes(2 << 30)) // the default
	for name, tt := range map[string]struct {
		free int64
		want []failover.SecondLoss
	}{
		// wiki-atelier goes to fabrique, the two others to quai. Of fabrique's own, mail does not move.
		"room for all": {32 * gib, []failover.SecondLoss{{Site: "fabrique", Guests: 2}, {Site: "quai", Guests: 3}}},
		"room for two each": {reserve + 2*gib, []failover.SecondLoss{
			{Site: "fabrique", Guests: 2, LeftOut: leftFor("site-fabrique", "wiki-atelier")},
			{Site: "quai", Guests: 3, LeftOut: leftFor("nextcloud-moulin", "compta-moulin")},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := placing(t, tt.free, nil)
			before := encode(t, s)
			plan := failover.PlanFor(s, failover.Loss{Site: "moulin"}, start)
			if len(plan.Assignments) != 3 {
				t.Fatalf("plan: %+v", plan)
			}
			out := failover.OutlookOf(s, plan, start)
			for i := range out.Second {
				for j := range out.Second[i].LeftOut {
					l := &out.Second[i].LeftOut[j]
					if l.Reason.Code != failover.CodeNoMemory {
						t.Errorf("%s is left out for %s", l.Guest, l.Reason.Code)
					}
					l.Priority, l.Reason = 0, failover.Reason{}
				}
			}
			if diff := cmp.Diff(tt.want, out.Second); diff != "" {
				t.Errorf("second loss (-want +got):\n%s", diff)
			}
			used := 64*gib - tt.free
			want := []failover.TargetOutlook{
				{Site: "fabrique", Guests: 1, MemoryTotal: 64 * gib, MemoryUsed: used, MemoryThen: used + gib, StorageFree: 100 * gib, StorageThen: 90 * gib, Rate: 100 << 20},
				{Site: "quai", Guests: 2, MemoryTotal: 64 * gib, MemoryUsed: used, MemoryThen: used + 2*gib, StorageFree: 100 * gib, StorageThen: 80 * gib, Rate: 100 << 20},
			}
			if diff := cmp.Diff(want, out.Targets); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if encode(t, s) != before {
				t.Error("the state was changed")
			}
		})
	}
}

func leftFor(guests ...failover.GuestID) []failover.LeftOut {
	var out []failover.LeftOut
	for _, g := range guests {
		out = append(out, failover.LeftOut{Guest: g})
	}
	return out
}

// TestStatusRemindsOfGuestsAway: after a day, whether they are at another site or beside their dead host.
func TestStatusRemindsOfGuestsAway(t *testing.T) {
	reminds := func(s *failover.State, now time.Time) bool {
		st := failover.Explain(s, failover.LocalView{Site: "halle", HasLeader: true}, now)
		return slices.ContainsFunc(st.Notices, func(r failover.Reason) bool { return r.Code == failover.CodeAwayLong && r.Args["days"] == "1" })
	}
	for _, site := range []failover.SiteID{"quai", "moulin"} {
		s := placing(t, 32*gib, nil)
		if reminds(s, start.Add(25*time.Hour)) {
			t.Error("reminded although every guest is at home")
		}
		p := s.Guests["wiki-atelier"]
		p.Owner, p.Host, p.Phase, p.Since.At = site, failover.HostID("raoull-"+string(site)), failover.PhaseAway, start
		s.Guests["wiki-atelier"] = p
		if reminds(s, start.Add(23*time.Hour)) || !reminds(s, start.Add(25*time.Hour)) {
			t.Errorf("at %s: want a reminder after a day, and none before", site)
		}
	}
}

// TestStatusWarnsOfASecondLoss: only while guests are away, and only if not all would find a place.
func TestStatusWarnsOfASecondLoss(t *testing.T) {
	warned := func(s *failover.State) bool {
		st := failover.Explain(s, failover.LocalView{Site: "halle", HasLeader: true}, start)
		return slices.ContainsFunc(st.Notices, func(r failover.Reason) bool { return r.Code == failover.CodeSecondLoss })
	}
	away := func(s *failover.State) *failover.State {
		for _, g := range []failover.GuestID{"nextcloud-moulin", "compta-moulin"} {
			p := s.Guests[g]
			p.Owner, p.Host, p.Phase = "quai", "raoull-quai", failover.PhaseAway
			s.Guests[g] = p
		}
		// Their home is lost: what lies there is no target.
		d := s.Domains["site:moulin"]
		d.Cause = failover.CauseLost
		s.Domains["site:moulin"] = d
		return s
	}
	if warned(placing(t, 3*gib, nil)) {
		t.Error("warned although every guest is at home")
	}
	if warned(away(placing(t, 32*gib, nil))) {
		t.Error("warned although there is room for all")
	}
	if !warned(away(placing(t, 3*gib, nil))) {
		t.Error("not warned although one gigabyte is free at fabrique and three guests run at quai")
	}
}
