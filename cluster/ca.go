package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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

// Issue makes the certificate of one agent: for its site, the server id of its
// data directory, and every address under which the others dial it.
func (ca *CA) Issue(site failover.SiteID, serverID string, addrs []netip.Addr, now time.Time, lifetime time.Duration) (Pair, error) {
	if site == "" || serverID == "" || len(addrs) == 0 || lifetime <= 0 {
		return Pair{}, fmt.Errorf("issue certificate for %q: site, server id, addresses and lifetime are needed", site)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %s: %w", site, err)
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %s: %w", site, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: string(site), Organization: []string{ca.network}},
		NotBefore:    now.Add(-clockSlack), NotAfter: now.Add(lifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{Identity{ca.network, site, serverID}.url()},
	}
	for _, a := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.Unmap().AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %s: %w", site, err)
	}
	return encodePair(der, key)
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
