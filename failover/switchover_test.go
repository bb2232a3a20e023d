package failover_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// movePlay is the network of fiveSites of which every target holds a copy of every guest
// of moulin, and all are seen.
func movePlay(t *testing.T) *play {
	t.Helper()
	p := newPlay(t)
	p.network([]string{"five"})
	p.settle()
	return p
}

// move begins a switchover of guests ("" = all of moulin) to quai.
func (p *play) move(guests ...failover.GuestID) failover.Operation {
	p.t.Helper()
	loss := failover.Loss{Site: "moulin", Guests: guests, Target: "quai", ByHand: true, Planned: true}
	p.must(failover.BeginOp{Kind: failover.KindSwitchover, Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	return p.newest()
}

// done brings a guest's steps to their end up to one, which is left pending.
func (p *play) done(g failover.GuestID, before failover.StepID) {
	p.t.Helper()
	for {
		op := p.opOf(g)
		t := op.TokenOf(g)
		if t.Step == before {
			return
		}
		switch t.Step {
		case failover.StepOwn:
			p.must(failover.Own{Token: t})
			continue
		case failover.StepServe:
			p.must(failover.Serve{Token: t})
			continue
		case "":
			p.t.Fatalf("%s has no step %s", g, before)
		}
		step, _, _ := op.Guests[g].Current()
		p.must(failover.StepMoved{Token: t, Attempt: step.Attempt + 1, To: failover.StatusRunning})
		m := failover.StepMoved{Token: t, Attempt: step.Attempt + 1, To: failover.StatusDone}
		switch t.Step {
		case failover.StepShutdown:
			p.must(failover.StepMoved{Token: t, Attempt: step.Attempt + 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: true}})
		case failover.StepLeave:
			found := &failover.Found{OnBoot: true, Running: !p.leftOff}
			p.must(failover.StepMoved{Token: t, Attempt: step.Attempt + 1, To: failover.StatusRunning, Found: found})
		case failover.StepSeal:
			m.Point = failover.RestorePoint{Volid: "sealed:" + string(g), Time: p.now, Size: gib}
		case failover.StepSealCopy:
			m.Point = op.Guests[g].Sealed[0].Point
		case failover.StepBackup:
			m.Point = failover.RestorePoint{Volid: "home:" + string(g), Time: p.now, Size: gib}
		case failover.StepPull:
			m.Point = op.Guests[g].Assignment.Point
			m.Point.Time, m.Point.Volid = op.Guests[g].Source.Final, cmp.Or(m.Point.Volid, "away:"+string(g))
		}
		p.must(m)
	}
}

func (p *play) runs(g failover.GuestID, at failover.SiteID) bool {
	for _, t := range failover.Runnable(p.s, at, p.now) {
		if t.Guest == g {
			return true
		}
	}
	return false
}

// decided is the first command that the leader would propose about an operation.
func (p *play) decided() failover.Command {
	for _, c := range failover.Decide(p.s, p.now).Commands {
		if _, ok := c.(failover.Assess); !ok {
			return c
		}
	}
	return nil
}

// TestSwitchoverMovesAStructureAsAWhole: dependants are shut down first, and nothing is
// owned before all of the structure stand ready.
func TestSwitchoverMovesAStructureAsAWhole(t *testing.T) {
	p := movePlay(t)
	const first, second = failover.GuestID("nextcloud-moulin"), failover.GuestID("compta-moulin") // the second needs the first
	p.move(first, second)
	p.done(first, failover.StepShutdown)
	if p.runs(first, "moulin") {
		t.Errorf("%s may be shut down before %s was found ready", first, second)
	}
	p.done(second, failover.StepShutdown)
	if p.runs(first, "moulin") || !p.runs(second, "moulin") {
		t.Errorf("shut down first %t, second %t, want the one that depends on the other", p.runs(first, "moulin"), p.runs(second, "moulin"))
	}
	p.done(second, failover.StepBackup)
	if !p.runs(first, "moulin") {
		t.Errorf("%s waits although nothing that needs it runs", first)
	}
	p.done(first, failover.StepStill)
	if p.runs(first, "moulin") {
		t.Error("the last look at home is taken before the structure is restored")
	}
	p.done(second, failover.StepStill)
	p.done(first, failover.StepOwn)
	if code := rejection(p.apply(failover.Own{Token: p.opOf(first).TokenOf(first)})); code != failover.CodeWrongPhase {
		t.Errorf("owned alone: code %q, want %q", code, failover.CodeWrongPhase)
	}
	p.done(second, failover.StepOwn)
	if c, ok := p.decided().(failover.Own); !ok || c.Token.Guest != first {
		t.Fatalf("decided %+v, want to own %s", c, first)
	}
	p.done(first, "")
}

// TestSwitchoverNeverOwnsAnOlderBackup: the log refuses what would lose something.
func TestSwitchoverNeverOwnsAnOlderBackup(t *testing.T) {
	p := movePlay(t)
	const g = failover.GuestID("wiki-atelier")
	p.move(g)
	p.done(g, failover.StepShutdown)
	token := p.opOf(g).TokenOf(g)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if code := rejection(p.apply(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})); code != failover.CodeInvalid {
		t.Errorf("a shutdown of which nobody told how the guest was: code %q, want %q", code, failover.CodeInvalid)
	}
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: true}})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
	p.done(g, failover.StepPull)
	token = p.opOf(g).TokenOf(g)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	older := p.opOf(g).Guests[g].Assignment.Point
	if code := rejection(p.apply(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone, Point: older})); code != failover.CodeNoPoint {
		t.Errorf("an older backup: code %q, want %q", code, failover.CodeNoPoint)
	}
}

