package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/sim"
	"github.com/raoull/worldwidewelsh/probes"
)

// openHands starts what acts on this site's Proxmox, if it can be a target.
func (l *wholeLife) openHands(loop func(agent.Stepper)) {
	spec, ground := l.w.ground.Spec(), l.w.ground
	_, target, _ := spec.Target(l.site)
	_, store, _ := spec.Store(l.site)
	transport := ground.Transport(l.site, l.alive)
	pveToken, pbsToken, secret := sim.Tokens()
	pve, err := proxmox.NewPVE(proxmox.Config{URL: target.PVE.URL, Node: target.PVE.Node, TokenID: pveToken, Secret: secret, Transport: transport})
	if err != nil {
		l.w.t.Error(err)
		return
	}
	pbs, err := proxmox.NewPBS(proxmox.Config{URL: store.PBS.URL, TokenID: pbsToken, Secret: secret, Transport: transport}, store.PBS.Datastore)
	if err != nil {
		l.w.t.Error(err)
		return
	}
	checker, helper := ground.Hands(l.site, l.alive)
	executor := &agent.Executor{Site: l.site, Log: l.node, PVE: pve, PBS: pbs, Clock: l.clock, Logger: l.logger, Checker: checker, Helper: helper}
	loop(&agent.Readiness{Site: l.site, Log: l.node, PVE: pve, PBS: pbs, PBSNode: "pbs-" + string(l.site), Every: 30 * time.Second, Logger: l.logger})
	workers := drive.Crew[*agent.Worker, string]{
		Members: executor.Workers,
		Key:     func(w *agent.Worker) string { return w.Name() },
		Drive:   func(ctx context.Context, w *agent.Worker) { drive.Run(ctx, l.node, w) },
	}
	l.g.Go(func() error { return workers.Run(l.ctx, l.node) })
}

// wholeEyes are an agent's probes, its own pulse and its reports.
type wholeEyes struct {
	set    *probes.Set
	uplink *probes.Uplink
	health *probes.Health
	keep   *probes.Keeper

	mu     sync.Mutex
	unwell []string
	index  uint64 // of the State that the targets were made from
}

func (l *wholeLife) openEyes(loop func(agent.Stepper)) {
	e := &l.eyes
	start := time.Now()
	e.keep, e.health = &probes.Keeper{}, probes.NewHealth(0)
	dial := l.w.net.dialFrom(hostOf(l.addr))
	// The agents are asked for real, over TLS; everything else answers from the ground.
	real := probes.New(probes.Config{
		Dial: func(ctx context.Context, _, addr string, _ netip.Addr) (net.Conn, error) {
			return dial(ctx, "mem", addr)
		},
		AgentTLS: l.tls.Client(), Now: time.Now, Keep: e.keep,
	})
	ground := l.w.ground.Prober(l.site)
	conf := probes.SetConfig{
		Misses: probes.DefaultMisses, Start: start,
		Probe: func(ctx context.Context, t probes.Target) probes.Result {
			if t.Kind == probes.KindAgent {
				return real(ctx, t)
			}
			return ground(ctx, t)
		},
		Rand: func(name string) *rand.Rand {
			return l.w.seed.Stream(fmt.Sprintf("probe %s %d %s", l.site, l.boot, name))
		},
	}
	e.uplink = probes.NewUplink(conf)
	conf.Rest = probes.DefaultRest
	e.set = probes.NewSet(conf)
	for _, steppers := range []func() []*probes.Prober{e.set.Steppers, e.uplink.Steppers} {
		crew := drive.Crew[*probes.Prober, *probes.Prober]{
			Members: func(now time.Time) []*probes.Prober { l.retarget(now); return steppers() },
			Key:     func(p *probes.Prober) *probes.Prober { return p },
			Drive:   func(ctx context.Context, p *probes.Prober) { drive.Probe(ctx, p) },
		}
		l.g.Go(func() error { return crew.Run(l.ctx, l.node) })
	}
	l.g.Go(func() error {
		drive.Alone(l.ctx, drive.Func(func(_ context.Context, now time.Time) time.Time {
			mono := now.Sub(start)
			e.health.Observe(probes.Input{Wall: now, Mono: mono, Late: e.set.TakeLate(now), Well: e.uplink.Well(now)})
			e.mu.Lock()
			defer e.mu.Unlock()
			e.unwell = e.health.Unwell(mono)
			return now.Add(time.Second)
		}))
		return nil
	})
	loop(&probes.ReportStepper{
		Reporter: probes.NewReporter(probes.ReporterConfig{Observer: l.site, Boot: fmt.Sprintf("%s-%d", l.site, l.boot), Version: "bubble"}),
		Gather:   l.gather,
		Propose: func(ctx context.Context, r failover.Report) error {
			if _, ok := l.node.State().Members[l.site]; !ok {
				return errors.New("no member yet")
			}
			_, err := l.node.Propose(failover.WithActor(ctx, "agent:"+string(l.site)), r)
			return err
		},
	})
	l.g.Go(func() error { <-l.ctx.Done(); e.keep.Close(); return nil })
}

// retarget brings the probes to what State declares.
func (l *wholeLife) retarget(now time.Time) {
	e, s := &l.eyes, l.node.State()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Network == nil || s.Index == e.index {
		return
	}
	e.index = s.Index
	serving := map[network.GuestID]network.SiteID{}
	for g, p := range s.Guests {
		serving[g] = p.Serving
	}
	var opts probes.Options
	for _, site := range l.w.ground.Sites() {
		if s.Members[site].Voter {
			opts.Voters = append(opts.Voters, site)
		}
	}
	e.set.Update(probes.Targets(s.Network, l.site, serving, opts), now)
	e.uplink.Update(probes.AnchorTargets(s.Network, l.site, opts), now)
}

func (l *wholeLife) gather(now time.Time) probes.Inputs {
	e, s := &l.eyes, l.node.State()
	e.mu.Lock()
	unwell := e.unwell
	e.mu.Unlock()
	in := probes.Inputs{Observations: e.set.Observations(now), Unwell: unwell, Term: s.Term}
	if s.Network == nil {
		return in
	}
	in.ReturnAfter = s.Network.Policy.ReturnAfter.D()
	in.Levels = func(site network.SiteID) []time.Duration { return probes.Levels(s.Network, site, probes.DefaultEvery) }
	suspects := map[network.SiteID]bool{}
	for _, site := range s.Network.SiteIDs() {
		d := s.Domains[failover.SiteDomain(site)]
		if d.Level >= failover.LevelSuspect || d.Lost.Index > 0 {
			suspects[site] = true
		}
	}
	in.Suspicion = len(suspects) > 0
	e.set.Suspect(suspects, now)
	return in
}
