package proxmox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// TestCallsSucceedWithOneRequest also proves that the answers of the table are ones that the client takes.
func TestCallsSucceedWithOneRequest(t *testing.T) {
	for _, c := range proxmoxtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			rec := &proxmoxtest.Recorder{Next: proxmoxtest.Handler(answer(200, data(c.Answer)))}
			pve, pbs := clients(t, rec)
			if err := c.Run(t.Context(), pve, pbs); err != nil {
				t.Fatalf("got error %v", err)
			}
			reqs := rec.Requests()
			if len(reqs) != 1 {
				t.Fatalf("got %d requests, want 1: %v", len(reqs), reqs)
			}
			if r := reqs[0]; (r.Method == http.MethodGet || r.Method == http.MethodDelete) && r.Body != nil {
				t.Errorf("%s %s has a body %v, which PVE answers with 501", r.Method, r.Path, r.Body)
			}
		})
	}
}

type failure struct {
	name        string
	rt          http.RoundTripper
	read, write proxmox.ErrorKind
	null        bool // not a failure for calls whose data is null or does not matter
}

func handler(status int, body string) http.RoundTripper {
	return proxmoxtest.Handler(answer(status, body))
}

func failing(err error) http.RoundTripper {
	return proxmoxtest.Func(func(*http.Request) (*http.Response, error) { return nil, err })
}

// cutOff answers with a success whose body breaks off.
func cutOff() http.RoundTripper {
	return proxmoxtest.Func(func(r *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(`{"data":`), errReader{})
		return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(body), Request: r}, nil
	})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func failures() []failure {
	html := "<!DOCTYPE html>\n<html><head><title>Login</title></head><body>" + strings.Repeat("x", 500) + "</body></html>"
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	all := []failure{
		{name: "401 empty", rt: handler(401, ""), read: proxmox.Unauthorized, write: proxmox.Unauthorized},
		{name: "403 with privilege", rt: handler(403, `{"data":null,"message":"Permission check failed (/vms/9001, VM.Allocate)\n"}`), read: proxmox.Forbidden, write: proxmox.Forbidden},
		{name: "403 plain text", rt: handler(403, "permission check failed"), read: proxmox.Forbidden, write: proxmox.Forbidden},
		{name: "404", rt: handler(404, "Path '/x' not found."), read: proxmox.NotFound, write: proxmox.NotFound},
		{name: "400 parameters", rt: handler(400, `{"data":null,"errors":{"vmid":"property is missing and it is not optional"},"message":"Parameter verification failed.\n"}`), read: proxmox.BadRequest, write: proxmox.BadRequest},
		{name: "400 of PBS", rt: handler(400, "something died"), read: proxmox.Other, write: proxmox.Other},
		{name: "500 no quorum", rt: handler(500, `{"data":null,"message":"cluster not ready - no quorum?\n"}`), read: proxmox.NoQuorum, write: proxmox.NoQuorum},
		{name: "500 empty", rt: handler(500, ""), read: proxmox.Other, write: proxmox.Other},
		{name: "500 HTML", rt: handler(500, html), read: proxmox.Other, write: proxmox.Other},
		{name: "501", rt: handler(501, "Method 'GET /x' not implemented"), read: proxmox.BadRequest, write: proxmox.BadRequest},
		{name: "502", rt: handler(502, html), read: proxmox.Unreachable, write: proxmox.OutcomeUnknown},
		{name: "503", rt: handler(503, ""), read: proxmox.Unreachable, write: proxmox.OutcomeUnknown},
		{name: "595", rt: handler(595, ""), read: proxmox.Unreachable, write: proxmox.OutcomeUnknown},
		{name: "596", rt: handler(596, ""), read: proxmox.Busy, write: proxmox.OutcomeUnknown},
		{name: "599", rt: handler(599, ""), read: proxmox.Busy, write: proxmox.OutcomeUnknown},
		{name: "redirect", rt: handler(302, ""), read: proxmox.BadAnswer, write: proxmox.BadAnswer},
		{name: "refused", rt: failing(refused), read: proxmox.Unreachable, write: proxmox.Unreachable},
		{name: "reply dropped", rt: failing(io.EOF), read: proxmox.Unreachable, write: proxmox.OutcomeUnknown},
		{name: "HTML", rt: handler(200, html), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown},
		{name: "empty body", rt: handler(200, ""), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown},
		{name: "truncated JSON", rt: handler(200, `{"data":[{"vmid":`), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown},
		{name: "cut off", rt: cutOff(), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown},
		{name: "no data", rt: handler(200, `{"success":1}`), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown},
		{name: "null data", rt: handler(200, data("null")), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown, null: true},
	}
	for _, wrong := range []string{`7`, `true`, `""`, `"text"`, `[7]`, `[null]`, `[{}]`, `{"x":[]}`, `[[]]`} {
		all = append(all, failure{
			name: "wrong type " + wrong, rt: handler(200, data(wrong)), read: proxmox.BadAnswer, write: proxmox.OutcomeUnknown,
			null: true,
		})
	}
	return all
}

