package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a pull stands, or the verification of what it brought.
const (
	pullLook = ""
	pullJobs = "jobs"
	pullRun  = "run"
	pullPoll = "poll"
	pullSeen = "seen"

	readyRoom = "room" // is there room for the guest?
)

// ready pulls what there is of a guest's backups while it still runs: it proves the way
// on which the last one will come, and leaves little for that.
func (j *job) ready(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch {
	case j.w.e.PBS == nil:
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	case m.phase == readyRoom:
		return j.room(ctx)
	case j.run.Source.Site == j.run.Assignment.Target: // one PBS for both
		return j.pulled()
	case m.phase == pullSeen && m.failing == nil && j.morePulls():
		m.phase = pullJobs
		return j.now, nil
	}
	next, done := j.pullOn(ctx)
	if done != nil && done.failure == "" {
		return j.pulled()
	}
	return next, done
}

// pulled is what follows when all that there is lies here: at home there is a second copy,
// and perhaps no room for it.
func (j *job) pulled() (time.Time, *outcome) {
	if j.op.Kind != failover.KindFailback || j.run.Assignment.Replace != 0 {
		return j.now, &outcome{}
	}
	j.w.mem.phase = readyRoom
	return j.now, nil
}

// morePulls says whether other jobs may have to be run, too: into the namespaces of later
// lineages each site of the network has one from every other.
func (j *job) morePulls() bool {
	return j.op.Kind == failover.KindFailback || j.op.Kind == failover.KindRemoval
}

// pullOn goes on with a pull.
func (j *job) pullOn(ctx context.Context) (time.Time, *outcome) {
	switch m := &j.w.mem; m.phase {
	case pullLook, pullJobs:
		return j.pullJobs(ctx)
	case pullRun:
		return j.pullRun(ctx)
	case pullPoll:
		return j.pullPoll(ctx)
	default:
		if m.failing != nil {
			return j.now, m.failing
		}
		return j.now, &outcome{}
	}
}

// pull fetches the last backup. It is done when the backup is here, by whatever run.
func (j *job) pull(ctx context.Context) (time.Time, *outcome) {
	switch m := &j.w.mem; {
	case j.w.e.PBS == nil:
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	case m.phase == pullLook || m.phase == pullSeen:
		return j.pullLook(ctx)
	default:
		return j.pullOn(ctx)
	}
}

// wanted is a backup that is to be here.
type wanted struct {
	pve         *proxmox.PVE // that reads it
	storage, ns string
	id          int
	at          time.Time
}

// wanted is the backup that the step fetches.
func (j *job) wanted() wanted {
	if j.step.ID == failover.StepSealCopy {
		return wanted{
			pve: j.w.e.PVE, storage: j.sealedEntry(), ns: failover.SealedNamespace(j.s.Network.Home(j.run.Assignment.Guest)),
			id: j.loser().VMID, at: j.run.Sealed[0].Point.Time,
		}
	}
	a := j.run.Assignment
	return wanted{pve: j.pve(), storage: a.Point.Storage, ns: a.Point.Namespace, id: j.run.Source.VMID, at: j.run.Source.Final}
}

func (j *job) pullLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look for last backup")
	want := j.wanted()
	rows, err := want.pve.Backups(ctx, want.storage, want.id)
	if err != nil {
		return j.trouble(err)
	}
	for _, b := range rows {
		if b.Time.Equal(want.at) && b.Kind == j.kind() && b.Size > 0 {
			p := j.run.Assignment.Point
			p.Storage, p.Namespace = want.storage, want.ns
			p.Volid, p.Time, p.Size, p.Verified, p.Protected = b.Volid, b.Time, b.Size, false, b.Protected
			m.leaving.point = p
			return j.now, &outcome{}
		}
	}
	if m.phase == pullSeen && !j.morePulls() {
		return j.now, j.notBrought()
	}
	m.phase = pullJobs
	return j.now, nil
}

// notBrought is how a pull ends that has not brought what it was to.
func (j *job) notBrought() *outcome {
	m := &j.w.mem
	if m.failing == nil {
		m.failing = &outcome{failure: failover.FailTransient, note: "the pull ended well and has not brought the backup of " + j.wanted().at.UTC().Format(time.RFC3339)}
	}
	return m.failing
}

