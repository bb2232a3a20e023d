package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestFilesAreComparedWhereBothCanBeRead: what was sealed last, with the newest backup of the copy
// that goes on, at a site that has both; by the name that its own host has for them.
func TestFilesAreComparedWhereBothCanBeRead(t *testing.T) {
	p := apartPlay(t)
	if _, err := p.s.Compare(kept1, "", 0, ""); rejection(err) != failover.CodeNothing {
		t.Errorf("nothing is sealed: %v, want %s", err, failover.CodeNothing)
	}
	p, _, away := settledPlay(t, failover.KeepHome)
	if _, err := p.s.Compare(kept1, "", 0, "temoin"); rejection(err) != failover.CodeNoPair {
		t.Errorf("at a site without the seal: %v, want %s", err, failover.CodeNoPair)
	}
	if _, err := p.s.Compare(kept1, "pve-moulin", 1, ""); rejection(err) != failover.CodeNothing {
		t.Errorf("of a copy that is not sealed: %v, want %s", err, failover.CodeNothing)
	}
	seal := p.s.SealOf(kept1, away)
	pair, err := p.s.Compare(kept1, away.Host, away.VMID, "")
	if err != nil || pair.Copy.VMID != away.VMID || !pair.Sealed.Time.Equal(seal.Copies[0].Point.Time) || pair.Running.Volid == "" || pair.Running.Unusable != "" {
		t.Fatalf("pair %+v, %v", pair, err)
	}
	target, _, _ := p.s.Network.Target(pair.Site)
	if pair.Host != target || pair.Sealed.Storage != p.s.Network.Sites[pair.Site].Hosts[target].Lineages["moulin"].Sealed {
		t.Errorf("read as %s on %s, want the entry for sealed branches of %s", pair.Sealed.Storage, pair.Host, target)
	}
	if _, err := p.s.Compare("nobody", "", 0, ""); rejection(err) != failover.CodeUnknownGuest {
		t.Errorf("of nobody: %v, want %s", err, failover.CodeUnknownGuest)
	}
}
