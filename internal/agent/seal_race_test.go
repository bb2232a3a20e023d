package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestSealHoldsWhatWasWrittenBesideIt: a person starts the copy at home between the last look at it and its backup, and
// puts it off again. What users wrote meanwhile is in no such backup: it is made once more.
func TestSealHoldsWhatWasWrittenBesideIt(t *testing.T) {
	b := newBackRig(t)
	started, wrote := false, false
	b.answer = func(path string) (int, string) {
		switch g, _ := b.homePVE.Guest(homeID); {
		case path == "/nodes/pve-moulin/vzdump" && !started:
			started = true
			b.lab(b.homePVE.StartGuest(homeID, b.now))
		case started && !wrote && strings.Contains(path, "/tasks/") && g.Write("beside the backup"):
			wrote = true
			b.lab(b.homePVE.StopGuest(homeID, b.now))
		}
		return 0, ""
	}
	b.failback(failover.KeepAway)
	op := b.ended()
	if !wrote {
		t.Fatal("nobody has written beside the backup")
	}
	if op.Phase != failover.OpDone || len(op.Guests[guest].Sealed) != 2 {
		t.Fatalf("ended %s: %s, sealed %+v", op.Phase, b.note(), op.Guests[guest].Sealed)
	}
	lines, err := b.homePVE.SavedData(op.Guests[guest].Sealed[0].Point.Volid)
	if err != nil || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, "beside the backup") }) {
		t.Errorf("the sealed branch lacks what was written beside its backup: %v, ends with %q", err, lines[max(0, len(lines)-2):])
	}
}
