package probes

import (
	"context"
	"errors"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Uplink watches this agent's own way out over its declared anchors. It is
// unwell only when every anchor is silent: one that answers proves the way.
type Uplink struct{ set *Set }

// NewUplink returns an Uplink without anchors, which is well.
func NewUplink(c SetConfig) *Uplink {
	ask := c.Probe
	c.Probe = func(ctx context.Context, t Target) Result {
		r := ask(ctx, t)
		if r.Seen == failover.SeenUnknown && !errors.Is(ctx.Err(), context.Canceled) {
			// Of a target, "could not be tried" says nothing. Of our own way out it says that there is none.
			r.Seen = failover.SeenDown
		}
		return r
	}
	return &Uplink{set: NewSet(c)}
}

// Update replaces the anchors (see AnchorTargets).
func (u *Uplink) Update(anchors []Target, now time.Time) { u.set.Update(anchors, now) }

// Steppers returns the probers of the anchors.
func (u *Uplink) Steppers() []*Prober { return u.set.Steppers() }

// Observations returns what is seen of the anchors, for status; they are no
// part of a Report.
func (u *Uplink) Observations(now time.Time) []failover.Observation { return u.set.Observations(now) }

// Well says whether the uplink works as far as can be told: no anchor is
// declared, or one at least is not silent.
func (u *Uplink) Well(now time.Time) bool {
	anchors := u.set.Observations(now)
	for _, o := range anchors {
		if o.Seen != failover.SeenDown {
			return true
		}
	}
	return len(anchors) == 0
}
