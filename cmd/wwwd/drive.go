package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/probes"
)

// rest is the shortest pause between two steps, so that a stepper that always
// has something to do leaves the processor to others.
const rest = time.Millisecond

// drive calls a stepper when it asked to be called, and whenever State
// changes, until ctx ends.
func drive(ctx context.Context, log failover.Log, s agent.Stepper) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := log.Changed() // before the step, so that no change is missed
		next := s.Step(ctx, time.Now())
		timer.Reset(max(rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

// driveAlone is drive for steppers that State does not concern.
func driveAlone(ctx context.Context, s agent.Stepper) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := s.Step(ctx, time.Now())
		timer.Reset(max(rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// stepFunc makes a Stepper of a function.
type stepFunc func(ctx context.Context, now time.Time) (next time.Time)

// Step calls the function.
func (f stepFunc) Step(ctx context.Context, now time.Time) (next time.Time) { return f(ctx, now) }

// driveProber is drive for probes. State does not concern them, but they can be
// due earlier than they said, and what is not answered soon has the whole site
// asked.
func driveProber(ctx context.Context, p *probes.Prober) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		doubt := time.AfterFunc(p.Patience(), func() { p.Doubt(time.Now()) })
		next := p.Step(ctx, time.Now())
		doubt.Stop()
		timer.Reset(max(rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-p.Woken():
		case <-timer.C:
		}
	}
}

// crew runs one goroutine per stepper of a set that changes: probes of
// targets, workers of guests. It ends those that leave the set.
type crew[S agent.Stepper, K comparable] struct {
	members func(now time.Time) []S
	key     func(S) K
	drive   func(ctx context.Context, s S)
}

// run looks at the set on every change of State and every second.
func (c crew[S, K]) run(ctx context.Context, log failover.Log) error {
	g, ctx := errgroup.WithContext(ctx)
	running := map[K]context.CancelFunc{}
	ended := make(chan K)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := log.Changed()
		wanted := map[K]bool{}
		for _, s := range c.members(time.Now()) {
			k := c.key(s)
			wanted[k] = true
			if running[k] != nil {
				continue
			}
			sub, cancel := context.WithCancel(ctx)
			running[k] = cancel
			g.Go(func() error {
				c.drive(sub, s)
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
