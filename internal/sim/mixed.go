package sim

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The mixed scenario's times: faults begin at Warm, end at mixedHeal, and what
// they left must have been put right at mixedEnd.
const (
	mixedWindow = 170 * time.Second
	mixedHeal   = Warm + mixedWindow
	mixedEnd    = mixedHeal + putRight
	// putRight is how long after the end of all faults everything must have come
	// to an end or wait for a person (L2).
	putRight = 300 * time.Second
)

// Mixed is a random incident: a site is lost, or nearly, and everything else
// that can go wrong does so at the same time, more or less.
func Mixed() Scenario {
	return Scenario{
		Name:    "mixed",
		Prepare: func(o *Options) { o.Mode = drawMode(NewStreams(o.Seed).Stream("mixed options")) },
		Plan: func(w *World) {
			w.loop.In(Warm, "", func() {
				w.stats.Incidents++
				i := &incident{w: w, r: w.rand("mixed plan"), window: mixedWindow}
				i.plan()
			})
		},
		Heal: mixedHeal, Until: mixedEnd,
	}
}

func drawMode(r *rand.Rand) network.Mode {
	if chance(r, 0.15) {
		return network.ModeAsk
	}
	return network.ModeAuto
}

func logFaults(r *rand.Rand) LogFaults {
	if chance(r, 0.2) {
		return LogFaults{}
	}
	x := r.Float64()
	return LogFaults{
		Refused: 0.04 * x, Lost: 0.03 * x, Unknown: 0.05 * x, Late: 0.04 * x, Change: 0.004 * x, Slow: 0.1 * x, Foreign: 0.02 * x,
	}
}

// plan draws what goes wrong.
func (i *incident) plan() {
	w, r := i.w, i.r
	if f := logFaults(r); f != (LogFaults{}) {
		w.fault(0, "the log loses, delays and reorders", func() { w.log.Faults = f })
	}
	i.main()
	for range r.IntN(8) {
		// Most while there are restores to be hit.
		i.machineFault(i.span(10*time.Second, 80*time.Second))
	}
	i.deaths(deaths{leader: 0.6, agent: 0.7, boundary: 0.5, machine: 0.3})
	i.observers()
	i.lines()
	i.servers()
	w.primaries.plan(i)
	i.operators()
	i.minds()
	i.hands()
	i.movers()
	i.programmers()
	i.homecomers(0.5, 0.2)
	i.tidiers(0.3, 0.15)
}

// deaths are how often a leader is deposed, an agent dies at a time, some do at boundaries of their
// work, and a machine fails.
type deaths struct{ leader, agent, boundary, machine float64 }

func (i *incident) deaths(p deaths) {
	w, r := i.w, i.r
	i.some(p.leader, 2, func() { w.fault(i.when(), "the leader is deposed", func() { w.log.Depose() }) })
	i.some(p.agent, 3, func() {
		id, back := i.pick(), i.span(time.Second, 25*time.Second)
		w.fault(i.when(), fmt.Sprintf("the agent of %s dies for %s", id, back), func() { w.crashAgent(w.sites[id], back) })
	})
	if chance(r, p.boundary) {
		p, most := 0.01+0.05*r.Float64(), 1+r.IntN(5)
		dice := w.rand(fmt.Sprintf("crashes %d", len(w.plan)))
		w.fault(0, fmt.Sprintf("agents die at boundaries, %d at most", most), func() { w.crashAtRandom(dice, p, most) })
	}
	i.some(p.machine, 1, func() {
		id, back := i.brique(), i.span(15*time.Second, 90*time.Second)
		w.fault(i.when(), fmt.Sprintf("the machine of %s fails for %s", id, back), func() { w.crashHost(w.sites[id], back) })
	})
}

