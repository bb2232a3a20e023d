package proxmox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

func TestTransportRecognisesServer(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = fmt.Fprint(w, `{"data":{"version":"9.2.1","release":"9.2","repoid":"x"}}`)
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer srv.Close()
	sum := sha256.Sum256(srv.Certificate().Raw)
	pin := hex.EncodeToString(sum[:])
	var pairs []string
	for i := 0; i < len(pin); i += 2 {
		pairs = append(pairs, strings.ToUpper(pin[i:i+2]))
	}
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writeFile(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644)
	otherPin := strings.Repeat("00:", 31) + "00"
	tests := []struct {
		name string
		tls  proxmox.TLS
		want proxmox.ErrorKind
	}{
		{"pin with colons", proxmox.TLS{Fingerprint: strings.Join(pairs, ":")}, ""},
		{"pin without colons", proxmox.TLS{Fingerprint: pin}, ""},
		{"other pin", proxmox.TLS{Fingerprint: otherPin}, proxmox.Unreachable},
		{"CA", proxmox.TLS{CAFile: ca}, ""},
		{"CA and pin", proxmox.TLS{CAFile: ca, Fingerprint: pin}, ""},
		{"CA and other pin", proxmox.TLS{CAFile: ca, Fingerprint: otherPin}, proxmox.Unreachable},
		{"system authorities", proxmox.TLS{}, proxmox.Unreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr, err := proxmox.Transport(test.tls, dialTo(srv.Listener.Addr().String()))
			if err != nil {
				t.Fatal(err)
			}
			defer tr.CloseIdleConnections()
			pve, _ := clients(t, tr)
			before := requests.Load()
			_, err = pve.Version(t.Context())
			if got := proxmox.KindOf(err); got != test.want {
				t.Errorf("got kind %q, want %q: %v", got, test.want, err)
			}
			// A write over a connection that never came to be was not done, and says so.
			_, err = pve.Stop(t.Context(), proxmox.VM, 100)
			if got := proxmox.KindOf(err); test.want != "" && got != test.want {
				t.Errorf("write: got kind %q, want %q: %v", got, test.want, err)
			}
			if sent := requests.Load() - before; test.want != "" && sent != 0 {
				t.Errorf("%d requests, with the token, reached a server that was not recognised", sent)
			}
		})
	}
}

func TestTransportRefusesBadConfig(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	writeFile(t, empty, nil, 0o644)
	for _, conf := range []proxmox.TLS{{CAFile: empty}, {CAFile: empty + ".absent"}, {Fingerprint: "aa:bb"}, {Fingerprint: strings.Repeat("zz", 32)}} {
		if tr, err := proxmox.Transport(conf, nil); err == nil {
			t.Errorf("Transport(%+v) gave %v, want an error", conf, tr)
		}
	}
	tr, err := proxmox.Transport(proxmox.TLS{}, nil)
	if err != nil || tr.Proxy != nil || tr.DialContext == nil {
		t.Errorf("got %v %v, want a transport without proxy and with a dialer", tr, err)
	}
}

