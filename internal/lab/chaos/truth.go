package chaos

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
)

// truth is the account of who could reach whom. No agent knows it: what they conclude is
// held against it (S4).
type truth struct {
	sites []string
	mu    sync.Mutex
	ways  map[pair][]interval // oldest first
	agent map[string][]agentSpan
}

type pair struct{ observer, site string }

// interval is a time from which on a way stood like this.
type interval struct {
	from   time.Time
	public bool // a question over the public path is answered, for sure
	any    bool // some question might be
}

type agentSpan struct {
	from time.Time
	well bool
}

const (
	// A way that is open for less than a round of probes may be missed by all.
	openMissed = 2 * time.Second
	// seesAtMost is how long a sound observer may reach a site that is given up: a
	// round of probes, the proposal of its report, a slow log, and a slow machine.
	seesAtMost = 15 * time.Second
	// shutMargin is how much less than the commit delay the ways may have been shut:
	// the grace for sightings (a probe's period), and the time that a cut takes.
	shutMargin = 3 * time.Second
)

func newTruth(sites []string, now time.Time) *truth {
	t := &truth{sites: sites, ways: map[pair][]interval{}, agent: map[string][]agentSpan{}}
	t.set(nil, nil, now)
	return t
}

// set records which sites have no power and which cuts there are from now on.
func (t *truth) set(dark map[string]bool, cuts []netns.Cut, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.sites {
		for _, s := range t.sites {
			if o == s {
				continue
			}
			p := pair{o, s}
			passes := func(path failover.Path, hit func(netns.Cut, string, string, failover.Path) bool) bool {
				return !dark[o] && !dark[s] && !slices.ContainsFunc(cuts, func(c netns.Cut) bool { return hit(c, o, s, path) })
			}
			next := interval{
				from:   now,
				public: passes(failover.PathPublic, netns.Cut.Touches),
				any:    passes(failover.PathPublic, netns.Cut.Blocks) || passes(failover.PathMesh, netns.Cut.Blocks),
			}
			if n := len(t.ways[p]); n == 0 || t.ways[p][n-1].public != next.public || t.ways[p][n-1].any != next.any {
				t.ways[p] = append(t.ways[p], next)
			}
		}
	}
}

// saw records whether a site's agent was well and in contact.
func (t *truth) saw(site string, well bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.agent[site]
	if n := len(list); n == 0 || list[n-1].well != well {
		t.agent[site] = append(list, agentSpan{at, well})
	}
}

// reached returns for how long before a time an observer that was well has reached a
// site's public side, without a break.
func (t *truth) reached(p pair, at time.Time) time.Duration {
	var since time.Time
	for _, w := range t.ways[p] {
		if w.from.After(at) {
			break
		}
		if !w.public {
			since = time.Time{}
		} else if since.IsZero() {
			since = w.from
		}
	}
	well := time.Time{}
	for _, a := range t.agent[p.observer] {
		if a.from.After(at) {
			break
		}
		if !a.well {
			well = time.Time{}
		} else if well.IsZero() {
			well = a.from
		}
	}
	if since.IsZero() || well.IsZero() {
		return 0
	}
	if well.After(since) {
		since = well
	}
	return at.Sub(since)
}

// shut returns for how long before a time no way from an observer to a site was open
// for longer than a round of probes.
func (t *truth) shut(p pair, at time.Time) time.Duration {
	var since, opened time.Time
	open := false
	for _, w := range t.ways[p] {
		if w.from.After(at) {
			break
		}
		switch {
		case w.any && !open:
			opened, open = w.from, true
		case !w.any && open:
			if w.from.Sub(opened) >= openMissed || since.IsZero() {
				since = w.from
			}
			open = false
		case !w.any && since.IsZero():
			since = w.from
		}
	}
	if open && at.Sub(opened) >= openMissed || since.IsZero() {
		return 0
	}
	return at.Sub(since)
}

// host records that a machine has power from now on, or none.
func (t *truth) host(name string, on bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := pair{site: name}
	if n := len(t.ways[p]); n == 0 || t.ways[p][n-1].any != on {
		t.ways[p] = append(t.ways[p], interval{from: now, public: on, any: on})
	}
}

// hostLost holds an automatic commit, made some time between two moments, against the
// account: the machine had no power for the delay. What it lost by itself is known from
// the next look only.
func (t *truth) hostLost(name string, from, to time.Time, delay time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	least := delay - shutMargin - lookLimit
	for at := from; !at.After(to); at = at.Add(250 * time.Millisecond) {
		if t.shut(pair{site: name}, at) >= least {
			return ""
		}
	}
	return fmt.Sprintf("%s is given up and has not been without power for %s", name, least)
}

// lost holds an automatic commit, made some time between two moments, against the
// account: nobody who is well reached the site, and a majority of all voters had no way
// to it for the delay. It returns the invariant's text, "" when the commit may be right.
func (t *truth) lost(lost string, from, to time.Time, delay time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	problem := ""
	for at := from; !at.After(to); at = at.Add(250 * time.Millisecond) {
		if problem = t.wrong(lost, at, delay); problem == "" {
			return ""
		}
	}
	return problem
}

func (t *truth) wrong(lost string, at time.Time, delay time.Duration) string {
	shut := 0
	for _, o := range t.sites {
		if o == lost {
			continue
		}
		if d := t.reached(pair{o, lost}, at); d >= seesAtMost {
			return lost + " is given up and " + o + ", which is well, has reached it for " + d.Round(time.Millisecond).String()
		}
		if t.shut(pair{o, lost}, at) >= delay-shutMargin {
			shut++
		}
	}
	if need := len(t.sites)/2 + 1; shut < need {
		return fmt.Sprintf("%s is given up and only %d of %d voters had no way to it for %s", lost, shut, len(t.sites), delay)
	}
	return ""
}
