package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// gonePlay is apartPlay with moulin lost, and only what lives at quai declared of it.
func gonePlay(t *testing.T) *play {
	t.Helper()
	p := apartPlay(t)
	p.redeclare(func(s *network.Spec) {
		for id, g := range s.Guests {
			if s.SiteOf(g.Host) == "moulin" && id != kept1 && id != kept2 {
				delete(s.Guests, id)
			}
		}
	})
	p.dark(10*time.Minute, "moulin")
	p.settle()
	return p
}

// TestSiteIsRetired: where its guests live is their home, under the ids that they have there;
// nothing brings them back, and their agent goes on backing them up.
func TestSiteIsRetired(t *testing.T) {
	p := gonePlay(t)
	away, was := p.s.Guests[kept1].Now(), p.s.HomePlace(kept1)
	version := p.s.NetworkVersion
	if err := p.apply(failover.RetireSite{Site: "moulin", IfVersion: version - 1}); rejection(err) != failover.CodeStaleNetwork {
		t.Errorf("on another network: %v, want %s", err, failover.CodeStaleNetwork)
	}
	_, told, err := p.s.Retired("moulin")
	if err != nil || len(told) != 2 || told[1].Guest != kept1 || told[1].Whole || told[1].From.Time.IsZero() {
		t.Fatalf("told %+v, %v, want both guests and from which backup they began", told, err)
	}
	p.must(failover.RetireSite{Site: "moulin", IfVersion: version})
	g, now := p.s.Network.Guests[kept1], p.s.Guests[kept1]
	if p.s.Network.Home(kept1) != "quai" || g.Host != away.Host || g.ID != away.VMID || p.s.Network.Structures["le-moulin"].Home != "quai" {
		t.Errorf("declared %+v of %+v, want at home where it lives", g, p.s.Network.Structures["le-moulin"])
	}
	if now.Phase != failover.PhaseHome || now.Owner != "quai" || now.Epoch != away.Epoch || now.Serving != "quai" {
		t.Errorf("placement %+v, want at home at quai in the same epoch", now)
	}
	watched := false
	for _, c := range p.s.CopiesAt("moulin") {
		watched = watched || c.Guest == kept1 && c.VMID == was.VMID
	}
	if !watched {
		t.Error("the copy at moulin is forgotten: should the site come back, nobody would look at it")
	}
	p.now = p.now.Add(48 * time.Hour)
	if l, due, _ := p.s.AwayDue("quai", p.now); !due || l.Namespace != "away/moulin" {
		t.Errorf("due %t: %+v; want that its agent goes on backing it up", due, l)
	}
	for _, problem := range p.s.Network.Validate() {
		if problem.Severity == network.Error && problem.Code != "WWW-0105" { // the guests of these tests have no type
			t.Errorf("the network is not sound any more: %v", problem)
		}
	}
}

// TestSiteIsNotRetired: while it lives, or while something of it lives nowhere else.
func TestSiteIsNotRetired(t *testing.T) {
	p := apartPlay(t)
	if err := p.apply(failover.RetireSite{Site: "moulin", IfVersion: p.s.NetworkVersion}); rejection(err) != failover.CodeSiteStands {
		t.Errorf("while it lives: %v, want %s", err, failover.CodeSiteStands)
	}
	p.dark(10*time.Minute, "moulin")
	p.settle()
	if err := p.apply(failover.RetireSite{Site: "moulin", IfVersion: p.s.NetworkVersion}); rejection(err) != failover.CodeLivesThere && rejection(err) != failover.CodeGuestBusy {
		t.Errorf("with guests that live nowhere else: %v, want %s", err, failover.CodeLivesThere)
	}
	if err := p.apply(failover.RetireSite{Site: "nowhere", IfVersion: p.s.NetworkVersion}); rejection(err) != failover.CodeUnknownSite {
		t.Errorf("of no site: %v, want %s", err, failover.CodeUnknownSite)
	}
	p = gonePlay(t)
	at := p.s.Guests[kept2]
	at.Owner, at.Host, at.Serving = "fabrique", "raoull-fabrique", "fabrique"
	p.s.Guests[kept2], p.snapshot = at, ""
	if _, _, err := p.s.Retired("moulin"); rejection(err) != failover.CodeTwoHomes {
		t.Errorf("with a structure at two sites: %v, want %s", err, failover.CodeTwoHomes)
	}
}

// TestRetiringTellsWhatIsLost: a guest that has moved on since it left the site goes on with the
// backup with which it left, not with that of its newest move.
func TestRetiringTellsWhatIsLost(t *testing.T) {
	p := gonePlay(t)
	first, _ := p.s.LineageNow(kept1)
	at := p.s.Guests[kept1]
	next := first
	next.Of, next.Site, next.Host, next.VMID = first.ID(), "fabrique", "raoull-fabrique", 91001
	next.Epoch.Index, next.Base.Time = first.Epoch.Index+1, first.Base.Time.Add(time.Hour)
	at.Owner, at.Host, at.Serving, at.VMID, at.Epoch, at.Point = next.Site, next.Host, next.Site, next.VMID, next.Epoch, next.Base
	p.s.Lineages[next.ID()], p.s.Guests[kept1], p.snapshot = next, at, ""
	other := p.s.Guests[kept2]
	other.Owner, other.Host, other.Serving = next.Site, next.Host, next.Site
	p.s.Guests[kept2] = other
	_, told, err := p.s.Retired("moulin")
	if err != nil || len(told) != 2 || !told[1].From.Time.Equal(first.Base.Time) {
		t.Errorf("told %+v, %v; want that it left moulin with the backup of %s", told, err, first.Base.Time)
	}
}
