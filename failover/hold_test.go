package failover_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestEveryHoldIsExercised: each reason for which automation holds back is
// reached by a scenario, recorded in the log, and an event but for the votes
// that do not suffice yet.
func TestEveryHoldIsExercised(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("find the scenarios: %v, %v", files, err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for _, code := range failover.HoldCodes() {
		if !strings.Contains(all.String(), " held "+code+"\n") {
			t.Errorf("no scenario has Decide record a decision held by %s", code)
		}
	}
}
