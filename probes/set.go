package probes

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// SetConfig is what all probers of a Set share.
type SetConfig struct {
	Probe  Func // required; called by several probers at once
	Misses int  // before silence counts; fewer than one means DefaultMisses
	// Rest is the interval of targets at rest (see vigil.go); zero: every target is asked at its own interval always.
	Rest time.Duration
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
	vigils  map[network.SiteID]*vigil
}

// NewSet returns a Set without targets.
func NewSet(c SetConfig) *Set { return &Set{config: c, vigils: map[network.SiteID]*vigil{}} }

// Update replaces the targets. A target that has not changed in any respect
// keeps its prober, with its window and schedule; a changed one starts anew.
func (s *Set) Update(targets []Target, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make(map[proberKey]*Prober, len(s.probers))
	for _, p := range s.probers {
		kept[proberKey{p.target, p.primary}] = p
	}
	first := primaries(targets)
	probers := make([]*Prober, 0, len(targets))
	for _, t := range targets {
		k := proberKey{t, first[t.Site][t.Name]}
		p := kept[k]
		if p == nil {
			p = newProber(t, s.config, s.vigil(t.Site), k.primary, now)
			kept[k] = p
		}
		probers = append(probers, p)
	}
	slices.SortStableFunc(probers, func(x, y *Prober) int { return compareTargets(x.target, y.target) })
	s.probers = slices.Compact(probers) // a target that is named twice is one
	bySite := map[network.SiteID][]*Prober{}
	for _, p := range s.probers {
		bySite[p.target.Site] = append(bySite[p.target.Site], p)
	}
	for site, v := range s.vigils {
		v.join(bySite[site])
		if len(bySite[site]) == 0 {
			delete(s.vigils, site)
		}
	}
}

// proberKey is what a prober is made of; one that differs in it is another.
type proberKey struct {
	target  Target
	primary bool
}

func (s *Set) vigil(site network.SiteID) *vigil {
	v := s.vigils[site]
	if v == nil {
		v = newVigil()
		s.vigils[site] = v
	}
	return v
}

// Suspect names the sites that somebody suspects: all their targets are asked
// at each interval, the first time at once. It replaces what was named before.
func (s *Set) Suspect(sites map[network.SiteID]bool, now time.Time) {
	s.mu.Lock()
	vigils := maps.Clone(s.vigils)
	s.mu.Unlock()
	for site, v := range vigils {
		v.suspect(sites[site], now)
	}
}

// SuspectSite is Suspect for one site; what is known of the others stays.
func (s *Set) SuspectSite(site network.SiteID, suspected bool, now time.Time) {
	s.mu.Lock()
	v := s.vigils[site]
	s.mu.Unlock()
	if v != nil {
		v.suspect(suspected, now)
	}
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
