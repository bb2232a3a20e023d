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
	list["mixed"], list["campaign"], list["histories"] = sim.Mixed, sim.Campaign, sim.Histories
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
	campaigns(t, seeds(15, 2), sim.Mixed)
}

// TestCampaign runs networks for hours with several incidents each; it is what
// `make soak` does for longer.
func TestCampaign(t *testing.T) {
	t.Parallel()
	n := seeds(300, 2)
	if *count > 0 {
		n = *count
	}
	campaigns(t, n, sim.Campaign)
}

// TestHistories runs many stories of the way home, in which all that was written must be accounted for.
func TestHistories(t *testing.T) {
	t.Parallel()
	n := seeds(300, 2)
	if *count > 0 {
		n = *count
	}
	sum := soak(t, n, sim.Histories)
	written(t, sum.coverage)
	a := sum.account
	t.Logf("histories: %d seeds, %d violations, %.1f seeds/s, %d writes acknowledged, of them %d in the running copy, %d sealed, %d in a copy that was left, %d given up, %d lost with a disk",
		n, sum.violations, float64(n)/sum.took.Seconds(), a.Written, a.Running, a.Sealed, a.Left, a.GivenUp, a.Lost)
	if got := a.Running + a.Sealed + a.Left + a.GivenUp + a.Lost; got != a.Written {
		t.Errorf("of %d writes %d are accounted for", a.Written, got)
	}
	if untold := sim.Untold(sum.coverage); n >= 10_000 && len(untold) > 0 {
		t.Errorf("in %d histories these were never told of: %q", n, untold)
	}
}

// campaigns soaks scenarios in which anything may happen, and demands that it did.
func campaigns(t *testing.T, n uint64, scenario func() sim.Scenario) {
	t.Helper()
	sum := soak(t, n, scenario)
	written(t, sum.coverage)
	if missing := sim.Missing(sum.coverage); n >= 10_000 && len(missing) > 0 {
		t.Errorf("in %d seeds these never happened: %q", n, missing)
	}
	t.Logf("soak: %d seeds, %d violations, %.1f seeds/s, %.1f simulated hours/s",
		n, sum.violations, float64(n)/sum.took.Seconds(), sum.hours.Hours()/sum.took.Seconds())
	// Incidents in which nothing happens prove nothing.
	if missing := sum.stats.Missing(); n >= 50 && len(missing) > 0 {
		t.Errorf("in %d seeds these never happened: %v", n, missing)
	}
}

// soaked is what many runs have come to.
type soaked struct {
	stats        sim.Stats
	account      sim.Account
	coverage     sim.Coverage
	hours, awake time.Duration
	violations   int
	took         time.Duration
}

func (s *soaked) add(r sim.Result) {
	s.stats, s.account = s.stats.Add(r.Stats), s.account.Add(r.Account)
	s.hours, s.awake = s.hours+r.Virtual, s.awake+r.Virtual-r.Passed
	s.coverage.Add(r.Coverage)
	if r.Violation != nil {
		s.violations++
	}
}

// soak runs a scenario from n seeds, and sums up.
func soak(t *testing.T, n uint64, scenario func() sim.Scenario) soaked {
	t.Helper()
	parts := [2]soaked{{coverage: sim.Coverage{}}, {coverage: sim.Coverage{}}} // as many as the smallest machine has cores
	began := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for i := range parts {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed := *from + uint64(i); seed < *from+n; seed += uint64(len(parts)) {
					r := sim.Run(sim.Options{Seed: seed, Scenario: scenario()})
					parts[i].add(r)
					if r.Violation != nil {
						t.Error(r.Error())
					}
					if ran := seed - *from + 1; *count > 0 && ran/1000 != (ran+uint64(len(parts)))/1000 {
						t.Logf("%s: about %d seeds, %d violations in half of them", time.Since(began).Round(time.Second), ran, parts[i].violations)
					}
				}
			})
		}
	})
	sum, o := parts[0], parts[1]
	sum.stats, sum.account = sum.stats.Add(o.stats), sum.account.Add(o.account)
	sum.hours, sum.awake, sum.violations = sum.hours+o.hours, sum.awake+o.awake, sum.violations+o.violations
	sum.coverage.Add(o.coverage)
	sum.took = time.Since(began)
	t.Logf("%+v, not at rest for %s each", sum.stats, (sum.awake / time.Duration(n)).Round(time.Second))
	return sum
}

// firstHistory is the first seed of which TestSameSeedSameRun runs a history.
const firstHistory = 100

// TestSameSeedSameRun compares runs byte for byte, in whatever way the
// scheduler of the real machine treats them.
func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (string, string) {
		var b strings.Builder
		o := sim.Options{Seed: seed, Scenario: sim.Mixed(), Verbose: &b, Primaries: 2 - int(seed%3)}
		if seed >= firstHistory {
			o.Scenario, o.Primaries = sim.Histories(), 0
		}
		r := sim.Run(o)
		return r.Hash, b.String()
	}
	hashes := map[string]uint64{}
	for n := range seeds(10, 2) {
		seed := n / 2
		if n%2 == 1 {
			seed += firstHistory
		}
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

// written writes what occurred where -sim.coverage wants it.
func written(t *testing.T, c sim.Coverage) {
	t.Helper()
	if *coverage == "" {
		return
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%9d  %s\n", c[k], k)
	}
	if err := os.WriteFile(*coverage, []byte(b.String()), 0o644); err != nil {
		t.Error(err)
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
