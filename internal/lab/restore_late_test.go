package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestLateSDNCheckLeavesTheData: rights that go during the copy show only after it.
func TestLateSDNCheckLeavesTheData(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	w.advance(2500 * time.Millisecond)
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectRevokePrivilege, Text: "SDN.Use"})
	if exit := w.wait(upid); exit != "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)" {
		t.Errorf("ended %q, want the late check", exit)
	}
	if log := w.log(upid); !contains(log, "error after data was restored, VM disks should be OK but config may require adaptions") {
		t.Errorf("log = %q", log)
	}
	rows, _ := w.call("GET", nodePath("/storage/local-zfs/content"), pairs("vmid", "900")).([]any)
	if got := fmt.Sprint(w.guest(900).Config); got != stub128 || len(rows) != 2 {
		t.Errorf("left behind: %s and %d volumes, want the stub and both", got, len(rows))
	}
}

// TestBrokenBackups: a snapshot that lacks what a restore needs.
func TestBrokenBackups(t *testing.T) {
	for _, tt := range []struct {
		name, exit string
		spoil      func(*lab.Snapshot)
	}{
		{"no data", "archive does not contain data for drive 'scsi1'", func(s *lab.Snapshot) { s.Files = append(s.Files[:2:2], s.Files[3:]...) }},
		{"no size", "got no size for 'scsi0'", func(s *lab.Snapshot) { s.Files[1].Size = 0 }},
		{"no configuration", "backup does not look like a qemu-server backup", func(s *lab.Snapshot) { s.Files = s.Files[1:] }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.backup(100)
			s := w.pbs.Snapshots("moulin")[0]
			s.Time++
			s.Files = append([]lab.SnapshotFile(nil), s.Files...)
			tt.spoil(&s)
			if err := w.pbs.AddSnapshot(s); err != nil {
				t.Fatal(err)
			}
			if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900")); exit != tt.exit {
				t.Errorf("ended %q, want %q", exit, tt.exit)
			}
		})
	}
}

// TestARestoreHoldsItsSnapshot: nobody forgets or prunes what is being read.
func TestARestoreHoldsItsSnapshot(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	s := w.pbs.Snapshots("moulin")[0]
	one := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", itoa(s.Time))
	upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	w.advance(2 * time.Second)
	r := w.request(w.pbsRT, "PBSAPIToken="+pbsToken+":"+secret, "DELETE", "/admin/datastore/backups/snapshots", one)
	if r.status != 400 || !strings.Contains(r.raw, "possibly running or in use") || w.pbs.Prune("moulin", 0) != 0 {
		t.Errorf("forget during the restore: %d %q, want that it is in use", r.status, r.raw)
	}
	if w.wait(upid) != "OK" || w.pbs.Prune("moulin", 0) != 1 {
		t.Error("after the restore the snapshot is still held")
	}

	// A crash of the host gives the lock up.
	w.backup(100)
	w.call("POST", nodePath("/qemu"), vmArgs(w, "901"))
	w.advance(2 * time.Second)
	w.pve.PowerLoss(w.now)
	if w.pbs.Prune("moulin", 0) != 1 {
		t.Error("after the crash the snapshot is still held")
	}
}

// TestPrivilegeSeparation: a token has what it and its user both have.
func TestPrivilegeSeparation(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.ACL = map[string]map[string][]string{
			pveToken:  {"/": {"VM.Audit", "VM.PowerMgmt"}},
			"www@pve": {"/": {"VM.Audit", "Sys.Audit"}},
		}
	})
	got, _ := w.call("GET", "/access/permissions", pairs("path", "/vms/100")).(map[string]any)
	if x := fmt.Sprint(got); x != "map[/vms/100:map[VM.Audit:1]]" {
		t.Errorf("permissions = %s, want the intersection", x)
	}
	if r := w.try("POST", nodePath("/qemu/100/status/start"), nil); r.status != 403 {
		t.Errorf("start without the user's right: %d", r.status)
	}
}

// TestDeletingAGuestDropsItsACL: what was granted on /vms/ID is gone, what was granted on /vms stays.
func TestDeletingAGuestDropsItsACL(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.ACL = map[string]map[string][]string{pveToken: {"/vms": {"VM.Audit"}, "/vms/100": {"VM.Allocate", "VM.Audit"}, "/nodes": {"Sys.Audit"}}}
	})
	w.ok("DELETE", nodePath("/qemu/100"), nil)
	got, _ := w.call("GET", "/access/permissions", pairs("path", "/vms/100")).(map[string]any)
	if x := fmt.Sprint(got); x != "map[/vms/100:map[VM.Audit:1]]" {
		t.Errorf("permissions = %s, want those of /vms", x)
	}
}
