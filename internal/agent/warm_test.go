package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// warmID is what the last of the ids of the rig's target is: warm copies begin there.
const warmID = vmid + 9

// warmRig is a target that has a warm copy to restore.
func warmRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	s := spec()
	g := s.Guests[guest]
	g.Standby = network.WarmStandby
	s.Guests[guest] = g
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s})
	r.must(failover.BeginWarm{Assignment: r.assignment()})
	r.checked = func(string) error {
		if g, ok := r.pve.Guest(warmID); !ok || !g.Serving {
			return errors.New("connection refused")
		}
		return nil
	}
	return r
}

func (r *rig) assignment() failover.Assignment {
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	return failover.Assignment{
		Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120,
		Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + at.Format(time.RFC3339), Namespace: "moulin", Time: at, Size: 1 << 18},
	}
}

// fill has the copy restored.
func (r *rig) fill() failover.WarmCopy {
	r.t.Helper()
	r.until("nothing left")
	r.must(failover.EndOp{Op: r.op().ID})
	return r.copy()
}

func (r *rig) copy() failover.WarmCopy {
	r.t.Helper()
	copies := r.log.state.Warm[guest].Copies
	if len(copies) != 1 {
		r.t.Fatalf("copies %+v, want one", copies)
	}
	return copies[0]
}

// use begins a failover that counts on the copy.
func (r *rig) use(c failover.WarmCopy) {
	r.t.Helper()
	a := r.assignment()
	a.Warm, a.Automatic = c.Of, true
	r.must(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{a}},
	})
}

// ended steps until the step that the run was at is failed or nothing is left of its operation.
func (r *rig) ended() string {
	for range 400 {
		if r.op().ID == "" || strings.HasSuffix(r.status(), "failed") || r.status() == "nothing left" {
			break
		}
		r.step()
	}
	return r.status()
}

// byHand has somebody start the copy, and stop it again.
func (r *rig) byHand(stop bool) {
	r.t.Helper()
	r.later(time.Minute)
	if err := r.pve.StartGuest(warmID, r.now); err != nil {
		r.t.Fatal(err)
	}
	r.later(time.Minute)
	if stop {
		if err := r.pve.StopGuest(warmID, r.now); err != nil {
			r.t.Fatal(err)
		}
	}
	r.later(time.Minute)
}

func TestWarmCopyIsRestoredAndStartsOnlyAsTheGuest(t *testing.T) {
	r := warmRig(t)
	c := r.fill()
	g, ok := r.pve.Guest(warmID)
	m, marked := proxmox.ParseMarker(g.Config["description"])
	switch {
	case !ok || g.Running || g.Config["onboot"] != "0" || g.Nets[0].Tag != 120:
		t.Fatalf("copy exists=%t running=%t onboot=%q %+v, want it off on vlan 120", ok, g.Running, g.Config["onboot"], g.Nets)
	case !marked || m.Role != "standby" || m.Op != string(c.Of):
		t.Errorf("marker %+v, want a standby of %s", m, c.Of)
	case c.State != failover.WarmReady || c.VMID != warmID:
		t.Errorf("copy %+v, want it ready as %d", c, warmID)
	case r.count("PUT", "/protected") != 0:
		t.Error("a restore point was pinned for a warm copy")
	}
	r.use(c)
	r.until("nothing left")
	if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 {
		t.Errorf("%d restores and %d starts were posted, want one of each", n, m)
	}
	if p := r.log.state.Guests[guest]; p.Serving != away || p.VMID != warmID {
		t.Errorf("placement %+v, want it served as %d", p, warmID)
	}
	if s := r.pbs.Snapshots("moulin")[0]; s.Protected {
		t.Error("the restore point is still protected")
	}
}

