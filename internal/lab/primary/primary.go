// Package primary is a stand-in for a DNS server that takes updates (RFC 2136): one zone in memory, with prerequisites that
// are all checked before anything is changed, signatures (TSIG, RFC 8945), a serial that grows with every change, and
// secondaries that fetch. It is passive: no socket, no goroutine, no clock but the one that it is given.
package primary

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Config says what zone is served and who may change it.
type Config struct {
	Zone   string            // absolute
	Serial uint32            // of the zone at the beginning
	Keys   map[string]string // base64 secrets (HMAC-SHA256) by absolute name; none: unsigned updates are taken
	Now    func() time.Time  // the server's wall clock; required with Keys
	// Applied is told of every update that has changed the zone; nil: nobody is.
	Applied func(update *dns.Msg)
}

// Server is one primary, or a secondary of one.
type Server struct {
	cfg     Config
	apex    string
	serial  uint32
	sets    map[setKey][]dns.RR
	updates int

	failUpdates, failQuestions int // response codes instead of what was asked for; 0: none
}

type setKey struct {
	name  string
	rtype uint16
}

// New returns a server whose zone has nothing but its SOA and the given records.
func New(cfg Config, records ...dns.RR) *Server {
	s := &Server{cfg: cfg, apex: dns.CanonicalName(cfg.Zone), serial: cfg.Serial, sets: map[setKey][]dns.RR{}}
	for _, rr := range records {
		s.add(rr)
	}
	return s
}

// Serial is that of the zone now.
func (s *Server) Serial() uint32 { return s.serial }

// Updates is how many updates have been applied.
func (s *Server) Updates() int { return s.updates }

// Set returns the records of a name and type, in the order in which they came; none: nil.
func (s *Server) Set(name string, rtype uint16) []dns.RR {
	return slices.Clone(s.sets[setKey{dns.CanonicalName(name), rtype}])
}

// Fail has the server answer updates and questions with a response code and do nothing; 0: it does what it is asked.
func (s *Server) Fail(updates, questions int) { s.failUpdates, s.failQuestions = updates, questions }

// Backup is what a zone held at a time.
type Backup struct {
	serial uint32
	sets   map[setKey][]dns.RR
}

// Backup returns what the zone holds.
func (s *Server) Backup() Backup {
	b := Backup{serial: s.serial, sets: make(map[setKey][]dns.RR, len(s.sets))}
	for k, rrs := range s.sets {
		b.sets[k] = slices.Clone(rrs)
	}
	return b
}

// Restore puts a backup in the place of what the zone holds, serial and all.
func (s *Server) Restore(b Backup) {
	s.serial, s.sets = b.serial, make(map[setKey][]dns.RR, len(b.sets))
	for k, rrs := range b.sets {
		s.sets[k] = slices.Clone(rrs)
	}
}

// Refresh has a secondary take the zone of its primary if that has a newer serial (RFC 1982), or anyway.
func (s *Server) Refresh(from *Server, anyway bool) {
	if anyway || int32(from.serial-s.serial) > 0 {
		s.Restore(from.Backup())
	}
}

// Serve answers a message in wire form. What cannot be read gets an error.
func (s *Server) Serve(packet []byte) ([]byte, error) {
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	t := m.IsTsig()
	if t == nil {
		return s.Respond(m, false).Pack()
	}
	secret, known := s.cfg.Keys[dns.CanonicalName(t.Hdr.Name)]
	fault := uint16(dns.RcodeSuccess)
	switch off := s.cfg.Now().Unix() - int64(t.TimeSigned); {
	case !known || dns.CanonicalName(t.Algorithm) != dns.HmacSHA256:
		fault = dns.RcodeBadKey
	case !holds(packet, secret, ""):
		fault = dns.RcodeBadSig
	case off > int64(t.Fudge) || -off > int64(t.Fudge):
		fault = dns.RcodeBadTime
	}
	var reply *dns.Msg
	if fault == dns.RcodeSuccess {
		reply = s.Respond(m, true)
	} else { // RFC 8945 section 5.2
		reply = new(dns.Msg).SetRcode(m, dns.RcodeNotAuth)
	}
	return s.sign(reply, t, fault, secret)
}

// holds says whether a message in wire form carries the code that a key gives it. The library looks at the machine's clock
// when it has found that it does: that the time is a wrong one is for the caller to say, by another clock.
func holds(packet []byte, secret, asked string) bool {
	err := dns.TsigVerify(slices.Clone(packet), secret, asked, false)
	return err == nil || errors.Is(err, dns.ErrTime)
}

