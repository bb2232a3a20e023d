package probes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

func seconds(s ...float64) []time.Duration {
	out := make([]time.Duration, len(s))
	for i := range s {
		out[i] = time.Duration(s[i] * float64(time.Second))
	}
	return out
}

func observed(name string, s failover.Seen, lasted float64) failover.Observation {
	return failover.Observation{Site: "moulin", Target: name, Path: failover.PathMesh, Seen: s, For: seconds(lasted)[0]}
}

func inputs(o ...failover.Observation) probes.Inputs {
	return probes.Inputs{
		Observations: o, Term: 3, ReturnAfter: 30 * time.Second,
		Levels: func(network.SiteID) []time.Duration { return seconds(5, 13, 30, 45, 300) },
	}
}

// told returns a reporter whose report of in was accepted at began.
func told(in probes.Inputs) *probes.Reporter {
	r := probes.NewReporter(probes.ReporterConfig{Observer: "temoin", Boot: "b1"})
	r.Accepted(began, r.Build(in), in)
	return r
}

func TestReporterIsDue(t *testing.T) {
	term := inputs(observed("agent", u, 1))
	term.Term = 4
	unwell := inputs(observed("agent", u, 1))
	unwell.Unwell = []string{"uplink"}
	refused := observed("name:nuage", u, 1)
	refused.Certificate.Wrong = "is for another name"
	for _, tc := range []struct {
		name   string
		before probes.Inputs
		after  func(since time.Duration) probes.Inputs
		want   time.Duration // when it is due, looking every 50 ms
	}{
		{"nothing new", inputs(observed("agent", u, 1)), same(inputs(observed("agent", u, 1))), time.Minute},
		{"no target", inputs(), same(inputs()), time.Minute},
		{"a new term", inputs(observed("agent", u, 1)), same(term), 0},
		{"a change", inputs(observed("agent", u, 1)), same(inputs(observed("agent", r, 0))), 250 * time.Millisecond},
		{"a new target", inputs(observed("agent", u, 1)), same(inputs(observed("agent", u, 1), observed("router", x, 0))), 250 * time.Millisecond},
		{"a target less", inputs(observed("agent", u, 1)), same(inputs()), 250 * time.Millisecond},
		{"another target", inputs(observed("agent", u, 1)), same(inputs(observed("router", u, 1))), 250 * time.Millisecond},
		{"another certificate", inputs(observed("name:nuage", u, 1)), same(inputs(refused)), 250 * time.Millisecond},
		{"unwell", inputs(observed("agent", u, 1)), same(unwell), 250 * time.Millisecond},
		{"well again", unwell, same(inputs(observed("agent", u, 1))), 250 * time.Millisecond},
		{"a longer sighting is no news", inputs(observed("agent", u, 1)), growing(observed("agent", u, 1)), time.Minute},
		{"silence is refreshed", inputs(observed("agent", d, 14)), growing(observed("agent", d, 14)), 5 * time.Second},
		{"silence reaches a level", inputs(observed("agent", d, 10)), growing(observed("agent", d, 10)), 3 * time.Second},
		{"silence reached a level between two looks", inputs(observed("agent", d, 12.9)), growing(observed("agent", d, 13.4)), 0},
		{"beyond the last level", inputs(observed("agent", d, 301)), growing(observed("agent", d, 301)), 5 * time.Second},
		{"a level already told", inputs(observed("agent", d, 13)), growing(observed("agent", d, 13)), 5 * time.Second},
		{"another silence", inputs(observed("agent", d, 200)), growing(observed("agent", d, 4)), time.Second},
		{
			"the shortest silence of a site decides",
			inputs(observed("agent", d, 10), observed("router", d, 9)), growing(observed("agent", d, 10), observed("router", d, 9)), 4 * time.Second,
		},
		{
			"and the shortest of a host",
			inputs(observed("agent", d, 9), observed("pve:a", d, 12), observed("pbs:a", d, 11)),
			growing(observed("agent", d, 9), observed("pve:a", d, 12), observed("pbs:a", d, 11)), 2 * time.Second,
		},
		{"Dropbear is silent on every host that has booted", inputs(observed("dropbear:a", d, 10)), growing(observed("dropbear:a", d, 10)), time.Minute},
		{"Dropbear speaks", inputs(observed("dropbear:a", d, 10)), same(inputs(observed("dropbear:a", u, 0))), 250 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rep := told(tc.before)
			got := time.Duration(0)
			for !rep.Due(began.Add(got), tc.after(got)) {
				got += 50 * time.Millisecond
				if got > 2*time.Minute {
					t.Fatal("never due")
				}
			}
			if got != tc.want {
				t.Errorf("due after %s, want %s", got, tc.want)
			}
		})
	}
}

func same(in probes.Inputs) func(time.Duration) probes.Inputs {
	return func(time.Duration) probes.Inputs { return in }
}

func growing(o ...failover.Observation) func(time.Duration) probes.Inputs {
	return func(since time.Duration) probes.Inputs {
		grown := slices.Clone(o)
		for i := range grown {
			grown[i].For += since
		}
		return inputs(grown...)
	}
}

