package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxCheckBody bounds how much of a page is searched for its marker.
const maxCheckBody = 1 << 20

// NetChecker checks services over the network of this site.
type NetChecker struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Check fetches a page once. The certificate is not judged: the address is that
// of a guest on the site's own VLAN, which has no name to hold it against.
func (c NetChecker) Check(ctx context.Context, page string, status int, expect string) error {
	transport := &http.Transport{
		DialContext: c.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return fmt.Errorf("check service: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("check service: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCheckBody))
	if err != nil {
		return fmt.Errorf("check service %s: %w", page, err)
	}
	if status != 0 && resp.StatusCode != status {
		return fmt.Errorf("check service %s: status %d, want %d", page, resp.StatusCode, status)
	}
	if expect != "" && !bytes.Contains(body, []byte(expect)) {
		return fmt.Errorf("check service %s: the page does not contain %q", page, expect)
	}
	return nil
}

// Answers says whether a TLS server answers at an https URL, whoever it is. A machine
// without power may still seem to take a connection: something before it does.
func (c NetChecker) Answers(ctx context.Context, rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := c.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if err != nil {
		return false
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx) == nil
}

// answerWithin is how long a host that lives may take for a handshake.
const answerWithin = 3 * time.Second

// Connect opens and closes a TCP connection.
func (c NetChecker) Connect(ctx context.Context, address string) error {
	conn, err := c.Dial(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("check service: %w", err)
	}
	return conn.Close()
}
