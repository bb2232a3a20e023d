package probes

import (
	"context"
	"fmt"
	"net"

	"github.com/miekg/dns"
)

// dns asks for a zone's SOA over UDP. With t.Expect the server must answer with
// authority for that zone; without it (an uplink anchor: somebody's resolver)
// any well-formed answer to the question will do, a refusal included.
func (p prober) dns(ctx context.Context, t Target) Result {
	zone := dns.Fqdn(t.Expect)
	q := new(dns.Msg)
	q.SetQuestion(zone, dns.TypeSOA)
	q.RecursionDesired = false
	packet, err := q.Pack()
	if err != nil {
		return unknown("pack question: " + err.Error())
	}
	return p.talk(ctx, "udp", t, func(conn net.Conn) (Result, error) {
		if _, err := conn.Write(packet); err != nil {
			return Result{}, fmt.Errorf("send question: %w", err)
		}
		in := make([]byte, dns.MaxMsgSize)
		for {
			n, err := conn.Read(in)
			if err != nil {
				return Result{}, fmt.Errorf("read answer: %w", err)
			}
			m := new(dns.Msg)
			if m.Unpack(in[:n]) != nil || !answers(m, q) {
				continue // a forged or late datagram: the true one may follow
			}
			return judgeDNS(t.Expect, m), nil
		}
	})
}

func answers(m, q *dns.Msg) bool {
	return m.Response && m.Id == q.Id && len(m.Question) == 1 &&
		dns.CanonicalName(m.Question[0].Name) == dns.CanonicalName(q.Question[0].Name) && m.Question[0].Qtype == dns.TypeSOA
}

func judgeDNS(zone string, m *dns.Msg) Result {
	code := dns.RcodeToString[m.Rcode]
	if zone == "" {
		return up(code)
	}
	if m.Rcode != dns.RcodeSuccess {
		return refused("DNS " + code)
	}
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok && m.Authoritative {
			return up(fmt.Sprintf("serial %d", soa.Serial))
		}
	}
	return refused("answers without authority for " + zone)
}
