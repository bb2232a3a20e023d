package failover_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const warmGuest = failover.GuestID("nextcloud-moulin")

// warmNet is the five sites with one warm guest, whose replicas lie at quai.
type warmNet struct {
	*log
	points []failover.RestorePoint
	used   []int
	free   int64
}

func newWarmNet(t *testing.T, words ...string) *warmNet {
	spec := fiveSites()
	for _, w := range append([]string{"nextcloud-moulin.standby=warm"}, words...) {
		if err := tweak(&spec, w); err != nil {
			t.Fatal(err)
		}
	}
	n := &warmNet{log: newLog(t), free: 200 * gib}
	n.boot(spec.WithDefaults())
	n.point(start.Add(-time.Hour))
	n.dark(0)
	return n
}

// point lets a replica of the guest arrive and be verified.
func (n *warmNet) point(at time.Time) {
	n.points = append([]failover.RestorePoint{restorePoint(warmGuest, at, 10*gib)}, n.points...)
	n.ready(nil)
}

// ready has quai say what it has; started are warm copies that somebody has started.
func (n *warmNet) ready(started []int) {
	n.t.Helper()
	used := append(slices.Clone(n.used), n.s.WarmIDs("quai")...)
	n.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: "quai", Host: "raoull-quai", MemoryFree: 64 * gib, StorageFree: n.free, UsedIDs: used, Started: started, AsOf: n.s.Index,
		Points: map[failover.GuestID][]failover.RestorePoint{warmGuest: slices.Clone(n.points), "compta-moulin": {restorePoint("compta-moulin", start.Add(-time.Hour), 20*gib)}},
	}})
}

// later lets time go by, in which every agent reports that all is well.
func (n *warmNet) later(d time.Duration) {
	n.now = n.now.Add(d)
	n.dark(0)
}

// fail fails the guest's site over as a person would, and lets the leader decide.
func (n *warmNet) fail() failover.Operation {
	n.t.Helper()
	plan := failover.PlanFor(n.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{warmGuest}, ByHand: true}, n.now)
	n.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true})
	n.settle()
	return n.moves()
}

func (n *warmNet) moves() failover.Operation {
	for _, op := range n.s.Ops {
		if op.Kind == failover.KindFailover {
			return op
		}
	}
	return failover.Operation{}
}

// step has quai do the step that it may do next in an operation of a kind, and
// says which that was.
func (n *warmNet) step(kind failover.OpKind, end failover.StepMoved) failover.StepID {
	n.t.Helper()
	for _, tok := range failover.Runnable(n.s, "quai", n.now) {
		if n.s.Ops[tok.Op].Kind != kind {
			continue
		}
		step, _, _ := n.s.Ops[tok.Op].Guests[tok.Guest].Current()
		if step.Status == failover.StatusPending {
			n.must(failover.StepMoved{Token: tok, Attempt: step.Attempt + 1, To: failover.StatusRunning})
			step.Attempt++
		}
		end.Token, end.Attempt = tok, step.Attempt
		if end.To == "" {
			end.To = failover.StatusDone
		}
		n.must(end)
		n.settle()
		return tok.Step
	}
	return ""
}

// fill has quai restore the copy that is wanted.
func (n *warmNet) fill() failover.WarmCopy {
	n.t.Helper()
	n.settle()
	if got := n.step(failover.KindWarm, failover.StepMoved{UPID: "UPID", Bytes: 9 * gib, Total: 9 * gib}); got != failover.StepRestore {
		n.t.Fatalf("quai did %q, want the restore of a warm copy", got)
	}
	copies := n.s.Warm[warmGuest].Copies
	return copies[len(copies)-1]
}

func (n *warmNet) why() failover.Reason {
	for _, v := range failover.ExplainGuests(n.s, n.now) {
		if v.Guest == warmGuest {
			return v.WarmWhy
		}
	}
	return failover.Reason{}
}

func (n *warmNet) assigned() failover.Assignment {
	n.t.Helper()
	plan := failover.PlanFor(n.s, failover.Loss{Site: "moulin"}, n.now)
	i := slices.IndexFunc(plan.Assignments, func(a failover.Assignment) bool { return a.Guest == warmGuest })
	if i < 0 {
		n.t.Fatalf("the plan leaves %s out: %+v", warmGuest, plan.LeftOut)
	}
	return plan.Assignments[i]
}

