package agent

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the start at home stands.
const (
	backLook    = ""
	backTasks   = "tasks"
	backCancel  = "cancel"
	backStatus  = "status"
	backConfirm = "confirm"
	backBoot    = "boot"
	backPost    = "post"
	backPoll    = "poll"
	backWatch   = "watch"
)

// revive starts the guest at home again, as it was before a switchover touched it. What
// of that still runs, a shutdown or a backup, ends first.
func (j *job) revive(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	m := &j.w.mem
	switch m.phase {
	case backLook:
		return j.homeConfig(ctx, h, backTasks)
	case backTasks:
		return j.backTasks(ctx, h)
	case backCancel:
		j.call("cancel backup")
		if err := h.PVE.CancelTask(ctx, m.upid); err != nil {
			return j.trouble(err)
		}
		m.phase = backLook
		return j.now.Add(2 * time.Second), nil
	case backStatus:
		return j.backStatus(ctx, h)
	case backConfirm:
		return j.confirm(ctx, backBoot)
	case backBoot:
		if !j.worded(backConfirm) {
			return j.now, nil
		}
		m.phase = backPost
		if m.leaving.onboot || !j.from().OnBoot {
			return j.now, nil
		}
		return j.setBoot(ctx, h, "1", backLook)
	case backPost:
		if j.step.ID == failover.StepRevive && j.run.Assignment.Keep == failover.KeepBack && !j.from().Ran {
			return j.now, &outcome{} // it was found off: it starts with its host again, if it did
		}
		return j.backPost(ctx, h)
	case backPoll:
		return j.pollHome(ctx, h, "poll start at home", backWatch)
	}
	st, err := j.homeStatus(ctx, h, "does it run again")
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.now, &outcome{}
	case m.failing != nil:
		return j.now, m.failing
	case j.at.Sub(m.since) > 2*time.Minute:
		return j.now, &outcome{failure: failover.FailTransient, note: "not running two minutes after its start"}
	}
	return j.soon(), nil
}

func (j *job) backTasks(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		return j.trouble(err)
	}
	if t, ok := newestOf(tasks, "shutdown", "stop"); ok && t.Running {
		return j.now.Add(2 * time.Second), nil
	}
	if t, ok := proxmox.FindTask(tasks, "vzdump", j.from().VMID, h.PVE.TokenID(), time.Time{}); ok && t.Running {
		m.upid, m.phase = t.UPID, backCancel
		return j.now, nil
	}
	if t, ok := newestOf(tasks, "start"); ok && t.Running {
		m.upid, m.phase = t.UPID, backPoll
		return j.soon(), nil
	}
	m.phase = backStatus
	return j.now, nil
}

// backStatus looks twice at a guest that runs: a shutdown without an answer may only
// just have arrived.
func (j *job) backStatus(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	st, err := j.homeStatus(ctx, h, "look at guest at home")
	kept := m.leaving.onboot || !j.from().OnBoot
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running() && !m.leaving.again:
		m.leaving.again, m.phase = true, backLook
		return j.now.Add(3 * time.Second), nil
	case st.Running() && kept:
		return j.now, &outcome{}
	}
	m.phase = backConfirm
	return j.now, nil
}

func (j *job) backPost(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	if !j.worded(backConfirm) {
		return j.now, nil
	}
	j.call("post start at home")
	upid, err := h.PVE.Start(ctx, j.kind(), j.from().VMID)
	m.phase, m.since = backWatch, j.at
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, backPoll
		return j.soon(), nil
	case proxmox.OutcomeUnknown, proxmox.Running, proxmox.Busy:
		return j.soon(), nil
	}
	m.phase = backPost
	return j.trouble(err)
}
