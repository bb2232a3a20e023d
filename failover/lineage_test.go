package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const lineageGuest = failover.GuestID("nextcloud-moulin")

// lineagePlay is movePlay with the entries for later lineages declared at quai.
func lineagePlay(t *testing.T) *play {
	t.Helper()
	p := movePlay(t)
	p.redeclare(func(spec *network.Spec) {
		g := spec.Guests[lineageGuest]
		g.Type = network.VM
		spec.Guests[lineageGuest] = g
		h := spec.Sites["quai"].Hosts["raoull-quai"]
		h.Lineages = map[network.SiteID]network.LineageStorages{"moulin": {Away: "pbs-away-moulin", Sealed: "pbs-sealed-moulin"}}
		spec.Sites["quai"].Hosts["raoull-quai"] = h
	})
	return p
}

// tell has quai report what it has, changed by edit.
func (p *play) tell(edit func(*failover.Readiness)) {
	p.t.Helper()
	r := p.s.Readiness["quai"].Ready
	r.AsOf, r.UsedIDs, r.Kept = p.s.Index, nil, nil
	edit(&r)
	p.must(failover.ReportReadiness{Ready: r})
}

func kept(read bool, ids ...int) func(*failover.Readiness) {
	return func(r *failover.Readiness) {
		r.Kept = map[failover.SiteID]failover.Kept{"moulin": {IDs: ids, Read: read}}
	}
}

// TestOwnershipBeginsALineage: the copy at home and the one elsewhere have backups in
// different groups, and State says where.
func TestOwnershipBeginsALineage(t *testing.T) {
	p := lineagePlay(t)
	p.move(lineageGuest)
	p.done(lineageGuest, failover.StepStart)
	placed := p.s.Guests[lineageGuest]
	all := p.s.LineagesOf(lineageGuest)
	if len(all) != 2 {
		t.Fatalf("%d lineages, want that of home and that of quai: %+v", len(all), all)
	}
	home, away := all[0], all[1]
	if home.Site != "moulin" || home.Group != "vm/1101" || home.To.Index != placed.Epoch.Index || home.From.Index != 0 {
		t.Errorf("at home: %+v, want vm/1101 until the entry that moved it", home)
	}
	if away.Site != "quai" || away.VMID != placed.VMID || away.Namespace != "away/moulin" || away.Storage != "pbs-away-moulin" || away.To.Index != 0 {
		t.Errorf("away: %+v, want an open one of %d in away/moulin", away, placed.VMID)
	}
	if away.Of != failover.LineageOf(lineageGuest, failover.Placement{Host: "pve-moulin", VMID: 1101}) || away.Base.Volid != placed.Point.Volid {
		t.Errorf("it comes from %s of %s, want %s of the copy at home", away.Base.Volid, away.Of, placed.Point.Volid)
	}
}

// TestLineagesKeepTheirIDs: an id of which a backup is kept is given to nobody.
func TestLineagesKeepTheirIDs(t *testing.T) {
	p := lineagePlay(t)
	first := p.s.Cursors["quai"] + 1
	if first == 1 {
		first = 90000
	}
	p.tell(kept(true, first, first+1))
	p.move(lineageGuest)
	if got := p.opOf(lineageGuest).Guests[lineageGuest].VMID; got != first+2 {
		t.Errorf("the copy has the id %d, want %d: of the two before it backups are kept", got, first+2)
	}
}

// TestLineagesAreForgottenWhenNothingIsLeft: and not before it is known that nothing is.
func TestLineagesAreForgottenWhenNothingIsLeft(t *testing.T) {
	p := lineagePlay(t)
	p.move(lineageGuest)
	p.done(lineageGuest, failover.StepRelease)
	p.done(lineageGuest, "")
	old := p.s.Guests[lineageGuest]
	p.settle()
	a := p.s.Ops[p.newest().ID].Guests[lineageGuest].Assignment
	a.Target, a.Host, a.Point = "fabrique", "raoull-fabrique", p.s.Readiness["fabrique"].Ready.Points[lineageGuest][0]
	plan := failover.Plan{Loss: failover.Loss{Site: "quai", ByHand: true}, Assignments: []failover.Assignment{a}}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Plan: plan, Forced: true})
	stale := p.s.Index
	p.done(lineageGuest, failover.StepStart)
	id := failover.LineageOf(lineageGuest, old)
	if p.s.Lineages[id].To.Index == 0 {
		t.Fatalf("%s is open although the guest is at fabrique: %+v", id, p.s.Lineages[id])
	}
	for _, tt := range []struct {
		name string
		edit func(*failover.Readiness)
	}{
		{"its copy is there", func(r *failover.Readiness) { kept(true)(r); r.UsedIDs = []int{old.VMID} }},
		{"a backup is kept", kept(true, old.VMID)},
		{"not all was read", kept(false)},
		{"nothing was read", func(*failover.Readiness) {}},
		{"read before it ended", func(r *failover.Readiness) { kept(true)(r); r.AsOf = stale }},
	} {
		p.tell(tt.edit)
		if _, ok := p.s.Lineages[id]; !ok {
			t.Fatalf("%s: it was forgotten", tt.name)
		}
	}
	p.tell(kept(true))
	if l, ok := p.s.Lineages[id]; ok {
		t.Errorf("nothing is left of %+v, and it was not forgotten", l)
	}
}

// TestNeverCounted: a copy that was, or is, the one of its guest that counts is not for a
// clean-up to delete, whatever run has its id.
func TestNeverCounted(t *testing.T) {
	p := lineagePlay(t)
	op := p.move(lineageGuest).ID
	token := func() failover.Token { return p.s.Ops[op].TokenOf(lineageGuest) }
	if err := p.s.NeverCounted(token()); err != nil {
		t.Fatalf("a fresh copy: %v, want none", err)
	}
	p.done(lineageGuest, failover.StepStart)
	if err := p.s.NeverCounted(token()); rejection(err) != failover.CodeWrongPhase {
		t.Errorf("an owned copy: %v, want %s", err, failover.CodeWrongPhase)
	}
	for _, tt := range []struct {
		name string
		edit func(s *failover.State, run failover.GuestRun)
	}{
		{"it is where another guest lives", func(s *failover.State, run failover.GuestRun) {
			s.Guests["erp-quai"] = failover.Placement{Owner: "quai", Host: run.Assignment.Host, VMID: run.VMID}
		}},
		{"it once was where a guest lived", func(s *failover.State, run failover.GuestRun) {
			s.Lineages["x@1-1"] = failover.Lineage{Guest: "x", Site: "quai", Host: run.Assignment.Host, VMID: run.VMID}
		}},
	} {
		p := lineagePlay(t)
		op := p.move(lineageGuest)
		tt.edit(p.s, op.Guests[lineageGuest])
		if err := p.s.NeverCounted(p.s.Ops[op.ID].TokenOf(lineageGuest)); rejection(err) != failover.CodeWrongPhase {
			t.Errorf("%s: %v, want %s", tt.name, err, failover.CodeWrongPhase)
		}
	}
}
