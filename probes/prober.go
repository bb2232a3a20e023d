package probes

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// jitter is how far a probe may move from its interval, in each direction, so
// that the probes of many agents do not fall into step.
const jitter = 0.1

// Prober probes one target. Step is called by one driver at a time; the other
// methods may be called beside it.
type Prober struct {
	target  Target
	every   time.Duration // the target's, or the default
	rest    time.Duration // at rest, see vigil.go; zero: never at rest
	limit   time.Duration // of one probe
	primary bool          // never at rest
	probe   Func
	start   time.Time // zero of the monotonic times
	rand    *rand.Rand
	vigil   *vigil
	woken   chan struct{} // of one: Step is due earlier than it said

	mu     sync.Mutex // never held while probing
	window *Window
	next   time.Time
	begun  time.Time     // the newest probe
	spread float64       // jitter of the probe under way
	slow   time.Duration // the interval in force
	result Result
	cert   failover.Certificate // of the newest answer
	whole  time.Time            // when the target's own question was last answered with up
	late   time.Duration        // worst since TakeLate
	slowly time.Duration        // how long answers took at most, forgotten by and by
}

// newProber schedules the first probe within one interval after now.
func newProber(t Target, c SetConfig, v *vigil, primary bool, now time.Time) *Prober {
	p := &Prober{
		target:  t,
		every:   orDefault(t.Every, DefaultEvery),
		limit:   orDefault(t.Timeout, DefaultTimeout),
		primary: primary,
		probe:   c.Probe,
		start:   c.Start,
		rand:    c.Rand(string(t.Site) + "/" + t.Name + "/" + string(t.Path)),
		vigil:   v,
		woken:   make(chan struct{}, 1),
	}
	if c.Rest > p.every {
		p.rest = c.Rest
	}
	misses := c.Misses
	if t.Kind == KindTunnel {
		misses = 1 // the judgement of a tunnel has its own hysteresis
	}
	p.slow = p.every
	p.window = NewWindow(misses, p.pace())
	p.next = now.Add(time.Duration(p.rand.Float64() * float64(p.every)))
	return p
}

func orDefault[T int | time.Duration](d, def T) T {
	if d <= 0 {
		return def
	}
	return d
}

// pace is how far apart probes may be when all is in order: one that takes its
// whole time delays the next.
func (p *Prober) pace() time.Duration { return max(p.slow, p.limit) }

// Target returns what is probed.
func (p *Prober) Target() Target { return p.target }

// Step probes the target if it is due, under the target's own timeout, and
// returns when the next probe is. Intervals run from start to start; probes
// that were missed are not made up for.
//
// A result counts from the moment the probe began: the only time that Step is
// given, and the early end of what the answer proves.
func (p *Prober) Step(ctx context.Context, now time.Time) (next time.Time) {
	question, due := p.claim(now)
	if !due {
		return p.Next()
	}
	limited, cancel := context.WithTimeout(ctx, p.limit)
	r := p.probe(limited, question)
	cancel()
	trouble := p.fold(question, r, now)
	if p.rest > 0 {
		// Had the answer only been late, the others would have been asked by then too.
		p.vigil.tell(p, trouble, now.Add(p.Patience()))
	}
	return p.schedule(now)
}

// claim returns the question to ask, and whether one is due; if so it schedules
// the next as if all targets were asked at each interval.
func (p *Prober) claim(now time.Time) (question Target, due bool) {
	calm := p.rest > 0 && !p.vigil.alarmed()
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.next) {
		return Target{}, false
	}
	p.late = max(p.late, now.Sub(p.next))
	p.begun = now
	p.spread = 1 + jitter*(2*p.rand.Float64()-1)
	p.next = now.Add(time.Duration(float64(p.every) * p.spread))
	question = p.target
	knocks := question.Kind == KindTLS || question.Kind == KindBanner
	if calm && p.primary && knocks && p.result.Seen == failover.SeenUp && now.Sub(p.whole) < p.rest {
		// The service has proved itself lately: that its address still takes
		// connections will do, for a tenth of the cost. A miss of this question
		// is one of the other too.
		question.Kind = KindKnock
	}
	return question, true
}

