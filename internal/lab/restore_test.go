package lab_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

func nodePath(format string, args ...any) string {
	return "/nodes/" + node + fmt.Sprintf(format, args...)
}

func vmArgs(w *world, id string, extra ...string) url.Values {
	return with(pairs("vmid", id, "archive", w.newest(100), "storage", "local-zfs"), extra...)
}

func ctArgs(w *world, id string, extra ...string) url.Values {
	return with(pairs("vmid", id, "ostemplate", w.newest(101), "restore", "1", "storage", "local-zfs"), extra...)
}

// with sets further parameters.
func with(v url.Values, extra ...string) url.Values {
	for k, x := range pairs(extra...) {
		v[k] = x
	}
	return v
}

func contains(lines []string, part string) bool {
	return slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, part) })
}

func TestRestoredVMHoldsTheBytesOfItsBackup(t *testing.T) {
	w := newWorld(t)
	if err := w.pve.StartGuest(100, w.now); err != nil {
		t.Fatal(err)
	}
	w.advance(10 * time.Second)
	before := w.guest(100)
	want, err := before.Disk("")
	if err != nil {
		t.Fatal(err)
	}
	second, err := before.Disk("scsi1")
	if err != nil {
		t.Fatal(err)
	}
	lines := before.Data()
	if err := w.pve.Backup(100, "pbs-local", w.now); err != nil {
		t.Fatal(err)
	}
	w.advance(10 * time.Second) // the original writes on

	start := w.now
	upid := w.ok("POST", nodePath("/qemu"), vmArgs(w, "900", "onboot", "0", "net0", "virtio=BC:24:11:00:00:01,bridge=vmbr9", "name", "copy"))
	if took := w.now.Sub(start); took < 5*time.Second || took > 6*time.Second {
		t.Errorf("restore of 1 MiB at 256 KiB/s took %v, want 4 s and 1 s before it", took)
	}
	g := w.guest(900)
	for key, bytesWant := range map[string][]byte{"": want, "scsi1": second} {
		got, err := g.Disk(key)
		if err != nil || !bytes.Equal(got, bytesWant) {
			t.Errorf("disk %q: %d bytes (%v) differ from the %d at the time of the backup", key, len(got), err, len(bytesWant))
		}
	}
	if got := g.Data(); !slices.Equal(got, lines) {
		t.Errorf("data = %q, want %q", got, lines)
	}
	if g.Inside != "nuage" || g.Name != "copy" || g.Running || g.Config["onboot"] != "0" {
		t.Errorf("guest = %+v, want a stopped one named copy with nuage inside and onboot 0", g)
	}
	if g.Config["net0"] != "virtio=BC:24:11:00:00:01,bridge=vmbr9" || g.Config["net1"] != "virtio=BC:24:11:00:00:02,bridge=vmbr0" {
		t.Errorf("nets = %v, want net0 overridden and net1 as in the archive", g.Nets)
	}
	log := w.log(upid)
	for _, part := range []string{"new volume ID is 'local-zfs:vm-900-disk-0'", "progress 50% (read", "restore image complete (bytes=524288", "rescan volumes...", "TASK OK"} {
		if !contains(log, part) {
			t.Errorf("no %q in the log:\n%s", part, strings.Join(log, "\n"))
		}
	}
}

func TestConfigIsBareWhileARestoreRuns(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	vm, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900", "description", "marker")).(string)
	ct, _ := w.call("POST", nodePath("/lxc"), ctArgs(w, "901", "description", "marker")).(string)
	w.advance(1500 * time.Millisecond)
	if got, want := fmt.Sprint(w.guest(900).Config), "map[lock:create memory:128]"; got != want {
		t.Errorf("VM config = %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(w.guest(901).Config), "map[lock:create]"; got != want {
		t.Errorf("CT config = %s, want %s", got, want)
	}
	list, _ := w.call("GET", nodePath("/tasks"), pairs("source", "active", "vmid", "900", "typefilter", "qmrestore")).([]any)
	if len(list) != 1 {
		t.Fatalf("active tasks = %v, want the restore", list)
	}
	if row := list[0].(map[string]any); row["upid"] != vm || row["user"] != pveToken || row["status"] != "RUNNING" {
		t.Errorf("active row = %v, want user with its token", row)
	}
	if w.wait(vm) != "OK" || w.wait(ct) != "OK" || w.guest(900).Config["description"] != "marker" || w.guest(901).Config["lock"] != "" {
		t.Errorf("after the end: %v and %v, want the marker and no lock", w.guest(900).Config, w.guest(901).Config)
	}
}

func TestParallelRestoresShareTheRate(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	start := w.now
	a, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	b, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "901")).(string)
	if w.wait(a) != "OK" || w.wait(b) != "OK" {
		t.Fatal("restores did not end OK")
	}
	if took := w.now.Sub(start); took < 9*time.Second || took > 10*time.Second {
		t.Errorf("two restores of 1 MiB at 256 KiB/s took %v, want 8 s and 1 s before them", took)
	}
}

