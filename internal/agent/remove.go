package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the removal of a copy that was left stands.
const (
	removeLook    = ""
	removeStatus  = "status"
	removeFree    = "free"
	removeConfirm = "confirm"
	removeSealed  = "sealed"
	removeRead    = "read"
	removeTasks   = "tasks"
	removeDestroy = "destroy"
	removePoll    = "poll"
)

// doomed is the id of the copy that the step deletes.
func (j *job) doomed() int {
	if j.step.ID == failover.StepReplace {
		return j.run.Left.VMID
	}
	return j.run.VMID
}

// remove deletes a copy that its guest has left, which is sealed: both sites of the seal
// have just read it, in this operation. What is not that copy any more, runs, was started
// since it was sealed, or is protected by a person is left alone.
func (j *job) remove(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.sealing == sealVerify {
		return j.removeVerify(ctx)
	}
	switch m.phase {
	case removeLook:
		return j.removeLook(ctx)
	case removeStatus:
		return j.stillOff(ctx, Hand{PVE: j.pve()}, removeFree)
	case removeFree:
		if !m.config.Parked() {
			m.phase = removeConfirm
			return j.now, nil
		}
		return j.change(ctx, j.pve(), j.doomed(), "lift protection of parked copy", map[string]string{"protection": "0"}, nil)
	case removeConfirm:
		return j.confirm(ctx, removeSealed)
	case removeSealed:
		return j.removeSealed(ctx)
	case removeRead:
		return j.removeRead(ctx)
	case removeTasks:
		return j.neverSince(ctx, removeDestroy)
	case removeDestroy:
		return j.destroyNow(ctx, "destroy copy that was left", destroying{ask: removeConfirm, poll: removePoll, look: removeLook})
	}
	return j.pollRemoval(ctx, removeLook)
}

// removeLook makes sure that the id still stands for the copy that the guest has left: it
// carries our marker for the guest, or what parking it wrote.
func (j *job) removeLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at copy that was left")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.doomed())
	mark, marked := c.Marker()
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		return j.now, &outcome{}
	case err != nil:
		return j.trouble(err)
	case !c.WasParked() && !(marked && mark.Network == j.s.Network.Network && mark.Guest == string(j.run.Assignment.Guest)):
		return j.fatally("guest %d on %s carries neither our marker for %s nor that of a parked copy: left alone", j.doomed(), j.run.Assignment.Host, j.run.Assignment.Guest)
	case c.Values["protection"] == "1" && !c.Parked():
		return j.fatally("guest %d on %s is protected by a person: left alone", j.doomed(), j.run.Assignment.Host)
	}
	m.config, m.phase = c, removeStatus
	return j.now, nil
}

// removeSealed looks right before the deletion whether this site's sealed backup is there,
// read whole and protected.
func (j *job) removeSealed(ctx context.Context) (time.Time, *outcome) {
	if j.w.e.PBS == nil {
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	}
	snap, here, err := j.sealedHere(ctx, "look at sealed backup")
	switch {
	case err != nil:
		return j.trouble(err)
	case here && snap.Protected && snap.Verification.State == "":
		m := &j.w.mem
		m.sealing, m.phase = sealVerify, ""
		return j.now, nil
	case !here || !snap.Protected || snap.Verification.State != "ok":
		return j.fatally("the sealed backup %s is not here, verified and protected: copy %d stays", j.sealed(), j.doomed())
	}
	j.w.mem.phase = removeRead
	return j.now, nil
}

// removeRead has the host open the sealed backup with the key of its entry: a PBS verifies what nobody
// can decrypt, and whoever has changed the key since the seal was read is told while the copy is there.
func (j *job) removeRead(ctx context.Context) (time.Time, *outcome) {
	volid := j.sealed().Volid(j.sealedEntry())
	j.call("open sealed backup")
	switch _, err := j.w.e.PVE.ExtractConfig(ctx, volid); proxmox.KindOf(err) {
	case "":
		j.w.mem.phase = removeTasks
		return j.now, nil
	case proxmox.KeyMissing, proxmox.KeyWrong, proxmox.BackupBroken, proxmox.SnapshotGone:
		return j.fatally("the sealed backup %s cannot be read: copy %d stays; wwwctl doctor compares the keys: %v", volid, j.doomed(), err)
	default:
		return j.trouble(err)
	}
}

