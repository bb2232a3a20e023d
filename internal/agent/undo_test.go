package agent_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// newUndoRig is a network in which a guest that had served at quai is at home again, with what was written
// there; the copy at quai is sealed. line is the last that was written in that.
func newUndoRig(t *testing.T) (b *backRig, line string) {
	t.Helper()
	b = newBackRig(t)
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("keep home ended %s: %s; back %v", op.Phase, b.note(), b.run().Back)
	}
	line = last(t, b.pve, awayID)
	for range 20 {
		b.step()
	}
	return b, line
}

// TestTheCopyAwayServesAgain: an undo of --keep home seals what is at home, and has the very copy at quai serve
// again with all that was written there; nothing is restored.
func TestTheCopyAwayServesAgain(t *testing.T) {
	b, line := newUndoRig(t)
	written := last(t, b.homePVE, homeID)
	b.failback(failover.KeepBack)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s; stuck %v; back %v", op.Phase, b.status(), b.note(), b.run().Stuck, b.run().Back)
	}
	again, _ := b.pve.Guest(awayID)
	if !again.Running || !slices.Contains(again.Data(), line) || again.Config["onboot"] == "1" {
		t.Errorf("the copy at quai runs %t, has %q %t, onboot %q", again.Running, line, slices.Contains(again.Data(), line), again.Config["onboot"])
	}
	if there, _ := b.homePVE.Guest(homeID); there.Running || there.Config["onboot"] == "1" || !slices.Contains(there.Data(), written) {
		t.Errorf("the copy at home runs %t, onboot %q", there.Running, there.Config["onboot"])
	}
	b.sealedAt(homeID)
	p := b.log.state.Guests[guest]
	if p.Owner != away || p.Serving != away || p.VMID != awayID || p.Phase != failover.PhaseAway || b.log.state.Network.Guests[guest].ID != homeID {
		t.Errorf("placement %+v", p)
	}

	b.failback(failover.KeepHome) // and home again
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("home again ended %s: %s; back %v", op.Phase, b.note(), b.run().Back)
	}
	if there, _ := b.homePVE.Guest(homeID); !there.Running || there.Config["onboot"] != "1" {
		t.Errorf("the copy at home runs %t, onboot %q, want it as it was at first", there.Running, there.Config["onboot"])
	}
}

// TestUndoTakenBackAnywhere: a cancel after any number of steps before ownership leaves the copy at home as it was,
// whether it ran or was off.
func TestUndoTakenBackAnywhere(t *testing.T) {
	for _, runs := range []bool{true, false} {
		for after := 0; ; after += 29 {
			b, _ := newUndoRig(t)
			if !runs {
				b.lab(b.homePVE.StopGuest(homeID, b.now))
			}
			b.failback(failover.KeepBack)
			for range after {
				b.step()
			}
			if b.run().Owned() {
				break
			}
			at := b.status()
			b.must(failover.CancelOp{Op: b.op().ID, Reason: failover.Reason{Code: "WWW-1409"}})
			if op := b.ended(); op.Phase != failover.OpCancelled {
				t.Fatalf("cancelled at %q: ended %s, note %q", at, op.Phase, b.note())
			}
			there, _ := b.homePVE.Guest(homeID)
			if again, _ := b.pve.Guest(awayID); there.Running != runs || there.Config["onboot"] != "1" || again.Running {
				t.Errorf("ran %t, cancelled at %q: the copy at home runs %t, onboot %q; that at quai runs %t", runs, at, there.Running, there.Config["onboot"], again.Running)
			}
			if p := b.log.state.Guests[guest]; p.Owner != home || p.Serving != home || p.Op != "" || t.Failed() {
				t.Fatalf("cancelled at %q: placement %+v", at, p)
			}
		}
	}
}

