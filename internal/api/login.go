package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Login is a person's login file: who they are, whom to believe, and where the
// agents are. It holds a private key.
type Login struct {
	Network   string        `json:"network"`
	Name      string        `json:"name"`
	Role      failover.Role `json:"role"`
	Until     time.Time     `json:"until"`
	Endpoints []string      `json:"endpoints"` // mesh addresses of agents
	CA        string        `json:"ca"`        // PEM
	Cert      string        `json:"cert"`
	Key       string        `json:"key"`
}

// ParseLogin reads a login file and checks that its parts belong together.
func ParseLogin(b []byte) (Login, error) {
	var l Login
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("read login file: %w", err)
	}
	if _, err := l.tls(); err != nil {
		return l, fmt.Errorf("read login file: %w", err)
	}
	for _, e := range l.Endpoints {
		if _, _, err := net.SplitHostPort(e); err != nil {
			return l, fmt.Errorf("read login file: endpoint %q is not ADDRESS:PORT", e)
		}
	}
	if len(l.Endpoints) == 0 {
		return l, errors.New("read login file: it names no agent")
	}
	return l, nil
}

func (l Login) tls() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(l.Cert), []byte(l.Key))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(l.CA)) {
		return nil, errors.New("it holds no authority")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
		VerifyConnection: func(cs tls.ConnectionState) error {
			a, err := agentActor(&cs)
			if err == nil && a.Network != l.Network {
				err = fmt.Errorf("the agent is of network %q, the login file of %q", a.Network, l.Network)
			}
			return err
		},
	}, nil
}

// Client returns a client of the first agent that answers, tried in order.
func (l Login) Client() (*Client, error) {
	base, err := l.tls()
	if err != nil {
		return nil, fmt.Errorf("use login file: %w", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var errs []error
		for _, endpoint := range l.Endpoints {
			conn, err := dialEndpoint(ctx, base, endpoint)
			if err == nil {
				return conn, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", endpoint, err))
		}
		return nil, errors.Join(errs...)
	}
	c := NewClient("https://wwwd", &http.Client{Transport: &http.Transport{DialTLSContext: dial}})
	c.endpoint = strings.Join(l.Endpoints, ", ")
	return c, nil
}

// dialEndpoint gives each agent a few seconds, so that a dead one does not use
// up the time of those that live.
func dialEndpoint(ctx context.Context, base *tls.Config, endpoint string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, err
	}
	cfg := base.Clone()
	cfg.ServerName = host // the certificate must hold the address that was dialled
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", endpoint)
}