func codesOf(rs []failover.Reason) (out []string) {
	for _, r := range rs {
		out = append(out, r.Code)
	}
	return out
}

func TestWarmCopyServesWithoutARestore(t *testing.T) {
	n := newWarmNet(t)
	c := n.fill()
	if c.State != failover.WarmReady || c.Site != "quai" || c.VMID != 90999 {
		t.Fatalf("the copy is %+v, want it ready at quai under the last id", c)
	}
	if r := n.why(); !r.IsZero() {
		t.Errorf("behind for %+v, want nothing", r)
	}
	a := n.assigned()
	if a.Warm != c.Of || !slices.Contains(codesOf(a.Why), failover.CodeWarmUsed) {
		t.Fatalf("assignment %+v, want the warm copy of %s", a, c.Of)
	}
	op := n.fail()
	if id := op.Guests[warmGuest].VMID; id != c.VMID {
		t.Fatalf("the run has id %d, want that of the copy %d", id, c.VMID)
	}
	for _, want := range []failover.StepID{failover.StepProtect, failover.StepRestore, failover.StepStart, failover.StepCheck, failover.StepRelease} {
		if got := n.step(failover.KindFailover, failover.StepMoved{}); got != want {
			t.Fatalf("step %q, want %q", got, want)
		}
	}
	if p := n.s.Guests[warmGuest]; p.Serving != "quai" || p.VMID != c.VMID {
		t.Errorf("placement %+v, want it served by quai as %d", p, c.VMID)
	}
	if len(n.s.Warm[warmGuest].Copies) != 0 {
		t.Errorf("still known as warm: %+v", n.s.Warm)
	}
	if spent := n.s.WarmSpent["quai"]; spent.Total != 9*gib || spent.Waste != 0 || spent.Top != c.VMID {
		t.Errorf("counted %+v, want 9 GiB restored, nothing wasted", spent)
	}
}

func TestNewerReplicaReplacesACopyOnlyWhenComplete(t *testing.T) {
	n := newWarmNet(t)
	first := n.fill()
	n.later(time.Hour)
	n.point(n.now.Add(-time.Minute))
	n.settle()
	if copies := n.s.Warm[warmGuest].Copies; len(copies) != 2 || copies[0].State != failover.WarmReady || copies[1].State != failover.WarmFilling {
		t.Fatalf("copies %+v, want the old one ready while the new one is restored", copies)
	}
	if r := n.why(); r.Code != failover.CodeWarmFilling {
		t.Errorf("behind for %+v, want it being restored", r)
	}
	n.fill()
	if got := n.step(failover.KindWarm, failover.StepMoved{}); got != failover.StepCleanup {
		t.Fatalf("quai did %q, want the removal of the old copy", got)
	}
	copies := n.s.Warm[warmGuest].Copies
	if len(copies) != 1 || copies[0].VMID == first.VMID || len(n.s.Ops) != 0 {
		t.Fatalf("copies %+v and operations %v, want the new copy alone", copies, n.s.Ops)
	}
	n.later(time.Hour)
	n.point(n.now.Add(-time.Minute))
	if third := n.fill(); third.VMID != first.VMID {
		t.Errorf("the third copy has id %d, want that of the first, %d", third.VMID, first.VMID)
	}
}

func TestWarmCopyThatIsTooOldIsNotUsed(t *testing.T) {
	for _, tc := range []struct {
		word string
		want string
	}{
		{"policy.warm_max_age=15m", failover.CodeWarmOld},
		{"policy.warm_max_age=2h", failover.CodeWarmUsed},
	} {
		n := newWarmNet(t, tc.word, "quai.window=03:00-03:30")
		n.fill()
		n.later(time.Hour)
		n.point(n.now.Add(-time.Minute))
		n.settle()
		if r := n.why(); r.Code != failover.CodeWarmWindow {
			t.Errorf("behind for %+v, want the window", r)
		}
		a := n.assigned()
		if !slices.Contains(codesOf(a.Why), tc.want) || (a.Warm != "") != (tc.want == failover.CodeWarmUsed) {
			t.Errorf("%s: assignment from %q because %v, want %s", tc.word, a.Warm, codesOf(a.Why), tc.want)
		}
	}
}

