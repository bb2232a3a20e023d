package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func restoreRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("POST", "/nodes/{node}/qemu", vmOptions+"vmid:integer! archive:string storage:string unique:boolean start:boolean "+
			"bwlimit:integer pool:string ha-managed:boolean@9.1 live-restore:boolean", (*PVE).restoreVM),
		newRoute("POST", "/nodes/{node}/lxc", ctOptions+"vmid:integer! ostemplate:string! restore:boolean storage:string force:boolean "+
			"unique:boolean start:boolean bwlimit:number pool:string ha-managed:boolean@9.1 ignore-unpack-errors:boolean", (*PVE).restoreCT),
		newRoute("POST", "/nodes/{node}/vzdump", "vmid:string all:boolean storage:string mode:string=snapshot|suspend|stop notes-template:string "+
			"protected:boolean prune-backups:string remove:boolean notification-mode:string lockwait:integer "+
			"pbs-change-detection-mode:string=legacy|data|metadata", (*PVE).vzdump),
	}
}

// callOptions are the parameters of a restore that are not overrides of the configuration.
var callOptions = []string{
	"vmid", "archive", "ostemplate", "restore", "storage", "force", "unique", "start", "live-restore", "bwlimit", "pool", "ha-managed", "ignore-unpack-errors",
}

// stage is how far a restore is.
type stage int

const (
	stageChecks   stage = iota // nothing was changed
	stageAllocate              // the stub is written, what force replaces is freed
	stageCopy
)

// restoreJob is what a running restore task has to do.
type restoreJob struct {
	kind   string
	guest  *guest
	volid  string
	target string // storage for all disks; "" = as in the archive (VM)
	pool   string
	over   map[string]string
	force  bool
	unique bool
	start  bool
	live   bool // the VM runs while its disks are copied

	stage stage
	entry StorageConfig
	snap  Snapshot
	conf  map[string]string // of the archive
	disks []*diskJob
	kept  []disk // of the old guest, not in the archive
	freed []disk // of the old guest

	release func() // of the snapshot's read lock
}

// diskJob is one volume being written.
type diskJob struct {
	key, storage, volume, archive string
	size, done                    int64
	zeroes                        int64
	percent                       int64
	began                         time.Time
	chunks                        []ChunkID // in the PBS
	area                          []byte    // data area of a first disk, as read so far
	areaSize                      int64
	body                          []ChunkID // in the local store
}

func (p *PVE) restoreVM(c *call) (any, error) {
	for _, k := range slices.Sorted(maps.Keys(c.args)) {
		if isDiskKey(k) && c.has("archive") {
			return nil, badParam(k, "option conflicts with option 'archive'")
		}
	}
	if c.has("force") && !c.has("archive") {
		return nil, badParam("archive", "missing property required by 'force'")
	}
	if !c.has("archive") {
		return nil, errText("the lab creates no empty VMs: archive is required")
	}
	path, err := p.restoreRights(c)
	if err != nil {
		return nil, err
	}
	job := p.newJob(c, qemu, c.str("archive"), c.str("storage"))
	if err := p.archiveRights(c, job.volid); err != nil {
		return nil, err
	}
	if err := p.overrides(c, job, path); err != nil {
		return nil, err
	}
	if err := p.reserve(c, job); err != nil {
		err.text = fmt.Sprintf("unable to restore VM %d - %s", job.guest.ID, err.text)
		return nil, err
	}
	return p.beginRestore(c, job, "qmrestore").UPID, nil
}

func (p *PVE) restoreCT(c *call) (any, error) {
	if !c.yes("restore") {
		return nil, errText("the lab creates no empty containers: restore=1 is required")
	}
	path, err := p.restoreRights(c)
	if err != nil {
		return nil, err
	}
	target := c.str("storage")
	if target == "" {
		target = "local"
	}
	job := p.newJob(c, lxc, c.str("ostemplate"), target)
	if err := p.archiveRights(c, job.volid); err != nil {
		return nil, err
	}
	if err := p.overrides(c, job, path); err != nil {
		return nil, err
	}
	s, err := p.usable(target)
	switch {
	case err != nil:
		return nil, err
	case !s.holds("rootdir"):
		return nil, badParam("storage", "storage '%s' does not support container directories", target)
	}
	if err := p.mayOverwriteCT(job); err != nil {
		return nil, err
	}
	if err := p.reserve(c, job); err != nil {
		if !strings.Contains(err.text, "already exists") {
			err.text = fmt.Sprintf("unable to restore CT %d - %s", job.guest.ID, err.text)
		}
		return nil, err
	}
	return p.beginRestore(c, job, "vzrestore").UPID, nil
}

