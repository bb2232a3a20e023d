package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/probes"
)

// daemon holds the parts of a running agent. serve is the only wiring.
type daemon struct {
	conf   *config.Config
	log    *slog.Logger
	start  time.Time
	boot   string
	id     string // server id
	tls    *cluster.TLS
	mux    *cluster.Mux
	node   *cluster.Node
	peers  *peers
	clock  *agent.LogClock
	probes *observer
	site   *siteHands
	dns    *dnsctl.Server
	pub    *dnsctl.Publisher
	sign   map[string]dnsctl.Exchanger // by the key's name in wwwd.yaml
	ask    dnsctl.Exchanger            // of DNS servers and resolvers, from the mesh address
	reg    *prometheus.Registry
	tell   *teller
	calls  *api.CallMetrics

	authority authority
	opened    atomic.Pointer[cluster.Node] // node, for those who may ask before there is one
	restart   chan *againError

	hostStops  func(context.Context) bool // whether the machine goes down with the agent
	leaderless time.Duration              // see leaderlessFor
}

// serve runs the agent until ctx ends. Where the agent is to begin anew, it does
// so in the same process: stepping down, a rebuilt group.
func serve(ctx context.Context, set *settings, stderr io.Writer, stops func(context.Context) bool) error {
	for {
		err := serveOnce(ctx, set, stderr, stops)
		again, ok := errors.AsType[*againError](err)
		if !ok || ctx.Err() != nil {
			return err
		}
		if again.do != nil {
			if err := again.do(); err != nil {
				newLogger(set, stderr).Error("what was to be done between two runs failed", "why", again.why, "err", err)
			}
		}
		pause := time.NewTimer(again.pause)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

func serveOnce(ctx context.Context, set *settings, stderr io.Writer, stops func(context.Context) bool) error {
	conf := set.conf
	d := &daemon{
		conf: conf, start: time.Now(), boot: newBoot(), clock: &agent.LogClock{}, reg: prometheus.NewRegistry(), hostStops: stops,
		restart: make(chan *againError, 1), leaderless: set.leaderless,
	}
	d.log = newLogger(set, stderr).With("site", conf.Site)
	var err error
	if d.calls, err = api.NewCallMetrics(d.reg); err != nil {
		return err
	}
	if err := d.onboard(ctx); err != nil {
		return ended(err)
	}
	for _, step := range []func(context.Context) error{
		d.openMesh, d.openNode, d.openHands, d.openDNS, d.openProbes, d.openTelling, d.openMetrics,
	} {
		if err := step(ctx); err != nil {
			return errors.Join(err, d.close())
		}
	}
	reloads, err := api.NewReloadMetrics(d.reg, time.Now())
	if err != nil {
		return errors.Join(err, d.close())
	}
	run, stop := d.lastWords(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(run)
	d.runServers(ctx, g)
	d.runSteppers(ctx, g)
	d.log.Info("agent runs", "version", version, "server", d.id, "mesh", conf.Listen.Mesh)
	notifyReady(d.log)
	g.Go(func() error { return d.awaitRestart(ctx) })
	g.Go(func() error { return d.awaitReload(ctx, set, reloads) })
	err = g.Wait()
	if _, again := errors.AsType[*againError](err); !again {
		notifyStopping()
	}
	return errors.Join(ended(err), d.close())
}

// ended is the error of a run that was not simply asked to end.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func newBoot() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b)
}

func newLogger(set *settings, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: &set.level}
	if set.conf.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// openMesh loads the certificates and opens the one mesh port.
func (d *daemon) openMesh(ctx context.Context) error {
	if err := cluster.FinishRebuild(d.conf.DataDir, time.Now()); err != nil {
		return err
	}
	var err error
	if d.id, err = cluster.ServerID(d.conf.DataDir); err != nil {
		return err
	}
	ca, err := os.ReadFile(d.conf.TLS.CA)
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	if err := d.loadAuthority(ca); err != nil {
		return err
	}
	pair, err := d.ownCertificate()
	if err != nil {
		return err
	}
	d.tls, err = cluster.NewTLS(cluster.TLSConfig{Self: d.identity(), Pair: pair, CA: ca, Now: time.Now, Revoked: d.revoked})
	if err != nil {
		return err
	}
	listener, err := cluster.ListenMesh(ctx, d.conf.Listen.Mesh)
	if err != nil {
		return fmt.Errorf("listen on the mesh: %w", err)
	}
	d.mux = cluster.NewMux(listener, d.tls, d.log.With("component", "mesh"))
	d.peers = newPeers(d.tls, cluster.NewDialer(d.conf.Dial.Mesh))
	return nil
}

func (d *daemon) openNode(context.Context) error {
	metrics, err := api.NewRaftMetrics(d.reg, d.raftSample)
	if err != nil {
		return err
	}
	d.node, err = cluster.Open(cluster.Config{
		Dir: d.conf.DataDir, Site: d.conf.Site, Network: d.conf.Network, Advertise: d.conf.Advertise.String(),
		Listener: d.mux.Raft(), Dial: d.tls.DialRaft(cluster.NewDialer(d.conf.Dial.Mesh).DialContext),
		Forward: d.peers.propose, ForwardConfirm: d.peers.confirm,
		Logger: d.log.With("component", "raft"), WallClock: time.Now, Applied: metrics.Applied,
		Exit: func(reason string) {
			d.log.Error("ending the process", "reason", reason)
			os.Exit(exitWatchdog)
		},
	})
	d.opened.Store(d.node)
	return err
}

func (d *daemon) openMetrics(context.Context) error {
	d.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return errors.Join(
		api.RegisterMetrics(d.reg, d.backend()), api.RegisterZoneMetrics(d.reg, d.zones()), api.RegisterDoctor(d.reg, d.backend(), d.site.doctor.Facts),
	)
}

func (d *daemon) close() error {
	var errs []error
	if d.node != nil {
		errs = append(errs, d.node.Close())
	}
	return errors.Join(errs...)
}

// runServers starts everything that listens.
func (d *daemon) runServers(ctx context.Context, g *errgroup.Group) {
	logger := d.log.With("component", "api")
	handler := api.NewHandler(api.Options{Backend: d.backend(), Raft: raftAPI{d}, Doctor: d.site.doctor, Zones: d.zones(), Access: access{d}, Files: files{d}, Browser: browser{d}, Log: logger})
	g.Go(func() error { return d.mux.Run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, api.NewMeshServer(handler, d.revoked, logger), d.mux.API()) })
	g.Go(func() error {
		return serveHTTP(ctx, api.NewJoinServer(d, logger), d.mux.Join())
	})
	g.Go(func() error {
		l, err := api.ListenSocket(ctx, d.conf.Socket)
		if err != nil {
			return err
		}
		return serveHTTP(ctx, api.NewSocketServer(d.localRoutes(handler), logger), l)
	})
	if d.conf.Listen.Metrics.IsValid() {
		g.Go(func() error {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.conf.Listen.Metrics.String())
			if err != nil {
				return fmt.Errorf("listen for metrics: %w", err)
			}
			metrics := promhttp.HandlerFor(d.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
			return serveHTTP(ctx, api.NewPageServer(d.backend(), metrics, d.log.With("component", "page")), l)
		})
	}
	if d.dns != nil {
		g.Go(func() error { return d.dns.Run(ctx) })
	}
}

// serveHTTP serves until ctx ends, then gives running requests a moment.
func serveHTTP(ctx context.Context, s *http.Server, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.Shutdown(stop); err != nil {
		_ = s.Close() // what did not end in time is cut
	}
	<-done
	return context.Cause(ctx)
}

// runSteppers starts everything that moves on its own.
func (d *daemon) runSteppers(ctx context.Context, g *errgroup.Group) {
	loop := func(s agent.Stepper) {
		g.Go(func() error { drive.Run(ctx, d.node, s); return nil })
	}
	loop(&agent.Leader{
		Site: d.conf.Site, Log: d.node, Clock: d.clock, Logger: d.log.With("component", "leader"), Members: d.members,
	})
	loop(d.pub)
	loop(d.expel())
	loop(d.credentials())
	g.Go(func() error { return d.publish(ctx) })
	d.probes.run(ctx, g)
	d.site.run(ctx, g)
	d.tell.run(ctx, g)
	g.Go(func() error { return watchdog(ctx, d) })
}

// members is the Raft configuration as State should have it.
func (d *daemon) members() []agent.RaftMember {
	var out []agent.RaftMember
	for _, m := range d.node.Members() {
		if m.Site == "" {
			continue
		}
		out = append(out, agent.RaftMember{
			Site: m.Site, ServerID: m.ServerID, Address: m.Address, Voter: m.Suffrage == cluster.Voter,
		})
	}
	return out
}

func stream(boot, name string) *mathrand.Rand {
	var seed [32]byte
	copy(seed[:], filepath.Join(boot, name))
	return mathrand.New(mathrand.NewChaCha8(seed))
}

var _ failover.Log = (*cluster.Node)(nil)

var _ = probes.DefaultEvery
