package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// newRemovalRig is a backRig after a failback that kept the copy at home: the one at quai is
// off, sealed and acknowledged.
func newRemovalRig(t *testing.T) *backRig {
	t.Helper()
	b := newBackRig(t)
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("the failback ended %s: %s", op.Phase, b.note())
	}
	b.must(failover.AckSeal{Guest: guest})
	return b
}

func (b *backRig) remove() { b.must(failover.RemoveCopy{Guest: guest, Host: "pve-quai", VMID: awayID}) }

func (b *backRig) lab(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// forget has a person take a sealed backup away from a store.
func (b *backRig) forget(store *lab.PBS, by *agent.Executor) {
	b.t.Helper()
	for _, s := range store.Snapshots(nsSealed) {
		if s.ID == fmt.Sprint(awayID) {
			b.lab(by.PBS.Unprotect(b.t.Context(), proxmox.Snapshot{NS: nsSealed, Kind: proxmox.VM, ID: awayID, Time: time.Unix(s.Time, 0)}))
		}
	}
	if store.Prune(nsSealed, 0) == 0 {
		b.t.Fatal("nothing was forgotten")
	}
}

// TestRemovalDeletesTheSealedCopy: and leaves its sealed backups at both sites.
func TestRemovalDeletesTheSealedCopy(t *testing.T) {
	b := newRemovalRig(t)
	b.remove()
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s", op.Phase, b.status(), b.note())
	}
	if _, left := b.pve.Guest(awayID); left {
		t.Error("the copy is still there")
	}
	b.sealedAt(awayID)
	if kept, _ := b.homePVE.Guest(homeID); !kept.Running {
		t.Error("the copy at home does not run")
	}
}

// TestRemovalGoesOnAfterCrashes: an agent that restarts after any number of steps deletes
// the copy once.
func TestRemovalGoesOnAfterCrashes(t *testing.T) {
	for after := 0; ; after += 3 {
		b := newRemovalRig(t)
		b.remove()
		for range after {
			b.step()
		}
		done, at := b.op().Phase.Ended(), b.status()
		b.restart()
		if op := b.ended(); op.Phase != failover.OpDone {
			t.Fatalf("restart at %q: ended %s: %s", at, op.Phase, b.note())
		}
		if _, left := b.pve.Guest(awayID); left {
			t.Errorf("restart at %q: the copy is still there", at)
		}
		if b.sealedAt(awayID); t.Failed() || done {
			return
		}
	}
}

// TestRemovalLeavesWhatIsNotProven: a copy that was started since it was sealed, or changed
// by a person, or of which a sealed backup is missing, stays, and the operation says why.
func TestRemovalLeavesWhatIsNotProven(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(b *backRig)
		at     failover.StepID
		says   string
	}{
		"started and stopped since": {func(b *backRig) {
			b.lab(b.pve.StartGuest(awayID, b.now))
			b.now = b.now.Add(time.Minute)
			b.pve.Advance(b.now)
			b.lab(b.pve.StopGuest(awayID, b.now))
		}, failover.StepRemove, "after it was sealed"},
		"running": {func(b *backRig) { b.lab(b.pve.StartGuest(awayID, b.now)) }, failover.StepRemove, "was started"},
		"another guest under its id": {func(b *backRig) {
			b.lab(b.pve.SetOption(awayID, "description", "mine"))
		}, failover.StepRemove, "neither our marker"},
		"protected by a person": {func(b *backRig) {
			b.lab(b.pve.SetOption(awayID, "protection", "1"))
		}, failover.StepRemove, "protected by a person"},
		"its seal cannot be read with the key here": {func(b *backRig) {
			b.lab(b.faults.Add(lab.Fault{Where: "pve:quai", Match: lab.Match{Path: "*extractconfig*"}, Effect: lab.EffectStatus, Status: 500, Text: "wrong key - manifest's key 94:08 does not match provided key 93:cd"}))
		}, failover.StepRemove, "cannot be read"},
		"its seal is gone where it was made": {func(b *backRig) { b.forget(b.pbs, b.executor) }, failover.StepSealVerify, ""},
		"its seal is gone at the second site": {func(b *backRig) {
			b.forget(b.homePBS, b.there)
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRemovalRig(t)
			tt.change(b)
			b.remove()
			op := b.ended()
			if tt.at == "" { // the second site fetches it anew
				b.sealedAt(awayID)
				return
			}
			if _, left := b.pve.Guest(awayID); !left {
				t.Fatal("the copy was deleted")
			}
			step, _, _ := op.Guests[guest].Current()
			if op.Phase != failover.OpStuck || step.ID != tt.at || !strings.Contains(step.Note, tt.says) {
				t.Errorf("ended %s at %s: %q, want stuck at %s saying %q", op.Phase, step.ID, step.Note, tt.at, tt.says)
			}
		})
	}
}

// unread is a PBS that has read none of its backups yet.
type unread struct{ *lab.PBS }

func (u unread) Export(ns string) ([]lab.Snapshot, error) {
	list, err := u.PBS.Export(ns)
	for i := range list {
		list[i].Verification = nil
	}
	return list, err
}

