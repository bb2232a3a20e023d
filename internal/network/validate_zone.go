package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// mostTTL is the longest TTL that keeps a change of address within minutes.
const mostTTL = Duration(5 * time.Minute)

func (c *checker) zones() {
	servers := 0
	for _, s := range c.s.Sites {
		if s.DNS.IsValid() {
			servers++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.s.Zones)) {
		z := c.s.Zones[name]
		path := "zones." + name
		if !isHostname(name) {
			c.fail(path, CodeBadName, "write a domain in lower case without the final dot, such as assos.example", "zone name %s is not a domain", Quote(name))
		}
		c.oneOf(path+".backend", z.Backend, "embedded", "rfc2136")
		c.backend(path, z, servers)
		if z.TTL < Duration(time.Second) || z.TTL > Duration(7*24*time.Hour) {
			c.fail(path+".ttl", CodeRange, "write ttl: 60s", "ttl %s is not between 1s and 7d", z.TTL)
		} else if z.TTL > mostTTL {
			c.warn(path+".ttl", CodeTTL, "write ttl: 60s; at most 5m", "ttl %s keeps the old address of a moved name that long", z.TTL)
		}
		for i, a := range z.Secondaries {
			c.addrPort(fmt.Sprintf("%s.secondaries[%d]", path, i), a)
		}
		for i, a := range z.Primaries {
			c.addrPort(fmt.Sprintf("%s.primaries[%d]", path, i), a)
		}
		for i, a := range z.Resolvers {
			c.addrPort(fmt.Sprintf("%s.resolvers[%d]", path, i), a)
		}
		c.soa(path+".soa", z)
		c.records(path, z)
	}
}

// soa checks the timers: bounds as of RIPE-203 and RFC 2308, with room for a network whose primaries are many.
func (c *checker) soa(path string, z Zone) {
	if z.SOA == (SOA{}) {
		return
	}
	if z.Backend == "rfc2136" {
		c.fail(path, CodeConflict, "remove soa", "the zone's own primary keeps its SOA record")
		return
	}
	bound := func(key string, d, low, high Duration) {
		if d != 0 && (d < low || d > high) {
			c.fail(path+"."+key, CodeRange, fmt.Sprintf("write a value from %s to %s, or leave it out", low, high), "%s %s is out of range", key, d)
		}
	}
	day := Duration(24 * time.Hour)
	bound("refresh", z.SOA.Refresh, Duration(time.Minute), day)
	bound("retry", z.SOA.Retry, Duration(30*time.Second), day)
	bound("expire", z.SOA.Expire, 2*day, 60*day)
	bound("minimum", z.SOA.Minimum, Duration(time.Second), Duration(3*time.Hour))
	if z.SOA.Refresh != 0 && z.SOA.Retry > z.SOA.Refresh {
		c.fail(path+".retry", CodeConflict, "write a retry that is shorter than refresh", "retry %s is longer than refresh %s", z.SOA.Retry, z.SOA.Refresh)
	}
}

func (c *checker) backend(path string, z Zone, servers int) {
	switch z.Backend {
	case "rfc2136":
		if z.SerialAfter != 0 {
			c.fail(path+".serial_after", CodeConflict, "remove serial_after", "the zone's own primary counts its serials")
		}
		if len(z.Primaries) == 0 {
			c.fail(path+".primaries", CodeMissing, "write primaries: [ADDRESS], the servers that take updates", "zone has no server to update")
		}
		c.required(path+".key", z.Key, "write the name of the TSIG key; its secret stands in wwwd.yaml")
		if z.TransferKey != "" {
			c.fail(path+".transfer_key", CodeConflict, "remove transfer_key", "the zone's own primary decides who may transfer it")
		}
	case "embedded":
		if z.TransferKey != "" && len(z.Secondaries) == 0 {
			c.fail(path+".secondaries", CodeMissing, "write secondaries: [ADDRESS], or remove transfer_key", "nobody may transfer the zone, with or without the key")
		}
		if z.Key != "" || len(z.Primaries) > 0 {
			c.fail(path+".backend", CodeConflict, "write backend: rfc2136, or remove key and primaries", "an embedded zone takes no updates from outside")
		}
		switch servers + len(z.Secondaries) {
		case 0:
			c.fail(path, CodeMissing, "write dns: ADDRESS at each site that shall serve the zone", "no site serves this embedded zone")
		case 1:
			c.warn(path, CodeFewServers, "write dns: ADDRESS at a second site, or list secondaries", "the zone has one authoritative server and goes dark with it")
		}
	}
}

// recordTypes are the types that dnsctl can read from their text.
var recordTypes = []string{"A", "AAAA", "CAA", "CNAME", "DS", "MX", "NS", "SRV", "TXT"}

