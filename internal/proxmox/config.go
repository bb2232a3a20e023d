package proxmox

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ArchiveConfig is the guest's config inside a backup.
type ArchiveConfig struct {
	Kind        Kind
	Description string            // decoded
	Raw         map[string]string // every key as it stands, without description; repeated lxc.* keys joined by newlines
	Nets        map[string]string // "net0": "virtio=AA:..,bridge=vmbr0,tag=120"
	Disks       []Disk            // sorted by name; without CD-ROM and cloud-init drives
	Warnings    []Warning         // what a restore by token will refuse, lose or leave out
}

// Disk is one disk of a VM, or root or mount point of a container.
type Disk struct {
	Name    string // "scsi0", "rootfs", "mp1", ...
	Storage string // at the source
	Bytes   int64  // provisioned; 0 = not told
	Saved   bool   // its content is in the backup
}

// SavedBytes is the sum of the provisioned sizes of all disks whose content is in the backup.
func (a ArchiveConfig) SavedBytes() int64 {
	var sum int64
	for _, d := range a.Disks {
		if d.Saved {
			sum += d.Bytes
		}
	}
	return sum
}

// WarningCode says what a Warning is about.
type WarningCode string

// The codes of warnings.
const (
	WarnNotSaved   WarningCode = "not saved"   // a disk with backup=0, or a mount point without backup=1: absent or empty after the restore
	WarnBindMount  WarningCode = "bind mount"  // bind or device mount point: the restore fails for every token
	WarnPrivileged WarningCode = "privileged"  // privileged container: needs Sys.Modify on / since PVE 9.0
	WarnRootOnly   WarningCode = "root only"   // dropped, or refused to a token
	WarnHostBound  WarningCode = "host bound"  // bound to the source host's hardware or version: may restore and not start
	WarnFirewall   WarningCode = "firewall"    // rules of the guest's firewall come back, what they name at the source does not (fact 19)
	WarnTemplate   WarningCode = "template"    // comes back as a template, which cannot be started
	WarnUnread     WarningCode = "unread line" // a line that is no config of a guest
)

// Warning is one obstacle to a restore. Key is the config key it comes from.
type Warning struct {
	Code WarningCode
	Key  string
	Text string
}

// ExtractConfig reads the guest's config out of a backup. It makes PVE decrypt the config with the storage entry's
// key, so its success is also the proof that the right key is here (else KeyMissing or KeyWrong). The privileges are
// those of Backups.
func (p *PVE) ExtractConfig(ctx context.Context, volid string) (ArchiveConfig, error) {
	op := "read config in backup " + volid
	v, err := ParseVolid(volid)
	if err != nil {
		return ArchiveConfig{}, requestError(op, "%s", err)
	}
	c := call{op: op, method: http.MethodGet, path: p.nodePath("/vzdump/extractconfig?" + url.Values{"volume": {volid}}.Encode())}
	data, err := p.do(ctx, c, nil)
	if err != nil {
		return ArchiveConfig{}, err
	}
	s, err := text(c, data)
	if err != nil {
		return ArchiveConfig{}, err
	}
	a, err := ParseArchiveConfig(v.Kind, s)
	if err != nil {
		return ArchiveConfig{}, c.bad("%s", err)
	}
	return a, nil
}

var (
	configLine = regexp.MustCompile(`^([a-z][a-z_-]*\d*):\s*(\S.*?)?\s*$`)
	lxcLine    = regexp.MustCompile(`^(lxc\.[a-z0-9_.-]+)\s*[:=]\s*(.*?)\s*$`)
	qmdumpLine = regexp.MustCompile(`^#qmdump#map:(\w+):drive-[\w-]+:([^:]*):`)
	vmDiskKey  = regexp.MustCompile(`^(ide|sata|scsi|virtio)\d+$|^(efidisk|tpmstate)0$`)
	ctDiskKey  = regexp.MustCompile(`^rootfs$|^mp\d+$`)
	netKey     = regexp.MustCompile(`^net\d+$`)
	rootOnly   = regexp.MustCompile(`^(args|hookscript|lxc\..*|dev\d+)$`)
	hostDevice = regexp.MustCompile(`^(hostpci|usb|serial|parallel|virtiofs)\d+$`)
)

// ParseArchiveConfig reads the text of a guest's config as extractconfig gives it: qemu-server's or pct's config
// lines, "#" lines of the (percent-encoded) description and, for a VM, one "#qmdump#map:DISK:..." line per saved disk.
// Lines that are not understood become warnings; a text without any config line is an error.
func ParseArchiveConfig(kind Kind, s string) (ArchiveConfig, error) {
	a := ArchiveConfig{Kind: kind, Raw: make(map[string]string), Nets: make(map[string]string)}
	if !kind.valid() {
		return a, fmt.Errorf("parse config in backup: unknown kind of guest %q", kind)
	}
	var description []string
	saved := make(map[string]bool)
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "["): // snapshot sections are cut off by vzdump; after one nothing is the guest's own
			a.warn(WarnUnread, "", "section "+clip(line, maxExcerpt)+" and all below it left out")
			return a.finish(description, saved)
		case strings.HasPrefix(line, "#qmdump#"):
			if m := qmdumpLine.FindStringSubmatch(line); m != nil {
				saved[m[1]] = true
			}
		case strings.HasPrefix(line, "#"):
			description = append(description, percentDecode(line[1:]))
		default:
			a.addLine(line)
		}
	}
	return a.finish(description, saved)
}

