package probes_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brief is long enough for loopback on a busy machine where an answer comes,
// and all of it is spent where none does.
const (
	brief = 150 * time.Millisecond
	ample = 5 * time.Second
)

func ask(t *testing.T, c probes.Config, target probes.Target, within time.Duration) probes.Result {
	t.Helper()
	if c.Dial == nil {
		c.Dial = probes.NetDial
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return probes.New(c)(ctx, target)
}

// check compares with want and with one of the notes, which "|" separates.
func check(t *testing.T, got probes.Result, want failover.Seen, note string) {
	t.Helper()
	notes := strings.Split(note, "|")
	if got.Seen != want || !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(got.Note, n) }) {
		t.Errorf("got %s %q, want %s %q", got.Seen, got.Note, want, note)
	}
	if alive := got.Seen.Alive(); alive != (got.RTT > 0) {
		t.Errorf("%s with a round trip of %s", got.Seen, got.RTT)
	}
}

// What a dying or dead service looks like is the same for every kind over TCP
// that waits for the service to speak.
func TestEveryKindOnADeadService(t *testing.T) {
	silent, closes := serve(t, says("")), serve(t, saysAndCloses(""))
	reset, closed, hole := serve(t, resets), closedPort(t), blackHole(t)
	conf := probes.Config{AgentTLS: &tls.Config{MinVersion: tls.VersionTLS13}}
	for _, kind := range []probes.Kind{probes.KindAgent, probes.KindTLS, probes.KindHTTP, probes.KindBanner} {
		for _, tc := range []struct {
			name   string
			addr   netip.AddrPort
			within time.Duration
			want   failover.Seen
			note   string
		}{
			{"accepts and stays silent", silent, brief, d, "no answer"},
			{"drops the SYN", hole, brief, d, "no answer"},
			{"closes without a word", closes, ample, r, "closed without an answer"},
			{"resets", reset, ample, r, ""}, // a reset may overtake the request: reset or broken pipe
			{"closed port", closed, ample, r, "connection refused"},
		} {
			t.Run(string(kind)+"/"+tc.name, func(t *testing.T) {
				check(t, ask(t, conf, probes.Target{Kind: kind, Addr: tc.addr}, tc.within), tc.want, tc.note)
			})
		}
	}
	t.Run("tcp takes a connection for an answer", func(t *testing.T) {
		check(t, ask(t, conf, probes.Target{Kind: probes.KindTCP, Addr: silent}, ample), u, "connected")
		check(t, ask(t, conf, probes.Target{Kind: probes.KindTCP, Addr: closed}, ample), r, "refused")
		check(t, ask(t, conf, probes.Target{Kind: probes.KindTCP, Addr: hole}, brief), d, "no answer")
	})
}

func TestDialErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		udp  error // of the look-up that tells our own lack of a route
		want failover.Seen
		note string
	}{
		{"refused", syscall.ECONNREFUSED, nil, r, "connection refused"},
		{"nobody answers ARP", syscall.EHOSTUNREACH, nil, d, "host unreachable"},
		{"a router on the way", syscall.ENETUNREACH, nil, d, "network unreachable"},
		{"no route of our own", syscall.ENETUNREACH, syscall.ENETUNREACH, x, "no route from here"},
		{"kernel gave up", syscall.ETIMEDOUT, nil, d, "no answer"},
		{"dialer gave up", os.ErrDeadlineExceeded, nil, d, "no answer"},
		{"source address is not ours", syscall.EADDRNOTAVAIL, nil, x, "not tried"},
		{"own firewall", syscall.EPERM, nil, x, "not tried"},
		{"out of descriptors", syscall.EMFILE, nil, x, "not tried"},
		{"WireGuard without the peer", syscall.ENOKEY, nil, x, "not tried"},
		{"WireGuard without an endpoint", syscall.EDESTADDRREQ, nil, d, "never heard"},
		{"something else", io.ErrNoProgress, nil, x, "dial"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := probes.Config{Dial: failing(func(network string) error {
				if network == "udp" {
					return tc.udp
				}
				return tc.err
			})}
			target := probes.Target{Kind: probes.KindTLS, Addr: netip.MustParseAddrPort("192.0.2.1:443")}
			check(t, ask(t, c, target, ample), tc.want, tc.note)
		})
	}
}

func TestAProbeThatCannotBeTriedIsUnknown(t *testing.T) {
	addr := serve(t, says(""))
	check(t, ask(t, probes.Config{}, probes.Target{Kind: "carrier-pigeon"}, ample), x, "no probe of kind")
	check(t, ask(t, probes.Config{}, probes.Target{Kind: probes.KindAgent, Addr: addr}, ample), x, "no certificate")
	check(t, ask(t, probes.Config{}, probes.Target{Kind: probes.KindHTTP, Addr: addr, URL: "http://[::"}, ample), x, "build request")
	got := probes.New(probes.Config{Dial: probes.NetDial, Now: time.Now})(context.Background(), probes.Target{Kind: probes.KindTCP, Addr: addr})
	check(t, got, x, "no deadline")
}

