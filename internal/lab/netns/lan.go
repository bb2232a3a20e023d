package netns

import (
	"context"
	"fmt"
	"net/netip"
)

// LAN is a local network of a site with a real machine on it, which answers ARP and ping as one does
// (what plays the hosts' APIs answers everybody from within the site's own machine). It stands for
// the switch that a structure's host and the agent's share: the host's own network, and a VLAN of its guests.
type LAN struct {
	Host, Guest netip.Addr   // of the machine
	Witnesses   []netip.Addr // the router's, in the same networks
	machine     string       // namespace
}

// lanNetworks are the two networks of a LAN: 172.30.K.0/24 and 172.31.K.0/24 at the K-th site.
var lanNetworks = []int{30, 31}

// AddMachine puts a machine on a site's local network.
func (w *World) AddMachine(ctx context.Context, site string) (LAN, error) {
	if err := w.known(site); err != nil {
		return LAN{}, err
	}
	here, gate, k := w.site(site), w.router(site), octet(w.index(site))
	addr := func(network, host int) string { return fmt.Sprintf("172.%d.%d.%d", lanNetworks[network], k, host) }
	out := LAN{
		Host: netip.MustParseAddr(addr(0, 10)), Guest: netip.MustParseAddr(addr(1, 11)),
		Witnesses: []netip.Addr{netip.MustParseAddr(addr(0, 1)), netip.MustParseAddr(addr(1, 1))}, machine: here + "m",
	}
	if err := w.add(ctx, out.machine); err != nil {
		return LAN{}, err
	}
	if err := batch(
		ctx, here,
		"link add switch type bridge", "link set switch up",
		"addr add "+addr(0, 2)+"/24 dev switch", "addr add "+addr(1, 2)+"/24 dev switch",
		"link add port1 type veth peer name eth0 netns "+out.machine, "link set port1 master switch", "link set port1 up",
		"link add port2 type veth peer name lan2 netns "+gate, "link set port2 master switch", "link set port2 up",
		// By itself the kernel believes for half a minute that who has answered ARP is there.
		"ntable change name arp_cache dev switch base_reachable 2000 delay_probe 1000",
	); err != nil {
		return LAN{}, err
	}
	if err := batch(ctx, out.machine, "addr add "+out.Host.String()+"/24 dev eth0", "addr add "+out.Guest.String()+"/24 dev eth0", "link set eth0 up"); err != nil {
		return LAN{}, err
	}
	return out, batch(ctx, gate, "addr add "+addr(0, 1)+"/24 dev lan2", "addr add "+addr(1, 1)+"/24 dev lan2", "link set lan2 up")
}

// HostGone takes the machine's own address away; its guest goes on answering.
func (w *World) HostGone(ctx context.Context, l LAN) error {
	return batch(ctx, l.machine, "addr del "+l.Host.String()+"/24 dev eth0")
}

// AllGone takes the machine's cable: nobody answers any more.
func (w *World) AllGone(ctx context.Context, l LAN) error {
	return batch(ctx, l.machine, "link set eth0 down")
}
