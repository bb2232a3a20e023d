package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Hand is a host of this site whose guests the agent may shut down, back up and start
// again, for a planned move.
type Hand struct {
	PVE    *proxmox.PVE
	Backup string // storage entry of the host for the last backup: this site's own PBS
}

// leaving is what a worker learned about a guest at home.
type leaving struct {
	digest  string // of its configuration
	onboot  bool
	stop    bool // it may be, and is to be, switched off
	runs    bool // it was found running
	again   bool // seen running once
	dump    proxmox.UPID
	point   failover.RestorePoint // the backup that was found
	started proxmox.TaskStatus    // the newest start before the backup
	adopts  bool                  // the task of the backup was found, not begun

	job    string          // that pulls
	pulled map[string]bool // jobs that were run
	before string          // its last run, before ours
	asked  bool
	task   string // of this site's PBS
}

// shutdownWithin is how long a guest may take to shut down.
const shutdownWithin = 3 * time.Minute

// Where a shutdown stands.
const (
	downLook    = ""
	downStatus  = "status"
	downTell    = "tell"
	downTold    = "told"
	downTasks   = "tasks"
	downConfirm = "confirm"
	downKeep    = "keep off"
	downPost    = "post"
	downPoll    = "poll"
	downWatch   = "watch"
)

// from is the copy that the step takes care of where it is left.
func (j *job) from() failover.Source { return j.run.Leaves(j.step.ID) }

// hand is the host that the guest leaves.
func (j *job) hand() (Hand, *outcome) {
	host := j.from().Host
	h, ok := j.w.e.Hands[host]
	returns := j.op.Kind == failover.KindReturn || j.op.Kind == failover.KindWake
	seals := j.op.Kind == failover.KindFailback || j.op.Kind == failover.KindRemoval
	if own, _, here := j.s.Network.Target(j.w.e.Site); (returns || seals) && here && own == host {
		h, ok = Hand{PVE: j.w.e.PVE}, true // Raoull's own
	}
	if seals {
		h.Backup = j.lineageEntry()
	}
	sealless := j.run.FromStuck() && j.step.ID != failover.StepSeal // what never ran needs no place to be sealed
	if !ok || h.PVE == nil || h.Backup == "" && !returns && !sealless {
		return h, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("no right on %s: wwwd.yaml names no token and backup storage for it (hands:)", host)}
	}
	return h, nil
}

// fatally is for a change that a person made: nothing is guessed from it.
func (j *job) fatally(format string, args ...any) (time.Time, *outcome) {
	return j.now, &outcome{failure: failover.FailFatal, note: clip(fmt.Sprintf(format, args...))}
}

// shutdown shuts the guest down at home, after the log knows how it was. It does not
// start with its host any more: it must not run beside its new copy.
func (j *job) shutdown(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	m := &j.w.mem
	if stuckPhases[m.phase] && j.run.FromStuck() && (j.from().Found.Index == 0 || j.from().Unstarted) {
		return j.leaveStuck(ctx, h)
	}
	switch m.phase {
	case downLook, everRan:
		return j.homeConfig(ctx, h, downStatus)
	case downStatus:
		return j.downStatus(ctx, h)
	case downTell:
		m.phase = downTold
		return j.tell(ctx, failover.StepMoved{Found: &failover.Found{OnBoot: m.leaving.onboot, Running: m.leaving.runs}})
	case downTold:
		if m.phase = downTell; j.from().Found.Index != 0 {
			m.phase = downConfirm
		}
		return j.now.Add(behindPause), nil
	case downTasks:
		return j.downTasks(ctx, h)
	case downConfirm:
		return j.confirm(ctx, downKeep)
	case downKeep:
		if !j.worded(downConfirm) {
			return j.now, nil
		}
		m.phase = downPost
		if !m.leaving.onboot {
			return j.now, nil
		}
		return j.setBoot(ctx, h, "0", downLook)
	case downPost:
		return j.downPost(ctx, h)
	case downPoll:
		return j.pollHome(ctx, h, "poll shutdown", downWatch)
	}
	return j.downWatch(ctx, h)
}

