package probes_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

const (
	u = failover.SeenUp
	r = failover.SeenRefused
	d = failover.SeenDown
	x = failover.SeenUnknown
)

type sample struct {
	at   time.Duration
	seen failover.Seen
}

// each makes samples at one per second from 0.
func each(seen ...failover.Seen) []sample {
	out := make([]sample, len(seen))
	for i, s := range seen {
		out[i] = sample{time.Duration(i) * time.Second, s}
	}
	return out
}

func TestWindow(t *testing.T) {
	s := time.Second
	for _, tc := range []struct {
		name    string
		samples []sample
		at      time.Duration
		want    failover.Seen
		lasted  time.Duration
	}{
		{"nothing", nil, 9 * s, x, 0},
		{"one sighting is enough", each(u), 0, u, 0},
		{"four misses leave it up", each(u, d, d, d, d), 4 * s, u, 4 * s},
		{"five misses count from the first", each(u, d, d, d, d, d), 5 * s, d, 4 * s},
		{"silence grows", each(u, d, d, d, d, d, d, d), 7 * s, d, 6 * s},
		{"never seen: unknown before five", each(d, d, d, d), 3 * s, x, 3 * s},
		{"never seen: silent after five", each(d, d, d, d, d), 4 * s, d, 4 * s},
		{"one sighting ends silence", each(d, d, d, d, d, d, u), 6 * s, u, 0},
		{"a miss between sightings does not end up", each(u, d, u, d, d, u), 5 * s, u, 5 * s},
		{"a broken run starts over", each(u, d, d, d, d, u, d, d, d, d), 9 * s, u, 9 * s},
		{"refused at once", each(u, u, r), 2 * s, r, 0},
		{"refused stays through misses", each(r, d, d, d), 3 * s, r, 3 * s},
		{"refused ends silence", each(d, d, d, d, d, r), 5 * s, r, 0},
		{"back to up", each(r, r, u, u), 3 * s, u, s},
		{"an untried probe is no miss", each(u, d, d, d, d, x, x), 6 * s, u, 6 * s},
		{"untried for too long", each(u, x, x, x, x), 4 * s, x, 4 * s},
		{"untried from the start", each(x, x, x), 2 * s, x, 2 * s},
		{"a stopped observer knows nothing", each(u, u), 5 * s, x, 4 * s},
		{"nor does it know silence", each(d, d, d, d, d), 8 * s, x, 4 * s},
		{"a gap of three intervals is none", each(u, u), 4 * s, u, 4 * s},
		{
			"misses before a gap do not count",
			[]sample{{0, u}, {s, d}, {2 * s, d}, {3 * s, d}, {4 * s, d}, {60 * s, d}},
			60 * s, x, 56 * s,
		},
		{
			"silence after a gap counts from its own first miss",
			[]sample{{0, u}, {s, d}, {60 * s, d}, {61 * s, d}, {62 * s, d}, {63 * s, d}, {64 * s, d}},
			64 * s, d, 4 * s,
		},
		{"a sighting after a gap", []sample{{0, u}, {60 * s, u}}, 61 * s, u, s},
		{"a clock that steps back changes nothing", []sample{{5 * s, u}, {s, d}}, 5 * s, u, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := probes.NewWindow(5, s)
			for _, p := range tc.samples {
				w.Add(p.seen, "", p.at)
			}
			seen, lasted, _ := w.Observe(tc.at)
			if seen != tc.want || lasted != tc.lasted {
				t.Errorf("after %v at %s: got %s for %s, want %s for %s", tc.samples, tc.at, seen, lasted, tc.want, tc.lasted)
			}
		})
	}
}

func TestWindowKeepsTheNoteOfItsState(t *testing.T) {
	w := probes.NewWindow(2, time.Second)
	for _, step := range []struct {
		seen       failover.Seen
		note, want string
	}{
		{x, "no certificate", "no certificate"},
		{d, "no answer", "no answer"},
		{u, "HTTP 200", "HTTP 200"},
		{d, "no answer", "HTTP 200"},
		{d, "host unreachable", "host unreachable"},
		{d, "no answer", "no answer"},
		{x, "not tried", "no answer"},
		{r, "connection refused", "connection refused"},
	} {
		w.Add(step.seen, step.note, 0)
		if _, _, note := w.Observe(0); note != step.want {
			t.Errorf("after %s %q: got note %q, want %q", step.seen, step.note, note, step.want)
		}
	}
	if _, _, note := probes.NewWindow(0, time.Second).Observe(0); note == "" {
		t.Error("a window that was never fed says nothing of it")
	}
}

// twin says what a window sees from the whole history, by looking back each time.
type twin struct {
	misses  int
	gap     time.Duration
	tried   []time.Duration
	results []sample
}

