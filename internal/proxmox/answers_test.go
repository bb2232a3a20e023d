package proxmox_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

var backupTime = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// answerOf gives the answer that the table has for a call.
func answerOf(t testing.TB, name string) string {
	t.Helper()
	for _, c := range proxmoxtest.Cases() {
		if c.Name == name {
			return data(c.Answer)
		}
	}
	t.Fatalf("no case %q", name)
	return ""
}

func pveFor(t testing.TB, name string) *proxmox.PVE {
	t.Helper()
	return pveAnswering(t, 200, answerOf(t, name))
}

func pbsAnswering(t testing.TB, body string) *proxmox.PBS {
	t.Helper()
	_, pbs := clients(t, proxmoxtest.Handler(answer(200, body)))
	return pbs
}

func check[T any](t *testing.T, got T, err error, want T) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v", err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVersion(t *testing.T) {
	got, err := pveFor(t, "Version").Version(t.Context())
	check(t, got, err, proxmox.Version{Version: "9.2.1", Release: "9.2", RepoID: "abc"})
	for _, test := range []struct {
		version      string
		major, minor int
		want         bool
	}{{"9.2.1", 9, 2, true}, {"9.2.1", 9, 3, false}, {"8.4", 9, 0, false}, {"10.0.1", 9, 2, true}, {"8.4-1", 8, 4, true}, {"", 0, 0, false}, {"9", 8, 0, false}, {"x.y", 0, 0, false}} {
		if got := (proxmox.Version{Version: test.version}).AtLeast(test.major, test.minor); got != test.want {
			t.Errorf("Version %q AtLeast(%d, %d) = %v, want %v", test.version, test.major, test.minor, got, test.want)
		}
	}
}

func TestNodeStatus(t *testing.T) {
	got, err := pveFor(t, "NodeStatus").NodeStatus(t.Context())
	check(t, got, err, proxmox.NodeStatus{
		MemTotal: 33554432, MemUsed: 1024, MemFree: 33553408, CPUs: 8, CPUModel: "Intel(R) Xeon(R)", CPUFlags: []string{"fpu", "avx"}, Load: [3]float64{0.1, 0.2, 0.3}, Uptime: time.Hour, PVEVersion: "pve-manager/9.2.1/x",
	})
}

func TestStorages(t *testing.T) {
	got, err := pveFor(t, "Storages").Storages(t.Context())
	check(t, got, err, []proxmox.StorageEntry{
		{ID: "pbs-quai", Type: "pbs", Server: "127.0.0.1", Datastore: "backups", Namespace: "moulin", Content: []string{"backup"}, Key: "aa:bb:cc:dd:ee:ff:00:11"},
		{ID: "local", Type: "dir", Content: []string{"iso", "backup"}, Nodes: []string{"pve1", "pve2"}, Disabled: true, Prune: "keep-daily=7,keep-last=3"},
	})
	_, err = pveAnswering(t, 200, data(`[{"storage":"p","type":"pbs","encryption-key":"{\"kdf\":null,\"data\":\"KEYDATA\"}"}]`)).Storages(t.Context())
	if proxmox.KindOf(err) != proxmox.BadAnswer || fmt.Sprint(err) != `list storages: bad answer: encryption-key of storage p is no fingerprint` {
		t.Errorf("key in clear: got %v, want a bad answer that does not show it", err)
	}
}

func TestStorageStatus(t *testing.T) {
	got, err := pveFor(t, "StorageStatus").StorageStatus(t.Context(), "local-zfs")
	check(t, got, err, proxmox.StorageStatus{Type: "zfspool", Content: []string{"images", "rootdir"}, Active: true, Enabled: true, Total: 100, Used: 40, Avail: 60})
	got, err = pveAnswering(t, 200, data(`{"type":"pbs","content":"backup","active":0,"enabled":1,"total":0,"used":0,"avail":0}`)).StorageStatus(t.Context(), "pbs")
	check(t, got, err, proxmox.StorageStatus{Type: "pbs", Content: []string{"backup"}, Enabled: true})
}

