package lab

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func storageRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("GET", "/storage", "#unprotected type:string", (*PVE).storageEntries),
		newRoute("GET", "/storage/{storage}", "#unprotected", (*PVE).storageEntry),
		newRoute("GET", "/nodes/{node}/storage", "storage:string content:string enabled:boolean format:boolean target:string", (*PVE).storageList),
		newRoute("GET", "/nodes/{node}/storage/{storage}/status", "", (*PVE).storageStatus),
		newRoute("GET", "/nodes/{node}/storage/{storage}/identity", "#since=9.2", (*PVE).storageIdentity),
		newRoute("GET", "/nodes/{node}/storage/{storage}/content", "content:string vmid:integer", (*PVE).content),
		newRoute("GET", "/nodes/{node}/storage/{storage}/content/{volume}", "", (*PVE).volume),
		newRoute("PUT", "/nodes/{node}/storage/{storage}/content/{volume}", "notes:string protected:boolean", (*PVE).changeVolume),
		newRoute("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", "delay:integer", (*PVE).deleteVolume),
		newRoute("GET", "/nodes/{node}/storage/{storage}/file-restore/list", "volume:string! filepath:string!", (*PVE).listFiles),
		newRoute("GET", "/nodes/{node}/vzdump/extractconfig", "volume:string!", (*PVE).extractConfig),
	}
}

// key returns the key of a storage entry as it is now: a fault may have changed it.
func (p *PVE) key(s StorageConfig) *Key {
	if p.st.BadKey[s.ID] {
		return p.wrongKey
	}
	return s.Key
}

// dial returns the PBS of an entry when it can be reached.
func (p *PVE) dial(s StorageConfig) *PBS {
	if p.cfg.DialPBS == nil {
		return nil
	}
	b := p.cfg.DialPBS(s.Server)
	if b == nil || !b.up() {
		return nil
	}
	return b
}

// connect returns the PBS of an entry after its login, or why not in the words of PBSPlugin.pm.
func (p *PVE) connect(s StorageConfig) (*PBS, error) {
	b := p.dial(s)
	if b == nil {
		return nil, errText("%s: error fetching datastores - 500 Can't connect to %s:8007 (Connection refused)", s.ID, s.Server)
	}
	if b.stalled() {
		e := errText("%s: error fetching datastores - 500 read timeout", s.ID)
		e.delay = readTimeout
		return nil, e
	}
	if want := b.cfg.Fingerprint; want != "" && s.Fingerprint != "" && !strings.EqualFold(want, s.Fingerprint) {
		return nil, errText("%s: error fetching datastores - 500 Can't connect to %s:8007 - fingerprint '%s' not verified, abort!", s.ID, s.Server, want)
	}
	if !b.login(s.Username, s.Password) {
		e := errText("%s: error fetching datastores - 401 Unauthorized", s.ID)
		e.delay = authDelay
		return nil, e
	}
	if s.Datastore != b.cfg.Datastore {
		return nil, errText("%s: Cannot find datastore '%s', check permissions and existence!", s.ID, s.Datastore)
	}
	return b, nil
}

// readTimeout is how long the storage plugin waits for an answer of a PBS.
const readTimeout = 7 * time.Second

// keyFile returns why the key of an entry cannot be read: it is configured and its file is missing.
func (p *PVE) keyFile(s StorageConfig) error {
	if s.Key == nil || !p.st.NoKey[s.ID] {
		return nil
	}
	return errText("encryption configured ('%s') but no encryption key file found!", shortFingerprint(s.Key.Fingerprint()))
}

// auth returns the user under which an entry logs in at its PBS.
func (s StorageConfig) auth() string {
	if s.Username == "" {
		return "root@pam"
	}
	return s.Username
}

func (s StorageConfig) repository() string { return s.auth() + "@" + s.Server + ":" + s.Datastore }

func (s StorageConfig) holds(content string) bool {
	return slices.Contains(strings.Split(s.Content, ","), content)
}

