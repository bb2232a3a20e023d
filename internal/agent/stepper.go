package agent

import (
	"context"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Stepper does one thing at a time.
type Stepper interface {
	// Step makes at most one outside call and returns when to call again at
	// the latest; a change of State may call it sooner. Steps of one Stepper
	// never overlap.
	Step(ctx context.Context, now time.Time) (next time.Time)
}

// idle is how long a stepper with nothing to do waits for a change of State.
const idle = 5 * time.Second

// LogClock tells the time that the log counts by: the newest stamp that
// reached this agent, and the monotonic time since. A wrong wall clock, here
// or at the leader, neither hastens nor delays anything that reads it.
//
// The stamps of a new term may begin behind what this clock would say: a leader
// whose wall clock was far ahead has moved the log's time there, and those after
// it go on from its last stamp, not counting the time in which nobody led. What
// reads the log must then count as the log does, or every report looks old.
type LogClock struct {
	mu    sync.Mutex
	stamp time.Time // the State.Clock that it goes on from
	seen  time.Time // when that came, by the caller's monotonic clock
	last  time.Time // State.Clock when Now was called last
	asked time.Time // when that was
}

// Now returns the log's time. now must carry a monotonic reading, or come from
// one virtual clock.
func (c *LogClock) Now(s *failover.State, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.last, c.asked = s.Clock, now }()
	switch {
	case !s.Clock.After(c.last): // no news
	case s.Clock.After(c.at(now)) || c.stamp.IsZero():
		c.stamp, c.seen = s.Clock, now
	case c.at(c.asked).Sub(s.Clock) > clockLead: // it came after that, so that is how far this one is ahead at least
		c.stamp, c.seen = s.Clock, c.asked
	}
	return c.at(now)
}

func (c *LogClock) at(now time.Time) time.Time {
	if c.stamp.IsZero() {
		return now
	}
	return c.stamp.Add(now.Sub(c.seen))
}

// clockLead is how far this clock may be ahead of the log's before it follows
// back: a stamp takes some time to get here.
const clockLead = 2 * time.Second

// proposeTimeout bounds a proposal: an election takes about 4 s.
const proposeTimeout = 10 * time.Second

// callTimeout bounds one request to Proxmox. pveproxy itself gives up on its
// backend after 30 s (596), so that a longer wait tells nothing.
const callTimeout = 35 * time.Second
