package detectbench

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// mix is the finaliser of splitmix64: a good hash of one word.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is a random word that depends on nothing but its arguments. What
// happens to one probe is drawn so, not from a stream: skipping idle time must
// not shift what is drawn later.
func draw(seed, a, b uint64) uint64 { return mix(mix(mix(seed)^a) ^ b) }

// unit maps a word to [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// stream is the random stream of one component.
func stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	// Writing to a hash never fails.
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// logUniform draws a duration whose logarithm is uniform, in milliseconds:
// outages are heavy-tailed.
func logUniform(r *rand.Rand, from, to time.Duration) int64 {
	lo, hi := math.Log(float64(from)), math.Log(float64(to))
	return int64(math.Exp(lo+(hi-lo)*r.Float64())) / int64(time.Millisecond)
}

// electionGap draws how long a network has no leader after it lost one, in
// milliseconds: the measured quantiles of five voters on mixed lines with
// HB = ET = 2 s (p50 4.1 s, p99 6.5 s, at most 6.8 s), with straight lines between.
func electionGap(u float64) int64 {
	points := [...]struct {
		p  float64
		ms float64
	}{{0, 2100}, {0.5, 4100}, {0.9, 5500}, {0.99, 6500}, {1, 6800}}
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if u <= b.p {
			return int64(a.ms + (b.ms-a.ms)*(u-a.p)/(b.p-a.p))
		}
	}
	return int64(points[len(points)-1].ms)
}
