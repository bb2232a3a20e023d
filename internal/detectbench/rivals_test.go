package detectbench

import (
	"math"
	"testing"
)

// scene is a hand-made second: "." answered, "x" missed, "-" not tried, for
// the observers 1 to 4 of site 0; together says whether they can all talk.
func scene(marks string, together bool) sightings {
	var s sightings
	for i, m := range marks {
		o := i + 1
		s.tried[o], s.missed[o] = m != '-', m == 'x'
		s.together[o] = 1 << o
		if together {
			s.together[o] = 0b11110
		}
	}
	return s
}

func TestRivals(t *testing.T) {
	type span struct {
		marks    string
		together bool
		seconds  int
	}
	for _, c := range []struct {
		name string
		play []span
		want map[Rival]int // the second in which it fires, from 1; absent: never
	}{
		{"all well", []span{{"....", true, 300}}, map[Rival]int{}},
		{
			"lost to all",
			[]span{{"....", true, 10}, {"xxxx", true, 200}},
			map[Rival]int{FixedTimeout: 130, Quorum: 40, Suspicion: 14, PhiAccrual: 13},
		},
		{
			"lost to the one that decides",
			[]span{{"....", true, 10}, {"x...", true, 200}},
			map[Rival]int{FixedTimeout: 130, PhiAccrual: 13},
		},
		{"lost to another one", []span{{"....", true, 10}, {".x..", true, 200}}, map[Rival]int{}},
		{
			"lost to three",
			[]span{{"....", true, 10}, {"xxx.", true, 100}},
			map[Rival]int{Quorum: 40, PhiAccrual: 13},
		},
		{
			"an observer cut off alone",
			[]span{{"....", true, 10}, {".x..", false, 100}},
			map[Rival]int{Suspicion: 34},
		},
		{"back before the timeouts", []span{{"....", true, 10}, {"xxxx", true, 2}, {"....", true, 100}}, map[Rival]int{}},
		{"the observer stands still", []span{{"....", true, 10}, {"-...", true, 300}}, map[Rival]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rivals{}
			got := map[Rival]int{}
			second := 0
			for _, sp := range c.play {
				for range sp.seconds {
					second++
					for k, fired := range r.step(int64(second), scene(sp.marks, sp.together)) {
						if fired && got[Rival(k)] == 0 {
							got[Rival(k)] = second
						}
					}
				}
			}
			for k := range rivalKinds {
				if got[k] != c.want[k] {
					t.Errorf("%v fires in second %d, want %d (0: never)", k, got[k], c.want[k])
				}
			}
		})
	}
}

// TestAccrualGrowsBlunt: an outage in its window makes it slower for the next.
func TestAccrualGrowsBlunt(t *testing.T) {
	fires := func(a *accrual, from int64) int64 {
		for n := from; n < from+200; n++ {
			if a.step(n, true) {
				return n - from + 1
			}
		}
		return 0
	}
	var fresh, used accrual
	fresh.resume(1000)
	used.resume(900)
	used.step(1000, false) // after a hundred seconds of silence
	a, b := fires(&fresh, 1001), fires(&used, 1001)
	if a != 3 || b <= a {
		t.Errorf("fires after %d s with a clean window, %d s after an outage: want 3, and later", a, b)
	}
	used.resume(1001 + 2*accrualWindow)
	if c := fires(&used, 1002+2*accrualWindow); c != a {
		t.Errorf("fires after %d s when the outage has left the window, want %d", c, a)
	}
}

func TestTruth(t *testing.T) {
	place := NewPlace(0, defaultPolicy())
	c := Cluster{From: 0, To: 5000, Effects: []Effect{
		{Kind: meshDown, Site: 0, From: 0, To: 5000},                  // its entry serves
		{Kind: cutFrom, Site: 1, Mask: 0b11101, From: 0, To: 3000},    // nobody reaches it
		{Kind: cutFrom, Site: 2, Mask: 0b01011, From: 1000, To: 5000}, // temoin does
		{Kind: lineDown, Site: 3, N: 0, From: 1000, To: 4000},         // the fibre of two lines
		{Kind: lineDown, Site: 3, N: 1, From: 2000, To: 5000},         // and the LTE line
		{Kind: deaf, Site: 4, From: 0, To: 500},                       // sick, and reached
		{Kind: lineDown, Site: 4, N: 0, From: 4000, To: 4500},
	}}
	if place.Lines[3] != Dual {
		t.Fatalf("halle has %v, want two lines", place.Lines[3])
	}
	var truth Truth
	truth.learn(field{lines: &place.Lines, effects: c.Effects}, c)
	want := [sites][]Episode{{}, {{0, 3000}}, {{4000, 4500}}, {{2000, 4000}}, {{4000, 4500}}}
	for s := range sites {
		if len(truth[s]) != len(want[s]) {
			t.Errorf("%s: %v, want %v", siteNames[s], truth[s], want[s])
			continue
		}
		for i := range want[s] {
			if truth[s][i] != want[s][i] {
				t.Errorf("%s: %v, want %v", siteNames[s], truth[s], want[s])
			}
		}
	}
}

func TestElectionGap(t *testing.T) {
	for _, c := range []struct {
		u    float64
		want int64
	}{{0, 2100}, {0.5, 4100}, {0.99, 6500}, {1, 6800}} {
		if got := electionGap(c.u); got != c.want {
			t.Errorf("quantile %v: %d ms, want %d", c.u, got, c.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if !math.IsNaN(h.Quantile(0.5)) {
		t.Errorf("median of nothing %v, want NaN", h.Quantile(0.5))
	}
	for ms := range int64(1000) {
		h.add(ms)
	}
	h.add(10_000_000) // beyond the last bin
	for q, want := range map[float64]float64{0.5: 0.51, 0.99: 1, 1: 120.01} {
		if got := h.Quantile(q); math.Abs(got-want) > 0.011 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}
