package lab

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prepareRestore makes the checks of the task, writes the stub and allocates the volumes. An error before
// the stub leaves the stage at stageChecks.
func (p *PVE) prepareRestore(t *task) error {
	j := t.job
	if j.force && j.kind == qemu {
		switch {
		case j.guest.Conf["protection"] == "1":
			return fmt.Errorf("unable to restore VM %d - - protection mode enabled", j.guest.ID)
		case j.guest.Running:
			return fmt.Errorf("unable to restore VM %d - vm is running", j.guest.ID)
		}
	}
	if j.kind == lxc {
		t.logf("recovering backed-up configuration from '%s'", j.volid)
	}
	saved, err := p.readArchive(t)
	if err != nil {
		return err
	}
	if err := p.checkArchive(t, saved); err != nil {
		return err
	}
	if err := p.planDisks(j, saved); err != nil {
		return err
	}
	p.writeStub(t)
	if err := p.allocate(t); err != nil || !j.live {
		return err
	}
	return p.goLive(t)
}

// allocate makes the volumes. A failure comes after the stub was written and what force replaces was freed.
func (p *PVE) allocate(t *task) error {
	need := map[string]int64{}
	for _, d := range t.job.disks {
		s := p.storages[d.storage]
		switch held := p.lockHeld("storage:"+s.ID) > 0; {
		case s.Shared && !p.quorate():
			return vendorText("cfs-lock 'storage-%s' error: no quorum!", s.ID)
		case held && s.Shared:
			return fmt.Errorf("cfs-lock 'storage-%s' error: got lock request timeout", s.ID)
		case held:
			return fmt.Errorf("can't lock file '/var/lock/pve-manager/pve-storage-%s' - got timeout", s.ID)
		}
		need[s.ID] += d.size
		if s.Type == "zfspool" && p.used(s.ID)+need[s.ID] > s.Size {
			return fmt.Errorf("zfs error: cannot create '%s': out of space", strings.Replace(d.volume, ":", "/", 1))
		}
	}
	p.logVolumes(t)
	return nil
}

// logVolumes writes what allocation logs, and what follows it.
func (p *PVE) logVolumes(t *task) {
	j := t.job
	for _, d := range j.disks {
		if p.storages[d.storage].Type == "dir" {
			t.logf("Formatting '/var/lib/vz/images/%s', fmt=raw size=%d preallocation=off", strings.TrimPrefix(d.volume, d.storage+":"), d.size)
		}
		if j.kind == qemu {
			t.logf("new volume ID is '%s'", d.volume)
		}
	}
	if j.kind == lxc {
		t.logf("restoring '%s' now..", j.volid)
	}
	j.stage = stageCopy
}

// readArchive finds the snapshot and decrypts its configuration. What the client prints goes to the log;
// the exit status names only the command.
func (p *PVE) readArchive(t *task) ([]savedDisk, error) {
	j := t.job
	entry, b, snap, err := p.backupOf(j.volid)
	j.entry = entry
	if err != nil {
		if strings.HasPrefix(err.Error(), "storage ") {
			return nil, err
		}
		t.logf("Error: %s", err)
		return nil, p.clientFailed(j, strings.TrimPrefix(j.volid, entry.ID+":backup/"))
	}
	j.snap = snap
	if want := map[string]string{qemu: "vm", lxc: "ct"}[j.kind]; snap.Type != want {
		return nil, fmt.Errorf("got unexpected backup format 'pbs-%s'", snap.Type)
	}
	if j.kind == qemu && p.major() >= 9 {
		t.logf("using up to 4 threads")
		t.logf("fetching up to 16 chunks in parallel")
	}
	j.release = b.hold(snap)
	text, err := p.readConfig(entry, b, snap)
	if _, whole := snap.file(confBlob(snap.Type)); !whole && j.kind == qemu && keyError(p.key(entry), snap.Fingerprint) == "" {
		return nil, vendorText("backup does not look like a qemu-server backup")
	}
	if err != nil {
		t.logf("Error: %s", err)
		return nil, p.clientFailed(j, snap.Name())
	}
	var saved []savedDisk
	j.conf, saved = parseConfig(text)
	if j.kind == lxc {
		saved = ctVolumes(j.conf)
	}
	return saved, nil
}

func (p *PVE) clientFailed(j *restoreJob, snap string) error {
	return fmt.Errorf("command '/usr/bin/proxmox-backup-client restore '--crypt-mode=none' %s index.json /var/tmp/vzdumptmp%d/index.json --repository %s' failed: exit code 255",
		snap, 1000+p.st.Seq, j.entry.repository())
}

// ctVolumes returns the volumes in a container's configuration: all of them travel in the root archive.
func ctVolumes(conf map[string]string) []savedDisk {
	var out []savedDisk
	for _, k := range slices.Sorted(maps.Keys(conf)) {
		if isDiskKey(k) && !strings.HasPrefix(conf[k], "/") {
			storage, _, _ := strings.Cut(conf[k], ":")
			archive := "root.pxar.didx"
			if k != "rootfs" {
				archive = k + ".pxar.didx"
			}
			out = append(out, savedDisk{key: k, archive: archive, storage: storage})
		}
	}
	slices.SortStableFunc(out, func(a, b savedDisk) int { return -strings.Compare(a.key, b.key) }) // rootfs first
	return out
}

