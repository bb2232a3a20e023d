package cluster

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
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
	// protoJoin is offered by who has a token and no certificate yet; spoken is HTTP/1.1.
	protoJoin = "www-join/1"
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

// OperatorIdentity is whom a person's certificate names:
// www-operator://NETWORK/NAME/ROLE.
type OperatorIdentity struct {
	Network string
	Name    string
	Role    failover.Role
}

func (i OperatorIdentity) url() *url.URL {
	return &url.URL{Scheme: "www-operator", Host: i.Network, Path: "/" + i.Name + "/" + string(i.Role)}
}

func (i OperatorIdentity) String() string { return i.url().String() }

// PeerOperator returns which person is at the other end of a verified connection.
func PeerOperator(cs tls.ConnectionState) (OperatorIdentity, error) {
	if len(cs.PeerCertificates) == 0 {
		return OperatorIdentity{}, errors.New("peer shows no certificate")
	}
	return operatorOf(cs.PeerCertificates[0])
}

func operatorOf(cert *x509.Certificate) (OperatorIdentity, error) {
	for _, u := range cert.URIs {
		name, role, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if u.Scheme == "www-operator" && ok && u.Host != "" && name != "" && failover.Role(role).Valid() {
			return OperatorIdentity{Network: u.Host, Name: name, Role: failover.Role(role)}, nil
		}
	}
	return OperatorIdentity{}, fmt.Errorf("certificate of %q names no operator", cert.Subject.CommonName)
}

// errRevoked says that the log refuses a certificate.
var errRevoked = errors.New("revoked")

// RevokedBy says why State refuses a certificate; nil: it does not.
func RevokedBy(s *failover.State, cert *x509.Certificate) error {
	key := failover.OperatorKey(SerialText(cert.SerialNumber))
	if agent, err := identityOf(cert); err == nil {
		key = failover.AgentKey(agent.ServerID)
	}
	if r, ok := s.Revoked[key]; ok {
		return fmt.Errorf("%w at entry %d", errRevoked, r.By.Index)
	}
	return nil
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
	ca      []byte // DER of the network's authority
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
	if block, _ := pem.Decode(cfg.CA); block != nil {
		t.ca = block.Bytes
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

// Authority is the SHA-256 of the authority's certificate in hex.
func (t *TLS) Authority() string { return fingerprint(t.ca) }

// Names says whether a pair belongs together and is the certificate of an identity.
func Names(p Pair, self Identity) bool {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return false
	}
	who, err := identityOf(cert.Leaf)
	return err == nil && who == self
}

// Validity returns when this agent's certificate began and when it ends.
func (t *TLS) Validity() (from, to time.Time) {
	leaf := t.cert.Load().Leaf
	return leaf.NotBefore, leaf.NotAfter
}

// Server returns the configuration of the mesh port. Who offers the protocol of
// joining needs no certificate, gets HTTP/1.1, and is shown the authority's
// certificate as well, to compare it with its token.
func (t *TLS) Server() *tls.Config {
	joining := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protoHTTP1}, Time: t.now, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			chain := *t.cert.Load()
			chain.Certificate = [][]byte{chain.Leaf.Raw, t.ca}
			return &chain, nil
		},
	}
	return &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, protoJoin) {
				return joining, nil
			}
			return nil, nil // this configuration
		},
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protoRaft, protoHTTP2, protoHTTP1},
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  t.roots,
		Time:       t.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.cert.Load(), nil
		},
		VerifyConnection:       t.verifyClient,
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

// verifyClient runs at the server after the chain was checked: people may use
// the API, agents everything.
func (t *TLS) verifyClient(cs tls.ConnectionState) error {
	person, err := PeerOperator(cs)
	if err != nil {
		return t.verify(cs)
	}
	if cs.NegotiatedProtocol == protoRaft {
		return fmt.Errorf("certificate of %s: only agents speak raft", person)
	}
	return t.accept(cs, person.Network, person)
}

// verify runs on both sides after the chain was checked.
func (t *TLS) verify(cs tls.ConnectionState) error {
	who, err := PeerIdentity(cs)
	if err != nil {
		return err
	}
	return t.accept(cs, who.Network, who)
}

func (t *TLS) accept(cs tls.ConnectionState, network string, who fmt.Stringer) error {
	if network != t.self.Network {
		return fmt.Errorf("certificate is for network %q, this is %q", network, t.self.Network)
	}
	if t.revoked == nil {
		return nil
	}
	if err := t.revoked(cs.PeerCertificates[0]); err != nil {
		return fmt.Errorf("certificate of %s: %w", who, err)
	}
	return nil
}

// ErrWrongAuthority says that who answers a join is not of the network whose
// authority the token names.
var ErrWrongAuthority = errors.New("who answers there is not of the network that the token is for")

// JoinTLS returns the configuration for dialling an agent at host, an address,
// with nothing but the fingerprint of the authority that a token carries. The
// authority's certificate, once verified, is given to found.
func JoinTLS(host, authority string, now func() time.Time, found func(caPEM []byte)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protoJoin, protoHTTP1}, ServerName: host, Time: now,
		// The usual checks need an authority that is known beforehand. Instead
		// VerifyConnection finds it by the fingerprint and does them all.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, ca := range cs.PeerCertificates[1:] {
				if subtle.ConstantTimeCompare([]byte(fingerprint(ca.Raw)), []byte(authority)) != 1 || !ca.IsCA {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(ca)
				leaf := cs.PeerCertificates[0]
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now()}); err != nil {
					return fmt.Errorf("%w: %w", ErrWrongAuthority, err)
				}
				if _, err := identityOf(leaf); err != nil {
					return fmt.Errorf("%w: %w", ErrWrongAuthority, err)
				}
				found(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
				return nil
			}
			return ErrWrongAuthority
		},
	}
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
