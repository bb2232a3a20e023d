package detectbench

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

func TestHealProbe(t *testing.T) {
	bad, susp := 0, 0
	for seed := range uint64(400) {
		place := NewPlace(0, defaultPolicy())
		var effects []Effect
		for _, s := range []int{1, 2, 3, 4} {
			n := len(place.Lines[s].uplinks())
			for k := range n {
				effects = append(effects, Effect{Kind: lineDown, Site: s, N: k, From: 120_000, To: 120_000 + 400_000 + int64(seed)*37})
			}
		}
		o := Options{Seed: seed, Policy: defaultPolicy(), KeepHarmless: true}
		o.Watch = func(at int64, c failover.Command) {
			if a, ok := c.(failover.Assess); ok && a.Domain == "site:moulin" && a.Level >= failover.LevelSuspect {
				susp++
				if susp < 5 {
					t.Logf("seed %d %v %v %v %v", seed, time.Duration(at)*time.Millisecond, a.Level, a.Cause, a.Silence)
				}
			}
			if _, ok := c.(failover.CommitOp); ok {
				bad++
				t.Logf("seed %d: commit at %v", seed, time.Duration(at)*time.Millisecond)
			}
		}
		NewWorld(place, Trace{Length: 900_000, Effects: effects}, NewLedger(place, defaultPolicy(), 1), o).Run()
	}
	t.Log("commits", bad, "suspicions", susp)
}
