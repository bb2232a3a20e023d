package sim_test

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

// TestLedgerMissesALostWrite: a write that no copy holds is a violation at the end.
func TestLedgerMissesALostWrite(t *testing.T) {
	r := sim.Run(sim.Options{Seed: 1, Scenario: sim.LostWrite()})
	if r.Violation == nil || !strings.Contains(r.Violation.Error(), "S7") || !strings.Contains(r.Violation.Error(), "user-lost") {
		t.Errorf("violation %v, want S7 for the write that is lost", r.Violation)
	}
}
