package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// keptHome is apartPlay with both guests come home as they were there: the copies at quai are sealed.
func keptHome(t *testing.T) (p *play, away map[failover.GuestID]failover.Placement) {
	t.Helper()
	p = apartPlay(t)
	away = map[failover.GuestID]failover.Placement{kept1: p.s.Guests[kept1], kept2: p.s.Guests[kept2]}
	p.backHome()
	return p, away
}

func (p *play) undo(g failover.GuestID) failover.Undo {
	p.t.Helper()
	undo, err := p.s.UndoOf(g, p.now)
	if err != nil {
		p.t.Fatalf("undo of %s: %v", g, err)
	}
	return undo
}

// TestUndoOfKeepHomeServesTheCopyAway: the branch that was sealed away serves again, with what was
// written there, after what was written at home since is sealed; and that serves again in its turn.
func TestUndoOfKeepHomeServesTheCopyAway(t *testing.T) {
	p, away := keptHome(t)
	p.now = p.now.Add(48 * time.Hour) // nothing else leads to that branch: there is no hurry
	if got, want := p.undo(kept1), (failover.Undo{Site: "quai", Keep: failover.KeepBack}); got != want {
		t.Fatalf("undo %+v, want %+v", got, want)
	}
	op := p.failback(failover.KeepBack, kept1, kept2)
	want := []failover.StepID{
		failover.StepShutdown, failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy, failover.StepUnpark,
		failover.StepStill, failover.StepOwn, failover.StepStart, failover.StepCheck, failover.StepServe, failover.StepSettle,
	}
	if got := p.steps(op, kept1); !slices.Equal(got, want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	run := p.s.Ops[op].Guests[kept1]
	if run.VMID != away[kept1].VMID || run.Assignment.Target != "quai" || run.Assignment.Host != "raoull-quai" || run.Assignment.Vault == "moulin" {
		t.Fatalf("%d at %+v, want the copy %d at quai, sealed elsewhere than at home", run.VMID, run.Assignment, away[kept1].VMID)
	}
	p.done(kept2, failover.StepSeal) // what depends on another is shut down first
	for _, at := range []struct {
		step failover.StepID
		site failover.SiteID
	}{
		{failover.StepShutdown, "moulin"},
		{failover.StepSeal, "moulin"},
		{failover.StepSealVerify, "moulin"},
		{failover.StepSealCopy, "quai"},
		{failover.StepUnpark, "quai"},
		{failover.StepStill, "moulin"},
		{failover.StepStart, "quai"},
		{failover.StepSettle, "quai"},
	} {
		if at.step == failover.StepStill || at.step == failover.StepStart {
			p.done(kept2, map[failover.StepID]failover.StepID{failover.StepStill: failover.StepStill, failover.StepStart: failover.StepOwn}[at.step])
		}
		if at.step == failover.StepStart {
			p.done(kept1, failover.StepOwn)
		}
		if p.done(kept1, at.step); !p.runs(kept1, at.site) {
			t.Errorf("%s is not to do at %s", at.step, at.site)
		}
	}
	p.done(kept1, "")
	p.done(kept2, "")
	p.settle()
	at, left := p.s.Guests[kept1], p.s.HomePlace(kept1)
	if at.Owner != "quai" || at.VMID != away[kept1].VMID || at.Serving != "quai" || at.Phase != failover.PhaseAway || at.Point.Time != away[kept1].Point.Time {
		t.Fatalf("placement %+v, want that of before: %+v", at, away[kept1])
	}
	if p.s.Network.Guests[kept1].ID != 1101 || left.VMID != 1101 {
		t.Errorf("declared %d at home, want 1101 as before", p.s.Network.Guests[kept1].ID)
	}
	if seal := p.s.SealOf(kept1, left); seal == nil || len(seal.Sites()) != 2 {
		t.Errorf("the copy at home is sealed as %+v, want at two sites", seal)
	}
	now, _ := p.s.LineageNow(kept1)
	if now.Resumes != failover.LineageOf(kept1, away[kept1]) || now.Namespace != failover.AwayNamespace("moulin") || now.Storage == "" {
		t.Errorf("it writes the lineage %+v, want %s gone on with", now, failover.LineageOf(kept1, away[kept1]))
	}
	if branch, ok := p.s.HomeBranch(kept1); !ok || branch.VMID != 1101 {
		t.Errorf("the branch at home is %+v %t", branch, ok)
	}
	if _, err := p.s.UndoOf(kept1, p.now); rejection(err) != failover.CodeNothing {
		t.Errorf("undone twice: %v", err)
	}

	op = p.failback(failover.KeepHome, kept1, kept2)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, "")
	p.done(kept2, "")
	p.settle()
	if got := p.s.Ops[op].Phase; got != failover.OpDone || !p.s.AtHome(kept1) {
		t.Fatalf("home again: %s, %+v", got, p.s.Guests[kept1])
	}
	if former := p.s.Guests[kept1].Former; len(former) != 1 || p.undo(kept1).Keep != failover.KeepBack {
		t.Errorf("it has left %+v, want quai once, and the way back there", former)
	}
}