func TestGuests(t *testing.T) {
	got, err := pveFor(t, "Guests vm").Guests(t.Context(), proxmox.VM)
	check(t, got, err, []proxmox.Guest{
		{Kind: proxmox.VM, ID: 100, Name: "a", Status: "running", Tags: []string{"a", "b"}, MaxMem: 1, MaxDisk: 2, Uptime: 3 * time.Second, Lock: "backup"},
		{Kind: proxmox.VM, ID: 9001, Status: "stopped", Template: true},
	})
}

func TestGuestStatus(t *testing.T) {
	got, err := pveFor(t, "GuestStatus vm").GuestStatus(t.Context(), proxmox.VM, 9001)
	check(t, got, err, proxmox.GuestStatus{Name: "a", Status: "running", QMP: "running", Lock: "backup", Tags: []string{"www"}, Uptime: 12 * time.Second})
	if !got.Running() {
		t.Error("Running() = false")
	}
	got, err = pveAnswering(t, 200, data(`{"status":"stopped","ha":{"managed":1}}`)).GuestStatus(t.Context(), proxmox.CT, 9001)
	check(t, got, err, proxmox.GuestStatus{Status: "stopped", HA: true})
	if _, err := pveAnswering(t, 200, data(`{"status":"unknown"}`)).GuestStatus(t.Context(), proxmox.CT, 9001); proxmox.KindOf(err) != proxmox.BadAnswer {
		t.Errorf("status unknown: got %v, want kind bad answer", err)
	}
}

func TestGuestConfig(t *testing.T) {
	got, err := pveFor(t, "GuestConfig vm").GuestConfig(t.Context(), proxmox.VM, 9001)
	check(t, got, err, proxmox.GuestConfig{Digest: "d1", Values: map[string]string{
		"memory": "4096", "cores": "2", "onboot": "0", "tags": "www;www-op-12", "description": "x\n",
	}})
	if diff := cmp.Diff([]string{"www", "www-op-12"}, got.Tags()); diff != "" || got.Bare() {
		t.Errorf("tags %v, bare %v", got.Tags(), got.Bare())
	}
	// Both shapes of a failed restore's rest, and a running restore's.
	for _, stub := range []string{`{"digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}`, `{"digest":"x","memory":"128"}`, `{"digest":"x","memory":128,"lock":"create"}`, `{"digest":"x","lock":"create"}`} {
		got, err := pveAnswering(t, 200, data(stub)).GuestConfig(t.Context(), proxmox.VM, 9001)
		if err != nil || !got.Bare() {
			t.Errorf("%s: got %v %v, want bare", stub, got, err)
		}
	}
	for _, own := range []string{`{"digest":"x","memory":"128","scsi0":"a:b"}`, `{"digest":"x","memory":"512"}`, `{"digest":"x","memory":"128","name":"x"}`} {
		if got, err := pveAnswering(t, 200, data(own)).GuestConfig(t.Context(), proxmox.VM, 9001); err != nil || got.Bare() {
			t.Errorf("%s: got bare, want not (%v)", own, err)
		}
	}
}

func TestBackups(t *testing.T) {
	got, err := pveFor(t, "Backups").Backups(t.Context(), "pbs-quai", 100)
	want := proxmox.Backup{
		Volid: "pbs-quai:backup/vm/100/2026-03-01T02:00:00Z", Kind: proxmox.VM, VMID: 100, Time: backupTime,
		Size: 34359738368, Encrypted: "aa:bb", Verified: "ok", Protected: true, Notes: "nextcloud",
	}
	check(t, got, err, []proxmox.Backup{want})
	// Size 1 is PVE's "unknown"; foreign rows are left out; flags may be JSON booleans.
	got, err = pveAnswering(t, 200, data(`[{"volid":"pbs-quai:backup/ct/100/2026-03-01T02:00:00Z","size":1,"protected":true},
		{"volid":"pbs-quai:backup/vm/101/2026-03-01T02:00:00Z"},{"volid":"local:backup/vzdump-qemu-100-2026_03_01-02_00_00.vma.zst"}]`)).Backups(t.Context(), "pbs-quai", 100)
	check(t, got, err, []proxmox.Backup{{Volid: "pbs-quai:backup/ct/100/2026-03-01T02:00:00Z", Kind: proxmox.CT, VMID: 100, Time: backupTime, Protected: true}})
	got, err = pveAnswering(t, 200, data(`[]`)).Backups(t.Context(), "pbs-quai", 100)
	check(t, got, err, []proxmox.Backup{})
}

