package proxmox

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// RestoreRequest says what to restore and how. Kind, VMID, Volid and Storage are required.
//
// What is not offered: start (a failure of the start would not be seen in the task), unique (new MACs; a container
// would lose its network overrides).
type RestoreRequest struct {
	Kind        Kind
	VMID        int
	Volid       string            // of a snapshot of that kind
	Storage     string            // target of all disks
	Pool        string            // "" for none
	Name        string            // VM name or CT host name; "" keeps the archive's
	Description string            // "" keeps the archive's; see Marker.Describe
	Tags        []string          // empty keeps the archive's
	Nets        map[string]string // every netN of the archive, see OverrideNets
	Live        bool              // VM: it runs at once, and its disks follow; if that breaks, what was written meanwhile is lost
	Extra       map[string]string // other config keys; each replaces the archive's
}

// reserved are parameters of the two POSTs that RestoreRequest decides itself, or that only root may set.
var reserved = []string{
	"archive", "ostemplate", "restore", "vmid", "storage", "pool", "force", "unique", "start", "live-restore", "onboot", "node",
	"ha-managed", "bwlimit", "lock", "args", "hookscript", "vmgenid", "digest", "delete", "template", "password", "ssh-public-keys",
	"import-working-storage", "ignore-unpack-errors", "name", "hostname", "description", "tags", "rootfs",
}

var (
	optionText = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	tagText    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)
)

// Restore starts the restore of a guest, stopped (but for a live one) and with onboot=0, under a VMID that must be free (else Exists).
// The task's type is qmrestore or vzrestore. The task's success does not say that the guest can start. A VM restore
// that failed leaves a bare config, which only Destroy removes; a container cleans up behind itself. The parameter
// force would restore over a guest that exists, whose disks are freed before the copy begins: it is never sent.
func (p *PVE) Restore(ctx context.Context, r RestoreRequest) (UPID, error) {
	params, err := r.params()
	if err != nil {
		return UPID{}, err
	}
	u, err := p.task(ctx, call{op: r.op(), method: http.MethodPost, path: p.nodePath("/" + r.Kind.segment()), write: true}, params)
	if e, ok := err.(*Error); ok && e.Kind == Forbidden && e.Privilege == "" && e.PrivPath == "" {
		// PVE says the bare text when VM.Allocate is missing on the guest and on the pool.
		e.Privilege, e.PrivPath = "VM.Allocate", "/vms/"+strconv.Itoa(r.VMID)
	}
	return u, err
}

func (r RestoreRequest) op() string { return guestOp("restore", r.Kind, r.VMID) }

// params checks the request and gives the parameters of the POST.
func (r RestoreRequest) params() (map[string]any, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	params := map[string]any{"vmid": r.VMID, "storage": r.Storage, "onboot": 0}
	nameKey := "name"
	if r.Kind == CT {
		nameKey = "hostname"
		params["ostemplate"], params["restore"] = r.Volid, 1
	} else {
		params["archive"] = r.Volid
	}
	for key, value := range map[string]string{
		"pool": r.Pool, nameKey: r.Name, "description": r.Description, "tags": strings.Join(r.Tags, ";"),
	} {
		if value != "" {
			params[key] = value
		}
	}
	if r.Live {
		params["live-restore"] = 1
	}
	for key, value := range r.Nets {
		params[key] = value
	}
	for key, value := range r.Extra {
		params[key] = value
	}
	return params, nil
}