func TestRestartedAgentRepeatsNothingOfAWarmCopy(t *testing.T) {
	for after := 0; after < 60; after += 2 {
		r := warmRig(t)
		used := false
		for n := 0; n < 600 && (!used || r.status() != "nothing left"); n++ {
			if n == after {
				r.restart()
			}
			if op := r.op(); op.Kind == failover.KindWarm && r.status() == "nothing left" {
				r.must(failover.EndOp{Op: op.ID})
			}
			if r.op().ID == "" {
				r.use(r.copy())
				used = true
			}
			r.step()
		}
		if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 || r.log.state.Guests[guest].Serving != away {
			t.Fatalf("after a restart at step %d: %d restores and %d starts, want one of each; %q %s", after, n, m, r.status(), r.note())
		}
	}
}

func TestWarmCopyWorksWithoutItsRestorePoint(t *testing.T) {
	r := warmRig(t)
	c := r.fill()
	if err := r.faults.Add(lab.Fault{Where: "pbs", Match: lab.Match{Method: "PUT"}, Effect: lab.EffectStatus, Status: 404, Text: "no such snapshot"}); err != nil {
		t.Fatal(err)
	}
	r.use(c)
	r.until("nothing left")
	if p := r.log.state.Guests[guest]; p.Serving != away {
		t.Errorf("placement %+v, want it served although the snapshot was pruned", p)
	}
}

// TestWarmCopyThatWasStartedIsNeitherUsedNorRemoved: S7, users may have written to it.
func TestWarmCopyThatWasStartedIsNeitherUsedNorRemoved(t *testing.T) {
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped=%t", stop), func(t *testing.T) {
			t.Run("use", func(t *testing.T) {
				r := warmRig(t)
				c := r.fill()
				r.byHand(stop)
				r.use(c)
				if at := r.ended(); at != "restore failed" || !strings.HasPrefix(r.note(), "started guest") {
					t.Fatalf("the run stands at %q, %q, want its restore failed since the copy was started", at, r.note())
				}
				if c := r.copy(); c.State != failover.WarmKept {
					t.Errorf("copy %+v, want it kept", c)
				}
			})
			t.Run("remove", func(t *testing.T) {
				r := warmRig(t)
				c := r.fill()
				r.byHand(stop)
				r.must(failover.DropWarm{Guest: guest, Of: c.Of})
				r.ended()
				if _, ok := r.pve.Guest(warmID); !ok || r.copy().State != failover.WarmKept || len(r.log.state.Ops) != 0 {
					t.Errorf("exists=%t, copy %+v, operations %v, want it kept", ok, r.copy(), r.log.state.Ops)
				}
				if n := r.count("DELETE", fmt.Sprint("/qemu/", warmID)); n != 0 {
					t.Errorf("%d deletions were sent", n)
				}
			})
		})
	}
}

func TestWarmCopyIsRemovedWhole(t *testing.T) {
	r := warmRig(t)
	c := r.fill()
	r.must(failover.DropWarm{Guest: guest, Of: c.Of})
	r.until("nothing left")
	r.must(failover.EndOp{Op: r.op().ID})
	if _, ok := r.pve.Guest(warmID); ok || len(r.log.state.Warm) != 0 {
		t.Errorf("exists=%t, known %v, want nothing left", ok, r.log.state.Warm)
	}
	if r.count("PUT", "/protected") != 0 {
		t.Error("the protection of a snapshot was touched, which may be a person's")
	}
}

func TestRestoreOfAWarmCopyThatGivesWayLeavesNothing(t *testing.T) {
	for after := 1; after < 40; after += 3 {
		r := warmRig(t)
		newRoot(r)
		for range after {
			r.step()
		}
		op := r.op()
		if r.status() == "nothing left" {
			break
		}
		r.must(failover.CancelOp{Op: op.ID, Reason: failover.Reason{Code: failover.CodeWarmYields}})
		r.until("nothing left")
		r.must(failover.EndOp{Op: op.ID})
		if _, ok := r.pve.Guest(warmID); ok || len(r.log.state.Warm) != 0 {
			t.Fatalf("after %d steps: exists=%t, known %v, want nothing left", after, ok, r.log.state.Warm)
		}
	}
}

