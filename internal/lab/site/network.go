package site

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Spec returns the declared network of the lab. What it declares are the addresses
// that others dial: the forwarders. Defaults are left out, as a person would.
func (l *Lab) Spec() *network.Spec {
	s := &network.Spec{
		Network: l.Network,
		Zones:   map[string]network.Zone{l.Zone: l.zone()},
		Policy: network.Policy{
			SuspectMisses: 5, PrepareA: seconds(6), Alert: seconds(7), PrepareB: seconds(8), Commit: seconds(15),
			CommitDual: seconds(15), CommitReason: "lab", KeepPrepared: seconds(20), ReturnAfter: seconds(5),
			AwayBackup: l.Timing.Away,
		},
		Sites:      map[network.SiteID]network.Site{},
		Structures: map[network.StructureID]network.Structure{},
		Guests:     map[network.GuestID]network.Guest{},
	}
	for i, st := range l.Sites {
		s.Sites[network.SiteID(st.Name)] = l.site(i)
		if st.Structure != "" {
			s.Structures[network.StructureID(st.Structure)] = network.Structure{
				Home: network.SiteID(st.Name), VLAN: st.VLAN, Mode: network.ModeAuto,
				OffSite: network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-01-01"},
			}
		}
	}
	for _, g := range l.Guests {
		s.Guests[network.GuestID(g.Name)] = l.guest(g)
	}
	return s
}

func (l *Lab) site(i int) network.Site {
	p := l.Plan()
	out := network.Site{
		Kind: l.Sites[i].Kind, Upstreams: []string{fmt.Sprintf("line-%d", i+1)},
		Mesh:   netip.AddrPortFrom(p.Mesh(i), l.Ports().Mesh),
		Router: network.Router{Type: "tcp", Address: p.Router(i), Port: l.Ports().Router},
		Hosts:  map[network.HostID]network.Host{},
	}
	if l.Routed { // it answers ping as a real one does
		out.Router = network.Router{Type: "routeros", Address: p.Router(i)}
	}
	if !l.RealDNS() {
		out.DNS = l.DNS(i)
	}
	// What an agent asks to know that its own line works: two resolvers elsewhere.
	for _, n := range []int{1, 2} {
		out.Anchors = append(out.Anchors, l.DNS((i+n)%len(l.Sites)))
	}
	if entry, ok := l.Entry(i); ok {
		out.Public = network.Public{IPv4: entry.Addr(), HTTPS: entry.Port(), Entry: "router"}
	}
	for _, h := range l.Hosts(i) {
		out.Hosts[network.HostID(h.Name)] = l.host(i, h)
	}
	return out
}

func (l *Lab) host(i int, h Host) network.Host {
	addr := l.Plan().Host(i, h.Index)
	out := network.Host{Owner: h.Owner}
	if h.Owner == network.OwnerStructure {
		out.Fence = l.Fence(i)
	}
	if h.PVE {
		out.PVE = &network.PVE{URL: fmt.Sprintf("https://%s", netip.AddrPortFrom(addr, l.Ports().PVE)), Node: h.Name}
	}
	if h.PBS {
		out.PBS = &network.PBS{URL: fmt.Sprintf("https://%s", netip.AddrPortFrom(addr, l.Ports().PBS)), Datastore: Datastore}
	}
	if h.PVE && h.PBS {
		out.Restore = &network.Restore{
			Storage: LocalStorage, Bridge: Bridge, IDs: restoreIDs(i),
			Reserve: 2 << 30, Parallel: 3,
		}
		out.Sources = map[network.SiteID][]string{}
		homes := l.homes(i)
		if !l.Routed || l.Rescue { // in namespaces what is cut is judged, and a host is rescued only on demand
			homes = append(homes, l.Sites[i].Name)
		}
		for _, home := range homes {
			out.Sources[network.SiteID(home)] = []string{sourceEntry(home)}
		}
		out.Lineages = lineages(homes...)
	}
	if h.Owner == network.OwnerStructure && h.PVE && (!l.Routed || l.Return) {
		out.Restore = &network.Restore{Storage: LocalStorage, Bridge: Bridge, IDs: homeIDs, Parallel: 3}
		out.Lineages = lineages(l.Sites[i].Name)
	}
	return out
}

// lineages names the storage entries of the later backups of the guests of some homes.
func lineages(homes ...string) map[network.SiteID]network.LineageStorages {
	out := map[network.SiteID]network.LineageStorages{}
	for _, home := range homes {
		out[network.SiteID(home)] = network.LineageStorages{Away: "pbs-away-" + home, Sealed: "pbs-sealed-" + home}
	}
	return out
}

// laterSpaces are the namespaces of the later backups of the guests of a home.
func laterSpaces(home string) []string {
	return []string{failover.AwayNamespace(network.SiteID(home)), failover.SealedNamespace(network.SiteID(home))}
}

// sourceEntry is the storage entry that reads the backups of another site.
func sourceEntry(site string) string { return "pbs-" + site }

// homes returns the other sites at which a structure has its servers.
func (l *Lab) homes(i int) []string {
	var out []string
	for j, s := range l.Sites {
		if j != i && s.Structure != "" {
			out = append(out, s.Name)
		}
	}
	return out
}

func (l *Lab) guest(g Member) network.Guest {
	i, _ := l.Index(l.Home(g)) // Layout makes no guest without a home
	out := network.Guest{
		ID: g.ID, Type: g.Type, Structure: network.StructureID(g.Structure),
		Host: network.HostID(l.HostOf(i, g)), Priority: g.Priority, Names: g.Names,
		Memory: network.Bytes(g.Memory), Disk: network.Bytes(g.Disk),
		Check: &network.Check{
			URL: fmt.Sprintf("http://{address}:%d/status", l.Ports().Guest), Expect: "installed",
			Within: network.Duration(time.Minute),
		},
	}
	if g.Warm {
		out.Standby = network.WarmStandby
	}
	for _, after := range g.After {
		out.After = append(out.After, network.GuestID(after))
	}
	return out
}

// Services returns the forwarders of the lab: every address that one site shows to
// the others, and where its own process listens for it.
func (l *Lab) Services() []fabric.Service {
	p := l.Plan()
	var out []fabric.Service
	for i, s := range l.Sites {
		add := func(name string, path fabric.Path, listen, backend netip.Addr, port uint16) {
			out = append(out, fabric.Service{
				Name: name, Site: s.Name, Path: path, UDP: name == "dns",
				Listen: netip.AddrPortFrom(listen, port), Backend: netip.AddrPortFrom(backend, port),
			})
		}
		add("agent", fabric.Mesh, p.Mesh(i), p.MeshBackend(i), MeshPort)
		add("router", fabric.Mesh, p.Router(i), p.RouterBackend(i), RouterPort)
		add("dns", fabric.Public, p.Public(i), p.PublicBackend(i), DNSPort)
		if _, ok := l.Entry(i); ok {
			add("entry", fabric.Public, p.Public(i), p.PublicBackend(i), EntryPort)
		}
		for _, h := range l.Hosts(i) {
			if h.PVE {
				add("pve:"+h.Name, fabric.Mesh, p.Host(i, h.Index), p.HostBackend(i, h.Index), PVEPort)
			}
			if h.PBS {
				add("pbs:"+h.Name, fabric.Mesh, p.Host(i, h.Index), p.HostBackend(i, h.Index), PBSPort)
			}
		}
	}
	return out
}

// Ports returns every port that the lab listens on.
func Ports() []int {
	return []int{MeshPort, MetricsPort, RouterPort, RESTPort, GuestPort, EntryPort, DNSPort, PVEPort, PBSPort}
}
