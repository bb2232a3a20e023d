package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// observer is the agent's eyes: probes, its own health, and the reports.
type observer struct {
	d       *daemon
	keep    *probes.Keeper
	tunnels *tunnels
	metrics *api.ProbeMetrics
	set     *probes.Set
	closed  *probes.Set // ports that must not be open
	uplink  *probes.Uplink
	guests  *guestAddresses
	opts    probes.Options
	roots   atomic.Pointer[x509.CertPool] // that members' browsers trust

	mu      sync.Mutex
	health  *probes.Health
	unwell  []string
	looked  time.Time // when health was last looked at
	disk    error     // what writing to the data directory said last
	wrote   time.Time // when
	version uint64    // of State that the targets were made from
	levels  levels
}

// levels keeps the durations that matter per site until the network changes.
type levels struct {
	version uint64
	bySite  map[network.SiteID][]time.Duration
}

func (d *daemon) openProbes(context.Context) error {
	t, err := d.openTunnels()
	if err != nil {
		return err
	}
	metrics, err := api.NewProbeMetrics(d.reg)
	if err != nil {
		return err
	}
	if err := api.RegisterTunnels(d.reg, t.metrics); err != nil {
		return err
	}
	keep, o := &probes.Keeper{}, &observer{}
	o.trust(d.conf.PublicCAFile, d.log)
	ask := probes.New(probes.Config{
		Dial: probes.NetDial, AgentTLS: d.tls.Client(), Now: time.Now, Keep: keep, Packets: metrics.Packets, Tunnel: t.probe,
		PublicRoots: o.roots.Load,
	})
	conf := probes.SetConfig{
		Probe: counted(ask, metrics), Misses: probes.DefaultMisses, Start: d.start,
		Rand: func(name string) *mathrand.Rand { return stream(d.boot, name) },
	}
	adaptive := conf
	adaptive.Rest = probes.DefaultRest
	o.d, o.keep, o.tunnels, o.metrics, o.closed = d, keep, t, metrics, probes.NewClosed(conf)
	o.set, o.uplink, o.health = probes.NewSet(adaptive), probes.NewUplink(conf), probes.NewHealth(d.conf.Lab.StartupGrace.D())
	o.opts = probes.Options{From: map[failover.Path][]netip.Addr{}, Pins: d.conf.Pins(), Tunnels: t.names()}
	d.probes = o
	d.probes.guests = &guestAddresses{
		state: d.node.State, site: d.conf.Site, interfaces: d.site.interfaces, changed: d.probes.again,
	}
	for path, addr := range map[failover.Path]netip.Addr{
		failover.PathMesh: d.conf.Dial.Mesh, failover.PathPublic: d.conf.Dial.Public, failover.PathLAN: d.conf.Dial.Mesh,
	} {
		if addr.IsValid() {
			d.probes.opts.From[path] = []netip.Addr{addr}
		}
	}
	return nil
}

// counted makes a metric of every probe.
func counted(ask probes.Func, m *api.ProbeMetrics) probes.Func {
	return func(ctx context.Context, t probes.Target) probes.Result {
		start := time.Now()
		r := ask(ctx, t)
		now := time.Now()
		m.Probed(api.ProbeSample{
			Site: t.Site, Target: t.Name, Probe: string(t.Kind), Path: t.Path, Seen: r.Seen, Took: now.Sub(start), RTT: r.RTT, Ahead: r.Ahead,
		}, now)
		return r
	}
}

// retarget brings the probes to what State declares.
func (o *observer) retarget(now time.Time) {
	s := o.d.node.State()
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Network == nil || s.Index == o.version {
		return
	}
	o.version = s.Index
	serving := map[network.GuestID]network.SiteID{}
	for g, p := range s.Guests {
		serving[g] = p.Serving
	}
	opts := o.opts
	opts.Guests = o.guests.addresses()
	for site, m := range s.Members {
		if m.Voter {
			opts.Voters = append(opts.Voters, site)
		}
	}
	o.aim(probes.Targets(s.Network, o.d.conf.Site, serving, opts), now)
	o.closed.Update(probes.ClosedTargets(s.Network, o.d.conf.Site, opts), now)
	o.uplink.Update(probes.AnchorTargets(s.Network, o.d.conf.Site, opts), now)
}

// again has the targets made anew although State has not changed.
func (o *observer) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.version = 0
}

// pin replaces the certificates that probes expect.
func (o *observer) pin(pins map[string]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opts.Pins, o.version = pins, 0
}

// pins returns the certificates that probes expect now.
func (o *observer) pins() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.opts.Pins)
}

// trust reads the authorities that members' browsers trust: at the next probe they count.
func (o *observer) trust(file string, log *slog.Logger) { o.roots.Store(publicRoots(file, log)) }

// aim replaces the targets, and drops the metrics of those that are gone.
func (o *observer) aim(targets []probes.Target, now time.Time) {
	type name struct {
		site   network.SiteID
		target string
	}
	kept := map[name]bool{}
	for _, t := range targets {
		kept[name{t.Site, t.Name}] = true
	}
	for _, p := range o.set.Steppers() {
		if t := p.Target(); !kept[name{t.Site, t.Name}] {
			o.metrics.Forget(t.Site, t.Name)
		}
	}
	o.set.Update(targets, now)
}