// TestUndoGoesOnAfterCrashes: agents that restart after any number of steps repeat nothing and lose nothing.
func TestUndoGoesOnAfterCrashes(t *testing.T) {
	for after := 0; after < 250; after += 23 {
		b, line := newUndoRig(t)
		b.failback(failover.KeepBack)
		for range after {
			b.step()
		}
		at := b.status()
		b.restart()
		if op := b.ended(); op.Phase != failover.OpDone {
			t.Fatalf("restart at %q: ended %s: %v", at, op.Phase, op.Cancelled)
		}
		again, _ := b.pve.Guest(awayID)
		if b.sealedAt(homeID); !again.Running || !slices.Contains(again.Data(), line) || t.Failed() {
			t.Fatalf("restart at %q: the copy at quai runs %t, has %q %t", at, again.Running, line, slices.Contains(again.Data(), line))
		}
	}
}

// TestUndoOntoAnotherNetIsTakenBack: a copy that somebody has put onto another network, or removed, does not serve again; that is
// seen while the one at home can still go on.
func TestUndoOntoAnotherNetIsTakenBack(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(b *backRig)
		want string
	}{
		"its net is another one": {func(b *backRig) {
			b.lab(b.pve.SetOption(awayID, "net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=99"))
		}, "is not on the structure's VLAN"},
		"it is gone": {func(b *backRig) { b.lab(b.pve.RemoveGuest(awayID, b.now)) }, "is not on pve-quai any more"},
	} {
		b, _ := newUndoRig(t)
		tt.do(b)
		b.failback(failover.KeepBack)
		if op := b.ended(); op.Phase != failover.OpCancelled || !strings.Contains(b.run().Back.Args["note"], tt.want) {
			t.Errorf("%s: ended %s, back %v, want %q", name, op.Phase, b.run().Back, tt.want)
		}
		if there, _ := b.homePVE.Guest(homeID); !there.Running {
			t.Errorf("%s: the copy at home is off", name)
		}
	}
}

// TestStuckInAnUndoComesHome: what cannot start away any more comes home again, and the copy away, which has served before, is
// sealed anew and never taken for one that never ran.
func TestStuckInAnUndoComesHome(t *testing.T) {
	b, line := newUndoRig(t)
	check := b.log.confirm
	b.log.confirm = func(tok failover.Token) error {
		if tok.Step == failover.StepStart {
			b.lab(b.pve.SetOption(awayID, "machine", "pc-q35-99.0"))
		}
		if check != nil {
			return check(tok)
		}
		return b.log.state.TokenCurrent(tok)
	}
	b.failback(failover.KeepBack)
	if op, p := b.ended(), b.log.state.Guests[guest]; op.Phase != failover.OpStuck || p.Phase != failover.PhaseStuck || p.Owner != away {
		t.Fatalf("ended %s: %s; placement %+v", op.Phase, b.note(), p)
	}
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("home again ended %s at %s: %s; back %v", op.Phase, b.status(), b.note(), b.run().Back)
	}
	for range 40 {
		b.step()
	}
	b.isHome()
	if g, ok := b.pve.Guest(awayID); !ok || !slices.Contains(g.Data(), line) {
		t.Errorf("the copy at quai, which had served, is there %t", ok)
	}
	b.sealedAt(awayID)
}

// TestWhatServesAgainIsBackedUpAnew: the copy that an undo has serve again writes into the group in which backups of it from
// before lie already. None of them holds what it holds now, however young.
func TestWhatServesAgainIsBackedUpAnew(t *testing.T) {
	b := newBackRig(t)
	pve, err := proxmox.NewPVE(proxmox.Config{
		URL: "https://10.30.1.20:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: b,
	})
	if err != nil {
		t.Fatal(err)
	}
	save := func() failover.Lineage {
		t.Helper()
		saver := &agent.Away{Site: away, Log: b.log, PVE: pve, Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler)}
		for range 400 {
			if l, _ := b.log.state.LineageNow(guest); !l.Backups.Newest.IsZero() {
				return l
			}
			saver.Step(t.Context(), b.now)
			b.step()
		}
		t.Fatalf("no backup is made: %+v", b.log.state.Lineages)
		return failover.Lineage{}
	}
	save()
	b.failback(failover.KeepHome)
	b.ended()
	b.failback(failover.KeepBack)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("the undo ended %s: %s", op.Phase, b.note())
	}
	if l := save(); !l.Backups.Newest.Time.After(l.From.At) {
		t.Errorf("its newest backup is said to be of %s, and it serves again since %s", l.Backups.Newest.Time, l.From.At)
	}
}
