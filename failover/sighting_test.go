package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// see has observers say something of moulin: d = 0 means that they see it.
func (l *log) see(d time.Duration, unwell []string, observers ...failover.SiteID) {
	l.t.Helper()
	for _, observer := range observers {
		r := report(l.s, observer, func(o *failover.Observation) {
			if o.Site == "moulin" && d > 0 {
				o.Seen, o.For = failover.SeenDown, d
			}
		})
		r.Unwell = unwell
		l.must(r)
	}
}

// contradicted: three have lost moulin for six minutes, temoin saw it until now.
func contradicted(t *testing.T) *log {
	t.Helper()
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	l.see(6*time.Minute, nil, "fabrique", "quai", "halle")
	l.see(0, nil, "temoin")
	if v := failover.Judge(l.s, l.now)["site:moulin"]; v.Hold.Code != failover.CodeLoneSighting {
		t.Fatalf("verdict %s held by %q, want a veto", v.Cause, v.Hold.Code)
	}
	return l
}

// A silence counts from the last sighting by anybody: when the witness goes
// blind, what the others missed while it still saw does not count.
func TestSilenceBeginsAtTheLastSighting(t *testing.T) {
	l := contradicted(t)
	l.now = l.now.Add(10 * time.Second)
	l.see(6*time.Minute+10*time.Second, nil, "fabrique", "quai", "halle")
	l.see(10*time.Second, nil, "temoin")
	v := failover.Judge(l.s, l.now)["site:moulin"]
	if v.Cause != failover.CauseLost || v.Silence != 10*time.Second {
		t.Errorf("verdict %s for %s, want lost for the 10s since temoin saw it", v.Cause, v.Silence)
	}
	for _, vote := range v.Votes {
		if vote.Dark && vote.Silence > 10*time.Second {
			t.Errorf("the evidence of %s says %s", vote.Observer, vote.Silence)
		}
	}
}

// Whoever sees a site first when it comes back is no lone observer: it has not
// contradicted anybody for a minute. Nor has the site's own agent.
func TestTheFirstToSeeAReturnIsNoLoneObserver(t *testing.T) {
	others := []failover.SiteID{"fabrique", "quai", "halle", "temoin"}
	for _, c := range []struct {
		by   failover.SiteID
		dark []failover.SiteID
	}{{"temoin", others[:3]}, {"moulin", others}} {
		for lasted, want := range map[time.Duration]string{
			0: failover.CodeVeto, 59 * time.Second: failover.CodeVeto, time.Minute: failover.CodeLoneSighting,
		} {
			l := moulinReady(t)
			l.now = l.now.Add(10 * time.Minute)
			l.see(6*time.Minute, nil, c.dark...)
			l.must(report(l.s, c.by, func(o *failover.Observation) { o.For = lasted }))
			if v := failover.Judge(l.s, l.now)["site:moulin"]; v.Hold.Code != want || v.Hold.Args["observer"] != string(c.by) {
				t.Errorf("%s has seen it for %s, against six minutes of silence: held by %v, want %s", c.by, lasted, v.Hold, want)
			}
		}
	}
}

// An observer that is unwell casts no vote, but what it sees is there.
func TestUnwellWitnessIsAVeto(t *testing.T) {
	l := contradicted(t)
	l.now = l.now.Add(10 * time.Second)
	l.see(6*time.Minute+10*time.Second, nil, "fabrique", "quai", "halle")
	l.see(0, []string{"uplink"}, "temoin")
	if v := failover.Judge(l.s, l.now)["site:moulin"]; v.Hold.Code != failover.CodeLoneSighting {
		t.Errorf("verdict %s for %s held by %q, want a veto", v.Cause, v.Silence, v.Hold.Code)
	}
}