// A stopping agent cancels its probes; that is no observation.
func TestACancelledProbeIsUnknown(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	addr := serve(t, func(c net.Conn) { cancel(); says("")(c) })
	got := probes.New(probes.Config{Dial: probes.NetDial, Now: time.Now})(ctx, probes.Target{Kind: probes.KindBanner, Addr: addr})
	check(t, got, x, "cancelled")
	got = probes.New(probes.Config{Dial: probes.NetDial, Now: time.Now})(ctx, probes.Target{Kind: probes.KindBanner, Addr: addr})
	check(t, got, x, "cancelled")
}

func TestSourceAddress(t *testing.T) {
	from := make(chan netip.Addr, 1)
	addr := serve(t, func(c net.Conn) { from <- addrOf(c.RemoteAddr()).Addr(); says("SSH-2.0-x\r\n")(c) })
	want := netip.MustParseAddr("127.9.8.7")
	check(t, ask(t, probes.Config{}, probes.Target{Kind: probes.KindBanner, Addr: addr, From: want}, ample), u, "SSH-2.0-x")
	if got := <-from; got != want {
		t.Errorf("came from %s, want %s", got, want)
	}
}

func TestBanner(t *testing.T) {
	for _, tc := range []struct {
		name, says, expect string
		want               failover.Seen
		note               string
		locked             bool
		within             time.Duration
	}{
		{"any text", "hello\n", "", u, "hello", false, ample},
		{"router", "SSH-2.0-ROSSSH\r\n", "", u, "SSH-2.0-ROSSSH", false, ample},
		{"waits for its passphrase", "SSH-2.0-dropbear_2022.83\r\n", "dropbear", u, "SSH-2.0-dropbear_2022.83", true, ample},
		{"has booted", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "dropbear", r, "OpenSSH", false, ample},
		{"lines before the banner", "be careful\r\nSSH-2.0-dropbear\r\n", "dropbear", u, "SSH-2.0-dropbear", true, ample},
		{"stalls within its banner", "SSH-2.0-drop", "dropbear", r, "SSH-2.0-drop", false, 3 * brief},
		{"control characters", "SSH-2.0-\x1b[2Jx\x00\r\n", "", u, "SSH-2.0- [2Jx", false, ample},
		{"nothing readable without end", strings.Repeat("\xff\x01", 4000), "", r, "nothing readable", false, ample},
		{"text without end", strings.Repeat("a", 9000), "", u, strings.Repeat("a", 120), false, ample},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ask(t, probes.Config{}, probes.Target{Kind: probes.KindBanner, Addr: serve(t, says(tc.says)), Expect: tc.expect}, tc.within)
			check(t, got, tc.want, tc.note)
			if got.Locked != tc.locked {
				t.Errorf("locked: got %t, want %t", got.Locked, tc.locked)
			}
			if len(got.Note) > 120 {
				t.Errorf("note has %d bytes", len(got.Note))
			}
		})
	}
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert := ca.issue("", "nuage.example")
	addr := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{cert}}, http.NotFoundHandler())
	pin := fingerprint(cert)
	proxmox := strings.ToUpper(pin[:2]) // as Proxmox shows it: AA:BB:…
	for i := 2; i < len(pin); i += 2 {
		proxmox += ":" + strings.ToUpper(pin[i:i+2])
	}
	ours := func(probes.Target) *x509.CertPool { return ca.pool() }
	theirs := func(probes.Target) *x509.CertPool { return other.pool() }
	later := func() time.Time { return time.Now().Add(48 * time.Hour) }
	for _, tc := range []struct {
		name   string
		conf   probes.Config
		target probes.Target
		want   failover.Seen
		note   string
	}{
		{"any certificate", probes.Config{}, probes.Target{}, u, "TLS 1.3"},
		{"any certificate, whatever the date", probes.Config{Now: later}, probes.Target{}, u, "TLS 1.3"},
		{"pinned", probes.Config{}, probes.Target{Pin: pin}, u, "TLS"},
		{"pinned as Proxmox writes it", probes.Config{}, probes.Target{Pin: proxmox}, u, "TLS"},
		{"another pin", probes.Config{}, probes.Target{Pin: strings.Repeat("ab", 32)}, r, "certificate differs"},
		{"authority and name", probes.Config{Roots: ours}, probes.Target{ServerName: "nuage.example"}, u, "TLS"},
		{"another name", probes.Config{Roots: ours}, probes.Target{ServerName: "wiki.example"}, r, "certificate differs"},
		{"another authority", probes.Config{Roots: theirs}, probes.Target{ServerName: "nuage.example"}, r, "certificate differs"},
		{"expired", probes.Config{Roots: ours, Now: later}, probes.Target{ServerName: "nuage.example"}, r, "certificate differs"},
		{"no authority for this one", probes.Config{Roots: func(probes.Target) *x509.CertPool { return nil }}, probes.Target{}, u, "TLS"},
		{"does not speak TLS", probes.Config{}, probes.Target{Addr: serve(t, says("220 mail.example ESMTP\r\n"))}, r, "does not speak TLS"},
		{"stalls", probes.Config{}, probes.Target{Addr: serve(t, says("\x16\x03\x03\x01\x00"))}, r, "stalled"},
		{
			"breaks off",
			probes.Config{},
			probes.Target{Addr: serve(t, saysAndCloses("\x16\x03\x03\x01\x00"))},
			r, "breaks off",
		},
		{
			"refuses our version",
			probes.Config{},
			probes.Target{Addr: serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, nil)},
			r, "unexpected answer",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.target.Kind = probes.KindTLS
			if !tc.target.Addr.IsValid() {
				tc.target.Addr = addr
			}
			within := ample
			if tc.note == "stalled" {
				within = 3 * brief
			}
			check(t, ask(t, tc.conf, tc.target, within), tc.want, tc.note)
		})
	}
}

