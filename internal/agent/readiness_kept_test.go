package agent_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestReadinessTellsWhichIDsAreKept: by the away and the sealed namespace. What cannot be
// read leaves what was known, and says so.
func TestReadinessTellsWhichIDsAreKept(t *testing.T) {
	r := newRigOf(t, "9.2.1", encrypted, func(c *lab.PVEConfig) {
		for id, ns := range map[string]string{"pbs-away": "away/moulin", "pbs-sealed": "sealed/moulin"} {
			e := c.Storages[1]
			e.ID, e.Namespace = id, ns
			c.Storages = append(c.Storages, e)
		}
	})
	r.must(failover.Bootstrap{Generation: 1})
	s := spec()
	h := s.Sites[away].Hosts["pve-quai"]
	h.Lineages = map[network.SiteID]network.LineageStorages{home: {Away: "pbs-away", Sealed: "pbs-sealed"}}
	s.Sites[away].Hosts["pve-quai"] = h
	r.must(failover.ApplyNetwork{Spec: s})
	line := func(id int, storage string) {
		t.Helper()
		err := r.pve.AddGuest(lab.GuestSpec{ID: id, Kind: "ct", Name: "old", DiskSize: 1 << 18}, nil)
		if err == nil {
			err = r.pve.Backup(id, storage, r.now)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	told := func() failover.Kept { return r.log.state.Readiness[away].Ready.Kept[home] }
	line(90007, "pbs-sealed")
	line(90003, "pbs-away")
	line(1103, "pbs-sealed") // an id of home's: no copy here can get it
	reader := r.readiness()
	r.pass(reader, 40*time.Second)
	if got := told(); !got.Read || !slices.Equal(got.IDs, []int{90003, 90007}) {
		t.Fatalf("kept %+v, want 90003 and 90007, read", got)
	}
	r.storeACL[token] = map[string][]string{"/datastore/backups/moulin": {"Datastore.Audit"}, "/datastore/backups/away": {"Datastore.Audit"}}
	line(90005, "pbs-away")
	r.pass(reader, 40*time.Second)
	if got := told(); got.Read || !slices.Equal(got.IDs, []int{90003, 90005, 90007}) {
		t.Errorf("kept %+v, want what was known and 90005, not all read", got)
	}
	if points := r.log.state.Readiness[away].Ready.Points[guest]; len(points) != 1 {
		t.Errorf("%d points of %s, want one: what can be restored does not wait for it", len(points), guest)
	}
}
