package probes

import (
	"strings"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The adaptive schedule (SetConfig.Rest). While nothing of a site is amiss, one
// or two of its targets are asked at each interval and the others at rest. At
// the first miss of anything of the site, or when somebody suspects it, all of
// it is asked at each interval, beginning at once.
//
// A window counts the misses of its own target only: a target that was asked
// rarely is silent from its own first miss, which is later than the truth and
// never earlier.
const (
	// DefaultRest is the interval of a target at rest.
	DefaultRest = 15 * time.Second
	// DoubtAfter is how long an answer may take at least before the others of the
	// site are asked too (Prober.Patience): longer than any healthy round trip between homes, and than the
	// first retransmission on a connection that is kept (200 ms and a round trip,
	// RFC 6298 as Linux has it).
	DoubtAfter = 400 * time.Millisecond
	// volley spreads the probes that a doubt calls for.
	volley = 100 * time.Millisecond
	// calmAfter is how long a silence keeps the rest of its site awake: it is
	// longer than the longest delay of a commitment (10 min, failover.Policy).
	// After that only what is silent itself is still asked at each interval.
	calmAfter = 15 * time.Minute
)

// vigil is what the probers of one site know of each other. Its lock is taken
// before that of a Prober and never after it.
type vigil struct {
	mu        sync.Mutex
	members   []*Prober
	troubled  map[*Prober]bool
	suspected bool
}

func newVigil() *vigil { return &vigil{troubled: map[*Prober]bool{}} }

// alarmed says whether every target of the site must be asked at each interval.
func (v *vigil) alarmed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.suspected || len(v.troubled) > 0
}

// tell takes note of whether a member misses answers. The first miss of any of
// them calls the others, as of a time.
func (v *vigil) tell(p *Prober, trouble bool, at time.Time) {
	v.mu.Lock()
	fresh := trouble && !v.troubled[p]
	if trouble {
		v.troubled[p] = true
	} else {
		delete(v.troubled, p)
	}
	v.mu.Unlock()
	if fresh {
		v.call(p, at)
	}
}

// call has every member but one probe soon after a time.
func (v *vigil) call(but *Prober, at time.Time) {
	v.mu.Lock()
	members := v.members
	v.mu.Unlock()
	for _, m := range members {
		if m != but {
			m.pull(at)
		}
	}
}

func (v *vigil) suspect(suspected bool, now time.Time) {
	v.mu.Lock()
	begins := suspected && !v.suspected
	v.suspected = suspected
	v.mu.Unlock()
	if begins {
		v.call(nil, now)
	}
}

// join replaces the members. The slice is not changed afterwards.
func (v *vigil) join(members []*Prober) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.members = members
	still := map[*Prober]bool{}
	for _, m := range members {
		if v.troubled[m] {
			still[m] = true
		}
	}
	v.troubled = still
}

// primaries picks the targets of each site that are asked at each interval even
// at rest: its agent, and its entry from outside, over the other kind of path;
// where no entry is declared, its router. Names are those of Target.Name.
func primaries(targets []Target) map[network.SiteID]map[string]bool {
	has := map[network.SiteID]map[string]bool{}
	for _, t := range targets {
		if has[t.Site] == nil {
			has[t.Site] = map[string]bool{}
		}
		has[t.Site][t.Name] = true
	}
	out := map[network.SiteID]map[string]bool{}
	for site, names := range has {
		out[site] = map[string]bool{"agent": true, "entry": true}
		if !names["entry"] {
			out[site]["router"] = true
		}
	}
	return out
}

// background says whether the silence of a target is its usual state or says
// nothing of the site, so that it wakes nobody.
func background(t Target) bool {
	return strings.HasPrefix(t.Name, dropbearPrefix) || t.Path == failover.PathTunnel
}
