package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config of a Server. Zero limits mean their defaults.
type Config struct {
	// Listen are addresses "IP:port" for UDP and TCP. Unspecified addresses (0.0.0.0, ::) are refused: the operator
	// says where the zones are served. Port 0 takes a free port, the same for both transports.
	Listen []string
	// Logger is required.
	Logger *slog.Logger
	// TransferKeys and AllowTransfer both restrict zone transfers, and where both are given both must hold. With
	// neither nobody may transfer.
	TransferKeys  []Key
	AllowTransfer []netip.Prefix
	RateLimit     RateLimit
	// MaxHandlers questions are answered at once (default 1024), MaxConns TCP connections are open per address
	// (default 256), MaxTransfers zone transfers run at once (default 8). What exceeds them is dropped.
	MaxHandlers, MaxConns, MaxTransfers int
	// OnNotify is called with a zone (absolute) of which a primary has told this server that it changed; see Watch.
	OnNotify func(zone string)
	// Now is a monotonic time for rate limiting; nil means the time since NewServer.
	Now func() time.Duration
}

// Transfers says whether secondaries may fetch the zones from this server.
type Transfers uint32

const (
	// TransfersRefused answers AXFR and IXFR with REFUSED: the agent has no quorum, so its zones may be old, and a
	// secondary without a copy would believe the first primary it asks. A new Server starts so. Questions are still
	// answered from the last zones, but for that of a secondary for the SOA.
	TransfersRefused Transfers = iota
	// TransfersAllowed serves transfers to whom the configuration permits.
	TransfersAllowed
)

// Stats are counters since the start of a server.
type Stats struct {
	// Queries came in; Limited answers were withheld by rate limiting; Overloaded questions were dropped for want of
	// a handler; Transfers of whole zones were served to the end.
	Queries, Limited, Overloaded, Transfers uint64
}

// Server is an authoritative DNS server for a set of zones in memory. Its methods are safe for concurrent use.
type Server struct {
	log       *slog.Logger
	listen    []netip.AddrPort
	keys      keyring
	prefixes  []netip.Prefix
	limiter   *limiter
	now       func() time.Duration
	maxConns  int
	handlers  chan struct{}
	streams   chan struct{}
	zones     atomic.Pointer[zoneSet]
	local     atomic.Pointer[localView]
	access    atomic.Pointer[map[string]Secondaries]
	watched   atomic.Pointer[map[string][]netip.Prefix]
	onNotify  func(zone string)
	transfers atomic.Uint32
	stats     struct{ queries, limited, overloaded, transfers atomic.Uint64 }

	publishing sync.Mutex // one Publish at a time; nothing waits under it
	mu         sync.Mutex
	sockets    []socket // after Listen
}

// socket is one bound address.
type socket struct {
	udp net.PacketConn
	tcp *listener
}

// NewServer checks the configuration; it opens nothing. The server has no zones and refuses transfers.
func NewServer(cfg Config) (*Server, error) {
	s := &Server{
		log: cfg.Logger, prefixes: slices.Clone(cfg.AllowTransfer), limiter: newLimiter(cfg.RateLimit), now: cfg.Now, onNotify: cfg.OnNotify,
		maxConns: orDefault(cfg.MaxConns, 256),
		handlers: make(chan struct{}, orDefault(cfg.MaxHandlers, 1024)),
		streams:  make(chan struct{}, orDefault(cfg.MaxTransfers, 8)),
	}
	if s.log == nil {
		return nil, errors.New("configure DNS server: a logger is required")
	}
	if s.now == nil {
		start := time.Now()
		s.now = func() time.Duration { return time.Since(start) }
	}
	for _, text := range cfg.Listen {
		addr, err := netip.ParseAddrPort(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("configure DNS server: listen address %q is not IP:port: %w", text, err)
		case addr.Addr().Unmap().IsUnspecified():
			return nil, fmt.Errorf("configure DNS server: listen address %q means every interface: name the addresses to serve on", text)
		case slices.Contains(s.listen, addr) && addr.Port() != 0:
			return nil, fmt.Errorf("configure DNS server: listen address %q is given twice", text)
		}
		s.listen = append(s.listen, addr)
	}
	var err error
	if s.keys, err = newKeyring(cfg.TransferKeys); err != nil {
		return nil, fmt.Errorf("configure DNS server: %w", err)
	}
	s.zones.Store(&zoneSet{})
	return s, nil
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Publish replaces the zones that the server answers from, at once for all of them. A zone that is not valid keeps its
// former content while the others change, so that one mistake does not hold up the rest; the error names each such
// zone. A zone that is not given any more is no longer served.
func (s *Server) Publish(zones []Zone) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	old := s.zones.Load()
	next := &zoneSet{byName: make(map[string]*compiled, len(zones))}
	var errs []error
	for _, z := range zones {
		name := dns.CanonicalName(z.Name)
		before := old.byName[name]
		if _, twice := next.byName[name]; twice {
			errs = append(errs, fmt.Errorf("check zone %q: given twice", z.Name))
			continue
		}
		if before != nil && before.source.equal(z) {
			next.byName[name] = before
			continue
		}
		c, err := compile(z)
		if err != nil {
			errs = append(errs, err)
			c = before
		}
		if c != nil {
			next.byName[name] = c
		}
	}
	s.zones.Store(next)
	return errors.Join(errs...)
}

// Zones returns the zones as they are served, canonical, by name.
func (s *Server) Zones() []Zone {
	zones := s.zones.Load().byName
	out := make([]Zone, 0, len(zones))
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		z := zones[name].source
		z.Records = slices.Clone(z.Records)
		out = append(out, z)
	}
	return out
}

