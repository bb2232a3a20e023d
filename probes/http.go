package probes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// maxBody is how much of an answer is searched for the marker, and maxHeader
// how much may come before it.
const (
	maxBody   = 64 << 10
	maxHeader = 64 << 10
)

// http asks for t.URL with the true SNI and Host. A wrong status or a missing
// marker is refused: a web server lives there, the service does not. The
// request is written on the connection itself, so that no transport keeps
// connections, follows redirects or uses a proxy.
func (p prober) http(ctx context.Context, t Target) Result {
	req, err := request(ctx, t)
	if err != nil {
		return unknown(err.Error())
	}
	return p.talk(ctx, "tcp", t, func(conn net.Conn) (Result, error) {
		var shown failover.Certificate
		if req.URL.Scheme == "https" {
			secure, err := p.handshake(ctx, conn, t)
			if err != nil {
				return Result{}, err
			}
			conn, shown = secure, p.judgeCertificate(secure.ConnectionState(), t)
		}
		resp, err := roundTrip(conn, req)
		if err != nil {
			return Result{}, err
		}
		r, err := judgeHTTP(t.Expect, resp)
		r.Certificate = shown
		return r, err
	})
}

// request builds the GET of an http or agent target.
func request(ctx context.Context, t Target) (*http.Request, error) {
	url := t.URL
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		url = "https://" + t.Addr.String() + "/" + strings.TrimPrefix(url, "/")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	if t.ServerName != "" {
		req.Host = t.ServerName
	}
	req.Close = true
	req.Header.Set("User-Agent", "wwwd-probe")
	return req, nil
}

// roundTrip writes one request and reads the head of its answer. The body is
// bounded, and ends with the connection.
func roundTrip(conn net.Conn, req *http.Request) (*http.Response, error) {
	return roundTripOn(conn, bufio.NewReader(io.LimitReader(conn, maxHeader+maxBody)), req)
}

// roundTripOn is roundTrip with the reader of a connection that is used again.
func roundTripOn(conn net.Conn, br *bufio.Reader, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	for range maxInterim {
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		// An interim answer (RFC 9110 15.2): the true one follows on the same connection.
	}
	return nil, errors.New("read answer: only interim answers")
}

// maxInterim bounds the 1xx answers before the true one.
const maxInterim = 5

// judgeHTTP compares an answer with what is expected of it. With nothing
// expected, success, a redirect and a demand for credentials are answers of the
// service; 404 is what a reverse proxy says when it does not know the name, and
// 5xx when nothing stands behind it.
func judgeHTTP(expect string, resp *http.Response) (Result, error) {
	want, marker := splitExpect(expect)
	note := "HTTP " + strconv.Itoa(resp.StatusCode)
	switch {
	case want != 0 && resp.StatusCode != want:
		return refused(fmt.Sprintf("%s, expected %d", note, want)), nil
	case want == 0 && !plausible(resp.StatusCode):
		return refused(note), nil
	case marker == "":
		return up(note), nil // the body is not read: it may be a stream without end
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case bytes.Contains(body, []byte(marker)):
		return up(note), nil
	case err != nil:
		return Result{}, fmt.Errorf("read body: %w", err)
	}
	return refused(note + " without the expected text"), nil
}

func plausible(status int) bool {
	return status >= 200 && status < 400 || status == http.StatusUnauthorized || status == http.StatusForbidden
}

// splitExpect takes "200", "marker" or "200 marker" apart.
func splitExpect(expect string) (status int, marker string) {
	head, rest, _ := strings.Cut(expect, " ")
	if n, err := strconv.Atoi(head); err == nil && len(head) == 3 && n >= 100 {
		return n, rest
	}
	return 0, expect
}
