package dnsctl_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

func TestConfigIsChecked(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, tc := range []struct {
		name string
		cfg  dnsctl.Config
		want string
	}{
		{"every IPv4 interface", dnsctl.Config{Logger: log, Listen: []string{"0.0.0.0:53"}}, "every interface"},
		{"every IPv6 interface", dnsctl.Config{Logger: log, Listen: []string{"[::]:53"}}, "every interface"},
		{"every interface, mapped", dnsctl.Config{Logger: log, Listen: []string{"[::ffff:0.0.0.0]:53"}}, "every interface"},
		{"no host", dnsctl.Config{Logger: log, Listen: []string{":53"}}, "IP:port"},
		{"a name", dnsctl.Config{Logger: log, Listen: []string{"localhost:53"}}, "IP:port"},
		{"twice", dnsctl.Config{Logger: log, Listen: []string{"127.0.0.1:5353", "127.0.0.1:5353"}}, "twice"},
		{"no logger", dnsctl.Config{}, "logger"},
		{"key name", dnsctl.Config{Logger: log, TransferKeys: []dnsctl.Key{{Name: "k", Secret: secret}}}, "dot"},
		{"key algorithm", dnsctl.Config{Logger: log, TransferKeys: []dnsctl.Key{{Name: "k.", Algorithm: "hmac-md5", Secret: secret}}}, "hmac-md5"},
		{"short secret", dnsctl.Config{Logger: log, TransferKeys: []dnsctl.Key{{Name: "k.", Secret: "c2hvcnQ="}}}, "16 bytes"},
		{"key twice", dnsctl.Config{Logger: log, TransferKeys: []dnsctl.Key{{Name: "k.", Secret: secret}, {Name: "K.", Secret: secret}}}, "twice"},
	} {
		if _, err := dnsctl.NewServer(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want one with %q", tc.name, err, tc.want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error shows the secret", tc.name)
		}
	}
}

func TestServesOverUDPAndTCP(t *testing.T) {
	_, addr := start(t, dnsctl.Config{}, mainZone())
	for _, network := range []string{"udp", "tcp"} {
		r := ask(t, network, addr, question("ALIAS.failover.test.", dns.TypeA))
		want := "noerror aa | an ALIAS.~ 60 CNAME moulin.site.~ | an moulin.site.~ 60 A 203.0.113.17"
		if got := brief(r); got != want {
			t.Errorf("%s: got %s, want %s", network, got, want)
		}
		m := question("failover.test.", dns.TypeSOA)
		m.Opcode = dns.OpcodeUpdate
		if r := ask(t, network, addr, m); r.Rcode != dns.RcodeNotImplemented {
			t.Errorf("%s: UPDATE answered %s, want NOTIMP", network, dns.RcodeToString[r.Rcode])
		}
	}
}

