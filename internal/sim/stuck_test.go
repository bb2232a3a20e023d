package sim_test

import (
	"fmt"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestStuckAwayComesHome brings guests home that are stuck away, after a failover and after a rescue;
// the agent that works dies at each step.
func TestStuckAwayComesHome(t *testing.T) {
	t.Parallel()
	for n, step := range append([]failover.StepID{""}, sim.StuckSteps()...) {
		if n > 0 && raced { // with the race detector: one of each
			continue
		}
		for _, scenario := range []sim.Scenario{sim.StuckAway(step), sim.StuckRescue(step)} {
			t.Run(scenario.Name, func(t *testing.T) {
				t.Parallel()
				if r := sim.Run(sim.Options{Seed: *from, Scenario: scenario}); r.Violation != nil {
					t.Error(r.Error())
				}
			})
		}
	}
}

// TestStuckAwayCrashAtEveryBoundary kills the agent that works on the first guest's way home once before
// and once after each of its calls: at some of these points, or all with -sim.whole.
func TestStuckAwayCrashAtEveryBoundary(t *testing.T) {
	t.Parallel()
	if raced { // TestStuckAwayComesHome has some
		return
	}
	var all sim.Boundaries
	if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.StuckCrashAt(-1, &all)}); r.Violation != nil {
		t.Fatal(r.Error())
	}
	if len(all.List) < 40 {
		t.Fatalf("the way home has %d boundaries only: %q", len(all.List), all.List)
	}
	for n, boundary := range all.List {
		if !*whole && n%8 != 0 {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", n, boundary), func(t *testing.T) {
			t.Parallel()
			if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.StuckCrashAt(n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
				t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
			}
		})
	}
}
