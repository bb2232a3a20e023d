package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func (p *play) replacing(guests ...failover.GuestID) failover.OpID {
	p.t.Helper()
	plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: guests, Planned: true, ByHand: true, Keep: failover.KeepAway, Replace: guests}, p.now)
	if len(plan.LeftOut) > 0 {
		p.t.Fatalf("left out: %+v", plan.LeftOut)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
	return p.newest().ID
}

// TestCopyIsGivenUpForRoom: only the one that a person has named, after it is sealed at two
// sites and parked, before anything happens to the copy that serves; on a structure's host the
// program does not delete it.
func TestCopyIsGivenUpForRoom(t *testing.T) {
	p := apartPlay(t)
	was := p.s.HomePlace(kept1)
	if a, b := p.failbackPlan(failover.KeepAway, kept1), failover.PlanFor(p.s, failover.Loss{
		Site: "moulin", Guests: []failover.GuestID{kept1}, Planned: true, ByHand: true, Keep: failover.KeepAway, Replace: []failover.GuestID{kept1},
	}, p.now); a.Hash == b.Hash || b.Assignments[0].Replace != was.VMID || a.Assignments[0].Replace != 0 {
		t.Errorf("plans %s and %s, in place of %d and %d; want two, the second in place of %d", a.Hash, b.Hash, a.Assignments[0].Replace, b.Assignments[0].Replace, was.VMID)
	}
	op := p.replacing(kept1)
	steps := p.steps(op, kept1)
	if i := slices.Index(steps, failover.StepReplace); i < 1 || steps[i-1] != failover.StepPark || steps[i+1] != failover.StepReady {
		t.Fatalf("steps %v, want the copy given up right after it is parked", steps)
	}
	p.done(kept1, failover.StepReplace)
	if !p.runs(kept1, "moulin") {
		t.Fatal("it is not to be given up at moulin")
	}
	token := p.s.Ops[op].TokenOf(kept1)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.TokenCurrent(token); err != nil {
		t.Errorf("may it go on? %v", err)
	}
	if err := p.s.MayDestroy(token); rejection(err) != failover.CodeTheirCopy {
		t.Errorf("may it be deleted on a structure's host? %v, want %s", err, failover.CodeTheirCopy)
	}
	p.redeclare(func(spec *network.Spec) {
		h := spec.Sites["moulin"].Hosts["pve-moulin"]
		h.Owner = network.OwnerRaoull
		spec.Sites["moulin"].Hosts["pve-moulin"] = h
	})
	if err := p.s.MayDestroy(token); err != nil {
		t.Errorf("may it be deleted on a Raoull host? %v", err)
	}
	stale := token
	stale.Index++
	if err := p.s.MayDestroy(stale); err == nil {
		t.Error("it may be deleted by a token that is not current")
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	if seal := p.s.SealOf(kept1, was); seal == nil || len(seal.Sites()) != 2 || seal.Acked.Index != 0 {
		t.Errorf("sealed as %+v, want at two sites until somebody acknowledges it", seal)
	}
	if now := p.s.Guests[kept1]; now.Owner != "moulin" || now.Phase != failover.PhaseHome {
		t.Errorf("placement %+v, want at home", now)
	}
}

// TestCopyIsNotGivenUp: what is not the copy that was named, or not sealed, stays.
func TestCopyIsNotGivenUp(t *testing.T) {
	begin := func(edit func(*failover.BeginOp)) error {
		p := apartPlay(t)
		c := failover.BeginOp{Kind: failover.KindFailback, Plan: p.failbackPlan(failover.KeepAway, kept1), Forced: true}
		c.Plan.Assignments[0].Replace = p.s.HomePlace(kept1).VMID
		edit(&c)
		return p.apply(c)
	}
	if err := begin(func(*failover.BeginOp) {}); err != nil {
		t.Fatalf("the copy at home: %v", err)
	}
	for name, edit := range map[string]func(*failover.BeginOp){
		"another one":      func(c *failover.BeginOp) { c.Plan.Assignments[0].Replace++ },
		"without a person": func(c *failover.BeginOp) { c.Forced, c.Window = false, true },
	} {
		if err := begin(edit); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := apartPlay(t)
	op := p.replacing(kept1)
	p.done(kept1, failover.StepReplace)
	token := p.s.Ops[op].TokenOf(kept1)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	for id, l := range p.s.Lineages {
		if l.Guest == kept1 && l.Sealed != nil {
			l.Sealed = &failover.Seal{Copies: l.Sealed.Copies[:1], Op: l.Sealed.Op}
			p.s.Lineages[id] = l
		}
	}
	if err := p.s.TokenCurrent(token); rejection(err) != failover.CodeNotSealed {
		t.Errorf("sealed at one site only: %v, want %s", err, failover.CodeNotSealed)
	}
	if p.runs(kept1, "moulin") {
		t.Error("sealed at one site only, and it goes on")
	}
}

// TestGivenUpWhileItsCopyGoes: a failback that is taken back starts the copy at home again if
// it is there, and keeps the seal of one that is not.
func TestGivenUpWhileItsCopyGoes(t *testing.T) {
	for _, gone := range []bool{false, true} {
		p := apartPlay(t)
		was := p.s.HomePlace(kept1)
		op := p.replacing(kept1)
		p.done(kept1, failover.StepReplace)
		p.must(failover.StepMoved{Token: p.s.Ops[op].TokenOf(kept1), Attempt: 1, To: failover.StatusRunning})
		p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
		if got := p.steps(op, kept1); !slices.Equal(got, []failover.StepID{failover.StepRejoin}) {
			t.Fatalf("left to do %v, want that it is started again", got)
		}
		token := p.s.Ops[op].TokenOf(kept1)
		p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
		m := failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone}
		if gone {
			m.Found = &failover.Found{Gone: true}
		}
		p.must(m)
		if sealed := p.s.SealOf(kept1, was) != nil; sealed != gone {
			t.Errorf("gone %t: sealed %t", gone, sealed)
		}
	}
}

// TestWaitForRoomYieldsToALoss: people may take hours to make room. When the site that serves is
// lost meanwhile the failback is taken back, so that the guest can be failed over.
func TestWaitForRoomYieldsToALoss(t *testing.T) {
	p := apartPlay(t)
	op := p.replacing(kept1)
	p.done(kept1, failover.StepReplace)
	p.must(failover.StepMoved{Token: p.s.Ops[op].TokenOf(kept1), Attempt: 1, To: failover.StatusRunning, Note: "waits"})
	p.settle()
	if run := p.s.Ops[op].Guests[kept1]; run.State != failover.RunActive {
		t.Fatalf("the run is %s while all is well", run.State)
	}
	p.dark(2*time.Minute, "quai")
	p.settle()
	if run := p.s.Ops[op].Guests[kept1]; run.State != failover.RunCancelled || p.s.Guests[kept1].Op == op {
		t.Errorf("the run is %s, the guest held by %q; want it let go", run.State, p.s.Guests[kept1].Op)
	}
}
