package fabric_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

const (
	patience = 10 * time.Second       // for what must happen
	quiet    = 150 * time.Millisecond // for what must not
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperMode); mode != "" {
		os.Exit(helper(mode))
	}
	goleak.VerifyTestMain(m)
}

// Sources of the tests. 127.0.0.1 is nobody's: outside.
var (
	alpha       = netip.MustParseAddr("127.91.0.1")
	beta        = netip.MustParseAddr("127.91.4.1")
	betaHost    = netip.MustParseAddr("127.91.4.100")
	gamma       = netip.MustParseAddr("127.91.8.1")
	alphaPublic = netip.MustParseAddr("127.91.0.2")
	outside     = netip.MustParseAddr("127.0.0.1")
)

func sources() map[netip.Addr]fabric.Endpoint {
	return map[netip.Addr]fabric.Endpoint{
		alpha:       {Site: "alpha", Path: fabric.Mesh},
		alphaPublic: {Site: "alpha", Path: fabric.Public},
		beta:        {Site: "beta", Path: fabric.Mesh},
		betaHost:    {Site: "beta", Path: fabric.Mesh},
		gamma:       {Site: "gamma", Path: fabric.Mesh},
	}
}

func newFabric(t *testing.T) *fabric.Fabric {
	t.Helper()
	f := fabric.New(fabric.Config{Sources: sources(), UDPIdle: quiet / 2})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return f
}

// backend listens where a process of beta would.
func backend(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.91.5.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// add publishes a backend as a service of beta and returns the address to dial.
func add(t *testing.T, f *fabric.Fabric, path fabric.Path, to net.Addr) string {
	t.Helper()
	err := f.Add(t.Context(), fabric.Service{
		Name: "test", Site: "beta", Path: path,
		Listen:  netip.AddrPortFrom(beta, 0),
		Backend: netip.MustParseAddrPort(to.String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	all := f.Services()
	return all[len(all)-1].Listen.String()
}

func dialFor(ctx context.Context, limit time.Duration, from netip.Addr, to string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	c, err := d.DialContext(ctx, "tcp4", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func dial(t *testing.T, from netip.Addr, to string) *net.TCPConn {
	t.Helper()
	c, err := dialFor(t.Context(), patience, from, to)
	if err != nil {
		t.Fatalf("dial %s from %s: %v", to, from, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func accept(t *testing.T, ln *net.TCPListener) *net.TCPConn {
	t.Helper()
	ln.SetDeadline(time.Now().Add(patience))
	c, err := ln.AcceptTCP()
	if err != nil {
		t.Fatalf("accept at the backend: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatalf("write %q: %v", s, err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read: got %q, %v, want %q", got[:n], err, want)
	}
}

// silent fails unless nothing at all, not even an end, arrives for a while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(quiet))
	b := make([]byte, 1)
	if n, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: got %q, %v, want silence", b[:n], err)
	}
}

func ends(t *testing.T, c net.Conn, want error) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 1)
	if n, err := c.Read(b); !errors.Is(err, want) {
		t.Fatalf("read: got %q, %v, want %v", b[:n], err, want)
	}
}

// refused fails unless a new connection is reset: in the dial already if the reset
// overtakes the return of connect(2), else at the first read.
func refused(t *testing.T, from netip.Addr, to string) {
	t.Helper()
	c, err := dialFor(t.Context(), patience, from, to)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatalf("dial %s from %s: got %v, want a reset", to, from, err)
	}
	defer c.Close()
	ends(t, c, syscall.ECONNRESET)
}

// pair opens a connection through f and returns both ends, known to work.
func pair(t *testing.T, ln *net.TCPListener, from netip.Addr, to string) (client, server *net.TCPConn) {
	t.Helper()
	client = dial(t, from, to)
	server = accept(t, ln)
	send(t, client, "ping")
	receive(t, server, "ping")
	send(t, server, "pong")
	receive(t, client, "pong")
	return client, server
}

func TestForwardKeepsSourceAndHalfClose(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
	if got := netip.MustParseAddrPort(server.RemoteAddr().String()).Addr(); got != alpha {
		t.Errorf("backend sees caller %s, want %s", got, alpha)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ends(t, server, io.EOF)
	send(t, server, "still here")
	receive(t, client, "still here")
	server.Close()
	ends(t, client, io.EOF)
}

func TestForwardCarriesMuchBothWays(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
	const size = 8 << 20
	errs := make(chan error, 2)
	for _, c := range []*net.TCPConn{client, server} {
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			buf := make([]byte, 1<<16)
			for sent := 0; sent < size; sent += len(buf) {
				buf[0] = byte(sent >> 16)
				if _, err := c.Write(buf); err != nil {
					errs <- err
					return
				}
			}
			errs <- c.CloseWrite()
		}()
	}
	for _, c := range []*net.TCPConn{client, server} {
		r, buf := bufio.NewReader(c), make([]byte, 1<<16)
		for got := 0; got < size; got += len(buf) {
			if _, err := io.ReadFull(r, buf); err != nil || buf[0] != byte(got>>16) {
				t.Fatalf("at %d: got block %d, %v, want block %d", got, buf[0], err, byte(got>>16))
			}
		}
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after %d bytes: got %v, want EOF", size, err)
		}
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedBackendResets(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Public, ln.Addr())
	ln.Close()
	refused(t, outside, to)
}

func TestBackendResetReachesCallerAsReset(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
	server.SetLinger(0)
	server.Close()
	ends(t, client, syscall.ECONNRESET)
}

func TestCutDropsOneDirectionOnly(t *testing.T) {
	for _, tt := range []struct {
		name             string
		from, to         string
		upCut, downCut   bool
		path             fabric.Path
		healFrom, healTo string
	}{
		{"caller to service", "alpha", "beta", true, false, fabric.Mesh, "alpha", "beta"},
		{"service to caller", "beta", "alpha", false, true, fabric.Mesh, "beta", "alpha"},
		{"all from the caller", "alpha", fabric.Any, true, false, fabric.Mesh, fabric.Any, fabric.Any},
		{"all to the caller", fabric.Any, "alpha", false, true, fabric.AnyPath, fabric.Any, "alpha"},
		{"another pair", "gamma", "beta", false, false, fabric.Mesh, "gamma", "beta"},
		{"another path", "alpha", "beta", false, false, fabric.Public, "alpha", "beta"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, ln := newFabric(t), backend(t)
			client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
			f.Cut(tt.from, tt.to, tt.path)
			send(t, client, "up")
			send(t, server, "down")
			for _, end := range []struct {
				conn net.Conn
				cut  bool
				want string
			}{{server, tt.upCut, "up"}, {client, tt.downCut, "down"}} {
				if end.cut {
					silent(t, end.conn)
				} else {
					receive(t, end.conn, end.want)
				}
			}
			path := tt.path
			f.Heal(tt.healFrom, tt.healTo, path)
			if got := f.Cuts(); len(got) != 0 {
				t.Fatalf("Cuts after Heal: got %v, want none", got)
			}
			if tt.upCut {
				receive(t, server, "up")
			}
			if tt.downCut {
				receive(t, client, "down")
			}
		})
	}
}

func TestCutHoldsBackEndOfStreamAndReset(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*net.TCPConn)
		want error
	}{
		{"end of stream", func(c *net.TCPConn) { c.CloseWrite() }, io.EOF},
		{"reset", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, syscall.ECONNRESET},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, ln := newFabric(t), backend(t)
			client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
			f.Cut("beta", "alpha", fabric.Mesh)
			tt.end(server)
			silent(t, client)
			f.Heal("beta", "alpha", fabric.Mesh)
			ends(t, client, tt.want)
		})
	}
}

