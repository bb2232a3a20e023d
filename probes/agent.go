package probes

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// agent asks the agent of another site for its health, over mTLS. Whoever
// answers must be that site's agent by its certificate. With Config.Keep the
// connection of the last probe is asked first.
func (p prober) agent(ctx context.Context, t Target) Result {
	if p.AgentTLS == nil {
		return unknown("this agent has no certificate of its own")
	}
	req, err := request(ctx, t)
	if err != nil {
		return unknown(err.Error())
	}
	req.Close = p.Keep == nil
	if kept := p.Keep.take(t, p.Now()); kept != nil {
		r, again := p.askKept(ctx, kept, t, req)
		if !again {
			return r
		}
		// It was closed or reset, as a restarted agent does: that says nothing of the agent there is now.
	}
	conn, err := p.dial(ctx, "tcp", t)
	if err != nil {
		return p.dialFailed(ctx, t, err)
	}
	var opened *line
	r, sound := p.exchange(ctx, conn, func(conn net.Conn) (Result, error) {
		c, err := p.meet(ctx, conn, t)
		if err != nil {
			return Result{}, err
		}
		if err := isAgentOf(t.Site, c.ConnectionState()); err != nil {
			return refused(err.Error()), nil
		}
		opened = newLine(c, conn.(*heard), p.Now)
		return opened.ask(req)
	})
	if !sound || opened == nil || !p.Keep.put(t, opened, p.Now()) {
		_ = conn.Close() // nothing was buffered that could be lost
		p.Packets(packetsClose)
	}
	return r
}

// meet completes the handshake between two agents.
func (p prober) meet(ctx context.Context, conn net.Conn, t Target) (*tls.Conn, error) {
	conf := p.AgentTLS.Clone()
	// The mesh port tells Raft from the API by ALPN; a client without any speaks HTTP/1.1 to the API.
	conf.NextProtos = nil
	conf.CurvePreferences = probeCurves()
	conf.ServerName = cmp.Or(t.ServerName, conf.ServerName, t.Addr.Addr().String())
	conf.Time = p.Now
	c := tls.Client(conn, conf)
	err := c.HandshakeContext(ctx)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		err = fmt.Errorf("%w: %w", errCertificate, err)
	}
	return c, err
}

// askKept asks over a connection of an earlier probe. again says that the other
// side had ended it, so that a new one must tell.
func (p prober) askKept(ctx context.Context, l *line, t Target, req *http.Request) (r Result, again bool) {
	r, sound := p.exchange(ctx, l.heard, func(conn net.Conn) (Result, error) {
		l.heard.any = false
		p.Packets(1) // the acknowledgement of an answer that no question follows at once
		return l.ask(req)
	})
	if !sound || !p.Keep.put(t, l, p.Now()) {
		_ = l.heard.Close() // nothing was buffered that could be lost
		p.Packets(packetsClose)
	}
	// Silence is silence, whatever carried the question: only what the other side ended is tried anew.
	return r, !sound && slices.Contains([]string{noteClosed, noteBroken, noteReset}, r.Note)
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
