package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

var (
	replay   = flag.Int64("sim.seed", -1, "seed of TestReplay")
	told     = flag.String("sim.scenario", "", "scenario of TestReplay, by its name; default: campaign")
	calls    = flag.Bool("sim.calls", false, "TestReplay tells reads from Proxmox, too")
	from     = flag.Uint64("sim.from", 1, "first seed")
	hunts    = flag.Uint64("sim.hunt", 0, "how many random runs TestHunt makes after the scenarios and the tables")
	coverage = flag.String("sim.coverage", "", "file to write to how often everything happened")
	shrink   = flag.Bool("sim.shrink", false, "TestReplay looks for as few troubles as lead to the same violation")
	whole    = flag.Bool("sim.whole", false, "play every crash point of every list")
	count    = flag.Uint64("sim.seeds", 0, "how many seeds TestCampaign runs; 0: as many as fit a test")
)

// TestReplay runs one scenario, the mixed one by default, of one seed and tells
// everything.
func TestReplay(t *testing.T) {
	if *replay < 0 {
		t.Skip("no -sim.seed given")
	}
	scenario := sim.Campaign()
	if *told != "" {
		scenario = named(t, *told)
	}
	r := sim.Run(sim.Options{Seed: uint64(*replay), Scenario: scenario, Verbose: os.Stdout, Calls: *calls})
	if r.Violation != nil && *shrink {
		small, without := sim.Shrink(sim.Options{Seed: r.Seed, Scenario: scenario}, r, 200)
		fmt.Printf("shrunk from %d troubles to these:\n", len(r.Plan))
		for _, p := range small.Plan {
			if !without[p.Number] {
				fmt.Println(" ", p)
			}
		}
		r = small
	}
	fmt.Printf("seed %d: hash %s, %d events, %s virtual, %+v\n", r.Seed, r.Hash, r.Events, r.Virtual, r.Stats)
	if r.Violation != nil {
		t.Fatal(r.Error())
	}
}

// named returns the scenario of a name, as the list or a violation has it.
func named(t *testing.T, name string) sim.Scenario {
	t.Helper()
	list := scenarios()
	list["mixed"], list["campaign"] = sim.Mixed, sim.Campaign
	for _, key := range slices.Sorted(maps.Keys(list)) {
		if s := list[key](); key == name || s.Name == name {
			return s
		}
	}
	t.Fatalf("no scenario %q; there are %q", name, slices.Sorted(maps.Keys(list)))
	return sim.Scenario{}
}

// TestMixed runs random incidents, one per seed.
func TestMixed(t *testing.T) {
	t.Parallel()
	soak(t, seeds(15, 2), sim.Mixed)
}

// TestCampaign runs networks for hours with several incidents each; it is what
// `make soak` does for longer.
func TestCampaign(t *testing.T) {
	t.Parallel()
	n := seeds(300, 2)
	if *count > 0 {
		n = *count
	}
	soak(t, n, sim.Campaign)
}

// soak runs a scenario from n seeds, and sums up.
func soak(t *testing.T, n uint64, scenario func() sim.Scenario) {
	t.Helper()
	var parts [2]sim.Stats // as many as the smallest machine has cores
	covered := [2]sim.Coverage{{}, {}}
	var hours, awake [2]time.Duration
	began, violations := time.Now(), [2]int{}
	t.Run("seeds", func(t *testing.T) {
		for i := range parts {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed := *from + uint64(i); seed < *from+n; seed += uint64(len(parts)) {
					r := sim.Run(sim.Options{Seed: seed, Scenario: scenario()})
					parts[i] = parts[i].Add(r.Stats)
					hours[i] += r.Virtual
					awake[i] += r.Virtual - r.Passed
					covered[i].Add(r.Coverage)
					if r.Violation != nil {
						violations[i]++
						t.Error(r.Error())
					}
					if ran := seed - *from + 1; *count > 0 && ran/1000 != (ran+uint64(len(parts)))/1000 {
						t.Logf("%s: about %d seeds, %d violations in half of them", time.Since(began).Round(time.Second), ran, violations[i])
					}
				}
			})
		}
	})
	sum, took := parts[0].Add(parts[1]), time.Since(began).Seconds()
	t.Logf("%+v, not at rest for %s each", sum, ((awake[0] + awake[1]) / time.Duration(n)).Round(time.Second))
	covered[0].Add(covered[1])
	report(t, covered[0], n)
	t.Logf("soak: %d seeds, %d violations, %.1f seeds/s, %.1f simulated hours/s",
		n, violations[0]+violations[1], float64(n)/took, (hours[0]+hours[1]).Hours()/took)
	// Incidents in which nothing happens prove nothing.
	if missing := sum.Missing(); n >= 50 && len(missing) > 0 {
		t.Errorf("in %d seeds these never happened: %v", n, missing)
	}
}

// TestSameSeedSameRun compares runs byte for byte, in whatever way the
// scheduler of the real machine treats them.
func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (string, string) {
		var b strings.Builder
		r := sim.Run(sim.Options{Seed: seed, Scenario: sim.Mixed(), Verbose: &b, Primaries: 2 - int(seed%3)})
		return r.Hash, b.String()
	}
	hashes := map[string]uint64{}
	for seed := range seeds(4, 1) {
		hash, text := run(seed)
		before := runtime.GOMAXPROCS(1)
		again, repeated := run(seed)
		runtime.GOMAXPROCS(before)
		if hash != again || text != repeated {
			t.Errorf("seed %d: hash %s, then %s; first difference: %s", seed, hash, again, difference(text, repeated))
		}
		if other, ok := hashes[hash]; ok {
			t.Errorf("seeds %d and %d have the same hash", seed, other)
		}
		hashes[hash] = seed
	}
}

// report writes what occurred where -sim.coverage wants it, and demands of a long
// run that all of it did.
func report(t *testing.T, c sim.Coverage, n uint64) {
	t.Helper()
	if *coverage != "" {
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(c)) {
			fmt.Fprintf(&b, "%9d  %s\n", c[k], k)
		}
		if err := os.WriteFile(*coverage, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	if missing := sim.Missing(c); n >= 10_000 && len(missing) > 0 {
		t.Errorf("in %d seeds these never happened: %q", n, missing)
	}
}

func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d: %q, then %q", i, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, then %d", len(x), len(y))
}
