package dnsctl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// brief is a message in one line: code and flags, then "section: owner ttl type data" in the order of the message.
func brief(m *dns.Msg) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(dns.RcodeToString[m.Rcode]))
	if m.Authoritative {
		b.WriteString(" aa")
	}
	if m.RecursionAvailable {
		b.WriteString(" ra")
	}
	if m.Truncated {
		b.WriteString(" tc")
	}
	for _, s := range []struct {
		name string
		rrs  []dns.RR
	}{{"an", m.Answer}, {"ns", m.Ns}, {"ad", m.Extra}} {
		for _, rr := range s.rrs {
			if rr.Header().Rrtype == dns.TypeOPT {
				b.WriteString(" | opt")
				continue
			}
			data := strings.TrimPrefix(rr.String(), rr.Header().String())
			if rr.Header().Rrtype == dns.TypeSOA {
				data = fmt.Sprint(rr.(*dns.SOA).Serial)
			}
			name := strings.Replace(rr.Header().Name, "failover.test.", "~", 1)
			data = strings.Replace(data, "failover.test.", "~", 1)
			fmt.Fprintf(&b, " | %s %s %d %s %s", s.name, name, rr.Header().Ttl, dns.TypeToString[rr.Header().Rrtype], data)
		}
	}
	return b.String()
}

type answerCase struct{ name, qname, qtype, want string }

// answerCases is one line per rule; "~" stands for failover.test.
func answerCases() []answerCase {
	const soa = " | ns ~ 60 SOA 18204" // TTL: min(SOA TTL 3600, MINIMUM 60)
	return []answerCase{
		{"address", "www.~", "A", "noerror aa | an www.~ 60 A 192.0.2.1"},
		{"other type", "www.~", "AAAA", "noerror aa | an www.~ 60 AAAA 2001:db8::1"},
		{"case is echoed", "wWw.FAILOVER.test.", "A", "noerror aa | an wWw.FAILOVER.test. 60 A 192.0.2.1"},
		{"apex", "~", "SOA", "noerror aa | an ~ 3600 SOA 18204"},
		{"apex NS", "~", "NS", "noerror aa | an ~ 60 NS ns1.~ | an ~ 60 NS ns2.~"},
		{"no data", "www.~", "MX", "noerror aa" + soa},
		{"no name", "nope.~", "A", "nxdomain aa" + soa},
		{"no name below a leaf", "a.b.www.~", "A", "nxdomain aa" + soa},
		{"empty non-terminal", "site.~", "A", "noerror aa" + soa},
		{"other zone", "www.second.test.", "A", "noerror aa | an www.second.test. 60 A 192.0.2.2"},
		{"outside", "www.example.", "A", "refused"},
		{"parent of a zone", "test.", "NS", "refused"},
		{"the root", ".", "NS", "refused"},
		{"name that only ends alike", "notfailover.test.", "A", "refused"},

		{"CNAME asked", "alias.~", "CNAME", "noerror aa | an alias.~ 60 CNAME moulin.site.~"},
		{"CNAME followed", "alias.~", "A", "noerror aa | an alias.~ 60 CNAME moulin.site.~ | an moulin.site.~ 60 A 203.0.113.17"},
		{"CNAME twice", "alias2.~", "A", "noerror aa | an alias2.~ 60 CNAME alias.~ | an alias.~ 60 CNAME moulin.site.~ | an moulin.site.~ 60 A 203.0.113.17"},
		{"CNAME to no data", "alias.~", "AAAA", "noerror aa | an alias.~ 60 CNAME moulin.site.~" + soa},
		{"CNAME to nothing", "dangling.~", "A", "nxdomain aa | an dangling.~ 60 CNAME gone.~" + soa},
		{"CNAME abroad", "abroad.~", "A", "noerror aa | an abroad.~ 60 CNAME www.elsewhere.example."},
		{"CNAME to another own zone", "across.~", "A", "noerror aa | an across.~ 60 CNAME www.second.test. | an www.second.test. 60 A 192.0.2.2"},
		{"CNAME loop ends", "loop-a.~", "A", "noerror aa | an loop-a.~ 60 CNAME loop-b.~ | an loop-b.~ 60 CNAME loop-a.~"},
		{"CNAME below a cut", "todelegated.~", "A", "noerror aa | an todelegated.~ 60 CNAME www.sub.~ | ns sub.~ 60 NS ns.elsewhere.example. | ns sub.~ 60 NS ns.sub.~ | ad ns.sub.~ 60 A 192.0.2.99"},

		{"wildcard", "any.wild.~", "A", "noerror aa | an any.wild.~ 60 A 192.0.2.200"},
		{"wildcard below", "a.b.wild.~", "A", "noerror aa | an a.b.wild.~ 60 A 192.0.2.200"},
		{"wildcard case", "aNy.wild.~", "A", "noerror aa | an aNy.wild.~ 60 A 192.0.2.200"},
		{"wildcard no data", "any.wild.~", "MX", "noerror aa" + soa},
		{"wildcard itself", "*.wild.~", "A", "noerror aa | an *.wild.~ 60 A 192.0.2.200"},
		{"wildcard yields to the exact name", "exact.wild.~", "A", "noerror aa" + soa},
		{"wildcard yields below the exact name", "a.exact.wild.~", "A", "nxdomain aa" + soa},
		{"wildcard yields to an empty non-terminal", "deep.wild.~", "A", "noerror aa" + soa},
		{"wildcard yields below an empty non-terminal", "y.deep.wild.~", "A", "nxdomain aa" + soa},
		{"wildcard parent", "wild.~", "A", "noerror aa" + soa},
		{"wildcard CNAME", "q.wildalias.~", "A", "noerror aa | an q.wildalias.~ 60 CNAME www.~ | an www.~ 60 A 192.0.2.1"},

		{"referral", "www.sub.~", "A", "noerror | ns sub.~ 60 NS ns.elsewhere.example. | ns sub.~ 60 NS ns.sub.~ | ad ns.sub.~ 60 A 192.0.2.99"},
		{"referral at the cut", "sub.~", "NS", "noerror | ns sub.~ 60 NS ns.elsewhere.example. | ns sub.~ 60 NS ns.sub.~ | ad ns.sub.~ 60 A 192.0.2.99"},
		{"referral for glue", "ns.sub.~", "A", "noerror | ns sub.~ 60 NS ns.elsewhere.example. | ns sub.~ 60 NS ns.sub.~ | ad ns.sub.~ 60 A 192.0.2.99"},
		{"DS by the parent", "sub.~", "DS", "noerror aa | an sub.~ 60 DS 1 13 2 " + strings.Repeat("AB", 32)},
		{"DS below the cut is a referral", "x.sub.~", "DS", "noerror | ns sub.~ 60 NS ns.elsewhere.example. | ns sub.~ 60 NS ns.sub.~ | ad ns.sub.~ 60 A 192.0.2.99"},
		{"own child zone", "www.second-child.~", "A", "noerror aa | an www.second-child.~ 60 A 192.0.2.44"},
		{"own child's DS by the parent", "second-child.~", "DS", "noerror aa | an second-child.~ 60 DS 2 13 2 " + strings.Repeat("EF", 32)},
		{"DS at an apex without parent here", "second.test.", "DS", "noerror aa | ns second.test. 60 SOA 7"},

		{"ANY is one set", "www.~", "ANY", "noerror aa | an www.~ 60 A 192.0.2.1"},
		{"ANY at a CNAME", "alias.~", "ANY", "noerror aa | an alias.~ 60 CNAME moulin.site.~"},
		{"ANY at an empty non-terminal", "site.~", "ANY", "noerror aa" + soa},
		{"ANY at nothing", "nope.~", "ANY", "nxdomain aa" + soa},
		{"unknown type", "www.~", "TYPE65400", "noerror aa" + soa},
		{"transfer without a right", "~", "AXFR", "refused"},
		{"escaped dot is no dot", `a\.www.~`, "A", "nxdomain aa" + soa},
		{"strange bytes", `\000\255.wild.~`, "A", `noerror aa | an \000\255.wild.~ 60 A 192.0.2.200`},
	}
}

