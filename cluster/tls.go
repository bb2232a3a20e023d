package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Protocols on the mesh port, by ALPN. Everything but raft is HTTP; a client
// that speaks only HTTP/1.1 names none.
const (
	protoRaft  = "www-raft/1"
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// handshakeLimit ends a connection that does not say who it is.
const handshakeLimit = 5 * time.Second

// Identity is whom a certificate of the network names: www://NETWORK/SITE/SERVERID.
type Identity struct {
	Network  string
	Site     failover.SiteID
	ServerID string
}

func (i Identity) url() *url.URL {
	return &url.URL{Scheme: "www", Host: i.Network, Path: "/" + string(i.Site) + "/" + i.ServerID}
}

func (i Identity) String() string { return i.url().String() }

// PeerIdentity returns who is at the other end of a verified connection.
func PeerIdentity(cs tls.ConnectionState) (Identity, error) {
	if len(cs.PeerCertificates) == 0 {
		return Identity{}, errors.New("peer shows no certificate")
	}
	return identityOf(cs.PeerCertificates[0])
}

func identityOf(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		site, server, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if u.Scheme == "www" && ok && u.Host != "" && site != "" && server != "" && !strings.Contains(server, "/") {
			return Identity{Network: u.Host, Site: failover.SiteID(site), ServerID: server}, nil
		}
	}
	return Identity{}, fmt.Errorf("certificate of %q names no agent", cert.Subject.CommonName)
}

// TLSConfig is what one agent needs to be known and to know the others.
type TLSConfig struct {
	Self Identity
	Pair Pair   // of this agent
	CA   []byte // the network's, PEM
	Now  func() time.Time
	// Revoked says why a certificate that the CA issued is not accepted any
	// more; nil error: it is. A nil function revokes nothing.
	Revoked func(*x509.Certificate) error
}

// TLS authenticates connections between agents: TLS 1.3, both sides show a
// certificate of the network's CA that names this network.
type TLS struct {
	self    Identity
	roots   *x509.CertPool
	now     func() time.Time
	revoked func(*x509.Certificate) error
	cert    atomic.Pointer[tls.Certificate]
}

// NewTLS checks that the certificate is this agent's and that the CA issued it.
func NewTLS(cfg TLSConfig) (*TLS, error) {
	t := &TLS{self: cfg.Self, roots: x509.NewCertPool(), now: cfg.Now, revoked: cfg.Revoked}
	if t.now == nil {
		return nil, errors.New("load certificates: no clock")
	}
	if !t.roots.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("load certificates: the CA file holds no certificate")
	}
	if err := t.Renew(cfg.Pair); err != nil {
		return nil, err
	}
	return t, nil
}

// Renew replaces this agent's certificate for connections to come.
func (t *TLS) Renew(p Pair) error {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	who, err := identityOf(cert.Leaf)
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	if who != t.self {
		return fmt.Errorf("load certificates: they are for %s, this agent is %s", who, t.self)
	}
	_, err = cert.Leaf.Verify(x509.VerifyOptions{
		Roots: t.roots, CurrentTime: t.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	t.cert.Store(&cert)
	return nil
}

// Server returns the configuration of the mesh port.
func (t *TLS) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protoRaft, protoHTTP2, protoHTTP1},
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  t.roots,
		Time:       t.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.cert.Load(), nil
		},
		VerifyConnection:       t.verify,
		SessionTicketsDisabled: true, // a resumed session would outlive a revocation
	}
}

// Client returns the configuration for dialling another agent's API, for
// http.Transport.TLSClientConfig: the standard checks (CA, address) and that
// the certificate names an agent of this network. The transport names the
// protocols itself, by its Protocols.
func (t *TLS) Client() *tls.Config { return t.client() }

func (t *TLS) client(protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		RootCAs:    t.roots,
		Time:       t.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.cert.Load(), nil
		},
		VerifyConnection: t.verify,
	}
}

// verify runs on both sides after the chain was checked.
func (t *TLS) verify(cs tls.ConnectionState) error {
	who, err := PeerIdentity(cs)
	if err != nil {
		return err
	}
	if who.Network != t.self.Network {
		return fmt.Errorf("certificate is for network %q, this is %q", who.Network, t.self.Network)
	}
	if t.revoked == nil {
		return nil
	}
	if err := t.revoked(cs.PeerCertificates[0]); err != nil {
		return fmt.Errorf("certificate of %s: %w", who, err)
	}
	return nil
}

// DialRaft returns a dial function for Config.Dial over dial, which opens
// the TCP connection (NewDialer). The handshake is part of it: a connection
// that two goroutines share must not begin with one.
func (t *TLS) DialRaft(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		raw, err := dial(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		cfg := t.client(protoRaft)
		cfg.ServerName = host // the certificate must hold the address that was dialled
		conn := tls.Client(raw, cfg)
		ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return conn, nil
	}
}

// keepAlive ends a connection whose peer vanished without a word within a
// minute; raft itself never gives an inbound one up.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}
}

// NewDialer returns a dialer from the agent's own mesh address (the zero Addr:
// any), with keepalive.
func NewDialer(from netip.Addr) *net.Dialer {
	d := &net.Dialer{KeepAliveConfig: keepAlive()}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d
}

// ListenMesh opens the mesh port, with keepalive.
func ListenMesh(ctx context.Context, addr netip.AddrPort) (net.Listener, error) {
	if addr.Addr().IsUnspecified() || !addr.IsValid() {
		return nil, fmt.Errorf("listen on mesh address %s: name one address, not all", addr)
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	return lc.Listen(ctx, "tcp", addr.String())
}
