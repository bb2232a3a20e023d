package sim_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

func BenchmarkMainJob(b *testing.B) {
	for i := range b.N {
		if r := sim.Run(sim.Options{Seed: uint64(i), Scenario: sim.SiteKilled("moulin")}); r.Violation != nil {
			b.Fatal(r.Error())
		}
	}
}
