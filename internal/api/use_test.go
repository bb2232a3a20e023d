package api_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestCopyUses: both copies of a guest that lives away are asked about, each since it has data of its own; one whose site does
// not answer is told with why.
func TestCopyUses(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b, Browser: fakeBrowser{}})
	got, err := c.CopyUses(t.Context(), "nuage", "")
	if err != nil || len(got.Copies) != 2 {
		t.Fatalf("CopyUses: %+v, %v", got, err)
	}
	away, home := got.Copies[0], got.Copies[1]
	p := b.State().Guests["nuage"]
	if !away.Serves || away.Site != "quai" || away.VMID != p.VMID || away.Unread != "no answer" || !away.Since.Equal(p.Owned) {
		t.Errorf("the copy that serves: %+v", away)
	}
	if home.Serves || home.Site != "moulin" || home.Received != 1<<20 || home.Written != 7<<20 || !home.Since.Equal(p.Point.Time) {
		t.Errorf("the copy at home: %+v, want since the backup that the other one began with", home)
	}
	if got, err := c.CopyUses(t.Context(), "nuage", "moulin"); err != nil || len(got.Copies) != 1 || got.Copies[0].Site != "moulin" {
		t.Errorf("at moulin only: %+v, %v", got, err)
	}
	if _, err := c.CopyUses(t.Context(), "nobody", ""); err == nil {
		t.Error("a guest that is not known has copies")
	}
	back, err := apitest.BackHome(failover.KeepAway)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := serve(t, &root, api.Options{Backend: back, Browser: fakeBrowser{}}).CopyUses(t.Context(), "nuage", ""); err != nil || len(got.Copies) != 0 {
		t.Errorf("a guest at home: %+v, %v", got, err)
	}
}
