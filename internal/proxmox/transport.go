package proxmox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

const (
	maxAnswer  = 8 << 20 // bytes of one answer; a listing of 10 000 snapshots takes about 5 MiB
	maxMessage = 1000    // bytes of a server's text that an Error keeps
	maxExcerpt = 80      // bytes of something that is no answer of this API
	apiPrefix  = "/api2/json"
)

// TLS says how the server is recognised. With CAFile only that authority counts, with Fingerprint only that leaf
// certificate, with both both must hold, with neither the system's authorities count (a PVE with an ACME certificate).
type TLS struct {
	CAFile      string // PEM, e.g. /etc/pve/pve-root-ca.pem
	Fingerprint string // SHA-256 of the leaf certificate's DER, as PVE shows it: hex pairs with or without colons
}

// Transport makes the transport that NewPVE and NewPBS take on real hosts. It reads no proxy from the environment,
// has no timeout of its own (contexts decide) and speaks HTTP/1.1. A nil dial is that of a net.Dialer.
func Transport(t TLS, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA file %s: no certificate in it", t.CAFile)
		}
	}
	if t.Fingerprint != "" {
		pin, err := hex.DecodeString(strings.ReplaceAll(t.Fingerprint, ":", ""))
		if err != nil || len(pin) != sha256.Size {
			return nil, fmt.Errorf("parse fingerprint %q: not 32 hex pairs", t.Fingerprint)
		}
		// VerifyConnection also sees resumed sessions, VerifyPeerCertificate does not.
		conf.InsecureSkipVerify = t.CAFile == "" // the pin takes the place of the chain
		conf.VerifyConnection = func(s tls.ConnectionState) error { return checkPin(s, pin) }
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        conf,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

func checkPin(s tls.ConnectionState, pin []byte) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("server sent no certificate")
	}
	got := sha256.Sum256(s.PeerCertificates[0].Raw)
	if subtle.ConstantTimeCompare(got[:], pin) != 1 {
		return fmt.Errorf("server certificate has fingerprint %x, expected %x", got, pin)
	}
	return nil
}

// call describes one request for the round tripper and for errors.
type call struct {
	op     string // verb and object
	method string
	path   string // below /api2/json, with the query
	write  bool   // doing it twice is not the same as doing it once
}

type exchangeKey struct{}

// exchange is a call on its way through the HTTP client: what is asked, and what was answered.
type exchange struct {
	call
	into    any             // where the answer's data is wanted, unless as it is
	data    json.RawMessage // of the answer
	decoded bool            // into holds it
}

func (c call) fail(kind ErrorKind, message string, cause error) *Error {
	return &Error{Op: c.op, Method: c.method, Path: c.path, Kind: kind, Message: message, Err: cause}
}

// bad reports an answer that is none. After a write that leaves the outcome unknown: it may well have been done.
func (c call) bad(format string, args ...any) *Error {
	kind := BadAnswer
	if c.write {
		kind = OutcomeUnknown
	}
	return c.fail(kind, "bad answer: "+fmt.Sprintf(format, args...), nil)
}

// authTransport adds the token and turns everything but a success with an envelope {"data": ...} into an *Error:
// go-proxmox itself takes 404, 503 and 595-599 for successes and loses the text of a 403 (reference sheet, section 10).
type authTransport struct {
	next   http.RoundTripper
	scheme string // "PVEAPIToken=ID=" or "PBSAPIToken=ID:"
	secret Secret
	failed func(ErrorKind) // optional
}

// RoundTrip implements http.RoundTripper. It leaves r as it is.
func (t *authTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.roundTrip(r)
	if err != nil && t.failed != nil {
		t.failed(KindOf(err))
	}
	return res, err
}

func (t *authTransport) roundTrip(r *http.Request) (*http.Response, error) {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		x = &exchange{}
	}
	c := x.call
	if err := context.Cause(r.Context()); err != nil {
		return nil, c.fail(Unreachable, "not sent: "+err.Error(), r.Context().Err())
	}
	var dialling, connected atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { dialling.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	out.Header.Set("Authorization", t.scheme+t.secret.Reveal())
	res, err := t.next.RoundTrip(out)
	if err != nil {
		return nil, t.noAnswer(c, err, dialling.Load() && !connected.Load())
	}
	body, err := readAnswer(res)
	// Nobody has a reason to send the secret back; if somebody does, it must reach neither error nor note nor log.
	if secret := []byte(t.secret.Reveal()); bytes.Contains(body, secret) {
		body = bytes.ReplaceAll(body, secret, []byte(hidden))
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, t.statusError(c, res, body)
	}
	if err != nil && r.Context().Err() != nil {
		return nil, t.noAnswer(c, err, false)
	}
	if err != nil {
		e := c.bad("cut off after %d bytes: %s", len(body), t.clean(err.Error(), maxExcerpt))
		e.Err = err
		return nil, e
	}
	if x.decoded = decodeAtOnce(body, x.into); !x.decoded {
		if x.data, err = t.checkEnvelope(c, body); err != nil {
			return nil, err
		}
	}
	res.Body, res.ContentLength = http.NoBody, 0 // the exchange has it
	return res, nil
}

