package cluster_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// wholeNet is a network of whole agents in one synctest bubble: real Raft and
// the real API over TLS, the code of production above it, wired as cmd/wwwd
// wires it, and the simulator's machines and invariants below.
type wholeNet struct {
	t      *testing.T
	seed   sim.Streams
	ground *sim.Ground
	net    *memNet
	ca     *cluster.CA
	dir    string
	agents map[failover.SiteID]*wholeAgent
	log    io.Writer       // of the agents; nil: nobody reads it
	bare   bool            // agents carry the log and do nothing with it
	ctx    context.Context // of what is beside the agents
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// wholeAgent is a site's agent: what survives its crashes, and its life.
type wholeAgent struct {
	w    *wholeNet
	site failover.SiteID
	addr string // of the mesh port
	dir  string
	boot int
	life atomic.Pointer[wholeLife]
}

// wholeLife is one process.
type wholeLife struct {
	*wholeAgent
	ctx    context.Context
	cancel context.CancelFunc
	dead   atomic.Bool
	disk   *disk
	node   *cluster.Node
	tls    *cluster.TLS
	http   *http.Transport
	dns    *dnsctl.Server
	pub    *dnsctl.Publisher
	clock  *agent.LogClock
	logger *slog.Logger
	g      errgroup.Group
	eyes   wholeEyes
	ended  chan struct{}
}

// disk is the store of a node. A black hole forgets what is written to it, as
// when the process that writes is dead and does not know it; a stalled one lets
// writes wait.
type disk struct {
	cluster.Store
	gone  atomic.Bool
	stall atomic.Pointer[chan struct{}]
}

func (d *disk) write(f func() error) error {
	if wait := d.stall.Load(); wait != nil {
		<-*wait
	}
	if d.gone.Load() {
		return nil
	}
	return f()
}

func (d *disk) StoreLogs(ls []*raft.Log) error {
	return d.write(func() error { return d.Store.StoreLogs(ls) })
}

func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *disk) DeleteRange(from, to uint64) error {
	return d.write(func() error { return d.Store.DeleteRange(from, to) })
}

func (d *disk) Set(k, v []byte) error { return d.write(func() error { return d.Store.Set(k, v) }) }

func (d *disk) SetUint64(k []byte, v uint64) error {
	return d.write(func() error { return d.Store.SetUint64(k, v) })
}

// hang has the disk stall, unless it does; the function that it returns ends that.
func (d *disk) hang() (cure func()) {
	wait := make(chan struct{})
	if !d.stall.CompareAndSwap(nil, &wait) {
		return func() {}
	}
	return func() {
		if d.stall.CompareAndSwap(&wait, nil) {
			close(wait)
		}
	}
}

// free lets everything pass that still waits for the disk.
func (d *disk) free() {
	if wait := d.stall.Swap(nil); wait != nil {
		close(*wait)
	}
}

// start begins a process on what the site's disk holds.
func (a *wholeAgent) start() {
	w := a.w
	a.boot++
	l := &wholeLife{wholeAgent: a, clock: &agent.LogClock{}, logger: quiet(), disk: &disk{}, ended: make(chan struct{})}
	if w.log != nil {
		l.logger = slog.New(slog.NewTextHandler(w.log, nil)).With("site", a.site, "boot", a.boot)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	begun := time.Now()
	var err error
	l.dns, err = dnsctl.NewServer(dnsctl.Config{Logger: l.logger, Now: func() time.Duration { return time.Since(begun) }})
	if err != nil {
		w.t.Errorf("open DNS of %s: %v", a.site, err)
		return
	}
	w.ground.Boots(a.site, l.dns)
	w.net.reset(hostOf(a.addr))
	l.tls = credentials(w.t, w.ca, a.site, a.dir, hostOf(a.addr), nil)
	mux := cluster.NewMux(w.net.listen(a.addr), l.tls, l.logger)
	if err := l.openNode(mux); err != nil {
		w.t.Errorf("open %s: %v", a.site, err)
		return
	}
	a.life.Store(l) // whole: others look at it from now on
	l.serve(mux)
	if !w.bare {
		l.steppers()
	}
	w.wg.Go(func() {
		defer close(l.ended)
		<-l.ctx.Done()
		l.http.CloseIdleConnections()
		if err := l.node.Close(); err != nil && !l.dead.Load() {
			w.t.Errorf("close %s: %v", a.site, err)
		}
		if err := l.g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("%s: %v", a.site, err)
		}
		l.http.CloseIdleConnections()
	})
}

