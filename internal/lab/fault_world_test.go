package lab_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

func TestCatalogueIsWellFormed(t *testing.T) {
	var faults lab.Faults
	for _, x := range lab.Catalogue() {
		if x.What == "" || x.Example.Effect != x.Effect || x.Example.Times != 1 {
			t.Errorf("entry of %s = %+v, want a text and an example of it", x.Effect, x)
		}
		if err := faults.Add(x.Example); err != nil {
			t.Errorf("example of %s: %v", x.Effect, err)
		}
	}
	if got, want := len(faults.List()), len(lab.Effects()); got != want {
		t.Errorf("%d examples for %d effects", got, want)
	}
}

// TestProxyFaultsHitOnlyWhatPvedaemonServes: what pveproxy answers by itself goes on while the backend is
// down, and a PBS has no such proxy.
func TestProxyFaultsHitOnlyWhatPvedaemonServes(t *testing.T) {
	w := newWorld(t)
	var faults lab.Faults
	if err := faults.Add(lab.Fault{Effect: lab.EffectBackendDown}); err != nil {
		t.Fatal(err)
	}
	w.pveRT = lab.InProcess(lab.WithFaults("pve:moulin", w.pve, &faults))
	w.pbsRT = lab.InProcess(lab.WithFaults("pbs:moulin", w.pbs, &faults))
	for path, want := range map[string]int{
		"/version": 200, nodePath("/qemu/100/config"): 200, nodePath("/tasks"): 200,
		nodePath("/qemu/100/status/current"): 595, nodePath("/storage/local-zfs/status"): 595, nodePath("/qemu"): 595,
	} {
		r := w.try("GET", path, nil)
		if r.status != want || (want == 595 && (r.reason != "Connection refused" || r.raw != "")) {
			t.Errorf("GET %s while pvedaemon is down: %d %q %q, want %d", path, r.status, r.reason, r.raw, want)
		}
	}
	w.pbsCall("GET", "/version", nil)
}

func TestProxyCutLeavesTheTaskGoingOn(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	var faults lab.Faults
	if err := faults.Add(lab.Fault{Match: lab.Match{Method: "POST"}, Effect: lab.EffectProxyCut, Times: 1}); err != nil {
		t.Fatal(err)
	}
	args := vmArgs(w, "900")
	w.pveRT = lab.InProcess(lab.WithFaults("pve:moulin", w.pve, &faults))
	r := w.try("POST", nodePath("/qemu"), args)
	if r.status != 596 || r.reason != "Connection timed out" || r.raw != "" || w.hint.Delay != 30*time.Second {
		t.Fatalf("POST = %d %q %q after %v, want 596 without a body after 30 s", r.status, r.reason, r.raw, w.hint.Delay)
	}
	w.advance(15 * time.Second)
	rows, _ := w.call("GET", nodePath("/tasks"), pairs("vmid", "900", "typefilter", "qmrestore")).([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["status"] != "OK" || w.guest(900).Inside != "nuage" {
		t.Errorf("after the cut: tasks %v, want the restore that went on", rows)
	}
}

func TestClockSkewShowsInWhatTheHostDates(t *testing.T) {
	w := newWorld(t)
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectSkewClock, Delay: -2 * time.Hour})
	w.backup(100)
	if got, want := w.pbs.Snapshots("moulin")[0].Time, w.now.Add(-2*time.Hour).Unix(); got != want {
		t.Errorf("backup-time = %d, want that of the wrong clock, %d", got, want)
	}
	upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	st, _ := w.call("GET", nodePath("/tasks/%s/status", url.PathEscape(upid)), nil).(map[string]any)
	if got, want := st["starttime"], float64(w.now.Add(-2*time.Hour).Unix()); got != want {
		t.Errorf("starttime = %v, want %v", got, want)
	}
	if w.wait(upid) != "OK" {
		t.Error("a wrong clock keeps the restore from its end")
	}
	w.suffer(w.pbs, lab.Fault{Effect: lab.EffectSkewClock, Delay: time.Hour})
	w.pbsCall("POST", "/admin/sync/pull-quai/run", nil)
	w.advance(time.Second)
	rows, _ := w.pbsCall("GET", "/admin/sync", nil).([]any)
	if end := rows[0].(map[string]any)["last-run-endtime"].(float64); end < float64(w.now.Add(59*time.Minute).Unix()) {
		t.Errorf("last-run-endtime = %v at %d, want an hour ahead", end, w.now.Unix())
	}
	w.pve.Heal()
	w.pbs.Heal()
	w.backup(101)
	if got := w.pbs.Snapshots("moulin"); got[0].Time < w.now.Add(-time.Minute).Unix() {
		t.Errorf("after Heal a backup is of %d, want %d", got[0].Time, w.now.Unix())
	}
}

