package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// A channel that is seldom used and would fail is noticed by its trials, before the night in
// which it is needed.
const (
	trialEvery = 24 * time.Hour   // of a channel by which nothing was sent for so long
	trialAgain = 10 * time.Minute // after one that failed
)

// trier is a Sender that can be tried without telling anybody anything.
type trier interface {
	Trial(ctx context.Context) error
}

// idle looks after a channel that has nothing to send: it is tried at the start and every day,
// and by a message where its configuration asks for that.
func (n *Notifier) idle(ctx context.Context, name string, c way, w *ways, now time.Time) {
	last := n.Outbox.lastOf(name)
	attempt, cancel := context.WithTimeoutCause(ctx, sendWithin, fmt.Errorf("nothing within %s", sendWithin))
	defer cancel()
	wall := n.Wall()
	switch {
	case c.test > 0 && now.Sub(latest(last.success, last.tested, w.began)) >= c.test && !c.heldUntil(Info, wall.In(w.loc)).After(wall):
		v := view{s: n.Log.State(), st: failover.Explain(n.Log.State(), n.Local(), wall), wall: wall, loc: w.loc}
		err := c.sender.Send(attempt, v.test(name, fmt.Sprintf("a test of this channel, which has sent nothing for %s", c.test), now))
		if ctx.Err() == nil {
			n.Outbox.tested(name, err, c.test, now)
			n.tellTrial(name, err)
		}
	default:
		t, can := c.sender.(trier)
		if due := latest(last.success, last.trial); !can || !due.IsZero() && now.Sub(due) < last.pause() {
			return
		}
		err := t.Trial(attempt)
		if ctx.Err() == nil {
			n.Outbox.trial(name, err, now)
			n.tellTrial(name, err)
		}
	}
}

func (n *Notifier) tellTrial(channel string, err error) {
	if err != nil {
		n.Logger.Warn("channel tried in vain", "channel", channel, "err", err)
	}
}

func latest(times ...time.Time) time.Time {
	var out time.Time
	for _, t := range times {
		if t.After(out) {
			out = t
		}
	}
	return out
}

// lastTimes are when a channel last did what.
type lastTimes struct {
	success, tested, trial time.Time
	failed                 bool // the trial
}

func (l lastTimes) pause() time.Duration {
	if l.failed {
		return trialAgain
	}
	return trialEvery
}

func (o *Outbox) lastOf(channel string) lastTimes {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stat(channel)
	return lastTimes{success: s.Success, tested: s.tested, trial: s.trial, failed: s.trialFailed}
}

// trial notes how a trial went. One that went well ends failures of trials only: that a message
// was refused stays true until one is taken.
func (o *Outbox) trial(channel string, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stat(channel)
	s.trial = now
	switch {
	case err != nil && (s.Failures == 0 || s.trialFailed):
		s.trialFailed = true
		s.fail(fmt.Errorf("trial: %w", err), now)
	case err == nil && s.trialFailed:
		s.trialFailed, s.Failures, s.Since, s.Why = false, 0, time.Time{}, ""
	}
}

// tested notes how a channel's own test by a message went. One that failed is made again soon:
// only a message that is taken ends the failure.
func (o *Outbox) tested(channel string, err error, every time.Duration, now time.Time) {
	o.tried(channel, err, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stat(channel)
	s.tested = now
	if err != nil {
		s.tested = now.Add(min(every, trialAgain) - every)
	}
}