func TestAnswers(t *testing.T) {
	s := newServer(t, dnsctl.Config{}, mainZone(), childZone(), secondZone())
	for _, tc := range answerCases() {
		code, ok := dns.StringToType[tc.qtype]
		if !ok {
			code = 65400
		}
		m := question(strings.Replace(tc.qname, "~", "failover.test.", 1), code)
		r := s.Respond(m)
		if got := brief(r); got != tc.want {
			t.Errorf("%s: %s %s\ngot  %s\nwant %s", tc.name, tc.qname, tc.qtype, got, tc.want)
		}
		if r.Id != m.Id || !r.Response || len(r.Question) != 1 || r.Question[0] != m.Question[0] {
			t.Errorf("%s: header or question not echoed: %v", tc.name, r)
		}
		if _, err := r.Pack(); err != nil {
			t.Errorf("%s: pack: %v", tc.name, err)
		}
	}
}

func TestChainStopsAtEightHops(t *testing.T) {
	z := secondZone()
	for i := range 12 {
		z.Records = append(z.Records, rec(fmt.Sprintf("c%d.second.test.", i), "CNAME", fmt.Sprintf("c%d.second.test.", i+1)))
	}
	z.Records = append(z.Records, rec("c12.second.test.", "A", "192.0.2.9"))
	s := newServer(t, dnsctl.Config{}, z)
	r := s.Respond(question("c0.second.test.", dns.TypeA))
	if got := len(r.Answer); got != 9 || r.Rcode != dns.RcodeSuccess {
		t.Errorf("%d records with rcode %d, want 9 (the first and 8 followed)", got, r.Rcode)
	}
	r = s.Respond(question("c4.second.test.", dns.TypeA))
	if last := r.Answer[len(r.Answer)-1]; len(r.Answer) != 9 || last.Header().Rrtype != dns.TypeA {
		t.Errorf("8 hops end at %v, want the address", last)
	}
}