// homeConfig reads the guest's configuration at home.
func (j *job) homeConfig(ctx context.Context, h Hand, next string) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("read guest at home")
	c, err := h.PVE.GuestConfig(ctx, j.kind(), j.from().VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		return j.fatally("guest %d is not on %s any more", j.from().VMID, j.from().Host)
	case err != nil:
		return j.trouble(err)
	case c.Values["template"] == "1":
		return j.fatally("guest %d is a template", j.from().VMID)
	}
	m.leaving.digest, m.leaving.onboot, m.phase = c.Digest, c.Values["onboot"] == "1", next
	return j.now, nil
}

func (j *job) homeStatus(ctx context.Context, h Hand, why string) (proxmox.GuestStatus, error) {
	j.call(why)
	return h.PVE.GuestStatus(ctx, j.kind(), j.from().VMID)
}

func (j *job) homeTasks(ctx context.Context, h Hand) ([]proxmox.TaskStatus, error) {
	j.call("look at tasks at home")
	return h.PVE.Tasks(ctx, proxmox.TaskFilter{VMID: j.from().VMID})
}

// stillOff goes on only if nobody started the guest after its shutdown.
func (j *job) stillOff(ctx context.Context, h Hand, next string) (time.Time, *outcome) {
	st, err := j.homeStatus(ctx, h, "is it still off")
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.fatally("guest %d was started at home after its shutdown", j.from().VMID)
	}
	j.w.mem.phase = next
	return j.now, nil
}

// setBoot says whether the guest starts with its host, unless somebody changed the
// configuration meanwhile; then it is read again.
func (j *job) setBoot(ctx context.Context, h Hand, value, again string) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("set onboot " + value)
	err := h.PVE.SetConfig(ctx, j.kind(), j.from().VMID, map[string]string{"onboot": value}, nil, m.leaving.digest)
	switch proxmox.KindOf(err) {
	case "":
		m.leaving.onboot = value == "1"
		return j.now, nil
	case proxmox.Changed, proxmox.OutcomeUnknown, proxmox.Busy:
		m.phase = again
		return j.now.Add(2 * time.Second), nil
	case proxmox.Locked: // by a backup that runs, or by one that its host's crash has cut
		unlock := "qm"
		if j.kind() == proxmox.CT {
			unlock = "pct"
		}
		return j.now, &outcome{failure: failover.FailTransient, note: clip(fmt.Sprintf(
			"%v; if no backup of it runs, as root on %s: %s unlock %d; then %s",
			err, j.from().Host, unlock, j.from().VMID, j.tryAgain()))}
	}
	return j.trouble(err)
}

func (j *job) downStatus(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	st, err := j.homeStatus(ctx, h, "look at guest at home")
	known := j.from().Found.Index != 0
	// What an undo leaves may be off: what its guest is stuck with at home, say.
	mayBeOff := j.op.Kind == failover.KindReturn || j.step.ID == failover.StepLeave || j.run.FromStuck() || j.run.Assignment.Keep == failover.KeepBack
	m.leaving.runs = m.leaving.runs || err == nil && st.Running() && !known
	switch {
	case err != nil:
		return j.trouble(err)
	case st.HA:
		return j.fatally("guest %d is managed by HA, which would start it again: take it out of HA first", j.from().VMID)
	case !st.Running() && known && m.leaving.onboot:
		m.phase = downConfirm // off, and would start with its host
	case !st.Running() && known, j.leftOn():
		return j.now, &outcome{}
	case !st.Running() && !mayBeOff:
		return j.fatally("guest %d does not run on %s: start it, or leave it where it is", j.from().VMID, j.from().Host)
	case known:
		m.phase = downTasks
	case !st.Running():
		m.phase = downTell // it may start with its host
	default:
		m.phase = downTell
	}
	return j.now, nil
}

// leftOn says that a copy is not to be shut down at its site's return, only kept from
// starting with its host: it was off when the return began, or when it was looked at.
// Who starts it meanwhile means it, and it has users (S9).
func (j *job) leftOn() bool {
	from := j.from()
	return j.op.Kind == failover.KindReturn && from.Found.Index != 0 && (from.Off || !from.Ran)
}

// downTasks follows a shutdown that an earlier incarnation of this agent asked for.
func (j *job) downTasks(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	m.phase = downConfirm
	if j.w.fresh && j.step.Attempt == 1 {
		return j.now, nil
	}
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		m.phase = downTasks
		return j.trouble(err)
	}
	switch t, ok := newestOf(tasks, "shutdown"); {
	case ok && t.Running:
		m.upid, m.phase = t.UPID, downPoll
	case ok && !m.looked: // it may have ended since the guest was seen to run
		m.looked, m.phase = true, downLook
	}
	return j.now, nil
}

