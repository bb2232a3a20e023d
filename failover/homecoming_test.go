package failover_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestComesHomeAsItStarted: agents take from the copies that guests leave that they start with
// their host. What comes home starts as the copy there did before, whoever took that from it,
// and however many moves ago.
func TestComesHomeAsItStarted(t *testing.T) {
	found := func(p *play, onboot bool) {
		p.done(kept1, failover.StepShutdown)
		token := p.opOf(kept1).TokenOf(kept1)
		p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
		p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: onboot, Running: true}})
	}
	for _, tt := range []struct {
		name string
		away func(p *play)
		want bool
	}{
		{"its host failed, nobody has looked since", func(*play) {}, false},
		{"its host failed, its agent tells", func(p *play) { p.homeTells(true) }, true},
		{"its agent has taken it from it since", func(p *play) { p.homeTells(true); p.homeTells(false) }, true},
		{"moved by plan", func(p *play) {
			p.backHome()
			p.move(kept1)
			found(p, true)
		}, true},
		{"moved by plan, its structure did not want it any more", func(p *play) {
			p.homeTells(true)
			p.backHome()
			p.move(kept1)
			found(p, false)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := apartPlay(t)
			tt.away(p)
			if got := p.s.Guests[kept1].OnBoot; got != tt.want {
				t.Errorf("it is remembered to start with its host: %t, want %t", got, tt.want)
			}
			if p.s.Guests[kept1].Owner == "moulin" {
				return
			}
			op := p.failback(failover.KeepHome, kept1, kept2)
			if got := p.s.Ops[op].Guests[kept1].Left.OnBoot; got != tt.want {
				t.Errorf("comes home starting with its host: %t, want %t", got, tt.want)
			}
		})
	}
}

// homeTells has the agent at home tell of the copies that were left there.
func (p *play) homeTells(onboot bool) {
	p.t.Helper()
	copies := p.s.CopiesAt("moulin")
	for i := range copies {
		copies[i].Running, copies[i].OnBoot = true, onboot
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
}

// backHome has both guests come home as they are there.
func (p *play) backHome() {
	p.t.Helper()
	p.failback(failover.KeepHome, kept1, kept2)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, "")
	p.done(kept2, "")
	p.settle()
}

// TestNothingComesHomeBesideAThirdCopy: one that a rescue has made at home, and that ran on
// when the site was lost, has the address of what would come home.
func TestNothingComesHomeBesideAThirdCopy(t *testing.T) {
	p := apartPlay(t)
	tell := func(running bool) {
		copies := append(p.s.CopiesAt("moulin"), failover.Copy{
			Guest: kept1, Place: failover.Place{Site: "moulin", Host: "raoull-moulin", VMID: 9105}, Running: running,
		})
		p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
	}
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		tell(true)
		plan := p.failbackPlan(keep, kept1)
		if len(plan.LeftOut) != 1 || plan.LeftOut[0].Reason.Code != failover.CodeThirdCopy || plan.LeftOut[0].Reason.Args["id"] != "9105" {
			t.Errorf("keep %s: %+v, want it left out for the copy 9105", keep, plan)
		}
		tell(false)
		if plan := p.failbackPlan(keep, kept1); len(plan.Assignments) != 1 {
			t.Errorf("keep %s, the copy is off: %+v, want it to come home", keep, plan)
		}
	}
}

// TestNothingComesHomeBeforeItsAgentHasLooked: what that told of a third copy before the guest moved
// last says nothing: a copy that a rescue had made was not started then (campaign, seed 33612).
func TestNothingComesHomeBeforeItsAgentHasLooked(t *testing.T) {
	third := failover.Place{Site: "moulin", Host: "raoull-moulin", VMID: 9105}
	for _, tt := range []struct {
		name string
		asOf func(s *failover.State) uint64
		copy failover.Copy
		gone bool
		want string
	}{
		{"told before it moved", func(s *failover.State) uint64 { return s.Guests[kept1].Epoch.Index - 1 }, failover.Copy{}, false, failover.CodeUnseen},
		{"looked since, it is off", func(s *failover.State) uint64 { return s.Index }, failover.Copy{}, false, ""},
		{"looked since, it runs", func(s *failover.State) uint64 { return s.Index }, failover.Copy{Running: true}, false, failover.CodeThirdCopy},
		{"its host did not answer", func(s *failover.State) uint64 { return s.Index }, failover.Copy{Unread: "no answer"}, false, failover.CodeUnseen},
		{"looked since, it is gone", func(s *failover.State) uint64 { return s.Index }, failover.Copy{}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := apartPlay(t)
			was := p.s.Guests[kept1]
			was.Former = append(was.Former, third)
			p.s.Guests[kept1], p.snapshot = was, ""
			var copies []failover.Copy
			for _, c := range p.s.CopiesAt("moulin") {
				if c.Place == third {
					c.Running, c.Unread = tt.copy.Running, tt.copy.Unread
				}
				if c.Place != third || !tt.gone {
					copies = append(copies, c)
				}
			}
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: tt.asOf(p.s)}})
			for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
				plan := p.failbackPlan(keep, kept1)
				if got := leftOutCode(plan); got != tt.want {
					t.Errorf("keep %s: left out for %q, want %q: %+v", keep, got, tt.want, plan)
				}
			}
		})
	}
}

