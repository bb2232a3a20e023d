// Package proxmoxtest helps to test code that uses package proxmox: transports that need no network, a recorder of
// requests for contract tests, and a table that makes every call once.
package proxmoxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Handler is a transport that calls an http.Handler on the caller's goroutine: no network, no goroutine, no clock. A
// request whose context ends while the handler runs gets the context's error, whatever the handler did.
func Handler(h http.Handler) http.RoundTripper { return handlerTransport{h} }

type handlerTransport struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	t.h.ServeHTTP(rec, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := rec.Result()
	res.Request = r
	return res, nil
}

// Func is a transport made of a function.
type Func func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f Func) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Request is one recorded request. It holds no header, so no token.
type Request struct {
	Method string
	Path   string         // decoded, below /api2/json
	Query  url.Values     // parameters of GET and DELETE
	Body   map[string]any // parameters of POST and PUT as encoding/json decodes them; nil without a body
	Host   string         // host and port
}

// Recorder records requests on their way to Next.
type Recorder struct {
	Next http.RoundTripper

	mu       sync.Mutex
	requests []Request
}

// RoundTrip implements http.RoundTripper.
func (t *Recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	req := Request{Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, "/api2/json"), Query: r.URL.Query(), Host: r.URL.Host}
	if r.Body != nil && r.Body != http.NoBody {
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("record request: %w", err)
		}
		if len(b) > 0 {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&req.Body); err != nil {
				return nil, fmt.Errorf("record request: body is no JSON object: %w", err)
			}
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	t.mu.Lock()
	t.requests = append(t.requests, req)
	t.mu.Unlock()
	return t.Next.RoundTrip(r)
}

// Requests gives what was recorded, in order.
func (t *Recorder) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}