// TestSwitchoverTakenBack: whatever fails before ownership has the guest start at home,
// and what was made at the target removed by an operation of its own.
func TestSwitchoverTakenBack(t *testing.T) {
	p := movePlay(t)
	const g, other = failover.GuestID("nextcloud-moulin"), failover.GuestID("compta-moulin")
	p.move(g, other)
	p.done(g, failover.StepShutdown)
	p.done(other, failover.StepBackup)
	p.done(g, failover.StepRestore)
	token := p.opOf(g).TokenOf(g)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusFailed, Failure: failover.FailTarget, Note: "no room"})
	c, ok := p.decided().(failover.CancelOp)
	if !ok {
		t.Fatalf("decided %T, want that it is taken back", p.decided())
	}
	id := p.newest().ID
	p.must(c)
	op := p.s.Ops[id]
	for _, g := range []failover.GuestID{g, other} {
		run := op.Guests[g]
		if step, _, _ := run.Current(); step.ID != failover.StepRevive || run.Back.Args["note"] != "no room" || p.s.Guests[g].Op != "" {
			t.Errorf("%s: step %q, back %v, op %q, want to start at home", g, step.ID, run.Back, p.s.Guests[g].Op)
		}
		if !p.runs(g, "moulin") {
			t.Errorf("%s is not started at home", g)
		}
	}
	tidy := 0
	for _, o := range p.s.Ops {
		if o.Kind == failover.KindTidy {
			tidy = len(o.Guests)
		}
	}
	if tidy != 1 {
		t.Errorf("%d guests to tidy, want the one that was touched", tidy)
	}
	if plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{g}, ByHand: true, Planned: true}, p.now); len(plan.Assignments) != 0 {
		t.Error("planned again before it runs at home")
	}
}

// TestSiteDiesInItsSwitchover: before the last backup is at the target all is given back
// to the failover of the site, and nothing starts at home once that owns; after, it goes on.
func TestSiteDiesInItsSwitchover(t *testing.T) {
	const g = failover.GuestID("wiki-atelier")
	t.Run("before the pull", func(t *testing.T) {
		p := movePlay(t)
		moved := p.move(g)
		p.done(g, failover.StepPull)
		p.dark(10*time.Minute, "moulin")
		p.settle()
		run := p.s.Ops[moved.ID].Guests[g]
		op := p.opOf(g)
		if op.Kind != failover.KindFailover || run.State != failover.RunCancelled {
			t.Fatalf("%s is in a %s, its move %s, want a failover", g, op.Kind, run.State)
		}
		if op.Guests[g].Admitted != 0 && p.runs(g, "moulin") {
			t.Error("it may start at home although it is promised elsewhere")
		}
		p.work([]string{string(op.Guests[g].Assignment.Target)})
		p.settle()
		for range 10 {
			p.work([]string{"quai,fabrique"})
			p.settle()
		}
		if at := p.s.Guests[g]; at.Owner == "moulin" || at.Parked {
			t.Fatalf("placement %+v, want failed over", at)
		}
		if p.runs(g, "moulin") || !p.s.Ops[moved.ID].Phase.Ended() {
			t.Errorf("the move is %s and may start the guest at home: %t", p.s.Ops[moved.ID].Phase, p.runs(g, "moulin"))
		}
	})
	t.Run("after the pull", func(t *testing.T) {
		p := movePlay(t)
		moved := p.move(g)
		p.done(g, failover.StepStill)
		p.dark(10*time.Minute, "moulin")
		p.settle()
		if at := p.s.Guests[g]; at.Owner != "quai" || at.Op != moved.ID || !at.Parked {
			t.Errorf("placement %+v, want moved although its home is gone", at)
		}
	})
}

