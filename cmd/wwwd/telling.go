package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/notify"
)

// teller is this agent's part in telling people (internal/notify).
type teller struct {
	d        *daemon
	notifier *notify.Notifier
	edge     notify.Edge

	mu    sync.Mutex // over memory only
	pings map[string]notify.Ping
	pung  map[string]time.Time
}

// openTelling opens the queue. An agent whose disk has spoilt it tells all the same.
func (d *daemon) openTelling(context.Context) error {
	dir := filepath.Join(d.conf.DataDir, "notify")
	log := d.log.With("component", "notify")
	queue, err := notify.OpenOutbox(filepath.Join(dir, "queue"))
	if err != nil {
		log.Warn("queue of messages of an earlier run", "err", err)
	}
	t := &teller{
		d: d, pung: map[string]time.Time{},
		// The kernel chooses the source: a channel may be this machine's own mail server.
		edge: notify.Edge{Dial: (&net.Dialer{}).DialContext, Now: time.Now},
		notifier: &notify.Notifier{
			Site: d.conf.Site, Log: d.node, Local: d.backend().Local, Wall: d.backend().Now, Outbox: queue, Logger: log,
			Book: filepath.Join(dir, "alone.json"),
		},
	}
	d.tell = t
	return errors.Join(t.take(d.conf.Notify), api.RegisterChannels(d.reg, t.samples))
}

// take takes a configuration over: at the start, and at a reload.
func (t *teller) take(c notify.Config) error {
	t.mu.Lock()
	t.pings = c.DeadMan
	t.mu.Unlock()
	return t.notifier.Take(c, t.edge)
}

// run tells until ctx ends.
func (t *teller) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { drive.Alone(ctx, t.notifier); return nil })
	workers := drive.Crew[notify.Worker, notify.Worker]{
		Members: func(time.Time) (out []notify.Worker) {
			for _, name := range t.notifier.Channels() {
				out = append(out, notify.Worker{Channel: name, Notifier: t.notifier})
			}
			return out
		},
		Key:   func(w notify.Worker) notify.Worker { return w },
		Drive: func(ctx context.Context, w notify.Worker) { drive.Alone(ctx, w) },
	}
	g.Go(func() error { return workers.Run(ctx, t.d.node) })
	type key struct {
		name string
		ping notify.Ping
	}
	pings := drive.Crew[notify.DeadMan, key]{
		Members: t.deadMen,
		Key:     func(d notify.DeadMan) key { return key{d.Name, d.Ping} },
		Drive:   func(ctx context.Context, d notify.DeadMan) { drive.Alone(ctx, d) },
	}
	g.Go(func() error { return pings.Run(ctx, t.d.node) })
}

// wellWithin is how fresh this agent's own pulse must be for a sign of life.
const wellWithin = 30 * time.Second

func (t *teller) deadMen(time.Time) []notify.DeadMan {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []notify.DeadMan
	for _, name := range network.SortedKeys(t.pings) {
		out = append(out, notify.DeadMan{
			Name: name, Ping: t.pings[name], Edge: t.edge, Logger: t.notifier.Logger,
			Well: func() bool { return t.d.probes.alive(time.Now(), wellWithin) }, Done: t.pinged,
		})
	}
	return out
}

func (t *teller) pinged(name string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pung[name] = at
}

// samples is what metrics show.
func (t *teller) samples() api.Telling {
	out := api.Telling{Pings: map[string]time.Time{}}
	names := t.notifier.Channels()
	stats := t.notifier.Outbox.Stats(names)
	for _, name := range names {
		s := stats[name]
		out.Channels = append(out.Channels, api.ChannelSample{Channel: name, Waiting: s.Waiting, Failures: s.Failures, Success: s.Success, Results: s.Results})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.pings {
		out.Pings[name] = t.pung[name]
	}
	return out
}

// views is what status and doctor show.
func (t *teller) views() []failover.ChannelView {
	if t == nil { // not opened yet
		return nil
	}
	return t.notifier.Views()
}

// testRequest asks for a test of channels; no name: of all.
type testRequest struct {
	Channel string `json:"channel"`
}

// test answers for wwwctl alert test, one line per channel.
func (t *teller) test(ctx context.Context, q testRequest) (string, error) {
	got, err := t.notifier.Try(ctx, q.Channel, time.Now())
	if err != nil {
		return "", err
	}
	text, failed := "", 0
	for _, name := range network.SortedKeys(got) {
		line := name + ": taken"
		if got[name] != nil {
			line, failed = fmt.Sprintf("%s: FAILED, %v", name, got[name]), failed+1
		}
		if text != "" {
			text += "\n"
		}
		text += line
	}
	if failed > 0 {
		return "", fmt.Errorf("%d of %d channels failed\n%s", failed, len(got), text)
	}
	return text, nil
}
