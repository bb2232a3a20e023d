package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// BenchmarkJudgeFive judges the small network, which the simulator and the
// bench of detection do by the million.
func BenchmarkJudgeFive(b *testing.B) {
	l := moulinReady(b)
	l.dark(0)
	b.ReportAllocs()
	for b.Loop() {
		failover.Judge(l.s, l.now)
	}
}

// BenchmarkDecideFive decides on the same.
func BenchmarkDecideFive(b *testing.B) {
	l := moulinReady(b)
	l.dark(0)
	b.ReportAllocs()
	for b.Loop() {
		failover.Decide(l.s, l.now)
	}
}