// SetTransfers permits or refuses zone transfers from now on; transfers that run are cut off by a refusal.
func (s *Server) SetTransfers(t Transfers) { s.transfers.Store(uint32(t)) }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Queries: s.stats.queries.Load(), Limited: s.stats.limited.Load(),
		Overloaded: s.stats.overloaded.Load(), Transfers: s.stats.transfers.Load(),
	}
}

// Respond answers a message in process as it would over TCP, without transfers, signatures and limits. It returns nil
// where no answer may be sent. The answer shares records with the server: callers must not change them.
func (s *Server) Respond(req *dns.Msg) *dns.Msg {
	m, _ := s.zones.Load().respond(req, overTCP)
	return m
}

// Query asks the server in process: the response code, the answer section (records of types that this package knows)
// and the serial of the zone that holds the name, 0 where there is none.
func (s *Server) Query(name, qtype string) (rcode int, answer []Record, serial uint32) {
	code, known := dns.StringToType[qtype]
	if !known {
		return dns.RcodeFormatError, nil, 0
	}
	r := s.zones.Load().lookup(dns.Fqdn(name), code)
	for _, rr := range r.answer {
		if rec, err := FromRR(rr); err == nil {
			answer = append(answer, rec)
		}
	}
	if r.zone != nil {
		serial = r.zone.soa.Serial
	}
	return r.rcode, answer, serial
}

// ServeDNS handles one message from the network (dns.Handler).
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	source, via := clientOf(w)
	if !s.admit(w, via) {
		return
	}
	defer func() { <-s.handlers }()
	s.stats.queries.Add(1)
	t := req.IsTsig()
	signed := t != nil && w.TsigStatus() == nil
	var m *dns.Msg
	r := result{kind: refused}
	switch {
	case t != nil && !signed:
		m = rejectSignature(req, t, w.TsigStatus(), time.Now())
	case len(req.Question) == 1 && req.Opcode == dns.OpcodeQuery && isTransfer(req.Question[0].Qtype):
		m = s.transfer(w, req, clientWith(source, via, req, signed))
	case s.isTold(req, source):
		m = new(dns.Msg).SetReply(req)
		m.Authoritative = true
	case s.hidesSOA(req, source, signed):
		m = new(dns.Msg).SetRcode(req, dns.RcodeRefused)
	default:
		m, r = s.view(source).respond(req, via)
	}
	if m == nil {
		return
	}
	if via == overUDP && !signed && !s.limit(m, source, r) {
		return
	}
	s.send(w, req, m)
}

// admit takes one of the handlers' places, which the caller gives back; false: all are taken.
func (s *Server) admit(w dns.ResponseWriter, via transport) bool {
	select {
	case s.handlers <- struct{}{}:
		return true
	default:
		s.stats.overloaded.Add(1)
		if via == overTCP {
			_ = w.Close() // the client shall not wait for an answer that will not come
		}
		return false
	}
}

// limit says whether an answer may go out; it may have been emptied then, so that a real client comes back over TCP.
func (s *Server) limit(m *dns.Msg, source netip.Addr, r result) bool {
	v := s.limiter.allow(source, r, s.now())
	if v == pass {
		return true
	}
	s.stats.limited.Add(1)
	if v == slip {
		m.Answer, m.Ns, m.Truncated = nil, nil, true
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
	}
	return v == slip
}

// send signs the answer to a signed request and writes it.
func (s *Server) send(w dns.ResponseWriter, req, m *dns.Msg) bool {
	if t := req.IsTsig(); t != nil && m.IsTsig() == nil {
		m.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	}
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("answer not sent", "to", w.RemoteAddr().String(), "error", err)
		_ = w.Close() // a half-written TCP stream is of no use to the client
		return false
	}
	return true
}

func clientOf(w dns.ResponseWriter) (netip.Addr, transport) {
	switch a := w.RemoteAddr().(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap(), overUDP
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap(), overTCP
	default:
		return netip.Addr{}, overTCP
	}
}

// acceptHeader screens a message before it is parsed. Sections may hold what a question, a NOTIFY or an IXFR carries.
func acceptHeader(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	opcode := int(h.Bits>>11) & 0xF
	switch {
	case h.Bits&response != 0:
		return dns.MsgIgnore
	case opcode != dns.OpcodeQuery && opcode != dns.OpcodeNotify:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1 || h.Ancount > 1 || h.Nscount > 1 || h.Arcount > 2:
		return dns.MsgReject
	default:
		return dns.MsgAccept
	}
}

// equal says whether a canonical zone is the same as another in whatever form.
func (z Zone) equal(other Zone) bool {
	return z.Name == other.Name && z.Serial == other.Serial && z.SOA == other.SOA && slices.Equal(z.Records, other.Records)
}

// Listen binds every address, UDP and TCP; if one fails none stays bound. Run does it where the caller did not.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets != nil {
		return errors.New("listen for DNS: already listening")
	}
	var bound []socket
	for _, addr := range s.listen {
		sock, err := bind(ctx, addr, s.maxConns)
		if err != nil {
			for _, b := range bound {
				b.close()
			}
			return fmt.Errorf("listen for DNS: %w", err)
		}
		bound = append(bound, sock)
	}
	s.sockets = bound
	return nil
}

// Addrs returns the bound addresses in the order of Config.Listen; none before Listen.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]netip.AddrPort, len(s.sockets))
	for i, sock := range s.sockets {
		out[i] = sock.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return out
}
