package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestChosenObservers: above nine sites only some agents probe each site. Those
// who do not look neither hide what the others see nor stand for silence.
func TestChosenObservers(t *testing.T) {
	const sites, voters = 15, 5
	spec := network.Spec{Network: "wide", Sites: map[network.SiteID]network.Site{}}
	for i := range sites {
		spec.Sites[siteN(i)] = brique(siteN(i), i+1)
	}
	l := newLog(t)
	l.must(failover.Bootstrap{Network: "wide", Generation: 1})
	l.must(failover.BeginTerm{Leader: siteN(1)})
	for i := range sites {
		l.must(member(siteN(i), i < voters))
	}
	l.must(failover.ApplyNetwork{Spec: spec.WithDefaults()})
	// site-0 is watched by the four other voters and three more.
	look := func(change func(o *failover.Observation)) failover.Verdict {
		t.Helper()
		l.now = l.now.Add(10 * time.Minute)
		for i := 1; i < sites; i++ {
			r := failover.Report{Observer: siteN(i), Boot: "boot", Seq: uint64(l.now.Unix())}
			if i <= 7 {
				r.Observations = observations(l.s.Network, siteN(0))
				for k := range r.Observations {
					change(&r.Observations[k])
				}
			}
			l.must(r)
		}
		return failover.Judge(l.s, l.now)["site:site-0"]
	}
	down := func(targets ...string) func(o *failover.Observation) {
		return func(o *failover.Observation) {
			for _, target := range targets {
				if target == o.Target || target == "all" {
					o.Seen, o.For = failover.SeenDown, 5*time.Minute
				}
			}
		}
	}
	for _, tt := range []struct {
		name  string
		down  []string
		cause failover.Cause
	}{
		{"all well", nil, failover.CauseUp},
		{"agent down", []string{"agent"}, failover.CauseAgentOnly},
		{"entry down", []string{"entry"}, failover.CausePublicDown},
		{"host down", []string{"pve:pve-site-0", "dropbear:pve-site-0"}, failover.CauseHostDown},
		{"everything down", []string{"all"}, failover.CauseLost},
		{"back", nil, failover.CauseUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := look(down(tt.down...))
			if v.Cause != tt.cause || v.Present != 7 {
				t.Errorf("verdict %s by %d observers, want %s by 7", v.Cause, v.Present, tt.cause)
			}
			if want := tt.cause != failover.CauseLost; v.Back != want {
				t.Errorf("seen continuously: %v, want %v", v.Back, want)
			}
		})
	}
}

// TestOneHostIsNotTheSite: a site of which a structure's host is down is not
// lost: Raoull's host there may still receive guests.
func TestOneHostIsNotTheSite(t *testing.T) {
	l := moulinReady(t)
	for _, observer := range observersOfMoulin {
		l.must(report(l.s, observer, func(o *failover.Observation) {
			if o.Target == "pve:pve-moulin" || o.Target == "dropbear:pve-moulin" {
				o.Seen, o.For = failover.SeenDown, time.Minute
			}
		}))
	}
	l.settle()
	if d := l.s.Domains["host:pve-moulin"]; d.Cause != failover.CauseHostDown || d.Lost.Index == 0 {
		t.Errorf("the host is recorded as %s since entry %d, want host-down and lost", d.Cause, d.Lost.Index)
	}
	if d := l.s.Domains["site:moulin"]; d.Lost.Index != 0 {
		t.Errorf("its site is recorded as lost since entry %d", d.Lost.Index)
	}
	plan := failover.PlanFor(l.s, failover.Loss{Site: "fabrique", Target: "moulin"}, l.now)
	if len(plan.Assignments) != 1 {
		t.Errorf("%d guests of fabrique would go to moulin, want 1: %+v", len(plan.Assignments), plan.LeftOut)
	}
}

// TestSilenceOfAnotherTerm: what an observer told the last leader is neither a
// vote nor a sighting.
func TestSilenceOfAnotherTerm(t *testing.T) {
	l := moulinReady(t)
	l.dark(time.Minute, "moulin")
	l.term++
	l.must(failover.BeginTerm{Leader: "quai"})
	v := failover.Judge(l.s, l.now)["site:moulin"]
	if v.Cause != failover.CauseUnknown || v.Level != failover.LevelNone || v.Present != 0 {
		t.Errorf("verdict %s, %s by %d observers, want unknown by nobody", v.Cause, v.Level, v.Present)
	}
}

// TestSilenceOfTwoPaths: an observer that knows one kind of path only is no
// proof, so its long silence does not make up for a short one (S4).
func TestSilenceOfTwoPaths(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	for observer, silence := range map[failover.SiteID]time.Duration{
		"fabrique": 400 * time.Second, "quai": 400 * time.Second, "halle": 20 * time.Second, "temoin": 400 * time.Second,
	} {
		r := report(l.s, observer, func(o *failover.Observation) {
			if o.Site == "moulin" {
				o.Seen, o.For = failover.SeenDown, silence
			}
		})
		if observer == "temoin" {
			r.Observations = slices.DeleteFunc(r.Observations, func(o failover.Observation) bool { return o.Path == failover.PathPublic })
		}
		l.must(r)
	}
	v := failover.Judge(l.s, l.now)["site:moulin"]
	if v.Cause != failover.CauseLost || v.Silence != 20*time.Second || !v.Hold.IsZero() {
		t.Errorf("verdict %s for %s, held %q, want lost for 20s", v.Cause, v.Silence, v.Hold.Code)
	}
}
