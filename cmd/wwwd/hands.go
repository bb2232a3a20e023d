package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// siteHands is what acts on this site's own Proxmox. Where that stands is
// declared in the network; the tokens stand in wwwd.yaml.
type siteHands struct {
	d        *daemon
	doctor   *siteDoctor
	house    atomic.Pointer[agent.House]
	machines atomic.Pointer[agent.Machines] // in use now
}

func (d *daemon) openHands(context.Context) error {
	d.site = &siteHands{d: d}
	d.site.doctor = newSiteDoctor(d.site)
	return nil
}

// endpoints are the declared places of a target's PVE and PBS.
type endpoints struct{ pveURL, node, pbsURL, datastore string }

// declared returns where this site's Proxmox stands, if the site can be a target.
func (h *siteHands) declared() (endpoints, bool) {
	s := h.d.node.State()
	if s.Network == nil || h.d.conf.PVE.TokenFile == "" {
		return endpoints{}, false
	}
	_, target, ok := s.Network.Target(h.d.conf.Site)
	_, store, hasStore := s.Network.Store(h.d.conf.Site)
	if !ok || !hasStore {
		return endpoints{}, false
	}
	return endpoints{target.PVE.URL, target.PVE.Node, store.PBS.URL, store.PBS.Datastore}, true
}

// run works as long as the declaration stays, and begins anew when it changes.
// A Proxmox that does not answer keeps nobody from voting.
func (h *siteHands) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { h.doctor.run(ctx); return nil })
	g.Go(func() error {
		var running endpoints
		stop := func() {}
		var work *errgroup.Group
		end := func() error {
			stop()
			if work == nil {
				return nil
			}
			return work.Wait()
		}
		for {
			changed := h.d.node.Changed()
			if want, ok := h.declared(); ok && want != running {
				if err := end(); err != nil {
					return err
				}
				sub, cancel := context.WithCancel(ctx)
				stop, work, running = cancel, &errgroup.Group{}, want
				if err := h.work(sub, work, want); err != nil {
					h.use(agent.Machines{Err: err})
					h.d.log.Error("this site's Proxmox cannot be used", "err", err)
				}
			}
			select {
			case <-ctx.Done():
				return end()
			case <-changed:
			}
		}
	})
}

func (h *siteHands) work(ctx context.Context, g *errgroup.Group, at endpoints) error {
	d := h.d
	logger := d.log.With("component", "proxmox")
	pve, err := h.openPVE(at)
	if err != nil {
		return err
	}
	pbs, err := h.openPBS(at)
	if err != nil {
		return err
	}
	h.use(agent.Machines{PVE: pve, PBS: pbs})
	checker := agent.NetChecker{Dial: (&net.Dialer{}).DialContext}
	executor := &agent.Executor{
		Site: d.conf.Site, Log: d.node, PVE: pve, PBS: pbs, Clock: d.clock, Logger: logger,
		Checker: checker, Answers: agent.NetChecker{Dial: dialFrom(d.conf.Dial.Mesh)}.Answers, Fences: d.fences(), Programs: d.programs(),
		Helper: roothelper.Client{Path: d.conf.HelperSocket}, Hands: h.hands(), NewID: rand.Text,
	}
	readiness := &agent.Readiness{
		Site: d.conf.Site, Log: d.node, PVE: pve, PBS: pbs, PBSNode: d.conf.PBS.Node, Every: readyEvery(d.conf), Logger: logger,
		Hands: slices.Collect(maps.Keys(executor.Hands)),
	}
	copies := &agent.Copies{
		Site: d.conf.Site, Log: d.node, Hosts: h.eyes(pve, executor.Hands), Every: readyEvery(d.conf), Clock: d.clock, Logger: logger,
	}
	g.Go(func() error { drive.Run(ctx, d.node, readiness); return nil })
	g.Go(func() error { drive.Run(ctx, d.node, copies); return nil })
	away := &agent.Away{Site: d.conf.Site, Log: d.node, PVE: pve, Clock: d.clock, Logger: logger}
	g.Go(func() error { drive.Run(ctx, d.node, away); return nil })
	house := &agent.House{
		Site: d.conf.Site, Log: d.node, Hosts: copies.Hosts, PBS: pbs, Clock: d.clock, Alone: func() bool { return !d.hasLeader() },
	}
	h.house.Store(house)
	g.Go(func() error { drive.Run(ctx, d.node, house); return nil })
	stopper := &agent.StopAlone{
		Site: d.conf.Site, Log: d.node, Hosts: map[network.HostID]*proxmox.PVE{}, Clock: d.clock, Logger: logger, Alone: house.Alone,
	}
	for host, hand := range executor.Hands {
		stopper.Hosts[host] = hand.PVE
	}
	if own, _, ok := d.node.State().Network.Target(d.conf.Site); ok && pve != nil {
		stopper.Hosts[own] = pve
	}
	g.Go(func() error { drive.Run(ctx, d.node, stopper); return nil })
	workers := drive.Crew[*agent.Worker, string]{
		Members: executor.Workers,
		Key:     func(w *agent.Worker) string { return w.Name() },
		Drive:   func(ctx context.Context, w *agent.Worker) { drive.Run(ctx, d.node, w) },
	}
	g.Go(func() error { return workers.Run(ctx, d.node) })
	return nil
}