// fold adds a result to the window and says whether the target misses answers
// in a way that concerns its site.
func (p *Prober) fold(question Target, r Result, now time.Time) (trouble bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Seen == failover.SeenUp && question.Kind == KindKnock {
		r.Note = p.result.Note // what the service said of itself
	} else if r.Seen == failover.SeenUp {
		p.whole = now
	}
	p.result = r
	if r.Seen.Alive() {
		p.cert = r.Certificate
	}
	p.slowly = max(r.RTT, p.slowly-p.slowly/50)
	at := now.Sub(p.start)
	p.window.Add(r.Seen, r.Note, at)
	since, missing := p.window.Missing()
	return missing && !background(p.target) && at-since < calmAfter
}

// schedule sets the time of the next probe by what is known now.
func (p *Prober) schedule(now time.Time) time.Time {
	alarmed := p.rest > 0 && p.vigil.alarmed()
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.slow
	p.slow = p.interval(alarmed)
	if p.slow != p.every {
		spread := p.spread
		if before == p.every {
			spread = 0.5 + p.rand.Float64()/2 // those of a volley part again
		}
		p.next = now.Add(time.Duration(float64(p.slow) * spread))
	}
	if p.result.Seen != failover.SeenUnknown {
		p.window.Pace(p.pace())
	}
	return p.next
}

// interval is the one in force. Whatever is unknown, or silent against its
// custom, is not at rest.
func (p *Prober) interval(alarmed bool) time.Duration {
	seen, _ := p.window.state()
	_, missing := p.window.Missing()
	switch {
	case p.rest == 0, p.primary, alarmed, seen == failover.SeenUnknown, missing && !background(p.target):
		return p.every
	}
	return p.rest
}

// pull moves the next probe to just after a time, if it would come later. Two
// probes are never closer than an interval: five misses in a row must not be
// had in less than five intervals.
func (p *Prober) pull(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at = at.Add(time.Duration(p.rand.Float64() * float64(volley)))
	at = latest(at, p.begun.Add(time.Duration(float64(p.every)*(1-jitter))))
	if !at.Before(p.next) {
		return
	}
	p.next = at
	select {
	case p.woken <- struct{}{}:
	default: // is told already
	}
}

// Patience is how long the answer to a probe may take before Doubt is called
// for: DoubtAfter, or one and a half times what answers took lately. A whole
// handshake over LTE takes several round trips, and must not keep its site awake.
func (p *Prober) Patience() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(DoubtAfter, min(p.slowly*3/2, p.limit))
}

// Doubt says that the probe under way has not been answered within Patience:
// the other targets of the site are asked too. The driver calls it. A target
// that has missed answers before has called them already.
func (p *Prober) Doubt(now time.Time) {
	p.mu.Lock()
	_, missing := p.window.Missing()
	p.mu.Unlock()
	if p.rest > 0 && !missing && !background(p.target) {
		p.vigil.call(p, now)
	}
}

// Woken is sent to when Step became due earlier than it last said.
func (p *Prober) Woken() <-chan struct{} { return p.woken }

// Next returns when the next probe is due.
func (p *Prober) Next() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// Observe returns what the prober's window sees.
func (p *Prober) Observe(now time.Time) failover.Observation {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, lasted, note := p.window.Observe(now.Sub(p.start))
	o := failover.Observation{
		Site: p.target.Site, Target: p.target.Name, Path: p.target.Path,
		Seen: seen, For: lasted, Note: note,
	}
	if seen.Alive() {
		o.Certificate = p.cert
	}
	return o
}

// Last returns the newest result; the zero Result before the first probe.
func (p *Prober) Last() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result
}

// TakeLate returns by how many intervals the prober was late at worst since
// the last call, a probe that is overdue now included.
func (p *Prober) TakeLate(now time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := max(p.late, now.Sub(p.next))
	p.late = 0
	return float64(late) / float64(p.pace())
}
