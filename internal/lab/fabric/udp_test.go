package fabric_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

// udpService publishes a UDP backend of beta beside a TCP one.
func udpService(t *testing.T, f *fabric.Fabric) (to string, socket *net.UDPConn) {
	t.Helper()
	ln := backend(t)
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ln.Addr().String())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	err = f.Add(t.Context(), fabric.Service{
		Name: "dns", Site: "beta", Path: fabric.Mesh, UDP: true,
		Listen: netip.AddrPortFrom(beta, 0), Backend: netip.MustParseAddrPort(ln.Addr().String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.Services()[0].Listen.String(), socket
}

func udpClient(t *testing.T, from netip.Addr, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}
	c, err := d.DialContext(t.Context(), "udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// heard reads one datagram at the backend and returns who sent it.
func heard(t *testing.T, socket *net.UDPConn, want string) netip.AddrPort {
	t.Helper()
	socket.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	n, from, err := socket.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != want {
		t.Fatalf("backend: got %q, %v, want %q", b[:n], err, want)
	}
	return from
}

func answer(t *testing.T, socket *net.UDPConn, to netip.AddrPort, s string) {
	t.Helper()
	if _, err := socket.WriteToUDPAddrPort([]byte(s), to); err != nil {
		t.Fatal(err)
	}
}

// exchange is a barrier too: the forwarder takes datagrams in their order of
// arrival, so what was sent before has met its gate when this returns.
func exchange(t *testing.T, socket *net.UDPConn, c net.Conn) netip.AddrPort {
	t.Helper()
	send(t, c, "question")
	from := heard(t, socket, "question")
	answer(t, socket, from, "answer")
	receive(t, c, "answer")
	return from
}

func TestUDPAnswersGoBackToTheirCaller(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a, g := udpClient(t, alpha, to), udpClient(t, gamma, to)
	send(t, a, "from alpha")
	fromA := heard(t, socket, "from alpha")
	send(t, g, "from gamma")
	fromG := heard(t, socket, "from gamma")
	if fromA.Addr() != alpha || fromG.Addr() != gamma {
		t.Errorf("backend sees %s and %s, want the addresses %s and %s", fromA, fromG, alpha, gamma)
	}
	answer(t, socket, fromG, "to gamma")
	answer(t, socket, fromA, "to alpha")
	receive(t, a, "to alpha")
	receive(t, g, "to gamma")
}

func TestUDPCutLosesOneDirection(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a, g := udpClient(t, alpha, to), udpClient(t, gamma, to)
	exchange(t, socket, a)

	f.Cut("beta", "alpha", fabric.Mesh)
	send(t, a, "one way")
	answer(t, socket, heard(t, socket, "one way"), "lost")
	silent(t, a)
	f.Heal("beta", "alpha", fabric.Mesh)

	f.Cut("alpha", "beta", fabric.Mesh)
	send(t, a, "lost")
	exchange(t, socket, g)
	f.Heal("alpha", "beta", fabric.Mesh)
	exchange(t, socket, a) // and not "lost"
}

// TestSilencedServiceAloneSaysNothing: datagrams to it are lost and connections wait, those of
// its own site too; another service of the site goes on.
func TestSilencedServiceAloneSaysNothing(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	name := f.Services()[0].Name
	a, own := udpClient(t, alpha, to), udpClient(t, beta, to)
	exchange(t, socket, a)
	exchange(t, socket, own)
	ln := backend(t)
	if err := f.Add(t.Context(), fabric.Service{
		Name: "other", Site: "beta", Path: fabric.Mesh, Listen: netip.AddrPortFrom(beta, 0), Backend: netip.MustParseAddrPort(ln.Addr().String()),
	}); err != nil {
		t.Fatal(err)
	}

	f.Silence("beta", name)
	send(t, a, "lost")
	send(t, own, "lost too")
	silent(t, a)
	silent(t, own)
	pair(t, ln, alpha, f.Services()[1].Listen.String())

	f.Hear("beta", name)
	exchange(t, socket, a) // and not "lost"
	exchange(t, socket, own)

	f.Silence("beta", "other")
	c := dial(t, alpha, f.Services()[1].Listen.String())
	send(t, c, "held")
	silent(t, c)
	f.Hear("beta", "other")
	receive(t, accept(t, ln), "held")
}

func TestUDPOfDeadSiteIsSilentAndForgotten(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a := udpClient(t, alpha, to)
	exchange(t, socket, a)
	if err := f.Kill("beta"); err != nil {
		t.Fatal(err)
	}
	send(t, a, "lost")
	silent(t, a)
	if err := f.Revive("beta"); err != nil {
		t.Fatal(err)
	}
	exchange(t, socket, a)
}

func TestUDPDelay(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a := udpClient(t, alpha, to)
	const d = 100 * time.Millisecond
	f.Delay(fabric.Any, "beta", fabric.AnyPath, d)
	began := time.Now()
	exchange(t, socket, a)
	if took := time.Since(began); took < d {
		t.Errorf("exchange took %s, want at least %s", took, d)
	}
}

func TestUDPSessionEndsWhenIdle(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a := udpClient(t, alpha, to)
	old := exchange(t, socket, a)
	// The session's port is free once the session is over: then it can be bound.
	deadline := time.Now().Add(patience)
	for {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(old))
		if err == nil {
			defer c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("session %s still open: %v", old, err)
		}
		silent(t, a)
	}
	if again := exchange(t, socket, a); again == old {
		t.Errorf("session after idle time: got %s again, want a new one", again)
	}
}

func TestUDPBackendDownThenUp(t *testing.T) {
	f := newFabric(t)
	to, socket := udpService(t, f)
	a := udpClient(t, alpha, to)
	exchange(t, socket, a)
	at := socket.LocalAddr().String()
	socket.Close()
	send(t, a, "nobody there")
	silent(t, a)
	again, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	exchange(t, again, a)
	again.SetReadDeadline(time.Now().Add(quiet))
	if _, _, err := again.ReadFromUDPAddrPort(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("backend: got %v, want nothing more", err)
	}
}