// storageRow is the status of a storage entry. One that cannot be reached is inactive with zeros, without
// an error.
func (p *PVE) storageRow(s StorageConfig, c *call) map[string]any {
	row := map[string]any{
		"type": s.Type, "content": s.Content, "active": 0, "enabled": bit(!s.Disabled), "shared": bit(s.Shared || s.Type == "pbs"),
		"total": int64(0), "used": int64(0), "avail": int64(0),
	}
	total, used := s.Size, int64(0)
	switch {
	case s.Disabled || p.st.Offline[s.ID]:
		return row
	case s.Type == "pbs":
		b, err := p.connect(s)
		if err != nil {
			c.delay = 2 * readTimeout // two hanging steps of the real plugin, 14 s measured
			return row
		}
		total, used = b.usage()
	default:
		used = min(p.used(s.ID), total)
	}
	row["active"], row["total"], row["used"], row["avail"] = 1, total, used, total-used
	return row
}

func (p *PVE) sortedStorages() []StorageConfig {
	return slices.SortedFunc(maps.Values(p.storages), func(a, b StorageConfig) int { return strings.Compare(a.ID, b.ID) })
}

func (p *PVE) seesStorage(c *call, id string) bool {
	return p.need(c, "/storage/"+id, "Datastore.Audit", "Datastore.AllocateSpace", "Datastore.Allocate") == nil
}

