package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// windowPlay is apartPlay, some hours later, with moulin well again for that long, its copies
// seen off since, and le-moulin's window open from 03:00 to 07:00 UTC.
func windowPlay(t *testing.T, change func(*network.Spec)) *play {
	t.Helper()
	p := apartPlay(t)
	p.redeclare(func(s *network.Spec) {
		st := s.Structures["le-moulin"]
		st.Return = &network.Return{Window: network.Window{From: 3 * 60, To: 7 * 60}, After: network.Duration(30 * time.Minute)}
		s.Structures["le-moulin"] = st
		if change != nil {
			change(s)
		}
	})
	return p
}

// off has moulin's agent tell how it found the copies there.
func (p *play) off(edit func(*failover.Copy)) {
	p.t.Helper()
	copies := p.s.CopiesAt("moulin")
	for i := range copies {
		if edit != nil {
			edit(&copies[i])
		}
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index, Copies: copies}})
}

// later moves time on and has everybody seen, until nothing more is decided than that.
func (p *play) later(d time.Duration) {
	p.t.Helper()
	p.now = p.now.Add(d)
	p.dark(0)
	p.settle()
}

// TestComesHomeInItsWindow: a structure whose copies at home stayed off comes home as a whole,
// once home has been well for a while and its window is open.
func TestComesHomeInItsWindow(t *testing.T) {
	p := windowPlay(t, nil)
	p.off(nil)
	if c, ok := failover.Decide(p.s, p.now).Commands, false; len(c) > 0 {
		if _, ok = c[0].(failover.BeginOp); ok {
			t.Fatal("begun before home was well for 30 minutes")
		}
	}
	p.later(time.Hour)
	var begun failover.Operation
	for _, op := range p.s.Ops {
		if op.Kind == failover.KindFailback {
			begun = op
		}
	}
	if len(begun.Guests) != 2 || begun.Forced || begun.Phase != failover.OpCommitted || begun.Plan.Loss.Keep != failover.KeepAway {
		t.Fatalf("operation %+v, want the failback of both guests", begun)
	}
	p.done(kept1, failover.StepShutdown)
	p.done(kept2, failover.StepBackup)
	for _, step := range []failover.StepID{failover.StepStill, failover.StepOwn, ""} {
		p.done(kept1, step)
		p.done(kept2, step)
	}
	p.must(failover.EndOp{Op: begun.ID})
	if at := p.s.Guests[kept1]; at.Owner != "moulin" || at.Phase != failover.PhaseHome {
		t.Errorf("placement %+v, want at home", at)
	}
}

// TestStaysWhereAPersonChooses: no window, a copy that ran, what a person has moved, a pause, a
// failback of today, a shut window: nothing begins, and the log refuses what would.
func TestStaysWhereAPersonChooses(t *testing.T) {
	for name, tt := range map[string]struct {
		declare func(*network.Spec)
		change  func(*play)
		want    string
	}{
		"no window": {func(s *network.Spec) {
			st := s.Structures["le-moulin"]
			st.Return = nil
			s.Structures["le-moulin"] = st
		}, nil, failover.CodeInvalid},
		"the window is shut": {func(s *network.Spec) {
			s.Structures["le-moulin"].Return.Window = network.Window{From: 12 * 60, To: 13 * 60}
		}, nil, failover.CodeHomeWaits},
		"its copy ran": {nil, func(p *play) {
			p.off(func(c *failover.Copy) { c.Running, c.Since = true, p.now.Add(-time.Minute) })
			p.off(nil)
		}, failover.CodeHomeRan},
		"nobody has looked": {nil, func(p *play) { p.off(func(c *failover.Copy) { c.Unread = "no right" }) }, failover.CodeHomeRan},
		"paused":            {nil, func(p *play) { p.must(failover.SetPause{Site: "moulin"}) }, failover.CodePaused},
		"moved by plan": {nil, func(p *play) {
			at := p.s.Guests[kept1]
			at.Parked = true
			p.s.Guests[kept1], p.snapshot = at, ""
		}, failover.CodeMovedByPlan},
		"taken back today": {nil, func(p *play) {
			op := p.failback(failover.KeepAway, kept1, kept2)
			p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: "WWW-1409"}})
			p.must(failover.EndOp{Op: op})
		}, failover.CodeTriedHome},
	} {
		t.Run(name, func(t *testing.T) {
			p := windowPlay(t, tt.declare)
			if name != "nobody has looked" {
				p.off(nil)
			}
			if tt.change != nil {
				tt.change(p)
			}
			before := len(p.s.Ops)
			p.later(time.Hour)
			for _, op := range p.s.Ops {
				if op.Kind == failover.KindFailback && !op.Forced {
					t.Fatalf("begun: %+v", op.Plan)
				}
			}
			plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1, kept2}, Planned: true, Keep: failover.KeepAway}, p.now)
			if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Window: true}); rejection(err) != tt.want {
				t.Errorf("begun all the same: %v, want %s (%d operations before)", err, tt.want, before)
			}
		})
	}
}

// TestComesHomeWholeOrNotAtAll: the log refuses a part of a structure without a person.
func TestComesHomeWholeOrNotAtAll(t *testing.T) {
	p := windowPlay(t, func(s *network.Spec) {
		s.Structures["le-moulin"].Return.Window = network.Window{From: 3 * 60, To: 3*60 + 1}
	})
	p.off(nil)
	p.later(time.Hour)
	p.redeclare(func(s *network.Spec) {
		s.Structures["le-moulin"].Return.Window = network.Window{From: 3 * 60, To: 7 * 60}
	})
	plan := p.failbackPlan(failover.KeepAway, kept1)
	if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Window: true}); rejection(err) != failover.CodeInvalid {
		t.Errorf("one guest of two: %v, want %s", err, failover.CodeInvalid)
	}
}

// TestHomeCopyThatRunsEndsIt: one that was started as the failback began is not shut down.
func TestHomeCopyThatRunsEndsIt(t *testing.T) {
	p := windowPlay(t, nil)
	p.off(nil)
	p.later(time.Hour)
	op := p.opOf(kept1)
	token := op.TokenOf(kept1)
	if token.Step != failover.StepLeave {
		t.Fatalf("begins with %s", token.Step)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.TokenCurrent(token); err != nil {
		t.Fatalf("the leader does not confirm: %v", err)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{Running: true, OnBoot: true}})
	if rejection(p.s.TokenCurrent(token)) != failover.CodeHomeRan {
		t.Error("the copy at home, which runs, may be shut down")
	}
	c, ok := p.decided().(failover.CancelOp)
	if !ok || c.Reason.Code != failover.CodeHomeRan {
		t.Fatalf("decided %+v, want that it is taken back", p.decided())
	}
	p.must(c)
}

// TestComesHomeWhereItsCopyIsGone: a copy at home that ran, and that its people have deleted since,
// keeps nobody away (seed 252406).
func TestComesHomeWhereItsCopyIsGone(t *testing.T) {
	p := windowPlay(t, nil)
	p.off(func(c *failover.Copy) { c.Running, c.Since = true, p.now.Add(-time.Minute) })
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index}})
	p.later(time.Hour)
	for _, op := range p.s.Ops {
		if op.Kind == failover.KindFailback && len(op.Guests) == 2 {
			return
		}
	}
	t.Errorf("no failback of both guests among %d operations; branch %+v", len(p.s.Ops), p.s.Guests[kept1].Branch)
}
