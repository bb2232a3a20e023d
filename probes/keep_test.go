package probes_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// way forwards connections to an agent and can lose what goes one way, as a
// network does: without closing anything.
type way struct {
	to             string
	opened         atomic.Int64
	loseTo, loseFr atomic.Bool
	mu             sync.Mutex
	conns          []net.Conn
}

func (w *way) carry(c net.Conn) {
	w.mu.Lock()
	to := w.to
	w.mu.Unlock()
	w.opened.Add(1)
	back, err := net.Dial("tcp4", to)
	if err != nil {
		resets(c)
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, c, back)
	w.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { pump(back, c, &w.loseTo) })
	both.Go(func() { pump(c, back, &w.loseFr) })
	go func() { both.Wait(); c.Close(); back.Close() }()
}

// pump copies until an end of stream, but for what is lost.
func pump(to, from net.Conn, lose *atomic.Bool) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if !lose.Load() {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// end closes every connection, as a process that ends does.
func (w *way) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// keptAgent is a prober of an agent behind a way, on a clock that the test moves.
type keptAgent struct {
	*way
	ask    func(within time.Duration) probes.Result
	now    *atomic.Int64
	status *atomic.Int64
	serial *atomic.Int64
	start  time.Time
	clock  atomic.Pointer[time.Time] // that the agent tells; nil: an older one
}

func newKeptAgent(t *testing.T) *keptAgent {
	t.Helper()
	ca := newAuthority(t)
	k := &keptAgent{way: &way{}, now: &atomic.Int64{}, status: &atomic.Int64{}, serial: &atomic.Int64{}}
	k.status.Store(200)
	server := &tls.Config{
		Certificates: []tls.Certificate{ca.issue("www://net/moulin/1")}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	}
	k.to = serveHTTP(t, server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if at := k.clock.Load(); at != nil {
			w.Header().Set("Www-Time", at.UTC().Format(time.RFC3339Nano))
		}
		w.WriteHeader(int(k.status.Load()))
		_, _ = io.WriteString(w, `{"site":"moulin"}`)
	})).String()
	addr := serve(t, k.carry)
	t.Cleanup(k.end)
	start := time.Now()
	k.start = start
	keep := &probes.Keeper{}
	t.Cleanup(keep.Close)
	probe := probes.New(probes.Config{
		Dial: probes.NetDial, Keep: keep,
		Now: func() time.Time { return start.Add(time.Duration(k.now.Load())) },
		AgentTLS: &tls.Config{
			Certificates: []tls.Certificate{ca.issue("www://net/temoin/2")}, RootCAs: ca.pool(), MinVersion: tls.VersionTLS13,
		},
	})
	k.ask = func(within time.Duration) probes.Result {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return probe(ctx, probes.Target{Site: "moulin", Name: "agent", Path: failover.PathMesh, Kind: probes.KindAgent, Addr: addr, URL: "/v1/health"})
	}
	return k
}

// enough is for what must be answered.
const enough = 20 * time.Second

func (k *keptAgent) want(t *testing.T, what string, within time.Duration, seen failover.Seen, opened int64) {
	t.Helper()
	r := k.ask(within)
	// What was opened may not have been accepted yet.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(5 * time.Second); k.opened.Load() < opened; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: %d connections, want %d", what, k.opened.Load(), opened)
		}
	}
	if r.Seen != seen || k.opened.Load() != opened {
		t.Errorf("%s: %s (%s) over connection number %d, want %s over number %d", what, r.Seen, r.Note, k.opened.Load(), seen, opened)
	}
}

func TestAKeptConnectionIsUsedAgainAndReplaced(t *testing.T) {
	k := newKeptAgent(t)
	for range 5 {
		k.want(t, "in time", enough, u, 1)
		k.now.Add(int64(time.Second))
	}
	k.status.Store(http.StatusServiceUnavailable)
	k.want(t, "an answer is judged", enough, r, 1)
	k.status.Store(http.StatusOK)
	k.now.Add(int64(9 * time.Second))
	k.want(t, "still young", enough, u, 1)
	k.now.Add(int64(9 * time.Second))
	k.want(t, "still young", enough, u, 1)
	k.now.Add(int64(9 * time.Second))
	k.want(t, "half a minute old: a new connection must be possible", enough, u, 2)
	k.now.Add(int64(11 * time.Second))
	k.want(t, "not asked for long", enough, u, 2)
}

