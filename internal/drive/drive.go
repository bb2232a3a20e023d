// Package drive calls steppers when they are due: the loops between the code that
// never waits and the clock. Each runs until its context ends.
package drive

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
)

// Stepper does at most one thing per step and says when to be called again.
type Stepper interface {
	Step(ctx context.Context, now time.Time) (next time.Time)
}

// Rest is the shortest pause between two steps, so that a stepper that always
// has something to do leaves the processor to others.
const Rest = time.Millisecond

// Run calls a stepper when it asked to be called, and whenever State
// changes, until ctx ends.
func Run(ctx context.Context, log failover.Log, s Stepper) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := log.Changed() // before the step, so that no change is missed
		next := s.Step(ctx, time.Now())
		timer.Reset(max(Rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

// Alone is Run for steppers that State does not concern.
func Alone(ctx context.Context, s Stepper) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := s.Step(ctx, time.Now())
		timer.Reset(max(Rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// Func makes a Stepper of a function.
type Func func(ctx context.Context, now time.Time) (next time.Time)

// Step calls the function.
func (f Func) Step(ctx context.Context, now time.Time) (next time.Time) { return f(ctx, now) }

// Prober is what Probe drives: a probe of one target.
type Prober interface {
	Stepper
	Patience() time.Duration
	Doubt(now time.Time)
	Woken() <-chan struct{}
}

// Probe is Run for probes. State does not concern them, but they can be
// due earlier than they said, and what is not answered soon has the whole site
// asked.
func Probe(ctx context.Context, p Prober) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		doubt := time.AfterFunc(p.Patience(), func() { p.Doubt(time.Now()) })
		next := p.Step(ctx, time.Now())
		doubt.Stop()
		timer.Reset(max(Rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-p.Woken():
		case <-timer.C:
		}
	}
}

// Crew runs one goroutine per stepper of a set that changes: probes of
// targets, workers of guests. It ends those that leave the set.
type Crew[S Stepper, K comparable] struct {
	Members func(now time.Time) []S
	Key     func(S) K
	Drive   func(ctx context.Context, s S)
}

// Run looks at the set on every change of State and every second.
func (c Crew[S, K]) Run(ctx context.Context, log failover.Log) error {
	g, ctx := errgroup.WithContext(ctx)
	running := map[K]context.CancelFunc{}
	ended := make(chan K)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := log.Changed()
		wanted := map[K]bool{}
		for _, s := range c.Members(time.Now()) {
			k := c.Key(s)
			wanted[k] = true
			if running[k] != nil {
				continue
			}
			sub, cancel := context.WithCancel(ctx)
			running[k] = cancel
			g.Go(func() error {
				c.Drive(sub, s)
				select {
				case ended <- k:
				case <-ctx.Done():
				}
				return nil
			})
		}
		for k, cancel := range running {
			if !wanted[k] {
				cancel()
			}
		}
		select {
		case <-ctx.Done():
		case k := <-ended:
			running[k]()
			delete(running, k)
		case <-changed:
		case <-tick.C:
		}
	}
	for _, cancel := range running {
		cancel()
	}
	return g.Wait()
}
