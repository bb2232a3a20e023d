package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestWatchdogIsFedByHealth: what systemd hears while the agent is well, while its own loop or
// disk is not, and while Raft hangs; its state it hears always.
func TestWatchdogIsFedByHealth(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	var late, hangs atomic.Bool
	f := feeder{
		every: 20 * time.Millisecond, fed: true, status: func() string { return "follows" }, log: slog.New(slog.DiscardHandler),
		pulse: func(within time.Duration) bool { return within == 60*time.Millisecond && !late.Load() },
		turns: func(ctx context.Context) error {
			if !hangs.Load() {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	hear := func() string {
		t.Helper()
		b := make([]byte, 256)
		if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	expect := func(what string, fed bool) {
		t.Helper()
		var said string
		for range 5 { // a look that had begun before the change
			said = hear()
			if !strings.HasPrefix(said, "STATUS=follows") {
				t.Fatalf("%s: systemd hears %q", what, said)
			}
			if strings.Contains(said, "WATCHDOG=1") == fed {
				return
			}
		}
		t.Errorf("%s: systemd hears %q, want it fed: %t", what, said, fed)
	}
	expect("well", true)
	late.Store(true)
	expect("late", false)
	late.Store(false)
	expect("in time again", true)
	hangs.Store(true)
	expect("Raft hangs", false)
	hangs.Store(false)
	expect("Raft goes on", true)
}

// A socket that is gone is no reason to end.
func TestSystemdThatIsGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := sdNotify("READY=1"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("nobody there: %v, want an error that says so", err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := sdNotify("READY=1"); err != nil {
		t.Errorf("without systemd: %v", err)
	}
}
