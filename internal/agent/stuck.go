package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the look at a copy stands that its guest is stuck with, before a failback leaves it.
const (
	neverLook  = ""
	neverTasks = "tasks: never ran"
	neverSeen  = "status: never ran"
	neverTell  = "tell: never ran"
	neverTold  = "told: never ran"
	everRan    = "it may have run"
)

// stuckPhases are those of this look.
var stuckPhases = map[string]bool{neverLook: true, neverTasks: true, neverSeen: true, neverTell: true, neverTold: true}

// leaveStuck looks whether the copy away, which was never served, has ever run. If its host
// proves that it has not, there is nothing to shut down and nothing to seal; else it is left like
// any copy that serves.
func (j *job) leaveStuck(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case neverLook:
		return j.neverLook(ctx, h)
	case neverTasks:
		tasks, err := j.homeTasks(ctx, h)
		if err != nil {
			return j.trouble(err)
		}
		if t, may := j.mayHaveRun(tasks); may {
			return j.ranStuck(t)
		}
		m.phase = neverSeen
		return j.now, nil
	case neverSeen:
		st, err := j.homeStatus(ctx, h, "does it run")
		switch {
		case err != nil:
			return j.trouble(err)
		case st.Running():
			return j.ranStuck("it runs")
		}
		m.phase = neverTell
		return j.now, nil
	case neverTell:
		if j.from().Unstarted {
			return j.now, &outcome{} // the log knows, and it is so still
		}
		m.phase = neverTold
		return j.tell(ctx, failover.StepMoved{Found: &failover.Found{Unstarted: true, Gone: m.absent}})
	}
	if m.phase = neverTell; !j.from().Unstarted {
		return j.now.Add(behindPause), nil
	}
	return j.now, nil
}

// neverLook makes sure that the id stands for the copy that the guest is stuck with, or for
// nothing, or for the rest of its restore.
func (j *job) neverLook(ctx context.Context, h Hand) (time.Time, *outcome) {
	m, id := &j.w.mem, j.from().VMID
	j.call("look at stuck copy")
	c, err := h.PVE.GuestConfig(ctx, j.kind(), id)
	stub := err == nil && (c.Bare() || c.Lock() == "create")
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.absent, m.phase = true, neverTell
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	case j.s.HeldData(j.run):
		return j.ranStuck("it has served before")
	case !stub && !j.ours(c):
		return j.fatally("guest %d on %s does not carry our marker for %s: look whose it is", id, j.from().Host, j.run.Assignment.Guest)
	case c.Values["onboot"] == "1":
		return j.ranStuck("somebody has set that it starts with its host")
	}
	m.phase = neverTasks
	return j.now, nil
}

// ranStuck goes on as with any copy that users may have written to, if there are places to seal it.
func (j *job) ranStuck(why string) (time.Time, *outcome) {
	id, host := j.from().VMID, j.from().Host
	switch {
	case j.from().Unstarted:
		return j.fatally("copy %d on %s has run since it was looked at: %s", id, host, why)
	case j.run.Assignment.Vault == "":
		return j.fatally("copy %d on %s may hold what somebody wrote (%s), and there are no two places to seal it: wwwctl gen lineages %s",
			id, host, why, j.from().Site)
	}
	j.w.mem.phase = everRan
	return j.now, nil
}

// mayHaveRun says by the tasks of an id, whoever asked for them, whether what it stands for now
// may ever have run, and why that is thought. It has not if its beginning is among them, every
// start since was refused before anything ran, and it is not what a live restore has made: that
// starts a VM within its own task (pve-docs, vzdump.adoc, "Live-Restore").
func (j *job) mayHaveRun(tasks []proxmox.TaskStatus) (why string, may bool) {
	live, lived := j.s.LiveOf(j.run.Assignment.Guest, j.run.Source.Epoch)
	began := lifeBegan(tasks)
	if began.IsZero() {
		return "no task says since when it is there", true
	}
	for _, t := range tasks {
		if t.UPID.Start.Before(began) || t.StartRefused() {
			continue
		}
		if lived && t.UPID.Type == "qmrestore" && (live.UPID == "" || live.UPID == t.UPID.String()) {
			return "the live restore at " + t.UPID.Start.UTC().Format("2006-01-02 15:04:05Z"), true
		}
		switch t.UPID.Type {
		case "qmstart", "vzstart", "qmstop", "vzstop", "qmshutdown", "vzshutdown", "qmreboot", "vzreboot", "qmreset",
			"qmsuspend", "vzsuspend", "qmresume", "vzresume", "qmpause":
			return fmt.Sprintf("%s at %s by %s", t.UPID.Type, t.UPID.Start.UTC().Format("2006-01-02 15:04:05Z"), t.UPID.Auth), true
		}
	}
	return "", false
}

// stillStuck makes sure that nobody has started a copy that had never run.
func (j *job) stillStuck(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase == neverLook {
		st, err := j.homeStatus(ctx, h, "is it still off")
		switch {
		case proxmox.KindOf(err) == proxmox.NotFound:
			return j.now, &outcome{}
		case err != nil:
			return j.trouble(err)
		case st.Running():
			return j.ranStuck("it runs")
		}
		m.phase = neverTasks
		return j.now, nil
	}
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		return j.trouble(err)
	}
	if t, may := j.mayHaveRun(tasks); may {
		return j.ranStuck(t)
	}
	return j.now, &outcome{}
}
