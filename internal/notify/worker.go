package notify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

const (
	sendWithin = 30 * time.Second // of one attempt
	workEvery  = time.Second
)

// Worker sends what one channel has in the queue, one message at a time: a slow server holds
// up no other channel.
type Worker struct {
	Channel  string
	Notifier *Notifier
}

// Step makes at most one attempt.
func (w Worker) Step(ctx context.Context, now time.Time) time.Time {
	n := w.Notifier
	conf := n.ways.Load()
	if conf == nil {
		return now.Add(workEvery)
	}
	c, ok := conf.channels[w.Channel]
	i, _ := n.Outbox.next(w.Channel, now)
	switch {
	case !ok:
		return now.Add(workEvery)
	case i == nil:
		n.idle(ctx, w.Channel, c, conf, now)
		return now.Add(workEvery)
	}
	attempt, cancel := context.WithTimeoutCause(ctx, sendWithin, fmt.Errorf("nothing within %s", sendWithin))
	defer cancel()
	err := c.sender.Send(attempt, i.Message)
	switch {
	case err == nil:
		n.Logger.Info("people were told", "channel", w.Channel, "code", i.Message.Code, "key", i.Message.Key, "kind", string(i.Message.Kind))
		n.complain(n.Outbox.sent(i, now))
	case ctx.Err() != nil:
		return now // the agent stops: the message stays where it is
	default:
		n.Logger.Warn("message not delivered", "channel", w.Channel, "code", i.Message.Code, "err", err)
		n.complain(n.Outbox.failed(i, err, now))
	}
	return now
}

// Try sends a test by channels at once, beside the queue: "" stands for all. It answers by
// channel, nil for one that has taken it.
func (n *Notifier) Try(ctx context.Context, channel string, now time.Time) (map[string]error, error) {
	conf := n.ways.Load()
	if conf == nil || len(conf.channels) == 0 {
		return nil, fmt.Errorf("this agent has no channel: write notify: into wwwd.yaml, then systemctl reload wwwd")
	}
	names := n.Channels()
	if channel != "" {
		if _, ok := conf.channels[channel]; !ok {
			return nil, fmt.Errorf("this agent has no channel %q; it has %v", channel, names)
		}
		names = []string{channel}
	}
	s := n.Log.State()
	v := view{s: s, st: failover.Explain(s, n.Local(), n.Wall()), wall: n.Wall(), loc: conf.loc}
	out := map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			attempt, cancel := context.WithTimeoutCause(ctx, sendWithin, fmt.Errorf("nothing within %s", sendWithin))
			defer cancel()
			err := conf.channels[name].sender.Send(attempt, v.test(name, "a person asked for this test", now))
			n.Outbox.tried(name, err, now)
			mu.Lock()
			defer mu.Unlock()
			out[name] = err
		})
	}
	all.Wait()
	return out, nil
}

// test is the message of wwwctl alert test, and of a channel's own tests.
func (v view) test(channel, why string, now time.Time) Message {
	site := v.st.Local.Site
	d := Due{Kind: Test, First: now, Condition: Condition{
		Key: "test:" + channel, Site: site, Urgency: Info,
		Reason: failover.Reason{Code: failover.CodeTest, Args: map[string]string{"channel": channel, "site": string(site)}},
	}}
	m := v.message(d)
	m.Subject = fmt.Sprintf("[%s] test of channel %s of %s", v.st.Network, channel, site)
	m.Text = "WHAT   " + why + "; nothing has happened\nYOU    nothing\nFROM   " + v.from() + "\n"
	m.Short = clip(ascii("WWW test of channel "+channel+" of "+string(site)+". DO: nothing"), shortLimit)
	return m
}
