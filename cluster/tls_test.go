package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// credentials issues a certificate for the server of a data directory.
func credentials(t *testing.T, ca *cluster.CA, site failover.SiteID, dir, host string, revoked func(*x509.Certificate) error) *cluster.TLS {
	t.Helper()
	return credentialsAt(t, time.Now, ca, site, dir, host, revoked)
}

// credentialsAt are those of an agent whose clock is now: its certificate begins then.
func credentialsAt(t *testing.T, now func() time.Time, ca *cluster.CA, site failover.SiteID, dir, host string, revoked func(*x509.Certificate) error) *cluster.TLS {
	t.Helper()
	id, err := cluster.ServerID(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(site, id, []netip.Addr{netip.MustParseAddr(host)}, now(), 90*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := cluster.NewTLS(cluster.TLSConfig{
		Self: cluster.Identity{Network: ca.Network(), Site: site, ServerID: id},
		Pair: pair, CA: ca.CertPEM(), Now: now, Revoked: revoked,
	})
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func newCA(t *testing.T, network string) *cluster.CA {
	t.Helper()
	ca, err := cluster.NewCA(network, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// meshPort is a Mux on loopback: raft's side answers each line with
// "raft SITE", the API's side is a real HTTP server that does the same.
type meshPort struct {
	addr string
}

func openMeshPort(t *testing.T, creds *cluster.TLS) *meshPort {
	t.Helper()
	ln, err := cluster.ListenMesh(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	mux := cluster.NewMux(ln, creds, quiet())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- mux.Run(ctx) }()
	go func() { done <- echo(mux.Raft()) }()
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := cluster.PeerIdentity(*r.TLS)
		fmt.Fprintf(w, "%s %s %v", r.Proto, who.Site, err)
	})}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	go func() { done <- srv.Serve(mux.API()) }()
	t.Cleanup(func() {
		cancel()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return &meshPort{addr: ln.Addr().String()}
}

func echo(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		conn, ok := c.(*tls.Conn)
		if !ok {
			return fmt.Errorf("raft's side gets a %T", c)
		}
		who, err := cluster.PeerIdentity(conn.ConnectionState())
		fmt.Fprintf(conn, "raft %s %v\n", who.Site, err)
		conn.Close()
	}
}

// callRaft dials as raft does and returns what the other side says.
func callRaft(t *testing.T, creds *cluster.TLS, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := creds.DialRaft(cluster.NewDialer(netip.Addr{}).DialContext)(ctx, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// TLS 1.3 tells a client that it was refused only when it reads.
	b, err := io.ReadAll(conn)
	return string(b), err
}

func callAPI(t *testing.T, creds *cluster.TLS, addr string, protocols *http.Protocols) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: creds.Client(), Protocols: protocols}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestOnePortForRaftAndAPI(t *testing.T) {
	ca := newCA(t, "assos")
	server := credentials(t, ca, "moulin", t.TempDir(), "127.0.0.1", nil)
	client := credentials(t, ca, "quai", t.TempDir(), "127.0.0.1", nil)
	port := openMeshPort(t, server)

	silent, err := net.Dial("tcp", port.addr) // keeps nobody waiting
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	if got, err := callRaft(t, client, port.addr); err != nil || got != "raft quai <nil>\n" {
		t.Errorf("raft: (%q, %v)", got, err)
	}
	for version, want := range map[int]string{1: "HTTP/1.1 quai <nil>", 2: "HTTP/2.0 quai <nil>"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetHTTP2(version == 2)
		if got, err := callAPI(t, client, port.addr, protocols); err != nil || got != want {
			t.Errorf("API by HTTP/%d: (%q, %v), want %q", version, got, err, want)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, err := cluster.NewCA("assos", time.Now().Add(-100*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	revoked := errors.New("revoked on Tuesday")
	server := credentials(t, ca, "moulin", t.TempDir(), "127.0.0.1", func(c *x509.Certificate) error {
		if c.Subject.CommonName == "thief" {
			return revoked
		}
		return nil
	})
	port := openMeshPort(t, server)
	friend := credentials(t, ca, "quai", t.TempDir(), "127.0.0.1", nil)

	shifted := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	t.Run("by the one who listens", func(t *testing.T) {
		for name, creds := range map[string]*cluster.TLS{
			"another CA of the same name": credentials(t, newCA(t, "assos"), "quai", t.TempDir(), "127.0.0.1", nil),
			"a revoked certificate":       credentials(t, ca, "thief", t.TempDir(), "127.0.0.1", nil),
			"an expired certificate":      credentialsAt(t, shifted(-91*24*time.Hour), ca, "quai", t.TempDir(), "127.0.0.1", nil),
			"one whose time has not come": credentialsAt(t, shifted(24*time.Hour), ca, "quai", t.TempDir(), "127.0.0.1", nil),
		} {
			if got, err := callRaft(t, creds, port.addr); err == nil {
				t.Errorf("raft with %s: %q", name, got)
			}
			if got, err := callAPI(t, creds, port.addr, nil); err == nil {
				t.Errorf("API with %s: %q", name, got)
			}
		}
	})
	t.Run("without a certificate", func(t *testing.T) {
		cfg := friend.Client()
		cfg.GetClientCertificate = nil
		for _, proto := range []string{"www-raft/1", "h2", ""} {
			cfg.NextProtos = nil
			if proto != "" {
				cfg.NextProtos = []string{proto}
			}
			conn, err := tls.Dial("tcp", port.addr, cfg)
			if err != nil {
				continue
			}
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("%q without a certificate: read %d bytes", proto, n)
			}
			conn.Close()
		}
	})
	t.Run("by the one who dials", func(t *testing.T) {
		elsewhere := credentials(t, ca, "halle", t.TempDir(), "10.77.9.9", nil) // its certificate lacks 127.0.0.1
		for name, other := range map[string]*cluster.TLS{
			"another address": elsewhere,
			"another CA":      credentials(t, newCA(t, "assos"), "moulin", t.TempDir(), "127.0.0.1", nil),
		} {
			if got, err := callRaft(t, friend, openMeshPort(t, other).addr); err == nil {
				t.Errorf("raft to %s: %q", name, got)
			}
		}
		if got, err := callRaft(t, friend, port.addr); err != nil || got != "raft quai <nil>\n" {
			t.Errorf("raft to the right one: (%q, %v)", got, err)
		}
	})
}

// TestAnotherNetworkIsRefused uses one CA that signs for two networks, which
// ours never do: the name in the certificate must be checked all the same.
func TestAnotherNetworkIsRefused(t *testing.T) {
	ours := newCA(t, "assos")
	theirs := cluster.Rename(ours, "others")
	port := openMeshPort(t, credentials(t, ours, "moulin", t.TempDir(), "127.0.0.1", nil))
	stranger := credentials(t, theirs, "quai", t.TempDir(), "127.0.0.1", nil)
	if got, err := callRaft(t, stranger, port.addr); err == nil {
		t.Errorf("raft from another network: %q", got)
	}
	if got, err := callAPI(t, stranger, port.addr, nil); err == nil {
		t.Errorf("API from another network: %q", got)
	}
}

func TestCertificatesMustBeTheAgentsOwn(t *testing.T) {
	ca := newCA(t, "assos")
	addrs := []netip.Addr{netip.MustParseAddr("10.77.1.1")}
	pair, err := ca.Issue("moulin", "abc", addrs, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	self := cluster.Identity{Network: "assos", Site: "moulin", ServerID: "abc"}
	if got := self.String(); got != "www://assos/moulin/abc" {
		t.Errorf("identity %q", got)
	}
	for _, tc := range []struct {
		name string
		cfg  cluster.TLSConfig
		want string
	}{
		{"its own", cluster.TLSConfig{Self: self, Pair: pair, CA: ca.CertPEM(), Now: time.Now}, ""},
		{"no clock", cluster.TLSConfig{Self: self, Pair: pair, CA: ca.CertPEM()}, "no clock"},
		{"no CA", cluster.TLSConfig{Self: self, Pair: pair, Now: time.Now}, "CA file"},
		{"another server's", cluster.TLSConfig{Self: cluster.Identity{Network: "assos", Site: "moulin", ServerID: "xyz"}, Pair: pair, CA: ca.CertPEM(), Now: time.Now}, "www://assos/moulin/abc"},
		{"another CA's", cluster.TLSConfig{Self: self, Pair: pair, CA: newCA(t, "assos").CertPEM(), Now: time.Now}, "unknown authority"},
		{"an expired one", cluster.TLSConfig{Self: self, Pair: pair, CA: ca.CertPEM(), Now: func() time.Time { return time.Now().Add(2 * time.Hour) }}, "expired"},
		{"half a pair", cluster.TLSConfig{Self: self, Pair: cluster.Pair{Cert: pair.Cert}, CA: ca.CertPEM(), Now: time.Now}, "load certificates"},
		{"the CA itself", cluster.TLSConfig{Self: self, Pair: must(ca.PEM()), CA: ca.CertPEM(), Now: time.Now}, "names no agent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := cluster.NewTLS(tc.cfg)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("NewTLS: %v, want %q", err, tc.want)
			}
		})
	}
	again, err := cluster.LoadCA(must(ca.PEM()))
	if err != nil || again.Network() != "assos" {
		t.Fatalf("LoadCA: %v", err)
	}
	if _, err := again.Issue("quai", "def", addrs, time.Now(), time.Hour); err != nil {
		t.Errorf("Issue by a loaded CA: %v", err)
	}
	if _, err := cluster.LoadCA(pair); err == nil {
		t.Error("LoadCA of an agent's certificate: nil")
	}
	for name, f := range map[string]func() (cluster.Pair, error){
		"no site":     func() (cluster.Pair, error) { return ca.Issue("", "abc", addrs, time.Now(), time.Hour) },
		"no address":  func() (cluster.Pair, error) { return ca.Issue("quai", "abc", nil, time.Now(), time.Hour) },
		"no lifetime": func() (cluster.Pair, error) { return ca.Issue("quai", "abc", addrs, time.Now(), 0) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("Issue with %s: nil", name)
		}
	}
}

func must(p cluster.Pair, err error) cluster.Pair {
	if err != nil {
		panic(err) // a test's set-up
	}
	return p
}

func TestMeshPortNamesOneAddress(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0"} {
		if ln, err := cluster.ListenMesh(t.Context(), netip.MustParseAddrPort(addr)); err == nil {
			ln.Close()
			t.Errorf("ListenMesh(%s): nil", addr)
		}
	}
}

func TestSilentPeerIsDroppedAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet(time.Millisecond)
		ca := newCA(t, "assos")
		creds := credentials(t, ca, "moulin", filepath.Join(t.TempDir(), "a"), "10.77.1.1", nil)
		mux := cluster.NewMux(network.listen("10.77.1.1:9977"), creds, quiet())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- mux.Run(ctx) }()
		begun := time.Now()
		conn, err := network.dialFrom("10.77.2.1")(ctx, "mem", "10.77.1.1:9977")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v, want EOF", err)
		}
		if took := time.Since(begun); took < 5*time.Second || took > 5100*time.Millisecond {
			t.Errorf("dropped after %v, want 5 s", took)
		}
		// A good connection that nobody takes is not kept for ever either.
		good, err := creds.DialRaft(network.dialFrom("10.77.1.1"))(ctx, "10.77.1.1:9977")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := good.Read(make([]byte, 1)); err == nil {
			t.Error("read from a side that nobody serves: nil")
		}
		good.Close()
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := mux.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Run: %v", err)
		}
	})
}
