package failover_test

import (
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// stuckPlay is apartPlay in which the copies at quai cannot be started: both guests are owned
// there and stuck, the second behind the first, and moulin is back.
func stuckPlay(t *testing.T) (*play, failover.OpID) {
	t.Helper()
	p := movePlay(t)
	declareHomeward(p)
	return p, p.getStuck()
}

// getStuck fails both guests over to quai and has the start of the first refused there.
func (p *play) getStuck() failover.OpID {
	p.t.Helper()
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1, kept2}, Target: "quai", ByHand: true}
	plan := failover.PlanFor(p.s, loss, p.now)
	if len(plan.Assignments) != 2 {
		p.t.Fatalf("not both are failed over: %+v", plan)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true})
	op := p.newest().ID
	p.done(kept1, failover.StepStart)
	p.done(kept2, failover.StepStart)
	p.refuse(kept1)
	p.settle()
	if at := p.s.Guests[kept2]; p.s.Ops[op].Phase != failover.OpStuck || at.Phase != failover.PhaseStuck {
		p.t.Fatalf("%s is %s, the second guest %s: want both stuck", op, p.s.Ops[op].Phase, at.Phase)
	}
	return op
}

// refuse has the start of a guest's copy refused by its host.
func (p *play) refuse(g failover.GuestID) {
	p.t.Helper()
	token := p.opOf(g).TokenOf(g)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusFailed, Failure: failover.FailFatal, Note: "start failed: QEMU exited with code 1"})
}

// looksAway has the host of a stuck guest's copy tell how it is, and its step end.
func (p *play) looksAway(g failover.GuestID, found failover.Found) {
	p.t.Helper()
	token := p.opOf(g).TokenOf(g)
	if token.Step != failover.StepShutdown || !p.runs(g, "quai") {
		p.t.Fatalf("%s is to do for %s, want the look at its copy at quai", token.Step, g)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &found})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
}

// TestStuckAwayComesHome: what is stuck away comes home when its host there proves that its copy
// never ran: nothing is sealed, the operation in which it was stuck is closed, and that copy is
// removed once the guest serves at home.
func TestStuckAwayComesHome(t *testing.T) {
	p, stuck := stuckPlay(t)
	away := p.s.Guests[kept1]
	op := p.failback(failover.KeepHome, kept1, kept2)
	if err := p.apply(failover.RetryOp{Op: stuck}); rejection(err) != failover.CodeNothing {
		t.Errorf("what it was stuck in is retried meanwhile: %v, want %s", err, failover.CodeNothing)
	}
	for _, g := range []failover.GuestID{kept2, kept1} { // what depends on another is left first
		p.looksAway(g, failover.Found{Unstarted: true})
		want := []failover.StepID{
			failover.StepShutdown, failover.StepUnpark, failover.StepStill, failover.StepOwn, failover.StepStart, failover.StepCheck,
			failover.StepServe, failover.StepSettle,
		}
		if got := p.steps(op, g); !slices.Equal(got, want) {
			t.Fatalf("steps of %s: %v, want %v", g, got, want)
		}
	}
	p.done(kept1, failover.StepStill)
	p.done(kept2, failover.StepStill)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, failover.StepServe)
	if run := p.s.Ops[stuck].Guests[kept1]; run.State != failover.RunCancelled || run.Back.Code != failover.CodeCameHome {
		t.Errorf("the run in which it was stuck is %s, %+v; want it closed", run.State, run.Back)
	}
	if n := len(p.tidies()); n != 0 {
		t.Errorf("%d copies are removed before the guest serves at home", n)
	}
	pinned := p.s.Ops[stuck].Guests[kept1].Assignment.Point
	pinned.Protected = true // by the run that is closed
	p.tell(func(r *failover.Readiness) {
		r.Points, r.AsOf = map[failover.GuestID][]failover.RestorePoint{kept1: {pinned}}, p.s.Index
	})
	p.done(kept1, "")
	p.done(kept2, "")
	p.must(failover.EndOp{Op: op})
	if at := p.s.Guests[kept1]; at.Owner != "moulin" || at.VMID != 1101 || at.Phase != failover.PhaseHome || at.Serving != "moulin" || !away.Epoch.Less(at.Epoch) {
		t.Errorf("placement %+v, want at home in a new epoch", at)
	}
	if got := p.s.Ops[stuck].Phase; got != failover.OpCancelled {
		t.Errorf("what both were stuck in is %s, want ended without a person", got)
	}
	tidies := p.tidies()
	if len(tidies) != 2 {
		t.Fatalf("%d copies are to be removed, want both", len(tidies))
	}
	if seen := p.s.Readiness["quai"].Ready.Points[kept1]; len(seen) != 1 || seen[0].Protected {
		t.Errorf("%+v counts as protected by a person, and would stay so for ever (campaign, seed 500172)", seen)
	}
	for _, id := range tidies {
		tidy := p.s.Ops[id]
		for g := range tidy.Guests {
			token := tidy.TokenOf(g)
			if tidy.Marks() != stuck || !slices.Contains(failover.Runnable(p.s, "quai", p.now), token) || token.Step != failover.StepCleanup {
				t.Errorf("%s of %s, whose marker names %s; want a cleanup at quai of what %s made", token.Step, g, tidy.Marks(), stuck)
			}
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
			if err := p.s.MayDestroy(token); err != nil {
				t.Errorf("may its copy be deleted? %v", err)
			}
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
		}
	}
	for _, c := range p.s.LeftCopies(kept1, p.now) { // nobody has looked there since
		if c.Host == away.Host && (!c.Gone || c.Remove.Code != failover.CodeNothing) {
			t.Errorf("the copy that was removed: gone %t, may be removed: %+v", c.Gone, c.Remove)
		}
	}
	if _, err := p.s.UndoOf(kept1, p.now); rejection(err) != failover.CodeNothing {
		t.Errorf("back to where it was stuck: %v, want %s", err, failover.CodeNothing)
	}
}