func TestTruncatesOverUDPOnly(t *testing.T) {
	z := secondZone()
	for i := range 80 {
		z.Records = append(z.Records, rec("many.second.test.", "A", fmt.Sprintf("192.0.2.%d", i)))
	}
	_, addr := start(t, dnsctl.Config{}, z)
	for _, tc := range []struct {
		edns uint16
		max  int
	}{{0, 512}, {100, 512}, {900, 900}, {4096, 1232}} {
		m := question("many.second.test.", dns.TypeA)
		if tc.edns > 0 {
			m.SetEdns0(tc.edns, false)
		}
		r := ask(t, "udp", addr, m)
		r.Compress = true
		if !r.Truncated || r.Len() > tc.max {
			t.Errorf("EDNS size %d: TC %t, %d bytes; want TC and at most %d", tc.edns, r.Truncated, r.Len(), tc.max)
		}
		if (tc.edns > 0) != (r.IsEdns0() != nil) {
			t.Errorf("EDNS size %d: OPT in the answer: %t", tc.edns, r.IsEdns0() != nil)
		}
	}
	if r := ask(t, "tcp", addr, question("many.second.test.", dns.TypeA)); r.Truncated || len(r.Answer) != 80 {
		t.Errorf("TCP: TC %t, %d records; want all 80", r.Truncated, len(r.Answer))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := dialer().Exchange(ctx, addr, question("many.second.test.", dns.TypeA))
	if err != nil || len(r.Answer) != 80 {
		t.Errorf("NetExchanger did not go on over TCP: %v, %v", r, err)
	}
}

func TestPublishWhileAsked(t *testing.T) {
	s, addr := start(t, dnsctl.Config{}, secondZone())
	version := func(n uint32) dnsctl.Zone { // every record of a version carries its number
		z := secondZone()
		z.Serial = n
		for i := range 4 {
			z.Records = append(z.Records, rec("pair.second.test.", "A", fmt.Sprintf("192.0.%d.%d", n%250, i)))
		}
		return z
	}
	if err := s.Publish([]dnsctl.Zone{version(0)}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			c := &dns.Client{Net: []string{"udp", "tcp"}[i%2], Timeout: 5 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, _, err := c.Exchange(question("PAIR.second.test.", dns.TypeA), addr)
				if err != nil || len(r.Answer) != 4 {
					t.Errorf("while publishing: %v, %v", r, err)
					return
				}
				first := r.Answer[0].(*dns.A).A[2]
				for _, rr := range r.Answer {
					if rr.(*dns.A).A[2] != first {
						t.Errorf("one answer from two versions: %v", r.Answer)
					}
				}
			}
		})
	}
	for n := range uint32(200) {
		if err := s.Publish([]dnsctl.Zone{version(n + 1)}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if r := ask(t, "udp", addr, question("second.test.", dns.TypeSOA)); r.Answer[0].(*dns.SOA).Serial != 200 {
		t.Errorf("after the last Publish: %v, want serial 200", r.Answer[0])
	}
}

func TestStopsWithClientsOnTheLine(t *testing.T) {
	s := newServer(t, dnsctl.Config{Listen: []string{"127.0.0.1:0"}}, mainZone())
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addrs()[0].String()
	idle, err := dns.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := idle.WriteMsg(question("www.failover.test.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.ReadMsg(); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil after a stop", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run did not end")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	_ = l.Close()
}

func TestListenBindsAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newServer(t, dnsctl.Config{Listen: []string{"127.0.0.2:0", taken.Addr().String()}})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Run = %v, want address in use", err)
	}
	if addrs := s.Addrs(); len(addrs) != 0 {
		t.Errorf("still bound: %v", addrs)
	}
}

func TestRunWithACancelledContextReturns(t *testing.T) {
	s := newServer(t, dnsctl.Config{Listen: []string{"127.0.0.1:0"}})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	_, addr := start(t, dnsctl.Config{MaxConns: 2}, mainZone())
	var open []*dns.Conn
	for range 2 {
		c, err := dns.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.WriteMsg(question("www.failover.test.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadMsg(); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	third, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	_ = third.SetReadDeadline(time.Now().Add(3 * time.Second))
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("a third connection was kept (%d, %v), want it closed", n, err)
	}
	if err := open[0].WriteMsg(question("www.failover.test.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	if _, err := open[0].ReadMsg(); err != nil {
		t.Errorf("an open connection lost its service: %v", err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// countAnswers asks the same n times over UDP and counts whole answers and empty ones with TC. Handlers run side by side,
// so the server's counters tell when all of them are through.
func countAnswers(t *testing.T, s *dnsctl.Server, addr string, n int) (whole, cut int) {
	t.Helper()
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := s.Stats()
	for range n {
		if err := conn.WriteMsg(question("www.failover.test.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	for whole+cut < n {
		wait := time.Second
		limited := int(s.Stats().Limited - before.Limited)
		if int(s.Stats().Queries-before.Queries) == n && whole+cut >= n-limited+limited/2 {
			wait = 50 * time.Millisecond // nothing more is due
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		m, err := conn.ReadMsg()
		switch {
		case err != nil:
			return whole, cut
		case m.Truncated && len(m.Answer) == 0:
			cut++
		default:
			whole++
		}
	}
	return whole, cut
}

func TestRateLimit(t *testing.T) {
	var now time.Duration
	var mu sync.Mutex
	clock := func() time.Duration { mu.Lock(); defer mu.Unlock(); return now }
	s, addr := start(t, dnsctl.Config{RateLimit: dnsctl.RateLimit{PerSecond: 2, Burst: 4}, Now: clock}, mainZone())
	burst := func(n int) (whole, cut int) { return countAnswers(t, s, addr, n) }
	if whole, cut := burst(10); whole != 4 || cut != 3 {
		t.Errorf("10 at once: %d whole, %d with TC; want 4 and every second of the other 6", whole, cut)
	}
	if r := ask(t, "udp", addr, question("nope.failover.test.", dns.TypeA)); r.Rcode != dns.RcodeNameError {
		t.Errorf("another kind of answer was limited: %v", r)
	}
	for range 20 {
		if r := ask(t, "tcp", addr, question("www.failover.test.", dns.TypeA)); len(r.Answer) != 1 {
			t.Fatalf("TCP was limited: %v", r)
		}
	}
	mu.Lock()
	now += time.Second
	mu.Unlock()
	if whole, _ := burst(2); whole != 2 {
		t.Errorf("after a second %d whole answers, want 2", whole)
	}
}

func TestRateLimitExemptsNetworks(t *testing.T) {
	s, addr := start(t, dnsctl.Config{RateLimit: dnsctl.RateLimit{PerSecond: 1, Exempt: loopback()}}, mainZone())
	for range 50 {
		ask(t, "udp", addr, question("www.failover.test.", dns.TypeA))
	}
	if got := s.Stats(); got.Limited != 0 || got.Queries != 50 {
		t.Errorf("Stats = %+v, want 50 queries, none limited", got)
	}
}

func TestHandlersAreBounded(t *testing.T) {
	s := newServer(t, dnsctl.Config{MaxHandlers: 1}, mainZone())
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := &fakeWriter{write: func(*dns.Msg) error { close(entered); <-leave; return nil }}
	done := make(chan struct{})
	go func() { defer close(done); s.ServeDNS(slow, question("www.failover.test.", dns.TypeA)) }()
	<-entered
	second := &fakeWriter{write: func(*dns.Msg) error { t.Error("answered above the bound"); return nil }}
	s.ServeDNS(second, question("www.failover.test.", dns.TypeA))
	if got := s.Stats().Overloaded; got != 1 || !second.closed {
		t.Errorf("overloaded = %d, closed = %t; want 1, true", got, second.closed)
	}
	close(leave)
	<-done
}

// fakeWriter is a client over TCP without a network.
type fakeWriter struct {
	write  func(*dns.Msg) error
	remote net.Addr
	closed bool
}

func (f *fakeWriter) LocalAddr() net.Addr { return &net.TCPAddr{} }

func (f *fakeWriter) RemoteAddr() net.Addr {
	if f.remote != nil {
		return f.remote
	}
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1053"))
}
func (f *fakeWriter) WriteMsg(m *dns.Msg) error   { return f.write(m) }
func (f *fakeWriter) Write(b []byte) (int, error) { return len(b), nil }
func (f *fakeWriter) Close() error                { f.closed = true; return nil }
func (f *fakeWriter) TsigStatus() error           { return nil }
func (f *fakeWriter) TsigTimersOnly(bool)         {}
func (f *fakeWriter) Hijack()                     {}

func TestGarbageOnTheWire(t *testing.T) {
	_, addr := start(t, dnsctl.Config{}, mainZone())
	good, err := question("www.failover.test.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	packets := [][]byte{{}, {1}, make([]byte, 11), make([]byte, 12), make([]byte, 4096)}
	for cut := range good {
		packets = append(packets, good[:cut])
	}
	for i := range good {
		bent := append([]byte(nil), good...)
		bent[i] ^= 0xff
		packets = append(packets, bent)
	}
	udp, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, p := range packets {
		if _, err := udp.Write(p); err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = tcp.Write(append([]byte{byte(len(p) >> 8), byte(len(p))}, p...))
		_ = tcp.Close()
	}
	if r := ask(t, "udp", addr, question("www.failover.test.", dns.TypeA)); len(r.Answer) != 1 {
		t.Errorf("after %d broken packets: %v", len(packets), r)
	}
}

func FuzzRespond(f *testing.F) {
	for _, m := range []*dns.Msg{
		question("www.failover.test.", dns.TypeA), question(`\000.wild.failover.test.`, dns.TypeANY),
		question("loop-a.failover.test.", dns.TypeAAAA), question("x.sub.failover.test.", dns.TypeDS),
		question(".", dns.TypeNS), new(dns.Msg).SetNotify("failover.test."), new(dns.Msg).SetAxfr("failover.test."),
		new(dns.Msg).SetUpdate("failover.test."), question("www.failover.test.", dns.TypeA).SetEdns0(4096, true),
		question("www.failover.test.", dns.TypeA).SetTsig("k.", dns.HmacSHA256, 300, 0),
		new(dns.Msg).SetIxfr("failover.test.", 1, "a.", "b."),
	} {
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	s := newServer(f, dnsctl.Config{TransferKeys: []dnsctl.Key{{Name: "k.", Secret: secret}}, AllowTransfer: loopback()}, mainZone(), childZone())
	s.SetTransfers(dnsctl.TransfersAllowed)
	_, addr := start(f, dnsctl.Config{}, mainZone())
	udp, err := net.Dial("udp", addr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = udp.Close() })
	f.Fuzz(func(t *testing.T, packet []byte) {
		_, _ = udp.Write(packet) // a panic in the server's own goroutines ends the process
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		for _, remote := range []net.Addr{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}} {
			s.ServeDNS(&fakeWriter{remote: remote, write: func(r *dns.Msg) error {
				wire, err := r.Pack()
				if err != nil {
					t.Errorf("answer to %v cannot be packed: %v", m, err)
				}
				if _, udp := remote.(*net.UDPAddr); udp && len(wire) > 1232 {
					t.Errorf("answer of %d bytes over UDP", len(wire))
				}
				return nil
			}}, m)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	s := newServer(b, dnsctl.Config{})
	z := bigZone(10_000)
	for b.Loop() {
		z.Serial++
		if err := s.Publish([]dnsctl.Zone{z}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	s := newServer(b, dnsctl.Config{}, bigZone(10_000))
	m := question("H77.big.test.", dns.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Respond(m).Pack(); err != nil {
			b.Fatal(err)
		}
	}
}
