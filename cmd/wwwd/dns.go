package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// answersPerSecond bounds equal answers over UDP to one network that is not the
// members' own, so that the server is no amplifier.
const answersPerSecond = 50

// openDNS reads the keys, opens the embedded server and makes the publisher.
func (d *daemon) openDNS(context.Context) error {
	logger := d.log.With("component", "dns")
	asker := dnsctl.NetExchanger{Dial: dialKnown(d.conf)}
	plain := d.counted(asker)
	d.ask = plain
	keys, err := readKeys(d.conf)
	if err != nil {
		return err
	}
	d.sign = map[string]dnsctl.Exchanger{}
	for name, key := range keys {
		signing, err := dnsctl.NewSigningExchanger(asker, key, time.Now)
		if err != nil {
			return err
		}
		d.sign[name] = d.counted(signing)
	}
	var listen []string
	for _, a := range d.conf.Listen.DNS {
		listen = append(listen, a.String())
	}
	if len(listen) > 0 {
		conf := dnsctl.Config{
			Listen: listen, Logger: logger,
			OnNotify:  func(zone string) { d.pub.Nudge(zone) },
			RateLimit: dnsctl.RateLimit{PerSecond: answersPerSecond, Exempt: ownNetworks()},
		}
		for _, key := range keys {
			conf.TransferKeys = append(conf.TransferKeys, key)
		}
		if d.dns, err = dnsctl.NewServer(conf); err != nil {
			return err
		}
		d.dns.SetSecondaries(nil) // nobody, until State says who
	}
	d.pub = &dnsctl.Publisher{Site: d.conf.Site, Log: d.node, Server: d.dns, Logger: logger, Exchange: plain, Sign: d.signer}
	return nil
}

// dialKnown dials from the mesh address where the kernel would let it out on the
// mesh: from an address of the mesh a server on the internet is not reached.
func dialKnown(conf *config.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	mesh := dialFrom(conf.Dial.Mesh)
	free := dialFrom(netip.Addr{})
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(addr)
		if err != nil || to.Addr().IsLoopback() || isOwn(to.Addr()) && to.Addr().Is4() == conf.Dial.Mesh.Is4() {
			return mesh(ctx, network, addr)
		}
		return free(ctx, network, addr)
	}
}