// interfaces asks this site's Proxmox for the addresses of a guest; ok is false
// while there is none to ask.
func (h *siteHands) interfaces(ctx context.Context, kind proxmox.Kind, id int) (addrs []netip.Addr, ok bool, err error) {
	m := h.machines.Load()
	if m == nil || m.PVE == nil {
		return nil, false, nil
	}
	addrs, err = m.PVE.Interfaces(ctx, kind, id)
	return addrs, true, err
}

// use tells the doctor what to read.
func (h *siteHands) use(m agent.Machines) {
	h.machines.Store(&m)
	h.doctor.again()
}

func readyEvery(conf *config.Config) time.Duration {
	if conf.ReadyEvery > 0 {
		return conf.ReadyEvery.D()
	}
	return network.Duration(time.Minute).D()
}

// transport is that of one Proxmox; backend is "pve" or "pbs".
func (h *siteHands) transport(t proxmox.TLS, backend string) (http.RoundTripper, error) {
	next, err := proxmox.Transport(t, dialFrom(h.d.conf.Dial.Mesh))
	if err != nil {
		return nil, err
	}
	return h.d.calls.Counted(backend, next), nil
}

func (h *siteHands) openPVE(at endpoints) (*proxmox.PVE, error) {
	conf, err := h.pveConfig(h.d.conf.PVE, at.pveURL, at.node)
	if err != nil {
		return nil, err
	}
	return proxmox.NewPVE(conf)
}

// others opens the site's further PVEs that wwwd.yaml has a token for.
func (h *siteHands) others() []agent.Other {
	s := h.d.node.State()
	if s.Network == nil {
		return nil
	}
	var out []agent.Other
	for _, id := range slices.Sorted(maps.Keys(h.d.conf.Inventory)) {
		host, ok := s.Network.Sites[h.d.conf.Site].Hosts[id]
		if !ok || host.PVE == nil {
			h.d.log.Warn("inventory names no PVE of this site", "host", id, "site", h.d.conf.Site)
			continue
		}
		o := agent.Other{Host: id}
		var conf proxmox.Config
		if conf, o.Err = h.pveConfig(h.d.conf.Inventory[id], host.PVE.URL, host.PVE.Node); o.Err == nil {
			o.PVE, o.Err = proxmox.NewPVE(conf)
		}
		out = append(out, o)
	}
	return out
}

// eyes are the PVEs of this site on which the agent may look at guests.
func (h *siteHands) eyes(own *proxmox.PVE, hands map[network.HostID]agent.Hand) map[network.HostID]*proxmox.PVE {
	out := map[network.HostID]*proxmox.PVE{}
	for _, o := range h.others() {
		if o.PVE != nil {
			out[o.Host] = o.PVE
		}
	}
	for id, hand := range hands {
		out[id] = hand.PVE
	}
	if id, _, ok := h.d.node.State().Network.Target(h.d.conf.Site); ok {
		out[id] = own
	}
	return out
}

// hands opens the site's PVEs whose guests the agent may move. One that cannot be opened
// is told; a move that needs it is taken back.
func (h *siteHands) hands() map[network.HostID]agent.Hand {
	out := map[network.HostID]agent.Hand{}
	s := h.d.node.State()
	for _, id := range slices.Sorted(maps.Keys(h.d.conf.Hands)) {
		c := h.d.conf.Hands[id]
		host, ok := s.Network.Sites[h.d.conf.Site].Hosts[id]
		if !ok || host.PVE == nil {
			h.d.log.Warn("hands names no PVE of this site", "host", id, "site", h.d.conf.Site)
			continue
		}
		conf, err := h.pveConfig(c.PVE(), host.PVE.URL, host.PVE.Node)
		var pve *proxmox.PVE
		if err == nil {
			pve, err = proxmox.NewPVE(conf)
		}
		if err != nil {
			h.d.log.Error("the guests of this host cannot be moved by plan", "host", id, "err", err)
			continue
		}
		out[id] = agent.Hand{PVE: pve, Backup: c.Backup}
	}
	return out
}

func (h *siteHands) pveConfig(c config.PVE, url, node string) (proxmox.Config, error) {
	id, secret, err := proxmox.ReadTokenFile(c.TokenFile)
	if err != nil {
		return proxmox.Config{}, err
	}
	t, err := h.transport(proxmox.TLS{CAFile: c.CAFile, Fingerprint: c.Fingerprint}, "pve")
	if err != nil {
		return proxmox.Config{}, err
	}
	conf := proxmox.Config{URL: url, Node: node, TokenID: id, Secret: secret, Transport: t}
	if h.d.conf.Listen.Mesh.Addr().IsLoopback() {
		// A lab on one machine: its guests have loopback addresses, too, but not
		// the one that every service of the machine listens on.
		conf.Reachable = func(a netip.Addr) bool { return a.IsLoopback() && a != netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
	}
	return conf, nil
}

func (h *siteHands) openPBS(at endpoints) (*proxmox.PBS, error) {
	c := h.d.conf.PBS
	if c.TokenFile == "" {
		return nil, fmt.Errorf("open PBS: pbs.token_file is not set, and guests are restored from this site's own PBS")
	}
	id, secret, err := proxmox.ReadTokenFile(c.TokenFile)
	if err != nil {
		return nil, err
	}
	t, err := h.transport(proxmox.TLS{CAFile: c.CAFile, Fingerprint: c.Fingerprint}, "pbs")
	if err != nil {
		return nil, err
	}
	return proxmox.NewPBS(proxmox.Config{URL: at.pbsURL, TokenID: id, Secret: secret, Transport: t}, at.datastore)
}
