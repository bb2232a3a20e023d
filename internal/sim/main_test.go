package sim_test

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain spares the collector: a run makes much garbage and holds little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