// main is what the incident is about.
func (i *incident) main() {
	w, r, id := i.w, i.r, i.brique()
	begin := i.span(0, 20*time.Second)
	switch x := r.IntN(14); {
	case x < 3: // lost for good, until the end of all faults
		w.fault(begin, "kill "+string(id), func() { w.kill(id) })
	case x < 4: // back when the copies are being made, and lost again while they are kept
		t := w.opts.Timing
		back := between(r, t.PrepareB, t.Commit)
		again := between(r, 2*time.Second, t.Keep-t.PrepareB-time.Second)
		w.fault(begin, fmt.Sprintf("isolate %s for %s, and again after %s", id, back, again), func() {
			w.setUplink(id, false)
			w.then(back, "join again", func() { w.setUplink(id, true) })
			w.then(back+again, "isolate again", func() { w.setUplink(id, false) })
		})
	case x < 7: // lost for a while: back before or after anything
		back := i.span(2*time.Second, 80*time.Second)
		w.fault(begin, fmt.Sprintf("kill %s for %s", id, back), func() {
			w.kill(id)
			w.then(back, "revive", func() { w.revive(id) })
		})
	case x < 8: // isolated with its LAN alive, as while its router boots
		back := i.span(2*time.Second, 120*time.Second)
		w.fault(begin, fmt.Sprintf("isolate %s for %s", id, back), func() {
			w.setUplink(id, false)
			w.then(back, "join again", func() { w.setUplink(id, true) })
		})
	case x < 9: // the mesh dies, the public side lives
		w.fault(begin, "cut the mesh of "+string(id), func() { w.cutMesh(id) })
	case x < 10:
		i.flap(id, begin)
	case x < 11:
		i.swizzle(id, begin)
	case x < 13: // the structure's machine dies, its site lives
		back, mute := time.Duration(0), chance(r, 0.2)
		if chance(r, 0.4) {
			back = i.span(5*time.Second, 90*time.Second)
		}
		w.fault(begin, fmt.Sprintf("the structure's machine of %s fails for %s, its fence is mute: %t", id, back, mute), func() {
			w.sites[id].mute = mute
			w.crashOwn(w.sites[id], back)
		})
	default:
		other, after := i.brique(), i.span(0, 60*time.Second)
		w.fault(begin, "kill "+string(id), func() { w.kill(id) })
		w.fault(begin+after, "kill "+string(other), func() { w.kill(other) })
	}
}

// flap has a site's line come and go.
func (i *incident) flap(id failover.SiteID, begin time.Duration) {
	w, times, off, on := i.w, 3+i.r.IntN(8), i.span(2*time.Second, 9*time.Second), i.span(time.Second, 6*time.Second)
	w.fault(begin, fmt.Sprintf("the line of %s fails %d times for %s", id, times, off), func() {
		for n := range times {
			at := time.Duration(n) * (off + on)
			w.then(at, "flap", func() { w.setUplink(id, false) })
			w.then(at+off, "flap", func() { w.setUplink(id, true) })
		}
	})
}

// swizzle cuts a site's ways one by one and heals them in another order.
func (i *incident) swizzle(id failover.SiteID, begin time.Duration) {
	w := i.w
	var ways []way
	for _, o := range w.ids {
		for _, p := range []failover.Path{failover.PathMesh, failover.PathPublic} {
			if o != id {
				ways = append(ways, way{o, id, p})
			}
		}
	}
	i.r.Shuffle(len(ways), func(a, b int) { ways[a], ways[b] = ways[b], ways[a] })
	back := slices.Clone(ways)
	i.r.Shuffle(len(back), func(a, b int) { back[a], back[b] = back[b], back[a] })
	step := i.span(500*time.Millisecond, 6*time.Second)
	w.fault(begin, fmt.Sprintf("the ways to %s fail one by one, every %s", id, step), func() {
		for n, x := range ways {
			w.then(time.Duration(n)*step, "swizzle", func() { w.net.Cut(x.from, x.to, x.path); w.log.Evaluate() })
		}
		for n, x := range back {
			w.then(time.Duration(len(ways)+n)*step, "swizzle", func() { w.net.Heal(x.from, x.to, x.path); w.log.Evaluate() })
		}
	})
}

func (w *World) cutMesh(id failover.SiteID) {
	w.tell("fault: the mesh of %s is cut", id)
	for _, o := range w.ids {
		if o != id {
			w.net.Cut(o, id, failover.PathMesh)
		}
	}
	w.log.Evaluate()
}

// crashAtRandom has agents die at the boundaries of their calls.
func (w *World) crashAtRandom(r *rand.Rand, p float64, atMost int) {
	w.crash = func(failover.SiteID, string) bool {
		if atMost == 0 || !chance(r, p) {
			return false
		}
		atMost--
		return true
	}
}

func (i *incident) machineFault(when time.Duration) {
	w, r := i.w, i.r
	f := lab.Troubles[r.IntN(len(lab.Troubles))]
	f.Match, f.Times = lab.Requests[r.IntN(len(lab.Requests))], 1+r.IntN(3)
	f.Match.Skip = r.IntN(3)
	if chance(r, 0.4) {
		f.Where = []string{"pve:", "pbs:"}[r.IntN(2)] + string(i.brique())
	}
	// Nor does a backup go with the very call that deletes what it holds: that nobody can prevent.
	loses := f.Effect == lab.EffectLoseSnapshot || f.Effect == lab.EffectCorruptSnapshot
	if loses && (w.opts.Apart || f.Match.Method == http.MethodDelete) {
		f.Effect = lab.EffectDropReply // which backups go bad, and where, is the ledger's to know (ledger.spoil)
	}
	name := fmt.Sprintf("fault %s of %d × %s/%s at %q", f.Effect, f.Times, f.Match.Method, f.Match.Path, f.Where)
	w.fault(when, name, func() {
		w.tell("fault: %s", name)
		if err := w.faults.Add(f); err != nil {
			w.check.violated(err)
		}
	})
}