func TestWarmCopyStandsInForReplicasThatAreGone(t *testing.T) {
	n := newWarmNet(t)
	c := n.fill()
	n.points = nil
	n.ready(nil)
	if a := n.assigned(); a.Warm != c.Of {
		t.Errorf("assignment %+v, want the copy although no replica is left", a)
	}
}

func TestRestoreOfAWarmCopyGivesWay(t *testing.T) {
	n := newWarmNet(t)
	n.settle()
	tok := failover.Runnable(n.s, "quai", n.now)[0]
	n.must(failover.StepMoved{Token: tok, Attempt: 1, To: failover.StatusRunning})
	n.fail()
	if c := n.s.Warm[warmGuest].Copies; len(c) != 1 || c[0].State != failover.WarmLeaving {
		t.Fatalf("copies %+v, want the one that was restored to leave", c)
	}
	if got := n.step(failover.KindWarm, failover.StepMoved{}); got != failover.StepCleanup {
		t.Fatalf("quai did %q, want the cleanup", got)
	}
	if n.s.WarmSpent["quai"].Waste == 0 || len(n.s.Warm[warmGuest].Copies) != 0 {
		t.Errorf("spent %+v, copies %+v, want the bytes counted as wasted and no copy", n.s.WarmSpent, n.s.Warm)
	}
}

func TestRoomOfAWarmCopyGoesToOperations(t *testing.T) {
	n := newWarmNet(t)
	n.fill()
	n.free = 15 * gib
	n.ready(nil)
	plan := failover.PlanFor(n.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{"compta-moulin"}, ByHand: true}, n.now)
	if len(plan.Assignments) != 1 {
		t.Fatalf("plan %+v, want the guest to have the room of the warm copy", plan)
	}
	n.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true})
	n.settle()
	n.step(failover.KindFailover, failover.StepMoved{})
	if got := n.step(failover.KindFailover, failover.StepMoved{}); got != "" {
		t.Fatalf("quai did %q, want it to wait for the room", got)
	}
	if got := n.step(failover.KindWarm, failover.StepMoved{}); got != failover.StepCleanup {
		t.Fatalf("quai did %q, want the warm copy removed", got)
	}
	if got := n.step(failover.KindFailover, failover.StepMoved{}); got != failover.StepRestore {
		t.Errorf("quai did %q, want the restore", got)
	}
}

func TestWarmCopyThatSomebodyStartedIsTheirs(t *testing.T) {
	n := newWarmNet(t)
	c := n.fill()
	n.used = []int{c.VMID}
	n.ready([]int{c.VMID})
	n.settle()
	copies := n.s.Warm[warmGuest].Copies
	if len(copies) != 2 || copies[0].State != failover.WarmKept || copies[1].State != failover.WarmFilling {
		t.Fatalf("copies %+v, want the started one kept and another restored", copies)
	}
	if a := n.assigned(); a.Warm != "" {
		t.Errorf("the plan uses %q, which somebody has started", a.Warm)
	}
	st := failover.Explain(n.s, failover.LocalView{Site: "quai", HasLeader: true}, n.now)
	if !slices.Contains(codesOf(st.Todo), failover.CodeWarmKept) {
		t.Errorf("to do: %v, want the copy named", st.Todo)
	}
	if err := n.apply(failover.DropWarm{Guest: warmGuest, Of: c.Of}); err == nil {
		t.Error("a kept copy can be dropped")
	}
	n.used = nil // they delete it
	n.ready(nil)
	if copies := n.s.Warm[warmGuest].Copies; len(copies) != 1 {
		t.Errorf("copies %+v, want the deleted one forgotten", copies)
	}
}