// TestUndoOfKeepHomeIsRefused: with the reason.
func TestUndoOfKeepHomeIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(p *play)
		want string
	}{
		{"its copy away is gone", func(p *play) {
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", AsOf: p.s.Index}})
		}, failover.CodeNoBackCopy},
		{"its structure does not want to be elsewhere any more", func(p *play) {
			p.redeclare(func(spec *network.Spec) {
				st := spec.Structures[spec.Guests[kept1].Structure]
				st.OffSite = network.OffSite{Policy: "never"}
				spec.Structures[spec.Guests[kept1].Structure] = st
			})
		}, failover.CodeNoConsent},
		{"what is at home cannot be sealed", func(p *play) {
			p.redeclare(func(spec *network.Spec) {
				h := spec.Sites["moulin"].Hosts["pve-moulin"]
				h.Lineages = nil
				spec.Sites["moulin"].Hosts["pve-moulin"] = h
			})
		}, failover.CodeNoLineage},
		{"another copy of it runs there", func(p *play) {
			copies := append(p.s.CopiesAt("quai"), failover.Copy{
				Guest: kept1, Place: failover.Place{Site: "quai", Host: "raoull-quai", VMID: 90077}, Running: true,
			})
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", Copies: copies, AsOf: p.s.Index}})
		}, failover.CodeThirdCopy},
		{"it is being moved", func(p *play) { p.move(kept1) }, failover.CodeGuestBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := keptHome(t)
			sound := p.failbackPlan(failover.KeepBack, kept1)
			tt.do(p)
			if got := leftOutCode(p.failbackPlan(failover.KeepBack, kept1)); got != tt.want {
				t.Errorf("left out for %q, want %q", got, tt.want)
			}
			if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: sound, Forced: true}); rejection(err) != tt.want {
				t.Errorf("begun with a plan from before: %v, want %s", err, tt.want)
			}
		})
	}
	p, _ := keptHome(t)
	if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: p.failbackPlan(failover.KeepBack, kept1), Window: true}); err == nil {
		t.Error("begun without a person")
	}
}

// TestUndoOfKeepAwayMovesTheGuest: nothing of its own is left away.
func TestUndoOfKeepAwayMovesTheGuest(t *testing.T) {
	p := apartPlay(t)
	p.failback(failover.KeepAway, kept1, kept2)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, "")
	p.done(kept2, "")
	p.settle()
	if got, want := p.undo(kept1), (failover.Undo{Site: "quai"}); got != want {
		t.Errorf("undo %+v, want %+v", got, want)
	}
	if plan := p.failbackPlan(failover.KeepBack, kept1); leftOutCode(plan) != failover.CodeNothing {
		t.Errorf("its copy away would serve again: %+v", plan)
	}
}

// TestUndoIsTakenBack: what was shut down at home serves there again, and nothing else has changed.
func TestUndoIsTakenBack(t *testing.T) {
	p, _ := keptHome(t)
	before := p.s.Guests[kept1]
	op := p.failback(failover.KeepBack, kept1, kept2)
	p.done(kept1, failover.StepUnpark)
	p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
	if got := p.steps(op, kept1); !slices.Equal(got, []failover.StepID{failover.StepRevive}) {
		t.Fatalf("steps %v, want the copy at home started again", got)
	}
	p.settle()
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseHome || at.Epoch != before.Epoch || p.undo(kept1).Keep != failover.KeepBack {
		t.Errorf("placement %+v, want as before", at)
	}
}

// TestStuckAgainNeverHeldNothing: a guest that is stuck with the copy that it had served from before comes home, and that copy is
// sealed whatever its host proves: it has not just been made.
func TestStuckAgainNeverHeldNothing(t *testing.T) {
	p, _ := keptHome(t)
	op := p.failback(failover.KeepBack, kept1, kept2)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, failover.StepStart)
	p.must(failover.Stick{Op: op, Guest: kept1, Reason: failover.Reason{Code: failover.CodeStepFailed}})
	p.done(kept2, "")
	p.settle()
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStuck || at.Owner != "quai" {
		t.Fatalf("placement %+v, want stuck at quai", at)
	}
	back := p.failback(failover.KeepHome, kept1)
	run := p.s.Ops[back].Guests[kept1]
	if !run.FromStuck() || run.Assignment.Vault == "" {
		t.Fatalf("comes home as %+v", run)
	}
	never := failover.StepMoved{Token: p.opOf(kept1).TokenOf(kept1), Attempt: 1, To: failover.StatusRunning}
	p.must(never)
	never.Found = &failover.Found{Unstarted: true}
	if err := p.apply(never); rejection(err) != failover.CodeInvalid {
		t.Errorf("it is believed to hold nothing: %v", err)
	}
}
