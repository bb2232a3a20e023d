package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// settling brings a guest home as far as its last step there: it serves, and does not start with its
// host yet.
func settling(t *testing.T) *backRig {
	t.Helper()
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	for range 4000 {
		if b.status() == "settle pending" {
			return b
		}
		b.step()
	}
	t.Fatalf("the run stands at %s: %s", b.status(), b.note())
	return nil
}

// TestHomeThatBootsBeforeItIsSettledIsStartedAgain: a power cut at home between the start of what came
// home and the moment from which it starts with its host leaves it off, and nobody else starts it. Its host
// may be up for less than the second in which it tells that (history, seed 6732).
func TestHomeThatBootsBeforeItIsSettledIsStartedAgain(t *testing.T) {
	for _, since := range []time.Duration{-10 * time.Second, time.Minute} { // before: it tells 0 for as long
		b := settling(t)
		b.homePVE.PowerLoss(b.now)
		b.later(3 * time.Minute)
		b.homePVE.PowerOn(b.now.Add(max(0, -since)))
		b.later(max(0, since))
		if op := b.ended(); op.Phase != failover.OpDone {
			t.Fatalf("up for %s: ended %s at %s: %s", since, op.Phase, b.status(), b.note())
		}
		back, _ := b.homePVE.Guest(backID)
		if n := b.count("POST", "1500/status/start"); !back.Running || back.Config["onboot"] != "1" || n != 2 {
			t.Errorf("up for %s: what came home runs %t, onboot %q, and was started %d times; want 2", since, back.Running, back.Config["onboot"], n)
		}
	}
}

// TestWhatAPersonStopsBeforeItIsSettledStaysOff: its host has not started since.
func TestWhatAPersonStopsBeforeItIsSettledStaysOff(t *testing.T) {
	b := settling(t)
	b.lab(b.homePVE.StopGuest(backID, b.now))
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s", op.Phase, b.status(), b.note())
	}
	back, _ := b.homePVE.Guest(backID)
	if n := b.count("POST", "1500/status/start"); back.Running || n != 1 {
		t.Errorf("it runs %t and was started %d times; a person has put it off", back.Running, n)
	}
}

// TestPlannedMoveThatLeftALockIsTypedAgain: a crash at home in the middle of the last restore leaves what
// only root may free; the move is taken back, and there is nothing of it to retry.
func TestPlannedMoveThatLeftALockIsTypedAgain(t *testing.T) {
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	for b.count("POST", "pve-moulin/qemu") == 0 {
		b.step()
	}
	b.homePVE.PowerLoss(b.now)
	b.homePVE.PowerOn(b.now)
	op := b.ended()
	note := b.run().Back.Args["note"]
	if want := "qm unlock 1500; then type the move again"; op.Phase != failover.OpCancelled || !strings.Contains(note, want) {
		t.Errorf("ended %s with %q; want in it %q", op.Phase, note, want)
	}
}
