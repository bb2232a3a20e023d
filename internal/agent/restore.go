package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a restore stands, in a worker's memory. Every attempt begins by
// looking: what the world shows decides, not what the attempt before meant to do.
const (
	restoreLook    = ""        // is there a guest under our id?
	restoreTasks   = "tasks"   // is there a task for it?
	restoreRemains = "remains" // what did an ended task leave?
	restoreArchive = "archive" // read the archived configuration
	restorePost    = "post"    // start the restore
	restorePoll    = "poll"    // follow the task
	restoreLog     = "log"     // read its progress
	restoreVerify  = "verify"  // read the restored configuration back
)

// snapshot names the restore point at the PBS.
func (j *job) snapshot() (proxmox.Snapshot, error) {
	v, err := proxmox.ParseVolid(j.run.Assignment.Point.Volid)
	if err != nil {
		return proxmox.Snapshot{}, err
	}
	return proxmox.Snapshot{NS: j.run.Assignment.Point.Namespace, Kind: v.Kind, ID: v.VMID, Time: v.Time}, nil
}

// protect pins the restore point, so that no prune takes it away meanwhile.
func (j *job) protect(ctx context.Context) (time.Time, *outcome) {
	if j.w.e.PBS == nil {
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	}
	snap, err := j.snapshot()
	if err != nil {
		return j.now, &outcome{failure: failover.FailPoint, note: err.Error()}
	}
	j.call("protect snapshot")
	switch err := j.w.e.PBS.Protect(ctx, snap); {
	case err == nil:
		return j.now, &outcome{}
	case proxmox.KindOf(err) == proxmox.NotFound && j.run.Assignment.Warm != "":
		return j.now, &outcome{note: "the restore point is gone; the warm copy was made from it"}
	case proxmox.KindOf(err) == proxmox.NotFound:
		return j.now, &outcome{failure: failover.FailPoint, note: clip(err.Error())}
	default:
		return j.trouble(err)
	}
}

// release unpins it, and those that were given up for it since ownership moved. A snapshot that is
// gone needs no pin; any other trouble is tried again and ends with a person, who can unpin it by
// hand.
func (j *job) release(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	pins := j.pins()
	if len(pins) == 0 || j.w.e.PBS == nil {
		return j.now, &outcome{note: "nothing to release: protected before, or not named"}
	}
	j.call("unprotect snapshot")
	err := j.w.e.PBS.Unprotect(ctx, pins[m.unpinned])
	switch proxmox.KindOf(err) {
	case "", proxmox.NotFound, proxmox.SnapshotGone:
		if m.unpinned++; m.unpinned < len(pins) {
			return j.now, nil
		}
		return j.now, &outcome{}
	}
	return j.trouble(err)
}

// pins lists the snapshots that the run has protected, and that nobody else had before.
func (j *job) pins() []proxmox.Snapshot {
	a := j.run.Assignment
	var out []proxmox.Snapshot
	pin := func(volid string, before bool) {
		if v, err := proxmox.ParseVolid(volid); err == nil && !before {
			out = append(out, proxmox.Snapshot{NS: a.Point.Namespace, Kind: v.Kind, ID: v.VMID, Time: v.Time})
		}
	}
	pin(a.Point.Volid, a.Point.Protected)
	for _, t := range j.run.Tried {
		if t.Target == a.Target && t.VMID == j.run.VMID { // others are released with what was left there
			pin(t.Volid, t.Protected)
		}
	}
	return out
}

func (j *job) marker() proxmox.Marker {
	return proxmox.Marker{
		Network: j.s.Network.Network, Guest: string(j.run.Assignment.Guest), Op: string(j.marks()),
		Role: j.role(), Token: j.run.Token,
	}
}

// ours says whether a configuration carries the marker of this guest's run. The
// token may be that of an earlier target of the same run: the copy is still ours.
func (j *job) ours(c proxmox.GuestConfig) bool {
	m, ok := c.Marker()
	want := j.marker()
	return ok && m.Network == want.Network && m.Guest == want.Guest && m.Op == want.Op
}

func (j *job) host() network.Host {
	if j.op.Kind == failover.KindFailback { // home may be a structure's
		return j.s.Network.Sites[j.run.Assignment.Target].Hosts[j.run.Assignment.Host]
	}
	_, h, _ := j.s.Network.Target(j.run.Assignment.Target)
	return h
}

