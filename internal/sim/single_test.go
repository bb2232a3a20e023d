package sim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestSingleFaultAtEveryCall walks the table: every fault of the catalogue at
// every call that the target makes in a failover (with -sim.whole, as `make soak`
// has it; else every fault and every call, but not each with each). The guest is
// served in the end, or the operation is stuck with the reason, and served after
// a person has removed the cause and typed the next command.
func TestSingleFaultAtEveryCall(t *testing.T) {
	t.Parallel()
	var jobs []job
	for _, kind := range []network.GuestType{network.VM, network.CT} {
		var clean sim.Ending
		if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.SingleFault(kind, -1, sim.Single{Name: "no fault"}, &clean)}); r.Violation != nil {
			t.Fatal(r.Error())
		}
		points := strikes(clean.Calls)
		if len(points) < 15 {
			t.Fatalf("a failover of a %s makes %d calls only: %v", kind, len(points), clean.Calls)
		}
		for i, f := range sim.Singles() {
			for j, n := range points {
				// The calls of a CT are those of a VM but for their paths: half as many will do.
				every := map[network.GuestType]int{network.VM: 1, network.CT: 2}[kind]
				if !*whole {
					every *= 4
				}
				if (i+j)%every != 0 {
					continue
				}
				jobs = append(jobs, job{kind: kind, fault: f, n: n, at: clean.Calls[n].Boundary})
			}
		}
	}
	var parts [2]tally // as many as the smallest machine has cores
	t.Run("parts", func(t *testing.T) {
		step := int(seeds(1, 97)) // coprime to the number of calls: each gets its turn
		for i := range parts {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for n := i * step; n < len(jobs); n += len(parts) * step {
					parts[i].add(jobs[n].run(t))
				}
			})
		}
	})
	sum := tally{parts[0].runs + parts[1].runs, parts[0].stuck + parts[1].stuck, parts[0].freed + parts[1].freed}
	t.Logf("%d of %d single faults: %d needed a person, in %d the root helper", sum.runs, len(jobs), sum.stuck, sum.freed)
	// A table in which nothing goes wrong proves nothing.
	if sum.runs == len(jobs) && sum.stuck == 0 || *whole && sum.freed == 0 {
		t.Errorf("%d faults needed a person and %d the root helper, want some of each", sum.stuck, sum.freed)
	}
}

// job is one cell of the table.
type job struct {
	kind  network.GuestType
	fault sim.Single
	n     int
	at    string
}

func (j job) run(t *testing.T) sim.Ending {
	var end sim.Ending
	if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.SingleFault(j.kind, j.n, j.fault, &end)}); r.Violation != nil {
		t.Errorf("%s: %s at call %d, %s: %s", j.kind, j.fault.Name, j.n, j.at, r.Error())
	}
	return end
}

// tally counts what the table needed.
type tally struct{ runs, stuck, freed int }

func (t *tally) add(e sim.Ending) {
	t.runs++
	if e.Stuck != "" {
		t.stuck++
	}
	if e.Freed > 0 {
		t.freed++
	}
}

// strikes returns the calls that are worth a fault: of those that repeat
// themselves (polls), the first and the last.
func strikes(calls []sim.Call) []int {
	first, last := map[sim.Call]int{}, map[sim.Call]int{}
	for n, c := range calls {
		if _, seen := first[c]; !seen {
			first[c] = n
		}
		last[c] = n
	}
	var out []int
	for n, c := range calls {
		if first[c] == n || last[c] == n {
			out = append(out, n)
		}
	}
	return out
}

// TestCrashAtEveryBoundaryOfARecovery cuts the target's power in mid-restore
// and kills its agent once more at every boundary of what follows: the stub is
// freed, deleted and restored anew, whatever step the crash comes between. What
// comes after the second restore has begun is TestCrashAtEveryBoundary's.
func TestCrashAtEveryBoundaryOfARecovery(t *testing.T) {
	t.Parallel()
	for _, kind := range []network.GuestType{network.VM, network.CT} {
		var all sim.Boundaries
		if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashInRecovery(kind, -1, &all)}); r.Violation != nil {
			t.Fatal(r.Error())
		}
		asked := "before nuage-moulin: restore: ask helper to unlock"
		if !slices.Contains(all.List, asked) {
			t.Fatalf("the recovery of a %s has no boundary %q: %q", kind, asked, all.List)
		}
		end := slices.Index(all.List, "after nuage-moulin: restore: post restore") + 1
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			t.Logf("%d boundaries", end)
			for n := 0; n < end; n += stride() {
				var seen sim.Boundaries
				if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashInRecovery(kind, n, &seen)}); r.Violation != nil || r.Stats.Crashes != 1 {
					t.Errorf("%s at %q: %d crashes; %s", kind, all.List[n], r.Stats.Crashes, r.Error())
				}
			}
		})
	}
}

// TestTableHoldsTheWholeCatalogue: a new effect of the lab gets its row.
func TestTableHoldsTheWholeCatalogue(t *testing.T) {
	for _, e := range lab.Effects() {
		if !slices.ContainsFunc(sim.Singles(), func(s sim.Single) bool { return s.Fault.Effect == e }) {
			t.Errorf("no row of the table has effect %q", e)
		}
	}
	for _, s := range sim.Singles() {
		if strings.TrimSpace(s.Name) == "" || s.Fault.Effect == "" && s.Skew == 0 {
			t.Errorf("row %+v does nothing", s)
		}
	}
}
