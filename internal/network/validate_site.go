package network

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *checker) site(id SiteID, s Site) {
	path := "sites." + string(id)
	c.label(path, "site", string(id))
	c.oneOf(path+".kind", string(s.Kind), string(Brique), string(Parpaing), string(Witness))
	c.siteAddresses(path, id, s)
	ways := map[string]bool{"": true}
	for i, u := range s.Upstreams {
		if ways[u] {
			c.fail(fmt.Sprintf("%s.upstreams[%d]", path, i), CodeTaken, "list each independent way to the internet once", "upstream %s is listed twice or empty", Quote(u))
		}
		ways[u] = true
	}
	for _, h := range s.HostIDs() {
		c.host(id, h, s.Hosts[h])
	}
	c.siteKind(path, s)
	c.idRanges(path, id, s)
}

// siteAddresses checks the addresses of a site. An address belongs to one
// site: observers tell sites apart by it. Within a site it may serve several
// purposes.
func (c *checker) siteAddresses(path string, id SiteID, s Site) {
	c.addrPort(path+".mesh", s.Mesh)
	c.own(path+".mesh", id, s.Mesh.Addr())
	if p := s.Public.IPv4; p.IsValid() {
		c.addr(path+".public.ipv4", p)
		c.own(path+".public.ipv4", id, p)
		if !p.Is4() {
			c.fail(path+".public.ipv4", CodeBadAddress, "write it under ipv6:", "%s is not an IPv4 address", p)
		}
	}
	if p := s.Public.IPv6; p.IsValid() {
		c.addr(path+".public.ipv6", p)
		c.own(path+".public.ipv6", id, p)
		if !p.Is6() {
			c.fail(path+".public.ipv6", CodeBadAddress, "write it under ipv4:", "%s is not an IPv6 address", p)
		}
	}
	if name := s.Public.Name; name != "" {
		switch {
		case !isHostname(name):
			c.fail(path+".public.name", CodeBadName, "write a full name in lower case without the final dot", "public name %s is not a host name", Quote(name))
		case c.s.ZoneOf(name) != "":
			c.fail(path+".public.name", CodeConflict, "write the name that the dynamic DNS service keeps", "name %s lies in a zone of this network", Quote(name))
		}
	}
	if hasPublic(s) {
		c.oneOf(path+".public.entry", s.Public.Entry, "box", "router")
	} else if s.Public.Name == "" && s.Public != (Public{}) {
		c.fail(path+".public", CodeMissing, "write ipv4: ADDRESS or ipv6: ADDRESS", "the public entry has no address")
	}
	for i, a := range s.Anchors {
		c.addrPort(fmt.Sprintf("%s.anchors[%d]", path, i), a)
	}
	if s.DNS.IsValid() {
		c.addrPort(path+".dns", s.DNS)
		c.own(path+".dns", id, s.DNS.Addr())
	}
	c.lan(path+".lan", s.LAN)
	c.router(path+".router", id, s.Router)
}

// lan checks the local view: without prefixes nobody would see it, and a prefix
// of everything would show it to the internet.
func (c *checker) lan(path string, l LAN) {
	switch {
	case !l.Entry.IsValid() && len(l.Prefixes) == 0:
		return
	case len(l.Prefixes) == 0:
		c.fail(path+".prefixes", CodeMissing, "write prefixes: [10.10.0.0/16], the networks of the site's members and its router", "nobody is given the local view")
	}
	c.addr(path+".entry", l.Entry)
	for i, p := range l.Prefixes {
		at := fmt.Sprintf("%s.prefixes[%d]", path, i)
		switch {
		case !p.IsValid() || p.Masked() != p:
			c.fail(at, CodeBadAddress, "write the network's first address and its length, such as 10.10.0.0/16", "%s is not a network", p)
		case p.Bits() < 8:
			c.fail(at, CodeRange, "write the site's own networks, such as 10.10.0.0/16", "network %s is far more than one site", p)
		}
	}
}

