package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Timing are the levels of detection that a run uses. The defaults of the
// program would do as well; shorter ones put more incidents into a second.
type Timing struct{ PrepareA, Alert, PrepareB, Commit, Return, Keep, Block time.Duration }

// FastTiming is what most runs use.
func FastTiming() Timing {
	return Timing{
		PrepareA: 8 * time.Second, Alert: 10 * time.Second, PrepareB: 12 * time.Second, Commit: 30 * time.Second,
		Return: 8 * time.Second, Keep: 30 * time.Second, Block: time.Hour,
	}
}

// BriefTiming is what campaigns use: the same levels, so short that several
// incidents cost little.
func BriefTiming() Timing {
	return Timing{
		PrepareA: 6500 * time.Millisecond, Alert: 7 * time.Second, PrepareB: 8 * time.Second, Commit: 18 * time.Second,
		Return: 5 * time.Second, Keep: 15 * time.Second, Block: time.Hour,
	}
}

const (
	zone       = "assos.example"
	datastore  = "backups"
	bridge     = "vmbr0"
	ownBackups = "pbs-own"
	localDisks = "local-zfs"
	pveToken   = "www@pve!agent"
	pbsToken   = "www@pbs!agent"
	backupUser = "backup@pbs!pve"
	secret     = "00000000-0000-4000-8000-000000000000"
)

// place is what a site of the simulated network is made of.
type place struct {
	name      network.SiteID
	kind      network.Kind
	structure network.StructureID
	vlan      int
	onReturn  string // of the structure: "stop", or "" for leave
	guests    []member
	bare      bool // it has no guests, and no other site a place for their backups
}

// saved says whether there are places for the backups of a place's guests.
func (p place) saved() bool { return p.kind == network.Brique && !p.bare }

// member is a guest at home at a place.
type member struct {
	name     string
	kind     network.GuestType
	priority int
	chunks   int64 // of its disk
	after    string
	hooked   bool // it declares programs
}

// places is what the options say of the network.
func (o Options) places() []place {
	if o.layout != nil {
		return o.layout
	}
	return places(o.Places)
}

// places is the network of design section 15, as the demo has it, or a small one.
func places(size Size) []place {
	if size != Full {
		kind := network.VM
		if size == SmallCT {
			kind = network.CT
		}
		return []place{
			{name: "moulin", kind: network.Brique, structure: "le-moulin", vlan: 120, guests: []member{
				{name: "nuage", kind: kind, priority: 1, chunks: 1},
			}},
			{name: "fabrique", kind: network.Brique, structure: "atelier", vlan: 130},
			{name: "temoin", kind: network.Witness},
		}
	}
	return []place{
		{name: "moulin", kind: network.Brique, structure: "le-moulin", vlan: 120, guests: []member{
			{name: "nuage", kind: network.VM, priority: 1, chunks: 2, hooked: true},
			{name: "adherents", kind: network.CT, priority: 2, chunks: 1, after: "nuage"},
			{name: "agenda", kind: network.CT, priority: 3, chunks: 1},
			{name: "photos", kind: network.CT, priority: 4, chunks: 1},
		}},
		{name: "fabrique", kind: network.Brique, structure: "atelier", vlan: 130, guests: []member{
			{name: "wiki", kind: network.CT, priority: 1, chunks: 1, hooked: true},
			{name: "outils", kind: network.VM, priority: 2, chunks: 2},
			{name: "stages", kind: network.CT, priority: 3, chunks: 1, after: "wiki"},
		}},
		{name: "quai", kind: network.Brique, structure: "les-docks", vlan: 140, onReturn: "stop", guests: []member{
			{name: "radio", kind: network.VM, priority: 1, chunks: 1},
			{name: "caisse", kind: network.CT, priority: 2, chunks: 1},
			{name: "affiches", kind: network.VM, priority: 3, chunks: 1},
		}},
		{name: "halle", kind: network.Parpaing},
		{name: "temoin", kind: network.Witness},
	}
}

// addresses of the i-th place.
func meshAddr(i int) netip.Addr   { return netip.AddrFrom4([4]byte{10, 77, byte(i + 1), 1}) }
func publicAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}) }
func routerAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(i + 1), 254}) }
func hostAddr(i, h int) string    { return fmt.Sprintf("10.%d.1.%d", 10*(i+1), 10*(h+1)) }
func guestAddr(i, n int) string   { return fmt.Sprintf("10.%d.120.%d", 10*(i+1), 11+n) }

func structureHost(s network.SiteID) network.HostID { return network.HostID("pve-" + s) }
func raoullHost(s network.SiteID) network.HostID    { return network.HostID("raoull-" + s) }
func sourceEntry(s network.SiteID) string           { return "pbs-" + string(s) }

