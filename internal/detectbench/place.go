package detectbench

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// Sites of every network: three briques, a parpaing and a witness, all voters.
const (
	sites   = 5
	briques = 3
	halle   = 3 // the parpaing
	temoin  = 4 // the witness
)

var siteNames = [sites]failover.SiteID{"moulin", "fabrique", "quai", "halle", "temoin"}

func siteIndex(id failover.SiteID) int {
	for i, n := range siteNames {
		if n == id {
			return i
		}
	}
	return -1
}

// Line is what connects a site to the internet.
type Line int

// Lines. Dual is a fibre with an LTE line as its second way out.
const (
	Fibre Line = iota
	ADSL
	LTE
	Dual
	lineKinds
)

func (l Line) String() string { return [...]string{"fibre", "ADSL", "LTE", "fibre+LTE"}[l] }

// uplinks of the line: the public entry hangs on the first.
func (l Line) uplinks() []Line {
	if l == Dual {
		return []Line{Fibre, LTE}
	}
	return []Line{l}
}

// rotation gives each network two fibres, and each place in turn each line.
var rotation = [sites]Line{Fibre, ADSL, LTE, Dual, Fibre}

// isps says which sites share a provider, for outages that hit several.
var isps = [sites]int{0, 1, 2, 0, 1}

// Policy is what a run measures: levels and the commit delays of its guests.
type Policy struct {
	Name   string
	Levels network.Policy // zero fields take the defaults
	Delays []time.Duration
}

// leanPolicy measures the delays that are in force by default.
func leanPolicy() Policy {
	return Policy{Name: "defaults", Delays: []time.Duration{defaultDelay(Dual), defaultDelay(Fibre)}}
}

// defaultPolicy measures all delays that the default levels allow.
func defaultPolicy() Policy {
	return Policy{Name: "defaults", Delays: []time.Duration{
		60 * time.Second, 90 * time.Second, 120 * time.Second, 180 * time.Second, 300 * time.Second, 600 * time.Second,
	}}
}

// hastyPolicy measures the delays below the default of prepare B.
func hastyPolicy() Policy {
	s := func(n int) network.Duration { return network.Duration(time.Duration(n) * time.Second) }
	return Policy{
		Name: "hasty", Delays: []time.Duration{15 * time.Second, 30 * time.Second},
		Levels: network.Policy{PrepareA: s(7), Alert: s(8), PrepareB: s(10), Commit: s(15), CommitDual: s(15), CommitReason: "measurement"},
	}
}

// Place is one declared network and its lines.
type Place struct {
	Number int
	Lines  [sites]Line
	Spec   *network.Spec
	Delays map[network.GuestID]time.Duration
	levels map[network.SiteID][]time.Duration
}

// hardware that a probe's answer depends on, besides the site's way out.
const (
	onRouter  = -1
	onRaoull  = 0 // Raoull's machine: agent, PVE or PBS, reverse proxy
	onPartner = 1 // the structure's PVE
)

// NewPlace declares the network number n with a policy. Each brique has one
// guest, in a structure of its own, per commit delay: one run thereby measures
// all delays on the same decisions.
func NewPlace(n int, p Policy) *Place {
	out := &Place{Number: n, Delays: map[network.GuestID]time.Duration{}, levels: map[network.SiteID][]time.Duration{}}
	spec := network.Spec{
		Network: "bench", Zones: map[string]network.Zone{"bench.example": {}}, Policy: p.Levels,
		Sites: map[network.SiteID]network.Site{}, Structures: map[network.StructureID]network.Structure{},
		Guests: map[network.GuestID]network.Guest{},
	}
	for i, name := range siteNames {
		out.Lines[i] = rotation[(i+n)%sites]
		spec.Sites[name] = declaredSite(i, name, out.Lines[i])
		if i >= briques {
			continue
		}
		for k, delay := range p.Delays {
			id := fmt.Sprintf("%s-%ds", name, int(delay.Seconds()))
			spec.Structures[network.StructureID(id)] = network.Structure{
				Home: name, VLAN: 100 + 10*i + k, Mode: network.ModeAuto,
				OffSite: network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-01-01"},
			}
			g := network.GuestID(id)
			spec.Guests[g] = network.Guest{
				ID: 1000 + 100*i + k, Structure: network.StructureID(id), Host: partnerHost(name), Priority: 1,
				Commit: network.Duration(delay),
			}
			out.Delays[g] = delay
		}
	}
	out.Spec = spec.WithDefaults()
	for _, id := range siteNames {
		out.levels[id] = probes.Levels(out.Spec, id, probes.DefaultEvery)
	}
	return out
}

func partnerHost(s network.SiteID) network.HostID { return network.HostID("pve-" + string(s)) }
func raoullHost(s network.SiteID) network.HostID  { return network.HostID("raoull-" + string(s)) }

func declaredSite(i int, name network.SiteID, line Line) network.Site {
	addr := func(format string, last int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, i+1, last)) }
	s := network.Site{
		Kind: network.Witness, Mesh: netip.AddrPortFrom(addr("10.77.%d.%d", 1), 0),
		Upstreams: []string{fmt.Sprintf("isp-%d", isps[i])},
		Anchors:   []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("198.51.100.53:53")},
		Hosts:     map[network.HostID]network.Host{},
	}
	if line == Dual {
		s.Upstreams = append(s.Upstreams, "isp-lte")
	}
	if i == temoin {
		return s
	}
	s.Kind = network.Parpaing
	s.Public = network.Public{IPv4: addr("203.0.%d.%d", 17)}
	s.Router = network.Router{Address: addr("10.77.%d.%d", 254)}
	ours := network.Host{
		Owner: network.OwnerRaoull,
		PBS:   &network.PBS{URL: fmt.Sprintf("https://%s:8007", addr("10.10.%d.%d", 20)), Datastore: "backups"},
	}
	if i < briques {
		s.Kind = network.Brique
		ours.PVE = &network.PVE{URL: fmt.Sprintf("https://%s:8006", addr("10.10.%d.%d", 20)), Node: string(raoullHost(name))}
		ours.Restore = &network.Restore{
			Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 90000, Last: 90999}, Parallel: 16,
		}
		ours.Sources = map[network.SiteID][]string{}
		for _, other := range siteNames[:briques] {
			if other != name {
				ours.Sources[other] = []string{"pbs-" + string(other)}
			}
		}
		s.Hosts[partnerHost(name)] = network.Host{
			Owner: network.OwnerStructure,
			PVE:   &network.PVE{URL: fmt.Sprintf("https://%s:8006", addr("10.10.%d.%d", 10)), Node: string(partnerHost(name))},
		}
	}
	s.Hosts[raoullHost(name)] = ours
	return s
}

// hardwareOf says what a target runs on.
func hardwareOf(site network.SiteID, target string) int {
	switch target {
	case "router":
		return onRouter
	case "pve:" + string(partnerHost(site)):
		return onPartner
	}
	return onRaoull
}
