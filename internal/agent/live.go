package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a live restore stands, beside the phases that it shares with a start: beside,
// tasks, confirm, post and watch.
const (
	liveArchive = "archive"
	liveRead    = "read"
	liveAgain   = "read-again" // it is whole, and off: its host has started since
	liveRuns    = "runs"       // does it, while its disks are not whole?
	liveConfirm = "confirm-again"
	liveStart   = "start-again"
)

// live restores the owned VM running: the task goes on behind it. The id is looked at
// first; a task of ours that runs is gone on with, and nothing is ever restored over what
// stands there.
func (j *job) live(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case startLook:
		return j.liveLook(ctx)
	case startTasks:
		return j.liveTasks(ctx)
	case liveArchive:
		j.call("read archive")
		a, err := j.pve().ExtractConfig(ctx, j.run.Assignment.Point.Volid)
		if err != nil {
			return j.trouble(err)
		}
		m.archive, m.phase = &a, startBeside
		return j.now, nil
	case startBeside:
		next, done := j.startBeside(ctx)
		if m.phase == startTasks { // they were looked at already
			m.phase = startConfirm
		}
		return next, done
	case startConfirm:
		return j.confirm(ctx, startPost)
	case startPost:
		return j.livePost(ctx)
	case startWatch:
		return j.liveWatch(ctx)
	case liveConfirm:
		return j.confirm(ctx, liveStart)
	case liveStart:
		return j.liveStart(ctx)
	}
	return j.liveRead(ctx) // read, and read-again
}

// liveLook asks what stands under our id.
func (j *job) liveLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	m.stub = err == nil
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound && j.step.Attempt == 1 && j.w.fresh:
		m.phase = liveArchive
		return j.now, nil
	case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
		return j.trouble(err)
	case m.stub && !j.ours(c) && !c.Bare() && c.Lock() != "create":
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("id %d is taken by a guest that is not ours", j.run.VMID)}
	}
	m.phase = startTasks
	return j.now, nil
}

// liveTasks looks for our own restore of this id. What has ended badly is gone, and what it
// left may have run: only a person removes it.
func (j *job) liveTasks(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	found, ok, err := j.ownTask(ctx, "look at tasks", j.taskType())
	switch {
	case err != nil:
		return j.trouble(err)
	case ok && (found.Running || m.stub && found.OK()):
		m.upid, m.phase = found.UPID, startWatch
		return j.tell(ctx, failover.StepMoved{UPID: found.UPID.String()})
	case m.stub && ok && j.step.UPID != found.UPID.String(): // the log is to know whose remains these are
		m.upid, m.phase = found.UPID, startWatch
		return j.tell(ctx, failover.StepMoved{UPID: found.UPID.String()})
	case m.stub && ok:
		return j.now, j.broken(found.Exit)
	case m.stub:
		return j.now, j.broken("no task of ours is known that made it")
	}
	m.phase = liveArchive
	return j.now, nil
}

func (j *job) livePost(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if !j.worded(startConfirm) {
		return j.now, nil
	}
	host := j.host()
	if host.Restore == nil {
		return j.now, &outcome{failure: failover.FailFatal, note: "this site restores nothing any more"}
	}
	nets, err := proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN)
	if err != nil {
		return j.now, &outcome{failure: failover.FailFatal, note: clip(err.Error())}
	}
	r := j.request(host, nets)
	r.Live = true
	j.call("post live restore")
	j.w.fresh = false
	upid, err := j.pve().Restore(ctx, r)
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, startWatch
		return j.tell(ctx, failover.StepMoved{UPID: upid.String(), Total: m.archive.SavedBytes()})
	case proxmox.OutcomeUnknown, proxmox.Exists, proxmox.Locked, proxmox.Busy:
		m.phase = startLook // it may run already: look, never repeat
		if m.posts++; m.posts < maxPosts {
			return j.soon(), nil
		}
	}
	return j.trouble(err)
}

