package proxmox

import (
	"context"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// StorageEntry is one entry of the storage configuration. Those that the token may not audit are not listed.
type StorageEntry struct {
	ID        string
	Type      string   // "pbs", "zfspool", "dir", ...
	Server    string   // PBS: host
	Datastore string   // PBS
	Namespace string   // PBS: the one namespace of this entry, "" for the root
	Key       string   // PBS: fingerprint of the encryption key, "1" for a key without one, "" for none
	Content   []string // "images", "rootdir", "backup", ...
	Nodes     []string // only on these nodes; empty = on all
	Disabled  bool
	Prune     string // what a backup through this entry removes, "keep-last=3"; "" = nothing
}

// keyText is a key's fingerprint, or the 1 of a key that has none.
var keyText = regexp.MustCompile(`^(1|([0-9A-Fa-f]{2}:)+[0-9A-Fa-f]{2})$`)

// Storages lists the storage configuration (Datastore.Audit on each). It contacts no storage.
func (p *PVE) Storages(ctx context.Context) ([]StorageEntry, error) {
	var rows []struct {
		ID        wireString `json:"storage"`
		Type      wireString
		Server    wireString
		Datastore wireString
		Namespace wireString
		Key       wireString `json:"encryption-key"`
		Content   wireString
		Nodes     wireString
		Disable   wireBool
		Prune     wirePrune `json:"prune-backups"`
	}
	c, err := p.get(ctx, "list storages", "/storage", &rows)
	if err != nil {
		return nil, err
	}
	all := make([]StorageEntry, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "storage", w.ID.Set, "type", w.Type.Set); err != nil {
			return nil, err
		}
		if w.Key.Set && !keyText.MatchString(w.Key.V) {
			return nil, c.bad("encryption-key of storage %s is no fingerprint", clip(w.ID.V, maxExcerpt)) // might be the key itself
		}
		all = append(all, StorageEntry{
			ID: w.ID.V, Type: w.Type.V, Server: w.Server.V, Datastore: w.Datastore.V, Namespace: w.Namespace.V, Key: w.Key.V,
			Content: list(w.Content.V), Nodes: list(w.Nodes.V), Disabled: w.Disable.V, Prune: string(w.Prune),
		})
	}
	return all, nil
}

// StorageStatus is the state of one storage on this node. Sizes in bytes.
type StorageStatus struct {
	Type               string
	Content            []string
	Active             bool // false with zero sizes: the storage (a PBS, an NFS server) does not answer
	Enabled, Shared    bool
	Total, Used, Avail int64
}

// StorageStatus asks for the state of one storage. It contacts that storage: a PBS that hangs takes 7 to 14 s.
func (p *PVE) StorageStatus(ctx context.Context, storage string) (StorageStatus, error) {
	op := "read status of storage " + storage
	if !storageText.MatchString(storage) {
		return StorageStatus{}, requestError(op, "not a storage id")
	}
	var w struct {
		Type                    wireString
		Content                 wireString
		Active, Enabled, Shared wireBool
		Total, Used, Avail      wireInt
	}
	c, err := p.get(ctx, op, p.nodePath("/storage/"+url.PathEscape(storage)+"/status"), &w)
	if err != nil {
		return StorageStatus{}, err
	}
	if err := need(c, 0, "type", w.Type.Set, "content", w.Content.Set); err != nil {
		return StorageStatus{}, err
	}
	if w.Active.V {
		if err := need(c, 0, "total", w.Total.Set, "avail", w.Avail.Set); err != nil {
			return StorageStatus{}, err
		}
	}
	return StorageStatus{
		Type: w.Type.V, Content: list(w.Content.V), Active: w.Active.V, Enabled: w.Enabled.V || !w.Enabled.Set, Shared: w.Shared.V,
		Total: w.Total.V, Used: w.Used.V, Avail: w.Avail.V,
	}, nil
}

// Backup is one restore point as PVE sees it through a storage entry.
type Backup struct {
	Volid     string
	Kind      Kind
	VMID      int
	Time      time.Time // of the backup, UTC
	Size      int64     // provisioned bytes; 0 = unfinished or unreadable: never restore it
	Encrypted string    // fingerprint of the key, "1" when encrypted with a key of unknown fingerprint, "" when not
	Verified  string    // "ok", "failed" or ""; may be the verdict of another PBS, copied by a sync
	Protected bool
	Notes     string // first line of the comment
}

// Backups lists the backups of one guest in a PBS storage entry, in the server's order. Rows need
// Datastore.AllocateSpace on the storage and VM.Backup on the guest, and are left out silently without: an empty list
// can mean missing privileges.
func (p *PVE) Backups(ctx context.Context, storage string, vmid int) ([]Backup, error) {
	op := "list backups of guest " + strconv.Itoa(vmid) + " in " + storage
	if !storageText.MatchString(storage) {
		return nil, requestError(op, "not a storage id")
	}
	if err := checkGuest(op, VM, vmid); err != nil {
		return nil, err
	}
	var rows []struct {
		Volid        wireString
		Size         wireInt
		Encrypted    wireString
		Protected    wireBool
		Notes        wireString
		Verification struct{ State wireString }
	}
	query := url.Values{"content": {"backup"}, "vmid": {strconv.Itoa(vmid)}}
	c, err := p.get(ctx, op, p.nodePath("/storage/"+url.PathEscape(storage)+"/content?"+query.Encode()), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]Backup, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "volid", w.Volid.Set); err != nil {
			return nil, err
		}
		v, err := ParseVolid(w.Volid.V)
		if err != nil || v.VMID != vmid {
			continue // a backup file, or a row that was not asked for
		}
		size := w.Size.V
		if size <= 1 { // PVE's "unknown"
			size = 0
		}
		all = append(all, Backup{
			Volid: w.Volid.V, Kind: v.Kind, VMID: v.VMID, Time: v.Time, Size: size, Encrypted: w.Encrypted.V,
			Verified: w.Verification.State.V, Protected: w.Protected.V, Notes: strings.TrimSpace(w.Notes.V),
		})
	}
	return all, nil
}