// checkArchive checks what the archive brings along against the token's rights.
func (p *PVE) checkArchive(t *task, saved []savedDisk) error {
	j := t.job
	for _, k := range slices.Sorted(maps.Keys(j.conf)) {
		switch {
		case strings.HasPrefix(k, "net") && j.over[k] == "" && parseNIC(j.conf[k]).bridge != "":
			if err := p.mayUse(t.User, j.conf[k]); err != nil {
				return fmt.Errorf("403 %w", err)
			}
		case j.kind == lxc && isDiskKey(k) && strings.HasPrefix(j.conf[k], "/"):
			return fmt.Errorf("restoring '%s' to bind mount is only possible for root", k)
		case j.kind == lxc && strings.HasPrefix(k, "lxc."):
			delete(j.conf, k)
			if t.Warned == 0 {
				t.logf("WARN: skipping custom lxc options, restore manually as root")
				t.Warned++
			}
		}
	}
	if j.kind == lxc {
		return p.checkContainer(t, saved)
	}
	return nil
}

// checkContainer checks what only containers have: a root volume, and the rank of their root user.
func (p *PVE) checkContainer(t *task, saved []savedDisk) error {
	if len(saved) == 0 || saved[0].key != "rootfs" {
		return vendorText("rootfs configuration could not be recovered, please check and specify manually!")
	}
	unprivileged := t.job.conf["unprivileged"]
	if v, ok := t.job.over["unprivileged"]; ok {
		unprivileged = v
	}
	// Since pve-container 6.0.6 (PVE 9.0).
	if unprivileged != "1" && p.major() >= 9 && !t.job.force && !p.allowed(t.User, "/", "Sys.Modify") {
		return fmt.Errorf("403 %w", forbidden("/", "Sys.Modify"))
	}
	return nil
}

// planDisks finds a place for every volume.
func (p *PVE) planDisks(j *restoreJob, saved []savedDisk) error {
	content := map[string]string{qemu: "images", lxc: "rootdir"}[j.kind]
	next := map[string]int{}
	for i, s := range saved {
		storage := j.target
		if storage == "" {
			storage = s.storage
		}
		target, err := p.usable(storage)
		switch {
		case err != nil:
			return err
		case !target.holds(content):
			return vendorText("Content type '%s' is not available on storage '%s'", content, storage)
		}
		file, ok := j.snap.file(s.archive)
		if ok && file.Size == 0 && j.kind == qemu {
			return fmt.Errorf("got no size for '%s'", s.key)
		}
		if !ok || len(file.Chunks) == 0 {
			return fmt.Errorf("archive does not contain data for drive '%s'", s.key)
		}
		d := &diskJob{key: s.key, storage: storage, archive: s.archive, size: file.Size, chunks: file.Chunks}
		if i == 0 {
			d.areaSize = dataArea(file.Size)
		}
		d.volume, next[storage] = p.freeVolume(storage, j.kind, j.guest.ID, next[storage])
		j.disks = append(j.disks, d)
	}
	return nil
}

// writeStub makes the guest bare and frees what force replaces: from here on the old guest is lost.
func (p *PVE) writeStub(t *task) {
	j := t.job
	for _, old := range j.guest.Disks {
		if slices.ContainsFunc(j.disks, func(d *diskJob) bool { return d.key == old.Key }) {
			continue
		}
		if j.kind == qemu {
			j.kept = append(j.kept, old)
		}
	}
	g := j.guest
	j.freed = g.Disks
	g.Disks, g.Text, g.OS, g.Running = nil, nil, osInfo{}, false
	g.Conf = map[string]string{"lock": "create"}
	if j.kind == qemu {
		g.Conf["memory"] = "128"
	}
	j.stage = stageAllocate
	p.dirty = true
}

func (p *PVE) copying() int64 {
	n := int64(0)
	for _, t := range p.st.Tasks {
		if t.job != nil && t.job.stage == stageCopy {
			n++
		}
	}
	return n
}

// copyStep moves the bytes that this restore's share of the rate allows in dt, disk after disk.
func (p *PVE) copyStep(t *task, dt time.Duration) {
	j := t.job
	budget := int64(float64(p.cfg.RestoreRate) * dt.Seconds() / float64(p.copying()))
	for _, d := range j.disks {
		if d.done == d.size {
			continue
		}
		if budget <= 0 {
			return
		}
		n := min(budget, d.size-d.done)
		budget -= n
		if err := p.copyDisk(t, d, n); err != nil {
			p.failRestore(t, err)
			return
		}
		if d.done < d.size {
			return
		}
	}
	p.finishRestore(t)
}

