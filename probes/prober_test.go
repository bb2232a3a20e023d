package probes_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func streams(name string) *rand.Rand {
	seed := uint64(len(name))
	for _, b := range []byte(name) {
		seed = seed*31 + uint64(b)
	}
	return rand.New(rand.NewPCG(1, seed))
}

// world answers probes by target name, and counts them.
type world struct {
	seen  map[string]failover.Seen
	asked map[string]int
}

func newWorld() *world {
	return &world{seen: map[string]failover.Seen{}, asked: map[string]int{}}
}

func (w *world) probe(ctx context.Context, t probes.Target) probes.Result {
	w.asked[t.Name]++
	if _, ok := ctx.Deadline(); !ok {
		return probes.Result{Seen: x, Note: "no deadline"}
	}
	s, ok := w.seen[t.Name]
	if !ok {
		s = u
	}
	return probes.Result{Seen: s, Note: string(s)}
}

func (w *world) config() probes.SetConfig {
	return probes.SetConfig{Probe: w.probe, Start: began, Rand: streams}
}

func target(name string) probes.Target {
	return probes.Target{Site: "moulin", Name: name, Path: failover.PathMesh, Every: time.Second, Timeout: time.Second}
}

// run steps all probers in order of time until the end, as a driver would, and
// returns the end.
func run(probers []*probes.Prober, from time.Time, d time.Duration) time.Time {
	end := from.Add(d)
	next := make([]time.Time, len(probers))
	for i, p := range probers {
		next[i] = p.Step(context.Background(), from)
	}
	for len(next) > 0 {
		i := 0
		for j := range next {
			if next[j].Before(next[i]) {
				i = j
			}
		}
		if next[i].After(end) {
			break
		}
		next[i] = probers[i].Step(context.Background(), next[i])
	}
	return end
}

func TestProberProbesOnceAnInterval(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	s.Update([]probes.Target{target("a"), target("b")}, began)
	now := run(s.Steppers(), began, 1000*time.Second)
	for _, name := range []string{"a", "b"} {
		if n := w.asked[name]; n < 980 || n > 1020 {
			t.Errorf("%s: %d probes in 1000 s", name, n)
		}
	}
	if late := s.TakeLate(now); late > 0 {
		t.Errorf("late by %g intervals in a punctual world", late)
	}
}

func TestProberJitterStaysWithinATenth(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	s.Update([]probes.Target{target("a")}, began)
	p := s.Steppers()[0]
	at := p.Step(t.Context(), began)
	if first := at.Sub(began); first < 0 || first >= time.Second {
		t.Errorf("first probe after %s, want within an interval", first)
	}
	gaps := map[time.Duration]bool{}
	for range 200 {
		next := p.Step(t.Context(), at)
		gap := next.Sub(at)
		if gap < 900*time.Millisecond || gap > 1100*time.Millisecond {
			t.Fatalf("next probe after %s", gap)
		}
		gaps[gap] = true
		if early := p.Step(t.Context(), at.Add(gap/2)); !early.Equal(next) {
			t.Fatalf("woken early: next probe at %s, want it to stay at %s", early, next)
		}
		at = next
	}
	if len(gaps) < 100 {
		t.Errorf("only %d different intervals in 200", len(gaps))
	}
	if w.asked["a"] != 200 {
		t.Errorf("%d probes in 200 intervals", w.asked["a"])
	}
}

func TestProberSeesSilenceAndReturn(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	s.Update([]probes.Target{target("a")}, began)
	now := run(s.Steppers(), began, 20*time.Second)
	w.seen["a"] = d
	now = run(s.Steppers(), now, 3500*time.Millisecond)
	if o := s.Observations(now)[0]; o.Seen != u {
		t.Errorf("after 3.5 s of silence: %s", o.Seen)
	}
	now = run(s.Steppers(), now, 3*time.Second)
	o := s.Observations(now)[0]
	if o.Seen != d || o.For < 5*time.Second || o.For > 6500*time.Millisecond {
		t.Errorf("after 6.5 s of silence: %s for %s", o.Seen, o.For)
	}
	if want := (failover.Observation{Site: "moulin", Target: "a", Path: failover.PathMesh, Seen: d, For: o.For, Note: "down"}); o != want {
		t.Errorf("got %+v, want %+v", o, want)
	}
	w.seen["a"] = u
	now = run(s.Steppers(), now, 1200*time.Millisecond)
	if o := s.Observations(now)[0]; o.Seen != u || o.For > 1200*time.Millisecond {
		t.Errorf("after its return: %s for %s", o.Seen, o.For)
	}
	if got := s.Steppers()[0].Last(); got.Seen != u {
		t.Errorf("last result %+v", got)
	}
}

// A probe may take longer than its interval; that is neither a gap nor a delay of ours.
// TestProberTellsTheCertificateOfTheNewestAnswer: a lost probe says nothing of it, and what has gone
// silent shows none.
func TestProberTellsTheCertificateOfTheNewestAnswer(t *testing.T) {
	shown, answers := failover.Certificate{Wrong: "is for another name"}, true
	conf := newWorld().config()
	conf.Probe = func(context.Context, probes.Target) probes.Result {
		if !answers {
			return probes.Result{Seen: d}
		}
		return probes.Result{Seen: u, Certificate: shown}
	}
	s := probes.NewSet(conf)
	s.Update([]probes.Target{target("name:nuage")}, began)
	now := began
	for _, step := range []struct {
		what    string
		answers bool
		shown   failover.Certificate
		lasts   time.Duration
		want    failover.Certificate
	}{
		{"refused", true, shown, 3 * time.Second, shown},
		{"two probes are lost", false, shown, 2 * time.Second, shown},
		{"renewed", true, failover.Certificate{Until: began}, 3 * time.Second, failover.Certificate{Until: began}},
		{"silent", false, shown, 9 * time.Second, failover.Certificate{}},
	} {
		answers, shown = step.answers, step.shown
		now = run(s.Steppers(), now, step.lasts)
		if got := s.Observations(now)[0].Certificate; got != step.want {
			t.Errorf("%s: certificate %+v, want %+v", step.what, got, step.want)
		}
	}
}

