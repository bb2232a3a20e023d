package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// A reader that is behind the log takes an operation's own protection of a
// restore point for a person's, and the next operation would leave it protected
// for ever (campaign seed 20).
func TestProtectionOfAnOperationIsNobodysWish(t *testing.T) {
	point := failover.RestorePoint{Volid: "pbs:backup/ct/1102/2026-03-02T03:00:05Z", Protected: true}
	run := failover.GuestRun{State: failover.RunActive, Assignment: failover.Assignment{
		Guest: "wiki", Target: "quai", Point: failover.RestorePoint{Volid: point.Volid},
	}}
	ended := func(index uint64) failover.Operation {
		return failover.Operation{Phase: failover.OpCancelled, Ended: failover.Stamp{Index: index}, Guests: map[failover.GuestID]failover.GuestRun{"wiki": run}}
	}
	with := func(change func(*failover.GuestRun), phase failover.OpPhase) failover.Operation {
		r := run
		change(&r)
		return failover.Operation{Phase: phase, Guests: map[failover.GuestID]failover.GuestRun{"wiki": r}}
	}
	for _, c := range []struct {
		name string
		op   failover.Operation
		want bool // it counts as a person's
	}{
		{"open", with(func(*failover.GuestRun) {}, failover.OpPreparing), false},
		{"ended after the reader's state", ended(41), false},
		{"ended before it", ended(40), true},
		{"stuck", with(func(r *failover.GuestRun) { r.State = failover.RunStuck }, failover.OpStuck), false},
		{"protected before the operation", with(func(r *failover.GuestRun) { r.Assignment.Point.Protected = true }, failover.OpPreparing), true},
		{"another target", with(func(r *failover.GuestRun) { r.Assignment.Target = "moulin" }, failover.OpPreparing), true},
		{"a target that was given up", with(func(r *failover.GuestRun) {
			r.Assignment.Target = "moulin"
			r.Tried = []failover.Tried{{Target: "quai", Volid: point.Volid}}
		}, failover.OpPreparing), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := failover.NewState()
			s.Network = fiveSitesDefault()
			s.Ops["op-7"] = c.op
			told := failover.Readiness{Site: "quai", AsOf: 40, Points: map[failover.GuestID][]failover.RestorePoint{"wiki": {point}}}
			if err := s.Apply(failover.Stamp{Index: 50}, failover.ReportReadiness{Ready: told}); err != nil {
				t.Fatal(err)
			}
			if got := s.Readiness["quai"].Ready.Points["wiki"][0].Protected; got != c.want {
				t.Errorf("protected by a person: %t, want %t", got, c.want)
			}
			if !told.Points["wiki"][0].Protected {
				t.Error("the command itself was changed")
			}
		})
	}
}