// A witness that only cannot reach the leader may see the site still: its last
// word stands as long as its own site does, also under the next leader, whose
// clock may be far ahead.
func TestVetoOfAWitnessThatIsNotHeardAnyMore(t *testing.T) {
	for _, c := range []struct {
		name  string
		terms uint64
		jump  time.Duration
	}{{"same leader", 0, 0}, {"next leader", 1, 0}, {"next leader, clock an hour ahead", 1, time.Hour}} {
		t.Run(c.name, func(t *testing.T) {
			l := contradicted(t)
			if c.terms > 0 {
				l.term += c.terms
				l.now = l.now.Add(c.jump)
				l.must(failover.BeginTerm{Leader: "quai"})
			}
			for range 20 {
				l.now = l.now.Add(time.Minute)
				l.see(6*time.Minute+l.now.Sub(l.s.TermStart), nil, "fabrique", "quai", "halle")
				v := failover.Judge(l.s, l.now)["site:moulin"]
				veto := v.Hold.Code == failover.CodeVeto || v.Hold.Code == failover.CodeLoneSighting
				if !veto || v.Hold.Args["observer"] != "temoin" {
					t.Fatalf("verdict %s for %s held by %v, want temoin's veto", v.Cause, v.Silence, v.Hold)
				}
				for _, cmd := range failover.Decide(l.s, l.now).Commands {
					if _, ok := cmd.(failover.BeginOp); ok {
						t.Fatal("an operation begins against the veto")
					}
				}
			}
		})
	}
}

// A witness whose own site is lost, too, vetoes no longer than it is present.
func TestVetoEndsWithTheWitnessSite(t *testing.T) {
	l := contradicted(t)
	l.now = l.now.Add(failover.PresenceAge + time.Minute)
	for _, observer := range []failover.SiteID{"fabrique", "quai", "halle"} {
		l.must(report(l.s, observer, func(o *failover.Observation) {
			if o.Site == "moulin" || o.Site == "temoin" {
				o.Seen, o.For = failover.SeenDown, failover.PresenceAge+time.Minute
			}
		}))
	}
	if v := failover.Judge(l.s, l.now)["site:moulin"]; v.Cause != failover.CauseLost || !v.Hold.IsZero() {
		t.Errorf("verdict %s held by %q, want lost", v.Cause, v.Hold.Code)
	}
}

// A true loss is not put off by the moments between the observers' probes, nor
// by one that restarts and begins to count anew.
func TestTrueLossIsNotPutOff(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	l.see(5*time.Second, nil, "fabrique", "quai")
	l.see(0, nil, "halle", "temoin") // their windows have not tripped yet
	l.now = l.now.Add(time.Second)
	l.see(5*time.Second, nil, "halle", "temoin")
	l.now = l.now.Add(5 * time.Minute)
	l.see(5*time.Minute+6*time.Second, nil, "fabrique", "quai", "halle")
	r := report(l.s, "temoin", func(o *failover.Observation) {
		if o.Site == "moulin" {
			o.Seen, o.For = failover.SeenDown, 6*time.Second
		}
	})
	r.Boot, r.Seq = "another", 1
	l.must(r)
	if v := failover.Judge(l.s, l.now)["site:moulin"]; v.Cause != failover.CauseLost || v.Silence < 5*time.Minute {
		t.Errorf("verdict %s for %s, want lost for 5m and more", v.Cause, v.Silence)
	}
}

// The loss of a guest is what was written between its restore point and the
// beginning of the silence, not until the plan was made.
func TestLossEndsWithTheSilence(t *testing.T) {
	l := moulinReady(t)
	before := failover.PlanFor(l.s, failover.Loss{Site: "moulin"}, l.now)
	l.now = l.now.Add(2 * time.Minute)
	l.dark(2*time.Minute, "moulin")
	after := failover.PlanFor(l.s, failover.Loss{Site: "moulin"}, l.now)
	if len(before.Assignments) == 0 || len(before.Assignments) != len(after.Assignments) {
		t.Fatalf("%d guests planned, then %d", len(before.Assignments), len(after.Assignments))
	}
	for i, a := range after.Assignments {
		if b := before.Assignments[i]; a.Loss != b.Loss {
			t.Errorf("%s: loss %s when planned after two minutes of silence, want %s", a.Guest, a.Loss, b.Loss)
		}
	}
}
