package lab

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// BackupJob is a scheduled backup of all guests of the host. It is listed, and nothing runs it.
type BackupJob struct {
	ID, Storage, Node string
	Disabled          bool
	Keep              Keep // its own prune-backups; zero: none
}

func (p *PVE) backupJobs(c *call) (any, error) {
	if err := p.need(c, "/", "Sys.Audit"); err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, j := range p.cfg.BackupJobs {
		row := map[string]any{"id": j.ID, "all": 1, "enabled": 1, "storage": j.Storage, "schedule": "21:00", "mode": "snapshot"}
		if j.Disabled {
			row["enabled"] = 0
		}
		if j.Node != "" {
			row["node"] = j.Node
		}
		if keep := j.Keep.options(); len(keep) > 0 {
			row["prune-backups"] = keep
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// backupState is a guest's content at one moment.
type backupState struct {
	kind, id, conf string
	disks          []disk
	area           []byte
}

// capture takes a guest's content as it is now; chunks never change, so later writes do not show in it.
func (p *PVE) capture(g *guest) (backupState, error) {
	s := backupState{kind: map[string]string{qemu: "vm", lxc: "ct"}[g.Kind], id: strconv.Itoa(g.ID)}
	conf := maps.Clone(g.Conf)
	delete(conf, "lock")
	for k := range conf {
		if strings.HasPrefix(k, "unused") {
			delete(conf, k)
		}
	}
	var maps strings.Builder
	for i, d := range g.Disks {
		if d.NoBackup || strings.HasPrefix(d.Key, "unused") {
			continue
		}
		if i == 0 {
			area, err := encodeArea(d.Size, g.OS, g.Text)
			if err != nil {
				return s, err
			}
			s.area = area
		}
		s.disks = append(s.disks, d)
		fmt.Fprintf(&maps, "#qmdump#map:%s:drive-%s:%s:raw:\n", d.Key, d.Key, d.Storage)
	}
	if len(s.disks) == 0 {
		return s, errors.New("no disks to back up")
	}
	s.conf = renderConfig(conf)
	if g.Kind == qemu {
		s.conf += maps.String()
	}
	return s, nil
}

// sealChunk stores a plain chunk in a PBS, encrypted when the entry has a key. A chunk that was sealed
// before is not read again.
func (p *PVE) sealChunk(b *PBS, k *Key, plain []byte, id ChunkID) (ChunkID, error) {
	if k == nil {
		if plain == nil {
			var err error
			if plain, err = p.local.Get(id); err != nil {
				return id, err
			}
		}
		return b.cfg.Store.Put(plain)
	}
	cached := sealed{key: k.Fingerprint(), plain: id}
	if out, ok := p.seal[cached]; ok && plain == nil && b.cfg.Store.Has(out) {
		return out, nil
	}
	cache := plain == nil
	if cache {
		var err error
		if plain, err = p.local.Get(id); err != nil {
			return id, err
		}
	}
	out, err := b.cfg.Store.Put(k.Seal(plain))
	if err == nil && cache {
		p.seal[cached] = out
	}
	return out, err
}

// sealedArea is what became of a data area at its last backup.
type sealedArea struct {
	key    string
	plain  []byte
	chunks []ChunkID
}

// sealArea stores a data area; one that has not changed since its last backup is
// not read again, as a dirty bitmap spares it.
func (p *PVE) sealArea(b *PBS, k *Key, of string, area []byte) ([]ChunkID, error) {
	key := ""
	if k != nil {
		key = k.Fingerprint()
	}
	last, ok := p.areas[of]
	if ok && last.key == key && bytes.Equal(last.plain, area) && !slices.ContainsFunc(last.chunks, func(c ChunkID) bool { return !b.cfg.Store.Has(c) }) {
		return slices.Clone(last.chunks), nil
	}
	var out []ChunkID
	for at := 0; at < len(area); at += ChunkSize {
		id, err := p.sealChunk(b, k, area[at:at+ChunkSize], ChunkID{})
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	if p.areas == nil {
		p.areas = map[string]sealedArea{}
	}
	p.areas[of] = sealedArea{key: key, plain: area, chunks: out}
	return slices.Clone(out), nil
}

func (p *PVE) sealDisk(b *PBS, k *Key, of string, d disk, area []byte) ([]ChunkID, error) {
	var out []ChunkID
	if len(area) > 0 {
		var err error
		if out, err = p.sealArea(b, k, of, area); err != nil {
			return nil, err
		}
	}
	for _, plain := range d.Body {
		id, err := p.sealChunk(b, k, nil, plain)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// upload makes a snapshot of a captured guest in the PBS of an entry.
func (p *PVE) upload(s backupState, e StorageConfig, at time.Time, comment string, protected bool) (Snapshot, error) {
	b, err := p.connect(e)
	if err != nil {
		return Snapshot{}, err
	}
	if err := p.keyFile(e); err != nil {
		return Snapshot{}, err
	}
	k := p.key(e)
	mode := "none"
	snap := Snapshot{NS: e.Namespace, Type: s.kind, ID: s.id, Time: at.Unix(), Owner: e.auth(), Comment: comment, Protected: protected}
	if k != nil {
		snap.Fingerprint, mode = k.Fingerprint(), "encrypt"
	}
	conf, err := p.sealChunk(b, k, []byte(s.conf), ChunkID{})
	if err != nil {
		return snap, err
	}
	snap.Files = []SnapshotFile{{Name: confBlob(s.kind), Size: int64(len(s.conf)), CryptMode: mode, Chunks: []ChunkID{conf}}}
	for i, d := range s.disks {
		area := s.area
		if i > 0 {
			area = nil
		}
		chunks, err := p.sealDisk(b, k, s.kind+"/"+s.id+"/"+d.Key, d, area)
		if err != nil {
			return snap, err
		}
		snap.Files = append(snap.Files, SnapshotFile{Name: archiveName(s.kind, d.Key), Size: d.Size, CryptMode: mode, Chunks: chunks})
	}
	snap.Files = append(snap.Files, SnapshotFile{Name: "client.log.blob", Size: 512, CryptMode: mode}, SnapshotFile{Name: manifestBlob, Size: 640, CryptMode: "sign-only"})
	return snap, b.add(snap)
}

func confBlob(kind string) string {
	if kind == "ct" {
		return "pct.conf.blob"
	}
	return "qemu-server.conf.blob"
}

func archiveName(kind, key string) string {
	switch {
	case kind == "vm":
		return "drive-" + key + ".img.fidx"
	case key == "rootfs":
		return "root.pxar.didx"
	default:
		return key + ".pxar.didx"
	}
}

// readConfig decrypts the configuration in a snapshot; its errors are those of proxmox-backup-client.
func (p *PVE) readConfig(e StorageConfig, b *PBS, snap Snapshot) (string, error) {
	k := p.key(e)
	if text := keyError(k, snap.Fingerprint); text != "" {
		return "", errors.New(text)
	}
	if _, ok := snap.file(manifestBlob); !ok {
		return "", fmt.Errorf("unable to open file \"%s\" - not found", manifestBlob)
	}
	f, ok := snap.file(confBlob(snap.Type))
	if !ok || len(f.Chunks) == 0 {
		return "", fmt.Errorf("unable to open file \"%s\" - not found", confBlob(snap.Type))
	}
	data, err := b.cfg.Store.Get(f.Chunks[0])
	if err != nil {
		return "", err
	}
	if snap.Encrypted() {
		if data, err = k.Open(data); err != nil {
			return "", err
		}
	}
	return string(data), nil
}

// Backup makes a finished snapshot of a guest, as the scheduled backup of the host does, through the
// given storage entry. The snapshot's time is now in whole seconds.
func (p *PVE) Backup(id int, storage string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("back up guest %d: no such guest", id)
	}
	e, err := p.usable(storage)
	if err != nil {
		return fmt.Errorf("back up guest %d: %w", id, err)
	}
	s, err := p.capture(g)
	if err != nil {
		return fmt.Errorf("back up guest %d: %w", id, err)
	}
	if _, err := p.upload(s, e, p.wall(), g.name(), false); err != nil {
		return fmt.Errorf("back up guest %d to %s: %w", id, storage, err)
	}
	return nil
}

// vzdump starts a backup job; it runs alone on the node, others wait.
func (p *PVE) vzdump(c *call) (any, error) {
	var ids []int
	for word := range strings.FieldsFuncSeq(c.str("vmid"), func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		id, err := strconv.Atoi(word)
		if err != nil {
			return nil, badParam("vmid", "invalid format - value does not look like a valid VM ID")
		}
		ids = append(ids, id)
	}
	if c.yes("all") {
		ids = p.guestIDs()
	}
	if len(ids) == 0 {
		return nil, badParam("vmid", "property is missing and it is not optional")
	}
	e, err := p.usable(c.str("storage"))
	switch {
	case err != nil:
		return nil, err
	case e.Type != "pbs":
		return nil, errText("the lab backs up to PBS only: storage '%s' is %s", e.ID, e.Type)
	}
	if err := p.need(c, "/storage/"+e.ID, "Datastore.AllocateSpace"); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := p.need(c, vmPath(id), "VM.Backup"); err != nil {
			return nil, err
		}
	}
	taskID := ""
	if len(ids) == 1 {
		taskID = strconv.Itoa(ids[0])
	}
	t := p.begin("vzdump", taskID, c.token)
	t.step = p.dumpSteps(t, ids, e, c.str("notes-template"), c.yes("protected"))
	return t.UPID, nil
}

// dumpSteps returns the work of a backup job: guest after guest, at the host's restore rate.
func (p *PVE) dumpSteps(t *task, ids []int, e StorageConfig, notes string, protected bool) func(time.Duration) {
	var (
		current *guest
		state   backupState
		due, at time.Time
		failed  int
	)
	fail := func(id int, err error) {
		t.logf("ERROR: Backup of VM %d failed - %s", id, err)
		failed++
		ids = ids[1:]
		current = nil
	}
	return func(time.Duration) {
		first := p.st.Tasks[slices.IndexFunc(p.st.Tasks, func(x *task) bool { return x.running() && x.Type == "vzdump" })]
		switch {
		case first != t:
			return // waits for /var/run/vzdump.lock
		case len(ids) == 0 && failed > 0:
			t.finish(p.wall(), errors.New("job errors"))
		case len(ids) == 0:
			t.finish(p.wall(), nil)
		case current == nil:
			g, ok := p.st.Guests[ids[0]]
			if !ok {
				fail(ids[0], fmt.Errorf("unable to find VM '%d'", ids[0]))
				return
			}
			if err := p.held(g); err != nil {
				fail(g.ID, err)
				return
			}
			var err error
			if state, err = p.capture(g); err != nil {
				fail(g.ID, err)
				return
			}
			current, at = g, p.st.Now
			due = at.Add(restoreOverhead + time.Duration(float64(g.diskBytes())/float64(p.cfg.RestoreRate)*float64(time.Second)))
			g.Conf["lock"] = "backup"
			t.logf("INFO: Starting Backup of VM %d (%s)", g.ID, g.Kind)
		case !p.st.Now.Before(due):
			g := current
			delete(g.Conf, "lock")
			if _, err := p.upload(state, e, at.Add(p.st.Skew), strings.ReplaceAll(notes, "{{guestname}}", g.name()), protected); err != nil {
				fail(g.ID, err)
				return
			}
			t.logf("INFO: Finished Backup of VM %d", g.ID)
			ids, current = ids[1:], nil
		}
	}
}