func (l *wholeLife) openNode(mux *cluster.Mux) error {
	w := l.w
	dial := w.net.dialFrom(hostOf(l.addr))
	l.http = &http.Transport{
		DialContext: dial, TLSClientConfig: l.tls.Client(), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}
	client := func(addr string) *api.Client { return api.NewClient("https://"+addr, &http.Client{Transport: l.http}) }
	cfg := cluster.Config{
		Dir: l.dir, Site: l.site, Network: w.ground.Spec().Network, Advertise: l.addr,
		Listener: mux.Raft(), Dial: l.tls.DialRaft(dial),
		Forward: func(ctx context.Context, addr string, envelope []byte) (failover.Stamp, error) {
			return client(addr).Propose(ctx, envelope)
		},
		ForwardConfirm: func(ctx context.Context, addr string, t failover.Token) error { return client(addr).Confirm(ctx, t) },
		Logger:         l.logger, WallClock: time.Now,
		Exit: func(reason string) {
			w.ground.Tell("the agent of %s ends itself: %s", l.site, reason)
			l.die(false)
		},
	}
	cluster.WrapStore(&cfg, func(s cluster.Store) cluster.Store {
		l.disk.Store = s
		return l.disk
	})
	cluster.Observe(&cfg, func(s *failover.State, st failover.Stamp, c failover.Command, rejected error) {
		if !l.dead.Load() {
			w.ground.Applied(l.site, s, sim.Committed{Stamp: st, Command: c, Rejected: rejected})
		}
	})
	var err error
	l.node, err = cluster.Open(cfg)
	return err
}

// serve runs what listens on the mesh port.
func (l *wholeLife) serve(mux *cluster.Mux) {
	handler := api.NewHandler(api.Options{Backend: backend{l}, Raft: raftAPI{l.node}, Log: l.logger})
	server := api.NewMeshServer(handler, func(*x509.Certificate) error { return nil }, l.logger)
	l.g.Go(func() error { return mux.Run(l.ctx) })
	l.g.Go(func() error {
		<-l.ctx.Done()
		return server.Close()
	})
	l.g.Go(func() error {
		if err := server.Serve(mux.API()); !errors.Is(err, http.ErrServerClosed) && l.ctx.Err() == nil {
			return err
		}
		return nil
	})
}

// raftAPI answers what only other agents may ask.
type raftAPI struct{ node *cluster.Node }

func (r raftAPI) ProposeEnvelope(ctx context.Context, envelope []byte) (failover.Stamp, error) {
	return r.node.ProposeEnvelope(ctx, envelope)
}

func (r raftAPI) Confirm(ctx context.Context, t failover.Token) error {
	return r.node.ConfirmAsLeader(ctx, t)
}

func (r raftAPI) Join(context.Context, api.JoinRequest) error { return failover.ErrRefused }

type backend struct{ l *wholeLife }

func (b backend) State() *failover.State { return b.l.node.State() }

func (b backend) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	return b.l.node.Propose(ctx, c)
}

func (b backend) Now() time.Time { return time.Now() }

func (b backend) Node() api.Node {
	s := b.l.node.Stats()
	return api.Node{Boot: fmt.Sprint(b.l.boot), Role: s.Role, Term: s.Term, Commit: s.CommitIndex, Applied: s.StateIndex}
}

func (b backend) Local() failover.LocalView {
	since, heard := b.l.node.LastContact()
	return failover.LocalView{Site: b.l.site, HasLeader: heard, LastContact: since}
}

// steppers starts everything that moves on its own.
func (l *wholeLife) steppers() {
	loop := func(s agent.Stepper) {
		l.g.Go(func() error { drive.Run(l.ctx, l.node, s); return nil })
	}
	loop(&agent.Leader{Site: l.site, Log: l.node, Clock: l.clock, Logger: l.logger, Members: l.members})
	l.pub = &dnsctl.Publisher{Site: l.site, Log: l.node, Server: l.dns, Exchange: l.w.ground.Exchanger(l.site), Logger: l.logger}
	loop(l.pub)
	l.g.Go(func() error { l.publish(); return nil })
	l.openEyes(loop)
	for _, target := range l.w.ground.Targets() {
		if target == l.site {
			l.openHands(loop)
		}
	}
}

