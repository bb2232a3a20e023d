package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the look at a warm copy stands, before it is used or removed.
const (
	warmLook  = ""            // is it there, ours, as it was restored?
	warmTasks = "tasks: warm" // has anybody started it since?
	warmSeen  = "seen: warm"  // does it run?
)

// marks returns the operation that the marker of a run's copy names: of a warm
// copy the one that restored it, of one that a guest is stuck with that in which it is.
func (j *job) marks() failover.OpID {
	switch {
	case j.run.Assignment.Warm != "":
		return j.run.Assignment.Warm
	case j.run.FromStuck():
		return j.run.Source.Of
	}
	return j.op.Marks()
}

// role is what a copy is for, in its marker.
func (j *job) role() string {
	if j.op.Kind == failover.KindWarm {
		return "standby"
	}
	return "away"
}

// theirs says that a copy is not what we made any more. Whoever did that may
// have users on it (S7).
func theirs(format string, args ...any) *outcome {
	return &outcome{failure: failover.FailStarted, note: clip(fmt.Sprintf(format, args...))}
}

// useWarm makes sure that the warm copy which a run counts on is what was
// restored, and never ran: then nothing has to be restored.
func (j *job) useWarm(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase != warmLook {
		return j.neverRan(ctx, func() (time.Time, *outcome) {
			total := j.run.Assignment.Point.Size
			m.progress = proxmox.Progress{Known: true, Done: total, Total: total}
			return j.now, &outcome{note: "the warm copy was used"}
		})
	}
	j.call("look at warm copy")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		return j.now, &outcome{failure: failover.FailPoint, note: fmt.Sprintf("warm copy %d is gone", j.run.VMID)}
	case err != nil:
		return j.trouble(err)
	case !j.ours(c):
		return j.now, theirs("guest %d does not carry our marker", j.run.VMID)
	case c.Lock() != "":
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("guest %d is locked (%s)", j.run.VMID, c.Lock())}
	case c.Values["onboot"] == "1" || c.Values["template"] == "1":
		return j.now, theirs("guest %d was changed: onboot or template is set", j.run.VMID)
	}
	if net := j.foreignNet(c); net != "" {
		return j.now, theirs("%s of guest %d is not on the structure's VLAN", net, j.run.VMID)
	}
	m.phase = warmTasks
	return j.now, nil
}

// neverRan looks whether anybody has started a warm copy since it was restored;
// then is what follows if nobody has.
func (j *job) neverRan(ctx context.Context, then func() (time.Time, *outcome)) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase == warmTasks {
		j.call("look for starts of warm copy")
		tasks, err := j.pve().Tasks(ctx, proxmox.TaskFilter{VMID: j.run.VMID})
		if err != nil {
			return j.trouble(err)
		}
		if t, ok := startOf(tasks); ok {
			return j.now, theirs("guest %d was started at %s by %s", j.run.VMID, t.UPID.Start.UTC().Format(time.RFC3339), t.UPID.Auth)
		}
		m.phase = warmSeen
		return j.now, nil
	}
	j.call("look at status of warm copy")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.now, theirs("guest %d runs", j.run.VMID)
	}
	return then()
}

// removeWarm removes a warm copy, or what there is of one, like any copy of
// ours. Nothing was pinned for it, and what must be left alone is somebody's.
func (j *job) removeWarm(ctx context.Context) (time.Time, *outcome) {
	if j.w.mem.phase == cleanUnpin {
		return j.now, &outcome{}
	}
	next, done := j.cleanup(ctx)
	if done != nil && done.failure == failover.FailFatal {
		done.failure = failover.FailStarted
	}
	return next, done
}

// readStarts looks whether somebody has started a warm copy of this site: the
// lists of tasks are cut off after a while, so that the log has to know.
func (r *Readiness) readStarts(ctx context.Context, id int) error {
	tasks, err := r.PVE.Tasks(ctx, proxmox.TaskFilter{VMID: id})
	if err != nil {
		return err
	}
	if _, ok := startOf(tasks); ok {
		r.round.Started = append(r.round.Started, id)
	}
	return nil
}

// watchWarm plans a look at each warm copy of this site.
func (r *Readiness) watchWarm(s *failover.State) {
	for _, id := range s.WarmIDs(r.Site) {
		r.queue = append(r.queue, func(ctx context.Context) error { return r.readStarts(ctx, id) })
	}
}

// unverifiedWarm returns a restore point that a warm copy here waits for and
// whose verification was not asked for yet.
func (r *Readiness) unverifiedWarm(s *failover.State) (failover.RestorePoint, bool) {
	points := failover.WarmToVerify(s, r.Site)
	asked := map[string]bool{}
	for _, p := range points {
		asked[p.Volid] = r.verifying.warm[p.Volid]
	}
	r.verifying.warm = asked // others are verified, or wanted no more
	for _, p := range points {
		if !asked[p.Volid] {
			asked[p.Volid] = true
			return p, true
		}
	}
	return failover.RestorePoint{}, false
}