// mayOverwriteCT checks the container that force would replace; for a VM the task does this.
func (p *PVE) mayOverwriteCT(job *restoreJob) error {
	g := p.st.Guests[job.guest.ID]
	switch {
	case !job.force || g == nil || g.Kind != lxc || g.Conf["lock"] != "":
		return nil
	case g.Running:
		return errText("can't overwrite running container")
	case g.Conf["protection"] == "1":
		return errText("unable to restore CT %d - protection mode enabled", g.ID)
	}
	return nil
}

// restoreRights makes the checks that come before any look at the archive, in the vendor's order. It
// returns the ACL path that the overrides are held against.
func (p *PVE) restoreRights(c *call) (string, error) {
	path := vmPath(c.num("vmid", 0))
	if n := c.num("vmid", 0); n < 100 || n > 999_999_999 {
		return "", badParam("vmid", "invalid format - value does not look like a valid VM ID")
	}
	if !p.quorate() {
		return "", errText("cluster not ready - no quorum?")
	}
	if pool := c.str("pool"); pool != "" {
		if !slices.Contains(p.cfg.Pools, pool) {
			return "", &apiError{status: http.StatusForbidden, text: fmt.Sprintf("Permission check failed (pool '%s' does not exist)", pool)}
		}
		if !p.allowed(c.token, path, "VM.Allocate") {
			path = "/pool/" + pool
		}
	}
	if s := c.str("storage"); s != "" {
		if err := p.need(c, "/storage/"+s, "Datastore.AllocateSpace"); err != nil {
			return "", err
		}
	}
	if c.yes("ha-managed") {
		return "", forbidden("/", "Sys.Console") // no token of the lab has it, and nobody should use this
	}
	if c.yes("start") && p.release.atLeast(9, 2) {
		if err := p.need(c, path, "VM.PowerMgmt"); err != nil {
			return "", err
		}
	}
	if !p.allowed(c.token, path, "VM.Allocate") {
		return "", &apiError{status: http.StatusForbidden, text: "Permission check failed"}
	}
	return path, nil
}

