package sim_test

import (
	"fmt"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestSwitchovers plays trouble at every step of a planned move.
func TestSwitchovers(t *testing.T) {
	t.Parallel()
	n := 0
	run := func(name string, s func() sim.Scenario) {
		if n++; !sampled(n) {
			return
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r := sim.Run(sim.Options{Seed: *from, Scenario: s()}); r.Violation != nil {
				t.Error(r.Error())
			}
		})
	}
	run("none", func() sim.Scenario { return sim.Switchover(sim.MoveUndisturbed, "") })
	for _, what := range []sim.Trouble{sim.MoveHomeDies, sim.MoveTargetDies, sim.MoveCancelled, sim.MoveAgentDies} {
		for _, step := range sim.SwitchoverSteps() {
			run(fmt.Sprintf("%s at %s", what, step), func() sim.Scenario { return sim.Switchover(what, step) })
		}
	}
}

// TestSwitchoverCrashAtEveryBoundary kills the agent that works, at home or at the
// target, once before and once after each of its calls: at every fifth of these
// points, or all with -sim.whole, as `make soak` has it.
func TestSwitchoverCrashAtEveryBoundary(t *testing.T) {
	t.Parallel()
	if raced { // TestSwitchovers has some
		return
	}
	var all sim.Boundaries
	if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.MoveCrashAt(-1, &all)}); r.Violation != nil {
		t.Fatal(r.Error())
	}
	if len(all.List) < 80 {
		t.Fatalf("the move has %d boundaries only: %q", len(all.List), all.List)
	}
	for n, boundary := range all.List {
		if !*whole && n%(5*stride()) != 0 {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", n, boundary), func(t *testing.T) {
			t.Parallel()
			if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.MoveCrashAt(n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
				t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
			}
		})
	}
}
