package dnsctl

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// BackendRFC2136 is the back end of zones whose own servers take updates; every
// other zone is served by the agents themselves.
const BackendRFC2136 = "rfc2136"

// addressTypes are the types of a name that follows a guest or is a site's.
func addressTypes() []string { return []string{"A", "AAAA", "CNAME"} }

// Goal is what the servers of one zone should say, and who they are: a pure
// function of State.
type Goal struct {
	// Zone is the zone's name as it is declared, without the final dot.
	Zone string
	// Embedded: the agents serve it and Serial counts; else Primaries take updates under Key.
	Embedded bool
	Serial   uint32
	Token    Token
	// Records are canonical and sorted, without SOA. In a zone of rfc2136 they are only what is ours there.
	Records []Record
	// Owned are the names that are ours, absolute, with the types of each that are. Held names are not among them.
	Owned map[string][]string
	// Former are records that the network declared once and declares no more: no server of the zone may have one of them.
	// Their TTL is 0; what else stands at their names is not ours.
	Former []Record
	// Primaries take updates; Agents are the embedded servers of sites that are not lost; Secondaries fetch.
	Primaries, Agents, Secondaries []netip.AddrPort
	Key                            string
	// Moved and Still are the public names that are away from home and those that are not.
	Moved, Still []string

	zone Zone // canonical; embedded only
}

// Servers are all authoritative servers, those that are written to first.
func (g Goal) Servers() []netip.AddrPort {
	return slices.Compact(slices.Concat(g.Primaries, g.Agents, g.Secondaries))
}

// NameServers returns the absolute names of the zone's NS records by the addresses that the zone gives them. The NS set
// of a zone on another server is that server's: nothing is known of it here.
func (g Goal) NameServers() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, ns := range g.at(g.Apex()) {
		if ns.Type != "NS" {
			continue
		}
		for _, r := range g.at(ns.Data) {
			if a, err := netip.ParseAddr(r.Data); err == nil && out[a] == "" {
				out[a] = ns.Data
			}
		}
	}
	return out
}

// Apex is the zone's absolute name.
func (g Goal) Apex() string { return g.Zone + "." }

// Goals returns what every zone's servers should say, by name. A zone with a
// fault in its declared records is left out: Publish names the fault.
func Goals(s *failover.State) []Goal {
	if s.Network == nil {
		return nil
	}
	var out []Goal
	for _, name := range sortedZones(s.Network) {
		if g, ok := GoalOf(s, name); ok {
			out = append(out, g)
		}
	}
	return out
}

// GoalOf is the goal of one declared zone.
func GoalOf(s *failover.State, zone string) (Goal, bool) {
	b := newBuilder(s, zone)
	g := Goal{
		Zone: zone, Key: b.decl.Key, Secondaries: b.decl.Secondaries, Embedded: b.decl.Backend != BackendRFC2136,
		Token: Token{Network: s.Network.Network, Generation: s.Generation, Index: s.Zones[zone].Changed},
	}
	ok := false
	if g.Embedded {
		ok = b.embedded(&g)
	} else {
		g.Primaries = b.decl.Primaries
		ok = b.foreign(&g)
	}
	if ok {
		b.names(&g)
	}
	return g, ok
}

func (b *builder) embedded(g *Goal) bool {
	z, ok := b.build()
	if !ok {
		return false
	}
	c, err := z.Canonical()
	if err != nil {
		return false
	}
	g.zone, g.Serial, g.Records = c, c.Serial, c.Records
	for _, id := range b.spec.SiteIDs() {
		addr := b.spec.Sites[id].DNS
		if addr.IsValid() && b.s.Domains[failover.SiteDomain(id)].Lost.Index == 0 {
			g.Agents = append(g.Agents, addr)
		}
	}
	return true
}

// foreign gathers what is ours in a zone of another server.
func (b *builder) foreign(g *Goal) bool {
	b.sites()
	b.guests()
	b.common()
	g.Owned = map[string][]string{}
	for _, r := range b.out {
		g.Owned[r.Name] = addressTypes()
	}
	for name := range b.s.Holds {
		delete(g.Owned, name+".")
	}
	b.fixed()
	for _, r := range b.decl.Records {
		name := b.absolute(r.Name)
		if !slices.Contains(g.Owned[name], r.Type) {
			g.Owned[name] = append(g.Owned[name], r.Type)
		}
	}
	for _, r := range b.out {
		c, err := r.Canonical()
		if err != nil {
			return false
		}
		if slices.Contains(g.Owned[c.Name], c.Type) {
			g.Records = append(g.Records, c)
		}
	}
	slices.SortFunc(g.Records, Compare)
	g.Records = slices.Compact(g.Records)
	b.former(g)
	return true
}