// newestOf finds the newest task of a guest that does one of the verbs to it ("start"
// is qmstart and vzstart), whoever asked for it.
func newestOf(tasks []proxmox.TaskStatus, verbs ...string) (proxmox.TaskStatus, bool) {
	var found proxmox.TaskStatus
	for _, t := range tasks {
		verb := t.UPID.Type
		if len(verb) > 2 && (strings.HasPrefix(verb, "qm") || verb != "vzdump" && strings.HasPrefix(verb, "vz")) {
			verb = verb[2:]
		}
		if slices.Contains(verbs, verb) && (found.UPID.IsZero() || t.UPID.Start.After(found.UPID.Start)) {
			found = t
		}
	}
	return found, !found.UPID.IsZero()
}

func (j *job) downPost(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	if j.leftOn() {
		return j.now, &outcome{}
	}
	if !j.worded(downConfirm) {
		return j.now, nil
	}
	j.w.fresh = false
	var upid proxmox.UPID
	var err error
	if m.leaving.stop {
		j.call("switch off")
		upid, err = h.PVE.Stop(ctx, j.kind(), j.from().VMID)
	} else {
		j.call("post shutdown")
		upid, err = h.PVE.Shutdown(ctx, j.kind(), j.from().VMID, shutdownWithin)
	}
	m.phase, m.since = downWatch, j.at
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, downPoll
		return j.soon(), nil
	case proxmox.OutcomeUnknown, proxmox.Busy:
		if m.posts++; m.posts < maxPosts { // asked twice it shuts down once
			m.phase = downTasks
		}
		return j.now.Add(2 * time.Second), nil
	case proxmox.NotRunning:
		return j.soon(), nil
	}
	m.phase = downPost
	return j.trouble(err)
}

// pollHome follows a task at home; whether it did what it was to do, the next phase sees.
func (j *job) pollHome(ctx context.Context, h Hand, what, next string) (time.Time, *outcome) {
	m := &j.w.mem
	j.call(what)
	t, err := h.PVE.Task(ctx, m.upid)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound || proxmox.KindOf(err) == proxmox.BadRequest:
		m.phase = next
	case err != nil:
		return j.trouble(err)
	case t.Running:
		return j.soon(), nil
	default:
		m.phase, m.failing = next, nil
		if !t.OK() {
			m.failing = &outcome{failure: failureOf(t.Err(nil)), note: clip(t.Exit)}
		}
	}
	return j.now, nil
}

func (j *job) downWatch(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	st, err := j.homeStatus(ctx, h, "is it off")
	switch {
	case err != nil:
		return j.trouble(err)
	case !st.Running():
		return j.now, &outcome{}
	case m.failing == nil && j.at.Sub(m.since) < shutdownWithin+30*time.Second:
		return j.soon(), nil
	case !m.leaving.stop && slices.Contains(j.op.Plan.Loss.HardStop, j.run.Assignment.Guest):
		m.leaving.stop, m.failing, m.phase = true, nil, downConfirm
		return j.now, nil
	}
	return j.fatally("guest %d did not shut down within %s, and nobody asked to switch it off (--stop %s)",
		j.from().VMID, shutdownWithin, j.run.Assignment.Guest)
}

// Where the last backup stands.
const (
	dumpLook  = ""
	dumpTasks = "tasks"
	dumpOff   = "off"
	dumpPost  = "post"
	dumpPoll  = "poll"
	dumpSince = "since"
	dumpList  = "list"
)

// backup makes the last backup of the guest, which is off. A backup counts only if its
// task began after the guest was off, by the clock of its host.
func (j *job) backup(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	m := &j.w.mem
	switch m.phase {
	case dumpLook:
		return j.stillOff(ctx, h, dumpTasks)
	case dumpTasks:
		return j.dumpTasks(ctx, h)
	case dumpOff:
		return j.stillOff(ctx, h, dumpPost)
	case dumpPost:
		return j.dumpPost(ctx, h)
	case dumpPoll:
		m.leaving.dump = m.upid
		return j.pollHome(ctx, h, "poll backup", dumpSince)
	case dumpSince:
		return j.dumpSince(ctx, h)
	}
	return j.dumpList(ctx, h)
}