// webSite is a public name with pages that behave and misbehave.
func webSite() http.Handler {
	site := http.NewServeMux()
	site.HandleFunc("nuage.example/", func(w http.ResponseWriter, q *http.Request) {
		if q.TLS == nil || q.TLS.ServerName != "nuage.example" {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		_, _ = io.WriteString(w, `{"installed":true}`)
	})
	site.HandleFunc("nuage.example/login", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	site.HandleFunc("nuage.example/moved", func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, "https://elsewhere.example/", http.StatusFound)
	})
	site.HandleFunc("nuage.example/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	site.HandleFunc("nuage.example/hints", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) })
	site.HandleFunc("nuage.example/huge", func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			_, _ = io.WriteString(w, strings.Repeat("z", 10_000))
		}
	})
	site.HandleFunc("nuage.example/stream", func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, "installed")
		w.(http.Flusher).Flush()
		<-q.Context().Done()
	})
	return site
}

func TestHTTP(t *testing.T) {
	cert := newAuthority(t).issue("", "nuage.example")
	secure := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{cert}}, webSite())
	plain := serveHTTP(t, nil, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, "host "+q.Host+" path "+q.URL.Path)
	}))
	raw := func(answer string) netip.AddrPort {
		return serve(t, func(c net.Conn) {
			buf := make([]byte, 4096)
			_, _ = c.Read(buf)
			saysAndCloses(answer)(c)
		})
	}
	for _, tc := range []struct {
		name   string
		target probes.Target
		want   failover.Seen
		note   string
		within time.Duration
	}{
		{"true name", probes.Target{ServerName: "nuage.example"}, u, "HTTP 200", ample},
		{"marker", probes.Target{ServerName: "nuage.example", Expect: "installed"}, u, "HTTP 200", ample},
		{"status and marker", probes.Target{ServerName: "nuage.example", Expect: "200 installed"}, u, "HTTP 200", ample},
		{"marker is missing", probes.Target{ServerName: "nuage.example", Expect: "maintenance"}, r, "without the expected text", ample},
		{"another status", probes.Target{ServerName: "nuage.example", Expect: "204"}, r, "expected 204", ample},
		{"unknown to the reverse proxy", probes.Target{ServerName: "wiki.example"}, r, "HTTP 404", ample},
		{"behind a login", probes.Target{ServerName: "nuage.example", URL: "/login"}, u, "HTTP 401", ample},
		{"redirects are not followed", probes.Target{ServerName: "nuage.example", URL: "/moved"}, u, "HTTP 302", ample},
		{"nothing behind the proxy", probes.Target{ServerName: "nuage.example", URL: "/broken"}, r, "HTTP 502", ample},
		{"interim answer", probes.Target{ServerName: "nuage.example", URL: "/hints", Expect: "200"}, u, "HTTP 200", ample},
		{"a large body is read in part", probes.Target{ServerName: "nuage.example", URL: "/huge", Expect: "200 a"}, r, "expected text", ample},
		{"a stream without end", probes.Target{ServerName: "nuage.example", URL: "/stream"}, u, "HTTP 200", ample},
		{"a marker in a stream", probes.Target{ServerName: "nuage.example", URL: "/stream", Expect: "installed"}, u, "HTTP 200", 8 * brief},
		{"in the clear", probes.Target{Addr: plain, URL: "http://" + plain.String() + "/status.php", Expect: "path /status.php"}, u, "HTTP 200", ample},
		{"not HTTP", probes.Target{Addr: raw("220 mail\r\n"), URL: "http://x/"}, r, "unexpected answer", ample},
		{"half an answer", probes.Target{Addr: raw("HTTP/1.1 200 OK\r\nA: "), URL: "http://x/"}, r, "breaks off", ample},
		{"half a body", probes.Target{Addr: raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), URL: "http://x/", Expect: "c"}, r, "breaks off", ample},
		{"headers without end", probes.Target{Addr: raw("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 50_000)), URL: "http://x/"}, r, "breaks off", ample},
		{"only interim answers", probes.Target{Addr: raw(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9)), URL: "http://x/"}, r, "interim", ample},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.target.Kind = probes.KindHTTP
			if !tc.target.Addr.IsValid() {
				tc.target.Addr = secure
			}
			check(t, ask(t, probes.Config{}, tc.target, tc.within), tc.want, tc.note)
		})
	}
}