func TestStalledPBSCostsTheReadTimeout(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.suffer(w.pbs, lab.Fault{Effect: lab.EffectStallHost})
	r := w.try("GET", nodePath("/storage/pbs-local/content"), pairs("vmid", "100"))
	if r.status != 500 || r.reason != "pbs-local: error fetching datastores - 500 read timeout" || w.hint.Delay != 7*time.Second {
		t.Errorf("content = %d %q after %v, want a read timeout after 7 s", r.status, r.reason, w.hint.Delay)
	}
	row, _ := w.call("GET", nodePath("/storage/pbs-local/status"), nil).(map[string]any)
	if row["active"] != 0.0 || row["total"] != 0.0 || w.hint.Delay != 14*time.Second {
		t.Errorf("status = %v after %v, want inactive after 14 s without an error", row, w.hint.Delay)
	}
	if r := w.request(w.pbsRT, "PBSAPIToken="+pbsToken+":"+secret, "GET", "/version", nil); r.status == http.StatusOK || w.hint.Reply != lab.ReplyHangs {
		t.Errorf("a stalled PBS answered %d", r.status)
	}
	w.pbs.Heal()
	w.call("GET", nodePath("/storage/pbs-local/content"), nil)
}

func TestHeldLocks(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	hold := func(what string, d time.Duration) {
		w.suffer(w.pve, lab.Fault{Effect: lab.EffectHoldLock, Text: what, Delay: d})
	}
	hold("100", 5*time.Second)
	if r := w.try("PUT", nodePath("/qemu/100/config"), pairs("cores", "2")); r.status != 200 || w.hint.Delay != 5*time.Second {
		t.Errorf("config while the lock is held for 5 s: %d %q after %v, want success after 5 s", r.status, r.reason, w.hint.Delay)
	}
	hold("100", time.Minute)
	const text = "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
	if r := w.try("PUT", nodePath("/qemu/100/config"), pairs("cores", "2")); r.status != 500 || r.reason != text || w.hint.Delay != 10*time.Second {
		t.Errorf("config while the lock is held: %d %q after %v", r.status, r.reason, w.hint.Delay)
	}
	if _, exit := w.run("POST", nodePath("/qemu/100/status/start"), nil); exit != text {
		t.Errorf("start while the lock is held ended %q, want %q", exit, text)
	}
	w.pve.Heal()
	hold("100", 4*time.Second)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil) // waits for it
	hold("storage:local-zfs", time.Minute)
	if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900")); exit != "can't lock file '/var/lock/pve-manager/pve-storage-local-zfs' - got timeout" {
		t.Errorf("restore while the storage is locked ended %q", exit)
	}
}

func TestSharedStorageTakesTheClusterLock(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.Cluster = "duo"
		p.Storages[0].Shared = true
	})
	w.backup(100)
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectHoldLock, Text: "storage:local-zfs", Delay: time.Minute})
	if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900")); exit != "cfs-lock 'storage-local-zfs' error: got lock request timeout" {
		t.Errorf("restore while the storage is locked ended %q", exit)
	}
	w.pve.Heal()
	upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "901")).(string)
	w.pve.SetQuorum(false)
	if exit := w.wait(upid); exit != "cfs-lock 'storage-local-zfs' error: no quorum!" {
		t.Errorf("restore that lost the quorum before its allocation ended %q", exit)
	}
}

func TestOfflineStorage(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectOfflineStorage, Text: "local-zfs"})
	if _, exit := w.run("POST", nodePath("/qemu/100/status/start"), nil); exit != "storage 'local-zfs' is not online" {
		t.Errorf("start ended %q", exit)
	}
	if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900")); exit != "storage 'local-zfs' is not online" {
		t.Errorf("restore ended %q", exit)
	}
	row, _ := w.call("GET", nodePath("/storage/local-zfs/status"), nil).(map[string]any)
	if row["active"] != 0.0 || row["enabled"] != 1.0 {
		t.Errorf("status = %v, want enabled and not active", row)
	}
}

func TestMissingKeyFile(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectLoseKey, Text: "pbs-local"})
	for _, r := range []reply{
		w.try("GET", nodePath("/vzdump/extractconfig"), pairs("volume", w.newest(100))),
		w.try("POST", nodePath("/qemu"), vmArgs(w, "900")),
	} {
		if r.status != 500 || !strings.HasPrefix(r.reason, "encryption configured ('") || !strings.HasSuffix(r.reason, "') but no encryption key file found!") {
			t.Errorf("%d %q, want that the key file is missing", r.status, r.reason)
		}
	}
	if err := w.pve.Backup(100, "pbs-local", w.now.Add(time.Minute)); err == nil {
		t.Error("a backup without the key file went out")
	}
}
