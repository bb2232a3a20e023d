package lab_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// clients makes the project's own clients over two transports.
func clients(t testing.TB, pveNode string, pveRT, pbsRT http.RoundTripper) (*proxmox.PVE, *proxmox.PBS) {
	t.Helper()
	conf := proxmox.Config{URL: "https://127.0.0.1:8006", Node: pveNode, TokenID: pveToken, Secret: proxmox.NewSecret(secret), Transport: pveRT}
	pve, err := proxmox.NewPVE(conf)
	if err != nil {
		t.Fatal(err)
	}
	conf.URL, conf.TokenID, conf.Transport = "https://127.0.0.1:8007", pbsToken, pbsRT
	pbs, err := proxmox.NewPBS(conf, "backups")
	if err != nil {
		t.Fatal(err)
	}
	return pve, pbs
}

func TestClientRestoresThroughTheFake(t *testing.T) {
	onEachRelease(t, func(t *testing.T, option func(*lab.PVEConfig, *lab.PBSConfig)) {
		w := newWorld(t, option)
		pve, pbs := clients(t, node, lab.InProcess(w.pve), lab.InProcess(w.pbs))
		clientRestores(t, w, pve, pbs)
	})
}

// clientRestores walks the way of a restore with the project's own clients.
func clientRestores(t testing.TB, w *world, pve *proxmox.PVE, pbs *proxmox.PBS) {
	t.Helper()
	w.backup(100)
	ctx := t.Context()
	points, err := pbs.Snapshots(ctx, "moulin", proxmox.VM, 100)
	if err != nil || len(points) != 1 {
		t.Fatalf("Snapshots = %v, %v", points, err)
	}
	if err := pbs.Protect(ctx, points[0]); err != nil {
		t.Fatal(err)
	}
	archive, err := pve.ExtractConfig(ctx, w.newest(100))
	if err != nil || len(archive.Disks) != 2 || len(archive.Nets) != 2 {
		t.Fatalf("ExtractConfig = %+v, %v", archive, err)
	}
	upid, err := pve.Restore(ctx, proxmox.RestoreRequest{
		Kind: proxmox.VM, VMID: 900, Volid: w.newest(100), Storage: "local-zfs", Name: "nuage", Tags: []string{"www"},
		Description: proxmox.Marker{Network: "assos", Guest: "nuage", Op: "12", Token: 18204, Role: "away"}.Line(),
		Nets: map[string]string{
			"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=130", "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr0,tag=130",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.advance(10 * time.Second)
	if st, err := pve.Task(ctx, upid); err != nil || !st.OK() {
		t.Fatalf("Task = %+v, %v", st, err)
	}
	if log, err := pve.TaskLog(ctx, upid, 0, 500); err != nil || len(log) < 8 {
		t.Errorf("TaskLog = %d lines, %v", len(log), err)
	}
	if _, err := pve.Start(ctx, proxmox.VM, 900); err != nil {
		t.Fatal(err)
	}
	w.advance(5 * time.Second)
	if st, err := pve.GuestStatus(ctx, proxmox.VM, 900); err != nil || !st.Running() {
		t.Errorf("GuestStatus = %+v, %v", st, err)
	}
	if err := pve.AgentPing(ctx, 900); err != nil {
		t.Error(err)
	}
	addrs, err := pve.Interfaces(ctx, proxmox.VM, 900)
	if err != nil || len(addrs) != 1 || addrs[0].String() != "10.10.120.5" {
		t.Errorf("Interfaces = %v, %v, want 10.10.120.5", addrs, err)
	}
	if !w.guest(900).Serving {
		t.Error("the restored guest does not serve")
	}
	began := w.now
	for range 3 { // none in the minute that is recorded in part
		w.advance(time.Minute)
		w.guest(900).Write("by a user")
	}
	w.advance(time.Minute)
	use, err := pve.GuestUse(ctx, proxmox.VM, 900, began, w.now)
	if err != nil || use.Received < 3*400 || use.Sent < 3*200 || use.Written == 0 || use.Until.Before(began) {
		t.Errorf("GuestUse = %+v, %v, want three requests and what the guest writes itself", use, err)
	}
}

// TestSameCallsGiveTheSameBytes runs one story twice and compares every answer.
func TestSameCallsGiveTheSameBytes(t *testing.T) {
	story := func() string {
		w := newWorld(t)
		var out strings.Builder
		w.pveRT = proxmoxtest.Func(func(r *http.Request) (*http.Response, error) {
			a, err := lab.InProcess(w.pve).RoundTrip(r)
			if err == nil {
				out.WriteString(r.Method + " " + r.URL.String() + " " + a.Status + "\n")
			}
			return a, err
		})
		record := func(r reply) { out.WriteString(r.raw) }
		w.add(lab.GuestSpec{ID: 102, Kind: "qemu", Name: "x", DiskSize: diskBytes, Nets: map[string]string{
			"net0": "virtio,bridge=vmbr0", "net1": "virtio,bridge=vmbr0", "net2": "e1000,bridge=vmbr9", "net3": "virtio,bridge=vmbr9",
		}})
		w.backup(100)
		w.backup(101)
		w.backup(102)
		record(w.try("POST", nodePath("/qemu"), vmArgs(w, "900", "unique", "1")))
		record(w.try("POST", nodePath("/lxc"), ctArgs(w, "901", "unique", "1")))
		record(w.try("POST", nodePath("/qemu/102/status/start"), nil))
		w.advance(15 * time.Second)
		for _, path := range []string{
			"/cluster/resources", nodePath("/qemu"), nodePath("/tasks?source=all"), nodePath("/storage"), nodePath("/storage/pbs-local/content"),
			nodePath("/qemu/900/config"), nodePath("/lxc/901/config"), nodePath("/qemu/102/config"), "/access/permissions",
		} {
			record(w.try("GET", path, nil))
		}
		out.WriteString(w.request(w.pbsRT, "PBSAPIToken="+pbsToken+":"+secret, "GET", "/admin/datastore/backups/snapshots", pairs("ns", "moulin")).raw)
		out.WriteString(strings.Join(w.guest(102).Data(), "\n"))
		return out.String()
	}
	first := story()
	for range 3 {
		if again := story(); again != first {
			t.Fatalf("two runs differ:\n%s\n---\n%s", first, again)
		}
	}
}

// TestConcurrentUse has requests, time and syncs run into each other; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	archive := w.newest(100)
	start := w.now
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 100 {
			now := start.Add(time.Duration(i) * 100 * time.Millisecond)
			w.pve.Advance(now)
			w.pbs.Advance(now)
		}
	})
	wg.Go(func() {
		for range 20 {
			if _, _, err := w.far.Sync(w.pbs, pull, start); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 4 {
		pve, pbs := clients(t, node, lab.InProcess(w.pve), lab.InProcess(w.pbs))
		wg.Go(func() {
			_, err := pve.Restore(t.Context(), proxmox.RestoreRequest{
				Kind: proxmox.VM, VMID: 900 + i, Volid: archive, Storage: "local-zfs", Name: "x", Tags: []string{"www"},
				Nets: map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=130", "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr0,tag=130"},
			})
			if err != nil {
				t.Error(err)
			}
			for range 20 {
				if _, err := pve.Guests(t.Context(), proxmox.VM); err != nil {
					t.Error(err)
				}
				if _, err := pbs.Snapshots(t.Context(), "moulin", proxmox.VM, 100); err != nil {
					t.Error(err)
				}
				for _, g := range w.pve.Guests() {
					g.Data()
				}
			}
		})
	}
	wg.Wait()
	if n := len(w.pve.Guests()); n != 6 {
		t.Errorf("%d guests, want 6", n)
	}
}
