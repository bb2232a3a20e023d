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

// watchdog tells systemd that the agent lives, as long as it does: its probes
// run in time and its data directory can be written. A hung log write ends the
// process by itself (cluster's store watchdog).
func watchdog(ctx context.Context, d *daemon) error {
	every, fed := watchdogEvery()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		state := "STATUS=" + d.statusLine()
		if fed && d.probes.alive(time.Now(), 3*every) {
			state += "\nWATCHDOG=1"
		}
		if err := sdNotify(state); err != nil {
			d.log.Debug("systemd not told", "err", err)
		}
	}
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
