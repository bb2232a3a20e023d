package proxmox

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Snapshot is one restore point as its PBS sees it. Take restore points from here, never from a group's last backup,
// which may be unfinished.
type Snapshot struct {
	NS           string // namespace; "" = the root
	Kind         Kind
	ID           int       // of the guest at its source
	Time         time.Time // of the backup, UTC, whole seconds
	Size         int64     // bytes; 0 = not told: unfinished
	Files        []File
	Fingerprint  string // of the key that encrypted it, lower case; "" when not encrypted or not told
	Verification Verification
	Protected    bool
	Comment      string
	Owner        string // "user@realm" or "user@realm!token"
}

// File is one file of a snapshot.
type File struct {
	Name  string // "drive-scsi0.img.fidx", ...
	Size  int64  // bytes; 0 = not told
	Crypt string // "encrypt", "sign-only", "none" or "" when not told
}

// Verification is the last verdict on a snapshot. A sync copies the source's, and does so again at every run for the
// newest snapshot; UPID says whose it is.
type Verification struct {
	State string // "ok", "failed" or ""
	UPID  string // of the task that verified, on the server where it ran
}

// String gives "vm/100/2024-01-01T00:00:00Z".
func (s Snapshot) String() string {
	return string(s.Kind) + "/" + strconv.Itoa(s.ID) + "/" + s.Time.UTC().Format("2006-01-02T15:04:05Z")
}

// Volid gives the volume id under which the storage entry named storage shows the snapshot. The entry must be one for
// the snapshot's datastore and namespace.
func (s Snapshot) Volid(storage string) string { return Volid(storage, s.Kind, s.ID, s.Time) }

// Reason says why a snapshot is not usable.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	ReasonNone         Reason = ""
	ReasonUnfinished   Reason = "unfinished"    // no size or no manifest: the backup or its sync has not ended
	ReasonMissingData  Reason = "missing data"  // the manifest is there, but not the files that a guest of its kind has
	ReasonVerifyFailed Reason = "verify failed" // somebody's verification found it corrupt
	ReasonNotEncrypted Reason = "not encrypted" // a key is wanted and some data is not encrypted: not a backup of ours
	ReasonWrongKey     Reason = "wrong key"     // encrypted with another key than the one that is here
	ReasonNoKey        Reason = "no key"        // encrypted, and there is no key here
)

// String gives the reason, "usable" for none.
func (r Reason) String() string {
	if r == ReasonNone {
		return "usable"
	}
	return string(r)
}

const manifest = "index.json.blob"

var vmDiskFile = regexp.MustCompile(`^drive-.+\.img\.fidx$`)

// Usable says whether a snapshot can be restored with the key of fingerprint wantKey, as far as PBS's listing tells:
// it is complete, not known to be bad, and the key opens it. wantKey is StorageEntry.Key: "" means that there is no
// key, "1" a key without a known fingerprint. Whether it was verified here is another question: VerifiedHere.
func Usable(s Snapshot, wantKey string) (ok bool, reason Reason) {
	switch {
	case s.Size <= 1 || !s.has(manifest):
		return false, ReasonUnfinished
	case !s.complete():
		return false, ReasonMissingData
	case s.Verification.State != "" && s.Verification.State != "ok":
		return false, ReasonVerifyFailed
	}
	plain, encrypted := s.crypt()
	switch {
	case wantKey == "" && encrypted:
		return false, ReasonNoKey
	case wantKey == "":
		return true, ReasonNone
	case plain:
		return false, ReasonNotEncrypted
	case wantKey != "1" && !strings.EqualFold(wantKey, s.Fingerprint):
		return false, ReasonWrongKey
	}
	return true, ReasonNone
}

func (s Snapshot) has(name string) bool {
	return slices.ContainsFunc(s.Files, func(f File) bool { return f.Name == name })
}

// complete says whether the files are there without which a guest of the kind is none: its config, and the data.
func (s Snapshot) complete() bool {
	if s.Kind == VM {
		return s.has("qemu-server.conf.blob") && slices.ContainsFunc(s.Files, func(f File) bool { return vmDiskFile.MatchString(f.Name) })
	}
	return s.has("pct.conf.blob") && (s.has("root.pxar.didx") || s.has("root.mpxar.didx") && s.has("root.ppxar.didx"))
}

// crypt says whether some of the data files are not encrypted, and whether some are. The manifest is never encrypted,
// the client's log and the wrapped key are no data.
func (s Snapshot) crypt() (plain, encrypted bool) {
	for _, f := range s.Files {
		switch {
		case f.Name == manifest || f.Name == "client.log.blob" || f.Name == "rsa-encrypted.key.blob":
		case f.Crypt == "encrypt":
			encrypted = true
		default:
			plain = true
		}
	}
	return plain, encrypted
}

// VerifiedHere says whether the snapshot was found good by the PBS whose host is called node, not by the one that it
// was synced from.
func VerifiedHere(s Snapshot, node string) bool {
	u, err := ParsePBSUPID(s.Verification.UPID)
	return err == nil && s.Verification.State == "ok" && node != "" && u.Node == node
}
