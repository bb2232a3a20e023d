package mesh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// RouterConfig says how to reach a router's REST API.
type RouterConfig struct {
	URL       string // https://ADDRESS[:PORT]; service www-ssl of RouterOS 7.1 and later
	User      string
	Password  string
	Interface string // only the peers of this WireGuard interface; empty: of all
	// CA is the authority that signed the router's certificate; Fingerprint the
	// certificate's own SHA-256, in hexadecimal with or without colons. One of
	// them is required: without, a password would be told to whoever answers.
	CA          *x509.CertPool
	Fingerprint string
	// Dial opens the connection; nil: a plain dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Now  func() time.Time // for certificate dates; required
	// Wrap goes around the transport of requests, to count them; nil: nobody does.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Errors of a router. All but ErrUnreachable are wrapped by a *RouterError or
// met before the request.
var (
	ErrUnreachable  = errors.New("the router does not answer")
	ErrCertificate  = errors.New("the router shows another certificate")
	ErrUnauthorized = errors.New("the router does not accept the user or password")
	ErrForbidden    = errors.New("the user's group lacks a policy: it needs read and rest-api")
	ErrNoMenu       = errors.New("the router has no such menu: it needs RouterOS 7.1 or later")
	ErrSlow         = errors.New("the router ended the session after 60 s")
	ErrAnswer       = errors.New("the router's answer cannot be read")
)

// RouterError is an answer that is no success. Detail is the console's text,
// which differs between versions: match by errors.Is.
type RouterError struct {
	Status          int
	Message, Detail string
	kind            error
}

func (e *RouterError) Error() string {
	return fmt.Sprintf("router answers %d %s", e.Status, strings.TrimSpace(e.Message+" "+e.Detail))
}

// Unwrap returns what kind of error it is, if that is known.
func (e *RouterError) Unwrap() error { return e.kind }

// RouterOS reads the WireGuard peers and the static DNS entries of a MikroTik router over REST, with GET
// only; PutOff alone changes something. Safe for concurrent use; requests are made one at a time,
// since a router has few threads for them.
type RouterOS struct {
	config    RouterConfig
	base      string
	query     string
	transport *http.Transport
	requests  http.RoundTripper // over transport
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// proplist are the fields that are asked for. Keys are not among them, whatever
// the user's group may see.
const proplist = "interface,name,comment,public-key,allowed-address,current-endpoint-address,current-endpoint-port," +
	"rx,tx,last-handshake,persistent-keepalive,disabled"

// NewRouterOS checks the configuration. It calls nobody.
func NewRouterOS(c RouterConfig) (*RouterOS, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("router: url %q is not https://ADDRESS", c.URL)
	}
	if c.CA == nil && c.Fingerprint == "" {
		return nil, errors.New("router: neither an authority nor a fingerprint is given")
	}
	if c.User == "" || c.Now == nil {
		return nil, errors.New("router: no user, or no clock")
	}
	q := url.Values{".proplist": {proplist}}
	if c.Interface != "" {
		q.Set("interface", c.Interface)
	}
	r := &RouterOS{config: c, base: "https://" + u.Host, query: "https://" + u.Host + "/rest/interface/wireguard/peers?" + q.Encode()}
	r.transport = &http.Transport{
		DialContext: c.Dial, TLSClientConfig: r.tls(), MaxConnsPerHost: 1, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: false,
	}
	if c.Dial == nil {
		r.transport.DialContext = (&net.Dialer{}).DialContext
	}
	r.requests = r.transport
	if c.Wrap != nil {
		r.requests = c.Wrap(r.transport)
	}
	return r, nil
}

// tls trusts the authority, or the one certificate of the fingerprint.
func (r *RouterOS) tls() *tls.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.config.CA, Time: r.config.Now}
	if r.config.Fingerprint == "" {
		return conf
	}
	want := strings.ToLower(strings.ReplaceAll(r.config.Fingerprint, ":", ""))
	conf.InsecureSkipVerify = true // the certificate itself is compared below
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		sum := sha256.Sum256(s.PeerCertificates[0].Raw)
		if got := hex.EncodeToString(sum[:]); got != want {
			return fmt.Errorf("%w: fingerprint %s", ErrCertificate, got)
		}
		return nil
	}
	return conf
}

// Close ends the connection that is kept between two requests.
func (r *RouterOS) Close() { r.transport.CloseIdleConnections() }

// Peers reads the peers, ordered by key. The error wraps one of those above, or
// is that of ctx.
func (r *RouterOS) Peers(ctx context.Context) ([]Peer, error) {
	body, err := r.call(ctx, http.MethodGet, r.query, nil)
	if err != nil {
		return nil, fmt.Errorf("read WireGuard peers of the router: %w", err)
	}
	rows, err := readRows(body)
	if err != nil {
		return nil, fmt.Errorf("read WireGuard peers of the router: %w: %w", ErrAnswer, err)
	}
	var out []Peer
	for _, row := range rows {
		p, err := row.peer()
		if err != nil {
			return nil, fmt.Errorf("read WireGuard peers of the router: %w: %w", ErrAnswer, err)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, compareKeys)
	return out, nil
}

func (r *RouterOS) call(ctx context.Context, method, at string, payload []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.SetBasicAuth(r.config.User, r.config.Password)
	// The transport follows no redirect: the password goes to this address only.
	resp, err := r.requests.RoundTrip(req)
	if err != nil {
		return nil, callFailed(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, callFailed(ctx, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrAnswer, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp.StatusCode, body)
	}
	return body, nil
}

func callFailed(ctx context.Context, err error) error {
	if errors.Is(err, ErrCertificate) {
		return err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// refusal reads {"error":400,"message":"Bad Request","detail":"…"}.
func refusal(status int, body []byte) error {
	var said struct{ Message, Detail string }
	_ = json.Unmarshal(escapeControls(body), &said) // without a body the status must do
	e := &RouterError{Status: status, Message: said.Message, Detail: said.Detail}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	detail := strings.ToLower(e.Detail)
	switch {
	case status == http.StatusUnauthorized:
		e.kind = ErrUnauthorized
	case status == http.StatusForbidden, strings.Contains(detail, "not enough permissions"):
		e.kind = ErrForbidden
	case strings.Contains(detail, "session closed"):
		e.kind = ErrSlow
	case status == http.StatusNotFound, strings.Contains(detail, "no such command"):
		e.kind = ErrNoMenu
	default:
		e.kind = ErrAnswer
	}
	return e
}

// readRows reads an array of rows; early versions answer one row as an object.
func readRows(body []byte) ([]row, error) {
	body = bytes.TrimSpace(escapeControls(body))
	if bytes.HasPrefix(body, []byte("{")) {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	var rows []row
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, err
	}
	return rows, nil
}

// escapeControls makes JSON of what RouterOS writes: control characters of
// comments stand in its strings as they are (as terraform-routeros found).
// Between values they are spaces anyway.
func escapeControls(b []byte) []byte {
	out := make([]byte, 0, len(b))
	quoted, escaped := false, false
	for _, c := range b {
		switch {
		case c < 0x20 && quoted:
			out = fmt.Appendf(out, "\\u%04x", c)
			escaped = false
			continue
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		}
		out = append(out, c)
	}
	return out
}