func TestPermissions(t *testing.T) {
	got, err := pveFor(t, "Permissions").Permissions(t.Context(), "/vms/100")
	check(t, got, err, proxmox.Permissions{"/vms/100": {"VM.Allocate": true, "VM.Audit": false}})
	if !got.Has("/vms/100", "VM.Audit") || got.Has("/vms/100", "VM.Console") || got.Has("/", "VM.Audit") {
		t.Errorf("Has is wrong for %v", got)
	}
}

func TestHost(t *testing.T) {
	bridges, err := pveFor(t, "Bridges").Bridges(t.Context())
	check(t, bridges, err, []proxmox.Bridge{
		{Name: "vmbr0", Active: true, Ports: []string{"eno1"}, VLANAware: true, VIDs: "2-4094", Addresses: []string{"10.9.0.2/24"}},
		{Name: "vmbr1", Ports: []string{}},
	})
	bridges, err = pveAnswering(t, 200, data(`[{"iface":"ovs0","type":"OVSBridge","active":1,"ovs_ports":"eno1 bond0"},{"iface":"dr1","type":"vnet","active":1}]`)).Bridges(t.Context())
	check(t, bridges, err, []proxmox.Bridge{
		{Name: "ovs0", Active: true, Ports: []string{"eno1", "bond0"}, VLANAware: true}, {Name: "dr1", Active: true, Ports: []string{}, VNet: true},
	})
	machines, err := pveFor(t, "Machines").Machines(t.Context())
	check(t, machines, err, []string{"pc-i440fx-10.1", "pc-q35-10.1+pve1"})
	models, err := pveFor(t, "CPUModels").CPUModels(t.Context())
	check(t, models, err, []proxmox.CPUModel{{Name: "x86-64-v2-AES", Vendor: "default"}, {Name: "EPYC", Vendor: "AuthenticAMD"}})
	sids, err := pveFor(t, "HAResources").HAResources(t.Context())
	check(t, sids, err, []string{"vm:100", "ct:101"})
	backups, err := pveFor(t, "BackupJobs").BackupJobs(t.Context())
	check(t, backups, err, []proxmox.BackupJob{{ID: "backup-1", Storage: "pbs-quai", Node: "pve1", Prune: "keep-last=3"}, {ID: "backup-2", Disabled: true}})
	for name, err := range map[string]error{
		"bridges":  second(pveAnswering(t, 200, data(`[{"type":"bridge"}]`)).Bridges(t.Context())),
		"machines": second(pveAnswering(t, 200, data(`[{}]`)).Machines(t.Context())),
		"models":   second(pveAnswering(t, 200, data(`[{"vendor":"x"}]`)).CPUModels(t.Context())),
		"backups":  second(pveAnswering(t, 200, data(`[{"storage":"pbs"}]`)).BackupJobs(t.Context())),
		"prunes":   second(pveAnswering(t, 200, data(`[{"id":"x","prune-backups":{"keep-last":[]}}]`)).BackupJobs(t.Context())),
		"HA":       second(pveAnswering(t, 200, data(`null`)).HAResources(t.Context())),
	} {
		if proxmox.KindOf(err) != proxmox.BadAnswer {
			t.Errorf("%s without their name: got %v, want kind bad answer", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPBSPermissions(t *testing.T) {
	got, err := pbsAnswering(t, answerOf(t, "PBS Permissions")).Permissions(t.Context(), "/datastore/backups")
	check(t, got, err, proxmox.Permissions{"/datastore/backups": {"Datastore.Audit": true, "Datastore.Backup": false}})
	got, err = pbsAnswering(t, data(`{}`)).Permissions(t.Context(), "/datastore/backups")
	check(t, got, err, proxmox.Permissions{})
}

func TestInterfaces(t *testing.T) {
	for _, kind := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
		got, err := pveFor(t, "Interfaces "+string(kind)).Interfaces(t.Context(), kind, 9001)
		check(t, got, err, []netip.Addr{netip.MustParseAddr("10.9.0.5")})
	}
	got, err := pveAnswering(t, 200, data(`{"result":[{"name":"lo"},{"name":"eth0","ip-addresses":[{"ip-address":"fe80::1%eth0"},{"ip-address":"junk"},
		{"ip-address":"2001:db8::5"},{"ip-address":"2001:db8::5"},{"ip-address":"::ffff:10.0.0.9"},{"ip-address":"169.254.1.1"},{"ip-address":"0.0.0.0"},{}]}]}`)).Interfaces(t.Context(), proxmox.VM, 9001)
	check(t, got, err, []netip.Addr{netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("10.0.0.9")})
}

func TestPBSReads(t *testing.T) {
	v, err := pbsAnswering(t, answerOf(t, "PBS Version")).Version(t.Context())
	check(t, v, err, proxmox.Version{Version: "4.2.0", Release: "1", RepoID: "abc"})
	st, err := pbsAnswering(t, answerOf(t, "PBS Status")).Status(t.Context())
	check(t, st, err, proxmox.DatastoreStatus{Total: 100, Used: 40, Avail: 60})
	ns, err := pbsAnswering(t, answerOf(t, "PBS Namespaces")).Namespaces(t.Context())
	check(t, ns, err, []string{"", "moulin"})
	jobs, err := pbsAnswering(t, answerOf(t, "PBS SyncJobs")).SyncJobs(t.Context())
	check(t, jobs, err, []proxmox.SyncJob{{
		ID: "pull-moulin", NS: "moulin", Remote: "moulin", RemoteStore: "backups", Direction: "pull", Schedule: "*:0/15",
		LastState: "OK", LastEnd: backupTime, LastUPID: "x", Next: backupTime.Add(15 * time.Minute), MaxDepth: proxmox.AllDepths,
	}})
	jobs, err = pbsAnswering(t, data(`[{"id":"x","store":"backups","remote-store":"y","max-depth":1,"transfer-last":2,"verified-only":true,"group-filter":["type:vm"]}]`)).SyncJobs(t.Context())
	check(t, jobs, err, []proxmox.SyncJob{{ID: "x", RemoteStore: "y", Direction: "pull", MaxDepth: 1, TransferLast: 2, VerifiedOnly: true, GroupFilter: []string{"type:vm"}}})
	prunes, err := pbsAnswering(t, answerOf(t, "PBS PruneJobs")).PruneJobs(t.Context())
	check(t, prunes, err, []proxmox.PruneJob{
		{ID: "all", MaxDepth: proxmox.AllDepths, Keep: proxmox.Keep{Last: 3, Daily: 7}}, {ID: "later", NS: "away", Disabled: true},
	})
	snaps, err := pbsAnswering(t, data(`[
		{"backup-type":"ct","backup-id":"101","backup-time":1772330400,"files":[],"protected":true,"fingerprint":"AA:BB","size":5},
		{"backup-type":"host","backup-id":"h","backup-time":1,"files":[]},{"backup-type":"vm","backup-id":"nas","backup-time":1,"files":[]}]`)).Snapshots(t.Context(), "", "", 0)
	check(t, snaps, err, []proxmox.Snapshot{{Kind: proxmox.CT, ID: 101, Time: backupTime, Protected: true, Fingerprint: "aa:bb", Size: 5}})
	upid := "UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verificationjob:backups-vm-100:wwwd@pbs!agent:"
	task, err := pbsAnswering(t, answerOf(t, "PBS Task")).Task(t.Context(), upid)
	if err != nil || !task.OK() || task.UPID.String() != upid || task.UPID.Node != "pbs1" {
		t.Errorf("got %+v %v, want the ended task of pbs1", task, err)
	}
}