// failedRestore is one way a restore fails: what is wrong, what the caller sees, what stays behind.
type failedRestore struct {
	name   string
	ct     bool
	extra  []string
	before func(*world)
	during func(*world) // in mid-copy
	exit   string       // part of the exit status
	log    string
	left   string
}

const stubEmpty, stub128, gone = "map[]", "map[memory:128]", "gone"

// suffer makes a fault act on a fake.
func (w *world) suffer(h http.Handler, f lab.Fault) {
	w.t.Helper()
	var faults lab.Faults
	if err := faults.Add(f); err != nil {
		w.t.Fatal(err)
	}
	w.request(lab.InProcess(lab.WithFaults("x", h, &faults)), "PVEAPIToken="+pveToken+"="+secret, "GET", "/version", nil)
}

func failedRestores() []failedRestore {
	fill := func(w *world) { w.suffer(w.pve, lab.Fault{Effect: lab.EffectFillStorage, Text: "local-zfs"}) }
	return []failedRestore{
		{name: "VM key missing", extra: []string{"archive", "nokey"}, exit: "failed: exit code 255", log: "Error: missing key - manifest was created with key", left: stubEmpty},
		{name: "VM key wrong", before: func(w *world) { w.suffer(w.pve, lab.Fault{Effect: lab.EffectWrongKey}) }, exit: "failed: exit code 255", log: "Error: wrong key - manifest's key", left: stubEmpty},
		{name: "VM storage unknown", extra: []string{"storage", "nowhere"}, exit: "storage 'nowhere' does not exist", left: stubEmpty},
		{name: "VM storage without images", extra: []string{"storage", "local"}, exit: "Content type 'images' is not available on storage 'local'", left: stubEmpty},
		{name: "VM snapshot gone", before: func(w *world) { w.suffer(w.pbs, lab.Fault{Effect: lab.EffectLoseSnapshot}) }, exit: "failed: exit code 255", log: "does not exist.", left: stubEmpty},
		{name: "VM PBS down", before: func(w *world) { w.pbs.PowerLoss(w.now) }, exit: "failed: exit code 255", log: "Can't connect", left: stubEmpty},
		{name: "VM chunk corrupt", before: func(w *world) { w.suffer(w.pbs, lab.Fault{Effect: lab.EffectCorruptSnapshot}) }, exit: "/usr/bin/pbs-restore", log: "wrong digest", left: stub128},
		{name: "VM storage full in mid-copy", during: fill, exit: "failed: exit code 1", log: "temporary volume 'local-zfs:vm-900-disk-0' successfully removed", left: stub128},
		{name: "VM PBS lost in mid-copy", during: func(w *world) { w.pbs.PowerLoss(w.now) }, exit: "failed: exit code 1", log: "state is NOT cleaned up", left: stub128},
		{name: "CT key missing", ct: true, extra: []string{"ostemplate", "nokey"}, exit: "unable to restore CT 900 - command", log: "missing key", left: gone},
		{name: "CT storage full in mid-copy", ct: true, during: fill, exit: "unable to restore CT 900 - command 'lxc-usernsexec", left: gone},
		{name: "CT from a VM's backup", ct: true, extra: []string{"ostemplate", "vm"}, exit: "got unexpected backup format 'pbs-vm'", left: gone},
	}
}

