package failover_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// largest is the largest network of design section 14: 100 sites and 5 000
// guests, each site watched by seven others, each guest with restore points on
// three, the lists full. site-000 is lost.
func largest(t testing.TB) (*failover.State, time.Time) {
	const sites, guests, watchers, copies, points = 100, 5000, 7, 3, 4
	spec := network.Spec{
		Network: "largest", Zones: map[string]network.Zone{"assos.example": {}}, Sites: map[network.SiteID]network.Site{},
		Structures: map[network.StructureID]network.Structure{}, Guests: map[network.GuestID]network.Guest{},
	}
	name := func(i int) failover.SiteID { return failover.SiteID(fmt.Sprintf("site-%03d", i%sites)) }
	for i := range sites {
		spec.Sites[name(i)] = brique(name(i), i+1)
		spec.Structures[network.StructureID(name(i))] = network.Structure{
			Home: name(i), VLAN: 100 + i, Mode: network.ModeAuto, OffSite: network.OffSite{Policy: network.ConsentAllowed},
		}
	}
	for i := range guests {
		id := network.GuestID(fmt.Sprintf("guest-%04d", i))
		g := network.Guest{
			ID: 1000 + i, Structure: network.StructureID(name(i)), Host: network.HostID("pve-" + string(name(i))), Priority: 1 + i/sites%3,
			Names: []string{fmt.Sprintf("%s.assos.example", id)},
		}
		if i >= sites {
			g.After = []network.GuestID{network.GuestID(fmt.Sprintf("guest-%04d", i-sites))}
		}
		spec.Guests[id] = g
	}
	s := failover.NewState()
	now := start
	must := func(c failover.Command) {
		t.Helper()
		if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: 1, At: now, ID: fmt.Sprint(s.Index)}, c); err != nil {
			t.Fatal(err)
		}
	}
	must(failover.Bootstrap{Network: "largest", Generation: 1})
	must(failover.BeginTerm{Leader: name(1)})
	for i := range sites {
		must(member(name(i), i < 5))
	}
	must(failover.ApplyNetwork{Spec: spec.WithDefaults()})
	for i := range failover.MaxEvents {
		must(failover.SetPause{Site: name(i), Reason: "filling", For: time.Second})
	}
	now = now.Add(time.Hour)
	ready := map[failover.SiteID]failover.Readiness{}
	for i := range sites {
		ready[name(i)] = failover.Readiness{
			Site: name(i), MemoryFree: 64 * gib, StorageFree: 4000 * gib, Rate: 100 << 20, Points: map[failover.GuestID][]failover.RestorePoint{},
		}
	}
	for i := range guests {
		id := failover.GuestID(fmt.Sprintf("guest-%04d", i))
		for c := range copies {
			for p := range points {
				at := now.Add(-time.Duration(p*24+c) * time.Hour)
				r := ready[name(i+1+c*13)]
				r.Points[id] = append(r.Points[id], restorePoint(id, at, 40*gib))
			}
		}
	}
	for i := range sites {
		must(failover.ReportReadiness{Ready: ready[name(i)]})
		r := failover.Report{Observer: name(i), Boot: "boot", Seq: 1}
		for w := range watchers {
			if seen := name(i + 1 + w); seen != name(i) {
				r.Observations = append(r.Observations, watched(s, seen, name(0))...)
			}
		}
		if 0 < i && i < 5 {
			r.Observations = append(r.Observations, watched(s, name(0), name(0))...)
		}
		if i > 0 {
			must(r)
		}
	}
	return s, now
}

func watched(s *failover.State, site, lost failover.SiteID) []failover.Observation {
	out := observations(s.Network, site)
	for i := range out {
		if site == lost {
			out[i].Seen, out[i].For = failover.SeenDown, 50*time.Second
		}
	}
	return out
}

func BenchmarkJudge(b *testing.B) {
	s, now := largest(b)
	for b.Loop() {
		failover.Judge(s, now)
	}
}

func BenchmarkDecide(b *testing.B) {
	s, now := largest(b)
	for b.Loop() {
		failover.Decide(s, now)
	}
}

// BenchmarkDecideBegin is the round that plans: the verdicts are on record.
func BenchmarkDecideBegin(b *testing.B) {
	s, now := largest(b)
	for {
		d := failover.Decide(s, now)
		if len(d.Commands) == 0 {
			b.Fatalf("nothing begins: %v", d.Why)
		}
		if _, ok := d.Commands[0].(failover.BeginOp); ok {
			break
		}
		for _, c := range d.Commands {
			if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: 1, At: now}, c); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		failover.Decide(s, now)
	}
}

func BenchmarkPlanFor(b *testing.B) {
	s, now := largest(b)
	for b.Loop() {
		if plan := failover.PlanFor(s, failover.Loss{Site: "site-000"}, now); len(plan.Assignments) != 50 {
			b.Fatalf("%d guests are placed, want 50", len(plan.Assignments))
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	s, now := largest(b)
	for b.Loop() {
		failover.Explain(s, failover.LocalView{Site: "site-001", HasLeader: true}, now)
	}
}

func BenchmarkClone(b *testing.B) {
	s, _ := largest(b)
	for b.Loop() {
		s.Clone()
	}
}

// BenchmarkApply is one entry as an agent applies it for its readers: on a clone.
func BenchmarkApply(b *testing.B) {
	s, now := largest(b)
	for b.Loop() {
		c := s.Clone()
		if err := c.Apply(failover.Stamp{Index: c.Index + 1, Term: 1, At: now}, failover.SetPause{Site: "site-001"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := largest(b)
	size := 0
	for b.Loop() {
		size = len(encode(b, s))
	}
	b.ReportMetric(float64(size)/(1<<20), "MiB")
}

// TestSnapshotSize is the bound of design section 14.
func TestSnapshotSize(t *testing.T) {
	s, _ := largest(t)
	if size := len(encode(t, s)); size > 30<<20 {
		t.Errorf("the snapshot of 100 sites and 5 000 guests takes %d MiB, want at most 30", size>>20)
	}
}
