package sim

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Epoch is when every simulation begins.
var Epoch = time.Date(2026, time.March, 2, 3, 0, 0, 0, time.UTC)

// Streams hands out sources of randomness by name.
type Streams struct{ seed uint64 }

// NewStreams returns the streams of a seed.
func NewStreams(seed uint64) Streams { return Streams{seed: seed} }

// Stream returns the source of one component: the same for the same seed and
// name, whatever the others draw.
func (s Streams) Stream(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails to write
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// between draws a duration from a range.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// chance says yes with probability p.
func chance(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }

// untimed is a context that carries values and has a deadline in the past which
// never comes: contexts made from it with a timeout keep its deadline and so
// start no timer of the real clock. Time in here is charged to the actor.
type untimed struct{ context.Context }

// Deadline returns the beginning of the simulation.
func (untimed) Deadline() (time.Time, bool) { return Epoch.AddDate(-20, 0, 0), true }

// Done returns nil: it never ends.
func (untimed) Done() <-chan struct{} { return nil }

// Err returns nil.
func (untimed) Err() error { return nil }

// background is the context that every step gets.
func background() context.Context { return untimed{context.Background()} }
