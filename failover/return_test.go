package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// homeAgain has everybody see everybody, and tells what became of the home copy.
func (l *log) homeAgain(seen func(c *failover.Copy)) {
	l.t.Helper()
	for _, site := range l.s.Network.SiteIDs() {
		r := report(l.s, site, func(*failover.Observation) {})
		r.Boot = "after " + l.now.String()
		l.must(r)
	}
	l.seen("moulin", seen)
	for range 20 {
		made := failover.Decide(l.s, l.now).Commands
		if len(made) == 0 || slices.ContainsFunc(made, func(c failover.Command) bool { _, is := c.(failover.BeginReturn); return is }) {
			return
		}
		for _, c := range made {
			l.must(c)
		}
	}
}

// booted is a copy that its host has started a minute ago.
func (l *log) booted(c *failover.Copy) {
	c.Running, c.OnBoot, c.Booted, c.Since = true, true, l.now.Add(-2*time.Minute), l.now.Add(-time.Minute)
}

func (l *log) ran(c *failover.Copy) {
	c.Running, c.OnBoot, c.Since = true, true, l.now.Add(-100*time.Hour)
}

func (l *log) offButStarting(c *failover.Copy) { c.OnBoot = true }

func returning(l *log) bool {
	return slices.ContainsFunc(failover.Decide(l.s, l.now).Commands, func(c failover.Command) bool { _, is := c.(failover.BeginReturn); return is })
}

// TestWhichCopyStandsDown: at the return of a site a superseded copy is shut down only
// if its host has started it or will, and only where that is ours to do.
func TestWhichCopyStandsDown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		owner    network.Owner
		onReturn string
		seen     func(l *log, c *failover.Copy)
		change   func(l *log)
		want     bool
	}{
		{"on Raoull's host, started with it", network.OwnerRaoull, "leave", (*log).booted, nil, true},
		{"on Raoull's host, to start with it next time", network.OwnerRaoull, "leave", (*log).offButStarting, nil, true},
		{"on Raoull's host, ran all along", network.OwnerRaoull, "leave", (*log).ran, nil, false},
		{"on Raoull's host, off for good", network.OwnerRaoull, "leave", func(*log, *failover.Copy) {}, nil, false},
		{"on the structure's host", network.OwnerStructure, "leave", (*log).booted, nil, false},
		{"on the structure's host, which wants it", network.OwnerStructure, "stop", (*log).booted, nil, true},
		{"on the structure's host, which wants it, ran all along", network.OwnerStructure, "stop", (*log).ran, nil, false},
		{"while everything is paused", network.OwnerRaoull, "leave", (*log).booted, func(l *log) { l.must(failover.SetPause{Reason: "night"}) }, false},
		{"another leads since, and the clock leapt meanwhile: it may have run all along", network.OwnerRaoull, "leave", (*log).booted, func(l *log) {
			l.term++
			l.must(failover.BeginTerm{Leader: "quai"})
		}, false},
		{"another leads since", network.OwnerRaoull, "leave", (*log).booted, func(l *log) {
			l.must(report(l.s, "quai", func(*failover.Observation) {}))
			l.term++
			l.must(failover.BeginTerm{Leader: "quai"})
		}, true},
		{"while its guest is not served elsewhere", network.OwnerRaoull, "leave", (*log).booted, func(l *log) {
			p := l.s.Guests[movedGuest]
			p.Serving = "moulin"
			l.s.Guests[movedGuest], l.snapshot = p, ""
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := movedLog(t, tt.owner, tt.onReturn)
			if tt.change != nil {
				tt.change(l)
			}
			l.homeAgain(func(c *failover.Copy) { tt.seen(l, c) })
			if got := returning(l); got != tt.want {
				t.Errorf("begins a return: %t, want %t; branch %+v", got, tt.want, l.s.Guests[movedGuest].Branch)
			}
			if err := l.apply(failover.BeginReturn{Guest: movedGuest}); (err == nil) != tt.want && tt.name != "while everything is paused" {
				t.Errorf("the log's answer: %v", err)
			}
		})
	}
}

// TestReturnOnce: a copy is shut down once; how it started with its host is kept, and who
// starts it again is left alone.
func TestReturnOnce(t *testing.T) {
	l := movedLog(t, network.OwnerRaoull, "leave")
	waits := func() int {
		return failover.Explain(l.s, failover.LocalView{Site: "moulin", HasLeader: true}, l.now).Local.Returning
	}
	if n := waits(); n != 1 {
		t.Errorf("%d copies to wait for before anybody has looked, want one", n)
	}
	l.homeAgain(l.booted)
	if n := waits(); n != 1 {
		t.Errorf("%d copies to wait for before the shutdown, want one", n)
	}
	asOf := l.s.Index
	l.must(failover.BeginReturn{Guest: movedGuest})
	if returning(l) {
		t.Error("begins a second return beside the first")
	}
	if got := failover.Runnable(l.s, "moulin", l.now); len(got) != 1 || got[0].Step != failover.StepShutdown || l.s.TokenCurrent(got[0]) == nil {
		t.Fatalf("runnable at moulin: %+v, want the shutdown, not confirmed before it is claimed", got)
	}
	if got := failover.Runnable(l.s, "quai", l.now); len(got) != 0 {
		t.Errorf("runnable at quai: %+v, want nothing", got)
	}
	l.finish(failover.KindReturn)
	b := l.s.Guests[movedGuest].Branch
	if b.Stopped.Index == 0 || !b.OnBoot || b.Reason.Code != failover.CodeBranchStopped {
		t.Fatalf("branch %+v, want shut down, and that it started with its host", b)
	}
	if n := waits(); n != 0 {
		t.Errorf("%d copies to wait for after the shutdown, want none", n)
	}
	late := failover.SiteCopies{Site: "moulin", Copies: l.s.CopiesAt("moulin"), AsOf: asOf}
	l.booted(&late.Copies[0])
	l.must(failover.ReportCopies{Copies: late})
	if got := l.s.Guests[movedGuest].Branch.Reason.Code; got != failover.CodeBranchStopped {
		t.Errorf("what was seen before the shutdown makes it %s", got)
	}
	l.seen("moulin", func(*failover.Copy) {})
	if b := l.s.Guests[movedGuest].Branch; b.Reason.Code != failover.CodeBranchStopped || !b.OnBoot {
		t.Errorf("seen off: branch %+v, want as it was", b)
	}
	l.seen("moulin", l.booted)
	if b := l.s.Guests[movedGuest].Branch; b.Reason.Code != failover.CodeBranchRan || returning(l) {
		t.Errorf("a person has started it: branch %+v, returning %t; want it left alone", b, returning(l))
	}
}