// TestRemovalReadsAgainWhatAPullHasMadeUnread: both sites pull each other's sealed backups; a pull that took
// the other one's manifest right before the deletion takes with it that this one was verified. It is read
// again, and the removal goes on.
func TestRemovalReadsAgainWhatAPullHasMadeUnread(t *testing.T) {
	b := newRemovalRig(t)
	b.remove()
	verified := func() bool {
		i := slices.IndexFunc(b.pbs.Snapshots(nsSealed), func(s lab.Snapshot) bool { return s.ID == fmt.Sprint(awayID) })
		return i >= 0 && b.pbs.Snapshots(nsSealed)[i].Verification != nil
	}
	pulled := false
	for range 6000 {
		step, _, _ := b.op().Guests[guest].Current()
		if step.ID == failover.StepRemove && step.Status == failover.StatusRunning && !pulled {
			pulled = true
			if !verified() {
				t.Fatal("it was not verified before")
			}
			_, _, err := b.pbs.Sync(unread{b.homePBS}, lab.SyncJob{
				ID: "back", Remote: "moulin", RemoteStore: "backups", FromNS: nsSealed, NS: nsSealed, Owner: b.pbs.Snapshots(nsSealed)[0].Owner,
			}, b.now)
			b.lab(err)
			if verified() {
				t.Fatal("the pull has left it verified")
			}
		}
		if b.op().Phase.Ended() {
			break
		}
		b.step()
	}
	if op := b.op(); op.Phase != failover.OpDone || !pulled {
		t.Fatalf("ended %s at %s: %s", op.Phase, b.status(), b.note())
	}
	if _, left := b.pve.Guest(awayID); left || !verified() {
		t.Errorf("the copy is there: %t; its sealed backup verified: %t", left, verified())
	}
}

// TestSealIsGivenUpAfterItsRetention: the backups stay where they are, unprotected.
func TestSealIsGivenUpAfterItsRetention(t *testing.T) {
	b := newRemovalRig(t)
	b.remove()
	b.ended()
	b.now = b.now.Add(failover.KeepSealed + time.Hour)
	b.step()
	b.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: away, AsOf: b.log.state.Index}})
	var line failover.LineageID
	for _, l := range b.log.state.LineagesOf(guest) {
		if l.Sealed != nil {
			line = l.ID()
		}
	}
	b.must(failover.GiveUpSeal{Guest: guest, Lineage: line})
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s", op.Phase, b.status(), b.note())
	}
	for name, pbs := range map[string]*lab.PBS{"moulin": b.homePBS, "quai": b.pbs} {
		i := slices.IndexFunc(pbs.Snapshots(nsSealed), func(s lab.Snapshot) bool { return s.ID == fmt.Sprint(awayID) })
		if i < 0 || pbs.Snapshots(nsSealed)[i].Protected {
			t.Errorf("at %s: %v, want there and unprotected", name, pbs.Snapshots(nsSealed))
		}
	}
}

// TestForkChangesTheCopysIdentity: and nothing of its disks; a second look changes nothing.
func TestForkChangesTheCopysIdentity(t *testing.T) {
	for after := 0; after < 12; after += 2 {
		b := newBackRig(t)
		b.failback(failover.KeepAway)
		b.ended()
		was, _ := b.homePVE.Guest(homeID)
		b.must(failover.ForkCopy{Guest: guest, Host: "pve-moulin", VMID: homeID})
		for range after {
			b.step()
		}
		b.restart()
		if op := b.ended(); op.Phase != failover.OpDone {
			t.Fatalf("ended %s: %s", op.Phase, b.note())
		}
		now, _ := b.homePVE.Guest(homeID)
		net := now.Config["net0"]
		if net == was.Config["net0"] || strings.Contains(net, "BC:24:11:00:00:01") || !strings.Contains(net, "link_down=1") || !strings.Contains(net, "virtio=") {
			t.Errorf("net0 %q, was %q; want another address, the cable out", net, was.Config["net0"])
		}
		if strings.Contains(now.Config["description"], "www-park") || now.Config["protection"] == "1" || now.Running || !slices.Equal(now.Data(), was.Data()) {
			t.Errorf("forked: %v, runs %t", now.Config, now.Running)
		}
	}
}

// TestLockedCopyIsNotForked: the lock of what ended badly goes by a person's hand only, that of a
// backup at work by itself.
func TestLockedCopyIsNotForked(t *testing.T) {
	for _, lock := range []string{"create", "backup"} {
		b := newBackRig(t)
		b.failback(failover.KeepAway)
		b.ended()
		b.lab(b.homePVE.SetOption(homeID, "lock", lock))
		before := b.count("PUT", "qemu/1101/config")
		b.must(failover.ForkCopy{Guest: guest, Host: "pve-moulin", VMID: homeID})
		if op := b.ended(); op.Phase != failover.OpStuck || !strings.Contains(b.note(), "qm unlock 1101") {
			t.Fatalf("%s: ended %s: %s; want a person called", lock, op.Phase, b.note())
		}
		if n := b.count("PUT", "qemu/1101/config"); n > before {
			t.Errorf("%s: its configuration was written %d times", lock, n-before)
		}
	}
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	b.ended()
	b.lab(b.homePVE.SetOption(homeID, "lock", "backup"))
	b.must(failover.ForkCopy{Guest: guest, Host: "pve-moulin", VMID: homeID})
	asked := 0
	b.answer = func(path string) (int, string) {
		if path != "/nodes/pve-moulin/tasks" {
			return 0, ""
		}
		if asked++; asked == 3 {
			b.lab(b.homePVE.SetOption(homeID, "lock", ""))
		}
		return 200, `{"data":[{"upid":"UPID:pve-moulin:00000001:00000001:69A57F00:vzdump::root@pam:","type":"vzdump","status":"RUNNING"}]}`
	}
	if op := b.ended(); op.Phase != failover.OpDone || asked != 3 {
		t.Errorf("beside a backup: ended %s after %d looks: %s; want done after three", op.Phase, asked, b.note())
	}
}
