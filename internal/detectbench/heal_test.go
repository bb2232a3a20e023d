package detectbench

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestHealingMovesNothing: four sites lose and regain their lines in the same
// instant. When they are back all of them have seen nothing of the fifth, nor
// of each other, for longer than the commit delay, and a new leader is elected
// at once: what they remember must not be taken for votes.
func TestHealingMovesNothing(t *testing.T) {
	for seed := range uint64(12) {
		place := NewPlace(0, defaultPolicy())
		var effects []Effect
		for s := 1; s < sites; s++ {
			for n := range place.Lines[s].uplinks() {
				effects = append(effects, Effect{Kind: lineDown, Site: s, N: n, From: onset, To: onset + 400_000 + int64(seed)*83})
			}
		}
		led := false
		o := Options{Seed: seed, Policy: defaultPolicy(), KeepHarmless: true}
		o.Watch = func(at int64, c failover.Command) {
			when := time.Duration(at) * time.Millisecond
			switch c := c.(type) {
			case failover.BeginTerm:
				led = led || at > onset+400_000
			case failover.CommitOp:
				t.Errorf("seed %d: %s committed at %v", seed, c.Op, when)
			case failover.Assess:
				if c.Level >= failover.LevelSuspect && at > onset+400_000 {
					t.Errorf("seed %d: %s suspected at %v", seed, c.Domain, when)
				}
			}
		}
		NewWorld(place, Trace{Length: 900_000, Effects: effects}, NewLedger(place, defaultPolicy(), 1), o).Run()
		if !led {
			t.Errorf("seed %d: no leader came after the outage", seed)
		}
	}
}