// receives says whether an id is one that the host gives to guests that it receives.
func (j *job) receives(id int) bool {
	r := j.host().Restore
	return r != nil && r.IDs.Contains(id)
}

// pve is the host that the guest goes to: Raoull's, or at home the structure's.
func (j *job) pve() *proxmox.PVE {
	if own, _, here := j.s.Network.Target(j.w.e.Site); !here || own != j.run.Assignment.Host {
		if h, ok := j.w.e.Hands[j.run.Assignment.Host]; ok && h.PVE != nil {
			return h.PVE
		}
	}
	return j.w.e.PVE
}

func (j *job) taskType() string {
	if j.kind() == proxmox.CT {
		return "vzrestore"
	}
	return "qmrestore"
}

// ownTask returns the newest task of a type, running or ended, that this agent's
// own token began for the run's id. why is told as the call's name.
func (j *job) ownTask(ctx context.Context, why, typ string) (proxmox.TaskStatus, bool, error) {
	j.call(why)
	tasks, err := j.pve().Tasks(ctx, proxmox.TaskFilter{VMID: j.run.VMID, Type: typ})
	if err != nil {
		return proxmox.TaskStatus{}, false, err
	}
	found, ok := proxmox.FindTask(tasks, typ, j.run.VMID, j.pve().TokenID(), time.Time{})
	return found, ok, nil
}

func (j *job) restore(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.phase == restoreLook && j.step.UPID != "" && !m.looked {
		// Another incarnation of this agent began it: follow that task first.
		m.looked = true
		if upid, err := proxmox.ParseUPID(j.step.UPID); err == nil {
			m.upid, m.phase = upid, restorePoll
		}
	}
	switch m.phase {
	case restoreLook:
		return j.restoreLook(ctx)
	case restoreTasks:
		return j.restoreTasks(ctx)
	case restoreRemains:
		return j.restoreRemains(ctx)
	case restoreArchive:
		return j.restoreArchive(ctx)
	case restorePost:
		return j.restorePost(ctx)
	case restorePoll:
		return j.restorePoll(ctx)
	case restoreLog:
		return j.restoreLog(ctx)
	case restoreVerify:
		return j.restoreVerify(ctx)
	case restoreStub, restoreStubRun, restoreStubOff, restoreStubEnd:
		return j.removeStub(ctx)
	}
	if freeing(m.phase) {
		return j.free(ctx)
	}
	return j.now, &outcome{failure: failover.FailFatal, note: "unknown phase " + m.phase}
}

// restoreLook asks what stands under our id.
func (j *job) restoreLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	_, broke := j.run.Broke()
	m.stub = err == nil && (c.Bare() || c.Lock() == "create" || broke && j.ours(c))
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		// Nothing there. A restore that was posted a moment ago, whose answer
		// was lost, may not have written its configuration yet: ask the tasks.
		m.phase = restoreTasks
		if j.step.Attempt == 1 && j.w.fresh {
			m.phase = restoreArchive
		}
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	case j.ours(c) && c.Lock() != "create" && !broke:
		m.phase = restoreVerify
		return j.now, nil
	case m.stub:
		m.phase = restoreTasks
		return j.now, nil
	}
	m.foreign = fmt.Sprintf("id %d is taken by a guest that is not ours: %q", j.run.VMID, c.Values["name"]+c.Values["hostname"])
	if j.step.Attempt == 1 && j.w.fresh {
		return j.now, takenID(m.foreign)
	}
	m.phase = restoreTasks
	return j.now, nil
}

// takenID says that somebody has made a guest under our id, where nothing of ours ever stood:
// another id does as well. Where we had begun something it may be ours, changed by hand, and a
// second copy beside it would have its address: then a person looks.
func takenID(note string) *outcome { return &outcome{failure: failover.FailTaken, note: clip(note)} }

