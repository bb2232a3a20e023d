package failover_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// rejection returns the code of a refusal, "" for none.
func rejection(err error) string {
	if r, ok := errors.AsType[*failover.RejectedError](err); ok {
		return r.Reason.Code
	}
	return ""
}

func TestEpochOrder(t *testing.T) {
	ascending := []failover.Epoch{{}, {Generation: 1, Index: 2}, {Generation: 1, Index: 18204}, {Generation: 2, Index: 1}, {Generation: 2, Index: 18204}}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := a.Less(b), i < j; got != want {
				t.Errorf("%s < %s is %v, want %v", a, b, got, want)
			}
		}
	}
	if got := ascending[4].String(); got != "2-18204" {
		t.Errorf("String() = %q, want 2-18204", got)
	}
}

func TestLevelText(t *testing.T) {
	for l := failover.LevelNone; l <= failover.LevelCommit; l++ {
		text, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back failover.Level
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Errorf("%d is written %q and read as %d, %v", int(l), text, int(back), err)
		}
	}
	var l failover.Level
	for _, bad := range []string{"", "Suspect", "level(9)"} {
		if err := l.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as %s", bad, l)
		}
	}
	if got := failover.Level(9).String(); got != "level(9)" {
		t.Errorf("String() of an unknown level = %q", got)
	}
}

// TestEventsAreBounded: the ring forgets the oldest, never the newest.
func TestEventsAreBounded(t *testing.T) {
	s := failover.NewState()
	const n = failover.MaxEvents + 500
	for i := range n {
		c := failover.SetPause{Reason: fmt.Sprint(i)}
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), At: start}, c); err != nil {
			t.Fatal(err)
		}
		if len(s.Events) > failover.MaxEvents {
			t.Fatalf("%d events after %d entries, want at most %d", len(s.Events), i+1, failover.MaxEvents)
		}
	}
	for i, e := range s.Events {
		if want := uint64(n - len(s.Events) + i + 1); e.Stamp.Index != want {
			t.Fatalf("event %d is of entry %d, want %d: the newest in order", i, e.Stamp.Index, want)
		}
	}
	if least := failover.MaxEvents / 2; len(s.Events) < least {
		t.Errorf("%d events are kept, want %d or more", len(s.Events), least)
	}
}

// TestSeenIDsAreBounded: recent proposals are known, old ones forgotten.
func TestSeenIDsAreBounded(t *testing.T) {
	s := failover.NewState()
	for i := range failover.MaxSeen + 10 {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), At: start, ID: fmt.Sprint(i)}, failover.SetPause{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.Seen) != failover.MaxSeen || s.Seen[0].ID != "10" {
		t.Errorf("%d ids are known from %q, want %d from 10", len(s.Seen), s.Seen[0].ID, failover.MaxSeen)
	}
	events := len(s.Events)
	if err := s.Apply(failover.Stamp{Index: 5000, At: start, ID: "1000"}, failover.EndPause{}); err != nil || len(s.Events) != events {
		t.Errorf("a repeated proposal was applied again: %v, %d new events", err, len(s.Events)-events)
	}
}

func TestClockNeverRunsBack(t *testing.T) {
	s := failover.NewState()
	for i, at := range []time.Time{start, start.Add(-time.Hour), start.Add(time.Second), start} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), At: at}, failover.SetPause{For: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	if want := start.Add(time.Second); !s.Clock.Equal(want) {
		t.Errorf("clock is %s, want %s", s.Clock, want)
	}
	if want := start.Add(61 * time.Second); !s.Pauses[""].Until.Equal(want) {
		t.Errorf("the last pause ends %s, want %s: counted from the log's clock", s.Pauses[""].Until, want)
	}
}

// forced begins an operation of one guest by hand and cancels it before
// anything was done, so that it ends at once.
func forced(t *testing.T, l *log, end bool) (failover.Operation, error) {
	t.Helper()
	plan := failover.PlanFor(l.s, failover.Loss{Site: "moulin", Guests: []failover.GuestID{"nextcloud-moulin"}, Target: "quai", ByHand: true}, l.now)
	if len(plan.Assignments) == 0 {
		return failover.Operation{}, fmt.Errorf("left out: %s", plan.LeftOut[0].Reason.Code)
	}
	next := l.s.Clone() // without the harness: this is done hundreds of times
	apply := func(c failover.Command) error {
		return next.Apply(failover.Stamp{Index: next.Index + 1, Term: 1, At: l.now}, c)
	}
	if err := apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true}); err != nil {
		return failover.Operation{}, err
	}
	op := next.Ops[failover.OpID(fmt.Sprintf("op-%d", next.Index))]
	if end {
		for _, c := range []failover.Command{failover.CancelOp{Op: op.ID}, failover.EndOp{Op: op.ID}} {
			if err := apply(c); err != nil {
				return op, err
			}
		}
	}
	l.s, l.snapshot = next, ""
	return op, nil
}

