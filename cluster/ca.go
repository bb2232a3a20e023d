package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// caLifetime outlives the boxes; agents' certificates are renewed long before.
const caLifetime = 20 * 365 * 24 * time.Hour

// clockSlack dates certificates back, for peers whose clock is behind.
const clockSlack = time.Hour

// CA is the certificate authority of one network. Its key is held by every
// voter, so that any survivor can admit and renew; it is never in State.
type CA struct {
	network string
	cert    *x509.Certificate
	key     crypto.Signer
}

// Pair is a certificate with its key, both in PEM.
type Pair struct{ Cert, Key []byte }

// NewCA makes the authority of a network.
func NewCA(network string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "World Wide Welsh network " + network, Organization: []string{network}},
		NotBefore:    now.Add(-clockSlack), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &CA{network: network, cert: cert, key: key}, nil
}

// LoadCA reads what PEM wrote.
func LoadCA(p Pair) (*CA, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || len(pair.Leaf.Subject.Organization) != 1 {
		return nil, errors.New("load CA: not a certificate authority of a network")
	}
	return &CA{network: pair.Leaf.Subject.Organization[0], cert: pair.Leaf, key: key}, nil
}

// PEM returns the certificate, which is public, and the key, which goes to
// voters only (file mode 0600).
func (ca *CA) PEM() (Pair, error) { return encodePair(ca.cert.Raw, ca.key) }

// CertPEM returns the certificate, which every agent needs.
func (ca *CA) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Network returns the name of the network.
func (ca *CA) Network() string { return ca.network }

// Issue makes key and certificate of one agent: for its site, the server id of
// its data directory, and every address under which the others dial it.
func (ca *CA) Issue(site failover.SiteID, serverID string, addrs []netip.Addr, now time.Time, lifetime time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %s: %w", site, err)
	}
	der, err := ca.issueAgent(key.Public(), site, serverID, addrs, now, lifetime)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %q: %w", site, err)
	}
	return encodePair(der, key)
}

// IssueFor makes the certificate of an agent for the public key of a request
// (PEM). Nothing else of the request counts: who the agent is was proven
// otherwise, by a token or by its certificate so far.
func (ca *CA) IssueFor(csr []byte, site failover.SiteID, serverID string, addrs []netip.Addr, now time.Time, lifetime time.Duration) ([]byte, error) {
	pub, err := requestKey(csr)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", site, err)
	}
	der, err := ca.issueAgent(pub, site, serverID, addrs, now, lifetime)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", site, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func (ca *CA) issueAgent(pub crypto.PublicKey, site failover.SiteID, serverID string, addrs []netip.Addr, now time.Time, lifetime time.Duration) ([]byte, error) {
	if site == "" || serverID == "" || len(addrs) == 0 || lifetime <= 0 {
		return nil, errors.New("site, server id, addresses and lifetime are needed")
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: string(site), Organization: []string{ca.network}},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(lifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{Identity{ca.network, site, serverID}.url()},
	}
	for _, a := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.Unmap().AsSlice()))
	}
	return ca.sign(template, pub)
}

// IssueOperator makes key and certificate of a person, and its serial number as
// State knows it. It proves who calls and serves nothing.
func (ca *CA) IssueOperator(name string, role failover.Role, now time.Time, lifetime time.Duration) (p Pair, serial string, err error) {
	if name == "" || !role.Valid() || lifetime <= 0 {
		return p, "", errors.New("issue certificate for an operator: name, role and lifetime are needed")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, "", fmt.Errorf("issue certificate for operator %s: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{ca.network}},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(lifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{OperatorIdentity{ca.network, name, role}.url()},
	}
	der, err := ca.sign(template, key.Public())
	if err != nil {
		return p, "", fmt.Errorf("issue certificate for operator %s: %w", name, err)
	}
	p, err = encodePair(der, key)
	return p, SerialText(template.SerialNumber), err
}

func (ca *CA) sign(template *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
}

// Fingerprint is the SHA-256 of the authority's certificate in hex: what a
// token carries, so that who joins knows whom to trust.
func (ca *CA) Fingerprint() string { return fingerprint(ca.cert.Raw) }

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// SerialText is how State names a certificate.
func SerialText(serial *big.Int) string { return hex.EncodeToString(serial.Bytes()) }

// NewRequest makes a key and a request for a certificate, both in PEM. The
// request names nobody: the authority decides whom the key is for.
func NewRequest() (csr, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	p, err := encodePair(nil, k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), p.Key, err
}

// requestKey returns the public key of a request, of which the requester has
// shown to hold the private one.
func requestKey(csr []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(csr)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, errors.New("not one certificate request in PEM")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("read certificate request: %w", err)
	}
	if k, ok := req.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: want a key on the curve P-256")
	}
	return req.PublicKey, nil
}

// RequestFingerprint is the SHA-256 of a request's public key in hex.
func RequestFingerprint(csr []byte) (string, error) {
	pub, err := requestKey(csr)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("read certificate request: %w", err)
	}
	return fingerprint(der), nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodePair(der []byte, key crypto.Signer) (Pair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}