func TestRunWhoseWarmCopyWasStartedIsRestored(t *testing.T) {
	n := newWarmNet(t)
	c := n.fill()
	n.fail()
	n.step(failover.KindFailover, failover.StepMoved{})
	n.step(failover.KindFailover, failover.StepMoved{To: failover.StatusFailed, Failure: failover.FailStarted, Note: "guest 90999 runs"})
	run := n.moves().Guests[warmGuest]
	if run.Assignment.Warm != "" || run.VMID == c.VMID || run.State != failover.RunActive || run.Assignment.Target != "quai" {
		t.Fatalf("the run is %+v, want it to restore at quai under another id", run)
	}
	if w := n.s.Warm[warmGuest].Copies[0]; w.State != failover.WarmKept {
		t.Errorf("the copy is %+v, want it kept", w)
	}
	for range 20 {
		if n.step(failover.KindTidy, failover.StepMoved{}) == "" && n.step(failover.KindFailover, failover.StepMoved{}) == "" {
			break
		}
	}
	if p := n.s.Guests[warmGuest]; p.Serving != "quai" || p.VMID == c.VMID {
		t.Errorf("placement %+v, want it served by the restored copy", p)
	}
}

func TestCancelledCountdownLeavesTheWarmCopy(t *testing.T) {
	n := newWarmNet(t)
	c := n.fill()
	for d := time.Duration(0); n.moves().ID == ""; d += 5 * time.Second {
		if d > time.Minute {
			t.Fatal("no preparation after a minute")
		}
		n.now = n.now.Add(5 * time.Second)
		n.dark(d, "moulin")
		n.settle()
	}
	n.step(failover.KindFailover, failover.StepMoved{})
	n.step(failover.KindFailover, failover.StepMoved{})
	n.must(failover.CancelOp{Op: n.moves().ID, Reason: failover.Reason{Code: failover.CodeBack}})
	n.later(time.Hour)
	for range 5 {
		n.step(failover.KindFailover, failover.StepMoved{})
	}
	if op := n.moves(); !op.Phase.Ended() {
		t.Fatalf("the operation is %s, want it ended", op.Phase)
	}
	if copies := n.s.Warm[warmGuest].Copies; len(copies) != 1 || copies[0].Of != c.Of || copies[0].State != failover.WarmReady {
		t.Errorf("copies %+v, want the copy as it stood", copies)
	}
}

func TestWarmCopiesKeepWithinTheirBudget(t *testing.T) {
	n := newWarmNet(t, "quai.budget=15GiB")
	n.fill()
	n.later(time.Hour)
	n.point(n.now.Add(-time.Minute))
	n.settle()
	if r := n.why(); r.Code != failover.CodeWarmBudget {
		t.Errorf("behind for %+v, want the budget", r)
	}
	n.later(23*time.Hour + time.Minute)
	n.settle()
	if r := n.why(); r.Code != failover.CodeWarmFilling {
		t.Errorf("behind for %+v a day later, want it being restored", r)
	}
}

func TestWarmCopyNeedsAVerifiedReplicaAndRoom(t *testing.T) {
	n := newWarmNet(t)
	n.points[0].Verified = false
	n.ready(nil)
	n.settle()
	if r := n.why(); r.Code != failover.CodeWarmUnverified || len(failover.WarmToVerify(n.s, "quai")) != 1 {
		t.Errorf("behind for %+v, to verify %v, want one to be verified", r, failover.WarmToVerify(n.s, "quai"))
	}
	n.points[0].Verified = true
	n.free = 19 * gib
	n.ready(nil)
	n.settle()
	if r := n.why(); r.Code != failover.CodeWarmNoRoom || len(n.s.Ops) != 0 {
		t.Errorf("behind for %+v, want no room", r)
	}
}

func TestFailedWarmCopyIsTriedLater(t *testing.T) {
	n := newWarmNet(t)
	n.settle()
	n.step(failover.KindWarm, failover.StepMoved{To: failover.StatusFailed, Failure: failover.FailTarget, Note: "storage full"})
	n.step(failover.KindWarm, failover.StepMoved{})
	if r := n.why(); r.Code != failover.CodeWarmFailed || !strings.Contains(r.Args["note"], "storage full") || len(n.s.Ops) != 0 {
		t.Fatalf("behind for %+v with operations %v, want the failure", r, n.s.Ops)
	}
	n.later(16 * time.Minute)
	n.fill()
	if r := n.why(); !r.IsZero() {
		t.Errorf("behind for %+v, want nothing", r)
	}
}

func TestNothingIsRestoredAheadWhileAnythingIsSuspected(t *testing.T) {
	n := newWarmNet(t)
	n.now = n.now.Add(20 * time.Second)
	n.dark(20*time.Second, "fabrique")
	n.settle()
	if n.s.Domains["site:fabrique"].Level < failover.LevelSuspect || len(n.s.Ops) != 0 {
		t.Errorf("%d operations while fabrique is at level %s, want none while it is suspected", len(n.s.Ops), n.s.Domains["site:fabrique"].Level)
	}
}

