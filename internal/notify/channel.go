package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Sender sends one message. Nil means that the other side has taken it.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Edge is what the senders need of the world.
type Edge struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time
}

// NewSender makes the sender of a channel. Secrets are read at every use, so that a file that
// is replaced counts at once.
func NewSender(c Channel, e Edge) (Sender, error) {
	switch c.Type {
	case SMTP:
		return smtpSender{c, e}, nil
	case Sendmail:
		return sendmail{c}, nil
	case Exec:
		return program{c}, nil
	case Ntfy, Matrix, Webhook, FreeMobile:
		h := httpSender{channel: c, edge: e}
		if c.Body != "" {
			t, err := ParseBody(c.Body)
			if err != nil {
				return nil, fmt.Errorf("read body: %w", err)
			}
			h.body = t
		}
		return h, nil
	}
	return nil, fmt.Errorf("there is no channel of type %q", c.Type)
}

// secret reads a file that holds one line.
func secret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("read secret: %s does not hold one line", path)
	}
	return text, nil
}

// tlsConfig trusts the authority of a file, or those of the system.
func tlsConfig(caFile, host string, now func() time.Time) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Time: now}
	if caFile == "" {
		return conf, nil
	}
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read authority: %s holds no certificate", caFile)
	}
	return conf, nil
}

// transport is that of one request: messages are seldom, and connections are not kept.
func transport(caFile string, e Edge) (*http.Transport, error) {
	conf, err := tlsConfig(caFile, "", e.Now)
	if err != nil {
		return nil, err
	}
	return &http.Transport{DialContext: e.Dial, TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}, nil
}

// address is the URL of a channel or of a dead man's switch.
func address(url, file string) (string, error) {
	hidden, err := secret(file)
	return cmp.Or(hidden, url), err
}
