package dnsctl_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// A resolver may remember: what it says is told with the time that remains, the
// least of the chain, and addresses are as good as the CNAME that leads there.
func TestWhatAResolverRemembers(t *testing.T) {
	const name = "cloud.failover.test."
	g, ok := dnsctl.GoalOf(foreignState(t, "192.0.2.1:53"), "failover.test")
	if !ok {
		t.Fatal("no goal")
	}
	record := func(name, rtype, data string, ttl time.Duration) dns.RR {
		rr, err := dnsctl.Record{Name: name, Type: rtype, TTL: ttl, Data: data}.RR()
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	// An SOA alone goes beside the answer. Its own TTL counts, or its last field where that is less.
	soa := func(ttl uint32) dns.RR {
		return &dns.SOA{Hdr: dns.RR_Header{Name: "failover.test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl}, Minttl: 300}
	}
	for _, tc := range []struct {
		name   string
		rcode  int
		answer []dns.RR
		err    error
		want   dnsctl.Sight
		status dnsctl.Status
	}{
		{"as decided", 0, []dns.RR{
			record(name, "CNAME", "moulin.site.failover.test.", 50*time.Second), record("moulin.site.failover.test.", "A", "203.0.113.1", 20*time.Second),
		}, nil, dnsctl.Sight{State: dnsctl.SightOK, TTL: 20 * time.Second}, dnsctl.InSync},
		{"the addresses of the site", 0, []dns.RR{record(name, "A", "203.0.113.1", 9*time.Second)}, nil, dnsctl.Sight{State: dnsctl.SightOK, TTL: 9 * time.Second}, dnsctl.InSync},
		{"the old site", 0, []dns.RR{
			record(name, "CNAME", "quai.site.failover.test.", 41*time.Second), record("quai.site.failover.test.", "A", "203.0.113.2", time.Minute),
		}, nil, dnsctl.Sight{State: dnsctl.SightOld, TTL: 41 * time.Second}, dnsctl.Differs},
		{"no address", 0, nil, nil, dnsctl.Sight{State: dnsctl.SightOld}, dnsctl.Differs},
		{"no such name", dns.RcodeNameError, nil, nil, dnsctl.Sight{State: dnsctl.SightAbsent}, dnsctl.Differs},
		{"no such name, remembered", dns.RcodeNameError, []dns.RR{soa(42)}, nil, dnsctl.Sight{State: dnsctl.SightAbsent, TTL: 42 * time.Second}, dnsctl.Differs},
		{"no address, remembered", 0, []dns.RR{soa(900)}, nil, dnsctl.Sight{State: dnsctl.SightOld, TTL: 5 * time.Minute}, dnsctl.Differs},
		{"SERVFAIL", dns.RcodeServerFailure, nil, nil, dnsctl.Sight{State: dnsctl.SightNone}, dnsctl.Differs},
		{"silence", 0, nil, context.DeadlineExceeded, dnsctl.Sight{}, dnsctl.Silent},
	} {
		recursive := true
		ex := exchangeFunc(func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
			recursive = recursive && m.RecursionDesired
			r := new(dns.Msg).SetRcode(m, tc.rcode)
			r.Answer = tc.answer
			if len(tc.answer) == 1 && tc.answer[0].Header().Rrtype == dns.TypeSOA {
				r.Answer, r.Ns = nil, tc.answer
			}
			return r, tc.err
		})
		look := dnsctl.AskResolver(t.Context(), ex, "9.9.9.9:53", g, []string{name})
		if look.Names[name] != tc.want || look.Status != tc.status || !recursive {
			t.Errorf("%s: got %+v, status %s, recursion desired %t; want %+v, %s", tc.name, look.Names[name], look.Status, recursive, tc.want, tc.status)
		}
	}
}

// A lost datagram is asked for again; a dead server costs no more than the tries, and one that says no is not asked twice.
func TestPatience(t *testing.T) {
	refused := errors.New("connection refused")
	for _, tc := range []struct {
		name string
		says []error
		want error
		asks int
	}{
		{"an answer", []error{nil}, nil, 1},
		{"a lost datagram", []error{context.DeadlineExceeded, nil}, nil, 2},
		{"a dead server", []error{context.DeadlineExceeded, context.DeadlineExceeded, nil}, context.DeadlineExceeded, 2},
		{"a closed port", []error{refused, nil}, refused, 1},
	} {
		asks := 0
		ex := exchangeFunc(func(ctx context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
			if end, bounded := ctx.Deadline(); !bounded || time.Until(end) > time.Hour {
				t.Errorf("%s: a try has until %v", tc.name, end)
			}
			asks++
			return m, tc.says[asks-1]
		})
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Hour)
		_, err := dnsctl.Patient{Exchanger: ex, Within: time.Hour, Tries: 2}.Exchange(ctx, "192.0.2.1:53", question("failover.test.", dns.TypeSOA))
		cancel()
		if !errors.Is(err, tc.want) || asks != tc.asks {
			t.Errorf("%s: got %v after %d questions, want %v after %d", tc.name, err, asks, tc.want, tc.asks)
		}
	}
}

// A server is called by the NS record that leads to it.
func TestNameServersByAddress(t *testing.T) {
	g := dnsctl.Goal{Zone: "failover.test", Records: []dnsctl.Record{
		{Name: "failover.test.", Type: "NS", Data: "ns1.failover.test."},
		{Name: "failover.test.", Type: "NS", Data: "ns2.elsewhere.example."},
		{Name: "failover.test.", Type: "A", Data: "203.0.113.9"},
		{Name: "ns1.failover.test.", Type: "A", Data: "192.0.2.53"},
		{Name: "ns1.failover.test.", Type: "AAAA", Data: "2001:db8::53"},
	}}
	got := g.NameServers()
	want := map[netip.Addr]string{
		netip.MustParseAddr("192.0.2.53"): "ns1.failover.test.", netip.MustParseAddr("2001:db8::53"): "ns1.failover.test.",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
