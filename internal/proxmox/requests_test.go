package proxmox_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// TestRequests fixes what every call sends.
func TestRequests(t *testing.T) {
	const (
		node = "/nodes/pve1"
		upid = "UPID:pve1:0000C0DE:0001E240:65A0B1C2:qmrestore:9001:wwwd@pve!agent:"
		pbsU = "UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verificationjob:backups-vm-100:wwwd@pbs!agent:"
	)
	marker := `"description":"www: network=assos guest=nextcloud op=12 token=18204 role=away"`
	restoreVM := `"archive":"pbs-quai:backup/vm/100/2026-03-01T02:00:00Z","cores":"2",` + marker + `,%s"memory":"4096","name":"nextcloud","net0":"virtio=BC:24:11:00:00:01,bridge=vmbr9,tag=120","onboot":0,"pool":"dr","storage":"local-zfs","tags":"www;www-op-12","vmid":9001}`
	restoreCT := `"cores":"2",` + marker + `,%s"hostname":"nextcloud","memory":"4096","net0":"name=eth0,hwaddr=BC:24:11:00:00:02,bridge=vmbr9,tag=120,ip=dhcp,type=veth","onboot":0,"ostemplate":"pbs-quai:backup/ct/101/2026-03-01T02:00:00Z","pool":"dr","restore":1,"storage":"local-zfs","tags":"www;www-op-12","vmid":9002}`
	snap := `"backup-id":"100","backup-time":1772330400,"backup-type":"vm",`
	want := map[string]string{
		"Version":         "GET /version",
		"NodeStatus":      "GET " + node + "/status",
		"Storages":        "GET /storage",
		"StorageStatus":   "GET " + node + "/storage/local-zfs/status",
		"Backups":         "GET " + node + "/storage/pbs-quai/content?content=backup&vmid=100",
		"ExtractConfig":   "GET " + node + "/vzdump/extractconfig?volume=pbs-quai%3Abackup%2Fvm%2F100%2F2026-03-01T02%3A00%3A00Z",
		"Files":           "GET " + node + "/storage/pbs-quai/file-restore/list?filepath=L3Jvb3QucHhhci5kaWR4&volume=pbs-quai%3Abackup%2Fvm%2F100%2F2026-03-01T02%3A00%3A00Z",
		"Permissions":     "GET /access/permissions?path=%2Fvms%2F100",
		"Bridges":         "GET " + node + "/network?type=any_bridge",
		"Machines":        "GET " + node + "/capabilities/qemu/machines",
		"CPUModels":       "GET " + node + "/capabilities/qemu/cpu",
		"BackupJobs":      "GET /cluster/backup",
		"HAResources":     "GET /cluster/ha/resources",
		"PBS Permissions": "GET /access/permissions?path=%2Fdatastore%2Fbackups",
		"AgentPing":       "POST " + node + "/qemu/9001/agent/ping",
		"Interfaces vm":   "GET " + node + "/qemu/9001/agent/network-get-interfaces",
		"Interfaces ct":   "GET " + node + "/lxc/9001/interfaces",
		"Restore vm":      "POST " + node + "/qemu {" + fmt.Sprintf(restoreVM, ""),
		"Restore ct":      "POST " + node + "/lxc {" + fmt.Sprintf(restoreCT, ""),
		"Task":            "GET " + node + "/tasks/" + upid + "/status",
		"TaskLog":         "GET " + node + "/tasks/" + upid + "/log?limit=200&start=500",
		"Tasks":           "GET " + node + "/tasks?limit=100&since=1772330400&source=active&typefilter=qmrestore&vmid=9001",
		"CancelTask":      "DELETE " + node + "/tasks/" + upid,
		"PBS Version":     "GET /version",
		"PBS Status":      "GET /admin/datastore/backups/status",
		"PBS Namespaces":  "GET /admin/datastore/backups/namespace",
		"PBS Snapshots":   "GET /admin/datastore/backups/snapshots?backup-id=100&backup-type=vm&ns=moulin",
		"PBS Protect":     "PUT /admin/datastore/backups/protected {" + snap + `"ns":"moulin","protected":true}`,
		"PBS Unprotect":   "PUT /admin/datastore/backups/protected {" + snap + `"ns":"moulin","protected":false}`,
		"PBS Verify":      "POST /admin/datastore/backups/verify {" + snap + `"ignore-verified":false,"ns":"moulin"}`,
		"PBS Task":        "GET /nodes/localhost/tasks/" + pbsU + "/status",
		"PBS RunSync":     "POST /admin/sync/pull-moulin/run {}",
		"PBS PruneJobs":   "GET /admin/prune?store=backups",
		"PBS SyncJobs":    "GET /admin/sync?store=backups&sync-direction=all",
	}
	for kind, segment := range map[string]string{"vm": "qemu", "ct": "lxc"} {
		guest := node + "/" + segment + "/9001"
		want["Guests "+kind] = "GET " + node + "/" + segment
		want["GuestConfig "+kind] = "GET " + guest + "/config"
		want["GuestStatus "+kind] = "GET " + guest + "/status/current"
		want["GuestUse "+kind] = "GET " + guest + "/rrddata?cf=AVERAGE&timeframe=hour"
		want["SetConfig "+kind] = "PUT " + guest + `/config {"delete":"net1","digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709","onboot":"0","protection":"1","tags":"www"}`
		want["Start "+kind] = "POST " + guest + "/status/start"
		want["Shutdown "+kind] = "POST " + guest + `/status/shutdown {"timeout":180}`
		want["Dump "+kind] = "POST " + node + `/vzdump {"mode":"snapshot","notes-template":"{{guestname}}","remove":0,"storage":"pbs-quai","vmid":"9001"}`
		want["Stop "+kind] = "POST " + guest + "/status/stop"
		want["Destroy "+kind] = "DELETE " + guest + "?destroy-unreferenced-disks=1&purge=1"
	}
	got := make(map[string]string)
	for _, c := range proxmoxtest.Cases() {
		rec := &proxmoxtest.Recorder{Next: handler(500, "")}
		pve, pbs := clients(t, rec)
		_ = c.Run(t.Context(), pve, pbs)
		for _, r := range rec.Requests() {
			got[c.Name] += requestText(t, r)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if n := len(proxmoxtest.Calls()); n != len(want) {
		t.Errorf("Calls has %d entries, want %d", n, len(want))
	}
}

func requestText(t *testing.T, r proxmoxtest.Request) string {
	t.Helper()
	s := r.Method + " " + r.Path
	if len(r.Query) > 0 {
		s += "?" + r.Query.Encode()
	}
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		s += " " + string(b)
	}
	return s
}

func TestRestoreRefusesBeforeAnyRequest(t *testing.T) {
	change := func(f func(*proxmox.RestoreRequest)) proxmox.RestoreRequest {
		r := proxmoxtest.RestoreVM()
		f(&r)
		return r
	}
	extra := func(key string) proxmox.RestoreRequest {
		return change(func(r *proxmox.RestoreRequest) { r.Extra = map[string]string{key: "1"} })
	}
	tests := map[string]proxmox.RestoreRequest{
		"kind":            change(func(r *proxmox.RestoreRequest) { r.Kind = "host" }),
		"kind of archive": change(func(r *proxmox.RestoreRequest) { r.Kind = proxmox.CT }),
		"vmid":            change(func(r *proxmox.RestoreRequest) { r.VMID = 99 }),
		"volid":           change(func(r *proxmox.RestoreRequest) { r.Volid = "/var/lib/vz/dump/x.vma" }),
		"no storage":      change(func(r *proxmox.RestoreRequest) { r.Storage = "" }),
		"tag":             change(func(r *proxmox.RestoreRequest) { r.Tags = []string{"a;b"} }),
		"net":             change(func(r *proxmox.RestoreRequest) { r.Nets = map[string]string{"scsi0": "x"} }),
		"empty net":       change(func(r *proxmox.RestoreRequest) { r.Nets = map[string]string{"net0": ""} }),
		"start":           extra("start"), "unique": extra("unique"), "force": extra("force"), "onboot": extra("onboot"), "live": extra("live-restore"),
		"lock": extra("lock"), "disk": extra("scsi0"), "mount point": extra("mp0"), "net in extra": extra("net1"), "not a key": extra("a&b"),
	}
	for name, r := range tests {
		rec := &proxmoxtest.Recorder{Next: handler(500, "")}
		pve, _ := clients(t, rec)
		_, err := pve.Restore(t.Context(), r)
		if proxmox.KindOf(err) != proxmox.BadRequest || len(rec.Requests()) != 0 {
			t.Errorf("%s: got %v and %d requests, want kind bad request and none", name, err, len(rec.Requests()))
		}
	}
}

func TestCallsRefuseBadArguments(t *testing.T) {
	rec := &proxmoxtest.Recorder{Next: handler(500, "")}
	pve, pbs := clients(t, rec)
	ctx := t.Context()
	_, e1 := pve.Start(ctx, "x", 100)
	_, e2 := pve.Destroy(ctx, proxmox.VM, 0)
	_, e3 := pve.Task(ctx, proxmox.UPID{})
	_, e4 := pve.TaskLog(ctx, proxmox.UPID{}, 0, 0)
	e5 := pve.CancelTask(ctx, proxmox.UPID{})
	e6 := pve.SetConfig(ctx, proxmox.VM, 100, nil, nil, "")
	e7 := pve.SetConfig(ctx, proxmox.VM, 100, map[string]string{"skiplock": "1"}, nil, "")
	e8 := pve.SetConfig(ctx, proxmox.VM, 100, map[string]string{"net0": "x"}, []string{"net0"}, "")
	_, e9 := pve.Backups(ctx, "../x", 100)
	_, e10 := pve.StorageStatus(ctx, "a b")
	_, e11 := pve.ExtractConfig(ctx, "local:iso/x.iso")
	_, e12 := pve.Guests(ctx, "")
	_, e13 := pbs.Task(ctx, "UPID:pve1:0000C0DE:0001E240:65A0B1C2:qmrestore:9001:a@pve:")
	e14 := pbs.Protect(ctx, proxmox.Snapshot{Kind: proxmox.VM, ID: 100})
	_, e15 := pbs.Verify(ctx, proxmox.Snapshot{})
	_, e16 := pbs.Snapshots(ctx, "", "host", 0)
	_, e17 := pve.GuestConfig(ctx, proxmox.VM, 1)
	_, e18 := pve.GuestStatus(ctx, proxmox.VM, 1)
	_, e19 := pve.Interfaces(ctx, proxmox.VM, 1)
	e20 := pve.AgentPing(ctx, 1)
	_, e21 := pve.Shutdown(ctx, proxmox.VM, 1, 0)
	_, e22 := pve.Dump(ctx, proxmox.VM, 100, "a/b")
	_, e23 := pve.Dump(ctx, "x", 100, "pbs")
	_, e24 := pbs.RunSync(ctx, "../prune")
	_, e25 := pve.GuestUse(ctx, proxmox.VM, 1, time.Time{}, time.Time{})
	for i, err := range []error{e25, e21, e22, e23, e24, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15, e16, e17, e18, e19, e20} {
		if proxmox.KindOf(err) != proxmox.BadRequest {
			t.Errorf("call %d: got %v, want kind bad request", i+1, err)
		}
	}
	if n := len(rec.Requests()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}