// TestAKeptConnectionHidesNoOneWayCut: what is lost in either direction is a
// miss at once, on the open connection and on the next.
// The prober's clock stands still here, so that the difference is exact.
func TestClocksAreCompared(t *testing.T) {
	k := newKeptAgent(t)
	for _, want := range []time.Duration{0, 1500 * time.Millisecond, -time.Hour, 0} { // the first on a new connection, the others on the kept one
		if want != 0 {
			at := k.start.Add(want)
			k.clock.Store(&at)
		} else {
			k.clock.Store(nil)
		}
		if r := k.ask(enough); r.Seen != failover.SeenUp || r.Ahead != want {
			t.Errorf("%s, ahead by %s, want %s", r.Seen, r.Ahead, want)
		}
	}
	k.status.Store(503)
	if r := k.ask(enough); r.Ahead != 0 {
		t.Errorf("ahead by %s without a clock", r.Ahead)
	}
}

func TestAKeptConnectionHidesNoOneWayCut(t *testing.T) {
	for name, lose := range map[string]func(*way) *atomic.Bool{
		"what we send":     func(w *way) *atomic.Bool { return &w.loseTo },
		"what they answer": func(w *way) *atomic.Bool { return &w.loseFr },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeptAgent(t)
			k.want(t, "before", enough, u, 1)
			lose(k.way).Store(true)
			k.want(t, "cut", brief, d, 1)
			k.want(t, "cut, anew", brief, d, 2)
			lose(k.way).Store(false)
			k.want(t, "healed", enough, u, 3)
			k.want(t, "and kept", enough, u, 3)
		})
	}
}

// TestARestartedAgentIsNoMiss: the connection ended with the old process; the
// new one answers the same probe.
func TestARestartedAgentIsNoMiss(t *testing.T) {
	k := newKeptAgent(t)
	k.want(t, "before", enough, u, 1)
	k.end()
	k.want(t, "restarted", enough, u, 2)
	k.end()
	k.mu.Lock()
	k.to = closedPort(t).String()
	k.mu.Unlock()
	k.want(t, "dead", enough, r, 3)
}

func TestTooManyProbesAreNotTried(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	probe := probes.New(probes.Config{
		Now: time.Now, Limit: 1,
		Dial: func(context.Context, string, string, netip.Addr) (net.Conn, error) {
			close(entered)
			<-leave
			return nil, io.EOF
		},
	})
	target := probes.Target{Kind: probes.KindTCP, Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() { probe(ctx, target) })
	<-entered
	if got := probe(ctx, target); got.Seen != x || got.Note != "too many probes are under way here" {
		t.Errorf("the second at once: %+v", got)
	}
	close(leave)
	wait.Wait()
}

// TestKnock: it is up by the connection alone and leaves nothing behind; a
// refusal and silence are what they are.
func TestKnock(t *testing.T) {
	var packets atomic.Int64
	probe := probes.New(probes.Config{Now: time.Now, Dial: probes.NetDial, Packets: func(n int) {
		if n < 0 {
			t.Errorf("%d packets", n)
		}
		packets.Add(int64(n))
	}})
	gone := make(chan error, 1)
	open := serve(t, func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		gone <- err
		c.Close()
	})
	for _, tt := range []struct {
		name    string
		at      netip.AddrPort
		within  time.Duration
		want    failover.Seen
		packets int64
	}{
		{"open", open, enough, u, 4}, {"closed", closedPort(t), enough, r, 2}, {"nobody", blackHole(t), brief, d, 1},
	} {
		packets.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), tt.within)
		got := probe(ctx, probes.Target{Kind: probes.KindKnock, Addr: tt.at})
		cancel()
		if got.Seen != tt.want || packets.Load() != tt.packets {
			t.Errorf("%s: %s (%s), %d packets; want %s, %d", tt.name, got.Seen, got.Note, packets.Load(), tt.want, tt.packets)
		}
	}
	if err := <-gone; err == nil || err == io.EOF {
		t.Errorf("the server saw %v, want a reset", err)
	}
}
