package sim_test

import (
	"fmt"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestWayHome brings guests home after an isolation in which both copies were written to,
// keeping either; the agent that works dies at each step.
func TestWayHome(t *testing.T) {
	t.Parallel()
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		steps := append([]failover.StepID{""}, sim.WayHomeSteps(keep)...)
		for n, step := range steps {
			if n > 0 && raced { // with the race detector: one of each
				continue
			}
			t.Run(string(keep)+" "+string(step), func(t *testing.T) {
				t.Parallel()
				if r := sim.Run(sim.Options{Seed: *from, Scenario: sim.WayHome(keep, step)}); r.Violation != nil {
					t.Error(r.Error())
				}
			})
		}
	}
}

// TestWayHomeGivenUp cancels it before its copy is the guest's.
func TestWayHomeGivenUp(t *testing.T) {
	t.Parallel()
	if raced { // TestWayHome has some
		return
	}
	for _, step := range []failover.StepID{failover.StepSealCopy, failover.StepRestore} {
		if r := sim.Run(sim.Options{Seed: *from, Scenario: sim.WayHomeGivenUp(step)}); r.Violation != nil {
			t.Error(r.Error())
		}
	}
}

// TestWayHomeCrashAtEveryBoundary kills the agent that works on the first guest once before
// and once after each of its calls: at some of these points, or all with -sim.whole.
func TestWayHomeCrashAtEveryBoundary(t *testing.T) {
	t.Parallel()
	if raced { // TestWayHome has some
		return
	}
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		var all sim.Boundaries
		if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.WayHomeCrashAt(keep, -1, &all)}); r.Violation != nil {
			t.Fatal(r.Error())
		}
		if len(all.List) < 60 {
			t.Fatalf("the way home has %d boundaries only: %q", len(all.List), all.List)
		}
		for n, boundary := range all.List {
			if !*whole && n%12 != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", keep, n, boundary), func(t *testing.T) {
				t.Parallel()
				if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.WayHomeCrashAt(keep, n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
					t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
				}
			})
		}
	}
}
