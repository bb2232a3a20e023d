package sim_test

import (
	"fmt"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestWayHome brings guests home after an isolation in which both copies were written to,
// keeping either, or takes back that the copy at home was kept; the agent that works dies at each step.
func TestWayHome(t *testing.T) {
	t.Parallel()
	for keep, scenario := range map[failover.Keep]func(failover.StepID) sim.Scenario{
		failover.KeepAway: func(at failover.StepID) sim.Scenario { return sim.WayHome(failover.KeepAway, at) },
		failover.KeepHome: func(at failover.StepID) sim.Scenario { return sim.WayHome(failover.KeepHome, at) },
		failover.KeepBack: sim.WayBack,
	} {
		steps := append([]failover.StepID{""}, sim.WayHomeSteps(keep)...)
		for n, step := range steps {
			if n > 0 && raced { // with the race detector: one of each
				continue
			}
			t.Run(string(keep)+" "+string(step), func(t *testing.T) {
				t.Parallel()
				if r := sim.Run(sim.Options{Seed: *from, Scenario: scenario(step)}); r.Violation != nil {
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
	for keep, scenario := range map[failover.Keep]func(int, *sim.Boundaries) sim.Scenario{
		failover.KeepAway: func(n int, seen *sim.Boundaries) sim.Scenario { return sim.WayHomeCrashAt(failover.KeepAway, n, seen) },
		failover.KeepHome: func(n int, seen *sim.Boundaries) sim.Scenario { return sim.WayHomeCrashAt(failover.KeepHome, n, seen) },
		failover.KeepBack: sim.WayBackCrashAt,
	} {
		var all sim.Boundaries
		if r := sim.Run(sim.Options{Seed: 1, Scenario: scenario(-1, &all)}); r.Violation != nil {
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
				if r := sim.Run(sim.Options{Seed: 1, Scenario: scenario(n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
					t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
				}
			})
		}
	}
}