// dumpTasks looks for a backup of ours that was begun since the shutdown. A guest whose
// newest start is younger than its newest shutdown ran until its host crashed: no task says
// since when it is off, and a backup found would be that of an earlier switchover.
func (j *job) dumpTasks(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		return j.trouble(err)
	}
	m.phase = dumpOff
	m.leaving.started, _ = newestOf(tasks, "start")
	off, known := newestOf(tasks, "shutdown", "stop")
	t, ok := proxmox.FindTask(tasks, "vzdump", j.from().VMID, h.PVE.TokenID(), off.UPID.Start.Add(time.Second))
	if on, started := newestOf(tasks, "start"); started && !on.UPID.Start.Before(off.UPID.Start) {
		known = false
	}
	if known && ok && (t.Running || t.OK()) {
		m.upid, m.phase, m.leaving.adopts = t.UPID, dumpPoll, true
	}
	return j.now, nil
}

func (j *job) dumpPost(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("post backup")
	j.w.fresh = false
	upid, err := h.PVE.Dump(ctx, j.kind(), j.from().VMID, h.Backup)
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, dumpPoll
		return j.tell(ctx, failover.StepMoved{UPID: upid.String()})
	case proxmox.OutcomeUnknown, proxmox.Busy:
		if m.phase, m.posts = dumpTasks, m.posts+1; m.posts < maxPosts {
			return j.now.Add(2 * time.Second), nil
		}
	}
	return j.trouble(err)
}

// dumpSince makes sure that nobody has started the guest between the last look before its backup and the end of
// that: what was written meanwhile is not in it. It is made once more, if the guest is off again.
func (j *job) dumpSince(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	if m.failing != nil {
		return j.now, m.failing
	}
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		return j.trouble(err)
	}
	if t, ok := newestOf(tasks, "start"); ok && t.UPID != m.leaving.started.UPID {
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("guest %d was started by %s while it was backed up", j.from().VMID, t.UPID.Auth)}
	}
	m.phase = dumpList
	return j.now, nil
}

// dumpList finds the snapshot that the task made.
func (j *job) dumpList(ctx context.Context, h Hand) (time.Time, *outcome) {
	m := &j.w.mem
	if m.failing != nil {
		return j.now, m.failing
	}
	j.call("list backups at home")
	rows, err := h.PVE.Backups(ctx, h.Backup, j.from().VMID)
	if err != nil {
		return j.trouble(err)
	}
	for _, b := range rows {
		if b.Size > 0 && b.Kind == j.kind() && !b.Time.Before(m.leaving.dump.Start) && b.Time.After(m.leaving.point.Time) {
			m.leaving.point = failover.RestorePoint{Storage: h.Backup, Volid: b.Volid, Time: b.Time, Size: b.Size}
			if j.step.ID == failover.StepSeal {
				m.leaving.point.Namespace = failover.SealedNamespace(j.s.Network.Home(j.run.Assignment.Guest))
			}
		}
	}
	if m.leaving.point.IsZero() && m.leaving.adopts { // it went somewhere else
		m.leaving.adopts, m.phase = false, dumpPost
		return j.now, nil
	}
	if m.leaving.point.IsZero() {
		return j.now, &outcome{failure: failover.FailTransient, note: "the backup ended well and is in no list: " + h.Backup}
	}
	return j.now, &outcome{}
}

// still makes sure that nobody started the guest at home since its last backup: what was
// written then would be lost.
func (j *job) still(ctx context.Context) (time.Time, *outcome) {
	h, bad := j.hand()
	if bad != nil {
		return j.now, bad
	}
	if j.run.Source.Unstarted {
		return j.stillStuck(ctx, h)
	}
	if j.w.mem.phase == "" {
		return j.stillOff(ctx, h, "tasks")
	}
	tasks, err := j.homeTasks(ctx, h)
	if err != nil {
		return j.trouble(err)
	}
	if t, ok := newestOf(tasks, "start"); ok && t.UPID.Start.After(j.from().Final) {
		return j.fatally("guest %d was started at home since its last backup: %s", j.from().VMID, t.UPID.Auth)
	}
	return j.now, &outcome{}
}
