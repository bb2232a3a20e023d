package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Kind of a probe: which question is asked, and what counts as its answer.
type Kind string

// Kinds of probes.
const (
	KindAgent  Kind = "agent"  // HTTPS GET over mTLS answers 200 as the agent of that site
	KindTLS    Kind = "tls"    // a TLS handshake is completed
	KindHTTP   Kind = "http"   // an HTTP request is answered as expected
	KindTCP    Kind = "tcp"    // a connection is accepted (weak, see tcp.go)
	KindBanner Kind = "banner" // the service speaks first
	KindICMP   Kind = "icmp"   // an echo is returned
	KindDNS    Kind = "dns"    // a DNS question is answered
	KindKnock  Kind = "knock"  // a connection is accepted, and reset (between two of KindTLS, see Prober)
	KindTunnel Kind = "tunnel" // the counters of a WireGuard peer say that it answers
)

// Target is one thing to probe in one way. It is comparable: two equal targets
// are the same question. Addr is always an address, never a name to resolve.
type Target struct {
	Site network.SiteID
	// Name is "agent", "router", "entry", "dns", "pve:HOST", "pbs:HOST", "dropbear:HOST", "name:FQDN", "guest:ID",
	// "tunnel:agent", "tunnel:router", "anchor:ADDRESS" or "closed:ADDRESS:PORT".
	Name string
	Path failover.Path
	Kind Kind
	Addr netip.AddrPort // port 0 for icmp
	// ServerName is the SNI and Host of tls and http, and the name in the certificate when one is checked.
	ServerName string
	// URL is the path of an http or agent request, or a whole http:// or https:// URL; the connection goes to Addr
	// all the same. Empty means "/".
	URL string
	// Expect depends on the kind. http: a three-digit status, or a marker in the body, or both with a space between.
	// banner: a substring. dns: the zone whose SOA must come with authority; empty: the root's, any answer will do.
	Expect string
	// Public asks an http target for the certificate that a member's browser would accept. Another one is told beside
	// the answer (Result.Certificate) and leaves the answer what it is.
	Public bool
	// Pin is the SHA-256 fingerprint of the leaf certificate, hexadecimal with or without colons.
	Pin string
	// From is the source address; the zero Addr leaves it to the kernel.
	From netip.Addr
	// Timeout bounds one probe, Every is the interval from start to start.
	Timeout, Every time.Duration
}

// Result is the answer to one probe. Up: the service answered. Refused: the
// address lives and the service is down or answers wrongly. Down: silence.
// Unknown: the probe could not be tried, which says nothing about the target.
type Result struct {
	Seen   failover.Seen
	Note   string        // why, for people: one short line of printable text
	RTT    time.Duration // until the answer; zero without one, or without Config.Now
	Ahead  time.Duration // of an agent: its wall clock minus this one's; 0: it did not tell
	Locked bool          // Dropbear answered: the host waits for its passphrase
	// Certificate is what was shown to a target of Public; zero if none was judged.
	Certificate failover.Certificate
}

// Func asks one target once. It returns within the deadline of ctx, which it
// needs, starts nothing that outlives it and never panics on what it is sent.
type Func func(ctx context.Context, t Target) Result

// Dial opens a connection ("tcp" or "udp") to addr from a source address (zero:
// any). Nothing is resolved: addr is IP:port.
type Dial func(ctx context.Context, network, addr string, from netip.Addr) (net.Conn, error)

// Config is what the probes need from outside.
type Config struct {
	Dial Dial // required; NetDial in production
	// Ping opens a connected echo socket; nil means PingDial.
	Ping func(from, to netip.Addr) (net.Conn, error)
	// AgentTLS is this agent's mTLS configuration (its certificate, the network's CA). Without it agents are unknown.
	AgentTLS *tls.Config
	// Keep holds the connections to agents between two probes; nil: each probe makes its own.
	Keep *Keeper
	// Limit is how many probes may be under way at once; zero: DefaultLimit. One more is not tried.
	Limit int
	// Packets is told how many packets a probe has sent and received, as far as can be told from above: what the
	// kernel sends again, and acknowledgements of the other side, are estimated. Optional; called by several probes at once.
	Packets func(n int)
	// Tunnel says what the WireGuard counters of a target's site tell; nil: there are none to read.
	Tunnel Func
	// Roots are the authorities that a target's certificate must come from; a nil func or pool asks for none.
	Roots func(Target) *x509.CertPool
	// PublicRoots are the authorities that members' browsers trust, asked at each probe; a nil func or pool: the
	// certificates of Public targets are not judged.
	PublicRoots func() *x509.CertPool
	// Now is the clock for round-trip times and certificate dates; required.
	Now func() time.Time
}

// DefaultLimit is far above what nine sites need: it bounds descriptors and
// memory when nothing answers any more.
const DefaultLimit = 256

// prober carries Config; its methods are the probes.
type prober struct{ Config }

// New returns the Func that asks each target according to its kind.
func New(c Config) Func {
	p := prober{c}
	if p.Ping == nil {
		p.Ping = PingDial
	}
	if p.Packets == nil {
		p.Packets = func(int) {}
	}
	slots := make(chan struct{}, orDefault(c.Limit, DefaultLimit))
	kinds := map[Kind]Func{
		KindAgent:  p.agent,
		KindTLS:    p.tls,
		KindHTTP:   p.http,
		KindTCP:    p.tcp,
		KindBanner: p.banner,
		KindICMP:   p.icmp,
		KindDNS:    p.dns,
		KindKnock:  p.knock,
		KindTunnel: p.tunnel,
	}
	return func(ctx context.Context, t Target) Result {
		ask, ok := kinds[t.Kind]
		if !ok {
			return unknown(fmt.Sprintf("no probe of kind %q", t.Kind))
		}
		if _, ok := ctx.Deadline(); !ok {
			return unknown("the probe has no deadline")
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			// Waiting for a slot would be taken for the silence of the target.
			return unknown("too many probes are under way here")
		}
		start := c.Now()
		r := ask(ctx, t)
		if r.Seen.Alive() {
			r.RTT = c.Now().Sub(start)
		}
		return r
	}
}

// NetDial dials over the real network. The address is never looked up.
func NetDial(ctx context.Context, network, addr string, from netip.Addr) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	// KeepAlive off: a probe's connection is asked every second, or lives for one.
	d := net.Dialer{KeepAlive: -1}
	source := netip.AddrPort{}
	if from.IsValid() {
		source = netip.AddrPortFrom(from, 0)
	}
	if network == "udp" {
		conn, err := d.DialUDP(ctx, network, source, to)
		if err != nil {
			return nil, err // and not a nil *net.UDPConn in an interface
		}
		return conn, nil
	}
	conn, err := d.DialTCP(ctx, network, source, to)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func up(note string) Result      { return Result{Seen: failover.SeenUp, Note: clean(note)} }
func refused(note string) Result { return Result{Seen: failover.SeenRefused, Note: clean(note)} }
func down(note string) Result    { return Result{Seen: failover.SeenDown, Note: clean(note)} }
func unknown(note string) Result { return Result{Seen: failover.SeenUnknown, Note: clean(note)} }

// maxNote bounds what a remote side can make us store and show.
const maxNote = 120

// clean makes text from outside fit for a log, a terminal and the replicated
// state: one line, printable ASCII, short.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), maxNote)]
}