func TestReporterTellsAReturnOnce(t *testing.T) {
	rep := told(inputs(observed("agent", d, 60)))
	back := inputs(observed("agent", u, 0.5))
	now := began.Add(time.Second)
	rep.Accepted(now, rep.Build(back), back)
	if got := rep.Next(now, back); !got.Equal(now.Add(29500 * time.Millisecond)) {
		t.Errorf("seen for 0.5 s: due in %s, want when it is 30 s", got.Sub(now))
	}
	refused := inputs(observed("agent", r, 3))
	rep.Accepted(now, rep.Build(refused), refused)
	if got := rep.Next(now, refused); !got.Equal(now.Add(27 * time.Second)) {
		t.Errorf("refused for 3 s: due in %s, want when it is 30 s", got.Sub(now))
	}
	whole := inputs(observed("agent", u, 30))
	rep.Accepted(now, rep.Build(whole), whole)
	if got := rep.Next(now, whole); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("returned and told: due in %s, want the ordinary refresh", got.Sub(now))
	}
}

func TestReporterForgetsAChangeThatIsUndone(t *testing.T) {
	rep := told(inputs(observed("agent", u, 1)))
	rep.Due(began.Add(time.Second), inputs(observed("agent", r, 0)))
	rep.Due(began.Add(1100*time.Millisecond), inputs(observed("agent", u, 0)))
	if rep.Due(began.Add(1300*time.Millisecond), inputs(observed("agent", u, 0.2))) {
		t.Error("due for what is as it was told")
	}
}

func TestReports(t *testing.T) {
	rep := probes.NewReporter(probes.ReporterConfig{Observer: "temoin", Boot: "b1", Version: "1.2.3"})
	in := inputs(observed("agent", d, 7))
	in.Unwell = []string{"starting"}
	if !rep.Due(began, in) {
		t.Error("the first report is not due")
	}
	first, second := rep.Build(in), rep.Build(in)
	want := failover.Report{
		Observer: "temoin", Boot: "b1", Seq: 1, Version: "1.2.3", Unwell: []string{"starting"}, Observations: in.Observations,
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first report (-want +got):\n%s", diff)
	}
	if second.Seq != 2 {
		t.Errorf("second report has number %d", second.Seq)
	}
	in.Observations[0].Seen, in.Unwell[0] = u, "disk"
	if diff := cmp.Diff(want.Observations[0].Seen, first.Observations[0].Seen); first.Unwell[0] != "starting" || diff == "" {
		t.Error("a report shares its lists with the inputs")
	}
}

func TestLevels(t *testing.T) {
	spec := threeSites()
	if got, want := probes.Levels(spec, "temoin", time.Second), seconds(5, 8, 13, 30, 45, 60, 90, 300); !slices.Equal(got, want) {
		t.Errorf("levels of a witness: %s, want %s", got, want)
	}
	moulin := spec.Sites["moulin"]
	moulin.Upstreams = []string{"isp-a", "isp-b"}
	spec.Sites["moulin"] = moulin
	wiki, mail := spec.Guests["wiki"], spec.Guests["mail"]
	wiki.Commit, mail.Structure = network.Duration(90*time.Second), "le-moulin"
	spec.Guests["wiki"], spec.Guests["mail"] = wiki, mail
	spec.Structures = map[network.StructureID]network.Structure{
		"le-moulin": {Policy: network.Policy{PrepareB: network.Duration(20 * time.Second), CommitDual: network.Duration(150 * time.Second)}},
	}
	if got, want := probes.Levels(spec, "moulin", time.Second), seconds(5, 8, 13, 20, 30, 45, 60, 90, 120, 150, 300); !slices.Equal(got, want) {
		t.Errorf("levels of moulin: %s, want %s", got, want)
	}
	if got := probes.Levels(&network.Spec{}, "moulin", time.Second); len(got) != 0 {
		t.Errorf("levels without a policy: %s", got)
	}
}

// stand is an agent's probing and reporting over a fake world and a fake log.
type stand struct {
	world   *world
	set     *probes.Set
	reports []failover.Report
	at      []time.Time
	refuse  error
	tried   int
	failed  []error
	term    uint64
	stepper *probes.ReportStepper
}

func newStand(names ...string) *stand {
	s := &stand{world: newWorld(), term: 1}
	s.set = probes.NewSet(s.world.config())
	var targets []probes.Target
	for _, n := range names {
		targets = append(targets, target(n))
	}
	s.set.Update(targets, began)
	s.stepper = &probes.ReportStepper{
		Reporter: probes.NewReporter(probes.ReporterConfig{Observer: "temoin", Boot: "b1"}),
		Failed:   func(err error) { s.failed = append(s.failed, err) },
	}
	return s
}