// archiveRights checks the access to the backup: none is needed to restore to the id it came from.
func (p *PVE) archiveRights(c *call, volid string) error {
	storage, name, ok := strings.Cut(volid, ":backup/")
	parts := strings.Split(name, "/")
	if !ok || len(parts) != 3 {
		return errText("Only root can pass arbitrary filesystem paths.")
	}
	if s, known := p.storages[storage]; known {
		if err := p.keyFile(s); err != nil {
			return err
		}
	}
	if parts[1] == c.str("vmid") || p.allowed(c.token, "/storage/"+storage, "Datastore.Allocate") {
		return nil
	}
	if err := p.need(c, "/storage/"+storage, "Datastore.AllocateSpace"); err != nil {
		return err
	}
	return p.need(c, vmPath(atoi(parts[1])), "VM.Backup")
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func (p *PVE) newJob(c *call, kind, volid, target string) *restoreJob {
	return &restoreJob{
		kind: kind, volid: volid, target: target, pool: c.str("pool"), force: c.yes("force"), unique: c.yes("unique"), start: c.yes("start"), live: c.yes("live-restore"),
		over: map[string]string{}, guest: &guest{ID: c.num("vmid", 0), Kind: kind, Born: p.st.Now, Conf: map[string]string{}},
	}
}

// overrides collects the configuration keys of the call and checks the right to each.
func (p *PVE) overrides(c *call, job *restoreJob, path string) error {
	mounts := false
	for _, k := range slices.Sorted(maps.Keys(c.args)) {
		if slices.Contains(callOptions, k) {
			continue
		}
		if err := p.mayOverride(c, path, k, job.kind); err != nil {
			return err
		}
		if isDiskKey(k) {
			mounts = true
			continue
		}
		job.over[k] = p.optionValue(job.kind, k, c.str(k))
	}
	switch {
	case mounts && !c.has("rootfs"):
		return errText("mount points configured, but 'rootfs' not set - aborting")
	case mounts:
		return errText("the lab restores containers in their old layout: leave rootfs and mpN out")
	}
	return nil
}

// reserve takes the id for the job, synchronously, so that of two calls one is refused.
func (p *PVE) reserve(c *call, job *restoreJob) *apiError {
	id := job.guest.ID
	old := p.st.Guests[id]
	if other, ok := c.elsewhere[id]; ok {
		return errText("%s %d already exists on node '%s'", label(job.kind), id, other)
	}
	if wait := p.lockHeld(strconv.Itoa(id)); wait > lockTimeout {
		return p.lockTimeout(&guest{ID: id, Kind: job.kind})
	} else if wait > 0 {
		c.delay += wait
	}
	if t := p.restoring(id); t != nil && old != nil {
		// The task takes the lock file a moment after the call: until then a second call sees the id as
		// taken, later it waits for the file. A CT call without force never waits.
		if t.began.Equal(p.st.Now) || (job.kind == lxc && !job.force) {
			return errText("%s %d already exists on node '%s'", label(old.Kind), id, p.cfg.Node)
		}
		return p.lockTimeout(&guest{ID: id, Kind: job.kind})
	}
	switch {
	case old == nil:
		job.force = false
		p.st.Guests[id] = job.guest
	case job.force && old.Kind == lxc && job.kind == qemu:
		return errText("close (rename) atomic file '/etc/pve/nodes/%s/%s' failed: File exists", p.cfg.Node, confFile(qemu, id))
	case !job.force || old.Kind != job.kind:
		return errText("%s %d already exists on node '%s'", label(old.Kind), id, p.cfg.Node)
	case old.Conf["lock"] != "":
		return errText("%s is locked (%s)", label(old.Kind), old.Conf["lock"])
	default:
		job.guest = old
	}
	job.guest.Conf["lock"] = "create"
	return nil
}

func (p *PVE) beginRestore(c *call, job *restoreJob, kind string) *task {
	t := p.begin(kind, strconv.Itoa(job.guest.ID), c.token)
	t.job = job
	due := p.st.Now.Add(restoreOverhead)
	t.step = func(dt time.Duration) {
		switch {
		case job.stage == stageCopy:
			p.copyStep(t, dt)
		case !p.st.Now.Before(due):
			if err := p.prepareRestore(t); err != nil {
				p.failRestore(t, err)
			}
		}
	}
	return t
}

// command is the child process of a restore as error texts name it.
func (j *restoreJob) command(*PVE) string {
	if j.kind == qemu {
		return "/usr/bin/pbs-restore --repository " + j.entry.repository() + " " + j.snap.Name() + " drive-scsi0.img.fidx"
	}
	return "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- /usr/bin/proxmox-backup-client restore '--crypt-mode=none' " +
		j.snap.Name() + " root.pxar /var/lib/lxc/" + strconv.Itoa(j.guest.ID) + "/rootfs --allow-existing-dirs --repository " + j.entry.repository()
}

// written returns the volumes as far as they are filled.
func (j *restoreJob) written() []disk {
	var out []disk
	if j.guest.Running && j.live { // they are the guest's
		return nil
	}
	for _, d := range j.disks {
		out = append(out, disk{Key: d.key, Storage: d.storage, Volume: d.volume, Size: d.done, Owner: j.guest.ID, Kind: j.kind})
	}
	return append(out, j.kept...)
}

// allocated returns the volumes that exist.
func (j *restoreJob) allocated() []*diskJob {
	if j.stage == stageCopy {
		return j.disks
	}
	return nil
}

// failRestore ends a restore that went wrong. A VM leaves a stub: empty if nothing was allocated yet,
// with "memory: 128" afterwards. A CT goes away. A guest under force survives only failures before its
// disks were freed.
func (p *PVE) failRestore(t *task, err error) {
	j := t.job
	switch {
	case j.stage == stageChecks && j.force:
		delete(j.guest.Conf, "lock")
	case j.kind == lxc:
		delete(p.st.Guests, j.guest.ID)
		if j.stage == stageAllocate {
			p.st.Stray = append(p.st.Stray, j.freed...) // the old container's disks stay behind, without an owner
		}
	case j.stage == stageChecks:
		j.guest.Conf = map[string]string{}
	default:
		if j.live && j.guest.Running {
			t.logf("An error occurred during live-restore: %s", err)
			j.guest.Running = false
			err = errors.New("live-restore failed")
		}
		for _, d := range j.allocated() {
			t.logf("temporary volume '%s' successfully removed", d.volume)
		}
		j.guest.Conf = map[string]string{"memory": "128"}
		j.guest.Disks = j.kept
	}
	if j.kind == qemu {
		t.logf("error before or during data restore, some or all disks were not completely restored. VM %d state is NOT cleaned up.", j.guest.ID)
	} else {
		err = fmt.Errorf("unable to restore CT %d - %w", j.guest.ID, err)
	}
	p.dirty = true
	t.finish(p.wall(), err)
}
