package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// startSocket serves on a unix socket until the test ends.
func startSocket(t *testing.T, o api.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wwwd.sock")
	l, err := api.ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	o.Log = quiet()
	s := api.NewSocketServer(api.NewHandler(o), quiet())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return path
}

func TestSocketNamesTheUser(t *testing.T) {
	b := newBackend(t)
	path := startSocket(t, api.Options{Backend: b})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: got mode %v, %v, want 0660", info.Mode(), err)
	}
	c := api.NewSocketClient(path)
	defer c.Close()
	if _, err := c.Pause(t.Context(), api.PauseRequest{}); err != nil {
		t.Fatalf("Pause over the socket: %v", err)
	}
	want := fmt.Sprintf("unix:uid %d", os.Getuid())
	if u, err := user.Current(); err == nil {
		want = "unix:" + u.Username
	}
	if actors := b.Actors(); actors[len(actors)-1] != want {
		t.Errorf("actor: got %q, want %q", actors[len(actors)-1], want)
	}
}

func TestListenSocketReplacesOnlyADeadOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wwwd.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	alive, err := api.ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	defer func() { _ = alive.Close() }()
	if _, err := api.ListenSocket(t.Context(), path); err == nil {
		t.Error("over a living socket: got no error")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ListenSocket(t.Context(), file); err == nil {
		t.Error("over a plain file: got no error")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a plain file was replaced")
	}
}

func TestClientTellsNotSentFromUnknown(t *testing.T) {
	c := api.NewSocketClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if _, err := c.Pause(t.Context(), api.PauseRequest{}); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("nobody listens: got %v, want ErrNoAgent", err)
	}
	if _, err := c.Propose(t.Context(), []byte("x")); !errors.Is(err, failover.ErrNoLeader) {
		t.Errorf("proposal that was not sent: got %v, want ErrNoLeader", err)
	}
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		panic(http.ErrAbortHandler) // takes the request and drops the line
	}))
	defer hang.Close()
	c = api.NewClient(hang.URL, hang.Client())
	if _, err := c.Pause(t.Context(), api.PauseRequest{}); !errors.Is(err, failover.ErrUnknown) {
		t.Errorf("write whose answer was lost: got %v, want ErrUnknown", err)
	}
	if _, err := c.Propose(t.Context(), []byte("x")); !errors.Is(err, failover.ErrUnknown) {
		t.Errorf("proposal whose answer was lost: got %v, want ErrUnknown", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("read whose answer was lost: got %v, want ErrNoAgent", err)
	}
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>nginx</html>"))
	}))
	defer odd.Close()
	c = api.NewClient(odd.URL, odd.Client())
	_, err := c.Status(t.Context())
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeBadAnswer {
		t.Errorf("HTML instead of JSON: got %v, want %s", err, api.CodeBadAnswer)
	}
}

// certificate makes a self-signed certificate that names the URI.
func certificate(t *testing.T, uri string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, leaf
}

func TestMeshNamesTheAgent(t *testing.T) {
	var got failover.Token
	raft := &fakeRaft{confirm: func(tk failover.Token) error { got = tk; return nil }}
	server, serverLeaf := certificate(t, "www://assos/fabrique/id-fabrique")
	for _, tt := range []struct {
		uri  string
		want error
	}{
		{"www://assos/quai/id-quai", nil},
		{"www://assos/quai", api.ErrNotAllowed},
		{"www://assos/quai/id/more", api.ErrNotAllowed},
		{"https://assos/quai/id-quai", api.ErrNotAllowed},
	} {
		client, leaf := certificate(t, tt.uri)
		clients, servers := x509.NewCertPool(), x509.NewCertPool()
		clients.AddCert(leaf)
		servers.AddCert(serverLeaf)
		s := api.NewMeshServer(api.NewHandler(api.Options{Backend: newBackend(t), Raft: raft, Log: quiet()}), nil, quiet())
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{server}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			Certificates: []tls.Certificate{client}, RootCAs: servers, MinVersion: tls.VersionTLS13,
		}}}
		c := api.NewClient("https://"+l.Addr().String(), hc)
		token := failover.Token{Op: "op-1", Guest: "g", Step: failover.StepStart, Index: 3}
		if err := c.Confirm(t.Context(), token); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.uri, err, tt.want)
		}
		c.Close()
		_ = s.Close()
		<-done
	}
	if got.Index != 3 {
		t.Errorf("token at the leader: got %+v", got)
	}
}
