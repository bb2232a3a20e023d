package detectbench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// rates of trouble of a line: the link model of the reference (its rates are
// assumptions; only the ratios between detectors are robust).
type rates struct{ short, micro, medium, bursts float64 } // per 30.4 days, bursts per day

var lineRates = map[Line]rates{
	Fibre: {short: 2, micro: 2, medium: 0.4, bursts: 1},
	ADSL:  {short: 6, micro: 4, medium: 1, bursts: 6},
	LTE:   {short: 15, micro: 6, medium: 1.5, bursts: 20},
}

// baselineLoss is the share of probes that a line loses when nothing is wrong.
// Five in a row of them (once in years for one window) are left out: they could
// only ever be one voice alone.
var baselineLoss = map[Line]float64{Fibre: 0.002, ADSL: 0.006, LTE: 0.012}

// commonCause is the share of a fibre's outages that take the LTE line of the
// same site along: power, box, exchange.
const commonCause = 0.05

const (
	day   = 24 * time.Hour
	month = 365 * day / 12
	// trueLoss is the length from which an outage counts as a loss and not as regret.
	trueLoss = 10 * time.Minute
)

// Trace is what is wrong in one network's life, in the order of beginning.
type Trace struct {
	Length  int64 // milliseconds
	Effects []Effect
}

// generator draws a Trace; every kind of trouble has its own stream.
type generator struct {
	seed   uint64
	length time.Duration
	scale  float64
	place  *Place
	out    []Effect
}

// NewTrace draws the life of a network. scale multiplies all rates: 1, but for
// tests that have only days.
func NewTrace(seed uint64, place *Place, length time.Duration, scale float64) Trace {
	g := &generator{seed: seed, length: length, scale: scale, place: place}
	for s := range sites {
		for n, line := range place.Lines[s].uplinks() {
			g.line(s, n, line)
		}
		g.site(s)
		g.observer(s)
		for o := range s {
			g.every("pair", s*sites+o, 12, func(r *rand.Rand, at int64) {
				g.add(r, Effect{Kind: pairDown, Site: s, Other: o, From: at}, 30*time.Second, 30*time.Minute)
			})
		}
	}
	for isp := range briques {
		g.every("isp", isp, 1, func(r *rand.Rand, at int64) {
			d := logUniform(r, 30*time.Second, 30*time.Minute)
			for s := range sites {
				if isps[s] == isp {
					g.out = append(g.out, Effect{Kind: lineDown, Site: s, From: at, To: at + d})
				}
			}
		})
	}
	slices.SortStableFunc(g.out, func(a, b Effect) int { return int(a.From - b.From) })
	return Trace{Length: length.Milliseconds(), Effects: g.out}
}

// every calls f at the moments of a Poisson process of so many per year.
func (g *generator) every(name string, n int, perYear float64, f func(r *rand.Rand, at int64)) {
	r := stream(g.seed, fmt.Sprintf("%s %d", name, n))
	mean := float64(365*day) / (perYear * g.scale)
	at := time.Minute + time.Duration(mean*r.ExpFloat64())
	for at < g.length-time.Hour {
		f(r, at.Milliseconds())
		at += time.Duration(math.Min(mean*r.ExpFloat64(), float64(10*365*day)))
	}
}

// add gives an effect a log-uniform duration.
func (g *generator) add(r *rand.Rand, e Effect, from, to time.Duration) Effect {
	e.To = e.From + logUniform(r, from, to)
	g.out = append(g.out, e)
	return e
}