func TestNewConnectionThroughCutIsSilentThenOpens(t *testing.T) {
	for _, cut := range [][2]string{{"alpha", "beta"}, {"beta", "alpha"}} {
		t.Run(cut[0]+" to "+cut[1], func(t *testing.T) {
			f, ln := newFabric(t), backend(t)
			to := add(t, f, fabric.Mesh, ln.Addr())
			f.Cut(cut[0], cut[1], fabric.Mesh)
			client := dial(t, alpha, to)
			send(t, client, "hello")
			ln.SetDeadline(time.Now().Add(quiet))
			if c, err := ln.AcceptTCP(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("accept at the backend: got %v, %v, want no handshake through a cut", c, err)
			}
			silent(t, client)
			f.Heal(cut[0], cut[1], fabric.Mesh)
			receive(t, accept(t, ln), "hello")
		})
	}
}

func TestCutHidesRefusal(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	to := add(t, f, fabric.Mesh, ln.Addr())
	ln.Close()
	f.Cut("beta", "alpha", fabric.Mesh)
	client := dial(t, alpha, to)
	silent(t, client)
	f.Heal("beta", "alpha", fabric.Mesh)
	ends(t, client, syscall.ECONNRESET)
}

// The backend is down just while the caller's handshake is underway to it: the
// refusal, due when the kernel repeats its SYN after a second, meets a cut.
func TestCutHidesRefusalUnderway(t *testing.T) {
	const synRepeat = time.Second
	host, ln := newFabric(t), backend(t)
	slow := add(t, host, fabric.Public, ln.Addr())
	if err := host.Kill("beta"); err != nil {
		t.Fatal(err)
	}
	f := newFabric(t)
	addr, err := net.ResolveTCPAddr("tcp4", slow)
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, alpha, add(t, f, fabric.Mesh, addr))
	silent(t, client)
	f.Cut("beta", "alpha", fabric.Mesh)
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	client.SetDeadline(time.Now().Add(synRepeat + quiet))
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: got %d bytes, %v, want silence", n, err)
	}
	f.Heal("beta", "alpha", fabric.Mesh)
	ends(t, client, syscall.ECONNRESET)
}

