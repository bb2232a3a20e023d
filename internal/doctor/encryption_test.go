package doctor_test

import (
	"testing"
	"testing/fstest"

	"github.com/raoull/worldwidewelsh/internal/doctor"
)

func TestEncryption(t *testing.T) {
	const dir = "/var/lib/www"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	root := "25 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/pve-root rw\n"
	luks := fstest.MapFS{
		"sys/dev/block/253:1/dm/uuid":         file("LVM-abc\n"),
		"sys/dev/block/253:1/slaves/dm-0/dev": file("253:0\n"),
		"sys/class/block/dm-0/dm/uuid":        file("CRYPT-LUKS2-0123-cryptroot\n"),
	}
	raid := func(second string) fstest.MapFS {
		fs := fstest.MapFS{
			"sys/dev/block/9:0/slaves/dm-0/dev": file(""), "sys/dev/block/9:0/slaves/dm-1/dev": file(""),
			"sys/class/block/dm-0/dm/uuid": file("CRYPT-PLAIN-a\n"), "sys/class/block/dm-1/dm/uuid": file(second),
		}
		return fs
	}
	partition := fstest.MapFS{"sys/dev/block/8:2/partition": file("2\n")}
	loop := fstest.MapFS{
		"sys/dev/block/253:1/slaves/dm-9/x": file(""), "sys/class/block/dm-9/slaves/dm-9/x": file(""),
	}
	for _, tt := range []struct {
		name, mounts string
		fs           fstest.MapFS
		want         doctor.Encrypted
		device       string
	}{
		{"LVM on LUKS", root, luks, doctor.EncryptedYes, "/dev/mapper/pve-root"},
		{"plain partition", "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n", partition, doctor.EncryptedNo, "/dev/sda2"},
		{"the deepest mount counts", root + "30 25 8:2 / /var/lib/www rw - xfs /dev/sda2 rw\n", merge(luks, partition), doctor.EncryptedNo, "/dev/sda2"},
		{"a neighbour does not", root + "30 25 8:2 / /var/lib/www2 rw - xfs /dev/sda2 rw\n", merge(luks, partition), doctor.EncryptedYes, "/dev/mapper/pve-root"},
		{"the last of two on one point counts", "29 25 8:2 / / rw - xfs /dev/sda2 rw\n" + root, merge(luks, partition), doctor.EncryptedYes, "/dev/mapper/pve-root"},
		{"RAID, both encrypted", "25 1 9:0 / / rw - ext4 /dev/md0 rw\n", raid("CRYPT-LUKS2-b\n"), doctor.EncryptedYes, "/dev/md0"},
		{"RAID, one is not", "25 1 9:0 / / rw - ext4 /dev/md0 rw\n", raid("LVM-b\n"), doctor.EncryptedNo, "/dev/md0"},
		{"ZFS", "25 1 0:25 / / rw - zfs rpool/ROOT/pve-1 rw\n", fstest.MapFS{}, doctor.EncryptedUnknown, "rpool/ROOT/pve-1"},
		{"memory", "25 1 0:30 / / rw - tmpfs tmp\\040fs rw\n", fstest.MapFS{}, doctor.EncryptedUnknown, "tmp fs"},
		{"device not in sysfs", root, fstest.MapFS{}, doctor.EncryptedUnknown, "/dev/mapper/pve-root"},
		{"devices in a circle", root, loop, doctor.EncryptedUnknown, "/dev/mapper/pve-root"},
		{"no mounts", "", fstest.MapFS{}, doctor.EncryptedUnknown, ""},
		{"garbage", "a b - c\n\x00\n1 2 3 4 5 6 -\n", fstest.MapFS{}, doctor.EncryptedUnknown, ""},
	} {
		fs := merge(tt.fs, fstest.MapFS{"proc/self/mountinfo": file(tt.mounts)})
		got := doctor.Encryption(fs, dir)
		if got.Encrypted != tt.want || got.Device != tt.device || got.Dir != dir {
			t.Errorf("%s: got %+v, want %s on %s", tt.name, got, tt.want, tt.device)
		}
		if (got.Why == "") != (tt.want != doctor.EncryptedUnknown) {
			t.Errorf("%s: why %q", tt.name, got.Why)
		}
	}
}

func merge(all ...fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for _, fs := range all {
		for name, f := range fs {
			out[name] = f
		}
	}
	return out
}
