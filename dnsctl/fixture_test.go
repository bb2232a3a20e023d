package dnsctl_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func soa() dnsctl.SOA {
	return dnsctl.SOA{
		MName: "ns1.failover.test.", RName: "hostmaster.failover.test.",
		Refresh: 15 * time.Minute, Retry: 2 * time.Minute, Expire: 14 * 24 * time.Hour,
		Minimum: time.Minute, TTL: time.Hour,
	}
}

// mainZone exercises every rule of an authoritative answer.
func mainZone() dnsctl.Zone {
	return dnsctl.Zone{Name: "failover.test.", Serial: 18204, SOA: soa(), Records: []dnsctl.Record{
		rec("failover.test.", "NS", "ns1.failover.test."),
		rec("failover.test.", "NS", "ns2.failover.test."),
		rec("failover.test.", "A", "192.0.2.80"),
		rec("failover.test.", "MX", "10 mail.failover.test."),
		rec("ns1.failover.test.", "A", "192.0.2.53"),
		rec("ns2.failover.test.", "A", "198.51.100.53"),
		rec("www.failover.test.", "A", "192.0.2.1"),
		rec("www.failover.test.", "AAAA", "2001:db8::1"),
		rec("www.failover.test.", "TXT", `"v=1"`),
		rec("moulin.site.failover.test.", "A", "203.0.113.17"),
		rec("alias.failover.test.", "CNAME", "moulin.site.failover.test."),
		rec("alias2.failover.test.", "CNAME", "alias.failover.test."),
		rec("abroad.failover.test.", "CNAME", "www.elsewhere.example."),
		rec("across.failover.test.", "CNAME", "www.second.test."),
		rec("dangling.failover.test.", "CNAME", "gone.failover.test."),
		rec("loop-a.failover.test.", "CNAME", "loop-b.failover.test."),
		rec("loop-b.failover.test.", "CNAME", "loop-a.failover.test."),
		rec("todelegated.failover.test.", "CNAME", "www.sub.failover.test."),
		rec("*.wild.failover.test.", "A", "192.0.2.200"),
		rec("exact.wild.failover.test.", "TXT", `"here"`),
		rec("x.deep.wild.failover.test.", "A", "192.0.2.201"),
		rec("*.wildalias.failover.test.", "CNAME", "www.failover.test."),
		rec("sub.failover.test.", "NS", "ns.sub.failover.test."),
		rec("sub.failover.test.", "NS", "ns.elsewhere.example."),
		rec("sub.failover.test.", "DS", "1 13 2 "+strings.Repeat("ab", 32)),
		rec("ns.sub.failover.test.", "A", "192.0.2.99"),
		rec("second-child.failover.test.", "NS", "ns1.failover.test."),
		rec("second-child.failover.test.", "DS", "2 13 2 "+strings.Repeat("ef", 32)),
	}}
}

// childZone is delegated from mainZone and served by the same server.
func childZone() dnsctl.Zone {
	return dnsctl.Zone{Name: "second-child.failover.test.", Serial: 5, SOA: soa(), Records: []dnsctl.Record{
		rec("second-child.failover.test.", "NS", "ns1.failover.test."),
		rec("www.second-child.failover.test.", "A", "192.0.2.44"),
	}}
}

func secondZone() dnsctl.Zone {
	return dnsctl.Zone{Name: "second.test.", Serial: 7, SOA: soa(), Records: []dnsctl.Record{
		rec("second.test.", "NS", "ns1.failover.test."),
		rec("www.second.test.", "A", "192.0.2.2"),
	}}
}

func newServer(t testing.TB, cfg dnsctl.Config, zones ...dnsctl.Zone) *dnsctl.Server {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := dnsctl.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(zones); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the server on a free loopback port until the test ends, and returns its address.
func start(t testing.TB, cfg dnsctl.Config, zones ...dnsctl.Zone) (*dnsctl.Server, string) {
	t.Helper()
	cfg.Listen = []string{"127.0.0.1:0"}
	s := newServer(t, cfg, zones...)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return s, s.Addrs()[0].String()
}

func dialer() dnsctl.NetExchanger {
	var d net.Dialer
	return dnsctl.NetExchanger{Dial: d.DialContext}
}

func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	return m
}

func ask(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: dns.MaxMsgSize}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("ask %s for %v: %v", network, m.Question, err)
	}
	return r
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// now is the time of a signature made by hand.
func now() int64 { return time.Now().Unix() }

// hold proposes to hold a name.
func hold(t *testing.T, log *fakeLog, name string, length time.Duration) {
	t.Helper()
	if _, err := log.Propose(t.Context(), failover.HoldName{Name: name, For: length}); err != nil {
		t.Fatal(err)
	}
}
