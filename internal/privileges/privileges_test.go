package privileges_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/privileges"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

var host = privileges.Paths{
	Node: "pve1", Storages: []string{"local-zfs"}, Backups: []string{"pbs-quai"},
	Networks: []privileges.NIC{{Bridge: "vmbr9", Tag: 120}, {Bridge: "vmbr1"}, {Zone: "dr", Bridge: "vnet1"}},
}

// flat writes grants as "PATH PRIVILEGE", each once.
func flat(grants []privileges.Grant) []string {
	var out []string
	for _, g := range grants {
		out = append(out, g.Path+" "+g.Privilege)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestNeeded(t *testing.T) {
	common := []string{
		"/ Sys.Audit", "/nodes/pve1 Sys.Audit",
		"/sdn/zones/dr/vnet1 SDN.Use", "/sdn/zones/localnetwork/vmbr1 SDN.Use", "/sdn/zones/localnetwork/vmbr9/120 SDN.Use",
		"/storage/local-zfs Datastore.AllocateSpace", "/storage/local-zfs Datastore.Audit",
		"/storage/pbs-quai Datastore.AllocateSpace", "/storage/pbs-quai Datastore.Audit",
		"/vms VM.Allocate", "/vms VM.Audit", "/vms VM.Backup",
		"/vms VM.Config.Network", "/vms VM.Config.Options", "/vms VM.PowerMgmt",
	}
	for version, agent := range map[string]string{"8.4.1": "/vms VM.Monitor", "9.2": "/vms VM.GuestAgent.Audit", "10.0.3": "/vms VM.GuestAgent.Audit"} {
		release, err := privileges.ParseRelease(version)
		if err != nil {
			t.Fatal(err)
		}
		want := append([]string{agent}, common...)
		slices.Sort(want)
		if d := cmp.Diff(want, flat(privileges.Needed(release, host))); d != "" {
			t.Errorf("%s (-want +got):\n%s", version, d)
		}
	}
	for _, bad := range []string{"", "7.4", "x", "-9", "v9.2"} {
		if got, err := privileges.ParseRelease(bad); err == nil {
			t.Errorf("ParseRelease(%q) = %d, want an error", bad, got)
		}
	}
}

// TestWithoutBackupsNothingOfThem: without PBS entries nothing of them is asked for.
func TestWithoutBackupsNothingOfThem(t *testing.T) {
	for _, g := range privileges.Needed(9, privileges.Paths{Node: "n"}) {
		if g.Job == privileges.Backups || g.Job == privileges.Network || g.Job == privileges.Disks {
			t.Errorf("got %+v without storages and networks", g)
		}
	}
}

func TestNeededPBS(t *testing.T) {
	got := flat(privileges.NeededPBS(privileges.StorePaths{Datastore: "d", Namespaces: []string{"quai", "a/b"}, Remotes: []privileges.Remote{{"quai", "backups"}}}))
	want := []string{
		"/datastore/d Datastore.Audit", "/datastore/d/a/b Datastore.Audit", "/datastore/d/a/b Datastore.Backup", "/datastore/d/a/b Datastore.Verify",
		"/datastore/d/quai Datastore.Audit", "/datastore/d/quai Datastore.Backup", "/datastore/d/quai Datastore.Verify",
		"/remote/quai Remote.Audit", "/remote/quai/backups Remote.Read",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got = flat(privileges.NeededPBS(privileges.StorePaths{Datastore: "d"}))
	if d := cmp.Diff([]string{"/datastore/d Datastore.Audit", "/datastore/d Datastore.Backup", "/datastore/d Datastore.Verify"}, got); d != "" {
		t.Errorf("root namespace (-want +got):\n%s", d)
	}
}

func TestEveryGrantHasJobAndSource(t *testing.T) {
	all := append(privileges.Needed(8, host), privileges.NeededPBS(privileges.StorePaths{Datastore: "d", Remotes: []privileges.Remote{{"r", "s"}}})...)
	for _, g := range all {
		if g.Job == "" || g.Source == "" || !strings.HasPrefix(g.Path, "/") || !strings.Contains(g.Privilege, ".") {
			t.Errorf("incomplete: %+v", g)
		}
	}
}

func TestMissing(t *testing.T) {
	need := []privileges.Grant{{Job: privileges.Restore, Privilege: "VM.Allocate", Path: "/vms/9001"}}
	for _, c := range []struct {
		name string
		have proxmox.Permissions
		want bool
	}{
		{"nothing", nil, true},
		{"on the path", proxmox.Permissions{"/vms/9001": {"VM.Allocate": true}}, false},
		{"on the path, for it alone", proxmox.Permissions{"/vms/9001": {"VM.Allocate": false}}, false},
		{"inherited", proxmox.Permissions{"/vms": {"VM.Allocate": true}}, false},
		{"inherited from the root", proxmox.Permissions{"/": {"VM.Allocate": true}}, false},
		{"does not propagate", proxmox.Permissions{"/vms": {"VM.Allocate": false}}, true},
		{"replaced by a deeper path", proxmox.Permissions{"/vms": {"VM.Allocate": true}, "/vms/9001": {"VM.Audit": true}}, true},
		{"taken away on the path", proxmox.Permissions{"/vms": {"VM.Allocate": true}, "/vms/9001": {}}, true},
		{"replaced on the way", proxmox.Permissions{"/": {"VM.Allocate": true}, "/vms": {"VM.Audit": true}}, true},
		{"another privilege", proxmox.Permissions{"/vms/9001": {"VM.Audit": true}}, true},
		{"a neighbour", proxmox.Permissions{"/vms/900": {"VM.Allocate": true}}, true},
	} {
		if got := privileges.Missing(c.have, need); (len(got) == 1) != c.want {
			t.Errorf("%s: missing %v, want missing: %v", c.name, got, c.want)
		}
	}
}

// TestEachPrivilegeTakenAwayIsNamed: with all of them nothing is missing, and
// without one, it.
func TestEachPrivilegeTakenAwayIsNamed(t *testing.T) {
	for _, release := range []privileges.Release{8, 9} {
		need := privileges.Needed(release, host)
		for _, gone := range append(need, privileges.Grant{}) {
			have := proxmox.Permissions{}
			var want []privileges.Grant
			for _, g := range need {
				if have[g.Path] == nil {
					have[g.Path] = map[string]bool{}
				}
				if g.Path == gone.Path && g.Privilege == gone.Privilege {
					want = append(want, g)
				} else {
					have[g.Path][g.Privilege] = true
				}
			}
			if d := cmp.Diff(want, privileges.Missing(have, need)); d != "" {
				t.Errorf("release %d without %s on %s (-want +got):\n%s", release, gone.Privilege, gone.Path, d)
			}
		}
	}
}
