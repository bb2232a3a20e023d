package dnsctl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	// envelopeRecords and envelopeBytes bound one message of a transfer: above 64 KiB the peer would only time out, and
	// small ones let a slow link and a stopping server go on.
	envelopeRecords = 100
	envelopeBytes   = 16 << 10
)

// transferClient is who asks for a zone.
type transferClient struct {
	source netip.Addr
	via    transport
	signed bool
	key    string // canonical name of the key that it signed with
}

// transfer serves AXFR and IXFR (RFC 5936, RFC 1995). It returns the answer where one message is all of it; a zone is
// written here and nil returned. IXFR gets the whole zone, since deltas between the histories of two primaries would
// mix; over UDP it gets the SOA alone, which sends the client to TCP.
func (s *Server) transfer(w dns.ResponseWriter, req *dns.Msg, client transferClient) *dns.Msg {
	q := req.Question[0]
	c := s.zones.Load().byName[dns.CanonicalName(q.Name)]
	rcode := s.permits(client, dns.CanonicalName(q.Name))
	switch {
	case q.Qclass != dns.ClassINET:
		rcode = dns.RcodeRefused
	case rcode == dns.RcodeSuccess && c == nil:
		rcode = dns.RcodeNotAuth
	case rcode == dns.RcodeSuccess && client.via == overUDP && q.Qtype == dns.TypeAXFR:
		rcode = dns.RcodeRefused
	}
	if rcode != dns.RcodeSuccess {
		level := slog.LevelDebug // strangers try all day
		if client.signed && Transfers(s.transfers.Load()) == TransfersAllowed {
			level = slog.LevelWarn // one of ours: its address is not among the declared secondaries, or its key is another
		}
		s.log.Log(context.Background(), level, "zone transfer refused: this address and key are not declared for it",
			"zone", q.Name, "to", w.RemoteAddr().String(), "key", client.key, "rcode", dns.RcodeToString[rcode])
		return envelope(req, nil).SetRcode(req, rcode)
	}
	if q.Qtype == dns.TypeIXFR && (client.via == overUDP || upToDate(req, c.soa.Serial)) {
		return envelope(req, []dns.RR{c.soa})
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return envelope(req, nil).SetRcode(req, dns.RcodeServerFailure) // busy: the secondary retries
	}
	if s.stream(w, req, c) {
		s.stats.transfers.Add(1)
		s.log.Info("zone transferred", "zone", c.source.Name, "serial", c.soa.Serial, "to", w.RemoteAddr().String())
	}
	return nil
}

// permits returns NOERROR where the client may transfer a zone now.
func (s *Server) permits(client transferClient, zone string) int {
	if Transfers(s.transfers.Load()) != TransfersAllowed {
		return dns.RcodeRefused
	}
	if access := s.access.Load(); access != nil {
		if (*access)[zone].permits(client) {
			return dns.RcodeSuccess
		}
		return dns.RcodeRefused
	}
	switch {
	case len(s.keys) == 0 && len(s.prefixes) == 0,
		len(s.keys) > 0 && !client.signed,
		len(s.prefixes) > 0 && !containsAddr(s.prefixes, client.source):
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// stream writes SOA, records, SOA, and says whether all went out.
func (s *Server) stream(w dns.ResponseWriter, req *dns.Msg, c *compiled) bool {
	batch, size := []dns.RR{c.soa}, dns.Len(c.soa)
	flush := func() bool {
		if Transfers(s.transfers.Load()) != TransfersAllowed {
			_ = w.Close() // the quorum was lost on the way: a cut transfer is discarded by the secondary
			return false
		}
		if !s.send(w, req, envelope(req, batch)) {
			return false
		}
		w.TsigTimersOnly(true)
		batch, size = nil, 0
		return true
	}
	for i := range len(c.all) + 1 {
		rr := dns.RR(c.soa)
		if i < len(c.all) {
			rr = c.all[i]
		}
		if n := dns.Len(rr); len(batch) == envelopeRecords || size+n > envelopeBytes {
			if !flush() {
				return false
			}
		}
		batch, size = append(batch, rr), size+dns.Len(rr)
	}
	return flush()
}

// envelope is one message of a transfer.
func envelope(req *dns.Msg, rrs []dns.RR) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(req)
	m.Authoritative, m.Compress, m.Answer = true, true, rrs
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	return m
}

// upToDate says whether the SOA in an IXFR request is not older than the serial.
func upToDate(req *dns.Msg, serial uint32) bool {
	if len(req.Ns) != 1 {
		return false
	}
	soa, ok := req.Ns[0].(*dns.SOA)
	return ok && !SerialLess(soa.Serial, serial)
}

// rejectSignature is the answer to a request whose TSIG does not hold (RFC 8945 section 5.2). BADTIME carries the
// server's time, so that the client can say how far its clock is off.
func rejectSignature(req *dns.Msg, t *dns.TSIG, cause error, now time.Time) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(req, dns.RcodeNotAuth)
	m.SetTsig(t.Hdr.Name, t.Algorithm, 300, now.Unix())
	sig := m.IsTsig()
	sig.Error = tsigError(cause)
	if sig.Error == dns.RcodeBadTime {
		sig.TimeSigned = t.TimeSigned
		sec := uint64(now.Unix())
		sig.OtherData = hex.EncodeToString([]byte{
			byte(sec >> 40), byte(sec >> 32), byte(sec >> 24), byte(sec >> 16), byte(sec >> 8), byte(sec),
		})
		sig.OtherLen = 6
	}
	return m
}

// Notify tells one secondary that the zone has a new serial (RFC 1996): one message, one answer. The caller repeats it
// after NotifyDelay until it succeeds, and verifies by an SOA query: secondaries that are not told refresh by themselves.
func Notify(ctx context.Context, ex Exchanger, server string, z Zone) error {
	m := new(dns.Msg)
	m.SetNotify(z.Name)
	m.Id = 0 // the exchanger chooses
	soa, err := z.SOARecord().RR()
	if err != nil {
		return fmt.Errorf("notify %s: %w", server, err)
	}
	m.Answer = []dns.RR{soa}
	reply, err := ex.Exchange(ctx, server, m)
	if err != nil {
		return fmt.Errorf("notify %s of zone %s: %w", server, z.Name, err)
	}
	switch {
	case reply.Opcode != dns.OpcodeNotify:
		return fmt.Errorf("notify %s of zone %s: %w", server, z.Name, errors.New("answered with another opcode"))
	case reply.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("notify %s of zone %s: answered %s", server, z.Name, rcodeText(reply.Rcode))
	}
	return nil
}

// NotifyDelay is the wait before the next NOTIFY after the given number of unanswered ones: 1, 2, 4, 8, then 15 s.
func NotifyDelay(attempts int) time.Duration {
	if attempts >= 5 {
		return 15 * time.Second
	}
	return time.Second << max(attempts-1, 0)
}

func rcodeText(rcode int) string {
	if rcode == dns.RcodeBadVers { // miekg's table has BADSIG at 16
		return "BADVERS"
	}
	if s := dns.RcodeToString[rcode]; s != "" {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