// guestID is a guest's name in the network, its id at home the number.
func guestID(p place, m member) network.GuestID {
	return network.GuestID(m.name + "-" + string(p.name))
}
func homeID(i, n int) int { return 1000*(i+1) + 101 + n }

func publicName(p place, m member) string { return m.name + "." + string(p.name) + "." + zone }

// Declared returns the declared network of the simulation.
func Declared(ps []place, t Timing, mode network.Mode) *network.Spec {
	s := network.Spec{
		Network: "sim",
		Zones:   map[string]network.Zone{zone: {Backend: "embedded"}},
		Policy: network.Policy{
			SuspectMisses: 5, PrepareA: network.Duration(t.PrepareA), Alert: network.Duration(t.Alert),
			PrepareB: network.Duration(t.PrepareB), Commit: network.Duration(t.Commit), CommitDual: network.Duration(t.Commit),
			CommitReason: "simulation", ReturnAfter: network.Duration(t.Return), KeepPrepared: network.Duration(t.Keep),
			Block: network.Duration(t.Block),
		},
		Sites:      map[network.SiteID]network.Site{},
		Structures: map[network.StructureID]network.Structure{},
		Guests:     map[network.GuestID]network.Guest{},
	}
	for i, p := range ps {
		s.Sites[p.name] = declaredSite(ps, i)
		if p.structure == "" {
			continue
		}
		s.Structures[p.structure] = network.Structure{
			Home: p.name, VLAN: p.vlan, Mode: mode, OnReturn: p.onReturn,
			OffSite: network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-01-01"},
		}
		for n, m := range p.guests {
			g := network.Guest{
				ID: homeID(i, n), Type: m.kind, Structure: p.structure, Host: structureHost(p.name), Priority: m.priority,
				Names:  []string{publicName(p, m)},
				Memory: guestMemory, Disk: network.Bytes(m.chunks << 16),
				Check: &network.Check{URL: "http://{address}:80/status", Expect: "installed", Within: network.Duration(time.Minute)},
			}
			if m.hooked {
				g.Hooks = declaredHooks()
			}
			if m.after != "" {
				g.After = []network.GuestID{network.GuestID(m.after + "-" + string(p.name))}
			}
			s.Guests[guestID(p, m)] = g
		}
	}
	return s.WithDefaults()
}

func declaredSite(ps []place, i int) network.Site {
	p := ps[i]
	out := network.Site{
		Kind: p.kind, Upstreams: []string{fmt.Sprintf("line-%d", i+1)},
		Mesh:    netip.AddrPortFrom(meshAddr(i), network.DefaultMeshPort),
		DNS:     netip.AddrPortFrom(publicAddr(i), network.DefaultDNSPort),
		Anchors: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("198.51.100.53:53")},
		Hosts:   map[network.HostID]network.Host{},
	}
	if p.kind != network.Witness {
		out.Router = network.Router{Address: routerAddr(i)}
		out.Public = network.Public{IPv4: publicAddr(i)}
	}
	store := &network.PBS{URL: "https://" + hostAddr(i, 1) + ":8007", Datastore: datastore}
	switch p.kind {
	case network.Parpaing:
		out.Hosts["pbs-"+network.HostID(p.name)] = network.Host{Owner: network.OwnerRaoull, PBS: store}
	case network.Brique:
		out.Hosts[structureHost(p.name)] = network.Host{
			Owner: network.OwnerStructure, Fence: "plug-" + string(p.name),
			PVE: &network.PVE{URL: "https://" + hostAddr(i, 0) + ":8006", Node: string(structureHost(p.name))},
		}
		h := network.Host{
			Owner: network.OwnerRaoull,
			PVE:   &network.PVE{URL: "https://" + hostAddr(i, 1) + ":8006", Node: string(raoullHost(p.name))},
			PBS:   store,
			Restore: &network.Restore{
				Storage: localDisks, Bridge: bridge, IDs: network.IDRange{First: 90000 + 1000*i, Last: 90999 + 1000*i}, Parallel: 2,
			},
			Sources: map[network.SiteID][]string{}, Lineages: map[network.SiteID]network.LineageStorages{},
		}
		for _, o := range ps {
			if o.saved() { // its own: what a rescue restores from
				h.Sources[o.name] = []string{sourceEntry(o.name)}
				h.Lineages[o.name] = network.LineageStorages{Away: awayEntry(o.name), Sealed: sealedEntry(o.name)}
			}
		}
		out.Hosts[raoullHost(p.name)] = h
	}
	return out
}

func siteIDs(ps []place) []failover.SiteID {
	out := make([]failover.SiteID, len(ps))
	for i, p := range ps {
		out[i] = p.name
	}
	return out
}