func TestNetworkFailuresOfWrites(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := dead.Addr().String()
	_ = dead.Close()
	tr, err := proxmox.Transport(proxmox.TLS{}, dialTo(addr))
	if err != nil {
		t.Fatal(err)
	}
	pve, _ := clients(t, tr)
	if _, err := pve.Start(t.Context(), proxmox.VM, 100); proxmox.KindOf(err) != proxmox.Unreachable {
		t.Errorf("refused connection: got %v, want kind unreachable", err)
	}
	// A server that takes the request and closes the connection may have acted.
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hits.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	if tr, err = proxmox.Transport(proxmox.TLS{}, nil); err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	pve, err = proxmox.NewPVE(proxmox.Config{URL: srv.URL, Node: "pve1", TokenID: testToken, Secret: proxmox.NewSecret(testSecret), Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pve.Start(t.Context(), proxmox.VM, 100); proxmox.KindOf(err) != proxmox.OutcomeUnknown || hits.Load() != 1 {
		t.Errorf("closed connection: got %v after %d requests, want kind outcome unknown after 1", err, hits.Load())
	}
}

func TestSlowServerEndsWithDeadline(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		_, _ = fmt.Fprint(w, `{"data":`)
		w.(http.Flusher).Flush()
		<-release
	}))
	defer srv.Close()
	defer close(release)
	tr, err := proxmox.Transport(proxmox.TLS{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	pve, err := proxmox.NewPVE(proxmox.Config{URL: srv.URL, Node: "pve1", TokenID: testToken, Secret: proxmox.NewSecret(testSecret), Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := pve.Version(ctx); proxmox.KindOf(err) != proxmox.Unreachable {
		t.Errorf("read: got %v, want kind unreachable", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := pve.Start(ctx, proxmox.VM, 100); proxmox.KindOf(err) != proxmox.OutcomeUnknown {
		t.Errorf("write: got %v, want kind outcome unknown", err)
	}
}

func TestSecretShowsNowhere(t *testing.T) {
	s := proxmox.NewSecret(testSecret)
	conf := proxmox.Config{Secret: s}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "conf", conf)
	enc, err := json.Marshal(conf.Secret)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s) + fmt.Sprintf("%v %+v %#v", conf, conf, &conf) + log.String() + string(enc)
	if strings.Contains(text, testSecret) || strings.Contains(text, hex.EncodeToString([]byte(testSecret))) {
		t.Errorf("the secret shows in %s", text)
	}
	if s.Reveal() != testSecret || s.IsZero() || !(proxmox.Secret{}).IsZero() {
		t.Error("Reveal or IsZero is wrong")
	}
}

func TestReadTokenFile(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, body string
		mode       os.FileMode
		wantID     string
		wantErr    string // part of the error; "" for none
	}{
		{"pve", testToken + "=" + testSecret + "\n", 0o600, testToken, ""},
		{"pbs", "wwwd@pbs!agent:" + testSecret, 0o400, "wwwd@pbs!agent", ""},
		{"group may read", testToken + "=" + testSecret, 0o640, "", "mode is 0640, must be 0600 or 0400"},
		{"world may read", testToken + "=" + testSecret, 0o604, "", "mode is 0604"},
		{"executable", testToken + "=" + testSecret, 0o700, "", "mode is 0700"},
		{"empty", "", 0o600, "", "not of the form"},
		{"no token name", "wwwd@pve=" + testSecret, 0o600, "", "not of the form"},
		{"no secret", testToken + "=", 0o600, "", "not of the form"},
		{"two lines", testToken + "=" + testSecret + "\n" + testToken + "=" + testSecret, 0o600, "", "more than one line"},
		{"too long", testToken + "=" + strings.Repeat(testSecret, 200), 0o600, "", "longer than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(dir, test.name)
			writeFile(t, path, []byte(test.body), test.mode)
			id, secret, err := proxmox.ReadTokenFile(path)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) || strings.Contains(err.Error(), testSecret) {
					t.Errorf("got %v, want an error with %q and without the secret", err, test.wantErr)
				}
				return
			}
			if err != nil || id != test.wantID || secret.Reveal() != testSecret {
				t.Errorf("got %q %q %v, want %q and the secret", id, secret.Reveal(), err, test.wantID)
			}
		})
	}
	if _, _, err := proxmox.ReadTokenFile(dir); err == nil {
		t.Error("a directory was read as a token file")
	}
	if _, _, err := proxmox.ReadTokenFile(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent file was read as a token file")
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	good := proxmox.Config{URL: "https://h:8006", Node: "n", TokenID: testToken, Secret: proxmox.NewSecret(testSecret), Transport: http.NewFileTransport(nil)}
	change := func(f func(*proxmox.Config)) proxmox.Config {
		c := good
		f(&c)
		return c
	}
	for name, conf := range map[string]proxmox.Config{
		"no URL":       change(func(c *proxmox.Config) { c.URL = "" }),
		"no scheme":    change(func(c *proxmox.Config) { c.URL = "h:8006" }),
		"password":     change(func(c *proxmox.Config) { c.URL = "https://u:" + testSecret + "@h:8006" }),
		"not a URL":    change(func(c *proxmox.Config) { c.URL = "https://" + testSecret + "\x00" }),
		"path":         change(func(c *proxmox.Config) { c.URL = "https://h:8006/api2/json" }),
		"whole token":  change(func(c *proxmox.Config) { c.TokenID = testToken + "=" + testSecret }),
		"no secret":    change(func(c *proxmox.Config) { c.Secret = proxmox.Secret{} }),
		"no transport": change(func(c *proxmox.Config) { c.Transport = nil }),
	} {
		_, errPVE := proxmox.NewPVE(conf)
		_, errPBS := proxmox.NewPBS(conf, "backups")
		if errPVE == nil || errPBS == nil || strings.Contains(errPVE.Error()+errPBS.Error(), testSecret) {
			t.Errorf("%s: got %v and %v, want errors without the secret", name, errPVE, errPBS)
		}
	}
	if _, err := proxmox.NewPVE(change(func(c *proxmox.Config) { c.Node = "../x" })); err == nil {
		t.Error("a node name with a slash was taken")
	}
	if _, err := proxmox.NewPBS(good, "a/b"); err == nil {
		t.Error("a datastore name with a slash was taken")
	}
}

func writeFile(t *testing.T, path string, body []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