func TestMessagesThatAreNoQuestion(t *testing.T) {
	s := newServer(t, dnsctl.Config{}, mainZone())
	for _, tc := range []struct {
		name   string
		change func(*dns.Msg)
		want   string
	}{
		{"update", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "notimp"},
		{"status", func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }, "notimp"},
		{"no question", func(m *dns.Msg) { m.Question = nil }, "formerr"},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "formerr"},
		{"class CH", func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}, "refused"},
		{"class ANY", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, "refused"},
		{"type OPT", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }, "formerr"},
		{"notify for our zone", func(m *dns.Msg) { m.SetNotify("failover.test.") }, "refused"},
		{"notify for another zone", func(m *dns.Msg) { m.SetNotify("example.") }, "notauth"},
		{"recursion wanted", func(m *dns.Msg) { m.RecursionDesired = true }, "noerror aa | an www.~ 60 A 192.0.2.1"},
		{"EDNS", func(m *dns.Msg) { m.SetEdns0(4096, true) }, "noerror aa | an www.~ 60 A 192.0.2.1 | opt"},
		{"two OPT", func(m *dns.Msg) { m.SetEdns0(4096, false).SetEdns0(4096, false) }, "formerr | opt"},
		{"EDNS version 1", func(m *dns.Msg) { m.SetEdns0(4096, false).IsEdns0().SetVersion(1) }, "badsig | opt"}, // 16 is BADVERS here
		{"unknown option", func(m *dns.Msg) {
			opt := m.SetEdns0(4096, false).IsEdns0()
			opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte{1}})
		}, "noerror aa | an www.~ 60 A 192.0.2.1 | opt"},
	} {
		m := question("www.failover.test.", dns.TypeA)
		tc.change(m)
		r := s.Respond(m)
		if got := brief(r); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
		if _, err := r.Pack(); err != nil {
			t.Errorf("%s: pack: %v", tc.name, err)
		}
		if opt := r.IsEdns0(); opt != nil && (opt.UDPSize() != 1232 || opt.Version() != 0 || len(opt.Option) != 0) {
			t.Errorf("%s: answered with %v, want size 1232, version 0, no option", tc.name, opt)
		}
	}
	m := question("www.failover.test.", dns.TypeA)
	m.Response = true
	if r := s.Respond(m); r != nil {
		t.Errorf("a response was answered: %v", r)
	}
}

func TestQueryInProcess(t *testing.T) {
	s := newServer(t, dnsctl.Config{}, mainZone())
	rcode, answer, serial := s.Query("alias.failover.test.", "A")
	if rcode != dns.RcodeSuccess || serial != 18204 || len(answer) != 2 || answer[1].Data != "203.0.113.17" {
		t.Errorf("Query = %d %v %d", rcode, answer, serial)
	}
	if rcode, _, serial := s.Query("www.example.", "A"); rcode != dns.RcodeRefused || serial != 0 {
		t.Errorf("Query outside = %d, serial %d; want REFUSED, 0", rcode, serial)
	}
	if rcode, _, _ := s.Query("www.failover.test.", "NONSENSE"); rcode != dns.RcodeFormatError {
		t.Errorf("Query of an unknown type = %d, want FORMERR", rcode)
	}
}

func TestPublishKeepsWhatWasValid(t *testing.T) {
	s := newServer(t, dnsctl.Config{}, mainZone(), secondZone())
	broken, next := mainZone(), secondZone()
	broken.Serial++
	broken.Records = broken.Records[4:]
	next.Serial++
	err := s.Publish([]dnsctl.Zone{broken, next})
	if err == nil || !strings.Contains(err.Error(), `"failover.test."`) {
		t.Errorf("Publish error = %v, want one that names the zone", err)
	}
	if _, _, serial := s.Query("failover.test.", "SOA"); serial != 18204 {
		t.Errorf("broken zone has serial %d, want the former 18204", serial)
	}
	if _, _, serial := s.Query("second.test.", "SOA"); serial != 8 {
		t.Errorf("good zone has serial %d, want 8", serial)
	}
	if err := s.Publish([]dnsctl.Zone{next, next}); err == nil {
		t.Error("the same zone twice gave no error")
	}
	if rcode, _, _ := s.Query("www.failover.test.", "A"); rcode != dns.RcodeRefused {
		t.Errorf("zone that was withdrawn answers %d, want REFUSED", rcode)
	}
	if zones := s.Zones(); len(zones) != 1 || zones[0].Name != "second.test." {
		t.Errorf("Zones = %v, want second.test.", zones)
	}
}
