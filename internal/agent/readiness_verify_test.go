package agent_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestGoodVerificationsAreToldTogether: each round reads every listing of a PBS
// that is busy with verifying.
func TestGoodVerificationsAreToldTogether(t *testing.T) {
	r := newRigOf(t, "9.2.1", encrypted)
	r.must(failover.Bootstrap{Generation: 1})
	s := spec()
	second := s.Guests[guest]
	second.ID = 1102
	s.Guests["second"] = second
	r.must(failover.ApplyNetwork{Spec: s})
	snap := r.pbs.Snapshots("moulin")[0]
	snap.ID = "1102"
	if err := r.pbs.AddSnapshot(snap); err != nil {
		t.Fatal(err)
	}
	ready := r.readiness()
	ready.Every = 10 * time.Minute
	r.pass(ready, 10*time.Second)
	for _, level := range []failover.Level{failover.LevelSuspect, failover.LevelPrepareA} {
		r.must(failover.Assess{Domain: failover.SiteDomain(home), Cause: failover.CauseLost, Level: level})
		r.requests = nil
		r.pass(ready, 30*time.Second) // a change of State wakes it
	}
	if verified, rounds := r.count("POST", "/verify"), r.count("GET", "/snapshots"); verified != 2 || rounds != 1 {
		t.Errorf("%d verifications and %d rounds, want 2 and 1", verified, rounds)
	}
	for g, points := range r.log.state.Readiness[away].Ready.Points {
		if len(points) != 1 || !points[0].Verified {
			t.Errorf("points of %s %+v, want one, verified", g, points)
		}
	}
}
