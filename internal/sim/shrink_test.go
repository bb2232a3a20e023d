package sim_test

import (
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

func TestShrinkFindsTheTroublesThatMatter(t *testing.T) {
	t.Parallel()
	if raced { // hundreds of runs of what TestScenarios shows the race detector
		return
	}
	for _, needed := range [][]int{{3}, {0, 7}, {4, 5}} {
		o := sim.Options{Seed: 1, Scenario: sim.Broken(8, needed...)}
		failed := sim.Run(o)
		if failed.Violation == nil {
			t.Fatal("the broken scenario is not broken")
		}
		small, without := sim.Shrink(o, failed, 100)
		var left []int
		for _, p := range small.Plan {
			if !without[p.Number] {
				left = append(left, p.Number)
			}
		}
		if !slices.Equal(left, needed) {
			t.Errorf("left are %v, want %v", left, needed)
		}
		if small.Violation == nil {
			t.Error("the smallest run violates nothing")
		}
	}
}

// TestStandingStillChangesNothing runs scenarios with every probe made: what is
// decided and done is the same.
func TestStandingStillChangesNothing(t *testing.T) {
	t.Parallel()
	if raced { // one goroutine: TestScenarios has some for the race detector
		return
	}
	type outcome struct{ begun, committed, owned, served, diverged, cancelled int }
	run := func(s sim.Scenario, strict bool) outcome {
		r := sim.Run(sim.Options{Seed: 7, Scenario: s, Strict: strict})
		if r.Violation != nil {
			t.Error(r.Error())
		}
		return outcome{r.Stats.Begun, r.Stats.Committed, r.Stats.Owned, r.Stats.Served, r.Stats.Diverged, r.Stats.Cancelled}
	}
	for _, name := range []string{"main job, quai", "isolated"} {
		scenario, ok := scenarios()[name]
		if !ok {
			t.Fatalf("no scenario %q", name)
		}
		if with, without := run(scenario(), false), run(scenario(), true); with != without {
			t.Errorf("%s: %+v, with every probe made %+v", name, with, without)
		}
	}
}
