package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// removalLook is how often an agent looks whether people have removed a copy.
const removalLook = 15 * time.Second

// roomWait is how long people may take to make room. Their guest is not backed up where it
// lives meanwhile, and neither is what lives at its home: an operation of theirs is under way.
const roomWait = 2 * time.Hour

// Where the wait for a removal by people stands.
const (
	awaitLook = ""
	awaitTell = "tell"
)

// replace gives the parked copy at home up, which is sealed, so that there is room for the
// one that comes. On a structure's host nothing is deleted: its people do it.
func (j *job) replace(ctx context.Context) (time.Time, *outcome) {
	if owner := j.s.Network.Sites[j.from().Site].Hosts[j.from().Host].Owner; owner != network.OwnerRaoull {
		return j.awaitRemoval(ctx)
	}
	if limit := deadlines[failover.StepRemove]; j.at.Sub(j.w.mem.since) > limit {
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("%s not done within %s: %s", j.step.ID, limit, j.w.mem.phase)}
	}
	return j.remove(ctx)
}

// awaitRemoval waits until a structure's people have removed the copy, while the guest serves
// where it lives.
func (j *job) awaitRemoval(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	m, from := &j.w.mem, j.from()
	if m.phase == awaitTell {
		m.phase = awaitLook
		return j.tell(ctx, failover.StepMoved{Note: clip(fmt.Sprintf(
			"waits until people have removed copy %d, which is sealed at %s and %s; on %s, as root: %[5]s config %[1]d (it must say www-park), %[5]s set %[1]d --protection 0, %[5]s destroy %[1]d",
			from.VMID, j.run.Sealed[0].Site, j.run.Sealed[1].Site, from.Host, j.tool()))})
	}
	j.call("is the copy removed")
	_, err := h.PVE.GuestConfig(ctx, j.kind(), from.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		return j.now, &outcome{}
	case err != nil:
		return j.trouble(err)
	case j.at.Sub(j.step.Begun.At) > roomWait:
		return j.now, &outcome{failure: failover.FailTarget, note: fmt.Sprintf(
			"copy %d still stands on %s, %s after its people were asked to remove it: try again when somebody is there", from.VMID, from.Host, roomWait)}
	case j.step.Note == "": // people are asked until the log has it
		m.phase = awaitTell
		return j.now, nil
	}
	m.silent = time.Time{}
	return j.now.Add(removalLook), nil
}

// room looks whether the host at home has room for the guest beside its parked copy, while it
// still serves where it lives. Disks count as large as they may grow: a thin pool that runs
// full stops the guests that stand on it already.
func (j *job) room(ctx context.Context) (time.Time, *outcome) {
	restore, need := j.host().Restore, j.s.Guests[j.run.Assignment.Guest].Point.Size
	if restore == nil || need == 0 {
		return j.now, &outcome{}
	}
	j.call("is there room at home")
	st, err := j.pve().StorageStatus(ctx, restore.Storage)
	switch free := st.Avail - int64(restore.ReserveStorage); {
	case err != nil:
		return j.trouble(err)
	case st.Active && free < need:
		note := fmt.Sprintf("no room on %s: %s needs %s, storage %s has %s free", j.run.Assignment.Host, j.run.Assignment.Guest, message.Bytes(need), restore.Storage, message.Bytes(max(0, free)))
		if left := j.run.Left; left.Site != "" {
			note += fmt.Sprintf("; make room, or give its old copy up: wwwctl failback run %s --keep away --replace %s/%d", j.run.Assignment.Guest, left.Host, left.VMID)
		}
		return j.now, &outcome{failure: failover.FailTarget, note: clip(note)}
	}
	return j.now, &outcome{}
}
