package network_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestReturnNeedsAWindow: nothing comes home by itself at any time of the day by an oversight.
func TestReturnNeedsAWindow(t *testing.T) {
	spec := network.Spec{Structures: map[network.StructureID]network.Structure{"le-moulin": {Home: "moulin", VLAN: 120, Return: &network.Return{}}}}.WithDefaults()
	if after := spec.Structures["le-moulin"].Return.After.D(); after != 30*time.Minute {
		t.Errorf("after %s, want 30m", after)
	}
	missing := func() bool {
		return slices.ContainsFunc(spec.Validate(), func(p network.Problem) bool { return p.Path == "structures.le-moulin.return.window" })
	}
	if !missing() {
		t.Error("accepted without a window")
	}
	spec.Structures["le-moulin"].Return.Window = network.Window{From: 120, To: 300}
	if missing() {
		t.Error("refused with a window")
	}
}
