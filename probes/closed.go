package probes

import (
	"net/netip"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Rates of the checks that a port is closed. They are for people and in no hurry.
const (
	closedEvery   = 10 * time.Minute
	closedTimeout = 2 * time.Second
)

// metricsPort is the agent's own default (internal/config).
const metricsPort = 9978

// ClosedTargets returns the ports that must not take connections on the public
// addresses of the other sites: SSH, PVE, PBS and the agents' own, but what the
// network declares to stand there. Addresses of the loopback are left out: on
// them the services of one machine answer for all sites of a lab.
func ClosedTargets(spec *network.Spec, self network.SiteID, o Options) []Target {
	b := builder{spec: spec, self: self, opts: o}
	for _, id := range spec.SiteIDs() {
		site := spec.Sites[id]
		declared := declaredEndpoints(site)
		for _, addr := range []netip.Addr{site.Public.IPv4, site.Public.IPv6} {
			if id == self || !addr.IsValid() || addr.IsLoopback() {
				continue
			}
			for _, port := range slices.Compact([]uint16{22, 8006, 8007, site.Mesh.Port(), metricsPort}) {
				at := netip.AddrPortFrom(addr, port)
				if port != 0 && !slices.Contains(declared, at) {
					b.add(id, failover.PathPublic, at, Target{Name: "closed:" + at.String(), Kind: KindKnock})
				}
			}
		}
	}
	for i := range b.out {
		b.out[i].Every, b.out[i].Timeout = closedEvery, closedTimeout
	}
	slices.SortFunc(b.out, compareTargets)
	return b.out
}

// declaredEndpoints lists what a site is declared to offer.
func declaredEndpoints(site network.Site) []netip.AddrPort {
	out := []netip.AddrPort{site.Mesh, site.DNS, netip.AddrPortFrom(site.Router.Address, site.Router.Port)}
	for _, a := range []netip.Addr{site.Public.IPv4, site.Public.IPv6} {
		out = append(out, netip.AddrPortFrom(a, site.Public.HTTPS))
	}
	for _, h := range site.Hosts {
		out = append(out, h.Dropbear)
		if h.PVE != nil {
			out = append(out, endpoint(h.PVE.URL))
		}
		if h.PBS != nil {
			out = append(out, endpoint(h.PBS.URL))
		}
	}
	return out
}

// NewClosed returns the Set that makes these checks: one answer is enough.
func NewClosed(c SetConfig) *Set {
	c.Misses, c.Rest = 1, 0
	return NewSet(c)
}

// Exposed lists what a Set of ClosedTargets found open, in order.
func Exposed(closed *Set, now time.Time) []failover.Exposure {
	var out []failover.Exposure
	for _, p := range closed.Steppers() {
		if p.Observe(now).Seen == failover.SeenUp {
			out = append(out, failover.Exposure{Site: p.target.Site, Address: p.target.Addr})
		}
	}
	return out
}