func (p *PVE) storageList(c *call) (any, error) {
	rows := []map[string]any{}
	for _, s := range p.sortedStorages() {
		if !p.seesStorage(c, s.ID) || (c.has("storage") && c.str("storage") != s.ID) ||
			(c.has("content") && !s.holds(c.str("content"))) || (c.yes("enabled") && s.Disabled) {
			continue
		}
		row := p.storageRow(s, c)
		row["storage"] = s.ID
		if total, ok := row["total"].(int64); ok && total > 0 {
			row["used_fraction"] = float64(row["used"].(int64)) / float64(total)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (p *PVE) storageStatus(c *call) (any, error) {
	s, ok := p.storages[c.vars["storage"]]
	if !ok {
		return nil, badParam("storage", "No such storage.")
	}
	if !p.seesStorage(c, s.ID) {
		return nil, forbidden("/storage/"+s.ID, "Datastore.Audit|Datastore.AllocateSpace")
	}
	return p.storageRow(s, c), nil
}

// storageIdentity tells which PBS instance an entry is, so that two entries of one can be told.
func (p *PVE) storageIdentity(c *call) (any, error) {
	s, err := p.usable(c.vars["storage"])
	if err != nil {
		return nil, err
	}
	if !p.seesStorage(c, s.ID) {
		return nil, forbidden("/storage/"+s.ID, "Datastore.Audit|Datastore.AllocateSpace")
	}
	if s.Type != "pbs" {
		return nil, errText("storage type '%s' has no identity", s.Type)
	}
	b, err := p.connect(s)
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": digest("instance of " + b.cfg.Node), "type": s.Type}, nil
}

// entry is a storage.cfg entry as the API shows it; the key appears as its fingerprint.
func (p *PVE) entry(s StorageConfig) map[string]any {
	row := map[string]any{"storage": s.ID, "type": s.Type, "content": s.Content, "digest": digest(p.cfg.Node + s.ID)}
	if s.Disabled {
		row["disable"] = 1
	}
	if s.Type != "pbs" {
		return row
	}
	row["server"], row["datastore"], row["username"], row["prune-backups"] = s.Server, s.Datastore, s.auth(), cmp.Or(s.Prune, "keep-all=1")
	for name, v := range map[string]string{"namespace": s.Namespace, "fingerprint": s.Fingerprint} {
		if v != "" {
			row[name] = v
		}
	}
	if k := p.key(s); k != nil {
		row["encryption-key"] = k.Fingerprint()
	}
	return row
}

func (p *PVE) storageEntries(c *call) (any, error) {
	rows := []map[string]any{}
	for _, s := range p.sortedStorages() {
		if p.seesStorage(c, s.ID) && (!c.has("type") || c.str("type") == s.Type) {
			rows = append(rows, p.entry(s))
		}
	}
	return rows, nil
}

func (p *PVE) storageEntry(c *call) (any, error) {
	id := c.vars["storage"]
	if err := p.need(c, "/storage/"+id, "Datastore.Allocate"); err != nil {
		return nil, err
	}
	s, ok := p.storages[id]
	if !ok {
		return nil, errText("storage '%s' does not exist", id)
	}
	return p.entry(s), nil
}

func (p *PVE) content(c *call) (any, error) {
	s, err := p.usable(c.vars["storage"])
	if err != nil {
		return nil, err
	}
	if !p.seesStorage(c, s.ID) {
		return nil, forbidden("/storage/"+s.ID, "Datastore.Audit|Datastore.AllocateSpace")
	}
	if c.has("content") && !s.holds(c.str("content")) {
		return []any{}, nil
	}
	if s.Type != "pbs" {
		return p.imageRows(s, c), nil
	}
	b, err := p.connect(s)
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	c.delay = s.Latency
	if c.has("vmid") {
		c.delay /= 10
	}
	seen, err := b.listFor(s.auth(), s.Namespace)
	if err != nil {
		return nil, errText("error listing snapshots - 403 Forbidden: %s", err)
	}
	for _, snap := range seen {
		id, err := strconv.Atoi(snap.ID)
		if err != nil || snap.Type == "host" || (c.has("vmid") && c.num("vmid", 0) != id) || !p.seesBackup(c.token, s.ID, snap.ID) {
			continue
		}
		rows = append(rows, contentRow(s.ID, snap))
	}
	return rows, nil
}

// seesBackup tells whether a token may use a backup: without the right the listing hides it silently.
func (p *PVE) seesBackup(token, storage, id string) bool {
	path := "/storage/" + storage
	return p.allowed(token, path, "Datastore.Allocate") ||
		(p.allowed(token, path, "Datastore.AllocateSpace") && p.allowed(token, "/vms/"+id, "VM.Backup"))
}

func contentRow(storage string, s Snapshot) map[string]any {
	id, _ := strconv.Atoi(s.ID) // only numeric ids come here
	row := map[string]any{
		"volid": storage + ":backup/" + s.Name(), "content": "backup", "format": "pbs-" + s.Type, "vmid": id,
		"subtype": map[string]string{"vm": qemu, "ct": lxc}[s.Type], "ctime": s.Time, "size": s.listedSize(),
	}
	if s.Encrypted() {
		row["encrypted"] = s.Fingerprint
	}
	if s.Verification != nil {
		row["verification"] = map[string]any{"state": s.Verification.State, "upid": s.Verification.UPID}
	}
	if s.Protected {
		row["protected"] = 1
	}
	if s.Comment != "" {
		row["notes"], _, _ = strings.Cut(s.Comment, "\n")
	}
	return row
}

// listedSize is what a listing shows: 1 when the PBS reports no size.
func (s Snapshot) listedSize() int64 {
	if s.Unfinished {
		return 1
	}
	return s.Size()
}

func (p *PVE) imageRows(s StorageConfig, c *call) []map[string]any {
	rows := []map[string]any{}
	add := func(d disk, owner int, kind string) {
		content := map[string]string{qemu: "images", lxc: "rootdir"}[kind]
		if d.Storage != s.ID || (c.has("vmid") && c.num("vmid", 0) != owner) || (c.has("content") && c.str("content") != content) {
			return
		}
		rows = append(rows, map[string]any{"volid": d.Volume, "content": content, "format": "raw", "size": d.Size, "vmid": owner})
	}
	for _, id := range p.guestIDs() {
		for _, d := range p.st.Guests[id].Disks {
			add(d, id, p.st.Guests[id].Kind)
		}
	}
	for _, d := range p.st.Stray {
		add(d, d.Owner, d.Kind)
	}
	return rows
}

// usable returns an enabled storage, in the words of Storage.pm when there is none.
func (p *PVE) usable(id string) (StorageConfig, error) {
	s, ok := p.storages[id]
	switch {
	case !ok:
		return s, errText("storage '%s' does not exist", id)
	case s.Disabled:
		return s, errText("storage '%s' is disabled", id)
	case p.st.Offline[id]:
		return s, errText("storage '%s' is not online", id)
	}
	return s, nil
}

// backupOf resolves a volid to its entry, its PBS and its snapshot.
func (p *PVE) backupOf(volid string) (StorageConfig, *PBS, Snapshot, error) {
	id, name, ok := strings.Cut(volid, ":backup/")
	if !ok {
		return StorageConfig{}, nil, Snapshot{}, errText("unable to parse PBS volume name '%s'", volid)
	}
	s, err := p.usable(id)
	if err != nil {
		return s, nil, Snapshot{}, err
	}
	if s.Type != "pbs" {
		return s, nil, Snapshot{}, errText("unable to parse %s volume name 'backup/%s'", s.Type, name)
	}
	b, err := p.connect(s)
	if err != nil {
		return s, nil, Snapshot{}, err
	}
	snap, ok := b.find(s.Namespace, name)
	if !ok {
		return s, b, Snapshot{}, errText("snapshot %s does not exist.", name)
	}
	if !b.readable(s.auth(), snap) {
		return s, b, Snapshot{}, errText("permission check failed")
	}
	return s, b, snap, nil
}

// volumeOf resolves the volume of a request; it may be a whole volid or what follows the storage's name.
func (p *PVE) volumeOf(c *call) (string, error) {
	volid, err := url.PathUnescape(c.vars["volume"])
	if err != nil {
		return "", badParam("volume", "unable to parse volume ID")
	}
	if !strings.HasPrefix(volid, c.vars["storage"]+":") {
		volid = c.vars["storage"] + ":" + volid
	}
	return volid, nil
}

// backupCall resolves the backup of a request and checks the caller's right to it.
func (p *PVE) backupCall(c *call) (StorageConfig, *PBS, Snapshot, error) {
	volid, err := p.volumeOf(c)
	if err != nil {
		return StorageConfig{}, nil, Snapshot{}, err
	}
	s, b, snap, err := p.backupOf(volid)
	if err == nil && !p.seesBackup(c.token, s.ID, snap.ID) {
		err = p.need(c, "/storage/"+s.ID, "Datastore.AllocateSpace")
		if err == nil {
			err = forbidden("/vms/"+snap.ID, "VM.Backup")
		}
	}
	return s, b, snap, err
}

func (p *PVE) volume(c *call) (any, error) {
	s, _, snap, err := p.backupCall(c)
	if err != nil {
		return nil, err
	}
	// protected is a JSON boolean here, unlike in the list.
	out := map[string]any{
		"path": s.repository() + ":" + snap.Name(), "format": "pbs-" + snap.Type, "size": snap.listedSize(), "used": snap.listedSize(),
		"protected": snap.Protected,
	}
	if snap.Comment != "" {
		out["notes"] = snap.Comment
	}
	return out, nil
}

func (p *PVE) changeVolume(c *call) (any, error) {
	s, b, snap, err := p.backupCall(c)
	if err != nil {
		return nil, err
	}
	return nil, b.edit(s.Namespace, snap.Name(), func(x *Snapshot) {
		if c.has("notes") {
			x.Comment = c.str("notes")
		}
		if c.has("protected") {
			x.Protected = c.yes("protected")
		}
	})
}

func (p *PVE) deleteVolume(c *call) (any, error) {
	s, _, snap, err := p.backupCall(c)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s@%s", snap.ID, s.ID)
	return p.beginFor("imgdel", id, c.token, powerTask, func(t *task) error {
		b, err := p.connect(s)
		if err != nil {
			return err
		}
		if err := b.forget(s.Namespace, snap.Name()); err != nil {
			return err
		}
		t.logf("Removed volume '%s:backup/%s'", s.ID, snap.Name())
		return nil
	}).UPID, nil
}

// mayRead says whether a caller may look into a backup, and the node has its key.
func (p *PVE) mayRead(c *call, s StorageConfig, snap Snapshot) error {
	if !p.seesBackup(c.token, s.ID, snap.ID) {
		if err := p.need(c, "/storage/"+s.ID, "Datastore.AllocateSpace"); err != nil {
			return err
		}
		return forbidden("/vms/"+snap.ID, "VM.Backup")
	}
	return p.keyFile(s)
}

// extractConfig decrypts the guest's configuration: the only call whose HTTP answer shows a key problem.
func (p *PVE) extractConfig(c *call) (any, error) {
	volid := c.str("volume")
	s, b, snap, err := p.backupOf(volid)
	if err != nil {
		if strings.HasPrefix(err.Error(), "snapshot ") {
			err = errText("proxmox-backup-client failed: Error: %s", err)
		}
		return nil, err
	}
	if err := p.mayRead(c, s, snap); err != nil {
		return nil, err
	}
	text, err := p.readConfig(s, b, snap)
	if err != nil {
		return nil, &apiError{status: http.StatusInternalServerError, text: "proxmox-backup-client failed: Error: " + err.Error()}
	}
	return text, nil
}