// TestReturnThatFailsWaitsForAPerson: no other place can do what one copy asks for.
func TestReturnThatFailsWaitsForAPerson(t *testing.T) {
	l := movedLog(t, network.OwnerRaoull, "leave")
	l.homeAgain(l.booted)
	l.must(failover.BeginReturn{Guest: movedGuest})
	for attempt := 1; ; attempt++ {
		token := failover.Runnable(l.s, "moulin", l.now)[0]
		l.must(failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusRunning})
		l.must(failover.StepMoved{Token: token, Attempt: attempt, To: failover.StatusFailed, Failure: failover.FailTransient, Note: "no"})
		var c failover.Command
		for _, decided := range failover.Decide(l.s, l.now).Commands {
			if _, assess := decided.(failover.Assess); !assess {
				c = decided
				break
			}
		}
		if _, again := c.(failover.RetryStep); again && attempt < failover.MaxAttempts {
			l.must(c)
			l.now = l.now.Add(2 * time.Minute)
			continue
		}
		if _, ok := c.(failover.Stick); !ok {
			t.Errorf("decided %T, want a person: the copy has one place", c)
		}
		return
	}
}

// TestReturnEndsWhenItsGuestMoves: a copy that is its guest's owner again, or whose guest
// moves on, is not shut down any more.
func TestReturnEndsWhenItsGuestMoves(t *testing.T) {
	l := movedLog(t, network.OwnerRaoull, "leave")
	l.homeAgain(l.booted)
	l.must(failover.BeginReturn{Guest: movedGuest})
	token := failover.Runnable(l.s, "moulin", l.now)[0]
	l.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := l.s.TokenCurrent(token); err != nil {
		t.Fatalf("the leader does not confirm: %v", err)
	}
	p := l.s.Guests[movedGuest]
	p.Owner, p.Host, p.VMID, p.Serving = "moulin", l.s.Network.Guests[movedGuest].Host, l.s.Network.Guests[movedGuest].ID, "moulin"
	p.Epoch.Index = l.s.Index
	l.s.Guests[movedGuest], l.snapshot = p, ""
	if l.s.TokenCurrent(token) == nil || len(failover.Runnable(l.s, "moulin", l.now)) != 0 {
		t.Error("the copy that owns its guest may be shut down")
	}
}

// TestReturnOfWhatStartedMeanwhile: a copy that was off when the return began and runs when its
// agent looks was started by its host or by a person. It is not shut down before one knows which.
func TestReturnOfWhatStartedMeanwhile(t *testing.T) {
	l := movedLog(t, network.OwnerRaoull, "leave")
	l.homeAgain(l.offButStarting)
	l.must(failover.BeginReturn{Guest: movedGuest})
	token := failover.Runnable(l.s, "moulin", l.now)[0]
	if from := l.s.Ops[token.Op].Guests[movedGuest].Source; !from.Off {
		t.Fatalf("source %+v, want it known that it was off", from)
	}
	l.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: true, Running: true}})
	l.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	l.must(failover.EndOp{Op: token.Op})
	if b := l.s.Guests[movedGuest].Branch; b.Stopped.Index != 0 || b.Reason.Code != "" || returning(l) {
		t.Errorf("branch %+v, returning %t; want it looked at again first", b, returning(l))
	}
	l.seen("moulin", l.ran)
	if b := l.s.Guests[movedGuest].Branch; b.Reason.Code != failover.CodeBranchRan || returning(l) {
		t.Errorf("a person has started it: branch %+v, returning %t", b, returning(l))
	}
	l.seen("moulin", l.booted)
	if b := l.s.Guests[movedGuest].Branch; b.Reason.Code != failover.CodeBranchRan || returning(l) {
		t.Errorf("it ran when it was last seen, and times may have leapt: branch %+v, returning %t; want it left to its users", b, returning(l))
	}
	l.seen("moulin", func(*failover.Copy) {})
	l.seen("moulin", l.booted)
	if b := l.s.Guests[movedGuest].Branch; b.Reason.Code != failover.CodeBranchBooted || !returning(l) {
		t.Errorf("its host has started it: branch %+v, returning %t", b, returning(l))
	}
}