// tidies are the open operations that remove what is left.
func (p *play) tidies() []failover.OpID {
	var out []failover.OpID
	for id, op := range p.s.Ops {
		if op.Kind == failover.KindTidy && !op.Phase.Ended() {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// TestGivenUpBesideWhatIsStuck: a guest was given to its home and is stuck there before it serves. A failover of
// it that begins, and ends since the site is back, leaves it so: what was stuck may be tried again, and the copies
// that it has left, one of which names still lead to, are no residue (history, seed 10259).
func TestGivenUpBesideWhatIsStuck(t *testing.T) {
	p := movePlay(t)
	declareHomeward(p)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1}, Target: "quai", ByHand: true}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	p.done(kept1, "")
	p.must(failover.EndOp{Op: p.newest().ID})
	home := p.failback(failover.KeepHome, kept1)
	p.done(kept1, failover.StepStart)
	p.refuse(kept1)
	p.settle()
	if at := p.s.Guests[kept1]; p.s.Ops[home].Phase != failover.OpStuck || at.Phase != failover.PhaseStuck || at.Owner != "moulin" || at.Serving != "quai" {
		t.Fatalf("%s is %s, its guest %+v: want it stuck at home", home, p.s.Ops[home].Phase, at)
	}
	loss.Target = "fabrique"
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	again := p.newest().ID
	p.must(failover.CancelOp{Op: again, Reason: failover.Reason{Code: failover.CodeBack}})
	p.settle()
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStuck {
		t.Errorf("the guest is %s after %s was cancelled, want stuck", at.Phase, again)
	}
	p.must(failover.RetryOp{Op: home})
	p.done(kept1, "")
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseHome || at.Serving != "moulin" {
		t.Errorf("tried again: %+v", at)
	}
}

// TestStuckAwayIsSealedIfItMayHaveRun: a copy that somebody may have written to is sealed at two
// sites first, and stays; only its restore point is let go.
func TestStuckAwayIsSealedIfItMayHaveRun(t *testing.T) {
	p, stuck := stuckPlay(t)
	away := p.s.Guests[kept1].Now()
	op := p.failback(failover.KeepHome, kept1)
	p.looksAway(kept1, failover.Found{})
	if p.opOf(kept1).TokenOf(kept1).Step != failover.StepSeal {
		t.Fatalf("steps left %v, want it sealed", p.steps(op, kept1))
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	if seal := p.s.SealOf(kept1, away); seal == nil || len(seal.Sites()) != 2 {
		t.Errorf("sealed as %+v, want at two sites", seal)
	}
	tidies := p.tidies()
	if len(tidies) != 1 {
		t.Fatalf("tidied by %v, want one that lets its restore point go", tidies)
	}
	token := p.s.Ops[tidies[0]].TokenOf(kept1)
	if token.Step != failover.StepRelease || !slices.Contains(failover.Runnable(p.s, "quai", p.now), token) {
		t.Errorf("%s is left to do, want its restore point let go at quai", token.Step)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.MayDestroy(token); err == nil {
		t.Error("the copy, which may have run, may be deleted")
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	p.settle()
	if p.s.Ops[stuck].Phase != failover.OpStuck || p.s.Guests[kept2].Phase != failover.PhaseStuck {
		t.Errorf("%s is %s and the other guest %s, want that one stuck as before", stuck, p.s.Ops[stuck].Phase, p.s.Guests[kept2].Phase)
	}
}

// TestStuckAwayTakenBack: until ownership moves, a failback that is given up leaves the guest
// stuck, and what was to be typed then works; what ran there runs again first.
func TestStuckAwayTakenBack(t *testing.T) {
	for _, ran := range []bool{false, true} {
		p, stuck := stuckPlay(t)
		op := p.failback(failover.KeepHome, kept1)
		p.looksAway(kept1, failover.Found{Unstarted: !ran, Running: ran})
		p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
		if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStuck || at.Op != "" || at.Owner != "quai" {
			t.Fatalf("ran %t: placement %+v, want stuck at quai", ran, at)
		}
		if ran {
			if err := p.apply(failover.RetryOp{Op: stuck}); rejection(err) != failover.CodeGuestBusy {
				t.Errorf("retried while it is about to start again: %v, want %s", err, failover.CodeGuestBusy)
			}
			token := p.s.Ops[op].TokenOf(kept1)
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
		}
		p.settle()
		if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStuck || p.s.Ops[op].Phase != failover.OpCancelled {
			t.Fatalf("ran %t: placement %+v and %s, want stuck and the failback cancelled", ran, at, p.s.Ops[op].Phase)
		}
		p.must(failover.RetryOp{Op: stuck})
		if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStarting || at.Op != stuck {
			t.Errorf("ran %t: placement %+v after the retry, want %s to go on", ran, at, stuck)
		}
	}
}

// TestStuckAwayWithoutPlaces: a network that declares no places for sealed branches brings home
// what never ran, by its host's word, and nothing that the log has seen to run.
func TestStuckAwayWithoutPlaces(t *testing.T) {
	p, _ := stuckPlay(t)
	p.redeclare(func(s *network.Spec) {
		unlineage(s, "quai", "raoull-quai")
		unlineage(s, "fabrique", "raoull-fabrique")
		unlineage(s, "moulin", "raoull-moulin")
		unlineage(s, "moulin", "pve-moulin")
	})
	plan := p.failbackPlan(failover.KeepHome, kept1)
	if len(plan.Assignments) != 1 || plan.Assignments[0].Vault != "" {
		t.Fatalf("plan %+v, want it home without a place to seal", plan)
	}
	copies := p.s.CopiesAt("quai")
	for i := range copies {
		copies[i].Running = true
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", Copies: copies, AsOf: p.s.Index}})
	if left := p.failbackPlan(failover.KeepHome, kept1).LeftOut; len(left) != 1 || left[0].Reason.Code != failover.CodeNoLineage {
		t.Errorf("left out %+v after it was seen to run, want for %s", left, failover.CodeNoLineage)
	}
	if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true}); rejection(err) != failover.CodeNoLineage {
		t.Errorf("begun with the plan of before: %v, want %s", err, failover.CodeNoLineage)
	}
}

// TestStuckAwayInAnOpenOperation: the operation in which it is stuck may still be at work on others,
// and goes on without it.
func TestStuckAwayInAnOpenOperation(t *testing.T) {
	p := movePlay(t)
	declareHomeward(p)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1, kept2}, Target: "quai", ByHand: true}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	stuck := p.newest().ID
	p.done(kept1, failover.StepStart)
	p.done(kept2, failover.StepRestore)
	p.refuse(kept1)
	p.must(p.decided())
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseStuck || at.Op != stuck {
		t.Fatalf("placement %+v, want stuck in %s", at, stuck)
	}
	if !p.s.WayHomeOpen(kept1) {
		t.Fatal("it cannot come home")
	}
	op := p.failback(failover.KeepHome, kept1)
	p.looksAway(kept1, failover.Found{Unstarted: true})
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	if at := p.s.Guests[kept1]; at.Phase != failover.PhaseHome {
		t.Errorf("placement %+v, want at home", at)
	}
	p.done(kept2, "")
	p.settle()
	if at := p.s.Guests[kept2]; p.s.Ops[stuck].Phase != failover.OpDone || at.Owner != "quai" {
		t.Errorf("%s is %s, the other guest %+v; want it served at quai", stuck, p.s.Ops[stuck].Phase, at)
	}
}

// TestStuckAwayIsTold: whoever looks at what is stuck reads that its home can have it back, once
// that is so; keeping the copy away is refused, with what to type.
func TestStuckAwayIsTold(t *testing.T) {
	p, stuck := stuckPlay(t)
	if left := p.failbackPlan(failover.KeepAway, kept1).LeftOut; len(left) != 1 || left[0].Reason.Code != failover.CodeStuckAway {
		t.Errorf("keep away: left out %+v, want for %s", left, failover.CodeStuckAway)
	}
	told := func() (home string) {
		for _, r := range failover.Explain(p.s, failover.LocalView{Site: "temoin", HasLeader: true}, p.now).Todo {
			if r.Code == failover.CodeStuck && r.Args["guest"] == string(kept1) {
				home = r.Args["home"]
			}
		}
		for _, g := range failover.ExplainOp(p.s, stuck, p.now).Guests {
			if g.Guest == kept1 && string(g.Home) != home {
				t.Errorf("the operation names the home %q, the status %q", g.Home, home)
			}
		}
		return home
	}
	if got := told(); got != "moulin" {
		t.Errorf("told to keep the copy at %q, want at moulin", got)
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index}})
	if got := told(); got != "" {
		t.Errorf("told to keep the copy at %q, which is gone", got)
	}
}