func TestEveryCallFailsTyped(t *testing.T) {
	for _, f := range failures() {
		for _, c := range proxmoxtest.Cases() {
			if f.null && c.Null {
				continue
			}
			rec := &proxmoxtest.Recorder{Next: f.rt}
			pve, pbs := clients(t, rec)
			err := c.Run(t.Context(), pve, pbs)
			want := f.read
			if c.Write {
				want = f.write
			}
			if got := proxmox.KindOf(err); got != want {
				t.Errorf("%s on %s: got kind %q, want %q (%v)", c.Name, f.name, got, want, err)
			}
			if n := len(rec.Requests()); n != 1 {
				t.Errorf("%s on %s: got %d requests, want 1: nothing may be retried", c.Name, f.name, n)
			}
			if err != nil && len(err.Error()) > 1500 {
				t.Errorf("%s on %s: error is %d bytes long", c.Name, f.name, len(err.Error()))
			}
		}
	}
}

func TestTooLongAnswer(t *testing.T) {
	pve, _ := clients(t, handler(200, data(`"`+strings.Repeat("x", 9<<20)+`"`)))
	if _, err := pve.Version(t.Context()); proxmox.KindOf(err) != proxmox.BadAnswer {
		t.Errorf("read: got %v, want kind bad answer", err)
	}
	if _, err := pve.Start(t.Context(), proxmox.VM, 100); proxmox.KindOf(err) != proxmox.OutcomeUnknown {
		t.Errorf("write: got %v, want kind outcome unknown", err)
	}
}

func TestHangEndsWithContext(t *testing.T) {
	for _, c := range proxmoxtest.Cases() {
		ctx, cancel := context.WithCancel(t.Context())
		pve, pbs := clients(t, proxmoxtest.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel() // the caller gives up while the server works
			<-r.Context().Done()
		})))
		err := c.Run(ctx, pve, pbs)
		want := proxmox.Unreachable
		if c.Write {
			want = proxmox.OutcomeUnknown
		}
		if got := proxmox.KindOf(err); got != want || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got kind %q, want %q, wrapping context.Canceled: %v", c.Name, got, want, err)
		}
		// The same call with a context that has ended before is not sent at all.
		rec := &proxmoxtest.Recorder{Next: failing(io.EOF)}
		pve, pbs = clients(t, rec)
		err = c.Run(ctx, pve, pbs)
		if got := proxmox.KindOf(err); got != proxmox.Unreachable || len(rec.Requests()) != 0 {
			t.Errorf("%s with an ended context: got kind %q and %d requests, want unreachable and none", c.Name, got, len(rec.Requests()))
		}
	}
}

// TestSecretNeverShows runs every call against servers that send the request's own header back, in every way there is.
func TestSecretNeverShows(t *testing.T) {
	seen := false
	echo := func(status int, format string) http.RoundTripper {
		return proxmoxtest.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			auth := r.Header.Get("Authorization")
			seen = seen || strings.Contains(auth, testSecret)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, format, auth)
		}))
	}
	leaks := []http.RoundTripper{
		echo(500, `{"data":null,"message":"got %s"}`), echo(400, `{"data":null,"errors":{"x":"got %s"}}`), echo(400, "died on %s"),
		echo(403, "%s"), echo(500, "<html>%s"), echo(200, "<html>%s"), echo(200, `{"x":"%s"}`), echo(200, `{"data":"%s"}`), echo(200, `{"data":["%s"]}`),
		echo(200, `{"data":{"status":"%s","digest":7}}`), echo(596, "%s"),
		proxmoxtest.Func(func(r *http.Request) (*http.Response, error) { return nil, errors.New(r.Header.Get("Authorization")) }),
	}
	for i, rt := range leaks {
		for _, c := range proxmoxtest.Cases() {
			pve, pbs := clients(t, rt)
			err := c.Run(t.Context(), pve, pbs)
			texts := []string{fmt.Sprintf("%v %+v", err, err), fmt.Sprintf("%+v %#v", pve, pve), fmt.Sprintf("%+v %#v", pbs, pbs)}
			if e, ok := errors.AsType[*proxmox.Error](err); ok {
				texts = append(texts, e.Message, e.Reason, e.Path, fmt.Sprint(e.Params))
			}
			for _, s := range texts {
				if strings.Contains(s, testSecret) {
					t.Errorf("leak %d, %s: the secret shows in %q", i, c.Name, s)
				}
			}
		}
	}
	if !seen {
		t.Error("no request carried the token: the test proves nothing")
	}
}

func TestAuthorizationHeaders(t *testing.T) {
	var got []string
	pve, pbs := clients(t, proxmoxtest.Func(func(r *http.Request) (*http.Response, error) {
		got = append(got, r.Header.Get("Authorization"))
		return nil, io.EOF
	}))
	_, _ = pve.Version(t.Context())
	_, _ = pbs.Version(t.Context())
	want := []string{"PVEAPIToken=" + testToken + "=" + testSecret, "PBSAPIToken=" + testToken + ":" + testSecret}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got headers %q, want %q", got, want)
	}
}
