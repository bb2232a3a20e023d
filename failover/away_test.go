package failover_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// livingAway is a play in which the guest lives at quai, and home is as it was.
func livingAway(t *testing.T) *play {
	t.Helper()
	p := lineagePlay(t)
	p.move(lineageGuest)
	p.done(lineageGuest, failover.StepRelease)
	p.done(lineageGuest, "")
	p.settle()
	if got := p.s.Guests[lineageGuest]; got.Phase != failover.PhaseAway || got.Op != "" || got.Owner != "quai" {
		t.Fatalf("%s is %s at %s in %q, want away at quai", lineageGuest, got.Phase, got.Owner, got.Op)
	}
	return p
}

// saved is a backup of the guest's copy at quai.
func (p *play) saved(at time.Time) failover.RestorePoint {
	l, _ := p.s.LineageNow(lineageGuest)
	return failover.RestorePoint{
		Storage: l.Storage, Volid: fmt.Sprintf("%s:backup/%s/%s", l.Storage, l.Group, at.UTC().Format(time.RFC3339)),
		Namespace: l.Namespace, Time: at, Size: gib,
	}
}

func (p *play) backup(to failover.StepStatus, point failover.RestorePoint) error {
	return p.apply(failover.AwayBackup{Guest: lineageGuest, Epoch: p.s.Guests[lineageGuest].Epoch, To: to, Point: point})
}

// replicas have fabrique tell of what it has of the guest, in this order.
func (p *play) replicas(points ...failover.RestorePoint) {
	p.t.Helper()
	r := p.s.Readiness["fabrique"].Ready
	r.AsOf, r.Points = p.s.Index, map[failover.GuestID][]failover.RestorePoint{lineageGuest: points}
	p.must(failover.ReportReadiness{Ready: r})
}

// TestBackupsOfAwayGuestsAreClaimed: one at a time at a site, of what is its own to back up.
func TestBackupsOfAwayGuestsAreClaimed(t *testing.T) {
	p := livingAway(t)
	point := p.saved(p.now)
	if err := p.backup(failover.StatusDone, point); rejection(err) != failover.CodeWrongPhase {
		t.Errorf("done before it began: %v, want %s", err, failover.CodeWrongPhase)
	}
	if err := p.backup(failover.StatusRunning, failover.RestorePoint{}); err != nil {
		t.Fatal(err)
	}
	if l, ok := p.s.AwayRunning("quai"); !ok || l.Guest != lineageGuest {
		t.Errorf("at quai runs %+v %t, want that of %s", l, ok, lineageGuest)
	}
	if err := p.backup(failover.StatusRunning, failover.RestorePoint{}); rejection(err) != failover.CodeGuestBusy {
		t.Errorf("a second one: %v, want %s", err, failover.CodeGuestBusy)
	}
	other := point
	other.Volid = "pbs-away-moulin:backup/vm/4711/2026-03-02T03:00:00Z"
	if err := p.backup(failover.StatusDone, other); rejection(err) != failover.CodeInvalid {
		t.Errorf("a backup of another group: %v, want %s", err, failover.CodeInvalid)
	}
	if err := p.backup(failover.StatusDone, point); err != nil {
		t.Fatal(err)
	}
	if l, _ := p.s.LineageNow(lineageGuest); l.Backups.Newest != point || l.Backups.Running() {
		t.Errorf("the lineage has %+v, want %s", l.Backups, point.Volid)
	}
	if err := p.apply(failover.AwayBackup{Guest: "erp-quai", Epoch: p.s.Guests["erp-quai"].Epoch, To: failover.StatusRunning}); rejection(err) != failover.CodeNothing {
		t.Errorf("a guest at home: %v, want %s", err, failover.CodeNothing)
	}
}

