package mesh_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

type readerFunc func(context.Context) ([]mesh.Peer, error)

func (f readerFunc) Peers(ctx context.Context) ([]mesh.Peer, error) { return f(ctx) }

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestWatcher(t *testing.T) {
	var fail error
	p := mesh.Peer{Interface: "wg0", PublicKey: "K", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32")}, Keepalive: 25 * time.Second}
	reads := 0
	w := &mesh.Watcher{Start: began, Reader: readerFunc(func(ctx context.Context) ([]mesh.Peer, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		reads++
		return []mesh.Peer{p, p}, fail // listed twice, as RouterOS may
	})}
	to := netip.MustParseAddr("10.77.0.2")
	now := began
	if _, err := w.Tell(now, to); !errors.Is(err, mesh.ErrNotRead) {
		t.Errorf("before: %v", err)
	}
	run := func(d time.Duration, each func()) {
		for end := now.Add(d); now.Before(end); {
			each()
			next := w.Step(t.Context(), now)
			if again := w.Step(t.Context(), now); again != next {
				t.Fatalf("woken early: next %s, want %s", again, next)
			}
			now = next
		}
	}
	run(time.Minute, func() { p.Rx += 10; p.Tx += 10 })
	if reads != 4 {
		t.Errorf("%d readings in a minute, want 4", reads)
	}
	if got, err := w.Tell(now, netip.Addr{}, to); err != nil || got.Signal != mesh.SignalWorks {
		t.Errorf("working: %+v %v", got.Judgement, err)
	}
	if _, err := w.Tell(now, netip.MustParseAddr("10.77.0.3")); !errors.Is(err, mesh.ErrNoPeer) {
		t.Errorf("another's address: %v", err)
	}
	run(90*time.Second, func() { p.Tx += 10 })
	if got, err := w.Tell(now, to); err != nil || got.Signal != mesh.SignalFrozen {
		t.Errorf("frozen: %+v %v", got.Judgement, err)
	}
	fail = mesh.ErrUnauthorized
	run(15*time.Second, func() {})
	if got, err := w.Tell(now, to); err != nil || got.Signal != mesh.SignalFrozen {
		t.Errorf("one failure later: %+v %v", got.Judgement, err)
	}
	run(time.Minute, func() {})
	if _, err := w.Tell(now, to); !errors.Is(err, mesh.ErrStale) || !errors.Is(err, mesh.ErrUnauthorized) {
		t.Errorf("a minute of failures later: %v", err)
	}
}
