package site

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// guestServer is the web server inside a running guest.
type guestServer struct {
	host string
	view lab.GuestView
	srv  *http.Server
}

// same tells whether the server is that of the guest as it runs now.
func (g *guestServer) same(o *guestServer) bool {
	return g.host == o.host && g.view.ID == o.view.ID
}

// leased returns the address that a guest has at this site.
func (p *process) leased(pve *lab.PVE, id int) (netip.Addr, bool) {
	v, ok := pve.Guest(id)
	if !ok {
		return netip.Addr{}, false
	}
	return p.addressOf(v)
}

// addressOf returns the address that a guest has at this site: one that is plugged
// into its structure's VLAN. Nowhere else would DHCP know it.
func (p *process) addressOf(v lab.GuestView) (netip.Addr, bool) {
	member, ok := p.lab.Guest(v.Inside)
	if !ok {
		return netip.Addr{}, false
	}
	for _, n := range v.Nets {
		if n.Connected && n.Tag == p.lab.VLAN(member.Structure) {
			addr := p.lab.address(p.index, member)
			return addr, addr.IsValid()
		}
	}
	return netip.Addr{}, false
}

// running returns the guests that should answer now, by address.
func (p *process) running() map[netip.AddrPort]*guestServer {
	want := map[netip.AddrPort]*guestServer{}
	for _, m := range p.machines {
		if m.pve == nil || m.power.isOff() {
			continue
		}
		for _, v := range m.pve.Guests() {
			addr, ok := p.addressOf(v)
			at := netip.AddrPortFrom(addr, p.lab.Ports().Guest)
			if _, taken := want[at]; ok && v.Serving && !taken {
				want[at] = &guestServer{host: m.Name, view: v}
			}
		}
	}
	return want
}

// reconcile opens the ports of guests that have come up and closes those of guests
// that have gone. Only the ticker calls it.
func (p *process) reconcile(ctx context.Context) {
	want := p.running()
	p.mu.Lock()
	have := maps.Clone(p.serving)
	p.mu.Unlock()
	changed := false
	for at, g := range have {
		if w, ok := want[at]; !ok || !w.same(g) {
			g.stop()
			delete(have, at)
			changed = true
			p.log.Info("guest is down", "guest", g.view.Inside, "host", g.host, "address", at)
		}
	}
	for at, g := range want {
		if _, ok := have[at]; ok {
			continue
		}
		if err := p.open(ctx, at, g); err != nil {
			p.log.Warn("guest cannot open its port", "guest", g.view.Inside, "err", err)
			continue
		}
		have[at] = g
		changed = true
		p.log.Info("guest is up", "guest", g.view.Inside, "host", g.host, "id", g.view.ID, "address", at)
	}
	if changed {
		p.publish(have)
	}
}

func (p *process) publish(have map[netip.AddrPort]*guestServer) {
	names := map[string]netip.AddrPort{}
	for at, g := range have {
		for _, name := range g.view.HostNames {
			names[name] = at
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serving, p.names = have, names
}

func (p *process) open(ctx context.Context, at netip.AddrPort, g *guestServer) error {
	ln, err := p.listen(ctx, at)
	if err != nil {
		return err
	}
	g.srv = &http.Server{
		Handler: g.view, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(p.errorLog().Handler(), slog.LevelDebug),
	}
	p.wg.Go(func() {
		if err := g.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			p.log.Warn("guest's web server ended", "guest", g.view.Inside, "err", err)
		}
	})
	return nil
}

// stop closes the port at once, as a guest that loses its power does.
func (g *guestServer) stop() { _ = g.srv.Close() }

func (p *process) stopGuests() {
	p.mu.Lock()
	have := p.serving
	p.serving, p.names = map[netip.AddrPort]*guestServer{}, map[string]netip.AddrPort{}
	p.mu.Unlock()
	for _, g := range have {
		g.stop()
	}
}

// guestOf returns where the running guest that declares a public name answers.
func (p *process) guestOf(name string) (netip.AddrPort, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.names[name]
	return at, ok
}
