package failover_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// loneTroubles are the ways in which one agent may be wrong about the others.
// Each returns what it reports after it has been wrong for that long; nil is silence.
var loneTroubles = map[string]func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report{
	// It knows that its own line is down.
	"sick": func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report {
		r := blind(l, agent, wrong)
		r.Unwell = []string{"uplink"}
		return &r
	},
	// It sees nobody and believes itself well.
	"sick and unaware": func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report {
		r := blind(l, agent, wrong)
		return &r
	},
	// It claims that all others have been gone for a day.
	"lying": func(l *log, agent failover.SiteID, _ time.Duration) *failover.Report {
		r := blind(l, agent, 24*time.Hour)
		return &r
	},
	// What it tells is a minute old: for its first minute nothing is wrong.
	"slow": func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report {
		r := report(l.s, agent, func(*failover.Observation) {})
		if wrong > time.Minute {
			r = blind(l, agent, wrong-time.Minute)
		}
		return &r
	},
	// It stood still for two minutes, and then takes that for the silence of all.
	"frozen": func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report {
		if wrong < 2*time.Minute {
			return nil
		}
		r := blind(l, agent, wrong)
		return &r
	},
	// It restarts all the time and counts anew.
	"restarting": func(l *log, agent failover.SiteID, wrong time.Duration) *failover.Report {
		r := blind(l, agent, 6*time.Second)
		r.Boot = fmt.Sprint(wrong)
		return &r
	},
}

func blind(l *log, agent failover.SiteID, d time.Duration) failover.Report {
	return report(l.s, agent, func(o *failover.Observation) { o.Seen, o.For = failover.SeenDown, d })
}

// TestOneWrongAgentMovesNothing: no single sick, slow or lying agent causes a
// failover, be it the leader or not, and though another observer truly has a
// bad path to the same site.
func TestOneWrongAgentMovesNothing(t *testing.T) {
	const every = 30 * time.Second
	base := moulinReady(t)
	for name, tells := range loneTroubles {
		for _, agent := range base.s.Network.SiteIDs() {
			for _, leads := range []failover.SiteID{agent, otherThan(agent, "quai", "halle")} {
				l := &log{t: t, s: base.s.Clone(), term: base.term + 1, now: base.now}
				l.must(failover.BeginTerm{Leader: leads})
				for wrong := time.Duration(0); wrong < 7*time.Minute; wrong += every {
					l.now = l.now.Add(every)
					unlucky := otherThan(agent, "temoin", "fabrique")
					for _, observer := range l.s.Network.SiteIDs() {
						if observer != agent {
							_ = l.applyBriefly("", report(l.s, observer, func(o *failover.Observation) {
								if observer == unlucky && o.Site == "moulin" {
									o.Seen, o.For = failover.SeenDown, wrong+time.Second
								}
							}))
						} else if r := tells(l, agent, wrong); r != nil {
							_ = l.applyBriefly("", *r)
						}
					}
					if got := acts(t, l.s, l.now); got != "" {
						t.Fatalf("%s of %s, led by %s, for %s: automation did %s", name, agent, leads, wrong, got)
					}
					l.settle()
				}
			}
		}
	}
}

func otherThan(not failover.SiteID, of ...failover.SiteID) failover.SiteID {
	for _, id := range of {
		if id != not {
			return id
		}
	}
	panic("all the same")
}

// TestWrongClockOfALeaderHastensNothing: a leader that takes over in the
// countdown with a clock far off commits when the observers' own clocks say so.
func TestWrongClockOfALeaderHastensNothing(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, -time.Hour, -10 * time.Second, 10 * time.Second, time.Hour, 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			l := moulinReady(t)
			committed := time.Duration(0)
			wall := l.now // of whoever leads
			for silence := time.Duration(0); silence <= 310*time.Second && committed == 0; silence += 10 * time.Second {
				wall = wall.Add(10 * time.Second)
				if silence == 100*time.Second {
					wall = wall.Add(skew)
					l.term++
					l.now = later(l.s.Clock, wall)
					l.must(failover.BeginTerm{Leader: "quai"})
				}
				l.now = later(l.s.Clock.Add(10*time.Second), wall)
				if silence > 0 {
					l.dark(silence, "moulin")
				}
				for range 50 {
					d := failover.Decide(l.s, wall)
					if len(d.Commands) == 0 {
						break
					}
					l.must(d.Commands[0])
					if _, ok := d.Commands[0].(failover.CommitOp); ok {
						committed = silence
					}
				}
			}
			if committed != 300*time.Second {
				t.Errorf("committed after %s of silence, want 5m0s", committed)
			}
		})
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestWitnessIsNoTarget: a witness votes, and receives nothing; nor does a parpaing.
func TestWitnessIsNoTarget(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	l.dark(10*time.Minute, "moulin")
	v := failover.ExplainVerdict(l.s, failover.Judge(l.s, l.now)["site:moulin"])
	if got, want := fmt.Sprint(v.Basis.Dark), "[fabrique halle quai temoin]"; got != want {
		t.Errorf("votes of %s, want %s", got, want)
	}
	for _, target := range []failover.SiteID{"", "temoin", "halle"} {
		plan := failover.PlanFor(l.s, failover.Loss{Site: "moulin", Target: target, ByHand: true}, l.now)
		for _, a := range plan.Assignments {
			if target != "" || a.Target == "temoin" || a.Target == "halle" {
				t.Errorf("asked for %q: %s would go to %s", target, a.Guest, a.Target)
			}
		}
		if target == "" && len(plan.Assignments) == 0 {
			t.Error("nothing planned: the test shows nothing")
		}
	}
}

// TestLostSiteStaysAMember: its vote counts in the majority for ever, until a
// person removes it.
func TestLostSiteStaysAMember(t *testing.T) {
	l := moulinReady(t)
	for range 50 {
		l.now = l.now.Add(time.Hour)
		l.dark(l.now.Sub(start), "moulin")
		l.settle()
	}
	if _, ok := l.s.Members["moulin"]; !ok || l.s.Voters() != 5 || l.s.Majority() != 3 {
		t.Errorf("member %v, %d voters, majority %d; want it among 5 with a majority of 3", ok, l.s.Voters(), l.s.Majority())
	}
}
