package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func forking(at failover.Place) failover.ForkCopy {
	return failover.ForkCopy{Guest: kept1, Host: at.Host, VMID: at.VMID}
}

// TestForkMakesACopyAGuestOfItsOwn: it can be declared under another name then, and not before.
func TestForkMakesACopyAGuestOfItsOwn(t *testing.T) {
	p, parked, _ := settledPlay(t, failover.KeepAway)
	declare := func() error {
		spec := *p.s.Network
		guests := map[failover.GuestID]network.Guest{"nextcloud-2": {ID: parked.VMID, Type: network.VM, Structure: "le-moulin", Host: parked.Host, Priority: 1}}
		for id, g := range spec.Guests {
			guests[id] = g
		}
		spec.Guests = guests
		return p.apply(failover.ApplyNetwork{Spec: &spec, IfVersion: p.s.NetworkVersion})
	}
	if err := declare(); rejection(err) != failover.CodeForkFirst {
		t.Fatalf("declared while it is the copy that was left: %v, want %s", err, failover.CodeForkFirst)
	}
	p.must(forking(parked))
	op := p.newest()
	if !p.runs(kept1, "moulin") {
		t.Fatal("the fork is not to do at moulin")
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op.ID})
	for _, c := range p.s.LeftCopies(kept1, p.now) {
		if c.Host == parked.Host {
			t.Errorf("still a copy that was left: %+v", c)
		}
	}
	if err := p.apply(removal(parked)); rejection(err) != failover.CodeNothing {
		t.Errorf("removed after it was forked: %v, want %s", err, failover.CodeNothing)
	}
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	if at := p.s.Guests["nextcloud-2"]; at.VMID != parked.VMID || at.Phase != failover.PhaseHome {
		t.Errorf("placement %+v, want a guest at home as %d", at, parked.VMID)
	}
}

// TestForkInPlaceOfASeal: of a guest that lives away its copy at home goes on as another
// guest; then nothing is left there that a failback would have to seal.
func TestForkInPlaceOfASeal(t *testing.T) {
	p := apartPlay(t)
	home := p.s.HomePlace(kept1)
	see := func(running bool) {
		copies := p.s.CopiesAt("moulin")
		for i := range copies {
			copies[i].Running = running
		}
		p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index, Copies: copies}})
	}
	see(true)
	if err := p.apply(forking(home)); rejection(err) != failover.CodeForkRuns {
		t.Errorf("while it runs: %v, want %s", err, failover.CodeForkRuns)
	}
	if err := p.apply(forking(p.s.Guests[kept1].Now())); rejection(err) != failover.CodeNothing {
		t.Errorf("of the copy that counts: %v, want %s", err, failover.CodeNothing)
	}
	see(false)
	p.must(forking(home))
	op := p.newest()
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op.ID})
	if branch, left := p.s.HomeBranch(kept1); left {
		t.Fatalf("%+v is still its branch at home", branch)
	}
	back := p.failback(failover.KeepAway, kept1)
	if got := p.steps(back, kept1)[0]; got != failover.StepReady {
		t.Errorf("begins with %s, want %s", got, failover.StepReady)
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: back})
	if now := p.s.Guests[kept1]; now.VMID == home.VMID || p.s.Network.Guests[kept1].ID == home.VMID {
		t.Errorf("came home as %d, the id of the guest that was forked", now.VMID)
	}
}

// TestForkYieldsToAMove: a token of before is refused then.
func TestForkYieldsToAMove(t *testing.T) {
	p := apartPlay(t)
	p.leftOff = true
	p.must(forking(p.s.HomePlace(kept1)))
	op := p.newest()
	token := op.TokenOf(kept1)
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.TokenCurrent(token); err != nil {
		t.Fatalf("the leader does not confirm: %v", err)
	}
	p.failback(failover.KeepHome, kept1)
	if p.s.TokenCurrent(token) == nil {
		t.Error("the copy that is to serve again may be forked")
	}
}
