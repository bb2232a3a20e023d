package agent_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// least gives the rig's token on both machines what the tables of
// internal/privileges say and nothing else, but for what is gone.
func (r *rig) least(version string, gone right) (node, store []right) {
	r.t.Helper()
	s := spec()
	_, host, _ := s.Target(away)
	grants, err := doctor.Grants(s, away, version)
	if err != nil {
		r.t.Fatal(err)
	}
	facts := doctor.Facts{
		Store:   doctor.StoreFacts{Datastore: "backups"},
		Entries: map[string]doctor.Entry{"pbs-moulin": {ID: "pbs-moulin", Type: "pbs", Datastore: "backups", Namespace: "moulin"}},
	}
	node, store = rights(grants), rights(doctor.StoreGrants(host, facts))
	r.acl[token], r.storeACL[token] = acl(node, gone), acl(store, gone)
	return node, store
}

// refused counts the calls that were answered with 403.
func (r *rig) refused() (paths []string) {
	for _, q := range r.requests {
		if q.status == 403 {
			paths = append(paths, q.method+" "+q.path)
		}
	}
	return paths
}

// TestLeastPrivilegesAreEnough: with exactly the rights of the table a guest is
// read ahead, restored, started, checked, served and released. The simulator's
// agents have no other rights either.
func TestLeastPrivilegesAreEnough(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			r := newRigOf(t, version)
			r.least(version, right{})
			r.begin()
			r.until("nothing left")
			if got := r.refused(); len(got) > 0 {
				t.Errorf("refused: %q", got)
			}
			if g, ok := r.pve.Guest(vmid); !ok || !g.Serving {
				t.Error("the guest does not serve")
			}
			if n := len(r.pbs.Snapshots("moulin")); n != 1 || r.pbs.Snapshots("moulin")[0].Protected {
				t.Errorf("%d snapshots, protected: %v, want one that is released", n, r.pbs.Snapshots("moulin"))
			}
		})
		t.Run(version+" readiness", func(t *testing.T) {
			r := newRigOf(t, version)
			r.least(version, right{})
			r.must(failover.Bootstrap{Generation: 1})
			r.must(failover.ApplyNetwork{Spec: spec()})
			r.pass(r.readiness(), 5*time.Second)
			if got := r.refused(); len(got) > 0 {
				t.Errorf("refused: %q", got)
			}
			if ready := r.log.state.Readiness[away].Ready; len(ready.Points[guest]) != 1 || ready.Points[guest][0].Unusable != "" || ready.StorageFree == 0 {
				t.Errorf("readiness %+v, want one usable point and the room", ready)
			}
		})
	}
}

// TestNoPrivilegeIsSuperfluous: without any one of them a failover or the
// reading ahead is refused something. Those that only show things, and that of
// the verification, are listed.
func TestNoPrivilegeIsSuperfluous(t *testing.T) {
	shows := []right{
		{"/", "Sys.Audit"}, // HA resources, for doctor
		{"/storage/local-zfs", "Datastore.Audit"},
		{"/storage/pbs-moulin", "Datastore.Audit"}, // AllocateSpace shows them, too
		{"/datastore/backups", "Datastore.Audit"},
		{"/datastore/backups/moulin", "Datastore.Audit"},  // without it a token sees its own groups only
		{"/datastore/backups/moulin", "Datastore.Verify"}, // of the chosen points, which the owner may, too
	}
	for _, version := range releases {
		all := newRigOf(t, version)
		node, store := all.least(version, right{})
		for _, gone := range append(node, store...) {
			r := newRigOf(t, version)
			r.least(version, gone)
			r.begin()
			for range 200 {
				if r.status() == "nothing left" || len(r.refused()) > 0 {
					break
				}
				r.step()
			}
			r.pass(r.readiness(), 5*time.Second)
			if refused := len(r.refused()) > 0; refused == slices.Contains(shows, gone) {
				t.Errorf("%s without %v: refused %q, status %s", version, gone, r.refused(), r.status())
			}
		}
	}
}