func TestFailedRestores(t *testing.T) {
	for _, tt := range failedRestores() {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.backup(101)
			w.backup(100)
			path, args := nodePath("/qemu"), vmArgs(w, "900")
			if tt.ct {
				path, args = nodePath("/lxc"), ctArgs(w, "900")
			}
			for i := 0; i+1 < len(tt.extra); i += 2 {
				value := tt.extra[i+1]
				switch value {
				case "nokey":
					// The namespace of the entry without a key is the same.
					value = strings.Replace(args.Get(tt.extra[i]), "pbs-local", "pbs-nokey", 1)
				case "vm":
					value = w.newest(100)
				}
				args.Set(tt.extra[i], value)
			}
			if tt.before != nil {
				tt.before(w)
			}
			upid, _ := w.call("POST", path, args).(string)
			if tt.during != nil {
				w.advance(2 * time.Second)
				tt.during(w)
			}
			if exit := w.wait(upid); !strings.Contains(exit, tt.exit) {
				t.Errorf("exit status = %q, want %q in it", exit, tt.exit)
			}
			if log := w.log(upid); !contains(log, tt.log) {
				t.Errorf("no %q in the log:\n%s", tt.log, strings.Join(log, "\n"))
			}
			left := gone
			if g, ok := w.pve.Guest(900); ok {
				left = fmt.Sprint(g.Config)
				if len(g.Disks) != 0 {
					t.Errorf("disks left: %v", g.Disks)
				}
			}
			if left != tt.left {
				t.Errorf("left behind: %s, want %s", left, tt.left)
			}
		})
	}
}

func TestEmptyStubHasTheDigestOfAnEmptyFile(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.run("POST", nodePath("/qemu"), pairs("vmid", "900", "archive", w.newest(100), "storage", "nowhere"))
	got, _ := w.call("GET", nodePath("/qemu/900/config"), nil).(map[string]any)
	if len(got) != 1 || got["digest"] != "da39a3ee5e6b4b0d3255bfef95601890afd80709" {
		t.Errorf("config of the stub = %v, want only the digest of nothing", got)
	}
	r := w.try("POST", nodePath("/qemu"), vmArgs(w, "900"))
	if want := "unable to restore VM 900 - VM 900 already exists on node 'pve-moulin'"; r.status != 500 || r.reason != want {
		t.Errorf("restore over the stub: %d %q, want 500 %q", r.status, r.reason, want)
	}
	w.ok("POST", nodePath("/qemu"), vmArgs(w, "900", "force", "1"))
}

func TestPowerLossInMidRestoreLeavesTheLock(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	vm, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	ct, _ := w.call("POST", nodePath("/lxc"), ctArgs(w, "901")).(string)
	w.advance(2 * time.Second)
	w.pve.PowerLoss(w.now)
	if r := w.try("GET", "/version", nil); r.status == 200 || w.hint.Reply != lab.ReplyHangs {
		t.Errorf("a host without power answered %d (%+v), want a hang", r.status, w.hint)
	}
	w.advance(time.Minute)
	w.pve.PowerOn(w.now)
	for _, upid := range []string{vm, ct} {
		if exit := w.wait(upid); exit != "unexpected status" {
			t.Errorf("exit status after the crash = %q, want unexpected status", exit)
		}
		if log := w.log(upid); contains(log, "TASK ") {
			t.Errorf("the log of a killed task has a last line: %q", log)
		}
	}
	if got := w.guest(900).Config["lock"]; got != "create" {
		t.Errorf("lock of the VM = %q, want create", got)
	}
	if !w.guest(100).Running || w.guest(101).Running {
		t.Errorf("after power came back: VM 100 (onboot=1) %v, CT 101 (onboot=0) %v", w.guest(100).Running, w.guest(101).Running)
	}
	if r := w.try("POST", nodePath("/qemu"), vmArgs(w, "900", "force", "1")); r.reason != "unable to restore VM 900 - VM is locked (create)" {
		t.Errorf("force over the lock: %d %q", r.status, r.reason)
	}
	if _, exit := w.run("DELETE", nodePath("/qemu/900"), nil); exit != "VM is locked (create)" {
		t.Errorf("DELETE of the locked VM ended %q", exit)
	}
	if r := w.try("DELETE", nodePath("/lxc/901"), nil); r.status != 500 || r.reason != "CT is locked (create)" {
		t.Errorf("DELETE of the locked CT: %d %q", r.status, r.reason)
	}
	if r := w.try("PUT", nodePath("/qemu/900/config"), pairs("delete", "lock")); r.reason != "only root can set 'lock' config" {
		t.Errorf("delete=lock by a token: %d %q", r.status, r.reason)
	}
	for _, id := range []int{900, 901} {
		if err := w.pve.Unlock(id); err != nil {
			t.Fatal(err)
		}
	}
	w.ok("DELETE", nodePath("/qemu/900"), pairs("purge", "1", "destroy-unreferenced-disks", "1"))
	w.ok("DELETE", nodePath("/lxc/901"), pairs("purge", "1", "destroy-unreferenced-disks", "1"))
}

