package dnsctl

import (
	"net/netip"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Lead is where a public name leads for the clients in a site's own LAN.
type Lead struct {
	Name, Zone string // without the final dot
	Site       network.SiteID
	Addresses  []netip.Addr // none: those of a name that a dynamic DNS service keeps
}

// LeadsAt is the local view of a site by its names: of guests, where each is served or held, in zones of every back end.
// A name that is served nowhere is not among them. Without a declared entry in the LAN what is served at the site leads
// to its public addresses.
func LeadsAt(s *failover.State, site network.SiteID) (out []Lead) {
	if s.Network == nil {
		return nil
	}
	for _, zone := range sortedZones(s.Network) {
		b := newBuilder(s, zone)
		if s.Network.Sites[site].LAN.Entry.IsValid() {
			b.lan = site
		}
		b.sites()
		places := Zone{Records: b.out}
		for _, id := range b.spec.GuestIDs() {
			for _, name := range b.spec.Guests[id].Names {
				at := b.place(id, name)
				if b.spec.ZoneOf(name) != zone || at == "" {
					continue
				}
				l := Lead{Name: name, Zone: zone, Site: at}
				for _, r := range places.at(b.siteName(at)) {
					if a, err := netip.ParseAddr(r.Data); err == nil {
						l.Addresses = append(l.Addresses, a)
					}
				}
				out = append(out, l)
			}
		}
	}
	return out
}
