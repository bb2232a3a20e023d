package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// foreseen returns when a code first stands in a forecast; -1: never.
func foreseen(f failover.Forecast, code string) time.Duration {
	for _, e := range f.Timeline {
		if e.Reason.Code == code {
			return e.After
		}
	}
	return -1
}

// TestForetell supposes each kind of loss on one state and compares what the
// deciding code makes of it. The state stays as it was.
func TestForetell(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(2 * time.Second)
	l.dark(0)
	before := encode(t, l.s)
	for _, tt := range []struct {
		name  string
		lost  failover.Supposed
		cause failover.Cause
		held  string // on the site or the host
		moved bool
	}{
		{"a site", failover.Supposed{Site: "moulin"}, failover.CauseLost, "", true},
		{"its mesh", failover.Supposed{Site: "moulin", Cut: "mesh"}, failover.CauseMeshDown, failover.CodeMeshDown, false},
		{"its public entry", failover.Supposed{Site: "moulin", Cut: "public"}, failover.CausePublicDown, "", false},
		{"its agent", failover.Supposed{Site: "moulin", Cut: "agent"}, failover.CauseAgentOnly, "", false},
		{"its router", failover.Supposed{Site: "moulin", Cut: "router"}, failover.CauseUp, "", false},
		{"its backup server", failover.Supposed{Site: "moulin", Cut: "pbs"}, failover.CausePBSDown, "", false},
		{"a host", failover.Supposed{Site: "moulin", Host: "pve-moulin"}, failover.CauseHostDown, failover.CodeHostByHand, false},
		{"the agent's host", failover.Supposed{Site: "moulin", Host: "raoull-moulin"}, failover.CauseHostDown, failover.CodeHostByHand, false},
		{"a site in mode ask", failover.Supposed{Site: "quai"}, failover.CauseLost, failover.CodeWaitApproval, false},
		{"a parpaing", failover.Supposed{Site: "halle"}, failover.CauseLost, failover.CodeNothing, false},
		{"a witness", failover.Supposed{Site: "temoin"}, failover.CauseUnreachable, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := failover.Foretell(l.s, tt.lost, l.now)
			held := ""
			for _, h := range f.Held {
				held = h.Reason.Code
			}
			if f.Verdict.Cause != tt.cause || held != tt.held || f.Moved != tt.moved || f.NoLeader {
				t.Errorf("verdict %s, held by %q, moved %v, no leader %v; want %s, %q, %v and a leader", f.Verdict.Cause, held, f.Moved, f.NoLeader, tt.cause, tt.held, tt.moved)
			}
			if tt.cause != failover.CauseUp && len(f.Timeline) == 0 {
				t.Error("an empty timeline")
			}
		})
	}
	if after := encode(t, l.s); after != before {
		t.Errorf("the state was changed:\n got %s\nwant %s", after, before)
	}
}

// TestForetellTimes: the lines of a forecast stand where the policy puts them,
// with the leader lost (moulin leads) or not.
func TestForetellTimes(t *testing.T) {
	for _, leader := range []failover.SiteID{"moulin", "quai"} {
		l := moulinReady(t)
		l.term++
		l.must(failover.BeginTerm{Leader: leader})
		l.now = l.now.Add(2 * time.Second)
		l.dark(0)
		f := failover.Foretell(l.s, failover.Supposed{Site: "moulin"}, l.now)
		for code, want := range map[string]time.Duration{
			failover.CodeSuspect: 6 * time.Second, failover.CodeLost: 14 * time.Second, failover.CodeOpBegun: 46 * time.Second,
			failover.CodeOpCommitted: 301 * time.Second,
		} {
			if got := foreseen(f, code); got != want {
				t.Errorf("%s leads: %s after %s, want %s", leader, code, got, want)
			}
		}
		if len(f.Served) != 3 || len(f.Plan.Assignments) != 3 || len(f.Plan.LeftOut) != 1 {
			t.Errorf("%s leads: %v served of %d planned, %d left out; want 3 of 3 and one", leader, f.Served, len(f.Plan.Assignments), len(f.Plan.LeftOut))
		}
		// 20 GiB at 100 MiB/s are restored long before the commit.
		if got := foreseen(f, failover.CodeServing); got < 301*time.Second || got > 310*time.Second {
			t.Errorf("%s leads: the first guest serves after %s, want moments after the commit", leader, got)
		}
	}
}

// TestForetellWithoutMajority: what could not be agreed on is not foretold.
func TestForetellWithoutMajority(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(failover.PresenceAge + time.Second)
	for _, observer := range []failover.SiteID{"moulin", "quai", "temoin"} {
		l.must(report(l.s, observer, func(*failover.Observation) {}))
	}
	f := failover.Foretell(l.s, failover.Supposed{Site: "moulin"}, l.now)
	if !f.NoLeader || len(f.Timeline) != 0 {
		t.Errorf("two of five voters are left: no leader %v and %d lines, want true and none", f.NoLeader, len(f.Timeline))
	}
	if f := failover.Foretell(failover.NewState(), failover.Supposed{Site: "moulin"}, l.now); !f.NoLeader || f.Verdict.Cause != "" {
		t.Errorf("without a network: %+v", f)
	}
}

// TestForetellPause: what holds automation now holds it in the forecast.
func TestForetellPause(t *testing.T) {
	l := moulinReady(t)
	l.dark(0)
	l.must(failover.SetPause{Site: "moulin"})
	f := failover.Foretell(l.s, failover.Supposed{Site: "moulin"}, l.now)
	if f.Moved || len(f.Held) == 0 || f.Held[0].Reason.Code != failover.CodePaused {
		t.Errorf("moved %v, held %+v; want paused", f.Moved, f.Held)
	}
	if got, want := len(f.Plan.Assignments), 3; got != want {
		t.Errorf("%d guests planned, want %d: what a person could do", got, want)
	}
}

// TestForetellBesideALoss: a site that is lost already stays so in a forecast.
// Its agent neither reports nor votes there.
func TestForetellBesideALoss(t *testing.T) {
	for _, leaderLost := range []bool{false, true} {
		l := moulinReady(t)
		l.now = l.now.Add(time.Minute)
		if leaderLost {
			l.term++
			l.must(failover.BeginTerm{Leader: "quai"})
		}
		l.dark(time.Minute, "moulin")
		l.settle()
		f := failover.Foretell(l.s, failover.Supposed{Site: "halle"}, l.now)
		for _, e := range f.Timeline {
			if e.Reason.Code == failover.CodeAsymmetric || e.Reason.Code == failover.CodeVeto || e.Reason.Args["observer"] == "moulin" {
				t.Errorf("leader lost %v: after %s %v: the dead speak", leaderLost, e.After, e.Reason)
			}
		}
		if got := f.Verdict; got.Cause != failover.CauseLost || len(got.Basis.Dark) != 3 {
			t.Errorf("leader lost %v: %s, dark for %v; want lost, by the three that are left", leaderLost, got.Cause, got.Basis.Dark)
		}
		l.now = l.now.Add(time.Minute)
		l.dark(time.Minute, "moulin", "temoin")
		if f := failover.Foretell(l.s, failover.Supposed{Site: "halle"}, l.now); !f.NoLeader {
			t.Errorf("leader lost %v: two of five voters would be left and %d lines are foretold", leaderLost, len(f.Timeline))
		}
	}
}
