package lab_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestContainersThatATokenCannotRestore (fact 8): whatever the name of the token.
func TestContainersThatATokenCannotRestore(t *testing.T) {
	for _, tt := range []struct {
		name       string
		extra      map[string]string
		drop       string // key taken out of the archived configuration
		exit, last string
		left       bool
	}{
		{name: "bind mount", extra: map[string]string{"mp0": "/srv/data,mp=/data"}, exit: "unable to restore CT 900 - restoring 'mp0' to bind mount is only possible for root"},
		{name: "raw lxc keys", extra: map[string]string{"lxc.apparmor.profile": "unconfined"}, exit: "WARNINGS: 1", last: "TASK WARNINGS: 1", left: true},
		{name: "no rootfs", drop: "rootfs", exit: "unable to restore CT 900 - rootfs configuration could not be recovered, please check and specify manually!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			spec := lab.GuestSpec{ID: 102, Kind: "lxc", Name: "x", DiskSize: diskBytes, Extra: tt.extra}
			w.add(spec)
			w.backup(102)
			volid := w.newest(102)
			if tt.drop != "" {
				volid = w.respell(102, func(conf string) string {
					var kept []string
					for line := range strings.Lines(conf) {
						if !strings.HasPrefix(line, tt.drop+":") {
							kept = append(kept, line)
						}
					}
					return strings.Join(kept, "")
				})
			}
			upid, exit := w.run("POST", nodePath("/lxc"), pairs("vmid", "900", "ostemplate", volid, "restore", "1", "storage", "local-zfs"))
			if exit != tt.exit {
				t.Errorf("ended %q, want %q", exit, tt.exit)
			}
			if log := w.log(upid); tt.last != "" && (log[len(log)-1] != tt.last || !contains(log, "WARN: skipping custom lxc options, restore manually as root")) {
				t.Errorf("log = %q", log)
			}
			if g, ok := w.pve.Guest(900); ok != tt.left || (ok && g.Config["lxc.apparmor.profile"] != "") {
				t.Errorf("left behind %v (%v), want %v without the raw key", ok, g.Config, tt.left)
			}
		})
	}
}

// respell makes a newer snapshot of a guest whose configuration is changed, and returns its volid.
func (w *world) respell(id int, change func(string) string) string {
	w.t.Helper()
	var s lab.Snapshot
	for _, x := range w.pbs.Snapshots("moulin") {
		if x.ID == fmt.Sprint(id) {
			s = x
		}
	}
	sealed, err := w.pbs.Store().Get(s.Files[0].Chunks[0])
	if err != nil {
		w.t.Fatal(err)
	}
	conf, err := w.key.Open(sealed)
	if err != nil {
		w.t.Fatal(err)
	}
	chunk, err := w.pbs.Store().Put(w.key.Seal([]byte(change(string(conf)))))
	if err != nil {
		w.t.Fatal(err)
	}
	s.Time++
	s.Files = append([]lab.SnapshotFile(nil), s.Files...)
	s.Files[0].Chunks = []lab.ChunkID{chunk}
	if err := w.pbs.AddSnapshot(s); err != nil {
		w.t.Fatal(err)
	}
	return w.newest(id)
}

// TestRefusedOverridesAndIDs: what the restore's POST says of overrides and of ids of the other kind.
func TestRefusedOverridesAndIDs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ct     bool
		args   []string
		status int
		text   string // of the reason, or of the parameter's message
	}{
		{name: "device passthrough", ct: true, args: []string{"dev0", "/dev/dri/card0"}, status: 403, text: "Permission check failed (configuring device passthrough is only allowed for root@pam)"},
		{name: "features", ct: true, args: []string{"features", "nesting=1,keyctl=1"}, status: 403, text: "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)"},
		{name: "nesting of a privileged one", ct: true, args: []string{"features", "nesting=1"}, status: 403, text: "Permission check failed (changing feature flags for privileged container is only allowed for root@pam)"},
		{name: "mp0 without rootfs", ct: true, args: []string{"mp0", "local-zfs:8,mp=/x"}, status: 500, text: "mount points configured, but 'rootfs' not set - aborting"},
		{name: "CT on a VM's id", ct: true, args: []string{"vmid", "100", "force", "1"}, status: 500, text: "VM 100 already exists on node 'pve-moulin'"},
		{name: "VM on a CT's id", args: []string{"vmid", "101", "force", "1"}, status: 500, text: "unable to restore VM 101 - close (rename) atomic file '/etc/pve/nodes/pve-moulin/qemu-server/101.conf' failed: File exists"},
		{name: "a NIC without a bridge needs no right", args: []string{"net0", "virtio"}, status: 200},
		{name: "skiplock", args: []string{"skiplock", "1"}, status: 400, text: "property is not defined in schema and the schema does not allow additional properties"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.backup(100)
			w.backup(101)
			path, args := nodePath("/qemu"), vmArgs(w, "900", tt.args...)
			if tt.ct {
				path, args = nodePath("/lxc"), ctArgs(w, "900", tt.args...)
			}
			r := w.try("POST", path, args)
			if r.status != tt.status || (tt.status >= 400 && r.reason != tt.text && r.body.Errors[tt.args[0]] != tt.text) {
				t.Errorf("%d %q %v, want %d %q", r.status, r.reason, r.body.Errors, tt.status, tt.text)
			}
		})
	}
	w := newWorld(t)
	for _, path := range []string{nodePath("/qemu/100/status/start"), nodePath("/lxc/101/status/start")} {
		if r := w.try("POST", path, pairs("skiplock", "1")); r.status != 400 || r.body.Errors["skiplock"] == "" {
			t.Errorf("POST %s with skiplock: %d %v, want that only root may", path, r.status, r.body.Errors)
		}
	}
}

