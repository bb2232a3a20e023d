package probes

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// agent asks the agent of another site for its health, over mTLS. Whoever
// answers must be that site's agent by its certificate.
func (p prober) agent(ctx context.Context, t Target) Result {
	if p.AgentTLS == nil {
		return unknown("this agent has no certificate of its own")
	}
	req, err := request(ctx, t)
	if err != nil {
		return unknown(err.Error())
	}
	conf := p.AgentTLS.Clone()
	// The mesh port tells Raft from the API by ALPN; a client without any speaks HTTP/1.1 to the API.
	conf.NextProtos = nil
	conf.CurvePreferences = probeCurves()
	conf.ServerName = cmp.Or(t.ServerName, conf.ServerName, t.Addr.Addr().String())
	conf.Time = p.Now
	return p.talk(ctx, "tcp", t, func(conn net.Conn) (Result, error) {
		c := tls.Client(conn, conf)
		if err := c.HandshakeContext(ctx); err != nil {
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
				err = fmt.Errorf("%w: %w", errCertificate, err)
			}
			return Result{}, err
		}
		if err := isAgentOf(t.Site, c.ConnectionState()); err != nil {
			return refused(err.Error()), nil
		}
		resp, err := roundTrip(c, req)
		if err != nil {
			return Result{}, err
		}
		return judgeHTTP("200", resp)
	})
}

// isAgentOf checks the name in an agent's certificate, www://NETWORK/SITE/SERVERID.
// The authority and the network are the business of the injected configuration.
func isAgentOf(site network.SiteID, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the agent shows no certificate")
	}
	for _, u := range s.PeerCertificates[0].URIs {
		if u.Scheme != "www" {
			continue
		}
		got, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if got == string(site) {
			return nil
		}
		return fmt.Errorf("answers as the agent of %q", got)
	}
	return errors.New("the certificate names no agent")
}
