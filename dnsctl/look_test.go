package dnsctl_test

import (
	"context"
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
		{"SERVFAIL", dns.RcodeServerFailure, nil, nil, dnsctl.Sight{State: dnsctl.SightNone}, dnsctl.Differs},
		{"silence", 0, nil, context.DeadlineExceeded, dnsctl.Sight{}, dnsctl.Silent},
	} {
		recursive := true
		ex := exchangeFunc(func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
			recursive = recursive && m.RecursionDesired
			r := new(dns.Msg).SetRcode(m, tc.rcode)
			r.Answer = tc.answer
			return r, tc.err
		})
		look := dnsctl.AskResolver(t.Context(), ex, "9.9.9.9:53", g, []string{name})
		if look.Names[name] != tc.want || look.Status != tc.status || !recursive {
			t.Errorf("%s: got %+v, status %s, recursion desired %t; want %+v, %s", tc.name, look.Names[name], look.Status, recursive, tc.want, tc.status)
		}
	}
}
