package probes

import "context"

// tunnel tells what the WireGuard counters say of the target's site. They are
// read elsewhere and for all sites at once (internal/mesh), since a router
// answers slowly and to one caller at a time.
func (p prober) tunnel(ctx context.Context, t Target) Result {
	if p.Tunnel == nil {
		return unknown("no WireGuard interface is declared here (wwwd.yaml: wireguard, router)")
	}
	r := p.Tunnel(ctx, t)
	r.Note = clean(r.Note)
	return r
}
