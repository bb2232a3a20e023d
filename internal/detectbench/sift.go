package detectbench

import (
	"slices"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// clusters are those of the trace that are worth living through.
func (w *World) clusters() []Cluster {
	trace := w.trace
	exact := w.opts.Strict || w.opts.KeepHarmless
	if !exact {
		trace.Effects = w.sift(trace.Effects)
	}
	all := trace.Clusters()
	kept := all[:0]
	for i, c := range all {
		c.index, c.weight = i, 1
		if !exact {
			c.weight = w.stands(c)
		}
		if draw(w.opts.Seed, 55, uint64(c.From))%uint64(c.weight) != 0 {
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

// stands says for how many clusters like it one that is lived through stands.
// Of lone disturbances, with bursts of loss or without, a sample does: nothing
// but one line, pair, host or agent is wrong, and everybody else sees it. Those
// too short to be failed over at the default delays, by more than a burst can
// add, are the most frequent and the least telling.
func (w *World) stands(c Cluster) int {
	short, others := true, 0
	for _, e := range c.Effects {
		switch e.Kind {
		case lossBurst:
			continue
		case pairDown, agentStall, hostDown:
		case lineDown, powerOff:
			short = e.To-e.From < defaultDelay(w.place.Lines[e.Site]).Milliseconds()-30*second
		default:
			return 1
		}
		others++
	}
	switch {
	case others > 1:
		return 1
	case short:
		return max(1, w.opts.Sample)
	}
	return max(1, w.opts.Sample/longShare)
}

// longShare is how many times as many of the longer lone outages are lived through.
const longShare = 4

// How far a burst of loss must be from another effect to be looked at alone,
// in milliseconds: what it silences is up again a second after its end, and
// what was silent before it has settled.
const (
	apartBefore = 10_000
	apartAfter  = 45_000
)

// sift leaves out the effects that change no verdict: outages of a second line
// while the first one works, and bursts of loss that stand apart from all else
// and silence no window that matters.
func (w *World) sift(effects []Effect) []Effect {
	kept := make([]Effect, 0, len(effects)/4)
	for _, e := range effects {
		if e.Kind != lineDown || e.N == 0 || overlaps(effects, e) {
			kept = append(kept, e)
		}
	}
	out := make([]Effect, 0, len(kept)/4)
	ends, burstEnds := int64(-apartAfter), int64(-apartAfter) // of the effects before this one
	for i, e := range kept {
		near := ends+apartAfter > e.From || burstEnds+apartBefore > e.From ||
			i+1 < len(kept) && kept[i+1].From < e.To+apartBefore
		if e.Kind == lossBurst {
			burstEnds = max(burstEnds, e.To)
			if !near && w.harmless(e) {
				continue
			}
		} else {
			ends = max(ends, e.To)
		}
		out = append(out, e)
	}
	return slices.Clip(out)
}

// overlaps says whether a site's first line is down during an outage of its second.
func overlaps(effects []Effect, second Effect) bool {
	return slices.ContainsFunc(effects, func(e Effect) bool {
		first := e.Kind == lineDown && e.N == 0 || e.Kind == powerOff
		return first && e.Site == second.Site && e.From < second.To && second.From < e.To
	})
}

// harmless says whether a burst of loss leaves every verdict as it is: no
// target falls silent for more than two observers, and no whole path for more
// than one. (A majority of the views is three of four.)
func (w *World) harmless(burst Effect) bool {
	var silent [sites][8]int // by site and place in the list of its targets
	var dark [sites]int
	for o, a := range w.agents {
		for i := 0; i < len(a.eyes); {
			s := a.eyes[i].site
			probed, lost := [2]int{}, [2]int{}
			for k := 0; i < len(a.eyes) && a.eyes[i].site == s; i, k = i+1, k+1 {
				e := a.eyes[i]
				path := 0
				if e.path == failover.PathPublic {
					path = 1
				}
				probed[path]++
				if (o == burst.Site || s == burst.Site) && e.loses(burst) {
					lost[path]++
					silent[s][k]++
				}
			}
			for p := range probed {
				if probed[p] > 0 && lost[p] == probed[p] {
					dark[s]++
				}
			}
		}
	}
	for s := range sites {
		if dark[s] > 1 || slices.Max(silent[s][:]) > 2 {
			return false
		}
	}
	return true
}

// loses says whether a window may see enough misses in a row during a burst:
// whatever the phase of its probes, and with the worst baseline before and after.
func (e *eye) loses(burst Effect) bool {
	const worst = 1.25 * (0.012 + 0.012)
	const run = probes.DefaultMisses
	from, to := burst.From/second-1, burst.To/second+1
	lost := func(n int64) bool {
		chance := worst
		if n >= from && n <= to {
			chance = burstLoss
		}
		return unit(e.draw(n)) < chance
	}
	// Of five in a row one has a number that five divides: the others need a
	// look only where that one is lost.
	for n := (from - run) / run * run; n <= to+run; n += run {
		if !lost(n) {
			continue
		}
		length := int64(1)
		for k := n - 1; k > n-run && lost(k); k-- {
			length++
		}
		for k := n + 1; k < n+run && lost(k); k++ {
			length++
		}
		if length >= run {
			return true
		}
	}
	return false
}
