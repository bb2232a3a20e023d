package probes

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// errCertificate is wrapped by a handshake that met another certificate than
// the pinned or an untrusted one.
var errCertificate = errors.New("certificate differs")

// tls completes a handshake. A certificate that is not the pinned one is
// refused: something lives at the address, but it is not our service.
func (p prober) tls(ctx context.Context, t Target) Result {
	return p.talk(ctx, "tcp", t, func(conn net.Conn) (Result, error) {
		c, err := p.handshake(ctx, conn, t)
		if err != nil {
			return Result{}, err
		}
		return up(tls.VersionName(c.ConnectionState().Version)), nil
	})
}

// probeCurves leaves the post-quantum key exchange out: it is half of what a
// handshake costs, an agent makes tens of them a second, and a probe carries
// nothing that is worth reading in ten years.
func probeCurves() []tls.CurveID { return []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} }

// handshake speaks TLS on conn as a client that wants t's service.
func (p prober) handshake(ctx context.Context, conn net.Conn, t Target) (*tls.Conn, error) {
	c := tls.Client(conn, &tls.Config{
		ServerName: t.ServerName,
		MinVersion: tls.VersionTLS12,
		Time:       p.Now,
		// See probeCurves.
		CurvePreferences: probeCurves(),
		// Proxmox certificates are self-signed; what must hold is checked below.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return p.verify(s, t) },
	})
	return c, c.HandshakeContext(ctx)
}

// verify checks the pin of the target, else the authorities that the
// configuration names for it, else nothing: for reachability any certificate
// is an answer.
func (p prober) verify(s tls.ConnectionState, t Target) error {
	if len(s.PeerCertificates) == 0 {
		return fmt.Errorf("%w: none was shown", errCertificate)
	}
	leaf := s.PeerCertificates[0]
	if t.Pin != "" {
		sum := sha256.Sum256(leaf.Raw)
		if got := hex.EncodeToString(sum[:]); got != normalPin(t.Pin) {
			return fmt.Errorf("%w: fingerprint %s", errCertificate, got)
		}
		return nil
	}
	if p.Roots == nil {
		return nil
	}
	roots := p.Roots(t)
	if roots == nil {
		return nil
	}
	if err := p.chain(s, t, roots); err != nil {
		return fmt.Errorf("%w: %w", errCertificate, err)
	}
	return nil
}

// chain verifies what was shown, for the target's name and as of now.
func (p prober) chain(s tls.ConnectionState, t Target, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: p.Now(), DNSName: t.ServerName}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// judgeCertificate says what a member's browser makes of what was shown.
func (p prober) judgeCertificate(s tls.ConnectionState, t Target) failover.Certificate {
	if !t.Public || p.PublicRoots == nil {
		return failover.Certificate{}
	}
	roots := p.PublicRoots()
	if roots == nil {
		return failover.Certificate{}
	}
	out := failover.Certificate{Until: s.PeerCertificates[0].NotAfter.UTC()}
	if err := p.chain(s, t, roots); err != nil {
		out.Wrong = objection(err)
	}
	return out
}

// objection puts an error of the verification in words that stay the same from probe to probe: a
// change is reported at once.
func objection(err error) string {
	var (
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "has expired, or its time has not come"
	case errors.As(err, &name):
		return "is for another name"
	case errors.As(err, &authority):
		return "is of an unknown authority"
	}
	return "is not valid"
}

// normalPin brings a fingerprint, as Proxmox shows it (AA:BB:…), to plain
// lower-case hexadecimal.
func normalPin(pin string) string { return strings.ToLower(strings.ReplaceAll(pin, ":", "")) }