// TestScheduledSwitchover waits in the log, holds nothing, starts at its time, and can be
// cancelled.
func TestScheduledSwitchover(t *testing.T) {
	const g = failover.GuestID("wiki-atelier")
	schedule := func(p *play) failover.OpID {
		loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{g}, Target: "quai", ByHand: true, Planned: true}
		p.must(failover.BeginOp{Kind: failover.KindSwitchover, Plan: failover.PlanFor(p.s, loss, p.now), Forced: true, At: p.now.Add(time.Hour)})
		p.settle()
		return p.newest().ID
	}
	t.Run("starts", func(t *testing.T) {
		p := movePlay(t)
		id := schedule(p)
		if op := p.s.Ops[id]; op.Phase != failover.OpScheduled || p.s.Guests[g].Op != "" {
			t.Fatalf("%s is %s and holds %q", id, op.Phase, p.s.Guests[g].Op)
		}
		p.now = p.now.Add(time.Hour)
		p.dark(0)
		p.settle()
		if op := p.s.Ops[id]; op.Phase != failover.OpCommitted || p.s.Guests[g].Op != id {
			t.Errorf("%s is %s and holds %q an hour later", id, op.Phase, p.s.Guests[g].Op)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		p := movePlay(t)
		id := schedule(p)
		p.must(failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409"}})
		p.now = p.now.Add(2 * time.Hour)
		p.dark(0)
		p.settle()
		if op := p.s.Ops[id]; op.Phase != failover.OpCancelled || p.s.Guests[g].Op != "" {
			t.Errorf("%s is %s", id, op.Phase)
		}
	})
	t.Run("its target is gone", func(t *testing.T) {
		p := movePlay(t)
		id := schedule(p)
		p.must(failover.ReportReadiness{Ready: failover.Readiness{Site: "quai", Host: "raoull-quai"}})
		p.now = p.now.Add(time.Hour)
		p.dark(0)
		p.settle()
		if op := p.s.Ops[id]; op.Phase != failover.OpScheduled {
			t.Fatalf("%s is %s, want it to wait", id, op.Phase)
		}
		p.now = p.now.Add(failover.ScheduleLate)
		p.dark(0)
		p.settle()
		if op := p.s.Ops[id]; op.Phase != failover.OpCancelled || op.Cancelled.Code != failover.CodeStalePlan {
			t.Errorf("%s is %s (%v), want given up", id, op.Phase, op.Cancelled)
		}
	})
}

// TestOneGuestDoesNotLeaveItsStructure: a planned move of one guest does not split a
// structure that must not be split; one of all of them, and of what may be apart, goes.
func TestOneGuestDoesNotLeaveItsStructure(t *testing.T) {
	for _, tt := range []struct {
		split  string
		guests []failover.GuestID
		want   int
	}{
		{"", []failover.GuestID{"nextcloud-moulin"}, 1},
		{"never", []failover.GuestID{"nextcloud-moulin"}, 0},
		{"never", []failover.GuestID{"nextcloud-moulin", "compta-moulin"}, 2}, // archive-moulin never moves
		{"never", []failover.GuestID{"wiki-atelier"}, 1},                      // another structure's
	} {
		p := movePlay(t)
		if tt.split != "" {
			p.declare([]string{"le-moulin.split=" + tt.split})
		}
		loss := failover.Loss{Site: "moulin", Guests: tt.guests, Target: "quai", ByHand: true, Planned: true}
		plan := failover.PlanFor(p.s, loss, p.now)
		if len(plan.Assignments) != tt.want {
			t.Errorf("split %q, %v: %d guests move, want %d; left out %+v", tt.split, tt.guests, len(plan.Assignments), tt.want, plan.LeftOut)
		}
		if tt.want == 0 && (len(plan.LeftOut) != 1 || plan.LeftOut[0].Reason.Code != failover.CodeSplitNever) {
			t.Errorf("left out %+v, want one for %s", plan.LeftOut, failover.CodeSplitNever)
		}
	}
}

// A guest is moved by plan only from a host on which its site's agent says that it may act.
func TestSwitchoverNeedsHands(t *testing.T) {
	p := movePlay(t)
	const g = failover.GuestID("wiki-atelier")
	home := p.s.Guests[g]
	for _, tc := range []struct {
		acts []failover.HostID
		code string
	}{
		{nil, ""}, // an agent of an older release tells nothing
		{[]failover.HostID{"raoull-moulin"}, failover.CodeNoHands},
		{[]failover.HostID{home.Host, "raoull-moulin"}, ""},
	} {
		ready := p.s.Readiness[home.Owner].Ready
		ready.Acts, ready.Site = tc.acts, home.Owner
		p.must(failover.ReportReadiness{Ready: ready})
		plan := failover.PlanFor(p.s, failover.Loss{Site: home.Owner, Guests: []failover.GuestID{g}, Target: "quai", ByHand: true, Planned: true}, p.now)
		code := ""
		if len(plan.LeftOut) > 0 {
			code = plan.LeftOut[0].Reason.Code
		}
		if code != tc.code || (len(plan.Assignments) == 1) != (tc.code == "") {
			t.Errorf("acts on %v: left out for %q, moved %d; want %q", tc.acts, code, len(plan.Assignments), tc.code)
		}
		lost := failover.PlanFor(p.s, failover.Loss{Site: home.Owner, Guests: []failover.GuestID{g}, ByHand: true}, p.now)
		if len(lost.Assignments) != 1 {
			t.Errorf("acts on %v: a failover leaves it out for %v", tc.acts, lost.LeftOut)
		}
	}
}
