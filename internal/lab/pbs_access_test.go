package lab_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// TestPBSHoldsTokensAgainstTheirRights: a right on the namespace, or a lesser
// one as the owner; a deeper path replaces what is above it.
func TestPBSHoldsTokensAgainstTheirRights(t *testing.T) {
	acl := map[string]map[string][]string{}
	w := newWorld(t, func(_ *lab.PVEConfig, b *lab.PBSConfig) { b.ACL = acl })
	w.backup(100)
	_, pbs := clients(t, node, lab.InProcess(w.pve), lab.InProcess(w.pbs))
	ctx := t.Context()
	snap := proxmox.Snapshot{}
	if all, err := pbs.Snapshots(ctx, "moulin", "", 0); err != nil || len(all) != 1 {
		t.Fatalf("Snapshots = %v, %v", all, err)
	} else {
		snap = all[0]
	}
	owner := snap.Owner == pbsToken
	const ns = "/datastore/backups/moulin"
	for _, tt := range []struct {
		name                  string
		rights                map[string][]string
		list, protect, verify bool
		seen                  int
	}{
		{"none", map[string][]string{}, false, false, false, 0},
		{"audit", map[string][]string{"/datastore": {"Datastore.Audit"}}, true, false, false, 1},
		{"audit, hidden by a deeper path", map[string][]string{"/datastore": {"Datastore.Audit"}, ns: {}}, false, false, false, 0},
		{"verify", map[string][]string{ns: {"Datastore.Verify"}}, false, false, true, 0},
		{"modify", map[string][]string{ns: {"Datastore.Modify"}}, false, true, false, 0},
		{"backup", map[string][]string{ns: {"Datastore.Backup"}}, true, owner, owner, map[bool]int{true: 1}[owner]},
	} {
		acl[pbsToken] = tt.rights
		all, err := pbs.Snapshots(ctx, "moulin", "", 0)
		if (err == nil) != tt.list || len(all) != tt.seen {
			t.Errorf("%s: list %d, %v, want %v and %d", tt.name, len(all), err, tt.list, tt.seen)
		}
		if err := pbs.Protect(ctx, snap); (err == nil) != tt.protect {
			t.Errorf("%s: Protect: %v, want allowed: %v", tt.name, err, tt.protect)
		}
		if _, err := pbs.Verify(ctx, snap); (err == nil) != tt.verify {
			t.Errorf("%s: Verify: %v, want allowed: %v", tt.name, err, tt.verify)
		}
		want := map[string]bool{}
		if have := tt.rights[ns]; len(have) > 0 {
			want[have[0]] = true
		} else if _, replaced := tt.rights[ns]; !replaced && len(tt.rights) > 0 {
			want["Datastore.Audit"] = true
		}
		got, err := pbs.Permissions(ctx, ns)
		if d := cmp.Diff(want, got[ns], cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Errorf("%s: Permissions: %v (-want +got):\n%s", tt.name, err, d)
		}
	}
	acl[pbsToken] = map[string][]string{"/datastore": {"Datastore.Audit"}}
	if jobs, err := pbs.SyncJobs(ctx); err != nil || len(jobs) != 0 {
		t.Errorf("jobs without Remote.Audit: %v, %v, want none and no error", jobs, err)
	}
	acl[pbsToken]["/remote"] = []string{"Remote.Audit"}
	if jobs, err := pbs.SyncJobs(ctx); err != nil || len(jobs) == 0 {
		t.Errorf("jobs with Remote.Audit: %v, %v, want some", jobs, err)
	}
}

// TestBridgesAreShownByAnyOfTheirVLANs: a right on one tag shows the bridge.
func TestBridgesAreShownByAnyOfTheirVLANs(t *testing.T) {
	acl := map[string]map[string][]string{pveToken: {}}
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.ACL = acl })
	for path, want := range map[string]bool{"/sdn/zones/localnetwork/vmbr0/120": true, "/sdn/zones/localnetwork/vmbr0": true, "/sdn/zones/localnetwork/vmbr01": false, "/vms": false} {
		acl[pveToken] = map[string][]string{path: {"SDN.Use"}}
		rows, ok := w.call("GET", "/nodes/"+node+"/network", url.Values{"type": {"any_bridge"}}).([]any)
		if !ok || (len(rows) == 1) != want {
			t.Errorf("with SDN.Use on %s: %v, want vmbr0 shown: %v", path, rows, want)
		}
	}
}
