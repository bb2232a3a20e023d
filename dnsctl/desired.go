package dnsctl

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Timers of the zones that declare none. Names that move have the zone's short TTL; those of the
// name servers stay. Expire exceeds the longest imaginable loss of every
// primary, so that secondaries go on answering.
const (
	nsTTL   = time.Hour
	refresh = 10 * time.Minute
	retry   = 2 * time.Minute
	expire  = 14 * 24 * time.Hour
	minimum = time.Minute
)

// Desired returns the zones of the embedded servers: a pure function of State,
// equal on every agent at the same index, so that a secondary may take the
// zone from any of them. It returns no zone that would be without a name
// server. Goals holds what the servers of all back ends should say.
//
// Each site has an address name (moulin.site.ZONE); each public name of a guest
// is a CNAME to the site that serves it, or its A and AAAA where a CNAME is not
// allowed: at the apex and beside other types (RFC 1034 section 3.6.2). A name
// that State shows nowhere has no records; none is ever without records by
// accident. A held name stays as it was when it was held.
func Desired(s *failover.State) []Zone { return desired(s, "") }

// DesiredAt is what the clients in a site's own LAN shall see: as Desired, with
// the site's address name at the entry's address in the LAN, so that what is
// served here is reached without the internet, and what is served elsewhere
// through it. It returns nothing for a site that declares no such entry.
func DesiredAt(s *failover.State, site network.SiteID) []Zone {
	if s.Network == nil || !s.Network.Sites[site].LAN.Entry.IsValid() {
		return nil
	}
	return desired(s, site)
}

func desired(s *failover.State, lan network.SiteID) []Zone {
	if s.Network == nil {
		return nil
	}
	var out []Zone
	for _, name := range sortedZones(s.Network) {
		if s.Network.Zones[name].Backend == BackendRFC2136 {
			continue
		}
		b := newBuilder(s, name)
		b.lan = lan
		if z, ok := b.build(); ok {
			out = append(out, z)
		}
	}
	return out
}

func sortedZones(spec *network.Spec) []string {
	return slices.Sorted(maps.Keys(spec.Zones))
}

type builder struct {
	s     *failover.State
	spec  *network.Spec
	zone  string
	decl  network.Zone
	lan   network.SiteID  // whose LAN is looked at from; "": the internet
	mixed map[string]bool // absolute names that have declared records of their own
	out   []Record
}

func newBuilder(s *failover.State, zone string) *builder {
	b := &builder{s: s, spec: s.Network, zone: zone, decl: s.Network.Zones[zone], mixed: map[string]bool{}}
	for _, r := range b.decl.Records {
		b.mixed[b.absolute(r.Name)] = true
	}
	return b
}

func (b *builder) build() (Zone, bool) {
	b.servers()
	if len(b.out) == 0 {
		return Zone{}, false
	}
	primary := b.out[0].Data
	b.sites()
	b.guests()
	b.common()
	b.fixed()
	st := b.s.Zones[b.zone]
	z := Zone{
		Name: b.zone + ".", Serial: Serial(st.Base+b.decl.SerialAfter, st.Changed), Records: b.out,
		SOA: SOA{
			MName: primary, RName: b.contact(),
			Refresh: cmp.Or(b.decl.SOA.Refresh.D(), refresh), Retry: cmp.Or(b.decl.SOA.Retry.D(), retry),
			Expire: cmp.Or(b.decl.SOA.Expire.D(), expire), Minimum: cmp.Or(b.decl.SOA.Minimum.D(), minimum),
		},
	}
	if canonical, err := z.Canonical(); err == nil {
		z = canonical
	}
	// A zone with a fault (a declared record beside a CNAME, say) is returned as
	// it is: Publish names the fault and keeps the content that it serves.
	return z, true
}

// guests points the public names to where their guests are served, or to where
// a person holds them.
func (b *builder) guests() {
	for _, g := range b.spec.GuestIDs() {
		for _, name := range b.spec.Guests[g].Names {
			if b.spec.ZoneOf(name) != b.zone {
				continue
			}
			b.public(name, b.place(g, name))
		}
	}
}

// place is where a guest's name leads: where the guest is served, or where a person holds the name.
func (b *builder) place(g network.GuestID, name string) network.SiteID {
	site := b.s.Guests[g].Serving
	if h, held := b.s.Holds[name]; held {
		site = h.Site
	}
	return site
}