func (c *checker) router(path string, id SiteID, r Router) {
	if r == (Router{}) {
		return
	}
	c.oneOf(path+".type", r.Type, "routeros", "tcp", "none")
	if r.Address.IsValid() {
		c.addr(path+".address", r.Address)
		c.own(path+".address", id, r.Address)
	} else if r.Type != "none" {
		c.fail(path+".address", CodeMissing, "write the router's address on the mesh, or type: none", "the router has no address")
	}
	if r.Type == "tcp" && r.Port == 0 {
		c.fail(path+".port", CodeMissing, "write the port of a service that speaks first, such as port: 22", "a router probed by TCP needs a port")
	}
}

// own claims an address for a site.
func (c *checker) own(path string, id SiteID, a netip.Addr) {
	if !a.IsValid() || a.IsUnspecified() {
		return // said already
	}
	if first, ok := c.seen[a]; ok && first != id {
		c.fail(path, CodeTaken, "give each site its own addresses", "address %s is already given to %s", a, Quote(first))
		return
	}
	c.seen[a] = id
}

func hasPublic(s Site) bool { return s.Public.IPv4.IsValid() || s.Public.IPv6.IsValid() }

func (c *checker) host(site SiteID, id HostID, h Host) {
	path := "sites." + string(site) + ".hosts." + string(id)
	c.label(path, "host", string(id))
	if first := c.hostSite[id]; first != site {
		c.fail(path, CodeTaken, "give each machine a name of its own", "host name %s is already given at %s", Quote(id), Quote(first))
	}
	c.oneOf(path+".owner", string(h.Owner), string(OwnerStructure), string(OwnerRaoull))
	if h.PVE == nil && h.PBS == nil {
		c.fail(path, CodeMissing, "write pve: {url, node}, pbs: {url, datastore}, or both", "host %s has neither PVE nor PBS", Quote(id))
	}
	if h.PVE != nil {
		c.endpoint(path+".pve.url", site, id, h.PVE.URL, "8006")
		c.required(path+".pve.node", h.PVE.Node, "write the node's name as Proxmox shows it")
	}
	if h.PBS != nil {
		c.pbs(path+".pbs", site, id, *h.PBS)
	}
	if h.Dropbear.IsValid() {
		c.addrPort(path+".dropbear", h.Dropbear)
		c.own(path+".dropbear", site, h.Dropbear.Addr())
		if h.Dropbear.Port() == 0 {
			c.fail(path+".dropbear", CodeMissing, "write ADDRESS:PORT, such as \"10.10.1.10:2222\"", "the Dropbear address has no port")
		}
	}
	c.target(path, h)
}

func (c *checker) pbs(path string, site SiteID, host HostID, p PBS) {
	c.endpoint(path+".url", site, host, p.URL, "8007")
	c.required(path+".datastore", p.Datastore, "write the name of the datastore")
	if p.Guest == "" {
		return
	}
	if g, ok := c.s.Guests[p.Guest]; !ok {
		dangling(c, path+".guest", "guest", p.Guest, c.s.Guests)
	} else if g.Host != host {
		c.fail(path+".guest", CodeConflict, "name a guest of this host, or remove the key", "guest %s runs on %s, not on %s", Quote(p.Guest), Quote(g.Host), Quote(host))
	}
}

// endpoint checks the URL of a Proxmox API. Only an address literal is
// accepted: after a disaster the resolver may be one of the dead.
func (c *checker) endpoint(path string, site SiteID, host HostID, raw, port string) {
	hint := "write https://ADDRESS:" + port
	if !c.required(path, raw, hint) {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		c.fail(path, CodeBadURL, hint, "url %s is not an https URL", Quote(raw))
		return
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		c.fail(path, CodeBadURL, hint, "url %s must be nothing but scheme, address and port", Quote(raw))
		return
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		c.fail(path, CodeBadURL, hint, "url %s names a host; it must work without DNS", Quote(raw))
		return
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		c.fail(path, CodeBadURL, hint, "url %s has no port", Quote(raw))
		return
	}
	c.addr(path, a)
	c.own(path, site, a)
	c.take(path, "endpoint", "", netip.AddrPortFrom(a, uint16(n)).String(), string(host), "each PVE and PBS belongs to one host")
}

