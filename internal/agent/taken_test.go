package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestForeignGuestIsLeftAlone: somebody's guest under our id, of either kind, keeps a restore from
// that id, not from its target, and gives a cleanup nothing to do.
func TestForeignGuestIsLeftAlone(t *testing.T) {
	for _, step := range []string{"restore", "cleanup"} {
		for _, kind := range []string{"vm", "ct"} {
			t.Run(step+" "+kind, func(t *testing.T) {
				r := newRig(t)
				r.begin()
				if step == "cleanup" {
					r.until("protect running")
					r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
					r.now = r.now.Add(time.Hour)
					r.log.now = r.now
				}
				r.foreign(kind)
				if step == "cleanup" {
					r.until("nothing left")
				} else {
					r.until("restore failed")
					if !strings.HasPrefix(r.note(), string(failover.FailTaken)) {
						t.Fatalf("note %q, want that the id is taken", r.note())
					}
					next, ok := failover.Decide(r.log.state, r.now).Commands[0].(failover.Retarget)
					if !ok {
						t.Fatalf("decided %+v, want another id", failover.Decide(r.log.state, r.now).Commands)
					}
					r.must(next)
					r.checked = func(string) error { return nil }
					r.until("nothing left")
					if g, ok := r.pve.Guest(vmid + 1); !ok || !g.Running || len(r.log.state.Ops) != 1 {
						t.Errorf("under the next id runs %+v, and there are %d operations, want one", g, len(r.log.state.Ops))
					}
				}
				if g, ok := r.pve.Guest(vmid); !ok || g.Name != "somebodys" || g.Running {
					t.Error("the foreign guest is gone or changed")
				}
				if n := r.count("DELETE", fmt.Sprint("/", vmid)) + r.count("PUT", fmt.Sprintf("/%d/config", vmid)); n != 0 {
					t.Errorf("%d requests would have changed it", n)
				}
				if snaps := r.pbs.Snapshots("moulin"); len(snaps) != 1 || snaps[0].Protected {
					t.Errorf("snapshots %+v, want one that is not pinned", snaps)
				}
			})
		}
	}
}

// TestChangedRestoreIsNotTakenForSomebodys: where a restore of ours was begun, what stands there
// without our marker may be our copy, changed by hand: a second one would have its address.
func TestChangedRestoreIsNotTakenForSomebodys(t *testing.T) {
	for _, step := range []string{"restore", "cleanup"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			for r.count("POST", "/qemu") == 0 {
				r.step()
			}
			r.pve.Advance(r.now.Add(time.Hour)) // the restore ends
			if err := r.pve.SetOption(vmid, "description", "mine now"); err != nil {
				t.Fatal(err)
			}
			if step == "restore" {
				r.restart()
			} else {
				r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
				r.now = r.now.Add(time.Hour)
				r.log.now = r.now
			}
			r.until(step + " failed")
			if !strings.HasPrefix(r.note(), string(failover.FailFatal)) {
				t.Errorf("note %q, want that a person looks", r.note())
			}
		})
	}
}

// TestRestoreAskedTwice: a proxy that asks twice has the second request told that the id is taken,
// by the first.
func TestRestoreAskedTwice(t *testing.T) {
	r := newRig(t)
	if err := r.faults.Add(lab.Fault{Where: "pve", Match: lab.Match{Method: "POST", Path: "*/qemu"}, Effect: lab.EffectTwice, Times: 1}); err != nil {
		t.Fatal(err)
	}
	r.begin()
	r.until("start pending")
	if n := r.count("POST", "/qemu"); n != 1 || r.run().VMID != vmid || len(r.run().Tried) != 0 {
		t.Errorf("%d restores, under %d after %+v, want one under %d", n, r.run().VMID, r.run().Tried, vmid)
	}
}

// TestCopyGoneBeforeItsStart: a person's retry restores a copy once more that somebody deleted
// after its guest was given to it; without that word nothing is.
func TestCopyGoneBeforeItsStart(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("start pending")
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	r.until("start failed")
	if !strings.HasPrefix(r.note(), string(failover.FailGone)) || !strings.Contains(r.note(), "wwwctl op retry") {
		t.Fatalf("note %q, want that it is gone and what to type", r.note())
	}
	stick, ok := failover.Decide(r.log.state, r.now).Commands[0].(failover.Stick)
	if !ok {
		t.Fatalf("decided %+v, want that a person is asked", failover.Decide(r.log.state, r.now).Commands)
	}
	epoch := r.run().Epoch
	r.must(stick)
	r.must(failover.RetryOp{Op: r.op().ID})
	r.until("nothing left")
	if g, ok := r.pve.Guest(vmid); !ok || !g.Running || r.run().Epoch != epoch || r.count("POST", "/qemu") != 2 {
		t.Errorf("guest %+v of epoch %s after %d restores, want that it runs, with the epoch %s, after two", g, r.run().Epoch, r.count("POST", "/qemu"), epoch)
	}
}

// foreign has somebody make a guest under the id of the run.
func (r *rig) foreign(kind string) {
	r.t.Helper()
	if err := r.pve.AddGuest(lab.GuestSpec{ID: vmid, Kind: kind, Name: "somebodys", DiskSize: 1 << 18}, nil); err != nil {
		r.t.Fatal(err)
	}
}
