package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// releases are the pairs of releases that the fakes play.
var releases = []struct{ pve, pbs string }{{lab.PVE9, lab.PBS4}, {lab.PVE8, lab.PBS3}}

// playing is an option of a world: the releases of its hosts.
func playing(pve, pbs string) func(*lab.PVEConfig, *lab.PBSConfig) {
	return func(p *lab.PVEConfig, b *lab.PBSConfig) { p.Version, b.Version = pve, pbs }
}

// onEachRelease runs a test on hosts of each pair of releases.
func onEachRelease(t *testing.T, run func(t *testing.T, option func(*lab.PVEConfig, *lab.PBSConfig))) {
	t.Helper()
	for _, r := range releases {
		t.Run("PVE "+r.pve+", PBS "+r.pbs, func(t *testing.T) { run(t, playing(r.pve, r.pbs)) })
	}
}

func TestVersionsAreDeclared(t *testing.T) {
	for _, r := range releases {
		w := newWorld(t, playing(r.pve, r.pbs))
		v, _ := w.call("GET", "/version", nil).(map[string]any)
		b, _ := w.pbsCall("GET", "/version", nil).(map[string]any)
		if v["version"] != r.pve || !strings.HasPrefix(r.pbs, b["version"].(string)) {
			t.Errorf("versions = %v and %v, want %s and %s", v["version"], b["version"], r.pve, r.pbs)
		}
	}
	for _, bad := range []struct{ pve, pbs, want string }{
		{"7.4", "", "Proxmox VE version 7.4 is not played"},
		{"10.0", "", "is not played"},
		{"new", "", `version "new"`},
		{"9.x", "", `"x" is not a number`},
		{"", "2.4", "Proxmox Backup Server version 2.4 is not played"},
	} {
		if err := lab.CheckVersions(bad.pve, bad.pbs); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("CheckVersions(%q, %q) = %v, want %q", bad.pve, bad.pbs, err, bad.want)
		}
	}
	if err := lab.CheckVersions("9.1", "3.4"); err != nil {
		t.Error(err)
	}
	if _, err := lab.NewPVE(lab.PVEConfig{Node: "x", Version: "7.4"}); err == nil {
		t.Error("NewPVE takes 7.4")
	}
	if _, err := lab.NewPBS(lab.PBSConfig{Node: "x", Datastore: "y", Version: "2.0"}); err == nil {
		t.Error("NewPBS takes 2.0")
	}
}

// TestReleasesDiffer asks the same of a PVE 9.2 and an 8.4 (reference/proxmox.md section 12).
func TestReleasesDiffer(t *testing.T) {
	good := "PVEAPIToken=" + pveToken + "="
	type want struct {
		status int
		text   string // in the reason, or in what is wrong with a parameter
	}
	tests := []struct {
		name, auth, method, path string
		args                     func(*world) []string
		nine, eight              want
	}{
		{
			name: "wrong secret", auth: good + "x", method: "GET", path: "/version",
			nine: want{401, "Authentication failed!"}, eight: want{401, "invalid token value!"},
		},
		{
			name: "unknown token", auth: "PVEAPIToken=a@pve!b=x", method: "GET", path: "/version",
			nine: want{401, "Authentication failed!"}, eight: want{401, "no such token 'b' for user 'a@pve'"},
		},
		{
			name: "ha-managed", method: "POST", path: nodePath("/qemu"),
			args: func(w *world) []string { return []string{"ha-managed", "1"} },
			nine: want{403, "Permission check failed (/, Sys.Console)"}, eight: want{400, "property is not defined in schema"},
		},
		{
			name: "host-managed NIC", method: "POST", path: nodePath("/lxc"),
			args: func(w *world) []string { return []string{"net0", "name=eth0,bridge=vmbr0,host-managed=1"} },
			nine: want{200, ""}, eight: want{400, "net0.host-managed: property is not defined"},
		},
		{
			name: "identity", method: "GET", path: nodePath("/storage/pbs-local/identity"),
			nine: want{200, ""}, eight: want{501, "not implemented"},
		},
	}
	for _, tt := range tests {
		for i, r := range releases {
			t.Run(tt.name+" on "+r.pve, func(t *testing.T) {
				w := newWorld(t, playing(r.pve, r.pbs))
				w.backup(100)
				w.backup(101)
				auth, args := tt.auth, pairs()
				if auth == "" {
					auth = good + secret
				}
				if tt.args != nil {
					if strings.HasSuffix(tt.path, "/lxc") {
						args = ctArgs(w, "900", tt.args(w)...)
					} else {
						args = vmArgs(w, "900", tt.args(w)...)
					}
				}
				reply := w.request(w.pveRT, auth, tt.method, tt.path, args)
				text := reply.reason
				for _, msg := range reply.body.Errors {
					text += " " + msg
				}
				if x := []want{tt.nine, tt.eight}[i]; reply.status != x.status || !strings.Contains(text, x.text) {
					t.Errorf("%d %q, want %d with %q", reply.status, text, x.status, x.text)
				}
			})
		}
	}
}