// siteKind checks that a site has what its kind promises (design section 2).
func (c *checker) siteKind(path string, s Site) {
	if s.Kind == Parpaing || s.Kind == Witness {
		for _, id := range s.HostIDs() {
			if h := s.Hosts[id]; h.Restore != nil && h.Owner != OwnerStructure { // a structure's takes its own back
				c.fail(path+".hosts."+string(id)+".restore", CodeKind, "remove restore:, or declare the site as a brique", "a %s never receives guests", s.Kind)
			}
		}
	}
	pve, pbs := ofRaoull(s)
	switch {
	case s.Kind == Brique && !pve:
		c.fail(path+".kind", CodeKind, "declare a host with owner: raoull and pve:, or another kind", "a brique needs a PVE of Raoull's")
	case s.Kind == Brique && !pbs:
		c.fail(path+".kind", CodeKind, "declare pbs: on a host with owner: raoull, or another kind", "a brique needs a PBS of Raoull's")
	case s.Kind == Parpaing && pve:
		c.fail(path+".kind", CodeKind, "write kind: brique", "a parpaing has no PVE of Raoull's")
	case s.Kind == Parpaing && !pbs:
		c.fail(path+".kind", CodeKind, "declare a host with owner: raoull and pbs:, or write kind: witness", "a parpaing needs a PBS of Raoull's")
	case s.Kind == Witness && len(s.Hosts) > 0:
		c.fail(path+".kind", CodeKind, "remove the hosts, or declare the site as a parpaing or brique", "a witness holds no PVE and no PBS")
	}
}

// ofRaoull says whether Raoull has a PVE and a PBS at a site.
func ofRaoull(s Site) (pve, pbs bool) {
	for _, h := range s.Hosts {
		if h.Owner == OwnerRaoull {
			pve, pbs = pve || h.PVE != nil, pbs || h.PBS != nil
		}
	}
	return pve, pbs
}

// target checks the part of a host that receives guests.
func (c *checker) target(path string, h Host) {
	if r := h.Restore; r != nil {
		// A structure's PVE receives nobody's guests; its own come back to it (failback).
		switch own := h.Owner == OwnerStructure; {
		case h.PVE == nil:
			c.fail(path+".restore", CodeKind, "move restore: to a host with pve:", "only a PVE receives guests")
		case own && len(h.Sources) > 0:
			c.fail(path+".sources", CodeKind, "remove sources:, or move it to a host with owner: raoull", "a structure's PVE receives no guests but its own that come back")
		case own && r.Warm != Warm{}:
			c.fail(path+".restore.warm", CodeKind, "remove warm:", "no warm copies are kept on a structure's PVE")
		}
		c.storage(path+".restore.storage", r.Storage)
		if c.required(path+".restore.bridge", r.Bridge, "write the VLAN-aware bridge, such as bridge: vmbr0") && (len(r.Bridge) > 15 || strings.ContainsAny(r.Bridge, " /,=")) {
			c.fail(path+".restore.bridge", CodeBadName, "write the name of a bridge, such as vmbr0", "bridge %s is not the name of an interface", Quote(r.Bridge))
		}
		if r.IDs == (IDRange{}) {
			c.fail(path+".restore.ids", CodeMissing, "write a range of free guest ids, such as ids: 90000-90999", "ids is missing")
		}
		if r.Parallel < 1 || r.Parallel > 64 {
			c.fail(path+".restore.parallel", CodeRange, "write parallel: 2", "parallel %d is not between 1 and 64", r.Parallel)
		}
		if r.StartEvery < 0 || r.StartEvery > Duration(10*time.Minute) {
			c.fail(path+".restore.start_every", CodeRange, "write start_every: 10s", "start_every %s is not between 0s and 10m", r.StartEvery)
		}
		if r.Reserve < 0 || r.ReserveStorage < 0 {
			c.fail(path+".restore", CodeRange, "write sizes such as 8GiB", "reserve and reserve_storage cannot be negative")
		}
		c.warm(path+".restore.warm", r.Warm)
	} else if len(h.Sources) > 0 || len(h.Lineages) > 0 {
		c.fail(path, CodeConflict, "declare restore: here, or remove sources: and lineages:", "sources and lineages are for a host that receives guests")
	}
	c.storages(path, h)
	c.fence(path+".fence", h)
}

