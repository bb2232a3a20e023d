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

// Prober probes one target. Step is called by one driver at a time; Observe
// may be called beside it.
type Prober struct {
	target Target
	every  time.Duration // the target's, or the default
	limit  time.Duration // of one probe
	probe  Func
	start  time.Time // zero of the monotonic times
	rand   *rand.Rand

	mu     sync.Mutex // never held while probing
	window *Window
	next   time.Time
	result Result
	late   time.Duration // worst since TakeLate
}

// newProber schedules the first probe within one interval after now.
func newProber(t Target, c SetConfig, now time.Time) *Prober {
	p := &Prober{
		target: t,
		every:  orDefault(t.Every, DefaultEvery),
		limit:  orDefault(t.Timeout, DefaultTimeout),
		probe:  c.Probe,
		start:  c.Start,
		rand:   c.Rand(string(t.Site) + "/" + t.Name + "/" + string(t.Path)),
	}
	p.window = NewWindow(c.Misses, p.pace())
	p.next = now.Add(time.Duration(p.rand.Float64() * float64(p.every)))
	return p
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// pace is how far apart probes may be when all is in order: one that takes its
// whole time delays the next.
func (p *Prober) pace() time.Duration { return max(p.every, p.limit) }

// Target returns what is probed.
func (p *Prober) Target() Target { return p.target }

// Step probes the target if it is due, under the target's own timeout, and
// returns when the next probe is. Intervals run from start to start; probes
// that were missed are not made up for.
//
// A result counts from the moment the probe began: the only time that Step is
// given, and the early end of what the answer proves.
func (p *Prober) Step(ctx context.Context, now time.Time) (next time.Time) {
	if next, due := p.claim(now); !due {
		return next
	}
	limited, cancel := context.WithTimeout(ctx, p.limit)
	r := p.probe(limited, p.target)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result = r
	p.window.Add(r.Seen, r.Note, now.Sub(p.start))
	return p.next
}

// claim says whether a probe is due, and if so schedules the one after it.
func (p *Prober) claim(now time.Time) (next time.Time, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.next) {
		return p.next, false
	}
	p.late = max(p.late, now.Sub(p.next))
	spread := 1 + jitter*(2*p.rand.Float64()-1)
	p.next = now.Add(time.Duration(float64(p.every) * spread))
	return p.next, true
}

// Observe returns what the prober's window sees.
func (p *Prober) Observe(now time.Time) failover.Observation {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, lasted, note := p.window.Observe(now.Sub(p.start))
	return failover.Observation{
		Site: p.target.Site, Target: p.target.Name, Path: p.target.Path,
		Seen: seen, For: lasted, Note: note,
	}
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
