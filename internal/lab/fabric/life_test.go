package fabric_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

func TestKillIsSilenceUntilRevive(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Mesh, ln.Addr())
	client, server := pair(t, ln, alpha, to)
	if err := f.Kill("beta"); err != nil {
		t.Fatal(err)
	}
	if got := f.Dead(); len(got) != 1 || got[0] != "beta" {
		t.Errorf("Dead: got %v, want [beta]", got)
	}
	server.Close() // as its process is killed
	ln.Close()
	send(t, client, "anyone?")
	silent(t, client)
	for _, from := range []netip.Addr{alpha, betaHost, outside} {
		if c, err := dialFor(t.Context(), quiet, from, to); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial the dead site from %s: got %v, %v, want a time-out", from, c, err)
		}
	}
	if err := f.Kill("beta"); err != nil {
		t.Errorf("second Kill: %v", err)
	}
	if err := f.Revive("beta"); err != nil {
		t.Fatal(err)
	}
	ends(t, client, syscall.ECONNRESET)
	refused(t, alpha, to) // power is back, the process is not
	again, err := net.Listen("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	pair(t, again.(*net.TCPListener), alpha, to)
	if got := f.Dead(); len(got) != 0 {
		t.Errorf("Dead after Revive: got %v, want none", got)
	}
}

func TestKillSilencesWhatTheSiteDialled(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
	if err := f.Kill("alpha"); err != nil { // has no service here, only a source
		t.Fatal(err)
	}
	client.Close()
	silent(t, server)
	if err := f.Revive("alpha"); err != nil {
		t.Fatal(err)
	}
	ends(t, server, syscall.ECONNRESET)
}

func TestKillReviveManyTimes(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Mesh, ln.Addr())
	for range 20 {
		if err := f.Kill("beta"); err != nil {
			t.Fatal(err)
		}
		if err := f.Revive("beta"); err != nil {
			t.Fatal(err)
		}
		client, server := pair(t, ln, alpha, to)
		client.Close()
		ends(t, server, io.EOF)
	}
}

func TestKillAndReviveAtOnceLeaveAWorkingSite(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Mesh, ln.Addr())
	errs := make(chan error)
	for i := range 20 {
		go func() {
			if i%2 == 0 {
				errs <- f.Kill("beta")
			} else {
				errs <- f.Revive("beta")
			}
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := f.Revive("beta"); err != nil {
		t.Fatal(err)
	}
	pair(t, ln, alpha, to)
}

func TestServiceOfDeadSiteIsAddedDead(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	if err := f.Kill("beta"); err != nil {
		t.Fatal(err)
	}
	var to string
	for range 20 { // the accept of a new listener must never win against its black hole
		to = add(t, f, fabric.Mesh, ln.Addr())
		if _, err := dialFor(t.Context(), quiet/10, alpha, to); err == nil {
			t.Fatal("dial a service added to a dead site: connected, want a time-out")
		}
	}
	if err := f.Revive("beta"); err != nil {
		t.Fatal(err)
	}
	pair(t, ln, alpha, to)
}

func TestCloseResetsAndFrees(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Mesh, ln.Addr())
	client, server := pair(t, ln, alpha, to)
	f.Cut("alpha", "beta", fabric.Mesh)
	held := dial(t, alpha, to)
	if err := f.Kill("gamma"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server, held} {
		ends(t, c, syscall.ECONNRESET)
	}
	free, err := net.Listen("tcp4", to)
	if err != nil {
		t.Fatalf("listen on the address of a closed fabric: %v", err)
	}
	free.Close()
	if err := f.Kill("beta"); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("Kill after Close: got %v, want %v", err, fabric.ErrClosed)
	}
}
