package agent

import (
	"context"
	"fmt"
	"slices"
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
		if err := j.w.e.PVE.CancelTask(ctx, m.upid); err != nil {
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
		if !j.worded(cleanConfirm) {
			return j.now, nil
		}
		j.call("destroy copy")
		upid, err := j.w.e.PVE.Destroy(ctx, j.kind(), j.run.VMID)
		switch proxmox.KindOf(err) {
		case "":
			m.upid, m.phase = upid, cleanPoll
			return j.soon(), nil
		case proxmox.OutcomeUnknown, proxmox.Busy, proxmox.NotFound:
			m.phase = cleanLook
			return j.soon(), nil
		}
		return j.trouble(err)
	case cleanPoll:
		j.call("poll removal")
		t, err := j.w.e.PVE.Task(ctx, m.upid)
		switch {
		case err != nil || t.Running:
			return j.soon(), nil
		case !t.OK():
			// The lock of a restore that died with its host, say: asking again
			// and again would change nothing.
			return j.trouble(t.Err(nil))
		}
		m.phase = cleanLook
		return j.now, nil
	}
	return j.release(ctx)
}

func (j *job) cleanLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at copy")
	c, err := j.w.e.PVE.GuestConfig(ctx, j.kind(), j.run.VMID)
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
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d is not ours: left alone", j.run.VMID)}
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

// neverStarted goes on to next if nobody has started the copy since it was
// restored. A start by hand makes it somebody's: it may hold what users wrote,
// whether it runs still or not, and no backup has that (S7). The look comes
// after the leader's word, right before the deletion: a host deletes nothing
// that runs, so only a start and a stop between the two calls escape.
//
// Every start is a task, of whoever asks (API, qm and pct, startall at boot);
// with Sys.Audit on the node the token sees all of them (docs/proxmox.md;
// doctor asks for the privilege). All times are the node's.
func (j *job) neverStarted(ctx context.Context, next string) (time.Time, *outcome) {
	j.call("look for starts")
	tasks, err := j.w.e.PVE.Tasks(ctx, proxmox.TaskFilter{VMID: j.run.VMID})
	if err != nil {
		return j.trouble(err)
	}
	start, ok := startOf(tasks)
	if !ok {
		j.w.mem.phase = next
		return j.now, nil
	}
	tool := j.tool()
	return j.now, &outcome{failure: failover.FailFatal, note: clip(fmt.Sprintf(
		"copy %d was started at %s by %s and may hold what users wrote: left alone; look into it, then on %s: %s stop %d; %s destroy %d; and wwwctl op retry %s",
		j.run.VMID, start.UPID.Start.UTC().Format("2006-01-02 15:04:05Z"), start.UPID.Auth,
		j.run.Assignment.Host, tool, j.run.VMID, tool, j.run.VMID, j.op.ID))}
}

// startOf returns a start, by whomever, of the guest that an id stands for now,
// by the tasks of that id.
func startOf(tasks []proxmox.TaskStatus) (proxmox.TaskStatus, bool) {
	began := lifeBegan(tasks)
	i := slices.IndexFunc(tasks, func(t proxmox.TaskStatus) bool {
		return (t.UPID.Type == "qmstart" || t.UPID.Type == "vzstart") && !t.UPID.Start.Before(began)
	})
	if i < 0 {
		return proxmox.TaskStatus{}, false
	}
	return tasks[i], true
}

// lifeBegan says since when an id has stood for the guest that it stands for
// now, by the tasks of that id: a restore that ended well proves that the id
// was free before (nothing is ever forced over a guest), a removal that it was
// after. Zero, when neither is known, makes every start count.
func lifeBegan(tasks []proxmox.TaskStatus) (began time.Time) {
	for _, t := range tasks {
		switch t.UPID.Type {
		case "qmrestore", "vzrestore", "qmdestroy", "vzdestroy":
			if !t.Running && t.OK() && t.UPID.Start.After(began) {
				began = t.UPID.Start
			}
		}
	}
	return began
}
