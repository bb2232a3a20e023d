package dnsctl

import (
	"github.com/miekg/dns"
)

// udpSize is the largest answer over UDP and what the server announces: it fits every path (dnsflagday.net 2020).
const udpSize = 1232

// transport is how a question came, which bounds the size of the answer.
type transport uint8

const (
	overUDP transport = iota
	overTCP
)

// respond answers one message from the zones: pure, and total for any message that can be parsed. A nil answer means
// that none may be sent. Transfers are refused here; Server serves them before it comes to this.
func (s *zoneSet) respond(req *dns.Msg, via transport) (*dns.Msg, result) {
	if req.Response {
		return nil, result{}
	}
	m := new(dns.Msg)
	m.SetReply(req)
	m.Compress = true
	r := s.resolve(req)
	m.Rcode, m.Authoritative = r.rcode, r.authoritative
	m.Answer, m.Ns, m.Extra = r.answer, r.authority, r.extra
	size := dns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), udpSize)
	}
	if via == overTCP {
		size = dns.MaxMsgSize - 1
	}
	if t := req.IsTsig(); t != nil {
		size -= dns.Len(t) + 64 // the signature comes last and must fit; 64 is the longest MAC
	}
	m.Truncate(size)
	m.Compress = true // Truncate clears it where the answer fits as it is
	return m, r
}

// resolve checks the message's form and looks the question up.
func (s *zoneSet) resolve(req *dns.Msg) result {
	fail := func(rcode int) result { return result{rcode: rcode, kind: refused} }
	switch {
	case req.Opcode == dns.OpcodeNotify && len(req.Question) == 1:
		// This server is a primary of all its zones and has nobody to refresh from (RFC 1996 section 3.10).
		if s.byName[dns.CanonicalName(req.Question[0].Name)] == nil {
			return fail(dns.RcodeNotAuth)
		}
		return fail(dns.RcodeRefused)
	case req.Opcode != dns.OpcodeQuery && req.Opcode != dns.OpcodeNotify:
		return fail(dns.RcodeNotImplemented)
	case len(req.Question) != 1 || countOPT(req) > 1:
		return fail(dns.RcodeFormatError)
	}
	if opt := req.IsEdns0(); opt != nil && opt.Version() != 0 {
		return fail(dns.RcodeBadVers)
	}
	q := req.Question[0]
	switch {
	case q.Qclass != dns.ClassINET: // this includes CH TXT version.bind
		return fail(dns.RcodeRefused)
	case q.Qtype == dns.TypeOPT || q.Qtype == dns.TypeTSIG || q.Qtype == dns.TypeNone:
		return fail(dns.RcodeFormatError)
	case isTransfer(q.Qtype):
		return fail(dns.RcodeRefused)
	}
	return s.lookup(q.Name, q.Qtype)
}

func isTransfer(qtype uint16) bool { return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR }

func countOPT(m *dns.Msg) int {
	n := 0
	for _, rr := range m.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			n++
		}
	}
	return n
}
