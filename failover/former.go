package failover

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Former is what the network once declared in a zone of another server and
// declares no more. The publisher takes it away; what a person has written
// there since is not in it, and stays.
type Former struct {
	Fixed  []FormerRecord `json:"fixed,omitempty"`  // sites' own names, common names and declared records
	Moving []string       `json:"moving,omitempty"` // absolute names that followed a guest
	Places []FormerRecord `json:"places,omitempty"` // without a name: all that a moving name may have led to
}

// FormerRecord is one record without its TTL.
type FormerRecord struct {
	Name string `json:"name,omitempty"` // absolute, with the final dot
	Type string `json:"type"`
	Data string `json:"data"` // as in a zone file
}

// backendRFC2136 marks zones in which the network owns single names only.
const backendRFC2136 = "rfc2136"

// formerOf returns what is to be taken away from a zone when spec takes the
// place of the network in force, nil for nothing. A name in a person's hands is
// that person's.
func (s *State) formerOf(spec *network.Spec, zone string) *Former {
	if spec.Zones[zone].Backend != backendRFC2136 {
		return nil
	}
	f := &Former{}
	if was := s.Zones[zone].Former; was != nil {
		*f = *was
	}
	if s.Network != nil && s.Network.Zones[zone].Backend == backendRFC2136 {
		old := zoneView{s.Network, zone}
		f.Fixed = union(f.Fixed, old.fixed())
		f.Moving = union(f.Moving, old.moving())
		f.Places = union(f.Places, old.places())
	}
	now := zoneView{spec, zone}
	moving := now.moving()
	owned := now.owned()
	f.Moving = slices.DeleteFunc(f.Moving, func(name string) bool {
		return slices.Contains(moving, name) || s.held(name)
	})
	f.Fixed = slices.DeleteFunc(f.Fixed, func(r FormerRecord) bool {
		return owned[FormerRecord{Name: r.Name, Type: r.Type}] || s.held(r.Name)
	})
	if len(f.Moving) == 0 {
		f.Places = nil
	}
	if len(f.Moving)+len(f.Fixed) == 0 {
		return nil
	}
	return f
}

func (s *State) held(absolute string) bool {
	_, held := s.Holds[strings.TrimSuffix(absolute, ".")]
	return held
}

// union returns the elements of both in a new list, in order of first mention.
func union[T comparable](a, b []T) []T {
	out := make([]T, 0, len(a)+len(b))
	seen := make(map[T]bool, len(a)+len(b))
	for _, list := range [][]T{a, b} {
		for _, v := range list {
			if !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
	}
	return out
}

// zoneView is what a network declares in one zone.
type zoneView struct {
	spec *network.Spec
	zone string
}

func (v zoneView) siteName(id SiteID) string { return string(id) + ".site." + v.zone + "." }

func addressesOf(name string, p network.Public) []FormerRecord {
	var out []FormerRecord
	if p.IPv4.IsValid() {
		out = append(out, FormerRecord{name, "A", p.IPv4.String()})
	}
	if p.IPv6.IsValid() {
		out = append(out, FormerRecord{name, "AAAA", p.IPv6.String()})
	}
	return out
}

// places is all that a name which follows a guest may lead to.
func (v zoneView) places() []FormerRecord {
	var out []FormerRecord
	for _, id := range v.spec.SiteIDs() {
		out = append(out, FormerRecord{"", "CNAME", v.siteName(id)})
		out = append(out, addressesOf("", v.spec.Sites[id].Public)...)
	}
	return out
}

func (v zoneView) moving() []string {
	var out []string
	for _, id := range v.spec.GuestIDs() {
		for _, name := range v.spec.Guests[id].Names {
			if v.spec.ZoneOf(name) == v.zone {
				out = append(out, name+".")
			}
		}
	}
	return out
}

func (v zoneView) fixed() []FormerRecord {
	var out []FormerRecord
	for _, id := range v.spec.SiteIDs() {
		out = append(out, addressesOf(v.siteName(id), v.spec.Sites[id].Public)...)
		if kept := v.spec.Sites[id].Public.Name; kept != "" {
			out = append(out, FormerRecord{v.siteName(id), "CNAME", kept + "."})
		}
	}
	for _, set := range sortedKeys(v.spec.Common) {
		for _, name := range v.spec.Common[set].Names {
			if v.spec.ZoneOf(name) != v.zone {
				continue
			}
			for _, id := range sortedKeys(v.spec.Common[set].Members) {
				out = append(out, addressesOf(name+".", v.spec.Sites[id].Public)...)
			}
		}
	}
	for _, r := range v.spec.Zones[v.zone].Records {
		out = append(out, FormerRecord{v.absolute(r.Name), r.Type, r.Data})
	}
	return out
}

func (v zoneView) absolute(name string) string {
	if name == "@" {
		return v.zone + "."
	}
	return name + "." + v.zone + "."
}

// owned are the sets, by name and type, that the network keeps as declared.
func (v zoneView) owned() map[FormerRecord]bool {
	out := map[FormerRecord]bool{}
	for _, name := range v.moving() {
		for _, t := range []string{"A", "AAAA", "CNAME"} {
			out[FormerRecord{Name: name, Type: t}] = true
		}
	}
	for _, r := range v.fixed() {
		out[FormerRecord{Name: r.Name, Type: r.Type}] = true
	}
	return out
}

// purged says whether every primary of a zone was seen to be in sync, so that
// nothing former can be left at any of them.
func (c VerifyZone) purged(s *State) bool {
	if s.Network == nil || c.Changed != s.Zones[c.Zone].Changed {
		return false
	}
	for _, a := range s.Network.Zones[c.Zone].Primaries {
		if !c.Servers[a.String()] {
			return false
		}
	}
	return true
}
