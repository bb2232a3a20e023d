package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// pipes is a listener in memory, for servers on virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inMemory serves the API with its own limits; who is at the other end stands in a header.
func inMemory(t *testing.T, o api.Options) *pipes {
	t.Helper()
	o.Log = quiet()
	h := api.NewHandler(o)
	routes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := r.Header.Get("As"); {
		case strings.HasPrefix(name, "www://"):
			r = r.WithContext(api.WithActor(r.Context(), api.Actor{Kind: api.ActorAgent, Name: name}))
		case name != "":
			r = r.WithContext(api.WithActor(r.Context(), api.Actor{Kind: api.ActorUnix, Name: name}))
		}
		h.ServeHTTP(w, r)
	})
	s := api.NewSocketServer(routes, quiet())
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(p) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	return p
}

// named is a client's transport that says who it is.
type named struct {
	name string
	next http.RoundTripper
}

func (a named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("As", a.name)
	return a.next.RoundTrip(r)
}

func (p *pipes) client(t *testing.T, name string) *http.Client {
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil }}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: named{name, tr}}
}

func status(t *testing.T, c *http.Client) (code int, header http.Header) {
	t.Helper()
	resp, err := c.Get("http://wwwd/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}

// The stream of events outlives the limits of a request, says that it is alive, and
// goes on where a reader left it.
func TestEventsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		p := inMemory(t, api.Options{Backend: b})
		c := api.NewClient("http://wwwd", p.client(t, "root"))
		got := make(chan failover.Event, 10)
		follow := func(q *api.EventQuery) (stop func() error) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.Follow(ctx, q, func(e failover.Event) error { got <- e; return nil }) }()
			return func() error { cancel(); return <-done }
		}
		q := &api.EventQuery{}
		stop := follow(q)
		time.Sleep(5 * time.Minute) // longer than any limit, and silent
		if err := b.Apply(failover.SetPause{Site: "quai"}); err != nil {
			t.Fatal(err)
		}
		first := <-got
		if first.Site != "quai" || first.Stamp.Index != b.State().Index || q.Since != fmt.Sprint(first.Stamp.Index) {
			t.Errorf("got %+v since %s, want the pause of quai, the newest entry", first, q.Since)
		}
		if err := stop(); !errors.Is(err, api.ErrNoAgent) && !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if err := b.Apply(failover.EndPause{Site: "quai"}, failover.SetPause{Site: "moulin"}); err != nil {
			t.Fatal(err)
		}
		stop = follow(q)
		if e := <-got; e.Site != "quai" || e.Stamp.Index <= first.Stamp.Index {
			t.Errorf("after coming back: got %+v, want the end of the pause", e)
		}
		if e := <-got; e.Site != "moulin" {
			t.Errorf("got %+v, want the pause of moulin", e)
		}
		_ = stop()
		_ = follow(&api.EventQuery{Since: "0", Site: "moulin"})()
	})
}

// A caller who reads or writes too slowly holds nothing for long.
func TestSlowCallersAreCutOff(t *testing.T) {
	for _, tt := range []struct {
		name, send string
		drip       string // then, once a second
		reads      bool
		within     time.Duration
	}{
		{"nothing", "", "", true, 6 * time.Second},
		{"header that does not end", "GET /v1/health HTTP/1.1\r\nHost: wwwd\r\n", "X: y\r\n", true, 6 * time.Second},
		{"body that does not end", "POST /v1/pause HTTP/1.1\r\nHost: wwwd\r\nAs: root\r\nContent-Length: 5000\r\n\r\n", " ", true, 31 * time.Second},
		{"answer that is not read", "GET /v1/status HTTP/1.1\r\nHost: wwwd\r\nAs: root\r\n\r\n", "", false, 61 * time.Second},
		{"stream that is not read", "GET /v1/events/stream?since=0 HTTP/1.1\r\nHost: wwwd\r\nAs: root\r\n\r\n", "", false, 11 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := inMemory(t, api.Options{Backend: newBackend(t)})
				conn, began := p.dial(), time.Now()
				gone := make(chan time.Duration, 1)
				if tt.reads {
					go func() { _, _ = io.Copy(io.Discard, conn); gone <- time.Since(began) }()
				}
				if _, err := conn.Write([]byte(tt.send)); err != nil {
					t.Fatal(err)
				}
				if !tt.reads {
					time.Sleep(tt.within)
					gone <- tt.within
				}
				for tt.drip != "" {
					if _, err := conn.Write([]byte(tt.drip)); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				if after := <-gone; after > tt.within {
					t.Errorf("cut off after %s, want within %s", after, tt.within)
				}
				// Only what the pipe still held comes, then the end.
				if rest, err := io.ReadAll(bufio.NewReader(conn)); err != nil && !errors.Is(err, io.ErrClosedPipe) || len(rest) > 64<<10 {
					t.Errorf("after that: %d bytes, %v", len(rest), err)
				}
				_ = conn.Close()
			})
		})
	}
}

// Each caller may ask for so much; one does not take another's share, and agents are
// never refused.
func TestRatesPerCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := api.Rates{Person: api.Rate{Every: 2, Burst: 3}, Nobody: api.Rate{Every: 1, Burst: 1}, Agent: api.Rate{Every: 2, Burst: 1}}
		p := inMemory(t, api.Options{Backend: newBackend(t), Rates: r})
		root, other, nobody, agent := p.client(t, "root"), p.client(t, "camille"), p.client(t, ""), p.client(t, "www://assos/quai/1")
		for range 3 {
			if code, _ := status(t, root); code != http.StatusOK {
				t.Fatalf("within the burst: %d", code)
			}
		}
		if code, head := status(t, root); code != http.StatusTooManyRequests || head.Get("Retry-After") != "1" {
			t.Errorf("over it: %d, %v", code, head)
		}
		if code, _ := status(t, other); code != http.StatusOK {
			t.Errorf("another person: %d", code)
		}
		for _, want := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
			if code, _ := status(t, nobody); code != want {
				t.Errorf("nobody: %d, want %d", code, want)
			}
		}
		time.Sleep(time.Second)
		for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
			if code, _ := status(t, root); code != want {
				t.Errorf("a second later: %d, want %d", code, want)
			}
		}
		began := time.Now()
		for range 5 {
			if code, _ := status(t, agent); code != http.StatusOK {
				t.Errorf("an agent: %d", code)
			}
		}
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("an agent had 5 answers in %s, want it to wait", took)
		}
	})
}

// A caller keeps a few streams open and no more, and gets a place back.
func TestStreamsPerCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, api.Options{Backend: newBackend(t)})
		c := p.client(t, "root")
		open := func() *http.Response {
			resp, err := c.Get("http://wwwd/v1/events/stream")
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		var streams []*http.Response
		for range 4 {
			streams = append(streams, open())
		}
		fifth := open()
		if fifth.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a fifth stream: %s", fifth.Status)
		}
		for _, s := range append(streams, fifth) {
			if err := s.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		again := open()
		if again.StatusCode != http.StatusOK {
			t.Errorf("after the others have ended: %s", again.Status)
		}
		_ = again.Body.Close()
	})
}