// TestIDsGoRound: an id comes again only after the whole range, and not while
// something may stand under it.
func TestIDsGoRound(t *testing.T) {
	p := newPlay(t)
	p.network([]string{"five", "quai.ids=90000-90004"})
	p.capacity([]string{"quai", "used=90002"})
	var got []int
	for range 9 {
		op, err := forced(t, &p.log, true)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, op.Guests["nextcloud-moulin"].VMID)
	}
	if want := []int{90000, 90001, 90003, 90004, 90000, 90001, 90003, 90004, 90000}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ids %v, want %v", got, want)
	}
}

// TestNoFreeID: with every id taken a guest is left out with that reason, and a
// plan of another mind is refused.
func TestNoFreeID(t *testing.T) {
	p := newPlay(t)
	p.network([]string{"five", "quai.ids=90000-90001"})
	plan := failover.PlanFor(p.s, failover.Loss{Site: "moulin", Target: "quai", ByHand: true}, p.now)
	if len(plan.Assignments) != 2 {
		t.Fatalf("%d guests are placed, want 2 for as many ids", len(plan.Assignments))
	}
	p.capacity([]string{"quai", "used=90000,90001"})
	if _, err := forced(t, &p.log, false); err == nil || err.Error() != "left out: "+failover.CodeNoFreeID {
		t.Errorf("plan: %v, want %s", err, failover.CodeNoFreeID)
	}
	c := failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true}
	if got := rejection(p.apply(c)); got != failover.CodeNoFreeID {
		t.Errorf("Apply: code %q, want %q", got, failover.CodeNoFreeID)
	}
}

// TestOldOperationsAreForgotten: the newest hundred ended ones are kept, and
// every one that still runs.
func TestOldOperationsAreForgotten(t *testing.T) {
	l := moulinReady(t)
	first, err := forced(t, l, true)
	if err != nil {
		t.Fatal(err)
	}
	var last failover.Operation
	for range failover.MaxEndedOps + 20 {
		if last, err = forced(t, l, true); err != nil {
			t.Fatal(err)
		}
	}
	running, err := forced(t, l, false)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(l.s.Ops); n > failover.MaxEndedOps+1 {
		t.Errorf("%d operations are kept, want at most %d", n, failover.MaxEndedOps+1)
	}
	for id, want := range map[failover.OpID]bool{first.ID: false, last.ID: true, running.ID: true} {
		if _, ok := l.s.Ops[id]; ok != want {
			t.Errorf("%s is kept: %v, want %v", id, ok, want)
		}
	}
}

func TestRejectedErrorText(t *testing.T) {
	err := &failover.RejectedError{Reason: failover.Reason{Code: "WWW-2003", Args: map[string]string{"op": "op-1", "a": "b"}}}
	if got, want := err.Error(), "rejected: WWW-2003 a=b op=op-1"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

// TestNewAttemptForgetsTheTask: an executor that looks at the task of an attempt
// that failed would take its failure for the new one's.
func TestNewAttemptForgetsTheTask(t *testing.T) {
	l := moulinReady(t)
	l.dark(time.Minute, "moulin")
	l.settle()
	const g = failover.GuestID("nextcloud-moulin")
	op := l.s.Guests[g].Op
	move := func(to failover.StepStatus, attempt int, change func(m *failover.StepMoved)) failover.Step {
		t.Helper()
		m := failover.StepMoved{Token: l.s.Ops[op].TokenOf(g), Attempt: attempt, To: to}
		change(&m)
		l.must(m)
		step, _, _ := l.s.Ops[op].Guests[g].Current()
		return step
	}
	nothing := func(*failover.StepMoved) {}
	move(failover.StatusRunning, 1, nothing)
	if step := move(failover.StatusRunning, 1, func(m *failover.StepMoved) { m.UPID, m.Bytes = "UPID:1", 50 }); step.UPID != "UPID:1" {
		t.Errorf("task %q, want UPID:1", step.UPID)
	}
	if step := move(failover.StatusRunning, 1, func(m *failover.StepMoved) { m.Bytes = 40 }); step.UPID != "UPID:1" || step.Bytes != 50 {
		t.Errorf("task %q and %d bytes after a late report, want UPID:1 and 50", step.UPID, step.Bytes)
	}
	move(failover.StatusFailed, 1, func(m *failover.StepMoved) { m.Failure = failover.FailTransient })
	l.settle() // it may run again
	step := move(failover.StatusRunning, 2, nothing)
	if step.UPID != "" || step.Bytes != 0 || step.Ended.Index != 0 || step.Failure != "" {
		t.Errorf("the second attempt begins with task %q, %d bytes, failure %q, ended at %d", step.UPID, step.Bytes, step.Failure, step.Ended.Index)
	}
}