// liveWatch waits for the VM to run.
func (j *job) liveWatch(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.looked = !m.looked; m.looked { // the task and the guest by turns
		j.call("poll task")
		t, err := j.pve().Task(ctx, m.upid)
		if err == nil && !t.Running && !t.OK() {
			return j.now, j.broken(t.Exit)
		}
		if err == nil && !t.Running {
			m.exit = t.Exit
		}
		return j.now, nil
	}
	j.call("look at status")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
		return j.trouble(err)
	case err == nil && !st.Running() && m.exit != "":
		m.phase = liveAgain
		return j.now, nil
	case err != nil || !st.Running():
		return j.soon(), nil
	}
	m.phase = liveRead
	return j.now, nil
}

// liveStart starts a VM whose disks became whole and which its host's own start has left off.
func (j *job) liveStart(ctx context.Context) (time.Time, *outcome) {
	if !j.worded(liveConfirm) {
		return j.now, nil
	}
	j.call("post start again")
	_, err := j.pve().Start(ctx, j.kind(), j.run.VMID)
	switch proxmox.KindOf(err) {
	case "", proxmox.OutcomeUnknown, proxmox.Running, proxmox.Busy:
		j.w.mem.phase, j.w.mem.exit = startWatch, ""
		return j.now.Add(2 * time.Second), nil
	}
	return j.trouble(err)
}

// liveRead reads back that it runs on no foreign VLAN (S11): a live restore leaves no time
// to do so before its start, which is why every NIC is overridden in the request.
func (j *job) liveRead(ctx context.Context) (time.Time, *outcome) {
	j.call("read guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil:
		return j.trouble(err)
	case !j.ours(c):
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d does not carry our marker", j.run.VMID)}
	}
	if net := j.foreignNet(c); net != "" {
		return j.now, &outcome{failure: failover.FailFatal, note: net + " is not on the structure's VLAN"}
	}
	if j.w.mem.phase == liveAgain {
		j.w.mem.phase = liveConfirm
		return j.now, nil
	}
	return j.now, &outcome{note: "runs; its disks follow"}
}

// whole waits for the end of the copying behind a VM that runs.
func (j *job) whole(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase == "" {
		j.call("poll task")
		step, _ := j.run.Step(failover.StepLive)
		upid, err := proxmox.ParseUPID(step.UPID)
		if err != nil {
			m.phase = liveRead
			return j.now, nil
		}
		t, err := j.pve().Task(ctx, upid)
		switch {
		case proxmox.KindOf(err) == proxmox.NotFound || proxmox.KindOf(err) == proxmox.BadRequest:
			m.phase = liveRead
			return j.now, nil
		case err != nil:
			return j.trouble(err)
		case t.Running:
			return j.now.Add(2 * time.Second), nil
		case !t.OK():
			return j.now, j.broken(t.Exit)
		}
		m.phase = liveRead
		return j.now, nil
	}
	if m.phase == liveRuns { // its host does not know the task, and it may go on all the same
		j.call("look at status")
		st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
		switch {
		case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
			return j.trouble(err)
		case err != nil || !st.Running():
			return j.now, j.broken("its task is gone")
		}
		m.phase = "" // the step's deadline ends this
		return j.now.Add(2 * time.Second), nil
	}
	j.call("read restored guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
		return j.trouble(err)
	case err == nil && j.ours(c) && c.Lock() == "create":
		m.phase = liveRuns
		return j.now, nil
	case err != nil || !j.ours(c):
		return j.now, j.broken("it is gone")
	}
	total := j.run.Assignment.Point.Size
	m.progress = proxmox.Progress{Known: true, Done: total, Total: total}
	return j.now, &outcome{}
}

// checkLive tells a VM that is off although its disks are whole, which may be started again,
// from one whose copying broke.
func (j *job) checkLive(ctx context.Context) (time.Time, *outcome) {
	j.call("read guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
		return j.trouble(err)
	case err != nil || !j.ours(c) || c.Lock() == "create":
		return j.now, j.broken("it was switched off")
	}
	j.w.mem.phase = checkConfirm
	return j.now, nil
}

// broken is a live restore that ended before the disks were whole.
func (j *job) broken(why string) *outcome {
	id, host := j.run.VMID, j.run.Assignment.Host
	return &outcome{failure: failover.FailBroke, note: clip(fmt.Sprintf(
		"the live restore of %d broke (%s): what was written to it since its start is lost; on %s: qm unlock %d; qm destroy %d; then wwwctl op retry %s restores it whole before it starts",
		id, cut(why, maxCause), host, id, id, j.op.ID))}
}