// fence: only a host whose guests can be rescued beside it is ever put off.
func (c *checker) fence(path string, h Host) {
	switch {
	case h.Fence == "":
	case h.Owner != OwnerStructure || h.PVE == nil:
		c.fail(path, CodeKind, "remove fence:, or declare it at the structure's PVE", "only a PVE of a structure is put off")
	case !IsLabel(h.Fence):
		c.fail(path, CodeBadName, "write a name of letters, digits and dashes, such as fence: plug-moulin", "fence name %s is not usable", Quote(h.Fence))
	}
}

// storages checks the PVE storage entries of each lost site. One entry holds
// one key and one namespace, so it stands for one site and one purpose (S8).
func (c *checker) storages(path string, h Host) {
	for _, from := range slices.Sorted(maps.Keys(h.Sources)) {
		at := path + ".sources." + string(from)
		if _, ok := c.s.Sites[from]; !ok {
			dangling(c, at, "site", from, c.s.Sites)
		}
		if len(h.Sources[from]) == 0 {
			c.fail(at, CodeMissing, "list the storage entries, or remove the key", "no storage entry is named for %s", Quote(from))
		}
		for i, name := range h.Sources[from] {
			c.entry(fmt.Sprintf("%s[%d]", at, i), path, name, "sources of "+string(from))
		}
	}
	for _, from := range slices.Sorted(maps.Keys(h.Lineages)) {
		at := path + ".lineages." + string(from)
		if _, ok := c.s.Sites[from]; !ok {
			dangling(c, at, "site", from, c.s.Sites)
		}
		c.entry(at+".away", path, h.Lineages[from].Away, "lineages of "+string(from))
		c.entry(at+".sealed", path, h.Lineages[from].Sealed, "lineages of "+string(from))
	}
}

func (c *checker) entry(path, scope, name, who string) {
	if c.storage(path, name) {
		c.take(path, "storage entry", scope, name, who, "declare one PVE storage entry (one key, one namespace) per site and purpose")
	}
}

// storage checks a PVE storage id: pve-storage wants a letter, then letters,
// digits, "-", "_" or ".", at least two characters, no sign at the end.
func (c *checker) storage(path, id string) bool {
	if !c.required(path, id, "write the id of a PVE storage entry, such as local-zfs") {
		return false
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	bad := len(id) < 2 || len(id) > 100 || strings.Trim(id, alnum+"-_.") != "" ||
		!strings.ContainsRune(alnum[:52], rune(id[0])) || !strings.ContainsRune(alnum, rune(id[len(id)-1]))
	if bad {
		c.fail(path, CodeBadName, "write the id as storage.cfg has it, such as local-zfs", "storage %s is not a PVE storage id", Quote(id))
	}
	return !bad
}

// idRanges checks that the ids which restored guests get collide with nothing
// else on the same site.
func (c *checker) idRanges(path string, site SiteID, s Site) {
	type claim struct {
		host HostID
		ids  IDRange
	}
	var claims []claim
	for _, id := range s.HostIDs() {
		if r := s.Hosts[id].Restore; r != nil && r.IDs != (IDRange{}) {
			claims = append(claims, claim{id, r.IDs})
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(a.ids.First, b.ids.First) })
	at := func(h HostID) string { return path + ".hosts." + string(h) + ".restore.ids" }
	for i, b := range claims {
		if i > 0 && claims[i-1].ids.Last >= b.ids.First {
			a := claims[i-1]
			c.fail(at(b.host), CodeIDRange, "give each host of a site a range of its own", "ids %d-%d overlap with %d-%d of %s",
				b.ids.First, b.ids.Last, a.ids.First, a.ids.Last, Quote(a.host))
		}
	}
	for _, g := range c.homes[site] {
		id := c.s.Guests[g].ID
		n, found := slices.BinarySearchFunc(claims, id, func(cl claim, id int) int { return cmp.Compare(cl.ids.First, id) })
		if !found {
			n--
		}
		// A guest that came home has an id of its host's range.
		if n >= 0 && claims[n].ids.Contains(id) && claims[n].host != c.s.Guests[g].Host {
			c.fail(at(claims[n].host), CodeIDRange, "choose a range that holds no guest of this site", "ids %d-%d contain %d, the id of guest %s",
				claims[n].ids.First, claims[n].ids.Last, id, Quote(g))
		}
	}
}