func (w *twin) add(s sample) {
	w.tried = append(w.tried, s.at)
	if s.seen != x {
		w.results = append(w.results, s)
	}
}

// state says what result i makes known, and since when.
func (w *twin) state(i int) (failover.Seen, time.Duration) {
	j := i
	for j > 0 && w.results[j].seen == d && w.results[j-1].seen == d && w.joined(j) {
		j--
	}
	switch {
	case w.results[i].seen != d:
		return w.results[i].seen, w.start(i)
	case i-j+1 >= w.misses:
		return d, w.results[j].at
	case j > 0 && w.joined(j):
		return w.results[j-1].seen, w.start(j - 1)
	}
	return x, 0
}

func (w *twin) joined(i int) bool { return w.results[i].at-w.results[i-1].at <= w.gap }

// start walks back from a sighting to where its state began.
func (w *twin) start(i int) time.Duration {
	same, began := w.results[i].seen, w.results[i].at
	for j := i - 1; j >= 0 && w.joined(j+1); j-- {
		if seen, _ := w.state(j); seen != same {
			break
		}
		if w.results[j].seen == same {
			began = w.results[j].at
		}
	}
	return began
}

func (w *twin) observe(at time.Duration) (failover.Seen, time.Duration) {
	if len(w.tried) == 0 {
		return x, 0
	}
	last := len(w.results) - 1
	if last >= 0 && at-w.results[last].at <= w.gap {
		if seen, since := w.state(last); seen != x {
			return seen, at - since
		}
	}
	for i := last; i >= 0; i-- {
		if seen, _ := w.state(i); seen != x {
			return x, at - w.results[i].at
		}
	}
	return x, at - w.tried[0]
}

func TestWindowAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		misses := rapid.IntRange(1, 6).Draw(t, "misses")
		w, dumb := probes.NewWindow(misses, time.Second), &twin{misses: misses, gap: 3 * time.Second}
		at := time.Duration(0)
		added := x // what the window saw after the Add before
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			at += rapid.SampledFrom([]time.Duration{900, 1000, 1100, 1000, 1000, 2000, 3000, 3001, 9000}).Draw(t, "wait") * time.Millisecond
			s := sample{at, rapid.SampledFrom([]failover.Seen{u, d, d, d, d, r, x}).Draw(t, "seen")}
			before, _, _ := w.Observe(at)
			changed := w.Add(s.seen, "", at)
			dumb.add(s)
			seen, lasted, _ := w.Observe(at)
			want, wantFor := dumb.observe(at)
			if seen != want || lasted != wantFor {
				t.Fatalf("at %s: got %s for %s, want %s for %s", at, seen, lasted, want, wantFor)
			}
			if changed != (seen != added || before != added) {
				t.Fatalf("at %s: %s, then %s before the result, %s after it; Add says changed=%t", at, added, before, seen, changed)
			}
			added = seen
			later := at + rapid.SampledFrom([]time.Duration{0, 1, 2, 3, 4}).Draw(t, "later")*time.Second
			seen, lasted, _ = w.Observe(later)
			want, wantFor = dumb.observe(later)
			if seen != want || lasted != wantFor {
				t.Fatalf("seen from %s: got %s for %s, want %s for %s", later, seen, lasted, want, wantFor)
			}
		}
	})
}

// An observer must never claim more silence than it has measured without a
// sighting in it, whatever happened to its schedule.
func TestWindowNeverOverstatesSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := probes.NewWindow(5, time.Second)
		var at, sighted, first time.Duration
		sighted = -1
		first = -1
		for range 100 {
			at += time.Duration(rapid.IntRange(100, 5000).Draw(t, "wait")) * time.Millisecond
			s := rapid.SampledFrom([]failover.Seen{u, r, d, d, d, d, d, d, d, x}).Draw(t, "seen")
			w.Add(s, "", at)
			if s.Alive() {
				sighted = at
			}
			if first < 0 {
				first = at
			}
			seen, lasted, _ := w.Observe(at)
			if seen == d && at-lasted <= max(sighted, first-1) {
				t.Fatalf("at %s: silent for %s, but seen at %s (first probe %s)", at, lasted, sighted, first)
			}
			if s.Alive() && seen != s {
				t.Fatalf("at %s: sighted %s, window says %s", at, s, seen)
			}
		}
	})
}

func BenchmarkWindowAdd(b *testing.B) {
	w := probes.NewWindow(5, time.Second)
	results := []failover.Seen{u, u, d, u, d, d, d, d, d, d, r}
	at := time.Duration(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at += time.Second
		w.Add(results[i%len(results)], "", at)
	}
}
