package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// maxLayers bounds the stack of devices below a file system: LVM on LUKS on
// RAID on partitions has five.
const maxLayers = 10

// Encryption says whether a directory lies on an encrypted device (R8). root is
// the file system of the machine (os.DirFS("/")): /proc/self/mountinfo gives
// the mount (proc_pid_mountinfo(5)), /sys/dev/block its device; device mapper
// tells dm-crypt by a uuid that begins with "CRYPT-". ZFS tells nothing there.
func Encryption(root fs.FS, dir string) Disk {
	d := Disk{Dir: dir, Encrypted: EncryptedUnknown}
	b, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		d.Why = "mounts are not readable: " + err.Error()
		return d
	}
	m, ok := mountOf(string(b), dir)
	if !ok {
		d.Why = "no mount holds it"
		return d
	}
	d.Device = m.source
	switch {
	case m.kind == "zfs":
		d.Why = "ZFS: ask it with zfs get encryption,keystatus " + m.source
		return d
	case strings.HasPrefix(m.device, "0:"):
		d.Why = "file system " + m.kind + " names no block device"
		return d
	}
	yes, err := encrypted(root, "sys/dev/block/"+m.device, maxLayers)
	switch {
	case err != nil:
		d.Why = err.Error()
	case yes:
		d.Encrypted = EncryptedYes
	default:
		d.Encrypted = EncryptedNo
	}
	return d
}

// mount is one line of mountinfo.
type mount struct{ point, device, kind, source string }

// mountOf returns the mount that holds dir: of those whose mount point lies
// above it the deepest, and of equal ones the last, which covers the others.
func mountOf(mountinfo, dir string) (mount, bool) {
	var best mount
	ok := false
	for line := range strings.Lines(mountinfo) {
		fields, rest, cut := strings.Cut(strings.TrimSpace(line), " - ")
		head, tail := strings.Fields(fields), strings.Fields(rest)
		if !cut || len(head) < 6 || len(tail) < 2 {
			continue
		}
		m := mount{point: unescape(head[4]), device: head[2], kind: tail[0], source: unescape(tail[1])}
		if !below(path.Clean(dir), m.point) || ok && len(m.point) < len(best.point) {
			continue
		}
		best, ok = m, true
	}
	return best, ok
}

func below(dir, point string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}

// unescape undoes the octal escapes of mountinfo ("\040" is a blank).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// encrypted says whether everything that lands on a block device is encrypted
// by it or by each device below it.
func encrypted(root fs.FS, device string, layers int) (bool, error) {
	if layers == 0 {
		return false, fmt.Errorf("more than %d devices on top of each other", maxLayers)
	}
	if _, err := fs.Stat(root, device); err != nil {
		return false, fmt.Errorf("device is not readable: %w", err)
	}
	uuid, err := fs.ReadFile(root, device+"/dm/uuid")
	if err == nil && strings.HasPrefix(string(uuid), "CRYPT-") {
		return true, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read device mapper uuid: %w", err)
	}
	slaves, err := fs.ReadDir(root, device+"/slaves")
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(slaves) == 0 {
		return false, nil // a disk or a partition
	}
	if err != nil {
		return false, fmt.Errorf("read devices below: %w", err)
	}
	for _, s := range slaves {
		if yes, err := encrypted(root, "sys/class/block/"+s.Name(), layers-1); !yes || err != nil {
			return false, err
		}
	}
	return true, nil
}
