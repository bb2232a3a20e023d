package mesh_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// router answers as RouterOS 7 does: every value a string, unset ones absent,
// Basic auth, filters by exact string, .proplist, error objects.
type router struct {
	*httptest.Server
	rows  []map[string]string
	raw   string // instead of the rows
	fail  func(w http.ResponseWriter) bool
	asked atomic.Int64
}

func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.asked.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if user, password, _ := req.BasicAuth(); user != "ww-ro" || password != "geheim" {
		answer(w, 401, `{"error":401,"message":"Unauthorized"}`)
		return
	}
	if r.fail != nil && r.fail(w) {
		return
	}
	if menus := []string{"/rest/interface/wireguard/peers", "/rest/ip/dns/static"}; req.Method != http.MethodGet || !slices.Contains(menus, req.URL.Path) {
		answer(w, 400, `{"detail":"no such command or directory","error":400,"message":"Bad Request"}`)
		return
	}
	if r.raw != "" {
		answer(w, 200, r.raw)
		return
	}
	q := req.URL.Query()
	out := []map[string]string{}
	for _, row := range r.rows {
		if name := q.Get("interface"); name != "" && row["interface"] != name {
			continue
		}
		some := map[string]string{}
		for _, key := range strings.Split(q.Get(".proplist"), ",") {
			if v, ok := row[key]; ok {
				some[key] = v
			}
		}
		out = append(out, some)
	}
	b, _ := json.Marshal(out)
	answer(w, 200, string(b))
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (r *router) config() mesh.RouterConfig {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return mesh.RouterConfig{URL: r.URL, User: "ww-ro", Password: "geheim", CA: pool, Now: time.Now}
}

