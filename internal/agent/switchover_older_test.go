package agent_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestSwitchoverDoesNotTakeAnOlderBackup: a guest that was taken back from an earlier
// switchover has lived since, and its host crashed under the next one, so no task says when
// it went off. The backup of the earlier switchover is not its last one (seed 1015520).
func TestSwitchoverDoesNotTakeAnOlderBackup(t *testing.T) {
	m := newMoveRig(t)
	m.begin()
	m.until("pull running")
	m.must(failover.CancelOp{Op: m.op().ID, Reason: failover.Reason{Code: "WWW-1409"}})
	if op := m.ended(); op.Phase != failover.OpCancelled {
		t.Fatalf("the first one ended %s", op.Phase)
	}
	m.atHome()
	for range 600 { // a minute of its users' work, and a nightly backup
		m.step()
	}
	if err := m.homePVE.Backup(homeID, "pbs-moulin", m.now); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		m.step()
	}
	dumps := m.count("POST", "/vzdump")
	if err := m.faults.Add(lab.Fault{Where: "pve:moulin", Match: lab.Match{Method: "PUT", Path: "*/config"}, Effect: lab.EffectDropReply, Times: 1}); err != nil {
		t.Fatal(err) // what makes the agent look again before it asks for the shutdown
	}
	m.move()
	off := func() bool { g, _ := m.homePVE.Guest(homeID); return g.Config["onboot"] == "0" }
	for range 4000 {
		if off() {
			break
		}
		m.step()
	}
	if !off() {
		t.Fatalf("it was never told not to start with its host: %q", m.status())
	}
	m.homePVE.PowerLoss(m.now)
	m.homePVE.PowerOn(m.now)
	m.until("pull running")
	if n := m.count("POST", "/vzdump") - dumps; n != 1 {
		t.Errorf("%d backups of the second switchover, want 1", n)
	}
}