func TestCancelledRunLeavesItsWarmCopy(t *testing.T) {
	r := warmRig(t)
	c := r.fill()
	a := r.assignment()
	a.Warm, a.Automatic = c.Of, true
	r.must(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home),
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{a}},
	})
	r.until("own pending")
	r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
	r.later(time.Hour)
	r.until("nothing left")
	r.must(failover.EndOp{Op: r.op().ID})
	if g, ok := r.pve.Guest(warmID); !ok || g.Running || r.copy().State != failover.WarmReady {
		t.Errorf("exists=%t running=%t, copy %+v, want it as it stood", ok, g.Running, r.copy())
	}
	if s := r.pbs.Snapshots("moulin")[0]; s.Protected {
		t.Error("the restore point is still protected")
	}
	r.must(failover.DropWarm{Guest: guest, Of: c.Of})
}

func TestWarmCopyThatIsGoneIsSaid(t *testing.T) {
	r := warmRig(t)
	c := r.fill()
	if err := r.pve.RemoveGuest(warmID, r.now); err != nil {
		t.Fatal(err)
	}
	r.use(c)
	if at := r.ended(); at != "restore failed" || !strings.HasPrefix(r.note(), "point warm copy") {
		t.Errorf("the run stands at %q, %q, want it to say that the copy is gone", at, r.note())
	}
	if len(r.log.state.Warm) != 0 {
		t.Errorf("known %v, want the copy forgotten", r.log.state.Warm)
	}
}

func TestReadinessTellsStartsOfWarmCopies(t *testing.T) {
	r := warmRig(t)
	r.fill()
	ready := r.readiness()
	r.pass(ready, time.Minute)
	if got := r.log.state.Readiness[away].Ready; len(got.Started) != 0 || !slices.Contains(got.UsedIDs, warmID) || r.copy().State != failover.WarmReady {
		t.Fatalf("started %v of %v, copy %s, want it there and not started", got.Started, got.UsedIDs, r.copy().State)
	}
	r.byHand(true)
	r.pass(ready, time.Minute)
	if r.copy().State != failover.WarmKept {
		t.Errorf("copy %+v, want it kept: somebody has started it", r.copy())
	}
}

// TestWarmCopiesWaitForTheVerificationOfTheirReplica: the agent asks for it, once. A sync that
// comes again brings the other PBS's note of its newest snapshot, and changes nothing of its content.
func TestWarmCopiesWaitForTheVerificationOfTheirReplica(t *testing.T) {
	r := newRig(t)
	s := spec()
	g := s.Guests[guest]
	g.Standby = network.WarmStandby
	s.Guests[guest] = g
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s})
	verified := func() bool { return r.log.state.Readiness[away].Ready.Points[guest][0].Verified }
	ready := r.readiness()
	job := lab.SyncJob{ID: "again", FromNS: "moulin", NS: "moulin", Owner: r.pbs.Snapshots("moulin")[0].Owner}
	other, err := lab.NewPBS(lab.PBSConfig{Node: "pbs-moulin", Datastore: "backups", Namespaces: []string{"moulin"}, Clock: func() time.Time { return r.now }})
	if err == nil {
		_, _, err = other.Sync(r.pbs, job, r.now)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.pass(ready, time.Minute)
	if n := r.count("POST", "/verify"); n != 1 || !verified() {
		t.Fatalf("%d verifications, verified=%t, want one that ended well", n, verified())
	}
	if _, _, err := r.pbs.Sync(other, job, r.now); err != nil {
		t.Fatal(err)
	}
	if r.pbs.Snapshots("moulin")[0].Verification != nil {
		t.Fatal("the sync has left the note of the verification")
	}
	r.pass(ready, 5*time.Minute)
	if n := r.count("POST", "/verify"); n != 1 || !verified() {
		t.Errorf("%d verifications, verified=%t after another sync, want the one to count", n, verified())
	}
}