// TestWithoutTargetDisksGoWhereTheyWere (fact 5): and the task fails where that storage does not exist.
func TestWithoutTargetDisksGoWhereTheyWere(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	args := vmArgs(w, "900")
	args.Del("storage")
	w.ok("POST", nodePath("/qemu"), args)
	if d := w.guest(900).Disks[0]; d.Storage != "local-zfs" {
		t.Errorf("disk = %+v, want it on the archive's storage", d)
	}
	args = with(args, "vmid", "901", "archive", w.respell(100, func(conf string) string {
		return strings.ReplaceAll(conf, "local-zfs", "rpool")
	}))
	if _, exit := w.run("POST", nodePath("/qemu"), args); exit != "storage 'rpool' does not exist" {
		t.Errorf("ended %q", exit)
	}
	if got := fmt.Sprint(w.guest(901).Config); got != stubEmpty {
		t.Errorf("left behind: %s, want an empty stub", got)
	}
}

// TestEntriesThatCannotUseTheirPBS: the texts of the storage plugin.
func TestEntriesThatCannotUseTheirPBS(t *testing.T) {
	entry := lab.StorageConfig{ID: "pbs-bad", Type: "pbs", Server: "10.10.1.10", Datastore: "backups", Namespace: "moulin", Username: pbsToken, Password: secret}
	for _, tt := range []struct {
		name   string
		change func(*lab.StorageConfig, *lab.PBSConfig)
		reason string
		delay  time.Duration
	}{
		{name: "another fingerprint", reason: "pbs-bad: error fetching datastores - 500 Can't connect to 10.10.1.10:8007 - fingerprint '91:aa' not verified, abort!", change: func(s *lab.StorageConfig, b *lab.PBSConfig) {
			s.Fingerprint, b.Fingerprint = "bb:bb", "91:aa"
		}},
		{name: "wrong secret", reason: "pbs-bad: error fetching datastores - 401 Unauthorized", delay: 3 * time.Second, change: func(s *lab.StorageConfig, _ *lab.PBSConfig) { s.Password = "x" }},
		{name: "no such datastore", reason: "pbs-bad: Cannot find datastore 'other', check permissions and existence!", change: func(s *lab.StorageConfig, _ *lab.PBSConfig) { s.Datastore = "other" }},
		{name: "no right on the namespace", reason: "error listing snapshots - 403 Forbidden: permission check failed", change: func(_ *lab.StorageConfig, b *lab.PBSConfig) {
			b.ACL = map[string]map[string][]string{pbsToken: {"/datastore/backups/quai": {"Datastore.Audit"}}}
		}},
		{name: "disabled", reason: "storage 'pbs-bad' is disabled", change: func(s *lab.StorageConfig, _ *lab.PBSConfig) { s.Disabled = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(p *lab.PVEConfig, b *lab.PBSConfig) {
				s := entry
				tt.change(&s, b)
				p.Storages = append(p.Storages, s)
			})
			if r := w.try("GET", nodePath("/storage/pbs-bad/content"), nil); r.status != 500 || r.reason != tt.reason || w.hint.Delay != tt.delay {
				t.Errorf("%d %q after %v, want 500 %q after %v", r.status, r.reason, w.hint.Delay, tt.reason, tt.delay)
			}
		})
	}
}

