package proxmox

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var storageText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]$`)

// VolumeID is a restore point in a PBS storage entry of PVE.
type VolumeID struct {
	Storage string
	Kind    Kind
	VMID    int
	Time    time.Time // UTC, whole seconds
}

// String gives "STORAGE:backup/vm/100/2024-01-01T00:00:00Z".
func (v VolumeID) String() string {
	return v.Storage + ":backup/" + string(v.Kind) + "/" + strconv.Itoa(v.VMID) + "/" + v.Time.UTC().Format("2006-01-02T15:04:05Z")
}

// Volid gives the volume id of a PBS snapshot as the storage entry named storage shows it.
func Volid(storage string, kind Kind, id int, t time.Time) string {
	return VolumeID{Storage: storage, Kind: kind, VMID: id, Time: t}.String()
}

// ParseVolid reads the volume id of a PBS snapshot. Backup files (backup/vzdump-...) are refused: they are not ours.
func ParseVolid(volid string) (VolumeID, error) {
	storage, rest, ok := strings.Cut(volid, ":")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[0] != "backup" || !storageText.MatchString(storage) {
		return VolumeID{}, fmt.Errorf("parse volume id %q: not of the form STORAGE:backup/vm|ct/ID/TIME", volid)
	}
	v := VolumeID{Storage: storage, Kind: Kind(parts[1])}
	if !v.Kind.valid() {
		return VolumeID{}, fmt.Errorf("parse volume id %q: kind %q is neither vm nor ct", volid, parts[1])
	}
	if v.VMID, ok = parseID(parts[2]); !ok {
		return VolumeID{}, fmt.Errorf("parse volume id %q: %q is not a guest id", volid, parts[2])
	}
	t, err := time.Parse("2006-01-02T15:04:05Z", parts[3])
	if err != nil || t.Format("2006-01-02T15:04:05Z") != parts[3] {
		return VolumeID{}, fmt.Errorf("parse volume id %q: time %q is not like 2024-01-01T00:00:00Z", volid, parts[3])
	}
	v.Time = t
	return v, nil
}
