package proxmox_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

const (
	ourKey   = "aa:bb:cc:dd"
	otherKey = "11:22:33:44"
)

func files(crypt string, names ...string) []proxmox.File {
	all := []proxmox.File{{Name: "index.json.blob", Size: 500, Crypt: "none"}, {Name: "client.log.blob", Crypt: "none"}}
	for _, n := range names {
		all = append(all, proxmox.File{Name: n, Size: 4 << 20, Crypt: crypt})
	}
	return all
}

func goodVM() proxmox.Snapshot {
	return proxmox.Snapshot{
		Kind: proxmox.VM, ID: 100, Time: backupTime, Size: 1 << 30, Fingerprint: ourKey,
		Files: files("encrypt", "qemu-server.conf.blob", "fw.conf.blob", "drive-scsi0.img.fidx"),
	}
}

func goodCT() proxmox.Snapshot {
	s := goodVM()
	s.Kind, s.Files = proxmox.CT, files("encrypt", "pct.conf.blob", "root.pxar.didx", "catalog.pcat1.didx")
	return s
}

func TestUsable(t *testing.T) {
	vm := func(f func(*proxmox.Snapshot)) proxmox.Snapshot { s := goodVM(); f(&s); return s }
	ct := func(f func(*proxmox.Snapshot)) proxmox.Snapshot { s := goodCT(); f(&s); return s }
	tests := []struct {
		name string
		s    proxmox.Snapshot
		key  string
		want proxmox.Reason
	}{
		{"vm", goodVM(), ourKey, ""},
		{"vm, key in capitals", goodVM(), "AA:BB:CC:DD", ""},
		{"vm, key without fingerprint", goodVM(), "1", ""},
		{"ct", goodCT(), ourKey, ""},
		{"ct with metadata archive", ct(func(s *proxmox.Snapshot) {
			s.Files = files("encrypt", "pct.conf.blob", "root.mpxar.didx", "root.ppxar.didx")
		}), ourKey, ""},
		{"verified", vm(func(s *proxmox.Snapshot) { s.Verification.State = "ok" }), ourKey, ""},
		{"no size", vm(func(s *proxmox.Snapshot) { s.Size = 0 }), ourKey, proxmox.ReasonUnfinished},
		{"size 1", vm(func(s *proxmox.Snapshot) { s.Size = 1 }), ourKey, proxmox.ReasonUnfinished},
		{"no manifest", vm(func(s *proxmox.Snapshot) { s.Files = s.Files[1:] }), ourKey, proxmox.ReasonUnfinished},
		{"no disk", vm(func(s *proxmox.Snapshot) { s.Files = files("encrypt", "qemu-server.conf.blob") }), ourKey, proxmox.ReasonMissingData},
		{"no config", vm(func(s *proxmox.Snapshot) { s.Files = files("encrypt", "drive-scsi0.img.fidx") }), ourKey, proxmox.ReasonMissingData},
		{"ct with a VM's files", vm(func(s *proxmox.Snapshot) { s.Kind = proxmox.CT }), ourKey, proxmox.ReasonMissingData},
		{"half a metadata archive", ct(func(s *proxmox.Snapshot) { s.Files = files("encrypt", "pct.conf.blob", "root.mpxar.didx") }), ourKey, proxmox.ReasonMissingData},
		{"verification failed", vm(func(s *proxmox.Snapshot) { s.Verification.State = "failed" }), ourKey, proxmox.ReasonVerifyFailed},
		{"not encrypted", vm(func(s *proxmox.Snapshot) {
			s.Files = files("none", "qemu-server.conf.blob", "drive-scsi0.img.fidx")
		}), ourKey, proxmox.ReasonNotEncrypted},
		{"signed only", vm(func(s *proxmox.Snapshot) {
			s.Files = files("sign-only", "qemu-server.conf.blob", "drive-scsi0.img.fidx")
		}), ourKey, proxmox.ReasonNotEncrypted},
		{"one disk in clear", vm(func(s *proxmox.Snapshot) { s.Files = append(s.Files, files("none", "drive-scsi1.img.fidx")...) }), ourKey, proxmox.ReasonNotEncrypted},
		{"other key", goodVM(), otherKey, proxmox.ReasonWrongKey},
		{"no fingerprint told", vm(func(s *proxmox.Snapshot) { s.Fingerprint = "" }), ourKey, proxmox.ReasonWrongKey},
		{"no key here", goodVM(), "", proxmox.ReasonNoKey},
		{"no key, no encryption", vm(func(s *proxmox.Snapshot) {
			s.Files = files("none", "qemu-server.conf.blob", "drive-scsi0.img.fidx")
		}), "", ""},
	}
	for _, test := range tests {
		ok, reason := proxmox.Usable(test.s, test.key)
		if ok != (test.want == "") || reason != test.want {
			t.Errorf("%s: got %v %q, want %q", test.name, ok, reason, test.want)
		}
	}
	if got := proxmox.ReasonNone.String() + " " + proxmox.ReasonWrongKey.String(); got != "usable wrong key" {
		t.Errorf("reasons print as %q", got)
	}
}

// TestVerifiedHere is for the verdict that a sync brings along with a snapshot: it is not this server's.
func TestVerifiedHere(t *testing.T) {
	upid := func(node string) string {
		return "UPID:" + node + `:000002A1:00000B3C:00000001:65A0B1C2:verify_snapshot:backups\x3avm/100/65A0B1C2:root@pam:`
	}
	tests := []struct {
		name string
		v    proxmox.Verification
		want bool
	}{
		{"here", proxmox.Verification{State: "ok", UPID: upid("quai")}, true},
		{"at the source", proxmox.Verification{State: "ok", UPID: upid("moulin")}, false},
		{"failed here", proxmox.Verification{State: "failed", UPID: upid("quai")}, false},
		{"never", proxmox.Verification{}, false},
		{"no task", proxmox.Verification{State: "ok"}, false},
		{"a PVE's task", proxmox.Verification{State: "ok", UPID: "UPID:quai:0000C0DE:0001E240:65A0B1C2:x:1:a@pve:"}, false},
	}
	for _, test := range tests {
		if got := proxmox.VerifiedHere(proxmox.Snapshot{Verification: test.v}, "quai"); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	if proxmox.VerifiedHere(proxmox.Snapshot{}, "") {
		t.Error("nothing is verified on no node")
	}
}

func TestSnapshotNames(t *testing.T) {
	s := goodVM()
	if s.String() != "vm/100/2026-03-01T02:00:00Z" || s.Volid("pbs-quai") != "pbs-quai:backup/vm/100/2026-03-01T02:00:00Z" {
		t.Errorf("got %s and %s", s, s.Volid("pbs-quai"))
	}
}