// restoreTasks looks for our own restore task of this id: running, it is
// adopted; ended, it tells what the thing under the id is.
func (j *job) restoreTasks(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	found, ok, err := j.ownTask(ctx, "look at tasks", j.taskType())
	if err != nil {
		return j.trouble(err)
	}
	if ok {
		m.exists = "" // by us
	}
	live, broke := j.run.Broke()
	switch {
	case broke && m.stub && (!ok || found.UPID.String() == live.UPID): // of the live restore: nobody has removed it yet
		return j.now, j.broken(found.Exit)
	case ok && m.foreign != "":
		return j.now, &outcome{failure: failover.FailFatal, note: clip(m.foreign)}
	case !ok && !m.stub && m.foreign+m.exists != "":
		return j.now, takenID(m.foreign + m.exists)
	case ok && found.Running:
		m.upid, m.phase = found.UPID, restorePoll
	case ok:
		// It ended. Whether what it left is whole, its configuration tells: look
		// once more, and if it is bare it is the stub of a failed restore.
		m.upid, m.exit, m.phase = found.UPID, found.Exit, restoreRemains
	case m.stub && j.step.UPID != "":
		// The task that the log knows of is in no list any more: the crash took
		// its record, too.
		m.exit, m.phase = "its task is gone", restoreRemains
	case m.stub:
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d is bare and no task of ours made it: left alone", j.run.VMID)}
	default:
		m.phase = restoreArchive
	}
	return j.now, nil
}

// restoreRemains judges what an ended task of ours left.
func (j *job) restoreRemains(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at remains")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		m.phase = restoreArchive
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	case j.ours(c) && c.Lock() != "create":
		m.phase = restoreVerify
		return j.now, nil
	case (c.Bare() || j.ours(c)) && j.run.Owned(): // the program deletes no copy that counts
		return j.remains(c.Lock() != "")
	case c.Bare() || j.ours(c):
		m.failing = &outcome{failure: failover.FailTransient, note: "an earlier restore ended: " + clip(m.exit)}
		m.phase = restoreStub
		return j.now, nil
	}
	return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("id %d is taken by a guest that is not ours", j.run.VMID)}
}

// restoreArchive reads what is in the backup: the NICs to override, the disks
// to expect. It is also the proof that the key here opens it.
func (j *job) restoreArchive(ctx context.Context) (time.Time, *outcome) {
	j.call("read archive")
	a, err := j.pve().ExtractConfig(ctx, j.run.Assignment.Point.Volid)
	if err != nil {
		return j.trouble(err)
	}
	j.w.mem.archive = &a
	j.w.mem.phase = restorePost
	return j.now, nil
}

// maxPosts bounds the requests of one attempt. After one without an answer the
// world is asked; if it knows of nothing, again and again, the next attempt
// comes after a pause.
const maxPosts = 3

func (j *job) restorePost(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	host := j.host()
	if host.Restore == nil {
		return j.now, &outcome{failure: failover.FailTarget, note: "this site restores nothing any more"}
	}
	nets, err := proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN)
	if err != nil {
		return j.now, &outcome{failure: failover.FailPoint, note: clip(err.Error())}
	}
	j.call("post restore")
	j.w.fresh = false
	upid, err := j.pve().Restore(ctx, j.request(host, nets))
	switch proxmox.KindOf(err) {
	case "":
		m.upid, m.phase = upid, restorePoll
		return j.tell(ctx, failover.StepMoved{UPID: upid.String(), Total: m.archive.SavedBytes()})
	case proxmox.OutcomeUnknown, proxmox.Exists, proxmox.Locked, proxmox.Busy:
		// It may run already, by this very call or one before: look, never repeat.
		m.phase, m.stub, m.looked = restoreTasks, false, true
		if proxmox.KindOf(err) == proxmox.Exists {
			// Ours, if a proxy asked twice, or somebody's: its configuration tells, or our task. One
			// of the other kind, a container under the id of a VM, is not seen by either.
			m.phase, m.exists = restoreLook, err.Error()
			return j.soon(), nil
		}
		if m.posts++; m.posts < maxPosts {
			return j.soon(), nil
		}
	}
	return j.trouble(err)
}

// request is the restore of the run's point, of which the archive was read.
func (j *job) request(host network.Host, nets map[string]string) proxmox.RestoreRequest {
	marker, archive := j.marker(), j.w.mem.archive
	return proxmox.RestoreRequest{
		Kind: j.kind(), VMID: j.run.VMID, Volid: j.run.Assignment.Point.Volid, Storage: host.Restore.Storage,
		Pool: host.Restore.Pool, Description: marker.Describe(archive.Description), Tags: marker.Tags(), Nets: nets,
	}
}

// tell puts progress into the log; the step goes on whatever comes of it.
func (j *job) tell(ctx context.Context, m failover.StepMoved) (time.Time, *outcome) {
	m.Token, m.Attempt, m.To = j.w.token, j.step.Attempt, failover.StatusRunning
	if m.Total == 0 {
		m.Total = j.step.Total
	}
	j.w.mem.told = m.Bytes
	j.w.hook("tell " + string(j.step.ID))
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	st, err := j.w.e.Log.Propose(ctx, m)
	j.w.wait(st, j.now)
	if err != nil {
		j.w.e.Logger.Debug("progress not recorded", "guest", j.run.Assignment.Guest, "err", err)
	}
	return j.now, nil
}