// copyDisk moves n more bytes of a disk: the chunks that are complete by then are fetched, decrypted and
// written.
func (p *PVE) copyDisk(t *task, d *diskJob, n int64) error {
	j := t.job
	vm := j.kind == qemu
	failed := fmt.Errorf("command '%s' failed: exit code 1", j.command(p))
	if d.began.IsZero() {
		d.began = p.st.Now
		if vm {
			t.logf("restore proxmox backup image: /usr/bin/pbs-restore --repository %s %s %s %s --verbose --format raw --skip-zero",
				j.entry.repository(), j.snap.Name(), d.archive, d.volume)
		}
	}
	if b := p.dial(j.entry); b != nil && b.stalled() {
		return nil // the client waits
	}
	b, err := p.connect(j.entry)
	if err != nil {
		t.logf("restore failed: %s", err)
		return failed
	}
	target := p.storages[d.storage]
	if !target.thin() && p.used(d.storage)+n > target.Size {
		noRoom(t, vm, 28)
		return failed
	}
	for i := d.done / ChunkSize; i < (d.done+n)/ChunkSize; i++ {
		if err := p.copyChunk(j, d, b, i); err != nil {
			t.logf("restore failed: reading file %s failed: %s", d.archive, err)
			return failed
		}
	}
	d.done += n
	p.dirty = true
	if target.thin() && p.used(d.storage) > target.Size {
		noRoom(t, vm, 5)
		return failed
	}
	if vm {
		p.logProgress(t, d)
	}
	return nil
}

// noRoom writes what the tools log when the target takes no more: a file system says ENOSPC (28), a thin
// pool EIO (5).
func noRoom(t *task, vm bool, errno int) {
	t.logf("restore failed: write_data_callback failed (-%d)", errno)
	if !vm {
		t.logf("Error: error extracting archive - No space left on device (os error 28)")
	}
}

func (p *PVE) copyChunk(j *restoreJob, d *diskJob, b *PBS, i int64) error {
	data, err := b.cfg.Store.Get(d.chunks[i])
	if err != nil {
		return err
	}
	if j.snap.Encrypted() {
		if data, err = p.key(j.entry).Open(data); err != nil {
			return err
		}
	}
	if len(data) != ChunkSize {
		return fmt.Errorf("chunk has %d bytes, want %d", len(data), ChunkSize)
	}
	if len(bytes.TrimRight(data, "\x00")) == 0 {
		d.zeroes += ChunkSize
	}
	if i*ChunkSize < d.areaSize {
		d.area = append(d.area, data...)
		return nil
	}
	id, err := p.local.Put(data)
	if err != nil {
		return err
	}
	d.body = append(d.body, id)
	return nil
}

// logProgress writes the lines of pbs-restore; the percentage is that of one disk.
func (p *PVE) logProgress(t *task, d *diskJob) {
	seconds := int64(p.st.Now.Sub(d.began).Seconds())
	if percent := d.done * 100 / d.size; percent > d.percent {
		d.percent = percent
		t.logf("progress %d%% (read %d bytes, zeroes = %d%% (%d bytes), duration %d sec)", percent, d.done, d.zeroes*100/d.done, d.zeroes, seconds)
	}
	if d.done == d.size {
		speed := float64(d.size) / (1 << 20) / max(p.st.Now.Sub(d.began).Seconds(), 0.01)
		t.logf("restore image complete (bytes=%d, duration=%.2fs, speed=%.2fMB/s)", d.size, p.st.Now.Sub(d.began).Seconds(), speed)
	}
}

// finishRestore merges the configurations: a key of the call replaces that of the archive whole; what is
// in neither is gone. A CT restored with unique keeps the archive's NICs with new addresses.
func (p *PVE) finishRestore(t *task) {
	j := t.job
	g := j.guest
	if j.kind == lxc {
		t.logf("merging backed-up and given configuration..")
	} else {
		t.logf("rescan volumes...")
	}
	if j.live {
		p.endLive(t)
		return
	}
	conf := p.mergedConf(j)
	if err := p.checkMerged(t, conf); err != nil {
		p.failMerge(t, err)
		return
	}
	g.Conf = conf
	g.Disks, g.Text, g.OS = nil, nil, osInfo{}
	for _, d := range j.disks {
		x := disk{Key: d.key, Storage: d.storage, Volume: d.volume, Size: d.size, Body: d.body, Owner: g.ID, Kind: g.Kind}
		if d.areaSize > 0 {
			info, text, err := decodeArea(d.area)
			if err != nil {
				t.logf("WARN: the first disk holds no system: %s", err)
			}
			g.OS, g.Text = info, text
		}
		g.Disks = append(g.Disks, x)
		g.Conf[d.key] = diskValue(x)
	}
	for i, d := range j.kept {
		d.Key = "unused" + strconv.Itoa(i)
		t.logf("add unreferenced volume '%s' as '%s' to config", d.Volume, d.Key)
		g.Disks = append(g.Disks, d)
		g.Conf[d.Key] = d.Volume
	}
	g.Restored, g.Pool, g.Born = j.volid, j.pool, p.st.Now
	p.dirty = true
	if j.start {
		t.logf("Execute autostart")
	}
	t.finish(p.wall(), nil)
	if j.start {
		p.beginStart(g, t.User) // its own task, whose failure the restore never sees
	}
}