func TestWhoIsHeardWhere(t *testing.T) {
	for _, tt := range []struct {
		name  string
		path  fabric.Path
		from  netip.Addr
		cut   fabric.Cut
		heard bool
	}{
		{"outside on public", fabric.Public, outside, fabric.Cut{}, true},
		{"outside on mesh", fabric.Mesh, outside, fabric.Cut{}, false},
		{"public source on public", fabric.Public, alphaPublic, fabric.Cut{}, true},
		{"public source on mesh", fabric.Mesh, alphaPublic, fabric.Cut{}, false},
		{"outside cut off", fabric.Public, outside, fabric.Cut{From: fabric.Outside, To: "beta", Path: fabric.Public}, false},
		{"outside while a site is cut off", fabric.Public, outside, fabric.Cut{From: "alpha", To: "beta", Path: fabric.Public}, true},
		{"own site though cut from all", fabric.Mesh, betaHost, fabric.Cut{From: fabric.Any, To: "beta", Path: fabric.AnyPath}, true},
		{"other site when cut from all", fabric.Mesh, alpha, fabric.Cut{From: fabric.Any, To: "beta", Path: fabric.AnyPath}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, ln := newFabric(t), backend(t)
			to := add(t, f, tt.path, ln.Addr())
			if tt.cut != (fabric.Cut{}) {
				f.Cut(tt.cut.From, tt.cut.To, tt.cut.Path)
			}
			if tt.heard {
				pair(t, ln, tt.from, to)
			} else {
				silent(t, dial(t, tt.from, to))
			}
		})
	}
}

func TestDelayPerDirection(t *testing.T) {
	f, ln := newFabric(t), backend(t)
	client, server := pair(t, ln, alpha, add(t, f, fabric.Mesh, ln.Addr()))
	const d = 400 * time.Millisecond
	f.Delay("alpha", "beta", fabric.Mesh, d)
	sent := time.Now()
	send(t, client, "slow")
	receive(t, server, "slow")
	if took := time.Since(sent); took < d {
		t.Errorf("alpha to beta took %s, want at least %s", took, d)
	}
	sent = time.Now()
	send(t, server, "fast")
	receive(t, client, "fast")
	if took := time.Since(sent); took >= d {
		t.Errorf("beta to alpha took %s, want less than %s", took, d)
	}
	send(t, client, "late")
	f.Delay("alpha", "beta", fabric.Mesh, 0)
	receive(t, server, "late")
}

func TestBadInputIsRefused(t *testing.T) {
	good := fabric.Service{
		Name: "x", Site: "beta", Path: fabric.Mesh,
		Listen: netip.MustParseAddrPort("127.91.4.1:0"), Backend: netip.MustParseAddrPort("127.91.5.1:9"),
	}
	for _, tt := range []struct {
		name   string
		change func(*fabric.Service)
	}{
		{"no site", func(s *fabric.Service) { s.Site = "" }},
		{"wildcard site", func(s *fabric.Service) { s.Site = fabric.Any }},
		{"no path", func(s *fabric.Service) { s.Path = "" }},
		{"wildcard path", func(s *fabric.Service) { s.Path = fabric.AnyPath }},
		{"listen on all addresses", func(s *fabric.Service) { s.Listen = netip.MustParseAddrPort("0.0.0.0:0") }},
		{"no listen address", func(s *fabric.Service) { s.Listen = netip.AddrPort{} }},
		{"no backend", func(s *fabric.Service) { s.Backend = netip.AddrPort{} }},
		{"backend without port", func(s *fabric.Service) { s.Backend = netip.AddrPortFrom(beta, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.change(&s)
			if err := newFabric(t).Add(t.Context(), s); err == nil {
				t.Errorf("Add(%+v): got nil, want an error", s)
			}
		})
	}
	f := newFabric(t)
	if err := f.Kill("nowhere"); err == nil {
		t.Error("Kill of an unknown site: got nil, want an error")
	}
	if err := f.Add(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	good.Listen = f.Services()[0].Listen
	if err := f.Add(t.Context(), good); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second Add on one address: got %v, want %v", err, syscall.EADDRINUSE)
	}
}