func TestForce(t *testing.T) {
	tests := []struct {
		name    string
		ct      bool
		prepare func(*world)
		storage string
		reason  string // of the POST, "" = it starts a task
		exit    string
		kept    bool // the old guest is as it was
	}{
		{name: "VM running", prepare: func(w *world) { _ = w.pve.StartGuest(100, w.now) }, exit: "unable to restore VM 100 - vm is running", kept: true},
		{name: "VM protected", prepare: func(w *world) { w.call("PUT", nodePath("/qemu/100/config"), pairs("protection", "1")) }, exit: "unable to restore VM 100 - - protection mode enabled", kept: true},
		{name: "VM fails before its disks are freed", storage: "nowhere", exit: "storage 'nowhere' does not exist", kept: true},
		{name: "VM good", exit: "OK"},
		{name: "CT running", ct: true, prepare: func(w *world) { _ = w.pve.StartGuest(101, w.now) }, reason: "can't overwrite running container", kept: true},
		{name: "CT protected", ct: true, prepare: func(w *world) { w.call("PUT", nodePath("/lxc/101/config"), pairs("protection", "1")) }, reason: "unable to restore CT 101 - protection mode enabled", kept: true},
		{name: "CT good", ct: true, exit: "OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.backup(100)
			w.backup(101)
			id, path, args := 100, nodePath("/qemu"), vmArgs(w, "100", "force", "1", "tags", "new")
			if tt.ct {
				id, path, args = 101, nodePath("/lxc"), ctArgs(w, "101", "force", "1", "tags", "new")
			}
			if tt.prepare != nil {
				tt.prepare(w)
			}
			if tt.storage != "" {
				args.Set("storage", tt.storage)
			}
			if tt.reason != "" {
				if r := w.try("POST", path, args); r.status != 500 || r.reason != tt.reason {
					t.Errorf("POST = %d %q, want 500 %q", r.status, r.reason, tt.reason)
				}
			} else if _, exit := w.run("POST", path, args); exit != tt.exit {
				t.Errorf("exit status = %q, want %q", exit, tt.exit)
			}
			g := w.guest(id)
			if kept := g.Config["tags"] == "" && g.Inside != ""; kept != tt.kept || g.Lock != "" {
				t.Errorf("old guest kept = %v (lock %q), want %v", kept, g.Lock, tt.kept)
			}
		})
	}
}

func TestUniqueThrowsTheOverrideOfAContainerAway(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	w.ok("POST", nodePath("/qemu"), vmArgs(w, "900", "unique", "1", "net0", "virtio=BC:24:11:00:00:09,bridge=vmbr9"))
	w.ok("POST", nodePath("/lxc"), ctArgs(w, "901", "unique", "1", "net0", "name=eth0,bridge=vmbr9,hwaddr=BC:24:11:00:00:09"))
	if got := w.guest(900).Config["net0"]; got != "virtio=BC:24:11:00:00:09,bridge=vmbr9" {
		t.Errorf("VM net0 = %q, want the override", got)
	}
	if got := w.guest(901).Config["net0"]; !strings.Contains(got, "bridge=vmbr0") || strings.Contains(got, "BC:24:11:00:00:03") {
		t.Errorf("CT net0 = %q, want the archive's with a new address", got)
	}
}