// ownNetworks are addresses that no stranger on the internet has: loopback,
// private, carrier-grade NAT (RFC 6598), unique local and link-local.
func ownNetworks() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []string{
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10",
	} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(ownNetworks(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// readKeys reads the TSIG secrets. config.Load has seen that each file is the
// service's alone.
func readKeys(conf *config.Config) (map[string]dnsctl.Key, error) {
	out := map[string]dnsctl.Key{}
	for name, k := range conf.TSIG {
		b, err := readSmall(k.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("read TSIG key %s: %w", name, err)
		}
		out[name] = dnsctl.Key{Name: strings.TrimSuffix(name, ".") + ".", Algorithm: k.Algorithm, Secret: strings.TrimSpace(string(b))}
	}
	return out, nil
}

// readSmall reads a file of which one line is wanted.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return b, errors.Join(err, f.Close())
}

// signer returns what signs with a key that network.yaml names.
func (d *daemon) signer(key string) (dnsctl.Exchanger, error) {
	if ex, ok := d.sign[strings.TrimSuffix(key, ".")]; ok {
		return ex, nil
	}
	return nil, fmt.Errorf("key %q is not in the wwwd.yaml of %s (tsig:)", key, d.conf.Site)
}

// publish keeps the embedded server at the newest State. It needs neither
// quorum nor network.
func (d *daemon) publish(ctx context.Context) error {
	for {
		changed := d.node.Changed()
		d.pub.Publish(d.node.State())
		if d.dns != nil {
			d.dns.SetTransfers(d.transfers())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}

// maxStale is how long ago a leader may have been heard for this agent to
// count as a member of the quorum.
const maxStale = 5 * time.Second

// transfers lets secondaries fetch zones only from an agent that is in contact
// with the quorum: a secondary without a copy believes the first it asks.
func (d *daemon) transfers() dnsctl.Transfers {
	if age, ok := d.node.LastContact(); ok && age < maxStale && d.node.LeaderAddr() != "" {
		return dnsctl.TransfersAllowed
	}
	return dnsctl.TransfersRefused
}

// zones answers the API about the zones and their servers.
func (d *daemon) zones() api.Zones { return zones{d} }

type zones struct{ d *daemon }

// Failures implements api.Zones.
func (z zones) Failures() map[string]uint64 { return z.d.pub.Failures() }

// Foresee implements api.Zones.
func (z zones) Foresee(s *failover.State, plan failover.Plan) []api.DNSChange {
	var out []api.DNSChange
	for _, c := range dnsctl.Foresee(s, plan) {
		change := api.DNSChange{Name: strings.TrimSuffix(c.Name, "."), Type: c.Type, Before: []string{}, After: []string{}}
		for _, r := range c.Before {
			change.Before = append(change.Before, r.Data)
		}
		for _, r := range c.After {
			change.After, change.TTL = append(change.After, r.Data), r.TTL
		}
		out = append(out, change)
	}
	return out
}

// mostChecked bounds the names of one zone that are asked for at every server.
const mostChecked = 100

// A person who looks waits for a dead server no longer than lookTries times lookWithin.
const (
	lookWithin = 1500 * time.Millisecond
	lookTries  = 2
)

// Check implements api.Zones.
func (z zones) Check(ctx context.Context) []api.ZoneCheck {
	s := z.d.node.State()
	var out []api.ZoneCheck
	for _, g := range dnsctl.Goals(s) {
		out = append(out, z.check(ctx, s, g))
	}
	return out
}

// check asks all servers of a zone at once, each its questions in turn.
func (z zones) check(ctx context.Context, s *failover.State, g dnsctl.Goal) api.ZoneCheck {
	names := g.PublicNames()
	names = names[:min(len(names), mostChecked)]
	servers := z.servers(s, g)
	looks := make([]dnsctl.Look, len(servers))
	ask := dnsctl.Patient{Exchanger: z.d.ask, Within: lookWithin, Tries: lookTries}
	group, gctx := errgroup.WithContext(ctx)
	for i, server := range servers {
		group.Go(func() error {
			if server.Role == "resolver" {
				looks[i] = dnsctl.AskResolver(gctx, ask, server.Server, g, names)
			} else {
				looks[i] = dnsctl.LookAt(gctx, ask, server.Server, g, names)
			}
			return nil
		})
	}
	_ = group.Wait() // they return no errors: what went wrong is in their results
	out := api.ZoneCheck{Zone: g.Zone, Backend: s.Network.Zones[g.Zone].Backend, Serial: g.Serial, Token: g.Token.String(), Names: []api.NameCheck{}}
	for i, server := range servers {
		server.Status, server.Serial, server.Error = string(looks[i].Status), looks[i].Serial, looks[i].Why()
		if note := s.Zones[g.Zone].Notes[server.Server]; note != "" && server.Role == "primary" && !dnsctl.WasUnreached(note) {
			server.Error = note
		}
		out.Servers = append(out.Servers, server)
	}
	for _, name := range names {
		rtype, data, ttl := g.Decided(name)
		bare := strings.TrimSuffix(name, ".")
		_, held := s.Holds[bare]
		n := api.NameCheck{
			Name: bare, Type: rtype, Data: data, TTL: ttl, Held: held, Away: slices.Contains(g.Moved, name),
			Seen: map[string]api.NameSight{},
		}
		for i, server := range servers {
			if sight, asked := looks[i].Names[name]; asked {
				n.Seen[server.Server] = api.NameSight{State: sight.State, TTL: sight.TTL}
			}
		}
		out.Names = append(out.Names, n)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Holds)) { // where only the person writes them, nothing is decided
		if s.Network.ZoneOf(name) == g.Zone && !slices.Contains(names, name+".") {
			out.Names = append(out.Names, api.NameCheck{Name: name, Held: true, Seen: map[string]api.NameSight{}})
		}
	}
	return out
}

// servers lists whom to ask about a zone: those with authority, then the public resolvers.
func (z zones) servers(s *failover.State, g dnsctl.Goal) []api.ServerCheck {
	var out []api.ServerCheck
	add := func(role string, list []netip.AddrPort) {
		for _, a := range list {
			out = append(out, api.ServerCheck{Server: a.String(), Role: role, Site: string(siteAt(s.Network, a.Addr()))})
		}
	}
	add("primary", g.Primaries)
	if g.Embedded {
		for _, id := range s.Network.SiteIDs() {
			if a := s.Network.Sites[id].DNS; a.IsValid() { // that of a lost site, too: a person wants to see it
				out = append(out, api.ServerCheck{Server: a.String(), Role: "agent", Site: string(id)})
			}
		}
	}
	add("secondary", g.Secondaries)
	named := g.NameServers()
	for i := range out {
		out[i].Name = strings.TrimSuffix(named[netip.MustParseAddrPort(out[i].Server).Addr()], ".")
	}
	for _, a := range s.Network.Zones[g.Zone].Resolvers { // the world's, wherever they stand
		out = append(out, api.ServerCheck{Server: a.String(), Role: "resolver"})
	}
	return out
}

// siteAt returns the site that an address belongs to, "" if to none.
func siteAt(n *network.Spec, a netip.Addr) failover.SiteID {
	a = a.Unmap()
	for _, id := range n.SiteIDs() {
		site := n.Sites[id]
		inLAN := func(p netip.Prefix) bool { return p.Contains(a) }
		if a == site.DNS.Addr().Unmap() || a == site.Public.IPv4 || a == site.Public.IPv6 || slices.ContainsFunc(site.LAN.Prefixes, inLAN) {
			return id
		}
	}
	return ""
}