func (a *ArchiveConfig) addLine(line string) {
	if m := lxcLine.FindStringSubmatch(line); m != nil && a.Kind == CT {
		if old, ok := a.Raw[m[1]]; ok {
			m[2] = old + "\n" + m[2]
		}
		a.Raw[m[1]] = m[2]
		return
	}
	m := configLine.FindStringSubmatch(line)
	if m == nil {
		a.warn(WarnUnread, "", clip(line, maxExcerpt))
		return
	}
	a.Raw[m[1]] = m[2]
}

func (a *ArchiveConfig) warn(code WarningCode, key, text string) {
	a.Warnings = append(a.Warnings, Warning{Code: code, Key: key, Text: text})
}

// finish draws nets, disks and warnings out of the raw keys.
func (a *ArchiveConfig) finish(description []string, saved map[string]bool) (ArchiveConfig, error) {
	if len(a.Raw) == 0 {
		return *a, fmt.Errorf("parse config in backup: no config line in it")
	}
	if text, ok := a.Raw["description"]; ok { // written so by very old versions
		description = append(description, percentDecode(text))
		delete(a.Raw, "description")
	}
	a.Description = strings.Join(description, "\n")
	for _, key := range slices.Sorted(maps.Keys(a.Raw)) {
		value := a.Raw[key]
		switch {
		case netKey.MatchString(key):
			a.Nets[key] = value
			if _, options := splitOptions(value); options["firewall"] == "1" {
				a.warn(WarnFirewall, key, "behind the guest's firewall")
			}
		case a.Kind == VM && vmDiskKey.MatchString(key):
			a.addVMDisk(key, value, saved[key])
		case a.Kind == CT && ctDiskKey.MatchString(key):
			a.addMount(key, value)
		case rootOnly.MatchString(key):
			a.warn(WarnRootOnly, key, "only root@pam may set it")
		case a.Kind == VM && hostDevice.MatchString(key) && value != "socket" && !strings.HasPrefix(value, "spice"):
			a.warn(WarnHostBound, key, "passes a device of the source host: "+clip(value, maxExcerpt))
		}
	}
	a.checkHost()
	return *a, nil
}

// checkHost warns of keys whose value, not presence, ties the guest to its source.
func (a *ArchiveConfig) checkHost() {
	if a.Raw["template"] == "1" {
		a.warn(WarnTemplate, "template", "the backup is of a template")
	}
	if a.Kind == CT && a.Raw["unprivileged"] != "1" {
		a.warn(WarnPrivileged, "unprivileged", "privileged container: restoring it needs Sys.Modify on /")
	}
	if a.Kind == VM {
		if cpu, _, _ := strings.Cut(strings.TrimPrefix(a.Raw["cpu"], "cputype="), ","); cpu == "host" {
			a.warn(WarnHostBound, "cpu", "the guest sees this host's processor model")
		}
		if m := a.Raw["machine"]; strings.ContainsAny(m, "0123456789") && strings.Contains(m, "-") {
			a.warn(WarnHostBound, "machine", "pinned to "+clip(m, maxExcerpt)+": starts only with this QEMU version or newer")
		}
	}
}

func (a *ArchiveConfig) addVMDisk(key, value string, saved bool) {
	volume, options := splitOptions(value)
	if options["media"] == "cdrom" || volume == "none" || volume == "cdrom" || strings.Contains(volume, "cloudinit") {
		return
	}
	storage, _, _ := strings.Cut(volume, ":")
	a.Disks = append(a.Disks, Disk{Name: key, Storage: storage, Bytes: parseSize(options["size"]), Saved: saved})
	switch {
	case strings.HasPrefix(volume, "/"):
		a.warn(WarnBindMount, key, "a device or file of the source host: "+clip(volume, maxExcerpt))
	case !saved:
		a.warn(WarnNotSaved, key, "not in the backup: the restored VM lacks this disk")
	}
}

func (a *ArchiveConfig) addMount(key, value string) {
	volume, options := splitOptions(value)
	if strings.HasPrefix(volume, "/") {
		a.warn(WarnBindMount, key, "mounts "+clip(volume, maxExcerpt)+" of the source host: only root can restore it")
		return
	}
	storage, _, _ := strings.Cut(volume, ":")
	saved := key == "rootfs" || options["backup"] == "1" // pct: mount points are left out unless they say backup=1
	a.Disks = append(a.Disks, Disk{Name: key, Storage: storage, Bytes: parseSize(options["size"]), Saved: saved})
	if !saved {
		a.warn(WarnNotSaved, key, "not in the backup: the restored mount point is empty")
	}
}

// splitOptions splits "VOLUME,key=value,..." (or "volume=VOLUME,...", "file=VOLUME,...").
func splitOptions(s string) (first string, options map[string]string) {
	options = make(map[string]string)
	for i, part := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(part, "=")
		switch {
		case key == "volume" || key == "file":
			first = value
		case i == 0 && (!ok || strings.Contains(key, ":")):
			first = part
		default:
			options[key] = value
		}
	}
	return first, options
}

// parseSize reads "32G", "528K", "512" into bytes; 0 when it is no size.
func parseSize(s string) int64 {
	if s == "" {
		return 0
	}
	shift := 0
	if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
		shift, s = 10*(i+1), s[:len(s)-1]
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0) || n > float64(int64(1)<<(62-shift)) {
		return 0
	}
	return int64(n * float64(int64(1)<<shift))
}

// percentDecode undoes PVE's encoding of description lines; text that is not encoded right stays as it is.
func percentDecode(s string) string {
	if t, err := url.PathUnescape(s); err == nil {
		return t
	}
	return s
}
