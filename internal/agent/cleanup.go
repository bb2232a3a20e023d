package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a cleanup stands.
const (
	cleanLook    = ""
	cleanTasks   = "tasks"
	cleanCancel  = "cancel"
	cleanConfirm = "confirm"
	cleanStarts  = "starts"
	cleanDestroy = "destroy"
	cleanPoll    = "poll"
	cleanUnpin   = "unpin"
)

// cleanup removes a copy that was prepared and never owned. What is not ours,
// runs, or is protected is left alone for a person.
func (j *job) cleanup(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case cleanLook:
		return j.cleanLook(ctx)
	case cleanTasks:
		return j.cleanTasks(ctx)
	case cleanCancel:
		j.call("cancel task")
		if err := j.pve().CancelTask(ctx, m.upid); err != nil {
			return j.trouble(err)
		}
		m.phase = cleanLook
		return j.now.Add(2 * time.Second), nil
	case freeStatus, freeUmount, freeUnlock, freeSeen:
		return j.free(ctx)
	case cleanConfirm:
		return j.confirm(ctx, cleanStarts)
	case cleanStarts:
		return j.neverStarted(ctx, cleanDestroy)
	case cleanDestroy:
		return j.destroyNow(ctx, "destroy copy", destroying{ask: cleanConfirm, poll: cleanPoll, look: cleanLook})
	case cleanPoll:
		return j.pollRemoval(ctx, cleanLook)
	}
	return j.release(ctx)
}

func (j *job) cleanLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at copy")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.phase = cleanUnpin
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	case c.Bare() || c.Lock() == "create":
		m.phase, m.stub = cleanTasks, c.Lock() == "create"
		return j.now, nil
	case !j.ours(c):
		m.phase, m.foreign = cleanTasks, fmt.Sprintf("guest %d is not ours: left alone", j.run.VMID)
		return j.now, nil
	}
	m.phase = cleanConfirm
	return j.now, nil
}

// cleanTasks tells a restore that still runs from the stub of one that ended.
func (j *job) cleanTasks(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	found, ok, err := j.ownTask(ctx, "look at tasks", j.taskType())
	if err != nil {
		return j.trouble(err)
	}
	switch {
	case m.foreign != "" && ok: // we made one here, and somebody has changed or replaced it
		return j.now, &outcome{failure: failover.FailFatal, note: m.foreign}
	case m.foreign != "": // nothing of ours ever stood here
		m.phase = cleanUnpin
	case ok && found.Running:
		m.upid, m.phase = found.UPID, cleanCancel
	case ok && m.stub:
		return j.beginFree(cleanLook)
	case ok:
		m.phase = cleanConfirm
	default:
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d is bare and no task of ours made it: left alone", j.run.VMID)}
	}
	return j.now, nil
}

// destroying are the phases around a deletion: where the leader is asked, where its task is
// followed, and where the copy is looked at.
type destroying struct{ ask, poll, look string }

// destroyNow goes through the gate, on the leader's new word.
func (j *job) destroyNow(ctx context.Context, what string, at destroying) (time.Time, *outcome) {
	m := &j.w.mem
	if !j.worded(at.ask) {
		return j.now, nil
	}
	upid, err := j.destroy(ctx, what)
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, at.poll
		return j.soon(), nil
	case proxmox.OutcomeUnknown, proxmox.Busy, proxmox.NotFound:
		m.phase = at.look
		return j.soon(), nil
	}
	return j.refused(err, at.ask)
}

// pollRemoval follows a deletion, then has the copy looked at again.
func (j *job) pollRemoval(ctx context.Context, look string) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("poll removal")
	t, err := j.pve().Task(ctx, m.upid)
	switch {
	case err != nil || t.Running:
		return j.soon(), nil
	case !t.OK():
		// The lock of a restore that died with its host, say: asking again
		// and again would change nothing.
		return j.trouble(t.Err(nil))
	}
	m.phase = look
	return j.now, nil
}
