package detectbench

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

var (
	exactSeed     = flag.Uint64("detect.exact", 1, "seed of TestShortcutsAreExact")
	exactNetworks = flag.Int("detect.exact-networks", 1, "networks of TestShortcutsAreExact")
	exactShifts   = flag.Int("detect.exact-shifts", 1, "times eight hours of its longer run")
)

// decided lists what a world decides: every command but the reports, with its
// time and what matters of it.
func decided(n int, seed uint64, length time.Duration, scale float64, p Policy, o Options) []string {
	place := NewPlace(n, p)
	trace := NewTrace(seed, place, length, scale)
	var out []string
	o.Seed, o.Policy = seed, p
	o.Watch = func(t int64, c failover.Command) {
		text := fmt.Sprintf("%v %T", time.Duration(t)*time.Millisecond, c)
		switch c := c.(type) {
		case failover.Assess:
			text += fmt.Sprintf(" %s %s %s held %q back %v", c.Domain, c.Cause, c.Level, c.Held.Code, c.Back)
		case failover.CommitOp:
			text += fmt.Sprintf(" %v", c.Guests)
		case failover.BeginTerm:
			text += " " + string(c.Leader)
		case failover.CancelOp:
			text += " " + c.Reason.Code
		}
		out = append(out, text)
	}
	ledger := NewLedger(place, p, 1)
	NewWorld(place, trace, ledger, o).Run()
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: decision %d:\n got %s\nwant %s\nbefore: %s", what, i, got[i], want[i], want[max(0, i-3):i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d decisions, want %d", what, len(got), len(want))
	}
}

// TestShortcutsAreExact compares the run that skips idle time, glides over
// steady time and spares calls of Decide with the one that goes through every
// quarter of a second. Days with many times the usual trouble stand for months.
func TestShortcutsAreExact(t *testing.T) {
	for _, c := range []struct {
		length time.Duration
		scale  float64
	}{{3 * time.Hour, 40}, {time.Duration(*exactShifts) * 8 * time.Hour, 6}} {
		for n := range *exactNetworks {
			name := fmt.Sprintf("%v x%v, network %d", c.length, c.scale, n)
			t.Run(name, func(t *testing.T) {
				seed := draw(*exactSeed, uint64(c.length), uint64(n))
				want := decided(n, seed, c.length, c.scale, defaultPolicy(), Options{Strict: true})
				got := decided(n, seed, c.length, c.scale, defaultPolicy(), Options{KeepHarmless: true})
				if len(want) < 8 {
					t.Fatalf("only %d decisions: nothing was compared", len(want))
				}
				same(t, "with shortcuts", got, want)
			})
		}
	}
}

// TestHarmlessBurstsDecideNothing lives, in full, through nothing but bursts
// that the sieve would leave out.
func TestHarmlessBurstsDecideNothing(t *testing.T) {
	place := NewPlace(0, defaultPolicy())
	trace := NewTrace(5, place, 4*day, 1)
	sieve := NewWorld(place, trace, NewLedger(place, defaultPolicy(), 1), Options{Seed: 5, Policy: defaultPolicy()})
	kept := map[Effect]bool{}
	for _, e := range sieve.sift(trace.Effects) {
		kept[e] = true
	}
	var left []Effect
	for _, e := range trace.Effects {
		if e.Kind == lossBurst && !kept[e] {
			left = append(left, e)
		}
	}
	if len(left) < 50 || len(kept) < 2 {
		t.Fatalf("%d bursts left out, %d effects kept: want some of both", len(left), len(kept))
	}
	booted := false
	o := Options{Seed: 5, Policy: defaultPolicy(), KeepHarmless: true}
	o.Watch = func(at int64, c failover.Command) {
		if _, ok := c.(failover.Assess); ok && at > 60*second {
			t.Errorf("at %v: %+v, want no verdict to change", time.Duration(at)*time.Millisecond, c)
		}
		booted = true
	}
	w := NewWorld(place, Trace{Length: trace.Length, Effects: left}, NewLedger(place, defaultPolicy(), 1), o)
	w.Run()
	if !booted || w.state.Reports["moulin"].Report.Seq < 50 {
		t.Errorf("%d reports of moulin: want many, or nothing was lived through", w.state.Reports["moulin"].Report.Seq)
	}
}

// TestOnlyLoneDisturbancesAreSampled: whatever involves two sites, the mesh,
// half of the observers or a sick one is always lived through.
func TestOnlyLoneDisturbancesAreSampled(t *testing.T) {
	place := NewPlace(0, defaultPolicy())
	w := NewWorld(place, Trace{}, NewLedger(place, defaultPolicy(), 1), Options{Policy: defaultPolicy(), Sample: 32})
	line := func(s int, d int64) Effect { return Effect{Kind: lineDown, Site: s, From: 0, To: d} }
	burst := Effect{Kind: lossBurst, Site: 1, From: 0, To: 5000}
	for _, c := range []struct {
		name    string
		effects []Effect
		want    int
	}{
		{"a short outage", []Effect{line(0, 20_000)}, 32},
		{"a short outage and a burst", []Effect{line(0, 20_000), burst}, 32},
		{"nothing but bursts", []Effect{burst, burst}, 32},
		{"just below the delay", []Effect{line(0, 280_000)}, 8},
		{"a short outage of two lines' site", []Effect{line(3, 100_000)}, 8},
		{"a true loss", []Effect{line(0, 3_600_000)}, 8},
		{"two sites at once", []Effect{line(0, 20_000), line(1, 20_000)}, 1},
		{"one site twice", []Effect{line(0, 20_000), line(0, 20_000)}, 1},
		{"one pair", []Effect{{Kind: pairDown, To: 9_000_000}}, 32},
		{"the mesh", []Effect{{Kind: meshDown, To: 20_000}}, 1},
		{"half of the observers", []Effect{{Kind: cutFrom, To: 20_000}}, 1},
		{"a sick observer", []Effect{{Kind: deaf, To: 20_000}}, 1},
		{"a liar", []Effect{{Kind: sayDown, To: 20_000}}, 1},
		{"a slow loop", []Effect{{Kind: slowLoop, To: 20_000}}, 1},
	} {
		if got := w.stands(Cluster{Effects: c.effects}); got != c.want {
			t.Errorf("%s: one in %d is lived through, want one in %d", c.name, got, c.want)
		}
	}
}

// TestShardsAndRepetition: the same seed gives the same figures, in any number
// of shards; another seed gives others.
func TestShardsAndRepetition(t *testing.T) {
	figures := func(seed uint64, shards int) string {
		t.Helper()
		tally, err := Run(t.Context(), Config{Seed: seed, SiteYears: 1, Life: 30 * day, Shards: shards, Share: 3, Sample: 8})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := tally.Print(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	one := figures(3, 1)
	for _, shards := range []int{1, 3} {
		if got := figures(3, shards); got != one {
			t.Errorf("%d shards:\n%s\nwant\n%s", shards, got, one)
		}
	}
	if figures(4, 1) == one {
		t.Error("another seed gives the same figures")
	}
	if last := one[strings.LastIndex(strings.TrimSpace(one), "\n")+1:]; !strings.HasPrefix(last, "detection: 1 site-years, ") {
		t.Errorf("last line %q", last)
	}
}