// TestPublicCertificate: a certificate that a browser would refuse is told beside the answer and
// never instead of it: that the service answers is what keeps it from being moved.
func TestPublicCertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert := ca.issue("", "nuage.example")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	until := leaf.NotAfter.UTC()
	addr := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{cert}}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}))
	later := func() time.Time { return time.Now().Add(48 * time.Hour) }
	public := probes.Target{Kind: probes.KindHTTP, Addr: addr, ServerName: "nuage.example", Public: true}
	another, indifferent := public, public
	another.ServerName, indifferent.Public = "wiki.example", false
	for name, tc := range map[string]struct {
		conf   probes.Config
		target probes.Target
		want   failover.Certificate
	}{
		"valid":             {probes.Config{PublicRoots: ca.pool}, public, failover.Certificate{Until: until}},
		"another name":      {probes.Config{PublicRoots: ca.pool}, another, failover.Certificate{Wrong: "is for another name", Until: until}},
		"another authority": {probes.Config{PublicRoots: other.pool}, public, failover.Certificate{Wrong: "is of an unknown authority", Until: until}},
		"expired":           {probes.Config{PublicRoots: ca.pool, Now: later}, public, failover.Certificate{Wrong: "has expired, or its time has not come", Until: until}},
		"no authorities":    {probes.Config{}, public, failover.Certificate{}},
		"not a public name": {probes.Config{PublicRoots: other.pool}, indifferent, failover.Certificate{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, tc.conf, tc.target, ample)
			check(t, got, u, "HTTP 200")
			if got.Certificate != tc.want {
				t.Errorf("certificate %+v, want %+v", got.Certificate, tc.want)
			}
		})
	}
}

func TestAgent(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	self := ca.issue("www://assos/quai/1")
	health := http.NewServeMux()
	health.HandleFunc("/v1/health", func(w http.ResponseWriter, q *http.Request) {
		if len(q.TLS.PeerCertificates) != 1 {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	server := func(cert tls.Certificate, h http.Handler) netip.AddrPort {
		return serveHTTP(t, &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: tls.VersionTLS13, NextProtos: []string{"www-raft/1", "h2", "http/1.1"},
		}, h)
	}
	sick := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mine := &tls.Config{Certificates: []tls.Certificate{self}, RootCAs: ca.pool(), MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	stranger := &tls.Config{Certificates: []tls.Certificate{other.issue("www://assos/quai/1")}, RootCAs: ca.pool(), MinVersion: tls.VersionTLS13}
	for _, tc := range []struct {
		name string
		addr netip.AddrPort
		conf *tls.Config
		want failover.Seen
		note string
	}{
		{"healthy", server(ca.issue("www://assos/moulin/7"), health), mine, u, "HTTP 200"},
		{"unhealthy", server(ca.issue("www://assos/moulin/7"), sick), mine, r, "HTTP 503"},
		{"another site's agent", server(ca.issue("www://assos/fabrique/7"), health), mine, r, `answers as the agent of "fabrique"`},
		{"no agent's certificate", server(ca.issue(""), health), mine, r, "names no agent"},
		{"another network's authority", server(other.issue("www://assos/moulin/7"), health), mine, r, "certificate differs"},
		// A server that closes with our request unread resets the connection, which may overtake its alert.
		{"we are refused", server(ca.issue("www://assos/moulin/7"), health), stranger, r, "unexpected answer|connection reset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := probes.Target{Kind: probes.KindAgent, Site: "moulin", Addr: tc.addr, URL: "/v1/health"}
			check(t, ask(t, probes.Config{AgentTLS: tc.conf}, target, ample), tc.want, tc.note)
		})
	}
	if len(mine.NextProtos) != 1 || mine.ServerName != "" {
		t.Error("the injected configuration was changed")
	}
}
