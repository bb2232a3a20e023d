package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the parking of the copy at home stands, or its opposite.
const (
	parkLook   = ""
	parkStatus = "status"
	parkTasks  = "tasks"
	parkSet    = "set"
	parkLocked = "locked"
)

// park keeps the copy at home, which is sealed, under its own id: off, its cables out,
// protected. Nothing of its disks is touched. Who has started it since its last backup has
// written what is in no seal: then a person decides.
func (j *job) park(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	m, id := &j.w.mem, j.from().VMID
	switch m.phase {
	case parkLook:
		c, next, done := j.homeCopy(ctx, h, id)
		if done != nil || !next.IsZero() {
			return next, done
		}
		m.config = c
		m.phase = parkStatus
		return j.now, nil
	case parkStatus:
		return j.stillOff(ctx, h, parkTasks)
	case parkTasks:
		tasks, err := j.homeTasks(ctx, h)
		if err != nil {
			return j.trouble(err)
		}
		if t, ok := newestOf(tasks, "start"); ok && t.UPID.Start.After(j.run.Sealed[0].Point.Time) {
			return j.fatally("guest %d was started on %s since it was sealed, by %s", id, j.from().Host, t.UPID.Auth)
		}
		if m.config.Parked() {
			return j.now, &outcome{}
		}
		m.phase = parkSet
		return j.now, nil
	case parkLocked:
		return j.locked(ctx, h.PVE, id)
	}
	return j.change(ctx, h.PVE, id, "park", m.config.Park(string(j.op.ID), j.run.Left.OnBoot), nil)
}

// homeCopy reads a guest's configuration; zero time and nil: it was read.
func (j *job) homeCopy(ctx context.Context, h Hand, id int) (proxmox.GuestConfig, time.Time, *outcome) {
	j.call("read copy at home")
	c, err := h.PVE.GuestConfig(ctx, j.kind(), id)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		j.w.mem.absent = true
		next, done := j.fatally("guest %d is not on %s any more", id, j.run.Assignment.Host)
		return c, next, done
	case err == nil && c.Forked() && (j.step.ID == failover.StepPark || j.step.ID == failover.StepUnpark):
		// The fork was begun before this failback, and done when its agent could not tell any more.
		next, done := j.fatally("copy %d on %s has become a guest of its own meanwhile; wwwctl failback fork %s --copy %s/%d takes note of that",
			id, j.changes(), j.run.Assignment.Guest, j.changes(), id)
		return c, next, done
	case err != nil:
		next, done := j.trouble(err)
		return c, next, done
	}
	return c, time.Time{}, nil
}

// change makes one change of a guest's configuration, which is looked at again afterwards.
func (j *job) change(ctx context.Context, pve *proxmox.PVE, id int, what string, set map[string]string, del []string) (time.Time, *outcome) {
	m := &j.w.mem
	j.call(what)
	err := pve.SetConfig(ctx, j.kind(), id, set, del, m.config.Digest)
	m.phase = parkLook
	switch proxmox.KindOf(err) {
	case "":
		return j.now, nil
	case proxmox.Locked:
		m.phase = parkLocked
		return j.now, nil
	case proxmox.Changed, proxmox.OutcomeUnknown, proxmox.Busy:
		if m.posts++; m.posts < maxPulls {
			return j.now.Add(2 * time.Second), nil
		}
	}
	return j.trouble(err)
}

// locked waits for what has locked a copy, a backup say, if it is still at work. A crash of its host leaves
// the lock of what was at work then, and nothing takes that away but a person.
func (j *job) locked(ctx context.Context, pve *proxmox.PVE, id int) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("is anything at work on copy")
	tasks, err := pve.Tasks(ctx, proxmox.TaskFilter{Source: proxmox.ActiveTasks})
	if err != nil {
		return j.trouble(err)
	}
	works := slices.ContainsFunc(tasks, func(t proxmox.TaskStatus) bool {
		return t.Running && (t.UPID.ID == strconv.Itoa(id) || t.UPID.Type == "vzdump") // one of many guests names none
	})
	if works || m.config.Lock() == "" { // it was locked after it was read
		m.phase = parkLook
		return j.now.Add(5 * time.Second), nil
	}
	retry := fmt.Sprintf("; and wwwctl op retry %s", j.op.ID)
	if j.step.ID == failover.StepPark || j.step.ID == failover.StepUnpark { // both copies are then as they were
		retry = ""
	}
	return j.fatally("copy %d is locked (%s) by what ended badly: look into it, then on %s: %s unlock %d%s", id, m.config.Lock(), j.changes(), j.tool(), id, retry)
}

// changes is the host of the copy that a step changes: that at home, or for a fork its own.
func (j *job) changes() failover.HostID {
	if j.step.ID == failover.StepPark || j.step.ID == failover.StepRejoin {
		return j.from().Host
	}
	return j.run.Assignment.Host
}

// unpark makes the copy that goes on, at home or where it was left, one that can serve again. It is
// not started here. One that is away must be on its structure's VLAN before anything moves to it.
func (j *job) unpark(ctx context.Context) (time.Time, *outcome) {
	var foreign string
	next, done := j.amend(ctx, j.run.VMID, func(c proxmox.GuestConfig) (map[string]string, []string) {
		if j.run.Assignment.Keep == failover.KeepBack {
			foreign = j.foreignNet(c)
		}
		return c.Unpark()
	})
	if done != nil && done.failure == "" && foreign != "" {
		return j.fatally("copy %d on %s: %s is not on the structure's VLAN", j.run.VMID, j.run.Assignment.Host, foreign)
	}
	return next, done
}

// amend changes a guest at home until there is nothing left to change.
func (j *job) amend(ctx context.Context, id int, change func(proxmox.GuestConfig) (map[string]string, []string)) (time.Time, *outcome) {
	m := &j.w.mem
	h := Hand{PVE: j.pve()}
	if h.PVE == nil {
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("no right on %s (hands:)", j.run.Assignment.Host)}
	}
	if m.phase == parkLook {
		c, next, done := j.homeCopy(ctx, h, id)
		if done != nil || !next.IsZero() {
			return next, done
		}
		if set, del := change(c); len(set)+len(del) == 0 {
			return j.now, &outcome{}
		}
		m.config, m.phase = c, parkSet
		return j.now, nil
	}
	if m.phase == parkLocked {
		return j.locked(ctx, h.PVE, id)
	}
	set, del := change(m.config)
	return j.change(ctx, h.PVE, id, string(j.step.ID), set, del)
}

// rejoin gives the copy at home back to its people as it was found: it ran.
func (j *job) rejoin(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if !m.unparked {
		next, done := j.amend(ctx, j.from().VMID, func(c proxmox.GuestConfig) (map[string]string, []string) { return c.Unpark() })
		if m.absent && j.run.Assignment.Replace != 0 {
			return j.now, &outcome{gone: true, note: fmt.Sprintf("copy %d is not on %s any more", j.from().VMID, j.from().Host)}
		}
		if done == nil || done.failure != "" {
			return next, done
		}
		m.unparked, m.phase = true, backLook
		return j.now, nil
	}
	return j.revive(ctx)
}