func leftOutCode(p failover.Plan) string {
	if len(p.LeftOut) == 0 {
		return ""
	}
	return p.LeftOut[0].Reason.Code
}

// TestWhatIsStartedAgainStandsNotDown: a failback that is given up starts the copy at home
// again, as it found it. It is off until then, and no return of its site begins with it.
func TestWhatIsStartedAgainStandsNotDown(t *testing.T) {
	p := apartPlay(t)
	p.redeclare(func(spec *network.Spec) {
		for id, st := range spec.Structures {
			st.OnReturn = "stop"
			spec.Structures[id] = st
		}
	})
	op := p.failback(failover.KeepAway, kept1, kept2)
	p.done(kept1, failover.StepReady)
	p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
	copies := p.s.CopiesAt("moulin")
	for i := range copies {
		copies[i].OnBoot = true // nobody has changed that yet
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
	if step, _, _ := p.s.Ops[op].Guests[kept1].Current(); step.ID != failover.StepRejoin {
		t.Fatalf("%s is left to do, want it started again", step.ID)
	}
	if b := p.s.Guests[kept1].Branch; b == nil || b.Reason.Code != failover.CodeBranchOff || !b.OnBoot {
		t.Fatalf("branch %+v, want it off, to start with its host", b)
	}
	if err := p.apply(failover.BeginReturn{Guest: kept1}); rejection(err) != failover.CodeNothing {
		t.Errorf("its site's return shuts it down as well: %v", err)
	}
}

// TestWhatIsChosenStandsNotDown: a person may choose the copy at home just when the return of
// its site is about to shut it down. It is left alone then; where the shutdown has begun, the
// failback waits until it has ended, or the guest would be found running and go off afterwards.
func TestWhatIsChosenStandsNotDown(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun %t", begun), func(t *testing.T) {
			p := apartPlay(t)
			p.redeclare(func(spec *network.Spec) {
				for id, st := range spec.Structures {
					st.OnReturn = "stop"
					spec.Structures[id] = st
				}
			})
			copies := p.s.CopiesAt("moulin")
			for i := range copies {
				copies[i].OnBoot = true
			}
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
			p.must(failover.BeginReturn{Guest: kept1})
			back := p.newest().ID
			shutdown := p.s.Ops[back].TokenOf(kept1)
			if begun {
				p.must(failover.StepMoved{Token: shutdown, Attempt: 1, To: failover.StatusRunning})
				p.must(failover.StepMoved{Token: shutdown, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: true, Running: true}})
			}
			op := p.failback(failover.KeepHome, kept1)
			runs := func() bool { return slices.Contains(failover.Runnable(p.s, "moulin", p.now), shutdown) }
			if runs() != begun {
				t.Fatalf("the copy that was chosen is shut down: %t, want %t", runs(), begun)
			}
			p.done(kept1, failover.StepUnpark)
			unpark := p.s.Ops[op].TokenOf(kept1)
			may := func() bool { return slices.Contains(failover.Runnable(p.s, "moulin", p.now), unpark) }
			if unpark.Step != failover.StepUnpark || may() == begun {
				t.Fatalf("%s goes on: %t, want %t", unpark.Step, may(), !begun)
			}
			if begun {
				p.must(failover.StepMoved{Token: shutdown, Attempt: 1, To: failover.StatusDone})
				if !may() {
					t.Error("the failback does not go on after the shutdown")
				}
				return
			}
			p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
			if !runs() {
				t.Error("the failback is given up, and the return does not go on")
			}
		})
	}
}
