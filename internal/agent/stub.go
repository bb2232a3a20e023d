package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// RootHelper does the one thing about a guest that no API token may: it takes
// away what a restore leaves when its host dies, the lock "create" and, of a
// container, the mounted image (reference/proxmox.md, fact 3). It judges for
// itself whether the guest is such a remainder; internal/roothelper.Client asks
// the one that runs as root.
//
// A nil error means done. An error that says Temporary() may pass by itself,
// its outcome may be unknown; every other one is for a person.
type RootHelper interface {
	// Umount comes before Unlock: it, too, acts only on a locked guest. Nothing
	// mounted is success.
	Umount(ctx context.Context, id int) error
	// Unlock clears the lock of a stopped VM or container.
	Unlock(ctx context.Context, id int) error
}

// errNoHelper is what a worker without a helper would be told.
var errNoHelper = errors.New("no root helper is configured")

// Where the freeing of a locked stub stands. It is part of a restore and of a
// cleanup; memory.freed says where these go on.
const (
	freeStatus = "free: status"
	freeUmount = "free: umount"
	freeUnlock = "free: unlock"
	freeSeen   = "free: seen"
)

// beginFree begins to free what the caller has proven to be the rest of a
// restore of ours: under the id that the log gave to this run, made by a task
// of our own token that has ended, never finished, locked by it. next is the
// phase that looks at the guest again.
func (j *job) beginFree(next string) (time.Time, *outcome) {
	m := &j.w.mem
	host := j.host()
	switch {
	case m.unlocked:
		return j.now, j.unfreed(errors.New("the root helper took it away and it is back"))
	case host.Restore == nil || !host.Restore.IDs.Contains(j.run.VMID):
		return j.now, j.unfreed(errors.New("the id is not declared for restores any more"))
	}
	m.phase, m.freed = freeStatus, next
	return j.now, nil
}

// free makes the next call of the freeing.
func (j *job) free(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case freeStatus:
		return j.freeStatus(ctx)
	case freeSeen:
		return j.freeSeen(ctx)
	}
	if j.w.e.Helper == nil {
		return j.now, j.unfreed(errNoHelper)
	}
	if j.now.Sub(m.confirmed) > confirmAge {
		// Deleting follows, and the lock protects from it.
		return j.confirm(ctx, m.phase)
	}
	if m.phase == freeUmount {
		j.call("ask helper to unmount")
		if err := j.w.e.Helper.Umount(ctx, j.run.VMID); err != nil {
			m.refused, m.phase = err, freeSeen
			return j.now, nil
		}
		m.phase = freeUnlock
		return j.now, nil
	}
	j.call("ask helper to unlock")
	if err := j.w.e.Helper.Unlock(ctx, j.run.VMID); err != nil {
		m.refused, m.phase = err, freeSeen
		return j.now, nil
	}
	j.w.e.Logger.Info("lock of a dead restore cleared", "guest", j.run.Assignment.Guest, "id", j.run.VMID)
	m.unlocked, m.phase = true, m.freed
	return j.now, nil
}

// freeStatus makes sure that nothing of it runs, before root is asked.
func (j *job) freeStatus(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at status of locked stub")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.phase = m.freed
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d runs and is locked by a restore: left alone", j.run.VMID)}
	case j.kind() == proxmox.CT:
		m.phase = freeUmount
	default:
		m.phase = freeUnlock
	}
	return j.now, nil
}

// freeSeen looks what came of a request that the helper did not grant: another
// one before it, whose answer was lost, may have done it.
func (j *job) freeSeen(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at lock")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound, err == nil && c.Lock() == "":
		m.phase = m.freed
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	}
	return j.now, j.unfreed(m.refused)
}

// unfreed says why the stub stays locked and what a person can type. What will
// pass is tried again; otherwise another target may do, before ownership moved.
func (j *job) unfreed(err error) *outcome {
	failure := failover.FailTarget
	if t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err); ok && t.Temporary() {
		failure = failover.FailTransient
	}
	return &outcome{failure: failure, note: clip(fmt.Sprintf(
		"a crash left guest %d with lock \"create\"; as root on %s: %s; then %s (%v)",
		j.run.VMID, j.run.Assignment.Host, j.freed(), j.tryAgain(), err))}
}

// freed is what a person types to free a guest that a restore left locked.
func (j *job) freed() string {
	if j.kind() == proxmox.CT {
		return fmt.Sprintf("umount -R -d /var/lib/lxc/%d/rootfs; pct unlock %d", j.run.VMID, j.run.VMID)
	}
	return fmt.Sprintf("qm unlock %d", j.run.VMID)
}

// remains asks a person to remove what a restore has left of a copy that counts: the program
// deletes none of those.
func (j *job) remains(locked bool) (time.Time, *outcome) {
	remove := fmt.Sprintf("%s destroy %d", j.tool(), j.run.VMID)
	if locked {
		remove = j.freed() + "; " + remove
	}
	return j.fatally("a restore left a part of guest %d; on %s: %s; then wwwctl op retry %s (%s)",
		j.run.VMID, j.run.Assignment.Host, remove, j.op.ID, j.w.mem.exit)
}

// Where the removal of a failed restore's rest stands.
const (
	restoreStub    = "stub"     // look at it
	restoreStubRun = "stub-run" // has anybody started it?
	restoreStubOff = "stub-off" // delete it
	restoreStubEnd = "stub-end" // follow the deletion
)

// removeStub deletes what a failed restore of ours left under our id, then
// reports the failure, so that crashes in a row come to an end. What is not
// bare is left for cleanup or a person; the failure is reported all the same.
func (j *job) removeStub(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case restoreStub:
		if j.run.Owned() { // it counts: what is left of it is told when the next restore meets it
			return j.now, m.failing
		}
		j.call("look at stub")
		c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
		switch {
		case err != nil || !c.Bare() && !j.ours(c):
			return j.now, m.failing
		case c.Lock() == "create":
			return j.beginFree(restoreStub)
		case c.Lock() != "":
			return j.now, m.failing
		}
		m.phase = restoreStubRun
		return j.now, nil
	case restoreStubRun:
		return j.neverStarted(ctx, restoreStubOff)
	case restoreStubOff:
		if j.now.Sub(m.confirmed) > confirmAge {
			return j.confirm(ctx, restoreStubRun)
		}
		upid, err := j.destroy(ctx, "destroy stub")
		if err != nil {
			return j.now, m.failing
		}
		m.upid, m.phase = upid, restoreStubEnd
		return j.soon(), nil
	}
	j.call("poll removal")
	t, err := j.pve().Task(ctx, m.upid)
	if err == nil && t.Running {
		return j.soon(), nil
	}
	return j.now, m.failing
}

// freeing says whether a phase is one of the freeing.
func freeing(phase string) bool { return strings.HasPrefix(phase, "free: ") }
