package sim_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestHunt runs every scenario, a part of the tables of crashes and of single
// faults, and then random incidents until the first violation, and says in one
// line what caught it. It is how `make mutants` looks for a sabotage. With -sim.scenario it
// plays that one only.
func TestHunt(t *testing.T) {
	if *hunts == 0 {
		t.Skip("no -sim.hunt given (make mutants)")
	}
	h := &hunter{t: t}
	if *told != "" {
		for seed := *from; seed < *from+*hunts; seed++ {
			h.run(seed, named(t, *told))
		}
		fmt.Printf("hunt: nothing in %d runs\n", h.runs)
		return
	}
	list := scenarios()
	for _, name := range slices.Sorted(maps.Keys(list)) {
		h.run(*from, list[name]())
	}
	h.crashes()
	for _, kind := range []network.GuestType{network.VM, network.CT} {
		h.singles(kind)
		h.recoveries(kind)
	}
	h.homecomings()
	for seed := *from; seed < *from+*hunts; seed++ {
		h.run(seed, sim.Mixed())
	}
	for seed := *from; seed < *from+*hunts; seed++ {
		h.run(seed, sim.Campaign())
	}
	for seed := *from; seed < *from+*hunts; seed++ {
		h.run(seed, sim.Histories())
	}
	fmt.Printf("hunt: nothing in %d runs\n", h.runs)
}

// homecomings has agents die at some steps of a way home.
func (h *hunter) homecomings() {
	h.run(*from, sim.WayHomeGivenUp(failover.StepSealCopy))
	h.run(*from, sim.WayBack(""))
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		h.run(*from, sim.WayHome(keep, ""))
		for n, step := range sim.WayHomeSteps(keep) {
			if n%wayHomeStride == 0 {
				h.run(*from, sim.WayHome(keep, step))
			}
		}
	}
}

// Of the tables every so-many-th cell is tried: numbers without a common factor
// with the number of faults or of calls, so that all of both have their turn.
const (
	crashStride    = 5
	recoveryStride = 7
	singleStride   = 29
	wayHomeStride  = 4
)

type hunter struct {
	t    *testing.T
	runs int
}

func (h *hunter) run(seed uint64, s sim.Scenario) {
	h.t.Helper()
	h.runs++
	if r := sim.Run(sim.Options{Seed: seed, Scenario: s}); r.Violation != nil {
		first, _, _ := strings.Cut(r.Violation.Error(), "\n")
		fmt.Printf("hunt: run %d (%s, seed %d): %s\n", h.runs, r.Scenario, r.Seed, first)
		h.t.Fatal(r.Error())
	}
}

// crashes has agents die at boundaries of the target's work and after entries
// of the log.
func (h *hunter) crashes() {
	var all sim.Boundaries
	h.run(1, sim.CrashAt(-1, &all))
	for n := 0; n < len(all.List); n += crashStride {
		h.run(1, sim.CrashAt(n, &sim.Boundaries{}))
	}
	entries := 0
	h.run(1, sim.CrashLeaderAfter(-1, &entries))
	for n := 0; n < entries; n += crashStride {
		count := 0
		h.run(1, sim.CrashLeaderAfter(n, &count))
	}
}

func (h *hunter) singles(kind network.GuestType) {
	var clean sim.Ending
	h.run(1, sim.SingleFault(kind, -1, sim.Single{Name: "no fault"}, &clean))
	points, faults := strikes(clean.Calls), sim.Singles()
	for i := 0; i < len(points)*len(faults); i += singleStride {
		var end sim.Ending
		h.run(1, sim.SingleFault(kind, points[i%len(points)], faults[i/len(points)], &end))
	}
}

func (h *hunter) recoveries(kind network.GuestType) {
	var all sim.Boundaries
	h.run(1, sim.CrashInRecovery(kind, -1, &all))
	end := slices.Index(all.List, "after nuage-moulin: restore: post restore") + 1 // a crash later than that outlasts the scenario
	for n := 0; n < end; n += recoveryStride {
		h.run(1, sim.CrashInRecovery(kind, n, &sim.Boundaries{}))
	}
}