// sign signs an answer, or says in it what was wrong with the question's signature. An answer to a signature that does not
// hold is not signed itself, but for one of a wrong time, which tells the server's (RFC 8945 section 5.3.2).
func (s *Server) sign(reply *dns.Msg, asked *dns.TSIG, fault uint16, secret string) ([]byte, error) {
	reply.SetTsig(asked.Hdr.Name, asked.Algorithm, asked.Fudge, s.cfg.Now().Unix())
	t := reply.IsTsig()
	t.OrigId, t.Error = asked.OrigId, fault
	switch fault {
	case dns.RcodeBadKey, dns.RcodeBadSig:
		return reply.Pack()
	case dns.RcodeBadTime:
		t.TimeSigned = asked.TimeSigned
		t.OtherLen, t.OtherData = 6, fmt.Sprintf("%012x", s.cfg.Now().Unix())
	}
	packet, _, err := dns.TsigGenerate(reply, secret, asked.MAC, false)
	return packet, err
}

// Respond answers a message; signed says that somebody vouches for it.
func (s *Server) Respond(m *dns.Msg, signed bool) *dns.Msg {
	r := new(dns.Msg)
	switch {
	case len(m.Question) != 1:
		return r.SetRcode(m, dns.RcodeFormatError)
	case m.Opcode == dns.OpcodeUpdate && s.failUpdates != dns.RcodeSuccess:
		return r.SetRcode(m, s.failUpdates)
	case m.Opcode != dns.OpcodeUpdate && s.failQuestions != dns.RcodeSuccess:
		return r.SetRcode(m, s.failQuestions)
	case m.Opcode == dns.OpcodeUpdate:
		return r.SetRcode(m, s.update(m, signed))
	case m.Opcode == dns.OpcodeNotify:
		r.SetReply(m)
		r.Authoritative = true
		return r
	case m.Opcode != dns.OpcodeQuery:
		return r.SetRcode(m, dns.RcodeNotImplemented)
	}
	name := dns.CanonicalName(m.Question[0].Name)
	if !s.inZone(name) {
		return r.SetRcode(m, dns.RcodeRefused)
	}
	r.SetReply(m)
	r.Authoritative = true
	if m.Question[0].Qtype == dns.TypeAXFR {
		r.Answer = s.all()
		return r
	}
	r.Answer = s.answer(name, m.Question[0].Qtype)
	if len(r.Answer) == 0 {
		r.Ns = []dns.RR{s.soa()}
		if !s.exists(name) {
			r.Rcode = dns.RcodeNameError
		}
	}
	return r
}

// mostAliases bounds a chain of CNAMEs.
const mostAliases = 8

// answer follows aliases within the zone.
func (s *Server) answer(name string, rtype uint16) (out []dns.RR) {
	for range mostAliases {
		if name == s.apex && rtype == dns.TypeSOA {
			return append(out, s.soa())
		}
		alias := s.sets[setKey{name, dns.TypeCNAME}]
		if rtype == dns.TypeCNAME || len(alias) == 0 {
			return append(out, s.sets[setKey{name, rtype}]...)
		}
		out = append(out, alias...)
		next, ok := alias[0].(*dns.CNAME)
		if !ok {
			break
		}
		name = dns.CanonicalName(next.Target)
	}
	return out
}

// exists says whether there is a name, or one below it.
func (s *Server) exists(name string) bool {
	for k := range s.sets {
		if k.name == name || strings.HasSuffix(k.name, "."+name) {
			return true
		}
	}
	return name == s.apex
}

func (s *Server) inZone(name string) bool { return dns.IsSubDomain(s.apex, name) }

func (s *Server) soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: s.apex, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600},
		Ns:  "ns1." + s.apex, Mbox: "hostmaster." + s.apex, Serial: s.serial, Refresh: 900, Retry: 120, Expire: 1209600, Minttl: 60,
	}
}

// all is the zone as a transfer tells it (RFC 5936): the SOA at both ends.
func (s *Server) all() []dns.RR {
	keys := make([]setKey, 0, len(s.sets))
	for k := range s.sets {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b setKey) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return int(a.rtype) - int(b.rtype)
	})
	out := []dns.RR{s.soa()}
	for _, k := range keys {
		out = append(out, s.sets[k]...)
	}
	return append(out, s.soa())
}

// ErrSignature is wrapped by Open for an answer that nobody vouches for.
var ErrSignature = errors.New("signature of the answer does not hold")

// Seal signs a message with a key at a time and returns it in wire form, with the code that an answer's signature covers.
func Seal(m *dns.Msg, key, secret string, at time.Time) (packet []byte, mac string, err error) {
	out := m.Copy()
	out.SetTsig(key, dns.HmacSHA256, 300, at.Unix())
	return dns.TsigGenerate(out, secret, "", false)
}

// Open reads an answer to a message that was sealed. An answer that says what was wrong with the question's signature is
// returned as it is: see its TSIG record.
func Open(packet []byte, secret, mac string) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	t := m.IsTsig()
	if t == nil || t.Error != dns.RcodeSuccess {
		return m, nil
	}
	if !holds(packet, secret, mac) {
		return nil, ErrSignature
	}
	return m, nil
}
