package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// looked has quai tell of the copies at its site, changed by edit.
func (p *play) looked(edit func(c *failover.Copy)) {
	p.t.Helper()
	copies := p.s.CopiesAt("quai")
	for i := range copies {
		edit(&copies[i])
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", Copies: copies, AsOf: p.s.Index}})
}

func (p *play) wakes() bool {
	return slices.ContainsFunc(failover.Decide(p.s, p.now).Commands, func(c failover.Command) bool { _, is := c.(failover.BeginWake); return is })
}

// TestAwayGuestIsStartedAgain: once for each start of its host, if it does not run; never
// what a person has stopped, and never what is another's.
func TestAwayGuestIsStartedAgain(t *testing.T) {
	first, second := start.Add(-24*time.Hour), start.Add(2*time.Hour)
	for _, tt := range []struct {
		name   string
		change func(p *play)
		want   bool
	}{
		{"its host has started since", func(p *play) { p.looked(func(c *failover.Copy) { c.Booted = second }) }, true},
		{"it was stopped, its host ran on", func(p *play) { p.looked(func(c *failover.Copy) { c.Booted = first }) }, false},
		{"it ran after the start and was stopped", func(p *play) {
			p.looked(func(c *failover.Copy) { c.Booted, c.Running = second, true })
			p.looked(func(c *failover.Copy) { c.Booted = second.Add(3 * time.Second) })
		}, false},
		{"since when its host runs is not known", func(p *play) { p.looked(func(*failover.Copy) {}) }, false},
		{"it could not be read", func(p *play) { p.looked(func(c *failover.Copy) { c.Booted, c.Unread = second, "no answer" }) }, false},
		{"while everything is paused", func(p *play) {
			p.looked(func(c *failover.Copy) { c.Booted = second })
			p.must(failover.SetPause{Reason: "night"})
		}, false},
		{"while people work on its host", func(p *play) {
			p.looked(func(c *failover.Copy) { c.Booted = second })
			p.must(failover.BeginMaintenance{Domain: "host:raoull-quai", For: time.Hour})
		}, false},
		{"it is another site's by now", func(p *play) {
			p.looked(func(c *failover.Copy) { c.Booted = second })
			p.replicas(p.saved(p.now))
			plan := failover.PlanFor(p.s, failover.Loss{Site: "quai", ByHand: true, Guests: []failover.GuestID{lineageGuest}}, p.now)
			p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Plan: plan, Forced: true})
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := livingAway(t)
			p.looked(func(c *failover.Copy) { c.Booted, c.Running = first, true })
			p.now = start.Add(3 * time.Hour)
			p.dark(time.Hour)
			p.settle()
			tt.change(p)
			if got := p.wakes(); got != tt.want {
				t.Errorf("it is started again: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestWakeIsCarriedOut: by the agent of its site, and once.
func TestWakeIsCarriedOut(t *testing.T) {
	p := livingAway(t)
	p.now = start.Add(3 * time.Hour)
	p.dark(time.Hour)
	p.settle()
	p.looked(func(c *failover.Copy) { c.Booted = start.Add(2 * time.Hour) })
	p.must(failover.BeginWake{Guest: lineageGuest})
	if err := p.apply(failover.BeginWake{Guest: lineageGuest}); rejection(err) != failover.CodeNothing {
		t.Errorf("a second time: %v, want %s", err, failover.CodeNothing)
	}
	tokens := failover.Runnable(p.s, "quai", p.now)
	if len(tokens) != 1 || tokens[0].Step != failover.StepRevive {
		t.Fatalf("at quai %+v can be done, want to start it", tokens)
	}
	p.must(failover.StepMoved{Token: tokens[0], Attempt: 1, To: failover.StatusRunning})
	if err := p.s.TokenCurrent(tokens[0]); err != nil {
		t.Errorf("the leader does not confirm: %v", err)
	}
	p.must(failover.StepMoved{Token: tokens[0], Attempt: 1, To: failover.StatusDone})
	p.settle()
	op, placed := p.s.Ops[tokens[0].Op], p.s.Guests[lineageGuest]
	if op.Phase != failover.OpDone || placed.Phase != failover.PhaseAway || placed.Op != "" {
		t.Errorf("the operation is %s, the guest %s in %q; want done and away", op.Phase, placed.Phase, placed.Op)
	}
	if p.wakes() {
		t.Error("it is started again for the same start of its host")
	}
}