func open(t *testing.T, c mesh.RouterConfig) *mesh.RouterOS {
	t.Helper()
	r, err := mesh.NewRouterOS(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// rowsOfSite1 is what a hEX of site 1 answers (fields of RouterOS 7.20).
func rowsOfSite1() []map[string]string {
	return []map[string]string{
		{
			".id": "*2", "interface": "wg-ww", "name": "site2", "public-key": "PUB2", "private-key": "SECRET", "preshared-key": "PSK",
			"allowed-address": "10.77.0.2/32,10.66.2.0/24", "endpoint-address": "203.0.113.2", "endpoint-port": "51820",
			"current-endpoint-address": "203.0.113.2", "current-endpoint-port": "51820", "rx": "479129", "tx": "881204",
			"last-handshake": "1m28s", "persistent-keepalive": "25s", "disabled": "false", "dynamic": "false",
			"comment": "ww:peer:site2",
		},
		{ // never heard of, RouterOS before 7.15: no name, no last-handshake
			".id": "*3", "interface": "wg-ww", "public-key": "PUB3", "allowed-address": "10.77.0.3/32,fd66:3::/64",
			"current-endpoint-address": "", "current-endpoint-port": "0", "rx": "0", "tx": "15392", "disabled": "false",
			"comment": "ww:peer:site3",
		},
		{".id": "*4", "interface": "wg-home", "name": "phone", "public-key": "PUB4", "allowed-address": "192.0.2.4", "rx": "1", "tx": "2", "disabled": "true"},
	}
}

func TestRouterPeers(t *testing.T) {
	r := newRouter(t)
	r.rows = rowsOfSite1()
	c := r.config()
	c.Interface = "wg-ww"
	got, err := open(t, c).Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []mesh.Peer{
		{
			Interface: "wg-ww", PublicKey: "PUB2", Name: "site2", Endpoint: netip.MustParseAddrPort("203.0.113.2:51820"),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32"), netip.MustParsePrefix("10.66.2.0/24")},
			Keepalive:  25 * time.Second, Handshake: 88 * time.Second, Rx: 479129, Tx: 881204,
		},
		{
			Interface: "wg-ww", PublicKey: "PUB3", Name: "ww:peer:site3", Handshake: mesh.NoHandshake, Tx: 15392,
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.3/32"), netip.MustParsePrefix("fd66:3::/64")},
		},
	}
	equal := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, equal, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

func TestRouterReadsOddAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		raw  string
		want string // name, rx, tx, handshake, disabled of each peer; or the error
	}{
		"none":                          {`[]`, ``},
		"one row as an object":          {`{"interface":"w","public-key":"K","name":"n","rx":"1","tx":"2"}`, "n 1 2 -1ns false;"},
		"a control character":           {"[{\"interface\":\"w\",\"public-key\":\"K\",\"comment\":\"a\tb\x01\"}]\n", "a\tb\x01 0 0 -1ns false;"},
		"a quote and a backslash":       {`[{"interface":"w","public-key":"K","name":"a\"\\"}]`, `a"\ 0 0 -1ns false;`},
		"not UTF-8":                     {"[{\"interface\":\"w\",\"public-key\":\"K\",\"name\":\"caf\xe9\"}]", "caf\uFFFD 0 0 -1ns false;"},
		"numbers and booleans":          {`[{"interface":"w","public-key":"K","rx":12,"tx":13,"disabled":true,"last-handshake":"5"}]`, " 12 13 5s true;"},
		"yes":                           {`[{"interface":"w","public-key":"K","disabled":"yes"}]`, " 0 0 -1ns true;"},
		"bytes as the console has them": {`[{"interface":"w","public-key":"K","rx":"467.9KiB","tx":"1.5GiB"}]`, " 479129 1610612736 -1ns false;"},
		"an old handshake":              {`[{"interface":"w","public-key":"K","last-handshake":"1w2d03:04:05"}]`, " 0 0 219h4m5s false;"},
		"an empty handshake":            {`[{"interface":"w","public-key":"K","last-handshake":""}]`, " 0 0 -1ns false;"},
		"a handshake that is none":      {`[{"interface":"w","public-key":"K","last-handshake":"soon"}]`, "cannot be read"},
		"minus bytes":                   {`[{"interface":"w","public-key":"K","rx":"-1"}]`, "cannot be read"},
		"a row of something else":       {`[{"numbers":"4"}]`, "cannot be read"},
		"empty":                         {` `, "cannot be read"},
		"a page":                        {`<html>WebFig</html>`, "cannot be read"},
		"cut off":                       {`[{"interface":"w"`, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			r.raw = tt.raw
			peers, err := open(t, r.config()).Peers(t.Context())
			if err != nil {
				if tt.want != "cannot be read" || !errors.Is(err, mesh.ErrAnswer) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			got := ""
			for _, p := range peers {
				got += fmt.Sprintf("%s %d %d %s %v;", p.Name, p.Rx, p.Tx, p.Handshake, p.Disabled)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRouterErrors(t *testing.T) {
	says := func(status int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool { answer(w, status, body); return true }
	}
	for name, tt := range map[string]struct {
		change func(*mesh.RouterConfig)
		fail   func(http.ResponseWriter) bool
		want   error
	}{
		"wrong password":   {change: func(c *mesh.RouterConfig) { c.Password = "other" }, want: mesh.ErrUnauthorized},
		"no policy":        {fail: says(400, `{"detail":"not enough permissions (9)","error":400,"message":"Bad Request"}`), want: mesh.ErrForbidden},
		"forbidden":        {fail: says(403, ``), want: mesh.ErrForbidden},
		"old version":      {fail: says(404, `{"error":404,"message":"Not Found"}`), want: mesh.ErrNoMenu},
		"no menu":          {fail: says(400, `{"detail":"no such command prefix","error":400}`), want: mesh.ErrNoMenu},
		"the 60 s are up":  {fail: says(400, `{"detail":"Session closed","error":400,"message":"Bad Request"}`), want: mesh.ErrSlow},
		"an unknown error": {fail: says(500, `oops`), want: mesh.ErrAnswer},
		"a redirect":       {fail: says(302, ``), want: mesh.ErrAnswer},
		"other authority":  {change: func(c *mesh.RouterConfig) { c.CA = x509.NewCertPool() }, want: mesh.ErrCertificate},
		"other pin":        {change: func(c *mesh.RouterConfig) { c.Fingerprint = strings.Repeat("ab", 32) }, want: mesh.ErrCertificate},
		"nobody there":     {change: func(c *mesh.RouterConfig) { c.URL = "https://127.0.0.1:1" }, want: mesh.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			r.rows, r.fail = rowsOfSite1(), tt.fail
			c := r.config()
			if tt.change != nil {
				tt.change(&c)
			}
			_, err := open(t, c).Peers(t.Context())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("the password stands in the error: %v", err)
			}
			if _, ok := errors.AsType[*mesh.RouterError](err); ok != (tt.fail != nil || name == "wrong password") {
				t.Errorf("%v is a RouterError: %v", err, ok)
			}
		})
	}
}

func TestRouterByPin(t *testing.T) {
	r := newRouter(t)
	r.rows = rowsOfSite1()
	sum := sha256.Sum256(r.Certificate().Raw)
	c := r.config()
	pin := strings.ToUpper(hex.EncodeToString(sum[:]))
	pairs := slices.Collect(slices.Chunk([]byte(pin), 2))
	c.CA, c.Fingerprint = nil, ""
	for i, p := range pairs {
		if i > 0 {
			c.Fingerprint += ":"
		}
		c.Fingerprint += string(p)
	}
	if _, err := open(t, c).Peers(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRouterThatHangs: the caller's deadline ends the request.
func TestRouterThatHangs(t *testing.T) {
	r := newRouter(t)
	gone := make(chan struct{})
	r.fail = func(http.ResponseWriter) bool { <-gone; return true }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := open(t, r.config()).Peers(ctx)
	close(gone)
	if !errors.Is(err, mesh.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestRouterConfigIsChecked(t *testing.T) {
	r := newRouter(t)
	for name, change := range map[string]func(*mesh.RouterConfig){
		"plain HTTP":   func(c *mesh.RouterConfig) { c.URL = "http://10.66.1.1" },
		"a path":       func(c *mesh.RouterConfig) { c.URL = "https://10.66.1.1/rest" },
		"no URL":       func(c *mesh.RouterConfig) { c.URL = "" },
		"nothing held": func(c *mesh.RouterConfig) { c.CA = nil },
		"no user":      func(c *mesh.RouterConfig) { c.User = "" },
	} {
		c := r.config()
		change(&c)
		if _, err := mesh.NewRouterOS(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
