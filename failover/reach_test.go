package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestReach: a guest that was brought back counts as reachable when two other sites get an answer
// for its name from where it serves; until then it is restored and not yet reachable, and after a
// while people are told.
func TestReach(t *testing.T) {
	const guest, name = "nextcloud-moulin", "name:nuage.moulin.assos.example"
	saw := func(o failover.Observation, seen failover.Seen) failover.Observation {
		o.Seen = seen
		return o
	}
	up := failover.Observation{Site: "quai", Target: name, Path: failover.PathPublic, Seen: failover.SeenUp, For: time.Minute}
	broken := saw(up, failover.SeenRefused)
	broken.Note = "HTTP 503"
	refused := up
	refused.Certificate = failover.Certificate{Wrong: "is for another name", Until: start.Add(time.Hour)}
	elsewhere := up
	elsewhere.Site = "moulin"
	overMesh := up
	overMesh.Path = failover.PathMesh
	for what, tt := range map[string]struct {
		sees map[failover.SiteID]failover.Observation
		sick failover.SiteID
		any  bool
		from []failover.SiteID
		not  []failover.SiteID
		why  string
		done bool
	}{
		"nobody has asked yet":             {},
		"one sees it":                      {sees: map[failover.SiteID]failover.Observation{"halle": up}, from: []failover.SiteID{"halle"}},
		"two see it":                       {sees: map[failover.SiteID]failover.Observation{"halle": up, "temoin": up}, from: []failover.SiteID{"halle", "temoin"}, done: true},
		"its own site does not count":      {sees: map[failover.SiteID]failover.Observation{"halle": up, "quai": up}, from: []failover.SiteID{"halle"}},
		"one is told that it is broken":    {sees: map[failover.SiteID]failover.Observation{"halle": up, "temoin": broken}, from: []failover.SiteID{"halle"}, not: []failover.SiteID{"temoin"}, why: "nuage.moulin.assos.example: HTTP 503"},
		"one is shown a wrong certificate": {sees: map[failover.SiteID]failover.Observation{"halle": up, "temoin": refused}, from: []failover.SiteID{"halle"}, not: []failover.SiteID{"temoin"}, why: "nuage.moulin.assos.example: certificate is for another name"},
		"any certificate will do":          {sees: map[failover.SiteID]failover.Observation{"halle": up, "temoin": refused}, any: true, from: []failover.SiteID{"halle", "temoin"}, done: true},
		"one of two is sick":               {sees: map[failover.SiteID]failover.Observation{"halle": up, "temoin": up}, sick: "temoin", from: []failover.SiteID{"halle"}},
		"they saw it where it was":         {sees: map[failover.SiteID]failover.Observation{"halle": elsewhere, "temoin": elsewhere}},
		"the mesh is not the public way":   {sees: map[failover.SiteID]failover.Observation{"halle": overMesh, "temoin": overMesh}},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLog(t)
			spec := fiveSites()
			if g := spec.Guests[guest]; tt.any {
				g.Certificate = network.AnyCertificate
				spec.Guests[guest] = g
			}
			l.boot(spec.WithDefaults())
			p := l.s.Guests[guest]
			p.Owner, p.Serving, p.Host, p.Phase, p.Since.At = "quai", "quai", "raoull-quai", failover.PhaseAway, l.now
			l.s.Guests[guest] = p
			for _, observer := range []failover.SiteID{"fabrique", "quai", "halle", "temoin"} {
				r := failover.Report{Observer: observer, Boot: "boot", Seq: 1}
				if o, ok := tt.sees[observer]; ok {
					r.Observations = []failover.Observation{o}
				}
				if observer == tt.sick {
					r.Unwell = []string{"uplink"}
				}
				if err := l.s.Apply(failover.Stamp{Index: l.s.Index + 1, Term: 1, At: l.now}, r); err != nil {
					t.Fatal(err)
				}
			}
			got := l.s.ReachOf(guest, l.now)
			want := failover.Reach{From: tt.from, Not: tt.not, Why: tt.why, Needed: failover.ReachNeeded}
			if diff := cmp.Diff(want, got); diff != "" || got.Done() != tt.done {
				t.Errorf("done %v, want %v (-want +got):\n%s", got.Done(), tt.done, diff)
			}
			told := func(after time.Duration) bool {
				st := failover.Explain(l.s, failover.LocalView{Site: "halle", HasLeader: true}, l.now.Add(after))
				return slices.ContainsFunc(st.Notices, func(r failover.Reason) bool { return r.Code == failover.CodeUnreached })
			}
			if told(time.Minute) || told(140*time.Second) == tt.done {
				t.Errorf("told after a minute %v, after more than two %v; want false, %v", told(time.Minute), told(140*time.Second), !tt.done)
			}
		})
	}
}

// TestReachWithFewSitesLeft: where only one other site is left to ask, its word is enough; where
// none is, it is not known that anybody is served.
func TestReachWithFewSitesLeft(t *testing.T) {
	for others, needed := range map[int]int{0: 1, 1: 1, 2: 2, 3: 2} {
		l := newLog(t)
		spec := fiveSites()
		l.boot(spec.WithDefaults())
		p := l.s.Guests["nextcloud-moulin"]
		p.Owner, p.Serving, p.Host, p.Phase = "quai", "quai", "raoull-quai", failover.PhaseAway
		l.s.Guests["nextcloud-moulin"] = p
		for _, observer := range []failover.SiteID{"fabrique", "halle", "temoin"}[:others] {
			if err := l.s.Apply(failover.Stamp{Index: l.s.Index + 1, Term: 1, At: l.now}, failover.Report{Observer: observer, Boot: "boot", Seq: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if r := l.s.ReachOf("nextcloud-moulin", l.now); r.Needed != needed || r.Done() {
			t.Errorf("%d others: needed %d, done %v; want %d, false", others, r.Needed, r.Done(), needed)
		}
	}
}

// TestReachOfWhoNobodyWaitsFor: a guest at home and one without names are
// not waited for.
func TestReachOfWhoNobodyWaitsFor(t *testing.T) {
	l := newLog(t)
	spec := fiveSites()
	l.boot(spec.WithDefaults())
	if r := l.s.ReachOf("nextcloud-moulin", l.now); r.Needed != 0 || !r.Done() {
		t.Errorf("a guest at home: %+v", r)
	}
	p := l.s.Guests["compta-moulin"]
	p.Owner, p.Serving, p.Phase = "quai", "quai", failover.PhaseAway
	l.s.Guests["compta-moulin"] = p
	if r := l.s.ReachOf("compta-moulin", l.now); r.Needed != 0 || !r.Done() {
		t.Errorf("a guest without names: %+v", r)
	}
}