func (r RestoreRequest) check() error {
	if err := checkGuest(r.op(), r.Kind, r.VMID); err != nil {
		return err
	}
	v, err := ParseVolid(r.Volid)
	switch {
	case err != nil:
		return requestError(r.op(), "%s", err)
	case v.Kind != r.Kind:
		// PVE takes it and fails only in the task, with a stub left behind.
		return requestError(r.op(), "%s is a backup of a %s", r.Volid, v.Kind)
	case !storageText.MatchString(r.Storage):
		// Without a target a VM's disks go where the archive says and a container's to "local".
		return requestError(r.op(), "target storage %q is not valid", r.Storage)
	case r.Live && r.Kind != VM:
		return requestError(r.op(), "only a VM can be restored live")
	case len(r.Description) > 8192:
		return requestError(r.op(), "description is longer than 8192 bytes")
	}
	for _, tag := range r.Tags {
		if !tagText.MatchString(tag) {
			return requestError(r.op(), "tag %q is not valid", tag)
		}
	}
	return r.checkKeys()
}

func (r RestoreRequest) checkKeys() error {
	for _, key := range slices.Sorted(maps.Keys(r.Nets)) {
		if !netKey.MatchString(key) || r.Nets[key] == "" {
			return requestError(r.op(), "network override %q is not valid", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Extra)) {
		if !optionText.MatchString(key) || slices.Contains(reserved, key) || netKey.MatchString(key) || vmDiskKey.MatchString(key) || ctDiskKey.MatchString(key) {
			return requestError(r.op(), "config key %q cannot be overridden here", key)
		}
	}
	return nil
}

// Progress is how far a restore is. Bytes are provisioned bytes of the whole guest.
type Progress struct {
	Known bool   // false for containers (their log tells nothing) and before the first disk
	Done  int64  // bytes
	Total int64  // bytes; 0 when no size is known
	Disk  string // the one being copied, "" between two
	Disks int    // copied whole
}

var (
	diskBegins = regexp.MustCompile(`pbs-restore .*\bdrive-([a-z]+\d+)(?:-backup)?\.img\.fidx`)
	diskMoves  = regexp.MustCompile(`^progress (\d+)% \(read (\d+) bytes`)
	diskEnds   = regexp.MustCompile(`^restore image complete \(bytes=(\d+),`)
)

// RestoreProgress reads the progress of a VM restore out of the whole log so far. A disk's percentage is of that disk
// only, and disks follow one another; sizes come from disks (ArchiveConfig.Disks) and, where these tell none, from the
// log once a disk has ended.
func RestoreProgress(lines []LogLine, disks []Disk) Progress {
	var p Progress
	size := make(map[string]int64, len(disks))
	for _, d := range disks {
		if d.Saved {
			size[d.Name] = d.Bytes
			p.Total += d.Bytes
		}
	}
	var before, moved int64 // bytes of the disks before this one, and of this one
	for _, l := range lines {
		line := strings.TrimSpace(l.Text)
		if m := diskBegins.FindStringSubmatch(line); m != nil {
			before, moved = before+moved, 0
			p.Disk, p.Known = m[1], true
			continue
		}
		if p.Disk == "" {
			continue
		}
		if m := diskMoves.FindStringSubmatch(line); m != nil {
			moved = max(moved, diskBytes(m[1], m[2], size[p.Disk]))
		} else if m := diskEnds.FindStringSubmatch(line); m != nil {
			if size[p.Disk] == 0 {
				size[p.Disk] = diskBytes("100", m[1], 0)
				p.Total += size[p.Disk]
			}
			before, moved = before+size[p.Disk], 0
			p.Disk = ""
			p.Disks++
		}
	}
	p.Done = before + moved
	p.Total = max(p.Total, p.Done)
	return p
}

// diskBytes gives the bytes that a progress line stands for: its percentage of the disk's size, or what it says was
// read when the size is not known.
func diskBytes(percent, read string, size int64) int64 {
	n, err := strconv.ParseInt(read, 10, 51)
	if err != nil || n < 0 {
		n = 0
	}
	pc, err := strconv.ParseInt(percent, 10, 8)
	if err != nil {
		return 0
	}
	if size == 0 {
		return n
	}
	if n > 0 && pc < 100 {
		return min(n, size)
	}
	return int64(float64(size) * float64(min(pc, 100)) / 100)
}