// fixed adds the declared records that never move.
func (b *builder) fixed() {
	for _, r := range b.decl.Records {
		if !b.isServer(r) {
			b.add(b.absolute(r.Name), r.Type, cmp.Or(r.TTL.D(), b.decl.TTL.D()), r.Data)
		}
	}
}

// isServer says whether a declared record is one of the zone's NS set, which
// servers adds.
func (b *builder) isServer(r network.Record) bool { return r.Name == "@" && r.Type == "NS" }

func (b *builder) add(name, rtype string, ttl time.Duration, data string) {
	b.out = append(b.out, Record{Name: name, Type: rtype, TTL: ttl, Data: data})
}

func (b *builder) absolute(name string) string {
	switch {
	case name == "@":
		return b.zone + "."
	case strings.HasSuffix(name, "."):
		return name
	}
	return name + "." + b.zone + "."
}

// servers lists the NS set: what is declared at the apex (hidden primaries), or
// else the sites' embedded servers.
func (b *builder) servers() {
	apex := b.zone + "."
	for _, r := range b.decl.Records {
		if b.isServer(r) {
			b.add(apex, "NS", cmp.Or(r.TTL.D(), nsTTL), r.Data)
		}
	}
	if len(b.out) > 0 {
		return
	}
	var glue []Record
	for _, id := range b.spec.SiteIDs() {
		addr := b.spec.Sites[id].DNS.Addr()
		if !addr.IsValid() {
			continue
		}
		ns := string(id) + ".ns." + apex
		b.add(apex, "NS", nsTTL, ns)
		glue = append(glue, Record{Name: ns, Type: addressType(addr), TTL: nsTTL, Data: addr.String()})
	}
	b.out = append(b.out, glue...)
}

func addressType(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "A"
	}
	return "AAAA"
}

// sites adds the sites' own names: their addresses, or the name that a dynamic DNS service keeps at them.
func (b *builder) sites() {
	for _, id := range b.spec.SiteIDs() {
		if kept := b.spec.Sites[id].Public.Name; kept != "" && id != b.lan {
			b.add(b.siteName(id), "CNAME", b.decl.TTL.D(), kept+".")
			continue
		}
		b.addresses(b.siteName(id), id)
	}
}

func (b *builder) siteName(id network.SiteID) string { return string(id) + ".site." + b.zone + "." }

func (b *builder) addresses(name string, id network.SiteID) {
	p := b.spec.Sites[id].Public
	list := []netip.Addr{p.IPv4, p.IPv6}
	if id == b.lan {
		list = []netip.Addr{b.spec.Sites[id].LAN.Entry}
	}
	for _, a := range list {
		if a.IsValid() {
			b.add(name, addressType(a), b.decl.TTL.D(), a.String())
		}
	}
}

// public points a name to the site that serves it.
func (b *builder) public(name string, site network.SiteID) {
	p := b.spec.Sites[site].Public
	if site == "" || !p.IPv4.IsValid() && !p.IPv6.IsValid() && p.Name == "" {
		return
	}
	if name == b.zone || b.mixed[name+"."] {
		b.addresses(name+".", site)
		return
	}
	b.add(name+".", "CNAME", b.decl.TTL.D(), b.siteName(site))
}

// common points the names of a common set to every member site: the set is
// near-identical everywhere and never fails over.
func (b *builder) common() {
	for _, set := range slices.Sorted(maps.Keys(b.spec.Common)) {
		c := b.spec.Common[set]
		for _, name := range c.Names {
			if b.spec.ZoneOf(name) != b.zone {
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(c.Members)) {
				b.addresses(name+".", id)
			}
		}
	}
}

// contact turns a mail address into the form of an SOA's RNAME. A dot in the
// local part would have to be escaped there, which many tools get wrong: such
// an address gives the conventional one (RFC 2142).
func (b *builder) contact() string {
	local, domain, ok := strings.Cut(b.decl.Contact, "@")
	if !ok || strings.Contains(local, ".") {
		return "hostmaster." + b.zone + "."
	}
	return local + "." + strings.TrimSuffix(domain, ".") + "."
}

// Moving returns the public names of a zone that follow guests, absolute.
func Moving(s *failover.State, zone string) []string {
	var out []string
	if s.Network == nil {
		return nil
	}
	for _, g := range s.Network.GuestIDs() {
		for _, name := range s.Network.Guests[g].Names {
			if s.Network.ZoneOf(name) == zone {
				out = append(out, name+".")
			}
		}
	}
	return out
}
