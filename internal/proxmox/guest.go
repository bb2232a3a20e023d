package proxmox

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Guest is one row of a node's list. Sizes in bytes. Guests that the token may not audit are not listed.
type Guest struct {
	Kind     Kind
	ID       int
	Name     string
	Status   string // "running" or "stopped"
	Tags     []string
	Lock     string
	Template bool
	MaxMem   int64
	MaxDisk  int64 // of the boot disk only
	Uptime   time.Duration
}

type wireGuest struct {
	ID       wireInt `json:"vmid"`
	Name     wireString
	Status   wireString
	QMP      wireString `json:"qmpstatus"`
	Tags     wireString
	Lock     wireString
	Template wireBool
	MaxMem   wireInt
	MaxDisk  wireInt
	Uptime   wireInt
	HA       struct{ Managed wireBool }
}

// Guests lists the guests of one kind on this node.
func (p *PVE) Guests(ctx context.Context, kind Kind) ([]Guest, error) {
	op := "list guests of kind " + string(kind)
	if !kind.valid() {
		return nil, requestError(op, "unknown kind of guest %q", kind)
	}
	var rows []wireGuest
	c, err := p.get(ctx, op, p.nodePath("/"+kind.segment()), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]Guest, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "vmid", w.ID.Set, "status", w.Status.Set); err != nil {
			return nil, err
		}
		all = append(all, Guest{
			Kind: kind, ID: int(w.ID.V), Name: w.Name.V, Status: w.Status.V, Tags: list(w.Tags.V), Lock: w.Lock.V,
			Template: w.Template.V, MaxMem: w.MaxMem.V, MaxDisk: w.MaxDisk.V, Uptime: seconds(w.Uptime),
		})
	}
	return all, nil
}

// GuestStatus is the state of one guest, now.
type GuestStatus struct {
	Name    string
	Status  string // "running" or "stopped"
	QMP     string // VM: running, paused, prelaunch, ...
	Lock    string // "create", "backup", ... or ""
	HA      bool   // managed by the cluster's HA stack, which starts and stops it behind our back
	Tags    []string
	Uptime  time.Duration
	MaxMem  int64 // bytes
	MaxDisk int64 // bytes, of the boot disk only
}

// Running says that the guest's process runs.
func (s GuestStatus) Running() bool { return s.Status == "running" }

// GuestStatus asks for the state of a guest. A guest that does not exist gives an error of kind NotFound.
func (p *PVE) GuestStatus(ctx context.Context, kind Kind, id int) (GuestStatus, error) {
	op := guestOp("read status of", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return GuestStatus{}, err
	}
	var w wireGuest
	c, err := p.get(ctx, op, p.guestPath(kind, id, "/status/current"), &w)
	if err != nil {
		return GuestStatus{}, err
	}
	if err := need(c, 0, "status", w.Status.Set); err != nil {
		return GuestStatus{}, err
	}
	if w.Status.V != "running" && w.Status.V != "stopped" {
		return GuestStatus{}, c.bad("status is %q", clip(w.Status.V, maxExcerpt))
	}
	return GuestStatus{
		Name: w.Name.V, Status: w.Status.V, QMP: w.QMP.V, Lock: w.Lock.V, HA: w.HA.Managed.V, Tags: list(w.Tags.V),
		Uptime: seconds(w.Uptime), MaxMem: w.MaxMem.V, MaxDisk: w.MaxDisk.V,
	}, nil
}

// GuestConfig is the config of a guest as it stands on this host, with pending changes in it.
type GuestConfig struct {
	Digest string
	Values map[string]string // every key but digest: "net0", "memory", "onboot", "description", ...
}

// Tags gives the tags.
func (g GuestConfig) Tags() []string { return list(g.Values["tags"]) }

// Lock gives the lock property, "" when there is none.
func (g GuestConfig) Lock() string { return g.Values["lock"] }

// Marker gives the marker in the description.
func (g GuestConfig) Marker() (Marker, bool) { return ParseMarker(g.Values["description"]) }

// Bare says that the config is what a restore has before its end and what a failed one leaves: nothing, or "memory: 128",
// perhaps with a lock. Whose it is the task list says, not the config.
func (g GuestConfig) Bare() bool {
	for key, value := range g.Values {
		if key != "lock" && (key != "memory" || value != "128") {
			return false
		}
	}
	return true
}

// GuestConfig asks for the config of a guest. A guest that does not exist gives an error of kind NotFound.
func (p *PVE) GuestConfig(ctx context.Context, kind Kind, id int) (GuestConfig, error) {
	op := guestOp("read config of", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return GuestConfig{}, err
	}
	var w map[string]wireString
	c, err := p.get(ctx, op, p.guestPath(kind, id, "/config"), &w)
	if err != nil {
		return GuestConfig{}, err
	}
	if err := need(c, 0, "digest", w["digest"].Set); err != nil {
		return GuestConfig{}, err
	}
	g := GuestConfig{Digest: w["digest"].V, Values: make(map[string]string, len(w))}
	for key, value := range w {
		if key != "digest" {
			g.Values[key] = value.V
		}
	}
	return g, nil
}

