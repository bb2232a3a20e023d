package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// brokenRig is a live restore of the newer of two backups, a chunk of which turns out bad.
func brokenRig(t *testing.T) *rig {
	t.Helper()
	r := newRigOf(t, "9.2.1", func(c *lab.PVEConfig) { c.RestoreRate = 8 << 10 })
	older := r.now
	r.now = r.now.Add(time.Hour)
	r.log.now = r.now
	if err := r.pve.RemoveGuest(1101, r.now); err != nil {
		t.Fatal(err)
	}
	r.backup("an hour of work\n")
	s := spec()
	g := s.Guests[guest]
	g.LiveRestore = true
	s.Guests[guest] = g
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s.WithDefaults()})
	var points []failover.RestorePoint
	for _, at := range []time.Time{r.now, older} {
		volid := "pbs-moulin:backup/vm/1101/" + at.UTC().Format(time.RFC3339)
		points = append(points, failover.RestorePoint{Storage: "pbs-moulin", Volid: volid, Namespace: "moulin", Time: at, Size: 1 << 18})
	}
	r.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: away, Host: "pve-quai", MemoryFree: 1 << 40, StorageFree: 1 << 40, Points: map[failover.GuestID][]failover.RestorePoint{guest: points},
	}})
	if err := r.faults.Add(lab.Fault{Where: "pve", Match: lab.Match{Method: "POST", Path: "*/qemu"}, Effect: lab.EffectCorruptSnapshot, Times: 1}); err != nil {
		t.Fatal(err)
	}
	r.beginLive()
	return r
}

// breaks waits for the live restore to break and a person to be called, and returns that operation.
func (r *rig) breaks() failover.OpID {
	r.t.Helper()
	r.when("it broke", func() bool { return strings.HasSuffix(r.status(), " failed") })
	if !strings.HasPrefix(r.note(), string(failover.FailBroke)) || !strings.Contains(r.note(), "qm destroy 90000") {
		r.t.Fatalf("%s, note %q, want that it broke and what to type", r.status(), r.note())
	}
	stick, ok := failover.Decide(r.log.state, r.now).Commands[0].(failover.Stick)
	if !ok {
		r.t.Fatalf("decided %+v, want that a person is asked", failover.Decide(r.log.state, r.now).Commands)
	}
	r.must(stick)
	return r.op().ID
}

// TestLiveRestoreOfABadBackup: after a person has removed what broke, the backup is restored
// whole, and when that shows that it is bad, an older one; both are released.
func TestLiveRestoreOfABadBackup(t *testing.T) {
	r := brokenRig(t)
	op := r.breaks()
	epoch, newest := r.run().Epoch, r.run().Assignment.Point
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	r.must(failover.RetryOp{Op: op})
	r.until("restore failed")
	again, ok := failover.Decide(r.log.state, r.now).Commands[0].(failover.Retarget)
	if !ok {
		t.Fatalf("decided %+v, want the older backup", failover.Decide(r.log.state, r.now).Commands)
	}
	elsewhere := again
	elsewhere.Assignment.Target = home
	if _, err := r.log.Propose(t.Context(), elsewhere); err == nil {
		t.Error("an owned guest is restored at another target")
	}
	r.must(again)
	if _, err := r.log.Propose(t.Context(), again); err == nil {
		t.Error("taken twice")
	}
	r.until("restore failed")
	if !strings.Contains(r.note(), "on pve-quai: qm destroy 90000; then wwwctl op retry") || r.count("DELETE", fmt.Sprint("/", vmid)) != 0 {
		t.Errorf("note %q, want that a person removes what was restored of the bad one", r.note())
	}
	r.must(failover.Decide(r.log.state, r.now).Commands[0])
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	r.must(failover.RetryOp{Op: op})
	r.until("nothing left")
	run := r.run()
	if g, ok := r.pve.Guest(vmid); !ok || !g.Running || run.Epoch != epoch || run.State != failover.RunDone {
		t.Errorf("guest %+v, run %s of epoch %s; want it running, and done, of epoch %s", g, run.State, run.Epoch, epoch)
	}
	if lost := run.Assignment.Loss; run.Assignment.Point.Time.Add(time.Hour) != newest.Time || lost < time.Hour {
		t.Errorf("restored %+v, loss %s; want the one of an hour before", run.Assignment.Point, lost)
	}
	for _, snap := range r.pbs.Snapshots("moulin") {
		if snap.Protected {
			t.Errorf("%d is pinned still", snap.Time)
		}
	}
}

// TestLiveRestoreIsLeftWhereItBroke: without a person who removes it, what broke stands as it is,
// locked or not, whatever is retried: it may hold what was written to it.
func TestLiveRestoreIsLeftWhereItBroke(t *testing.T) {
	for _, unlocked := range []bool{false, true} {
		t.Run(fmt.Sprint("unlocked ", unlocked), func(t *testing.T) {
			r := brokenRig(t)
			op := r.breaks()
			if unlocked {
				if err := r.pve.Unlock(vmid); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				r.must(failover.RetryOp{Op: op})
				r.restart()
				r.breaks()
			}
			if _, ok := r.pve.Guest(vmid); !ok || r.count("DELETE", fmt.Sprint("/", vmid)) != 0 || r.count("POST", "/qemu") != 1 || r.count("POST", "/status/start") != 0 {
				t.Errorf("there %t, %d deleted, %d restored, %d started; want it left alone", ok, r.count("DELETE", fmt.Sprint("/", vmid)), r.count("POST", "/qemu"), r.count("POST", "/status/start"))
			}
		})
	}
}

// TestLiveRestoreWhoseTaskIsNotKnown: a host that does not know the task of a VM that runs, its
// disks on their way, says nothing of how that ends (seed 232765).
func TestLiveRestoreWhoseTaskIsNotKnown(t *testing.T) {
	r := liveRig(t, false)
	r.until("whole running")
	asked := 0
	r.answer = func(path string) (int, string) {
		if !strings.Contains(path, ":qmrestore:") || !strings.HasSuffix(path, "/status") {
			return 0, ""
		}
		asked++
		return 400, `{"data":null,"errors":{"upid":"no such task"},"message":"Parameter verification failed.\n"}`
	}
	r.until("nothing left")
	if g, _ := r.pve.Guest(vmid); !g.Serving || g.Lock != "" || r.count("POST", "/qemu") != 1 || asked < 2 {
		t.Errorf("serving %t, lock %q, after %d restores and %d looks at the task", g.Serving, g.Lock, r.count("POST", "/qemu"), asked)
	}
}

// TestLiveRestoreTellsWhatToTypeAfterALongError: Proxmox names its whole command line when its PBS is
// gone; what a person is to type comes after it, and is not cut off.
func TestLiveRestoreTellsWhatToTypeAfterALongError(t *testing.T) {
	r := liveRig(t, false)
	r.when("it is asked for", func() bool { return r.count("POST", "/qemu") > 0 })
	r.pbs.PowerLoss(r.now)
	r.when("it broke", func() bool { return strings.HasSuffix(r.status(), " failed") })
	want := fmt.Sprintf("on pve-quai: qm unlock 90000; qm destroy 90000; then wwwctl op retry %s restores it whole before it starts", r.op().ID)
	if !strings.HasPrefix(r.note(), string(failover.FailBroke)) || !strings.Contains(r.note(), want) {
		t.Errorf("note %q, want in it %q", r.note(), want)
	}
}
