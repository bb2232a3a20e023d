package probes

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// SetConfig is what all probers of a Set share.
type SetConfig struct {
	Probe  Func // required; called by several probers at once
	Misses int  // before silence counts; fewer than one means DefaultMisses
	// Start is the zero of the monotonic times: the clock's reading when the process started.
	Start time.Time
	// Rand returns the source of one stream, for the jitter of one prober; required.
	Rand func(stream string) *rand.Rand
}

// Set holds the probers of an agent. Its methods are safe for concurrent use.
type Set struct {
	config SetConfig

	mu      sync.Mutex
	probers []*Prober // in the order of targets
}

// NewSet returns a Set without targets.
func NewSet(c SetConfig) *Set { return &Set{config: c} }

// Update replaces the targets. A target that has not changed in any respect
// keeps its prober, with its window and schedule; a changed one starts anew.
func (s *Set) Update(targets []Target, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make(map[Target]*Prober, len(s.probers))
	for _, p := range s.probers {
		kept[p.target] = p
	}
	probers := make([]*Prober, 0, len(targets))
	for _, t := range targets {
		p := kept[t]
		if p == nil {
			p = newProber(t, s.config, now)
			kept[t] = p
		}
		probers = append(probers, p)
	}
	slices.SortStableFunc(probers, func(x, y *Prober) int { return compareTargets(x.target, y.target) })
	s.probers = slices.Compact(probers) // a target that is named twice is one
}

// Steppers returns the probers in order. One that is no longer among them
// after an Update is not to be stepped again.
func (s *Set) Steppers() []*Prober {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.probers)
}

// Observations returns what every window sees, ordered by site, target, path.
func (s *Set) Observations(now time.Time) []failover.Observation {
	probers := s.Steppers()
	out := make([]failover.Observation, 0, len(probers))
	for _, p := range probers {
		out = append(out, p.Observe(now))
	}
	return out
}

// TakeLate returns how many intervals the worst prober was late since the last call.
func (s *Set) TakeLate(now time.Time) float64 {
	worst := 0.0
	for _, p := range s.Steppers() {
		worst = max(worst, p.TakeLate(now))
	}
	return worst
}