func TestProberWithATimeoutAboveItsInterval(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	slow := target("a")
	slow.Timeout = 5 * time.Second
	s.Update([]probes.Target{slow}, began)
	p := s.Steppers()[0]
	w.seen["a"] = d
	now := began.Add(time.Second)
	for range 6 {
		p.Step(t.Context(), now)
		now = now.Add(5 * time.Second)
	}
	if o := p.Observe(now); o.Seen != d {
		t.Errorf("after six timeouts: %s %q", o.Seen, o.Note)
	}
	if late := p.TakeLate(now); late > 1 {
		t.Errorf("late by %g intervals", late)
	}
}

func TestProberOfAnIncompleteTarget(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	s.Update([]probes.Target{{Name: "a"}}, began)
	now := run(s.Steppers(), began, 10*time.Second)
	if n := w.asked["a"]; n < 8 || n > 12 {
		t.Errorf("without an interval: %d probes in 10 s, want the default of one per second", n)
	}
	if o := s.Observations(now)[0]; o.Seen != u {
		t.Errorf("got %s %q", o.Seen, o.Note)
	}
}

func TestSetKeepsTheWindowsOfUnchangedTargets(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	a, b := target("a"), target("b")
	s.Update([]probes.Target{b, a}, began)
	now := run(s.Steppers(), began, 30*time.Second)
	before := s.Steppers()
	b.Addr = netip.MustParseAddrPort("10.0.0.1:1")
	c := target("c")
	s.Update([]probes.Target{c, b, c, a}, now)
	after := s.Steppers()
	if after[0] != before[0] || after[1] == before[1] || len(after) != 3 {
		t.Errorf("probers: before %v, after %v: want a kept, b new, c new", before, after)
	}
	got := s.Observations(now)
	names := []string{got[0].Target, got[1].Target, got[2].Target}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("observations in the order %s", names)
	}
	if got[0].Seen != u || got[0].For < 28*time.Second || got[1].Seen != x || got[2].Seen != x {
		t.Errorf("got %+v", got)
	}
	s.Update(nil, now)
	if len(s.Steppers()) != 0 || len(s.Observations(now)) != 0 {
		t.Error("targets are left after an update without any")
	}
}

// After a stop of the whole process nothing may be called silent, and the stop is noticed.
func TestAStoppedObserverAccusesNobody(t *testing.T) {
	w := newWorld()
	s := probes.NewSet(w.config())
	s.Update([]probes.Target{target("a")}, began)
	now := run(s.Steppers(), began, 30*time.Second)
	w.seen["a"] = d
	now = run(s.Steppers(), now, 3*time.Second)
	now = now.Add(10 * time.Minute)
	if o := s.Observations(now)[0]; o.Seen != x {
		t.Errorf("on waking: %s for %s", o.Seen, o.For)
	}
	s.Steppers()[0].Step(t.Context(), now)
	if late := s.TakeLate(now); late < 500 {
		t.Errorf("ten minutes late, noticed %g intervals", late)
	}
	if late := s.TakeLate(now); late > 0 {
		t.Errorf("lateness is told twice: %g", late)
	}
	now = run(s.Steppers(), now, 3*time.Second)
	if o := s.Observations(now)[0]; o.Seen != x {
		t.Errorf("three misses after waking: %s for %s", o.Seen, o.For)
	}
}

func TestSameSeedSameSchedule(t *testing.T) {
	schedule := func() []time.Time {
		w := newWorld()
		s := probes.NewSet(w.config())
		s.Update([]probes.Target{target("a"), target("b")}, began)
		var out []time.Time
		for _, p := range s.Steppers() {
			at := p.Step(context.Background(), began)
			for range 50 {
				at = p.Step(context.Background(), at)
				out = append(out, at)
			}
		}
		return out
	}
	if one, two := schedule(), schedule(); !slices.EqualFunc(one, two, time.Time.Equal) {
		t.Error("two runs of one seed differ")
	}
}

func TestUplink(t *testing.T) {
	w := newWorld()
	up := probes.NewUplink(w.config())
	if !up.Well(began) {
		t.Error("unwell without an anchor")
	}
	up.Update([]probes.Target{target("one"), target("two")}, began)
	if !up.Well(began) {
		t.Error("unwell before the first probe")
	}
	now := began
	for _, tc := range []struct {
		name     string
		one, two failover.Seen
		want     bool
	}{
		{"both answer", u, u, true},
		{"one is silent", d, u, true},
		{"both are silent", d, d, false},
		{"one refuses: the way is there", d, r, true},
		{"no route of our own", x, x, false},
		{"back", u, x, true},
	} {
		w.seen["one"], w.seen["two"] = tc.one, tc.two
		now = run(up.Steppers(), now, 10*time.Second)
		if got := up.Well(now); got != tc.want {
			t.Errorf("%s: well=%t, anchors %+v", tc.name, got, up.Observations(now))
		}
	}
	w.seen["one"], w.seen["two"] = d, d
	now = run(up.Steppers(), now, 3*time.Second)
	if !up.Well(now) {
		t.Error("unwell after three misses")
	}
	if !up.Well(now.Add(time.Minute)) {
		t.Error("an uplink that nobody looked at is called unwell")
	}
}
