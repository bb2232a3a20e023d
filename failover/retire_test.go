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
	p.loses()
	return p
}

// loses has moulin lost, and only what lives at quai declared of it.
func (p *play) loses() {
	p.t.Helper()
	p.redeclare(func(s *network.Spec) {
		for id, g := range s.Guests {
			if s.SiteOf(g.Host) == "moulin" && id != kept1 && id != kept2 {
				delete(s.Guests, id)
			}
		}
	})
	p.dark(10*time.Minute, "moulin")
	p.settle()
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

// TestRetiringTellsWhatWasNotTakenAlong: a guest came home and was failed over from a backup that
// is older than its coming home: what it wrote at home since is lost with the site.
func TestRetiringTellsWhatWasNotTakenAlong(t *testing.T) {
	p := gonePlay(t)
	now, _ := p.s.LineageNow(kept1)
	away := failover.Lineage{
		Guest: kept1, Home: "moulin", Epoch: failover.Epoch{Generation: 1, Index: now.Epoch.Index - 2}, Site: "fabrique", Host: "raoull-fabrique", VMID: 9201, Of: now.Of, Moved: true,
	}
	home := p.s.Lineages[now.Of]
	home.Moved, home.To = true, away.From // by plan, all of it
	back := failover.Lineage{
		Guest: kept1, Home: "moulin", Epoch: failover.Epoch{Generation: 1, Index: now.Epoch.Index - 1}, Site: "moulin", Host: "pve-moulin", VMID: 1500, Of: away.ID(), Base: now.Base,
	}
	now.Of = away.ID() // not from a backup of the copy that was at home
	for _, l := range []failover.Lineage{now, home, away, back} {
		p.s.Lineages[l.ID()] = l
	}
	_, told, err := p.s.Retired("moulin")
	if err != nil || told[1].Whole || told[1].From.Volid != now.Base.Volid {
		t.Errorf("told %+v, %v; want that it has all until its backup, and no more", told, err)
	}
}

// TestRetiringTellsTheFirstLoss: a guest was rescued beside its home and failed over from there.
// With the site go the writes since the backup of the rescue, not only those since the last one.
func TestRetiringTellsTheFirstLoss(t *testing.T) {
	sealed := func(site failover.SiteID) *failover.Seal {
		return &failover.Seal{Copies: []failover.SealCopy{{Site: "moulin"}, {Site: site}}}
	}
	for name, tt := range map[string]struct {
		edit func(home, rescued *failover.Lineage)
		last bool // told is the backup of the failover
		all  bool
	}{
		"both stay behind":         {func(_, _ *failover.Lineage) {}, false, false},
		"the first is sealed":      {func(home, _ *failover.Lineage) { home.Sealed = sealed("quai") }, true, false},
		"sealed at the site alone": {func(home, _ *failover.Lineage) { home.Sealed = sealed("moulin") }, false, false},
		"then moved by plan":       {func(_, rescued *failover.Lineage) { rescued.Moved = true }, false, false},
		"all moved by plan":        {func(home, rescued *failover.Lineage) { home.Moved, rescued.Moved = true, true }, true, true},
	} {
		p := gonePlay(t)
		now, _ := p.s.LineageNow(kept1)
		home := p.s.Lineages[now.Of]
		rescued := failover.Lineage{
			Guest: kept1, Home: "moulin", Epoch: failover.Epoch{Generation: 1, Index: now.Epoch.Index - 1}, Site: "moulin", Host: "raoull-moulin", VMID: 9101,
			Of: now.Of, Base: failover.RestorePoint{Volid: "rescue", Time: now.Base.Time.Add(-time.Hour)}, From: home.To, To: now.From,
		}
		tt.edit(&home, &rescued)
		now.Of = rescued.ID()
		for _, l := range []failover.Lineage{now, home, rescued} {
			p.s.Lineages[l.ID()] = l
		}
		_, told, err := p.s.Retired("moulin")
		if err != nil || told[1].Guest != kept1 {
			t.Fatalf("%s: %+v, %v", name, told, err)
		}
		if got := told[1]; (got.From.Volid == now.Base.Volid) != tt.last || got.Whole != tt.all {
			t.Errorf("%s: told that it has all until %q, whole %t; want the last backup %t, whole %t", name, got.From.Volid, got.Whole, tt.last, tt.all)
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

// TestRetiringTellsOfWhatWasStartedSinceItsSeal: what somebody has written to a sealed copy since he started it is lost with its site.
func TestRetiringTellsOfWhatWasStartedSinceItsSeal(t *testing.T) {
	p := apartPlay(t)
	p.leftOff = true
	op := p.failback(failover.KeepAway, kept1, kept2)
	p.done(kept1, failover.StepReady)
	p.done(kept2, failover.StepReady)
	p.must(failover.CancelOp{Op: op, Reason: failover.Reason{Code: failover.CodeBack}})
	sealed := p.s.SealOf(kept1, p.s.HomePlace(kept1))
	p.loses()
	for _, runs := range []bool{false, true} {
		copies := p.s.CopiesAt("moulin")
		for i := range copies {
			copies[i].Running = runs && copies[i].Guest == kept1
		}
		p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: copies, AsOf: p.s.Index}})
		_, told, err := p.s.Retired("moulin")
		if err != nil || len(told) != 2 {
			t.Fatalf("told %+v, %v", told, err)
		}
		for _, one := range told {
			switch {
			case one.Guest == kept2 && !one.Whole || one.Guest == kept1 && one.Whole == runs:
				t.Errorf("seen to run %t: %s is whole: %t", runs, one.Guest, one.Whole)
			case one.Guest == kept1 && runs && !one.From.Time.Equal(sealed.Copies[0].Point.Time):
				t.Errorf("it goes on from %s, want from its seal of %s", one.From.Time, sealed.Copies[0].Point.Time)
			}
		}
	}
}