func (c *checker) records(path string, z Zone) {
	cname := map[string]bool{}
	for _, r := range z.Records {
		cname[r.Name] = cname[r.Name] || r.Type == "CNAME"
	}
	count := map[string]int{}
	for i, r := range z.Records {
		at := fmt.Sprintf("%s.records[%d]", path, i)
		if c.required(at+".name", r.Name, "write a name relative to the zone, or \"@\" for the zone itself") && !isRecordName(r.Name) {
			c.fail(at+".name", CodeBadName, "write lower-case labels relative to the zone, without the final dot, or \"@\"", "record name %s is not a name", Quote(r.Name))
		}
		c.oneOf(at+".type", r.Type, recordTypes...)
		c.required(at+".data", r.Data, "write the data as in a zone file")
		if z.Backend == "rfc2136" && r.Name == "@" && r.Type == "NS" {
			c.fail(at+".type", CodeConflict, "remove the record", "the NS set of a zone on another server belongs to that server")
		}
		if z.Backend == "rfc2136" && r.Name == "_ww-fence" {
			c.fail(at+".name", CodeConflict, "choose another name", "the record _ww-fence of such a zone is the agents' own")
		}
		if count[r.Name]++; count[r.Name] == 2 && cname[r.Name] || r.Type == "CNAME" && r.Name == "@" {
			c.fail(at+".type", CodeConflict, "keep either the CNAME or the other records", "a CNAME at %s excludes every other record there", Quote(r.Name))
		}
	}
}

// isRecordName accepts what a static record may be called: also "@", a
// wildcard and labels that begin with an underscore (SRV, DMARC).
func isRecordName(s string) bool {
	if s == "@" {
		return true
	}
	rest := strings.TrimPrefix(s, "*.")
	if s == "*" {
		return true
	}
	for l := range strings.SplitSeq(rest, ".") {
		if !IsLabel(strings.TrimPrefix(l, "_")) {
			return false
		}
	}
	return len(s) <= 253
}

// names checks public names: well-formed, unique over everything, inside a
// declared zone and outside the part of it that the sites' own names use.
func (c *checker) names(path, who string, names []string) {
	for i, n := range names {
		at := fmt.Sprintf("%s.names[%d]", path, i)
		if !isHostname(n) {
			c.fail(at, CodeBadName, "write a full name in lower case without the final dot, such as www.assos.example", "public name %s is not a host name", Quote(n))
			continue
		}
		c.take(at, "name", "", n, who, "each public name belongs to one guest or common set")
		zone := c.s.ZoneOf(n)
		if zone == "" {
			c.fail(at, CodeNoZone, "declare the zone under \"zones:\", or write a name inside one of them", "name %s lies in no declared zone", Quote(n))
			continue
		}
		rel := strings.TrimSuffix(strings.TrimSuffix(n, zone), ".")
		// Two-level names (design section 9): SITE.site.ZONE are the sites' addresses.
		if rel == "site" || strings.HasSuffix(rel, ".site") {
			c.fail(at, CodeConflict, "choose another name", "names under site.%s are the sites' own addresses", zone)
		}
		if rel == "" || c.beside[zone+"\x00"+rel] {
			c.flattened(at, n)
		}
		if c.fixed[zone+"\x00"+rel] {
			c.fail(at, CodeConflict, "remove the record from the zone: the name follows the guest", "name %s is also a fixed record of its zone", Quote(n))
		}
	}
}

// fixedNames indexes the zone's own records that a moving name would fight
// with. Beside records of other types it is an address and no CNAME.
func fixedNames(zones map[string]Zone) map[string]bool {
	fixed := map[string]bool{}
	for zone, z := range zones {
		for _, r := range z.Records {
			switch r.Type {
			case "A", "AAAA", "CNAME":
				fixed[zone+"\x00"+strings.TrimPrefix(r.Name, "@")] = true
			}
		}
	}
	return fixed
}

// flattened checks a name that cannot be a CNAME: at a site that is known by a
// name alone there would be nothing to write for it.
func (c *checker) flattened(at, name string) {
	for _, id := range c.s.SiteIDs() {
		if s := c.s.Sites[id]; s.Public.Name != "" && !hasPublic(s) {
			c.fail(at, CodeConflict, "write ipv4: or ipv6: at that site, or choose a name without other records below the zone's own",
				"name %s cannot be a CNAME and needs an address, and %s has only the name %s", Quote(name), Quote(id), Quote(s.Public.Name))
			return
		}
	}
}

// besideNames are the names with declared records of their own, beside which a CNAME may not stand.
func besideNames(zones map[string]Zone) map[string]bool {
	out := map[string]bool{}
	for zone, z := range zones {
		for _, r := range z.Records {
			out[zone+"\x00"+strings.TrimPrefix(r.Name, "@")] = true
		}
	}
	return out
}

// addr checks an address that others must be able to reach.
func (c *checker) addr(path string, a netip.Addr) {
	const hint = "write the address of one interface, such as 10.77.1.1 or \"2001:db8::1\""
	switch {
	case !a.IsValid():
		c.fail(path, CodeMissing, hint, "%s is missing", path[strings.LastIndexByte(path, '.')+1:])
	case a.IsUnspecified():
		c.fail(path, CodeBadAddress, hint, "address %s stands for every interface", a)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.fail(path, CodeBadAddress, hint, "address %s is not the address of one machine", a)
	case a.Zone() != "" || a.Is4In6():
		c.fail(path, CodeBadAddress, hint, "address %s must be written plainly, without a zone and not as IPv4 inside IPv6", a)
	}
}

func (c *checker) addrPort(path string, a netip.AddrPort) { c.addr(path, a.Addr()) }