// TestPrivilegesOfReleases: the guest agent needs other privileges, starting with a restore needs one more,
// and a privileged container needs Sys.Modify only on PVE 9.
func TestPrivilegesOfReleases(t *testing.T) {
	for _, r := range []struct {
		pve, agent, foreign string
		start               int
		privileged          string
	}{
		{lab.PVE9, "VM.GuestAgent.Audit", "VM.Monitor", 403, "unable to restore CT 901 - 403 Permission check failed (/, Sys.Modify)"},
		{lab.PVE8, "VM.Monitor", "VM.GuestAgent.Audit", 200, "OK"},
	} {
		t.Run(r.pve, func(t *testing.T) {
			acl := map[string][]string{
				"/":        {"Datastore.Audit", "Datastore.AllocateSpace", "VM.Backup", "SDN.Use"},
				"/vms":     {"VM.Allocate", "VM.Audit", "VM.Backup"},
				"/vms/100": {r.agent, "VM.PowerMgmt", "VM.Audit", "VM.Backup"},
			}
			w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
				p.Version, p.ACL = r.pve, map[string]map[string][]string{pveToken: acl}
			})
			w.add(lab.GuestSpec{ID: 102, Kind: "lxc", Name: "vieux", DiskSize: diskBytes, Extra: map[string]string{"unprivileged": "0"}})
			w.backup(100)
			w.backup(102)
			w.ok("POST", nodePath("/qemu/100/status/start"), nil)
			w.advance(5 * time.Second)
			w.call("POST", nodePath("/qemu/100/agent/ping"), nil)
			if got := w.try("POST", nodePath("/qemu"), vmArgs(w, "900", "start", "1")).status; got != r.start {
				t.Errorf("restore with start and without VM.PowerMgmt: %d, want %d", got, r.start)
			}
			args := pairs("vmid", "901", "ostemplate", w.newest(102), "restore", "1", "storage", "local-zfs")
			if _, exit := w.run("POST", nodePath("/lxc"), args); exit != r.privileged {
				t.Errorf("privileged container ended %q, want %q", exit, r.privileged)
			}

			acl["/vms/100"] = []string{"VM.Audit"}
			if got := w.try("POST", nodePath("/qemu/100/agent/ping"), nil).reason; got != "Permission check failed (/vms/100, "+r.agent+")" {
				t.Errorf("ping without the privilege: %q, want that %s is missing", got, r.agent)
			}
			acl["/vms/100"] = []string{r.foreign}
			if _, err := lab.NewPVE(lab.PVEConfig{Node: "x", Version: r.pve, ACL: map[string]map[string][]string{pveToken: acl}}); err == nil || !strings.Contains(err.Error(), "invalid privilege '"+r.foreign+"'") {
				t.Errorf("an ACL with %s: %v, want invalid privilege", r.foreign, err)
			}
		})
	}
}

func TestAnswersOfReleases(t *testing.T) {
	w := newWorld(t, playing(lab.PVE8, lab.PBS3))
	rows, _ := w.call("GET", "/cluster/ha/resources", nil).([]any)
	if rows[0].(map[string]any)["group"] != "all" {
		t.Errorf("HA resource of PVE 8 = %v, want its group", rows[0])
	}
	for _, x := range w.call("GET", "/cluster/resources", nil).([]any) {
		if x.(map[string]any)["type"] == "network" {
			t.Error("PVE 8 lists network resources")
		}
	}
	stores, _ := w.pbsCall("GET", "/admin/datastore", nil).([]any)
	if stores[0].(map[string]any)["backend-type"] != nil {
		t.Errorf("datastore of PBS 3 = %v, want no backend-type", stores[0])
	}
}

func TestPinnedMachineNewerThanTheHost(t *testing.T) {
	w := newWorld(t, playing(lab.PVE8, lab.PBS3))
	for id, machine := range map[int]string{102: "pc-q35-10.1", 103: "pc-i440fx-9.2+pve1", 104: "q35"} {
		w.add(lab.GuestSpec{ID: id, Kind: "qemu", Name: "w", DiskSize: diskBytes, Extra: map[string]string{"machine": machine}})
	}
	if upid, exit := w.run("POST", nodePath("/qemu/102/status/start"), nil); exit != "start failed: QEMU exited with code 1" || !contains(w.log(upid), "unsupported machine type") {
		t.Errorf("start of a machine of PVE 9 on PVE 8 ended %q", exit)
	}
	w.ok("POST", nodePath("/qemu/103/status/start"), nil)
	w.ok("POST", nodePath("/qemu/104/status/start"), nil)
}