func TestDeclarationDecidesOnWarmCopies(t *testing.T) {
	declare := func(n *warmNet, words ...string) error {
		spec := fiveSites()
		for _, w := range words {
			if err := tweak(&spec, w); err != nil {
				n.t.Fatal(err)
			}
		}
		return n.apply(failover.ApplyNetwork{Spec: spec.WithDefaults(), IfVersion: n.s.NetworkVersion})
	}
	t.Run("cold", func(t *testing.T) {
		n := newWarmNet(t)
		n.fill()
		if err := declare(n); err != nil {
			t.Fatal(err)
		}
		n.settle()
		if got := n.step(failover.KindWarm, failover.StepMoved{}); got != failover.StepCleanup || len(n.s.Warm) != 0 {
			t.Errorf("quai did %q, copies %v, want the copy removed", got, n.s.Warm)
		}
	})
	t.Run("vlan", func(t *testing.T) {
		n := newWarmNet(t)
		old := n.fill()
		if err := declare(n, "nextcloud-moulin.standby=warm", "le-moulin.vlan=125"); err != nil {
			t.Fatal(err)
		}
		if a := n.assigned(); a.Warm != "" {
			t.Errorf("the copy on vlan %d is used for vlan %d", old.VLAN, a.VLAN)
		}
		n.settle()
		n.step(failover.KindWarm, failover.StepMoved{})
		if c := n.fill(); c.VLAN != 125 {
			t.Errorf("copy %+v, want another on vlan 125", c)
		}
	})
	t.Run("gone", func(t *testing.T) {
		n := newWarmNet(t)
		n.fill()
		if err := declare(n, "nextcloud-moulin.gone=", "compta-moulin.gone="); err == nil {
			t.Error("a guest with a warm copy can be forgotten")
		}
	})
	t.Run("site gone", func(t *testing.T) {
		n := newWarmNet(t)
		n.settle() // its copy is being restored
		spec := fiveSites()
		delete(spec.Sites, "quai")
		for _, g := range []network.GuestID{"erp-quai", warmGuest, "compta-moulin"} {
			delete(spec.Guests, g)
		}
		delete(spec.Structures, "le-quai")
		n.must(failover.RemoveMember{Site: "quai"})
		if err := n.apply(failover.ApplyNetwork{Spec: spec.WithDefaults(), IfVersion: n.s.NetworkVersion}); err != nil {
			t.Fatalf("a site that is gone for good cannot be given up: %v", err)
		}
		if len(n.s.Warm) != 0 || len(n.s.Ops) != 0 || len(n.s.WarmSpent) != 0 {
			t.Errorf("copies %v, operations %v, spent %v, want nothing left", n.s.Warm, n.s.Ops, n.s.WarmSpent)
		}
	})
	t.Run("away", func(t *testing.T) {
		n := newWarmNet(t, "le-moulin.mode=never")
		n.settle()
		if len(n.s.Ops) != 0 {
			t.Errorf("operations %v for a structure that never moves", n.s.Ops)
		}
	})
}

func TestRebuiltGroupTouchesNoWarmCopy(t *testing.T) {
	n := newWarmNet(t)
	n.fill()
	s := n.s.Rebuilt(failover.SetMember{Site: "quai", ServerID: "server-quai", Voter: true}, "x", failover.Stamp{Index: n.s.Index + 10, Term: 9, At: n.now})
	if c := s.Warm[warmGuest].Copies[0]; c.State != failover.WarmKept {
		t.Errorf("the copy is %s, want it kept: the lost entries may have made it a guest that serves", c.State)
	}
}

// TestStructureSaysStandby: guests inherit it.
func TestStructureSaysStandby(t *testing.T) {
	spec := fiveSites()
	st := spec.Structures["le-moulin"]
	st.Standby = network.WarmStandby
	spec.Structures["le-moulin"] = st
	got := spec.WithDefaults()
	if !got.Warm("compta-moulin") || got.Warm("wiki-atelier") {
		t.Error("want the structure's guests warm and no others")
	}
}
