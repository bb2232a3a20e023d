package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// sdNotify tells systemd something (sd_notify(3)): one datagram to the socket
// named by NOTIFY_SOCKET. Without systemd it does nothing.
func sdNotify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if abstract, ok := strings.CutPrefix(path, "@"); ok {
		path = "\x00" + abstract
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

func notifyReady(log *slog.Logger) {
	if err := sdNotify("READY=1"); err != nil {
		log.Warn("systemd not told", "err", err)
	}
}

func notifyStopping() { _ = sdNotify("STOPPING=1") } // the process ends either way

// watchdogEvery is how often systemd wants to hear, and whether it does.
func watchdogEvery() (every time.Duration, fed bool) {
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		return time.Duration(usec) * time.Microsecond / 3, true
	}
	return 10 * time.Second, false
}

// watchdog tells systemd that the agent lives, as long as it does: its own pulse is taken in
// time, its data directory can be written, and Raft takes up work. A hung log write ends the
// process by itself (cluster's store watchdog).
func watchdog(ctx context.Context, d *daemon) error {
	every, fed := watchdogEvery()
	w := feeder{
		every: every, fed: fed, status: d.statusLine, log: d.log,
		pulse: func(within time.Duration) bool { return d.probes.alive(time.Now(), within) }, turns: d.node.Turns,
	}
	return w.run(ctx)
}

// feeder feeds systemd's watchdog, and says what the agent is doing.
type feeder struct {
	every  time.Duration
	fed    bool // whether systemd wants to hear
	pulse  func(within time.Duration) bool
	turns  func(ctx context.Context) error
	status func() string
	log    *slog.Logger
}

func (f feeder) run(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		state := "STATUS=" + f.status()
		if f.fed && f.well(ctx) {
			state += "\nWATCHDOG=1"
		}
		if err := sdNotify(state); err != nil {
			f.log.Debug("systemd not told", "err", err)
		}
	}
}

// well asks Raft for as long as there is until the next turn.
func (f feeder) well(ctx context.Context) bool {
	if !f.pulse(3 * f.every) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, f.every)
	defer cancel()
	err := f.turns(ctx)
	if err != nil {
		f.log.Warn("Raft does not answer", "err", err)
	}
	return err == nil
}

// statusLine is what `systemctl status wwwd` shows.
func (d *daemon) statusLine() string {
	s := d.node.State()
	v := d.backend().Local()
	switch {
	case s.Network == nil:
		return "no network declared yet"
	case v.IsLeader:
		return fmt.Sprintf("leader of %s, term %d, %d voters", s.Network.Network, s.Term, s.Voters())
	case v.HasLeader:
		return fmt.Sprintf("follower of %s, term %d, %d voters", s.Leader, s.Term, s.Voters())
	}
	return fmt.Sprintf("no leader heard for %s", v.LastContact.Round(time.Second))
}