func TestStartIsATaskOfItsOwn(t *testing.T) {
	tests := []struct {
		name, net string
		ct        bool
		exit, log string
	}{
		{name: "VM without its bridge", net: "virtio,bridge=vmbr7,tag=120", exit: "start failed: QEMU exited with code 1", log: "bridge 'vmbr7' does not exist"},
		{name: "VM with a tag on a bridge without a port", net: "virtio,bridge=vmbr9,tag=120", exit: "start failed: QEMU exited with code 1", log: "no physical interface on bridge 'vmbr9'"},
		{name: "CT without its bridge", net: "name=eth0,bridge=vmbr7", ct: true, exit: "command 'systemctl start pve-container@900' failed: exit code 1", log: "bridge 'vmbr7' does not exist"},
		{name: "good", net: "virtio,bridge=vmbr0,tag=120,link_down=1", exit: "OK", log: "TASK OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.backup(100)
			w.backup(101)
			path, args := nodePath("/qemu"), vmArgs(w, "900", "start", "1", "net0", tt.net)
			if tt.ct {
				path, args = nodePath("/lxc"), ctArgs(w, "900", "start", "1", "net0", tt.net)
			}
			restore := w.ok("POST", path, args) // OK whatever becomes of the start
			if !contains(w.log(restore), "Execute autostart") {
				t.Errorf("no autostart in the log: %q", w.log(restore))
			}
			w.advance(3 * time.Second)
			list, _ := w.call("GET", nodePath("/tasks"), pairs("vmid", "900", "limit", "1")).([]any)
			row := list[0].(map[string]any)
			if row["status"] != tt.exit || !strings.HasSuffix(row["type"].(string), "start") {
				t.Errorf("newest task = %v, want a start with status %q", row, tt.exit)
			}
			if log := w.log(row["upid"].(string)); !contains(log, tt.log) {
				t.Errorf("no %q in %q", tt.log, log)
			}
			if g := w.guest(900); g.Running != (tt.exit == "OK") || (g.Running && g.Nets[0].Connected) {
				t.Errorf("running = %v, net0 = %+v", g.Running, g.Nets[0])
			}
		})
	}
}

func TestTwoRestoresOfOneID(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.call("POST", nodePath("/qemu"), vmArgs(w, "900"))
	if r := w.try("POST", nodePath("/qemu"), vmArgs(w, "900")); !strings.Contains(r.reason, "VM 900 already exists") {
		t.Errorf("second POST at once: %d %q, want already exists", r.status, r.reason)
	}
	w.advance(time.Second)
	r := w.try("POST", nodePath("/qemu"), vmArgs(w, "900"))
	if want := "unable to restore VM 900 - can't lock file '/var/lock/qemu-server/lock-900.conf' - got timeout"; r.reason != want || w.hint.Delay != 10*time.Second {
		t.Errorf("later POST: %q after %v, want %q after 10 s", r.reason, w.hint.Delay, want)
	}
}

func TestExtractConfigNeedsTheKey(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	text, _ := w.call("GET", nodePath("/vzdump/extractconfig"), pairs("volume", w.newest(100))).(string)
	for _, part := range []string{"name: nuage\n", "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120\n", "#qmdump#map:scsi0:drive-scsi0:local-zfs:raw:\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in the config:\n%s", part, text)
		}
	}
	r := w.try("GET", nodePath("/vzdump/extractconfig"), pairs("volume", strings.Replace(w.newest(100), "pbs-local", "pbs-nokey", 1)))
	if r.status != http.StatusInternalServerError || !strings.HasPrefix(r.reason, "proxmox-backup-client failed: Error: missing key - manifest was created with key ") {
		t.Errorf("without the key: %d %q", r.status, r.reason)
	}
}

func TestStoredBytesAreEncrypted(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	other := lab.NewKey(rand.New(rand.NewPCG(9, 9)))
	for _, f := range w.pbs.Snapshots("moulin")[0].Files {
		for _, id := range f.Chunks {
			data, err := w.pbs.Store().Get(id)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte("nuage")) {
				t.Errorf("%s: plain text in the PBS", f.Name)
			}
			if _, err := w.key.Open(data); err != nil {
				t.Errorf("%s: the site's key does not open its chunk: %v", f.Name, err)
			}
			if _, err := other.Open(data); err == nil {
				t.Errorf("%s: another key opens it", f.Name)
			}
		}
	}
}