// SetConfig changes keys of a guest's config and deletes others, in one synchronous call. With a digest (of
// GuestConfig) the change is made only if nobody else changed the config meanwhile, else the error is of kind Changed.
// Disks are neither set nor deleted by it.
func (p *PVE) SetConfig(ctx context.Context, kind Kind, id int, set map[string]string, del []string, digest string) error {
	op := guestOp("change config of", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return err
	}
	if len(set) == 0 && len(del) == 0 {
		return requestError(op, "nothing to change")
	}
	params := make(map[string]any, len(set)+2)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if data(key) || key == "delete" || key == "digest" || key == "skiplock" || key == "force" || slices.Contains(del, key) {
			return requestError(op, "key %q cannot be set here", key)
		}
		params[key] = set[key]
	}
	if i := slices.IndexFunc(del, data); i >= 0 {
		return requestError(op, "key %q cannot be deleted here", del[i])
	}
	if len(del) > 0 {
		params["delete"] = strings.Join(del, ",")
	}
	if digest != "" {
		params["digest"] = digest
	}
	_, err := p.do(ctx, call{op: op, method: http.MethodPut, path: p.guestPath(kind, id, "/config"), write: true}, params)
	return err // the answer of a success is null
}

// data says whether a key of a config is a disk or a mount point: to change one can cost what lies on it.
func data(key string) bool {
	return vmDiskKey.MatchString(key) || ctDiskKey.MatchString(key) || strings.HasPrefix(key, "unused")
}

// Start starts a guest. A VM that runs already fails in its task, a container at once (kind Running).
func (p *PVE) Start(ctx context.Context, kind Kind, id int) (UPID, error) {
	return p.power(ctx, "start", kind, id)
}

// Shutdown asks the guest's system to shut down. A guest that does not react within so many seconds (0: PVE's own limit)
// goes on running and the task fails (kind Busy).
func (p *PVE) Shutdown(ctx context.Context, kind Kind, id int, within time.Duration) (UPID, error) {
	op := guestOp("shutdown", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return UPID{}, err
	}
	params := map[string]any(nil)
	if s := int(within / time.Second); s > 0 {
		params = map[string]any{"timeout": s}
	}
	return p.task(ctx, call{op: op, method: http.MethodPost, path: p.guestPath(kind, id, "/status/shutdown"), write: true}, params)
}

// Dump makes a backup of one guest into a storage entry, a PBS's namespace with its key. The task's type is vzdump and its
// id the guest's; one runs at a time on a node, others wait. Nothing is pruned by it. Privileges: VM.Backup on the guest,
// Datastore.AllocateSpace on the storage.
func (p *PVE) Dump(ctx context.Context, kind Kind, id int, storage string) (UPID, error) {
	op := guestOp("back up", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return UPID{}, err
	}
	if !storageText.MatchString(storage) {
		return UPID{}, requestError(op, "storage %q is not valid", storage)
	}
	params := map[string]any{"vmid": strconv.Itoa(id), "storage": storage, "mode": "snapshot", "remove": 0, "notes-template": "{{guestname}}"}
	return p.task(ctx, call{op: op, method: http.MethodPost, path: p.nodePath("/vzdump"), write: true}, params)
}

// Stop cuts the guest's power.
func (p *PVE) Stop(ctx context.Context, kind Kind, id int) (UPID, error) {
	return p.power(ctx, "stop", kind, id)
}

func (p *PVE) power(ctx context.Context, verb string, kind Kind, id int) (UPID, error) {
	op := guestOp(verb, kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return UPID{}, err
	}
	return p.task(ctx, call{op: op, method: http.MethodPost, path: p.guestPath(kind, id, "/status/"+verb), write: true}, nil)
}

// Destroy deletes a stopped guest with all disks that carry its id, also those its config does not name, and takes it
// out of pools, jobs and HA. A guest that is absent, running (Running) or protected (Protected) fails at once.
func (p *PVE) Destroy(ctx context.Context, kind Kind, id int) (UPID, error) {
	op := guestOp("destroy", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return UPID{}, err
	}
	query := url.Values{"purge": {"1"}, "destroy-unreferenced-disks": {"1"}}
	return p.task(ctx, call{op: op, method: http.MethodDelete, path: p.guestPath(kind, id, "?"+query.Encode()), write: true}, nil)
}

// task makes a call that starts a task. A success without a UPID leaves the outcome unknown.
func (p *PVE) task(ctx context.Context, c call, params map[string]any) (UPID, error) {
	data, err := p.do(ctx, c, params)
	if err != nil {
		return UPID{}, err
	}
	s, err := text(c, data)
	if err != nil {
		return UPID{}, err
	}
	u, err := ParseUPID(s)
	if err != nil {
		return UPID{}, c.bad("%s", clip(err.Error(), maxMessage))
	}
	return u, nil
}

// parseID reads a guest id of a path, volume id or UPID.
func parseID(s string) (int, bool) {
	id, err := strconv.Atoi(s)
	return id, err == nil && id >= 100 && id <= 999999999 && s == strconv.Itoa(id)
}
