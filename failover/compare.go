package failover

import (
	"slices"
	"strings"
	"time"
)

// FilePair is two backups of a guest that one site can read: the sealed one of a copy that does
// not go on, and the newest of the copy that does. Their files can be compared there.
type FilePair struct {
	Guest   GuestID      `json:"guest"`
	Copy    Place        `json:"copy"` // whose branch is sealed
	Site    SiteID       `json:"site"`
	Host    HostID       `json:"host"`
	Sealed  RestorePoint `json:"sealed"`
	Running RestorePoint `json:"running"`
}

// Compare chooses the two backups of which the files of a guest are compared: those of the
// branch that was sealed last, or of the copy that is named by host and id, at the site
// that has the newest backup of the copy that goes on; with only at no other site than it.
func (s *State) Compare(g GuestID, host HostID, id int, only SiteID) (FilePair, error) {
	if s.Network == nil {
		return FilePair{}, reject(CodeNoNetwork)
	}
	if _, known := s.Guests[g]; !known {
		return FilePair{}, reject(CodeUnknownGuest, "guest", string(g))
	}
	var of *Lineage
	for _, l := range slices.Backward(s.LineagesOf(g)) {
		if l.Sealed != nil && (host == "" || l.Host == host && l.VMID == id) && (of == nil || of.Sealed.At.Index < l.Sealed.At.Index) {
			of = &l
		}
	}
	if of == nil {
		return FilePair{}, reject(CodeNothing, "what", "sealed branch", "guest", string(g))
	}
	pair := FilePair{Guest: g, Copy: Place{Site: of.Site, Host: of.Host, VMID: of.VMID, Epoch: of.Epoch}}
	for _, at := range of.Sealed.Copies {
		target, _, ok := s.Network.Target(at.Site)
		entry := s.lineagesOf(target, of.Home).Sealed
		points, _ := s.PointsAt(g, at.Site)
		i := slices.IndexFunc(points, func(p RestorePoint) bool { return p.Unusable == "" })
		if only != "" && at.Site != only || !ok || entry == "" || i < 0 || !pair.Running.Time.Before(points[i].Time) {
			continue
		}
		// The same backup by the name of the entry that this host has for it.
		_, name, _ := strings.Cut(at.Point.Volid, ":")
		pair.Site, pair.Host, pair.Running, pair.Sealed = at.Site, target, points[i], at.Point
		pair.Sealed.Storage, pair.Sealed.Volid = entry, entry+":"+name
	}
	if pair.Site == "" {
		return pair, reject(CodeNoPair, "guest", string(g), "sites", strings.ReplaceAll(joined(of.Sealed.Copies), " and ", ", "))
	}
	return pair, nil
}

// How a file differs between two backups.
const (
	FileOnlySealed  = "only-sealed"
	FileOnlyRunning = "only-running"
	FileDiffers     = "differs" // another size, another time of change, or another type
)

// FileChange is what differs at one path. Below a directory that is in one of the backups only
// nothing is told.
type FileChange struct {
	Path    string    `json:"path"` // from the root of the backup: "/root.pxar.didx/etc/hostname"
	Kind    string    `json:"kind"` // FileOnlySealed, FileOnlyRunning, FileDiffers
	Dir     bool      `json:"dir,omitempty"`
	Sealed  FileState `json:"sealed,omitzero"`
	Running FileState `json:"running,omitzero"`
}

// FileState is a file in one of the backups.
type FileState struct {
	Size  int64     `json:"size"`           // bytes
	MTime time.Time `json:"mtime,omitzero"` // zero: unknown
}

// UnreadDir is a directory that could not be looked into in one of the backups, and why in the
// words of Proxmox.
type UnreadDir struct {
	Path  string `json:"path"`
	Volid string `json:"volid"`
	Why   string `json:"why"`
}

// FileDiff is what differs between the files of two backups.
type FileDiff struct {
	Changes []FileChange `json:"changes"`
	Unread  []UnreadDir  `json:"unread"`
	Dirs    int          `json:"dirs"`              // that were looked into in both
	Stopped string       `json:"stopped,omitempty"` // why it ended early; "": it did not
}