func (j *job) restorePoll(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("poll task")
	t, err := j.pve().Task(ctx, m.upid)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound || proxmox.KindOf(err) == proxmox.BadRequest:
		// The task is not known here: look at the world instead.
		m.upid, m.phase = proxmox.UPID{}, restoreTasks
		return j.now, nil
	case err != nil:
		if j.at.Sub(m.since) > restoreStall {
			return j.trouble(err)
		}
		return j.now.Add(2 * time.Second), nil
	case t.Running:
		m.phase = restoreLog
		return j.soon(), nil
	case t.OK():
		m.phase = restoreVerify
		return j.now, nil
	}
	m.failing = &outcome{failure: failureOf(t.Err(nil)), note: clip(t.Exit)}
	m.phase = restoreLog
	return j.now, nil
}

// restoreLog reads the task's log: progress while it runs, the cause when it
// has failed (the exit status often names only a command).
func (j *job) restoreLog(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("read task log")
	lines, err := j.pve().TaskLog(ctx, m.upid, 0, 0)
	if err != nil && m.failing == nil {
		m.phase = restorePoll
		return j.soon(), nil
	}
	if m.failing != nil {
		t := proxmox.TaskStatus{UPID: m.upid, Exit: m.failing.note}
		if cause := t.Err(lines); cause != nil {
			m.failing = &outcome{failure: failureOf(cause), note: clip(cause.Error())}
		}
		m.phase = restoreStub
		return j.now, nil
	}
	m.phase = restorePoll
	var disks []proxmox.Disk
	if m.archive != nil {
		disks = m.archive.Disks
	}
	p := proxmox.RestoreProgress(lines, disks)
	if p.Done > m.progress.Done || len(lines) > m.logAt {
		m.since = j.at
	}
	m.progress, m.logAt = p, len(lines)
	if j.at.Sub(m.since) > restoreStall {
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("nothing moved for %s", restoreStall)}
	}
	if p.Known && p.Total > 0 && p.Done-m.told >= p.Total/10 {
		return j.tell(ctx, failover.StepMoved{Bytes: p.Done, Total: p.Total})
	}
	return j.soon(), nil
}

// restoreVerify reads the restored configuration back: ours, off, and on no
// other VLAN than the structure's (S11).
func (j *job) restoreVerify(ctx context.Context) (time.Time, *outcome) {
	j.call("read restored guest")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		j.w.mem.phase = restoreArchive
		return j.now, nil
	case err != nil:
		return j.trouble(err)
	case !j.ours(c):
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d does not carry our marker", j.run.VMID)}
	case c.Lock() != "" && j.at.Sub(j.w.mem.since) > restoreStall:
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("guest %d is locked (%s) for %s", j.run.VMID, c.Lock(), restoreStall)}
	case c.Lock() != "":
		return j.soon(), nil
	case c.Values["onboot"] == "1":
		return j.now, &outcome{failure: failover.FailFatal, note: "onboot is set on the restored copy: somebody changed it"}
	}
	if net := j.foreignNet(c); net != "" {
		return j.now, &outcome{failure: failover.FailFatal, note: net + " is not on the structure's VLAN"}
	}
	total := j.step.Total
	if total == 0 {
		total = j.run.Assignment.Point.Size
	}
	j.w.mem.progress = proxmox.Progress{Known: true, Done: total, Total: total}
	return j.now, &outcome{}
}

// foreignNet returns the first NIC that is not on the bridge and VLAN that the
// guest was assigned to, or "".
func (j *job) foreignNet(c proxmox.GuestConfig) string {
	host := j.host()
	if host.Restore == nil {
		return "every NIC"
	}
	for _, key := range sorted(c.Values) {
		if rest, ok := strings.CutPrefix(key, "net"); !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
			continue
		}
		opts := map[string]string{}
		for part := range strings.SplitSeq(c.Values[key], ",") {
			k, v, _ := strings.Cut(part, "=")
			opts[k] = v
		}
		if opts["bridge"] != host.Restore.Bridge || opts["tag"] != fmt.Sprint(j.run.Assignment.VLAN) {
			return key
		}
	}
	return ""
}
