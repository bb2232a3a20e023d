package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxCheckBody bounds how much of a page is searched for its marker.
const maxCheckBody = 1 << 20

// NetChecker checks services over the network of this site.
type NetChecker struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Check fetches url once. The certificate is not judged: the address is that
// of a guest on the site's own VLAN, which has no name to hold it against.
func (c NetChecker) Check(ctx context.Context, url string, status int, expect string) error {
	transport := &http.Transport{
		DialContext: c.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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
		return fmt.Errorf("check service %s: %w", url, err)
	}
	if status != 0 && resp.StatusCode != status {
		return fmt.Errorf("check service %s: status %d, want %d", url, resp.StatusCode, status)
	}
	if expect != "" && !bytes.Contains(body, []byte(expect)) {
		return fmt.Errorf("check service %s: the page does not contain %q", url, expect)
	}
	return nil
}

// Connect opens and closes a TCP connection.
func (c NetChecker) Connect(ctx context.Context, address string) error {
	conn, err := c.Dial(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("check service: %w", err)
	}
	return conn.Close()
}
