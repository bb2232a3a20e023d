package agent_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestLockedCopyAtHomeCallsAPerson: the lock that a crash of its host has left on a copy at home goes by a person's
// hand only. Whose guest comes home to it is told at once what to type, not after it was asked for ten minutes.
func TestLockedCopyAtHomeCallsAPerson(t *testing.T) {
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	b.until("check running")
	b.lab(b.homePVE.SetOption(backID, "onboot", "0"))
	b.lab(b.homePVE.SetOption(backID, "lock", "backup"))
	before := b.count("PUT", "qemu/1500/config")
	if op := b.ended(); op.Phase != failover.OpStuck || !strings.Contains(b.note(), "on pve-moulin: qm unlock 1500; and wwwctl op retry") {
		t.Fatalf("ended %s: %s; want a person called", op.Phase, b.note())
	}
	if n := b.count("PUT", "qemu/1500/config") - before; n > 2 {
		t.Errorf("its configuration was written %d times", n)
	}
	b.lab(b.homePVE.Unlock(backID))
	b.must(failover.RetryOp{Op: b.op().ID})
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Errorf("after that: %s: %s", op.Phase, b.note())
	}
	if copied, _ := b.homePVE.Guest(backID); copied.Config["onboot"] != "1" {
		t.Errorf("it starts with its host: %q", copied.Config["onboot"])
	}
}

// TestForkedCopyServesNobody: a fork that its agent could not tell of any more has made the copy at home a guest of its
// own. It has other network cards, their cables out: the guest goes on serving where it does, and a person is told.
func TestForkedCopyServesNobody(t *testing.T) {
	for _, keep := range []failover.Keep{failover.KeepHome, failover.KeepAway} {
		b := newBackRig(t)
		b.lab(b.homePVE.StopGuest(homeID, b.now))
		b.lab(b.homePVE.SetOption(homeID, "description", "www-fork: of=nuage op=op-1"))
		b.failback(keep)
		op := b.ended()
		if op.Phase != failover.OpCancelled || !strings.Contains(fmt.Sprint(op.Cancelled), "wwwctl failback fork "+string(guest)+" --copy pve-moulin/1101") {
			t.Errorf("keep %s: ended %s: %+v; want it taken back, and what to type", keep, op.Phase, op.Cancelled)
		}
		if served, ok := b.pve.Guest(awayID); !ok || !served.Running || b.log.state.Guests[guest].Serving != away {
			t.Errorf("keep %s: the copy that served runs %t, served at %s", keep, served.Running, b.log.state.Guests[guest].Serving)
		}
		if forked, ok := b.homePVE.Guest(homeID); !ok || forked.Running {
			t.Errorf("keep %s: the fork is there %t, runs %t", keep, ok, forked.Running)
		}
	}
}
