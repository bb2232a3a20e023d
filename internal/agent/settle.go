package agent

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a settling stands once the copy starts with its host.
const (
	settleStatus  = "running"
	settleBoot    = "host's start"
	settleConfirm = "confirm"
	settleStart   = "start"
)

// settle lets the copy that came home start with its host, as the one before it did. If the host has
// started between the copy's start and that moment, the copy is off and nobody else would start it.
func (j *job) settle(ctx context.Context) (time.Time, *outcome) {
	switch j.w.mem.phase {
	case settleStatus:
		return j.settleStatus(ctx)
	case settleBoot:
		return j.settleBoot(ctx)
	case settleConfirm:
		return j.confirm(ctx, settleStart)
	case settleStart:
		return j.settleStart(ctx)
	}
	want := j.run.Left.OnBoot || j.run.Left.Site == ""
	next, done := j.amend(ctx, j.run.VMID, func(c proxmox.GuestConfig) (map[string]string, []string) {
		if !want || c.Values["onboot"] == "1" {
			return nil, nil
		}
		return map[string]string{"onboot": "1"}, nil
	})
	if want && done != nil && done.failure == "" {
		j.w.mem.phase = settleStatus
		return j.now, nil
	}
	return next, done
}

func (j *job) settleStatus(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("does it run")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running() || m.restarted:
		return j.now, &outcome{}
	}
	m.phase = settleBoot
	return j.now, nil
}

// settleBoot tells a copy that went off with its host from one that somebody has put off since it was
// started: that one stays off.
func (j *job) settleBoot(ctx context.Context) (time.Time, *outcome) {
	j.call("since when does the host run")
	n, err := j.pve().NodeStatus(ctx)
	if err != nil {
		return j.trouble(err)
	}
	if n.Uptime <= 0 { // it has just come up, and counts in seconds
		return j.now.Add(2 * time.Second), nil
	}
	start, _ := j.run.Step(failover.StepStart)
	if !j.at.Add(-n.Uptime).After(start.Ended.At) {
		return j.now, &outcome{note: "it was put off since it was started"}
	}
	j.w.mem.phase = settleConfirm
	return j.now, nil
}

func (j *job) settleStart(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if !j.worded(settleConfirm) {
		return j.now, nil
	}
	j.call("post start again")
	_, err := j.pve().Start(ctx, j.kind(), j.run.VMID)
	m.restarted, m.phase = proxmox.KindOf(err) != proxmox.Unreachable, settleStatus
	switch proxmox.KindOf(err) {
	case "", proxmox.OutcomeUnknown, proxmox.Running, proxmox.Busy:
		return j.now.Add(2 * time.Second), nil
	}
	return j.trouble(err)
}