// removeVerify has the sealed backup read once more: a pull of the other site's namespace takes that one's
// manifest for the newest backup, and with it what is known of its verification (pull.rs). What
// the removal has looked at before that is looked at again.
func (j *job) removeVerify(ctx context.Context) (time.Time, *outcome) {
	next, done := j.verify(ctx, j.sealed())
	if done != nil && done.failure == "" {
		j.w.mem.sealing, j.w.mem.phase = "", removeLook
		return j.now, nil
	}
	return next, done
}

// neverSince goes on to next if nobody has started the copy since it was sealed, and
// remembers that as the proof that destroy demands: what was written later is in no seal.
func (j *job) neverSince(ctx context.Context, next string) (time.Time, *outcome) {
	tasks, err := j.homeTasks(ctx, Hand{PVE: j.pve()})
	if err != nil {
		return j.trouble(err)
	}
	sealed := j.run.Sealed[0].Point.Time
	if t, ok := newestOf(tasks, "start"); ok && t.UPID.Start.After(sealed) {
		return j.fatally("copy %d was started at %s by %s, after it was sealed, and may hold what users wrote since: left alone; %s",
			j.doomed(), t.UPID.Start.UTC().Format(time.RFC3339), t.UPID.Auth, j.lookInto(j.doomed()))
	}
	m := &j.w.mem
	m.phase, m.proof = next, proof{token: j.w.token, attempt: j.w.attempt, id: j.doomed(), at: j.now}
	return j.now, nil
}

// Where the giving up of a sealed backup stands.
const (
	unsealConfirm = ""
	unsealLift    = "lift"
)

// unseal lets this site's sealed backup of a branch be pruned, whose copy is gone and whose
// retention is over. Nothing is deleted here: the datastore's prune job does that.
func (j *job) unseal(ctx context.Context) (time.Time, *outcome) {
	if j.w.e.PBS == nil || len(j.run.Sealed) == 0 {
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	}
	if j.w.mem.phase == unsealConfirm {
		return j.confirm(ctx, unsealLift)
	}
	if !j.worded(unsealConfirm) {
		return j.now, nil
	}
	err := j.giveUp(ctx)
	switch proxmox.KindOf(err) {
	case "":
		return j.now, &outcome{}
	case proxmox.NotFound, proxmox.SnapshotGone:
		return j.now, &outcome{note: fmt.Sprintf("%s is not here any more", j.sealed())}
	}
	return j.refused(err, unsealConfirm)
}

// Where a fork stands.
const (
	forkLook    = ""
	forkStatus  = "status"
	forkLocked  = parkLocked
	forkConfirm = "confirm"
	forkSet     = "set"
)

// fork makes a copy that its guest has left, and that is off, a guest of its own.
func (j *job) fork(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	h := Hand{PVE: j.pve()}
	if own, _, here := j.s.Network.Target(j.w.e.Site); !here || own != j.run.Assignment.Host {
		if h = j.w.e.Hands[j.run.Assignment.Host]; h.PVE == nil {
			return j.fatally("no right on %s: wwwd.yaml names no token for it (hands:)", j.run.Assignment.Host)
		}
	}
	switch m.phase {
	case forkLook:
		c, next, done := j.homeCopy(ctx, h, j.run.VMID)
		if done != nil || !next.IsZero() {
			return next, done
		}
		if c.Forked() {
			return j.now, &outcome{}
		}
		m.config, m.phase = c, forkStatus
		if c.Lock() != "" {
			m.phase = forkLocked
		}
		return j.now, nil
	case forkLocked:
		return j.locked(ctx, h.PVE, j.run.VMID)
	case forkStatus:
		return j.stillOff(ctx, h, forkConfirm)
	case forkConfirm:
		return j.confirm(ctx, forkSet)
	}
	if !j.worded(forkConfirm) {
		return j.now, nil
	}
	set, del, err := m.config.Fork(j.kind(), string(j.run.Assignment.Guest), string(j.op.ID))
	if err != nil {
		return j.fatally("guest %d: %v", j.run.VMID, err)
	}
	return j.change(ctx, h.PVE, j.run.VMID, "make copy a guest of its own", set, del)
}