// former gathers what is to be taken away, without what is ours again.
func (b *builder) former(g *Goal) {
	f := b.s.Zones[b.zone].Former
	if f == nil {
		return
	}
	list := slices.Clone(f.Fixed)
	for _, name := range f.Moving {
		for _, p := range f.Places {
			p.Name = name
			list = append(list, p)
		}
	}
	for _, r := range list {
		c, err := Record{Name: r.Name, Type: r.Type, Data: r.Data}.Canonical()
		_, held := b.s.Holds[strings.TrimSuffix(r.Name, ".")]
		if err == nil && !held && inZone(c.Name, g.Apex()) && !slices.Contains(g.Owned[c.Name], c.Type) {
			g.Former = append(g.Former, c)
		}
	}
	slices.SortFunc(g.Former, Compare)
	g.Former = slices.Compact(g.Former)
}

// names sorts the public names by whether they have moved.
func (b *builder) names(g *Goal) {
	for _, id := range b.spec.GuestIDs() {
		for _, name := range b.spec.Guests[id].Names {
			_, held := b.s.Holds[name]
			switch {
			case b.spec.ZoneOf(name) != b.zone || held && !g.Embedded:
			case b.s.Guests[id].Serving != b.spec.Home(id):
				g.Moved = append(g.Moved, name+".")
			default:
				g.Still = append(g.Still, name+".")
			}
		}
	}
}

// at returns the goal's records at a name.
func (g Goal) at(name string) []Record { return Zone{Records: g.Records}.at(name) }

// names are all names that are ours, in order.
func (g Goal) names() []string {
	return slices.SortedFunc(maps.Keys(g.Owned), compareNames)
}

// flat returns the records at a name with a CNAME replaced by the addresses
// that it leads to within the goal: what stands where a CNAME is not allowed.
func (g Goal) flat(name string) []Record {
	var out []Record
	for _, r := range g.at(name) {
		if r.Type != "CNAME" {
			out = append(out, r)
			continue
		}
		for _, a := range g.at(r.Data) {
			if a.Type == "A" || a.Type == "AAAA" {
				a.Name = name
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, Compare)
	return out
}

// changes returns what turns the records that stand at the names that are ours
// into those of the goal. occupied names have data of types that are not ours,
// where a CNAME may not stand. A name for which nothing is desired is left as
// it is: no name is ever emptied.
func (g Goal) changes(have []Record, occupied map[string]bool) Changes {
	var out Changes
	slices.SortFunc(have, Compare)
	for _, name := range g.names() {
		want := g.at(name)
		if occupied[name] {
			want = g.flat(name)
		}
		ch := Diff(Zone{Records: have}.at(name), want, Guard{Names: []string{name}, Types: g.Owned[name]})
		out.Create = append(out.Create, ch.Create...)
		out.Update = append(out.Update, ch.Update...)
		out.Delete = append(out.Delete, ch.Delete...)
		out.Refused = append(out.Refused, ch.Refused...)
	}
	for set := range sets(g.Former) {
		gone := slices.DeleteFunc(slices.Clone(have), func(r Record) bool { return !isAmong(set, r) })
		if len(gone) > 0 {
			out.Delete = append(out.Delete, Change{Name: set[0].Name, Type: set[0].Type, Before: gone, Partial: true})
		}
	}
	return out
}

// isAmong says whether a set has a record of this name, type and data, with whatever TTL.
func isAmong(set []Record, r Record) bool {
	return slices.ContainsFunc(set, func(s Record) bool { return s.Name == r.Name && s.Type == r.Type && s.Data == r.Data })
}

// known are all names that are to be looked at, in order: ours, and those that were.
func (g Goal) known() []string {
	names := g.names()
	for _, r := range g.Former {
		names = append(names, r.Name)
	}
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}