func (l *wholeLife) members() []agent.RaftMember {
	var out []agent.RaftMember
	for _, m := range l.node.Members() {
		if m.Site != "" {
			out = append(out, agent.RaftMember{Site: m.Site, ServerID: m.ServerID, Address: m.Address, Voter: m.Suffrage == cluster.Voter})
		}
	}
	return out
}

// publish keeps the DNS server at the newest State.
func (l *wholeLife) publish() {
	for l.ctx.Err() == nil {
		changed := l.node.Changed()
		l.pub.Publish(l.node.State())
		if !l.dead.Load() {
			l.w.ground.Answers(l.site)
		}
		timer := time.NewTimer(5 * time.Second)
		select {
		case <-l.ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *wholeLife) alive() bool { return !l.dead.Load() }

// die ends a process at this instant: nothing that it still does leaves it, its
// disk keeps what was written. silent: its machine is gone, too.
func (l *wholeLife) die(silent bool) {
	if l.dead.Swap(true) {
		return
	}
	l.disk.gone.Store(true)
	l.w.net.kill(hostOf(l.addr), silent)
	l.w.ground.Dies(l.site)
	l.disk.free()
	l.cancel()
}

// keep starts the agent again whenever its process has ended and its machine is
// on, as systemd does.
func (a *wholeAgent) keep(ctx context.Context) {
	r := a.w.seed.Stream("back " + string(a.site))
	for {
		select {
		case <-a.life.Load().ended:
		case <-ctx.Done():
			return
		}
		back := time.Second + time.Duration(r.Int64N(int64(12*time.Second)))
		for first := true; first || !a.w.ground.Runs(a.site); first = false {
			if sleep(ctx, back) != nil {
				return
			}
			back = time.Second
		}
		a.start()
	}
}

func (w *wholeNet) open(t *testing.T, seed uint64, size sim.Size) {
	w.t, w.seed, w.agents = t, sim.NewStreams(seed), map[failover.SiteID]*wholeAgent{}
	w.ctx, w.stop = context.WithCancel(context.Background())
	time.Sleep(time.Until(sim.Epoch))
	var err error
	w.ground, err = sim.NewGround(sim.GroundConfig{
		Options: sim.Options{Seed: seed, Places: size, Verbose: w.log}, Idle: w.bare, Now: time.Now, Sleep: sleep,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.net = newMemNet(0)
	r := w.seed.Stream("transit")
	lossy := r.Float64() * 0.03
	w.net.transit = func(string, string) time.Duration {
		d := 3*time.Millisecond + time.Duration(r.Int64N(int64(30*time.Millisecond)))
		for r.Float64() < lossy {
			d += 200*time.Millisecond + d // sent again, after twice as long each time
		}
		return d
	}
	w.ca = newCA(t, w.ground.Spec().Network)
	for _, site := range w.ground.Sites() {
		a := &wholeAgent{w: w, site: site, addr: w.ground.Spec().Sites[site].Mesh.String(), dir: filepath.Join(w.dir, string(site))}
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w.agents[site] = a
		a.start()
		w.wg.Go(func() { a.keep(w.ctx) })
	}
	w.wg.Go(w.follow)
}

// follow tells the ground who leads, and has agents die whose machine is off.
func (w *wholeNet) follow() {
	for sleep(w.ctx, 250*time.Millisecond) == nil {
		leader, newest := failover.SiteID(""), uint64(0)
		for _, site := range w.ground.Sites() {
			l := w.agents[site].life.Load()
			if l.dead.Load() {
				continue
			}
			if !w.ground.Runs(site) {
				l.die(true)
				continue
			}
			if term, ready := l.node.Lead(); ready && term > newest {
				leader, newest = site, term
			}
		}
		w.ground.Leads(leader)
	}
}

// leader returns the newest term's leader, nil if nobody leads.
func (w *wholeNet) leader() *wholeLife {
	var leader *wholeLife
	newest := uint64(0)
	for _, site := range w.ground.Sites() {
		l := w.agents[site].life.Load()
		if term, ready := l.node.Lead(); !l.dead.Load() && ready && term > newest {
			leader, newest = l, term
		}
	}
	return leader
}

// close ends everything; time passes until the last timer has run out.
func (w *wholeNet) close() {
	w.stop()
	for _, site := range w.ground.Sites() {
		l := w.agents[site].life.Load()
		l.dead.Store(true)
		l.disk.free()
		l.cancel()
	}
	w.net.reset("")
	w.wg.Wait()
	w.net.reset("")
	time.Sleep(10 * time.Minute)
}

// sleep waits on the bubble's clock.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