// pullJobs finds the job that pulls into the namespace of this guest's backups, or what
// became of a run whose task nobody told.
func (j *job) pullJobs(ctx context.Context) (time.Time, *outcome) {
	m, l := &j.w.mem, &j.w.mem.leaving
	j.call("list pull jobs")
	jobs, err := j.w.e.PBS.SyncJobs(ctx)
	if err != nil {
		return j.trouble(err)
	}
	ns := j.wanted().ns
	for _, job := range jobs {
		if job.Direction != "pull" || job.NS != ns || l.pulled[job.ID] && !(l.asked && job.ID == l.job) {
			continue
		}
		if l.asked && job.ID == l.job {
			if job.LastUPID == l.before {
				if j.at.Sub(m.since) > unseen { // it may never have begun: one that runs refuses to begin again
					m.phase = pullRun
				}
				return j.now.Add(2 * time.Second), nil
			}
			l.asked = false // seen: looking for it again would find it again
			if m.phase = pullSeen; job.LastState != "OK" {
				m.failing = &outcome{failure: failover.FailTransient, note: clip("pull job " + job.ID + ": " + job.LastState)}
			}
			return j.now, nil
		}
		l.job, l.before, m.phase = job.ID, job.LastUPID, pullRun
		return j.now, nil
	}
	switch {
	case len(l.pulled) > 0 && j.step.ID == failover.StepReady:
		return j.now, &outcome{}
	case len(l.pulled) > 0:
		return j.now, j.notBrought()
	}
	return j.now, &outcome{failure: failover.FailTarget, note: fmt.Sprintf("no pull job into namespace %q is seen here", ns)}
}

func (j *job) pullRun(ctx context.Context) (time.Time, *outcome) {
	m, l := &j.w.mem, &j.w.mem.leaving
	if l.pulled == nil {
		l.pulled = map[string]bool{}
	}
	if j.morePulls() {
		l.pulled[l.job] = true
	}
	j.call("run pull job")
	task, err := j.w.e.PBS.RunSync(ctx, l.job)
	switch {
	case err == nil && task != "":
		l.task, l.asked, m.phase, m.since = task, false, pullPoll, j.at
		return j.soon(), nil
	case err == nil, proxmox.KindOf(err) == proxmox.OutcomeUnknown && m.posts < maxPulls:
		m.posts++
		l.asked, m.phase, m.since = true, pullJobs, j.at
		return j.now.Add(2 * time.Second), nil
	case proxmox.KindOf(err) == proxmox.Other && m.posts < maxPulls: // it runs already, for another guest or by its schedule
		m.posts++
		return j.now.Add(2 * time.Second), nil
	}
	return j.trouble(err)
}

// unseen is how long a pull without a task's id may take before it is asked for again.
const unseen = 15 * time.Second

// maxPulls is how often a job that runs already is asked for again, every two seconds.
const maxPulls = 300

func (j *job) pullPoll(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("poll pull")
	t, err := j.w.e.PBS.Task(ctx, m.leaving.task)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.phase = pullSeen
	case err != nil:
		return j.trouble(err)
	case t.Running:
		return j.soon(), nil
	default:
		if m.phase = pullSeen; !t.OK() {
			m.failing = &outcome{failure: failover.FailTransient, note: clip("pull: " + t.Exit)}
		}
	}
	return j.now, nil
}

// verifyLast has this site's PBS read the last backup whole, before anything is given to it.
func (j *job) verifyLast(ctx context.Context) (time.Time, *outcome) {
	snap, err := j.snapshot()
	if err != nil || j.w.e.PBS == nil {
		return j.now, &outcome{failure: failover.FailFatal, note: "there is nothing to verify"}
	}
	return j.verify(ctx, snap)
}

// verify has this site's PBS read a snapshot whole.
func (j *job) verify(ctx context.Context, snap proxmox.Snapshot) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase != pullPoll {
		j.call("verify last backup")
		task, err := j.w.e.PBS.Verify(ctx, snap)
		switch proxmox.KindOf(err) {
		case "":
			m.leaving.task, m.phase = task, pullPoll
			return j.soon(), nil
		case proxmox.NotFound:
			return j.now, &outcome{failure: failover.FailPoint, note: clip(err.Error())}
		case proxmox.OutcomeUnknown:
			return j.now, &outcome{failure: failover.FailTransient, note: clip(err.Error())}
		}
		return j.trouble(err)
	}
	j.call("poll verification")
	t, err := j.w.e.PBS.Task(ctx, m.leaving.task)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.phase = ""
	case err != nil:
		return j.trouble(err)
	case t.Running:
	case t.OK():
		return j.now, &outcome{}
	case t.Interrupted():
		return j.now, &outcome{failure: failover.FailTransient, note: clip("verification: " + t.Exit)}
	default:
		return j.now, &outcome{failure: failover.FailPoint, note: clip("verification: " + t.Exit)}
	}
	return j.soon(), nil
}
