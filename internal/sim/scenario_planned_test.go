package sim_test

import (
	"fmt"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestSwitchoversAtTheirTime plays moves that wait, and what can happen meanwhile.
func TestSwitchoversAtTheirTime(t *testing.T) {
	t.Parallel()
	if raced { // TestSwitchovers has some
		return
	}
	for _, what := range []string{sim.WaitUndisturbed, sim.WaitCancelled, sim.WaitNewLeader, sim.WaitHomeDown} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if r := sim.Run(sim.Options{Seed: *from, Scenario: sim.SwitchoverAt(what)}); r.Violation != nil {
				t.Error(r.Error())
			}
		})
	}
}

// TestAwayCrashAtEveryBoundary kills the agent of a site at each boundary of what it does for guests that
// live there away from home: their backups, and starting them again after a power cut. Every third
// of these points, or all with -sim.whole.
func TestAwayCrashAtEveryBoundary(t *testing.T) {
	t.Parallel()
	if raced { // TestSwitchovers has some
		return
	}
	for name, tt := range map[string]struct {
		play  func(int, *sim.Boundaries) sim.Scenario
		least int
	}{"backup": {sim.AwayCrashAt, 12}, "wake": {sim.WakeCrashAt, 8}} {
		var all sim.Boundaries
		if r := sim.Run(sim.Options{Seed: 1, Scenario: tt.play(-1, &all)}); r.Violation != nil {
			t.Fatal(r.Error())
		}
		if len(all.List) < tt.least {
			t.Fatalf("%s has %d boundaries only: %q", name, len(all.List), all.List)
		}
		for n, boundary := range all.List {
			if !*whole && n%(3*stride()) != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", name, n, boundary), func(t *testing.T) {
				t.Parallel()
				if r := sim.Run(sim.Options{Seed: 1, Scenario: tt.play(n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
					t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
				}
			})
		}
	}
}
