package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return network.SortedKeys(m) }

func isRejected(err error) bool {
	_, ok := errors.AsType[*failover.RejectedError](err)
	return ok
}

// transport takes an agent's requests to the machines of its own site, on the
// caller's goroutine, and does to them what the faults in force say.
type transport struct {
	w *World
	s *Site
	r *rand.Rand
}

// hangs is what a request costs that is never answered: the caller's deadline.
const hangs = 35 * time.Second

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.w.charge(between(t.r, 3*time.Millisecond, 60*time.Millisecond))
	var h http.Handler = t.s.raoull
	where := "pve:" + string(t.s.name)
	if req.URL.Port() == "8007" {
		h, where = t.s.pbs, "pbs:"+string(t.s.name)
		t.s.pbs.Advance(t.w.loop.Now()) // pulls that were asked for
	} else if req.URL.Hostname() == hostAddr(t.s.index, 0) {
		h, where = t.s.structure, "home:"+string(t.s.name)
	}
	if !t.s.host || !t.s.power || strings.HasPrefix(where, "home:") && !t.s.own {
		t.w.charge(3 * time.Second)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	}
	if err := t.strike(where); err != nil {
		return nil, err
	}
	body, err := copyBody(req)
	if err != nil {
		return nil, err
	}
	res, err := lab.InProcess(lab.WithFaults(where, h, t.w.faults)).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	hint := lab.TakeHint(res.Header)
	t.w.charge(hint.Delay)
	t.done(where, req, body, res, hint)
	life := t.s.agent.life
	if at := life.at; at != "" && t.w.paying != nil {
		life.at = ""
		t.s.agent.dies("after " + at)
	}
	switch hint.Reply {
	case lab.ReplyDropped:
		return nil, io.ErrUnexpectedEOF
	case lab.ReplyHangs:
		t.w.charge(hangs)
		return nil, context.DeadlineExceeded
	}
	return res, nil
}

// copyBody returns what a request carries, which can still be read once more.
func copyBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// strike puts the fault in force that strikes this request of a worker.
func (t *transport) strike(where string) error {
	at := t.s.agent.life.at
	if t.w.strike == nil || at == "" || t.w.paying == nil || !strings.Contains(t.w.paying.Name(), ": worker ") {
		return nil
	}
	f, ok := t.w.strike(t.s, where, at)
	if !ok {
		return nil
	}
	return t.w.faults.Add(f)
}

// done tells the trace and the invariants what a request has done.
func (t *transport) done(where string, req *http.Request, body []byte, res *http.Response, hint lab.Hint) {
	path := strings.TrimPrefix(req.URL.Path, "/api2/json")
	line := where + " " + req.Method + " " + path + " → " + res.Status
	if hint.Reply != lab.ReplyArrives {
		line += " (" + string(hint.Reply) + ")"
	}
	t.w.stats.Calls++
	if req.Method == http.MethodGet {
		t.w.trace.add(t.w.loop.Now(), line)
		if t.w.opts.Calls {
			t.w.tell("%s", line)
		}
	} else {
		t.w.tell("%s", line)
		if res.Header.Get("Content-Type") == "text/html" {
			return // no answer of Proxmox, which has not seen the request
		}
		t.w.check.effect(t.s, where, req, path, res.StatusCode, body)
	}
	if hint.Reply != lab.ReplyArrives {
		t.w.cover.count(coverReply, "%s", hint.Reply)
	}
	if strings.HasPrefix(hint.Crash, "home:") {
		t.w.crashOwn(t.s, between(t.r, 20*time.Second, 90*time.Second))
	} else if hint.Crash != "" {
		t.w.loop.In(0, "crash "+hint.Crash, func() { t.w.crashHost(t.s, between(t.r, 20*time.Second, 90*time.Second)) })
	}
}

// checkGuest asks the guests of a site in process.
type checkGuest struct{ a *Agent }

// Check implements agent.Checker.
func (c checkGuest) Check(ctx context.Context, raw string, status int, expect string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	g, err := c.find(u.Hostname())
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
	if err != nil {
		return err
	}
	res, err := lab.InProcess(g).RoundTrip(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if status != 0 && res.StatusCode != status || !strings.Contains(string(body), expect) {
		return fmt.Errorf("check service %s: status %d, want %d with %q", raw, res.StatusCode, status, expect)
	}
	c.a.w.check.checked(c.a.site, g)
	return nil
}

// Connect implements agent.Checker.
func (c checkGuest) Connect(_ context.Context, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	g, err := c.find(host)
	if err == nil {
		c.a.w.check.checked(c.a.site, g)
	}
	return err
}

func (c checkGuest) find(addr string) (lab.GuestView, error) {
	c.a.w.charge(5 * time.Millisecond)
	now := c.a.w.loop.Now()
	for _, p := range []*lab.PVE{c.a.site.raoull, c.a.site.structure} {
		p.Advance(now)
	}
	g, ok := c.a.site.running(addr)
	if !ok {
		return g, fmt.Errorf("check service: %s: connection refused", addr)
	}
	return g, nil
}

// exchanger asks the other agents' DNS servers in process, and those that take updates.
type exchanger struct{ a *Agent }

// Exchange implements dnsctl.Exchanger.
func (x exchanger) Exchange(_ context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	w, self := x.a.w, x.a.site.name
	if n := w.primaries.at(server); n != nil {
		return n.talk(x.a.site, m)
	}
	for i, id := range w.ids {
		if server != fmt.Sprintf("%s:53", publicAddr(i)) {
			continue
		}
		there := w.sites[id]
		switch {
		case !w.net.passes(self, id, failover.PathMesh) || !there.host || there.agent.up && there.agent.frozen:
			w.charge(2 * time.Second)
			return nil, fmt.Errorf("ask %s: %w", server, context.DeadlineExceeded)
		case !there.agent.up:
			return nil, fmt.Errorf("ask %s: %w", server, syscall.ECONNREFUSED)
		}
		w.charge(w.net.took(self, id))
		switch there.dns.how {
		case dnsRefuses:
			refusal := new(dns.Msg)
			refusal.SetRcode(m, dns.RcodeRefused)
			return refusal, nil
		case dnsLags:
			return there.dns.old.Respond(m.Copy()), nil
		}
		return there.agent.life.dns.Respond(m.Copy()), nil
	}
	return nil, fmt.Errorf("ask %s: no such server", server)
}

// logger writes what the production code logs into the trace, if it is wanted.
func (w *World) logger(site string) *slog.Logger {
	if w.opts.Verbose == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(traceHandler{w: w, site: site})
}

type traceHandler struct {
	w    *World
	site string
}

func (traceHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle writes a record beside the trace: the hash does not depend on it.
func (h traceHandler) Handle(_ context.Context, r slog.Record) error {
	line := fmt.Sprintf("%9.3f   %s: %s", h.w.loop.Now().Sub(Epoch).Seconds(), h.site, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	_, err := fmt.Fprintln(h.w.opts.Verbose, line)
	return err
}

// WithAttrs implements slog.Handler.
func (h traceHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h traceHandler) WithGroup(string) slog.Handler { return h }