// TestAwayBackupIsDue: at once, then as often as at home, and later after failures.
func TestAwayBackupIsDue(t *testing.T) {
	p := livingAway(t)
	due := func() (bool, time.Duration) {
		_, ok, next := p.s.AwayDue("quai", p.now)
		return ok, next.Sub(p.now)
	}
	if ok, _ := due(); !ok {
		t.Error("a guest that was never backed up here is not due")
	}
	if _, ok, _ := p.s.AwayDue("fabrique", p.now); ok {
		t.Error("it is due at a site where it does not live")
	}
	p.replicas(restorePoint(lineageGuest, p.now.Add(-time.Hour), gib), restorePoint(lineageGuest, p.now.Add(-7*time.Hour), gib))
	for _, step := range []struct {
		to   failover.StepStatus
		want time.Duration
	}{
		{failover.StatusDone, 6 * time.Hour}, // the distance of the two backups of home
		{failover.StatusFailed, 6 * time.Hour},
	} {
		if err := p.backup(failover.StatusRunning, failover.RestorePoint{}); err != nil {
			t.Fatal(err)
		}
		if err := p.backup(step.to, p.saved(p.now)); err != nil {
			t.Fatal(err)
		}
		if ok, in := due(); ok || in != step.want {
			t.Errorf("after one that is %s: due %t, in %s, want in %s", step.to, ok, in, step.want)
		}
	}
	p.now = p.now.Add(6 * time.Hour)
	for n, want := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
		if err := p.backup(failover.StatusRunning, failover.RestorePoint{}); err != nil {
			t.Fatal(err)
		}
		if err := p.backup(failover.StatusFailed, failover.RestorePoint{}); err != nil {
			t.Fatal(err)
		}
		if ok, in := due(); ok || in != want {
			t.Errorf("after failure %d: due %t, in %s, want in %s", n+2, ok, in, want)
		}
		p.now = p.now.Add(want)
	}
}