// readAnswer reads a body up to the limit and closes it.
func readAnswer(res *http.Response) ([]byte, error) {
	defer func() { _ = res.Body.Close() }()
	var b bytes.Buffer
	if n := res.ContentLength; n > 0 && n <= maxAnswer {
		b.Grow(int(n) + bytes.MinRead) // with room to see the end
	}
	_, err := b.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	return b.Bytes(), err
}

// decodeAtOnce decodes the data of an answer that begins with it, as nearly all do, without taking it out first. It
// says whether it could: what is amiss is for the longer way to tell.
func decodeAtOnce(body []byte, into any) bool {
	rest, ok := bytes.CutPrefix(body, []byte(`{"data":`))
	if !ok || into == nil || len(body) > maxAnswer || isNull(rest[:min(len(rest), len("null"))]) {
		return false
	}
	answer := struct {
		Data any `json:"data"`
	}{into}
	return json.Unmarshal(body, &answer) == nil && answer.Data != nil
}

// noAnswer makes the error of a request without an answer. unsent says that the transport never had a connection.
func (t *authTransport) noAnswer(c call, err error, unsent bool) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		unsent = true
	}
	kind := Unreachable
	if c.write && !unsent {
		kind = OutcomeUnknown
	}
	return c.fail(kind, "no answer: "+t.clean(err.Error(), maxMessage), err)
}

func (t *authTransport) statusError(c call, res *http.Response, body []byte) *Error {
	_, reason, _ := strings.Cut(res.Status, " ")
	e := &Error{Op: c.op, Method: c.method, Path: c.path, Status: res.StatusCode, Reason: t.clean(reason, maxMessage)}
	var answer struct {
		Message string         `json:"message"`
		Errors  map[string]any `json:"errors"`
	}
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
	case json.Unmarshal(trimmed, &answer) == nil:
		e.Message = t.clean(answer.Message, maxMessage)
	case trimmed[0] == '{' || trimmed[0] == '<':
		e.Message = e.Reason + ", with a body that is no answer of this API: " + t.clean(string(trimmed), maxExcerpt)
	default: // PBS and PVE's 501 answer plain text
		e.Message = t.clean(string(trimmed), maxMessage)
	}
	text := e.Message
	if text == "" {
		text = e.Reason // PVE before 8.4 says it only there; PBS and 401 never
		if text == http.StatusText(e.Status) {
			text = ""
		}
	}
	for name, complaint := range answer.Errors {
		if e.Params == nil {
			e.Params = make(map[string]string, len(answer.Errors))
		}
		e.Params[t.clean(name, maxExcerpt)] = t.clean(fmt.Sprint(complaint), maxMessage)
		text += "\n" + e.Params[t.clean(name, maxExcerpt)]
	}
	e.Kind = statusKind(c, e.Status, text, e.Params)
	if e.Kind == Forbidden {
		e.Privilege, e.PrivPath = privilege(text)
	}
	return e
}

// checkEnvelope demands what every success of PVE and PBS has: a JSON object with "data", which it returns.
func (t *authTransport) checkEnvelope(c call, body []byte) (json.RawMessage, error) {
	if len(body) > maxAnswer {
		return nil, c.bad("longer than %d MiB", maxAnswer>>20)
	}
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		if len(bytes.TrimSpace(body)) == 0 {
			return nil, c.bad("empty body")
		}
		// The parser's own text may quote the body; the excerpt is what is safe to show.
		return nil, c.bad("no JSON object: %q", t.clean(string(body), maxExcerpt))
	}
	if answer.Data == nil {
		return nil, c.bad("no \"data\" in %q", t.clean(string(body), maxExcerpt))
	}
	return answer.Data, nil
}

// clean makes a foreign text fit for an error: one line, printable, without our secret, of at most limit bytes.
func (t *authTransport) clean(text string, limit int) string {
	if s := t.secret.Reveal(); s != "" {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return clip(text, limit)
}

func clip(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.TrimSpace(text))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}

// newClient makes the HTTP client under both APIs and checks what it is made of. The base has no trailing slash and
// ends in /api2/json.
func newClient(conf Config, name, separator string) (client *http.Client, base string, err error) {
	u, err := url.Parse(conf.URL)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("make %s client: URL cannot be parsed", name) // the text may hold a password
	case (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, "", fmt.Errorf("make %s client: URL %q is not of the form https://HOST:PORT", name, u.Redacted())
	case strings.Trim(u.Path, "/") != "":
		return nil, "", fmt.Errorf("make %s client: URL %q must not have a path", name, conf.URL)
	case conf.Transport == nil:
		return nil, "", fmt.Errorf("make %s client: no transport", name)
	case !tokenIDText.MatchString(conf.TokenID):
		return nil, "", fmt.Errorf("make %s client: token id is not of the form USER@REALM!NAME", name) // may be a whole token line
	case conf.Secret.IsZero():
		return nil, "", fmt.Errorf("make %s client: token %s has no secret", name, conf.TokenID)
	}
	t := &authTransport{next: conf.Transport, scheme: name + "APIToken=" + conf.TokenID + separator, secret: conf.Secret, failed: conf.Failed}
	return &http.Client{Transport: t}, u.Scheme + "://" + u.Host + apiPrefix, nil
}

// outcome reduces what an HTTP client returned to the *Error inside, or makes one.
func outcome(c call, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return c.fail(Other, clip(err.Error(), maxMessage), err)
}
