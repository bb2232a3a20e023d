package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// replacing begins a failback that gives the copy at home up, and goes on until that is to be
// done.
func replacing(t *testing.T) *backRig {
	t.Helper()
	b := newBackRig(t)
	loss := failover.Loss{Site: home, Guests: []failover.GuestID{guest}, Planned: true, ByHand: true, Keep: failover.KeepAway, Replace: []failover.GuestID{guest}}
	b.must(failover.BeginOp{Kind: failover.KindFailback, Plan: failover.PlanFor(b.log.state, loss, b.now), Forced: true})
	for range 1000 {
		if step, _, _ := b.run().Current(); step.ID == failover.StepReplace {
			return b
		}
		b.step()
	}
	t.Fatalf("stands at %s: %s", b.status(), b.note())
	return nil
}

// TestCopyOnAStructuresHostIsItsPeoplesToRemove: the failback waits for them while the guest
// serves where it lives, says so once, and goes on when the copy is gone.
func TestCopyOnAStructuresHostIsItsPeoplesToRemove(t *testing.T) {
	b := replacing(t)
	made := len(b.log.made)
	for i := range 400 {
		b.step()
		if step, _, _ := b.run().Current(); i == 100 { // what was told is lost
			op := b.log.state.Ops[b.op().ID]
			run := op.Guests[guest]
			run.Steps = slices.Clone(run.Steps)
			run.Steps[slices.IndexFunc(run.Steps, func(s failover.Step) bool { return s.ID == step.ID })].Note = ""
			op.Guests[guest] = run
		}
	}
	step, _, _ := b.run().Current()
	if step.ID != failover.StepReplace || step.Status != failover.StatusRunning || !strings.Contains(step.Note, "qm destroy 1101") || len(step.Note) > 299 {
		t.Fatalf("%s is %s, %q; want that it waits and says for what", step.ID, step.Status, step.Note)
	}
	if told := len(b.log.made) - made; told > 4 {
		t.Errorf("%d entries in the log while it waits", told)
	}
	if g, ok := b.homePVE.Guest(homeID); !ok || g.Running {
		t.Fatalf("the parked copy: there %t, running %t", ok, g.Running)
	}
	if g, _ := b.pve.Guest(awayID); !g.Running {
		t.Error("the copy that serves is off")
	}
	b.lab(b.homePVE.RemoveGuest(homeID, b.now))
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s; back %v", op.Phase, b.status(), b.note(), b.run().Back)
	}
	if back, ok := b.homePVE.Guest(backID); !ok || !back.Running {
		t.Errorf("at home: there %t, running %t", ok, back.Running)
	}
	b.sealedAt(homeID)
}

// TestNobodyMakesRoom: people who do not come within two hours find all as it was.
func TestNobodyMakesRoom(t *testing.T) {
	b := replacing(t)
	for range 20 {
		b.step()
	}
	b.now = b.now.Add(2*time.Hour + time.Minute)
	if op := b.ended(); op.Phase != failover.OpCancelled || !strings.Contains(b.run().Back.Args["note"], "still stands") {
		t.Fatalf("ended %s at %s: back %v", op.Phase, b.status(), b.run().Back)
	}
	for name, g := range map[string]func() (lab.GuestView, bool){
		"home": func() (lab.GuestView, bool) { return b.homePVE.Guest(homeID) }, "quai": func() (lab.GuestView, bool) { return b.pve.Guest(awayID) },
	} {
		if v, ok := g(); !ok || !v.Running {
			t.Errorf("the copy at %s: there %t, runs %t", name, ok, v.Running)
		}
	}
}

// TestCopyIsGivenUpOnARaoullHost: its agent deletes it, once, whatever restarts meanwhile;
// and not if somebody has started it since it was sealed.
func TestCopyIsGivenUpOnARaoullHost(t *testing.T) {
	ours := func(b *backRig) {
		own := b.log.state.Network.Sites[home].Hosts["pve-moulin"]
		own.Owner, own.PBS = network.OwnerRaoull, &network.PBS{URL: "https://10.10.1.20:8007", Datastore: "backups"}
		b.log.state.Network.Sites[home].Hosts["pve-moulin"] = own
		b.there.PVE = b.there.Hands["pve-moulin"].PVE
	}
	for after := 0; after < 24; after += 3 {
		b := replacing(t)
		ours(b)
		for range after {
			b.step()
		}
		at := b.status()
		b.restart()
		ours(b)
		if op := b.ended(); op.Phase != failover.OpDone {
			t.Fatalf("restart at %q: ended %s: %s; back %v", at, op.Phase, b.note(), b.run().Back)
		}
		if _, left := b.homePVE.Guest(homeID); left || b.count("DELETE", "/qemu/1101") > 1 {
			t.Errorf("restart at %q: the copy is left %t, after %d deletions", at, left, b.count("DELETE", "/qemu/1101"))
		}
		if b.sealedAt(homeID); t.Failed() {
			return
		}
	}
	b := replacing(t)
	ours(b)
	b.lab(b.homePVE.StartGuest(homeID, b.now))
	b.lab(b.homePVE.StopGuest(homeID, b.now))
	if op := b.ended(); op.Phase != failover.OpCancelled || !strings.Contains(b.run().Back.Args["note"], "was started") {
		t.Fatalf("started by a person: ended %s, back %v; want it taken back", op.Phase, b.run().Back)
	}
	if _, left := b.homePVE.Guest(homeID); !left {
		t.Error("a copy that a person has started since it was sealed is deleted")
	}
}

// TestReplacedAndCancelled: who cancels while the copy goes finds it gone, and sealed.
func TestReplacedAndCancelled(t *testing.T) {
	b := replacing(t)
	for range 10 {
		b.step()
	}
	b.lab(b.homePVE.RemoveGuest(homeID, b.now))
	b.must(failover.CancelOp{Op: b.op().ID, Reason: failover.Reason{Code: "WWW-1409"}})
	if op := b.ended(); op.Phase != failover.OpCancelled {
		t.Fatalf("ended %s at %s: %s", op.Phase, b.status(), b.note())
	}
	if seal := b.log.state.SealOf(guest, failover.Place{Site: home, Host: "pve-moulin", VMID: homeID}); seal == nil || len(seal.Sites()) != 2 {
		t.Errorf("sealed as %+v", seal)
	}
	if g, _ := b.pve.Guest(awayID); !g.Running {
		t.Error("the copy that serves is off")
	}
}

// TestNoRoomAtHome: it is seen before the copy that serves is shut down, and what to type is said.
func TestNoRoomAtHome(t *testing.T) {
	b := newBackRig(t)
	p := b.log.state.Guests[guest]
	p.Point.Size = 1 << 40
	b.log.state.Guests[guest] = p
	b.failback(failover.KeepAway)
	op := b.ended()
	note := b.run().Back.Args["note"]
	if op.Phase != failover.OpCancelled || !strings.Contains(note, "no room on pve-moulin") || !strings.Contains(note, "--replace pve-moulin/1101") {
		t.Fatalf("ended %s, back %v; want it taken back for want of room", op.Phase, b.run().Back)
	}
	if n := b.count("POST", fmt.Sprintf("qemu/%d/status/shutdown", awayID)); n > 0 {
		t.Errorf("the copy that serves was shut down %d times", n)
	}
	if g, _ := b.homePVE.Guest(homeID); !g.Running {
		t.Error("the copy at home ran before, and does not now")
	}
}
