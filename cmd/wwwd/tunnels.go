package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/mesh"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// tunnels are the readers of WireGuard that this agent has: of the machine's
// own interface ("agent") and of the site's router ("router").
type tunnels struct {
	d        *daemon
	watchers map[string]*mesh.Watcher
	router   *mesh.RouterOS // nil: the site's router is not read
}

func (d *daemon) openTunnels() (*tunnels, error) {
	t := &tunnels{d: d, watchers: map[string]*mesh.Watcher{}}
	if name := d.conf.WireGuard.Interface; name != "" {
		t.watchers["agent"] = &mesh.Watcher{Start: d.start, Reader: mesh.Local{Interface: name, Now: time.Now}}
	}
	if d.conf.Router == (config.Router{}) {
		return t, nil
	}
	r, err := d.openRouter()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Loading the configuration has warned: a file that is missing costs the site an explanation, not its voice.
		d.log.Warn("the router is not read", "err", err)
		return t, nil
	case err != nil:
		return nil, err
	}
	t.router = r
	t.watchers["router"] = &mesh.Watcher{Start: d.start, Reader: r}
	return t, nil
}

func (d *daemon) openRouter() (*mesh.RouterOS, error) {
	return d.routerOf(d.conf.Router)
}

// routerOf opens a router as wwwd.yaml describes it.
func (d *daemon) routerOf(c config.Router) (*mesh.RouterOS, error) {
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("read the router's password: %w", err)
	}
	rc := mesh.RouterConfig{
		URL: c.URL, User: c.User, Password: string(bytes.TrimRight(password, "\r\n")), Fingerprint: c.Fingerprint,
		Interface: c.Interface, Dial: dialFrom(d.conf.Dial.Mesh), Now: time.Now,
		Wrap: func(next http.RoundTripper) http.RoundTripper { return d.calls.Counted("router", next) },
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the router's authority: %w", err)
		}
		rc.CA = x509.NewCertPool()
		if !rc.CA.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the router's authority: %s holds no certificate in PEM", c.CAFile)
		}
	}
	return mesh.NewRouterOS(rc)
}

// names are those of probes.Options.Tunnels.
func (t *tunnels) names() []string { return slices.Sorted(maps.Keys(t.watchers)) }

// probe tells what the counters say of the tunnel to a target's site.
func (t *tunnels) probe(_ context.Context, target probes.Target) probes.Result {
	_, end, _ := strings.Cut(target.Name, ":")
	w := t.watchers[end]
	s := t.d.node.State()
	if w == nil || s.Network == nil {
		return probes.Result{Seen: failover.SeenUnknown, Note: "no WireGuard interface is read here"}
	}
	p, err := w.Tell(time.Now(), addressesOf(s.Network, target.Site)...)
	if err != nil {
		return probes.Result{Seen: failover.SeenUnknown, Note: strings.ReplaceAll(err.Error(), "\n", ": ")}
	}
	r := probes.Result{Seen: failover.SeenUnknown, Note: p.Note}
	switch p.Signal {
	case mesh.SignalWorks:
		r.Seen = failover.SeenUp
	case mesh.SignalFrozen:
		r.Seen = failover.SeenDown
	}
	return r
}

// addressesOf are those by which a tunnel to a site is known: its agent's, or
// its router's where the agent's traffic takes another way.
func addressesOf(spec *network.Spec, site network.SiteID) []netip.Addr {
	s := spec.Sites[site]
	return []netip.Addr{s.Mesh.Addr(), s.Router.Address}
}

// metrics lists what was last read, by site where one is known.
func (t *tunnels) metrics() []api.TunnelPeer {
	s := t.d.node.State()
	var out []api.TunnelPeer
	for _, end := range t.names() {
		all, at, _ := t.watchers[end].Peers()
		for _, p := range all {
			out = append(out, api.TunnelPeer{
				Peer: peerName(s, p), Reader: end, Interface: p.Interface, State: string(p.Signal),
				Handshake: p.Handshake, At: at, Rx: p.Rx, Tx: p.Tx,
			})
		}
	}
	return out
}

func peerName(s *failover.State, p mesh.Watched) string {
	if s.Network != nil {
		for _, site := range s.Network.SiteIDs() {
			for _, a := range addressesOf(s.Network, site) {
				if _, ok := mesh.For([]mesh.Peer{p.Peer}, a); ok && a.IsValid() {
					return string(site)
				}
			}
		}
	}
	if p.Name != "" {
		return p.Name
	}
	return p.PublicKey
}

func (t *tunnels) run(ctx context.Context, g *errgroup.Group) {
	for _, end := range t.names() {
		w := t.watchers[end]
		g.Go(func() error {
			said := ""
			drive.Alone(ctx, drive.Func(func(ctx context.Context, now time.Time) time.Time {
				next := w.Step(ctx, now)
				said = t.tell(end, w, said)
				return next
			}))
			return nil
		})
	}
}

// tell logs a reader's trouble when it changes, and a peer that moved.
func (t *tunnels) tell(end string, w *mesh.Watcher, said string) string {
	all, _, err := w.Peers()
	text := ""
	if err != nil {
		text = err.Error()
	}
	log := t.d.log.With("component", "mesh", "reader", end)
	switch {
	case text != "" && text != said:
		log.Warn("WireGuard cannot be read", "err", err)
	case text == "" && said != "":
		log.Info("WireGuard can be read again")
	}
	if text == "" {
		for _, p := range all {
			if p.Roamed {
				log.Info("WireGuard peer has another address", "peer", p.PublicKey, "name", p.Name, "endpoint", p.Endpoint)
			}
		}
	}
	return text
}