// TestAnEntryShowsItsOwnNamespaceOnly (fact 14).
func TestAnEntryShowsItsOwnNamespaceOnly(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	for _, ns := range []string{"", "moulin/sub", "quai"} {
		if err := w.pbs.AddSnapshot(lab.Snapshot{NS: ns, Type: "vm", ID: "100", Time: w.now.Unix() + 9, Owner: pbsToken, Files: []lab.SnapshotFile{{Name: "index.json.blob"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if rows, _ := w.call("GET", nodePath("/storage/pbs-local/content"), nil).([]any); len(rows) != 1 {
		t.Errorf("content = %v, want one row", rows)
	}
}

// TestSlowListingIsCut: a listing that takes longer than the proxy waits ends 596; of one guest it is quick.
func TestSlowListingIsCut(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.Storages[2].Latency = 100 * time.Second })
	w.backup(100)
	if r := w.try("GET", nodePath("/storage/pbs-local/content"), nil); r.status != 596 || r.raw != "" || w.hint.Delay != 30*time.Second {
		t.Errorf("whole listing: %d %q after %v, want 596 after 30 s", r.status, r.reason, w.hint.Delay)
	}
	if r := w.try("GET", nodePath("/storage/pbs-local/content"), pairs("vmid", "100")); r.status != 200 || w.hint.Delay != 10*time.Second {
		t.Errorf("listing of one guest: %d after %v, want an answer after 10 s", r.status, w.hint.Delay)
	}
}

// TestStoppedRestores: SIGTERM lets a restore clean up, kill -9 does not.
func TestStoppedRestores(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	begin := func() (vm, ct string) {
		vm, _ = w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
		ct, _ = w.call("POST", nodePath("/lxc"), ctArgs(w, "901")).(string)
		w.advance(2 * time.Second)
		return vm, ct
	}
	vm, ct := begin()
	for upid, want := range map[string]string{vm: "failed: interrupted by signal", ct: "failed: received interrupt"} {
		path := nodePath("/tasks/%s", url.PathEscape(upid))
		w.call("DELETE", path, nil)
		if exit := w.wait(upid); !strings.HasSuffix(exit, want) {
			t.Errorf("stopped task ended %q, want %q", exit, want)
		}
		w.call("DELETE", path, nil) // also for an ended one
	}
	if g := w.guest(900); g.Lock != "" || len(g.Disks) != 0 {
		t.Errorf("VM = %v, want the unlocked stub", g.Config)
	}
	if _, ok := w.pve.Guest(901); ok {
		t.Error("the container has not removed itself")
	}

	w.ok("DELETE", nodePath("/qemu/900"), nil)
	vm, ct = begin()
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectKillTask})
	if w.wait(vm) != "unexpected status" || w.wait(ct) != "unexpected status" || w.guest(900).Lock != "create" || w.guest(901).Lock != "create" {
		t.Errorf("killed: locks %q and %q, want create", w.guest(900).Lock, w.guest(901).Lock)
	}
	rows, _ := w.call("GET", nodePath("/storage/local-zfs/content"), pairs("vmid", "900")).([]any)
	if len(rows) == 0 || w.pve.Mounted(900) || !w.pve.Mounted(901) {
		t.Errorf("killed: volumes %v, mounted %v and %v; want volumes and the container's image mounted", rows, w.pve.Mounted(900), w.pve.Mounted(901))
	}
	if err := w.pve.Unmount(901); err != nil || w.pve.Mounted(901) || w.pve.Unmount(901) == nil {
		t.Errorf("Unmount = %v", err)
	}
}

// TestRequestsThatAreNone: bodies where there must be none, JSON that is none, methods that nobody has.
func TestRequestsThatAreNone(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		method, path, kind, body string
		status                   int
		text                     string
	}{
		{"DELETE", "/qemu/100", "application/x-www-form-urlencoded", "purge=1", 501, "Unexpected content for method 'DELETE'"},
		{"PUT", "/qemu/100/config", "application/json", "{broken", 500, "expected, at character offset"},
		{"PATCH", "/qemu/100", "application/json", "", 501, "method 'PATCH' not available"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://lab/api2/json"+nodePath("%s", tt.path), strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "PVEAPIToken="+pveToken+"="+secret)
		r.Header.Set("Content-Type", tt.kind)
		res, err := w.pveRT.RoundTrip(r)
		if err != nil || res.StatusCode != tt.status || !strings.Contains(res.Status, tt.text) || !strings.EqualFold(res.Header.Get("Connection"), "close") {
			t.Errorf("%s: %v %v, want %d %q and the connection closed", tt.method, res.Status, err, tt.status, tt.text)
		}
	}
}

// TestAlreadyRunning: a VM says it in the task, a container at once.
func TestAlreadyRunning(t *testing.T) {
	w := newWorld(t)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	w.ok("POST", nodePath("/lxc/101/status/start"), nil)
	if _, exit := w.run("POST", nodePath("/qemu/100/status/start"), nil); exit != "VM 100 already running" {
		t.Errorf("VM: %q", exit)
	}
	if r := w.try("POST", nodePath("/lxc/101/status/start"), nil); r.status != 500 || r.reason != "CT 101 already running" {
		t.Errorf("CT: %d %q", r.status, r.reason)
	}
	for path, want := range map[string]string{"/qemu/100": "VM 100 is running - destroy failed", "/lxc/101": "unable to destroy CT 101 - container is running"} {
		if r := w.try("DELETE", nodePath("%s", path), nil); r.status != 500 || r.reason != want {
			t.Errorf("DELETE %s: %d %q, want %q", path, r.status, r.reason, want)
		}
	}
	w.ok("POST", nodePath("/qemu/100/status/stop"), nil)
	w.ok("POST", nodePath("/qemu/100/status/stop"), nil) // a stopped VM is stopped
}
