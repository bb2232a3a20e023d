package agent_test

import (
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
