package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// DeadMan calls an address outside at an interval, as long as the agent is well: it is the
// silence that tells.
type DeadMan struct {
	Name   string
	Ping   Ping
	Edge   Edge
	Well   func() bool
	Done   func(name string, at time.Time) // it was called and has answered
	Logger *slog.Logger
}

// DefaultPing is how often a dead man's switch is called.
const DefaultPing = 5 * time.Minute

// Step calls once.
func (d DeadMan) Step(ctx context.Context, now time.Time) time.Time {
	every := d.Ping.Every.D()
	if every == 0 {
		every = DefaultPing
	}
	if !d.Well() {
		return now.Add(workEvery)
	}
	if err := d.call(ctx); err != nil {
		if ctx.Err() == nil {
			d.Logger.Warn("dead man's switch not called", "target", d.Name, "err", err)
		}
		return now.Add(min(every, time.Minute)) // one lost packet is no silence yet
	}
	d.Done(d.Name, now)
	return now.Add(every)
}

func (d DeadMan) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sendWithin, fmt.Errorf("nothing within %s", sendWithin))
	defer cancel()
	to, err := address(d.Ping.URL, d.Ping.URLFile)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, http.NoBody)
	if err != nil {
		return withoutURL(err)
	}
	t, err := transport(d.Ping.CAFile, d.Edge)
	if err != nil {
		return err
	}
	return call(t, req)
}