// run drives probers and reporter in order of time.
func (s *stand) run(from time.Time, d time.Duration) time.Time {
	var now time.Time
	s.stepper.Gather = func(at time.Time) probes.Inputs {
		in := inputs(s.set.Observations(at)...)
		in.Term = s.term
		return in
	}
	s.stepper.Propose = func(ctx context.Context, r failover.Report) error {
		s.tried++
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		if s.refuse != nil {
			return s.refuse
		}
		s.reports, s.at = append(s.reports, r), append(s.at, now)
		return nil
	}
	end, report := from.Add(d), from
	probers := s.set.Steppers()
	next := make([]time.Time, len(probers))
	for i := range next {
		next[i] = from
	}
	for {
		i := -1
		now = report
		for j := range next {
			if next[j].Before(now) {
				i, now = j, next[j]
			}
		}
		if now.After(end) {
			return end
		}
		if i < 0 {
			report = s.stepper.Step(context.Background(), now)
		} else {
			next[i] = probers[i].Step(context.Background(), now)
		}
	}
}

func TestReportingOfALoss(t *testing.T) {
	names := []string{"agent", "router", "pve:a", "pbs:a", "entry", "name:x"}
	s := newStand(names...)
	now := s.run(began, 5*time.Minute)
	if n := len(s.reports); n > 12 {
		t.Errorf("%d reports in five quiet minutes", n)
	}
	quiet := len(s.reports)
	for _, n := range names {
		s.world.seen[n] = d
	}
	lost := now
	s.run(now, 400*time.Second)
	told := map[time.Duration]time.Duration{}
	for i, r := range s.reports[quiet:] {
		shortest := time.Hour
		for _, o := range r.Observations {
			if o.Seen != d {
				shortest = 0
			}
			shortest = min(shortest, o.For)
		}
		for _, level := range seconds(5, 13, 30, 45, 300) {
			if _, ok := told[level]; !ok && shortest >= level {
				told[level] = s.at[quiet+i].Sub(lost)
			}
		}
	}
	for _, level := range seconds(5, 13, 30, 45, 300) {
		if got, ok := told[level]; !ok || got < level || got > level+1800*time.Millisecond {
			t.Errorf("silence of %s was told after %s (%t)", level, got, ok)
		}
	}
	// One per five seconds, and a few for the changes and for each level.
	if n := len(s.reports) - quiet; n < 80 || n > 105 {
		t.Errorf("%d reports in 400 s of silence", n)
	}
	for i := 1; i < len(s.reports); i++ {
		if s.reports[i].Seq <= s.reports[i-1].Seq {
			t.Fatalf("report %d follows %d", s.reports[i].Seq, s.reports[i-1].Seq)
		}
	}
}

func TestReportingGoesOnAfterFailures(t *testing.T) {
	s := newStand("agent")
	s.refuse = errors.New("no leader")
	now := s.run(began, 30*time.Second)
	if len(s.failed) != s.tried || s.tried < 25 || s.tried > 32 {
		t.Errorf("%d proposals in 30 s without a leader, %d told", s.tried, len(s.failed))
	}
	s.refuse, s.term = nil, 2
	now = s.run(now, 2*time.Second)
	if len(s.reports) != 1 || s.reports[0].Seq != uint64(s.tried) {
		t.Errorf("reports once there is a leader: %d, want one with the next number", len(s.reports))
	}
	s.term = 3
	s.run(now, 500*time.Millisecond)
	if n := len(s.reports); n != 2 || s.at[1].Sub(now) > 300*time.Millisecond {
		t.Errorf("%d reports half a second into a new term, want a second one at once", n)
	}
}

// Whatever happens, State is never long without what the observer sees, and
// the log is not flooded.
func TestReportingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"agent", "router", "pve:a"}
		s := newStand(names...)
		now := s.run(began, 2*time.Second)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			for _, n := range names {
				s.world.seen[n] = rapid.SampledFrom([]failover.Seen{u, u, d, d, d, r, x}).Draw(t, n)
			}
			now = s.run(now, time.Duration(rapid.IntRange(100, 70_000).Draw(t, "ms"))*time.Millisecond)
		}
		for i := 1; i < len(s.at); i++ {
			if gap := s.at[i].Sub(s.at[i-1]); gap < 10*time.Millisecond || gap > time.Minute+time.Second {
				t.Fatalf("reports %d and %d are %s apart", i-1, i, gap)
			}
		}
		now = s.run(now, 10*time.Second)
		last := s.reports[len(s.reports)-1]
		for _, o := range s.set.Observations(now) {
			if i := slices.IndexFunc(last.Observations, func(p failover.Observation) bool { return p.Target == o.Target }); i < 0 || last.Observations[i].Seen != o.Seen {
				t.Fatalf("settled for ten seconds: seen %+v, told %+v", o, last.Observations)
			}
		}
		if n, span := len(s.reports), now.Sub(began); float64(n) > 20+span.Seconds()*1.2 {
			t.Fatalf("%d reports in %s", n, span)
		}
	})
}

func ExampleLevels() {
	fmt.Println(probes.Levels(threeSites(), "temoin", time.Second))
	// Output: [5s 8s 13s 30s 45s 1m0s 1m30s 5m0s]
}