// line draws the trouble of one uplink.
func (g *generator) line(s, n int, line Line) {
	rate := lineRates[line]
	outage := func(name string, perYear float64, from, to time.Duration) {
		g.every(fmt.Sprintf("%s %d", name, n), s, perYear, func(r *rand.Rand, at int64) {
			e := g.add(r, Effect{Kind: lineDown, Site: s, N: n, From: at}, from, to)
			if g.place.Lines[s] == Dual && n == 0 && r.Float64() < commonCause {
				e.N = 1
				g.out = append(g.out, e)
			}
		})
	}
	outage("short", rate.short*12, 3*time.Second, 30*time.Second)
	outage("micro", rate.micro*12, 30*time.Second, 2*time.Minute)
	outage("medium", rate.medium*12, 2*time.Minute, trueLoss)
	outage("long", 0.5, trueLoss, 4*time.Hour)
	if g.place.Lines[s] == Dual && n == 1 {
		return // bursts on a line that is not in use
	}
	g.every("burst", s, rate.bursts*365, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: lossBurst, Site: s, N: n, From: at}, 2*time.Second, 20*time.Second)
	})
}

// site draws the trouble of a site besides its lines.
func (g *generator) site(s int) {
	g.every("power", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: powerOff, Site: s, From: at}, trueLoss, 4*time.Hour)
	})
	g.every("stall", s, 6, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: agentStall, Site: s, From: at}, 5*time.Second, 40*time.Second)
	})
	g.every("host stall", s, 6, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: hostDown, Site: s, N: r.IntN(2), From: at}, 5*time.Second, 40*time.Second)
	})
	g.every("reboot", s, 3, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: hostDown, Reboot: true, Site: s, N: r.IntN(2), From: at}, time.Minute, 4*time.Minute)
	})
	g.every("mesh", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: meshDown, Site: s, From: at}, 30*time.Second, 20*time.Minute)
	})
	g.every("public", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: publicDown, Site: s, From: at}, 30*time.Second, 20*time.Minute)
	})
	g.every("transit", s, 0.5, func(r *rand.Rand, at int64) {
		// Asymmetric: two or three of the four others lose the site, the rest see it.
		mask := uint8(0)
		for _, i := range r.Perm(sites - 1)[:2+r.IntN(2)] {
			mask |= 1 << ((s + 1 + i) % sites)
		}
		g.add(r, Effect{Kind: cutFrom, Site: s, Mask: mask, From: at}, 30*time.Second, 20*time.Minute)
	})
}

// observer draws what makes a site's agent a bad witness.
func (g *generator) observer(s int) {
	other := func(r *rand.Rand) int { return (s + 1 + r.IntN(sites-1)) % sites }
	g.every("slow", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: slowLoop, Site: s, N: 2 + r.IntN(3), From: at}, 10*time.Second, 2*time.Minute)
	})
	g.every("clock", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: clockJump, Site: s, From: at}, time.Second, 2*time.Second)
	})
	g.every("deaf", s, 0.5, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: deaf, Site: s, From: at}, 30*time.Second, 20*time.Minute)
	})
	g.every("says down", s, 0.25, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: sayDown, Site: s, Other: other(r), From: at}, time.Minute, 20*time.Minute)
	})
	g.every("says up", s, 0.25, func(r *rand.Rand, at int64) {
		g.add(r, Effect{Kind: sayUp, Site: s, Other: other(r), From: at}, time.Minute, 20*time.Minute)
	})
}

// Times around a cluster of effects, in milliseconds.
const (
	preroll = 6_000   // of full stepping before an effect: every window has had a sighting
	calm    = 150_000 // effects that are nearer than this are lived through as one
)

// Cluster is a stretch of a trace in which something is wrong all along, or
// nearly so.
type Cluster struct {
	From, To int64 // of its effects
	Effects  []Effect
	index    int // in the trace
	weight   int // how many like it this one stands for
}

// Clusters cuts a trace where nothing happens for long enough.
func (t Trace) Clusters() []Cluster {
	var out []Cluster
	for _, e := range t.Effects {
		if n := len(out); n > 0 && e.From < out[n-1].To+calm {
			c := &out[n-1]
			c.To = max(c.To, e.To)
			c.Effects = append(c.Effects, e)
			continue
		}
		out = append(out, Cluster{From: e.From, To: e.To, Effects: []Effect{e}})
	}
	return out
}