// TestAwayEvery: as declared, as at home, within its bounds, and so that max_loss holds.
func TestAwayEvery(t *testing.T) {
	for _, tt := range []struct {
		name     string
		declared string
		home     []time.Duration // age of the backups of home
		want     time.Duration
	}{
		{"nothing is known", "", nil, 24 * time.Hour},
		{"as at home", "", []time.Duration{0, 4 * time.Hour, 8 * time.Hour}, 4 * time.Hour},
		{"one was left out", "", []time.Duration{0, 8 * time.Hour, 12 * time.Hour}, 4 * time.Hour},
		{"made by hand in between", "", []time.Duration{0, time.Minute}, time.Hour},
		{"seldom", "", []time.Duration{0, 200 * time.Hour}, 24 * time.Hour},
		{"max_loss", "max_loss=6h", nil, 3 * time.Hour},
	} {
		p := livingAway(t)
		if tt.declared != "" {
			p.declare([]string{string(lineageGuest) + "." + tt.declared})
		}
		var points []failover.RestorePoint
		for _, age := range tt.home {
			points = append(points, restorePoint(lineageGuest, p.now.Add(-age), gib))
		}
		for site := range p.s.Readiness {
			r := p.s.Readiness[site].Ready
			r.Points = map[failover.GuestID][]failover.RestorePoint{lineageGuest: points}
			p.must(failover.ReportReadiness{Ready: r})
		}
		if got := p.s.AwayEvery(lineageGuest); got != tt.want {
			t.Errorf("%s: every %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestSecondFailover: the site where a guest lives away is lost, too. What is left decides:
// a replica of what was written there, or only what was written before it moved.
func TestSecondFailover(t *testing.T) {
	loss := failover.Loss{Site: "quai"}
	byHand := failover.Loss{Site: "quai", ByHand: true}
	p := livingAway(t)
	home := restorePoint(lineageGuest, p.now.Add(-3*time.Hour), gib)
	left := func(plan failover.Plan) failover.Reason {
		for _, out := range plan.LeftOut {
			if out.Guest == lineageGuest {
				return out.Reason
			}
		}
		return failover.Reason{}
	}
	placed := func(plan failover.Plan) failover.Assignment {
		i := slices.IndexFunc(plan.Assignments, func(a failover.Assignment) bool { return a.Guest == lineageGuest })
		if i < 0 {
			return failover.Assignment{}
		}
		return plan.Assignments[i]
	}

	p.replicas(home)
	p.settle()
	plan := failover.PlanFor(p.s, loss, p.now)
	if r := left(plan); r.Code != failover.CodeAwayThere || r.Args["age"] != "3h0m0s" {
		t.Errorf("only the replica of home is left: left out for %+v, want %s with a loss of 3h", r, failover.CodeAwayThere)
	}
	a := placed(failover.PlanFor(p.s, byHand, p.now))
	if a.Point.Volid != home.Volid || a.Loss != 3*time.Hour || !slices.ContainsFunc(a.Why, func(r failover.Reason) bool { return r.Code == failover.CodeAwayThere }) {
		t.Errorf("by hand: %+v, want %s with its loss and the reason", a, home.Volid)
	}
	older := a
	older.Automatic = true
	begin := failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Plan: failover.Plan{Loss: loss, Assignments: []failover.Assignment{older}}}
	if err := p.apply(begin); rejection(err) != failover.CodeAwayThere {
		t.Errorf("the log takes an automatic failover to it: %v, want %s", err, failover.CodeAwayThere)
	}

	replica := p.saved(p.now.Add(-10 * time.Minute))
	bad := p.saved(p.now.Add(-5 * time.Minute))
	bad.Unusable = "backup broken"
	p.replicas(bad, replica, home)
	p.settle()
	a = placed(failover.PlanFor(p.s, loss, p.now))
	if a.Point.Volid != replica.Volid || a.Target != "fabrique" || a.Loss != 10*time.Minute {
		t.Errorf("with a replica: %+v, want %s at fabrique", a, replica.Volid)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Forced: true, Plan: failover.Plan{Loss: loss, Assignments: []failover.Assignment{a}}})
	p.done(lineageGuest, failover.StepStart)
	all := p.s.LineagesOf(lineageGuest)
	if last := all[len(all)-1]; len(all) != 3 || last.Site != "fabrique" || last.Of != all[1].ID() || last.Base.Volid != replica.Volid {
		t.Errorf("lineages %+v, want a third one at fabrique, of the second", all)
	}
}

// TestOlderLineageIsNoSecondChoice: when a replica turns out bad, automation does not fall
// back behind the guest's move; a person's operation may.
func TestOlderLineageIsNoSecondChoice(t *testing.T) {
	for _, hand := range []bool{false, true} {
		p := livingAway(t)
		replica, home := p.saved(p.now.Add(-10*time.Minute)), restorePoint(lineageGuest, p.now.Add(-3*time.Hour), gib)
		p.replicas(replica, home)
		p.settle()
		plan := failover.PlanFor(p.s, failover.Loss{Site: "quai", ByHand: hand, Guests: []failover.GuestID{lineageGuest}}, p.now)
		p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Plan: plan, Forced: true})
		p.done(lineageGuest, failover.StepRestore)
		token := p.opOf(lineageGuest).TokenOf(lineageGuest)
		p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
		p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusFailed, Failure: failover.FailPoint})
		d := failover.Decide(p.s, p.now)
		retarget, ok := d.Commands[0].(failover.Retarget)
		if ok != hand || hand && retarget.Assignment.Point.Volid != home.Volid {
			t.Errorf("by hand %t: decides %+v", hand, d.Commands[0])
		}
	}
}

// TestPausedHomeHoldsAwayGuests: the pause of its home holds a guest that lives elsewhere when
// that site is lost, and this is told.
func TestPausedHomeHoldsAwayGuests(t *testing.T) {
	p := livingAway(t)
	p.replicas(p.saved(p.now.Add(-10 * time.Minute)))
	p.must(failover.SetPause{Site: "moulin", Reason: "works"})
	for range 20 {
		p.now = p.now.Add(time.Minute)
		p.dark(20*time.Minute, "quai")
		p.settle()
	}
	if p.s.Guests[lineageGuest].Owner != "quai" {
		t.Fatalf("it was given to %s although its home is paused", p.s.Guests[lineageGuest].Owner)
	}
	why := failover.Decide(p.s, p.now).Why
	if !slices.ContainsFunc(why, func(r failover.Reason) bool {
		return r.Code == failover.CodePaused && r.Args["site"] == "moulin" && r.Args["reason"] == "works"
	}) {
		t.Errorf("decided for %+v, want the pause of moulin among it", why)
	}
	p.must(failover.EndPause{Site: "moulin"})
	p.settle()
	if op := p.opOf(lineageGuest); op.Committed.Index == 0 {
		t.Errorf("after the pause: %+v, want that it is committed", op)
	}
}
