package site

import (
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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lifetime of the lab's certificates: longer than any lab is kept.
const lifetime = 90 * 24 * time.Hour

// entryCA is the file with the authority of the public entries, in the lab's directory.
const entryCA = "public-ca.pem"

// EntryCA returns the file with the authority that the public entries' certificates
// are issued by: what a member's browser would have to trust.
func EntryCA(dir string) string { return filepath.Join(dir, entryCA) }

// MakeCerts writes the certificates of all sites into dir: self-signed ones for every
// PVE and PBS, as the vendor's installer makes them, and one for every public entry by
// an authority of the lab.
func (l *Lab) MakeCerts(dir string, now time.Time) error {
	ca, err := newIssuer("public entries of lab "+l.Network, now)
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	if err := os.WriteFile(EntryCA(dir), ca.certPEM(), 0o600); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	var names []string
	for _, g := range l.Guests {
		names = append(names, g.Names...)
	}
	for i, s := range l.Sites {
		var errs []error
		if err := os.MkdirAll(filepath.Join(SiteDir(dir, s.Name), "tls"), 0o700); err != nil {
			errs = append(errs, err)
		}
		for _, h := range l.Hosts(i) {
			for _, kind := range h.kinds() {
				own, err := newIssuer(h.Name, now)
				if err == nil {
					err = own.write(certFile(dir, s.Name, kind+"-"+h.Name), []string{h.Name}, l.Plan().Host(i, h.Index), now)
				}
				errs = append(errs, err)
			}
		}
		if !l.Routed {
			own, err := newIssuer("router of "+s.Name, now)
			if err == nil {
				err = own.write(certFile(dir, s.Name, "router-"+s.Name), []string{s.Name}, l.Plan().RouterBackend(i), now)
			}
			errs = append(errs, err)
		}
		if entry, ok := l.Entry(i); ok {
			all := append(slices.Clone(names), s.Name+".site."+l.Zone)
			errs = append(errs, ca.write(certFile(dir, s.Name, "entry"), all, entry.Addr(), now))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("make certificates of %s: %w", s.Name, err)
		}
	}
	return nil
}

// kinds returns what answers on a host: "pve", "pbs".
func (h Host) kinds() []string {
	var out []string
	if h.PVE {
		out = append(out, "pve")
	}
	if h.PBS {
		out = append(out, "pbs")
	}
	return out
}

func certFile(dir, site, name string) string {
	return filepath.Join(SiteDir(dir, site), "tls", name+".pem")
}

// Fingerprint returns the fingerprint of a host's certificate as Proxmox shows it
// ("AA:BB:…", SHA-256). kind is "pve" or "pbs"; or "router", with the site's name as host.
func Fingerprint(dir, site, kind, host string) (string, error) {
	cert, err := loadCert(certFile(dir, site, kind+"-"+host))
	if err != nil {
		return "", err
	}
	return fingerprint(cert.Certificate[0]), nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return strings.Join(pairs, ":")
}

func loadCert(file string) (tls.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(b, b)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate %s: %w", file, err)
	}
	return cert, nil
}

// issuer signs certificates: an authority, or its own one.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(name string, now time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name, now)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &issuer{cert: cert, key: key}, err
}

func template(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetInt64(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"World Wide Welsh lab"}},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func (s *issuer) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

// write issues a certificate and writes it with its key into one file.
func (s *issuer) write(file string, names []string, addr netip.Addr, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(names[len(names)-1], now)
	t.DNSNames, t.IPAddresses = names, []net.IP{addr.AsSlice()}
	der, err := x509.CreateCertificate(rand.Reader, t, s.cert, key.Public(), s.key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	out = append(out, s.certPEM()...)
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	return os.WriteFile(file, out, 0o600)
}