// writeEvery is how often the disk is tried while it works: a voter whose disk
// fails stops Raft at once anyway, and flash wears.
const writeEvery = 5 * time.Second

// look takes the agent's own pulse, about once a second.
func (o *observer) look(now time.Time) {
	o.mu.Lock()
	disk, due := o.disk, now.Sub(o.wrote) >= writeEvery
	o.mu.Unlock()
	if due || disk != nil {
		disk = o.writeDisk()
	}
	in := probes.Input{
		Wall: now, Mono: now.Sub(o.d.start), Late: o.set.TakeLate(now), Disk: disk, Well: o.uplink.Well(now),
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if due {
		o.wrote = now
	}
	o.disk = in.Disk
	o.health.Observe(in)
	o.unwell = o.health.Unwell(in.Mono)
	o.looked = now
}

// writeDisk proves that the data directory can be written.
func (o *observer) writeDisk() error {
	path := filepath.Join(o.d.conf.DataDir, "alive")
	if err := os.WriteFile(path, []byte(o.d.boot), 0o600); err != nil {
		return fmt.Errorf("write to data directory: %w", err)
	}
	return nil
}

// alive says whether the agent's own pulse was taken recently and the disk works.
func (o *observer) alive(now time.Time, within time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Sub(o.looked) < within && o.disk == nil
}

// local returns what this agent itself sees: why it is unwell, and the voters
// whose agents answer it.
func (o *observer) local() (unwell []string, reachable []failover.SiteID) {
	o.mu.Lock()
	unwell = o.unwell
	o.mu.Unlock()
	s := o.d.node.State()
	for _, ob := range o.set.Observations(time.Now()) {
		if ob.Target == "agent" && ob.Seen == failover.SeenUp && s.Members[ob.Site].Voter {
			reachable = append(reachable, ob.Site)
		}
	}
	return unwell, reachable
}

func (o *observer) gather(now time.Time) probes.Inputs {
	s := o.d.node.State()
	o.mu.Lock()
	unwell := o.unwell
	o.mu.Unlock()
	in := probes.Inputs{Observations: o.set.Observations(now), Unwell: unwell, Exposed: probes.Exposed(o.closed, now), Term: s.Term}
	if s.Network != nil {
		bySite := o.levelsOf(s)
		in.Levels = func(site network.SiteID) []time.Duration { return bySite[site] }
		in.ReturnAfter = s.Network.Policy.ReturnAfter.D()
	}
	suspects := s.Suspected()
	in.Suspicion = len(suspects) > 0
	o.set.Suspect(suspects, now)
	return in
}

// levelsOf computes the levels once per declared network.
func (o *observer) levelsOf(s *failover.State) map[network.SiteID][]time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.levels.bySite == nil || o.levels.version != s.NetworkVersion {
		o.levels = levels{version: s.NetworkVersion, bySite: map[network.SiteID][]time.Duration{}}
		for _, id := range s.Network.SiteIDs() {
			o.levels.bySite[id] = probes.Levels(s.Network, id, probes.DefaultEvery)
		}
	}
	return o.levels.bySite
}

func (o *observer) propose(ctx context.Context, r failover.Report) error {
	s := o.d.node.State()
	if _, ok := s.Members[o.d.conf.Site]; !ok {
		return errNotMember
	}
	_, err := o.d.node.Propose(failover.WithActor(ctx, "agent:"+string(o.d.conf.Site)), r)
	return err
}

var errNotMember = errors.New("this agent is no member of the group yet")

func (o *observer) run(ctx context.Context, g *errgroup.Group) {
	// A target that changes in any respect has another prober (probes.Set).
	itself := func(p *probes.Prober) *probes.Prober { return p }
	for _, steppers := range []func() []*probes.Prober{o.set.Steppers, o.uplink.Steppers, o.closed.Steppers} {
		c := drive.Crew[*probes.Prober, *probes.Prober]{
			Members: func(now time.Time) []*probes.Prober { o.retarget(now); return steppers() },
			Key:     itself,
			Drive:   func(ctx context.Context, p *probes.Prober) { drive.Probe(ctx, p) },
		}
		g.Go(func() error { return c.Run(ctx, o.d.node) })
	}
	g.Go(func() error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			o.look(time.Now())
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	reporter := &probes.ReportStepper{
		Reporter: probes.NewReporter(probes.ReporterConfig{Observer: o.d.conf.Site, Boot: o.d.boot, Version: version}),
		Gather:   o.gather,
		Propose:  o.propose,
		Failed: func(err error) {
			if !errors.Is(err, errNotMember) {
				o.d.log.Debug("report not recorded", "err", err)
			}
		},
	}
	g.Go(func() error { drive.Run(ctx, o.d.node, reporter); return nil })
	o.tunnels.run(ctx, g)
	g.Go(func() error { drive.Alone(ctx, o.guests); return nil })
	g.Go(func() error { <-ctx.Done(); o.keep.Close(); return nil })
}
