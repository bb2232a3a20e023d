package agent_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

func (r *rig) readiness() *agent.Readiness {
	return &agent.Readiness{
		Site: away, Log: r.log, PVE: r.executor.PVE, PBS: r.executor.PBS, PBSNode: "pbs-quai", Every: 30 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// pass has a stepper take its steps for a time.
func (r *rig) pass(s agent.Stepper, d time.Duration) {
	next := r.now
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(500 * time.Millisecond) {
		r.log.now = r.now
		for !next.After(r.now) {
			if next = s.Step(r.t.Context(), r.now); next.Equal(r.now) {
				continue
			}
			break
		}
	}
}

func (r *rig) told() (n int) {
	for _, c := range r.log.made {
		if _, ok := c.(failover.ReportReadiness); ok {
			n++
		}
	}
	return n
}

func declared(t *testing.T) *rig {
	r := newRig(t)
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: spec()})
	return r
}

func TestReadinessTellsWhatCouldBeRestored(t *testing.T) {
	r := declared(t)
	r.pass(r.readiness(), 5*time.Second)
	ready := r.log.state.Readiness[away].Ready
	points := ready.Points[guest]
	if len(points) != 1 || points[0].Unusable != "" || points[0].Memory != 512<<20 || points[0].Namespace != "moulin" || points[0].Size == 0 {
		t.Fatalf("points %+v, want one usable of 512 MiB in moulin", points)
	}
	if ready.MemoryFree <= 0 || ready.StorageFree <= 0 || ready.Host != "pve-quai" {
		t.Errorf("readiness %+v, want memory, storage and host", ready)
	}
}

func TestReadinessTellsChangesOnly(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, 3*time.Minute)
	if n := r.told(); n != 1 {
		t.Fatalf("told %d times without a change, want once", n)
	}
	r.pass(s, 8*time.Minute)
	if n := r.told(); n != 2 {
		t.Errorf("told %d times in eleven minutes, want twice: it is refreshed every ten", n)
	}
	if err := r.pve.Backup(1101, "pbs-moulin", r.now); err != nil {
		t.Fatal(err)
	}
	r.pass(s, time.Minute)
	if n := len(r.log.state.Readiness[away].Ready.Points[guest]); n != 2 {
		t.Errorf("%d points after another backup, want 2", n)
	}
}

func TestFailedReadErasesNothing(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, time.Minute)
	if err := r.faults.Add(lab.Fault{Where: "pbs", Effect: lab.EffectStatus, Status: 500, Text: "got timeout"}); err != nil {
		t.Fatal(err)
	}
	r.pass(s, 20*time.Minute)
	if n := len(r.log.state.Readiness[away].Ready.Points[guest]); n != 1 {
		t.Errorf("%d points while the PBS fails, want the one that was known", n)
	}
	told := r.told()
	r.faults.Clear()
	r.pass(s, time.Minute)
	if r.told() == told {
		t.Error("nothing was told after the PBS was back")
	}
}

func TestUnusableArchivesAreSeenBefore(t *testing.T) {
	r := declared(t)
	if err := r.faults.Add(lab.Fault{Where: "pve", Effect: lab.EffectWrongKey, Times: 1}); err != nil {
		t.Fatal(err)
	}
	r.pass(r.readiness(), time.Minute)
	for _, p := range r.log.state.Readiness[away].Ready.Points[guest] {
		if p.Unusable == "" {
			t.Errorf("point %s is usable, and the key does not open it", p.Volid)
		}
	}
}

func TestSuspicionHurriesReadiness(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, 10*time.Second)
	before := len(r.requests)
	r.must(failover.Assess{Domain: failover.SiteDomain(home), Cause: failover.CauseLost, Level: failover.LevelSuspect})
	s.Step(t.Context(), r.now) // the change of State wakes it
	if len(r.requests) == before {
		t.Error("nothing was read at once when a site is suspected")
	}
}
