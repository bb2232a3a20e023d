package probes

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Probing at the defaults of design section 6.
const (
	DefaultEvery   = time.Second
	DefaultTimeout = time.Second
)

// Above maxAllPairs sites each site is probed by maxObservers of the others
// (design section 5), so that the traffic of n sites grows with n, not n².
const (
	maxAllPairs  = 9
	maxObservers = 7
)

// healthPath is what an agent answers to anybody with a certificate of the network.
const healthPath = "/v1/health"

// Options are an agent's own part in what it probes. The zero value probes at
// the defaults from any address.
type Options struct {
	// Every and Timeout of each probe; zero means the default.
	Every, Timeout time.Duration
	// From are this agent's source addresses by kind of path; the first of the target's family is used.
	From map[failover.Path][]netip.Addr
	// Pins are the certificate fingerprints of the hosts' APIs: "pve:HOST" and "pbs:HOST".
	Pins map[string]string
	// Voters always observe every site: a loss needs the votes of a majority of all of them (S4).
	Voters []network.SiteID
	// Tunnels names the WireGuard readings that there are: "agent" (this machine's interface), "router".
	Tunnels []string
	// Guests are the addresses of the guests that run at this agent's site, as Proxmox reports them.
	Guests map[network.GuestID]netip.Addr
}

// Targets returns everything that the agent of self probes, in order and at
// most once per site, name and path. serving says where guests are served that
// are not at home ("": nowhere, on purpose).
func Targets(spec *network.Spec, self network.SiteID, serving map[network.GuestID]network.SiteID, o Options) []Target {
	b := builder{spec: spec, self: self, opts: o, names: namesBySite(spec, serving), declared: namesBySite(spec, nil)}
	for _, id := range spec.SiteIDs() {
		site := spec.Sites[id]
		if id == self {
			b.hosts(id, site, failover.PathLAN)
			continue
		}
		if slices.Contains(Observers(spec.SiteIDs(), id, o.Voters), self) {
			b.remote(id, site)
		}
	}
	b.guests(serving)
	slices.SortFunc(b.out, compareTargets)
	return b.out
}

// AnchorTargets returns the probes of the agent's own uplink. An anchor on 443
// or 853 must complete a TLS handshake, any other must answer DNS: anchors are
// resolvers and name servers (network.yaml gives them port 53).
func AnchorTargets(spec *network.Spec, self network.SiteID, o Options) []Target {
	b := builder{spec: spec, self: self, opts: o}
	for _, a := range spec.Sites[self].Anchors {
		t := Target{Name: "anchor:" + a.String(), Kind: KindDNS}
		if a.Port() == 443 || a.Port() == 853 {
			t.Kind = KindTLS
		}
		b.add(self, failover.PathPublic, a, t)
	}
	slices.SortFunc(b.out, compareTargets)
	return slices.CompactFunc(b.out, func(x, y Target) bool { return x.Name == y.Name })
}

// Observers returns the sites that probe a site, in order: all others in a
// small network, else the voters and as many more as make seven. Every agent
// comes to the same choice (rendezvous hashing: a site that joins or leaves
// changes at most one observer of each other site).
func Observers(sites []network.SiteID, of network.SiteID, voters []network.SiteID) []network.SiteID {
	others := slices.DeleteFunc(slices.Clone(sites), func(s network.SiteID) bool { return s == of })
	if len(sites) > maxAllPairs {
		rank := make(map[network.SiteID]string, len(others))
		for _, s := range others {
			sum := sha256.Sum256([]byte(string(of) + "\x00" + string(s)))
			rank[s] = "1" + string(sum[:])
			if slices.Contains(voters, s) {
				rank[s] = "0" + string(sum[:])
			}
		}
		slices.SortFunc(others, func(x, y network.SiteID) int { return cmp.Compare(rank[x], rank[y]) })
		voting := 0
		for voting < len(others) && rank[others[voting]][0] == '0' {
			voting++
		}
		others = others[:min(max(maxObservers, voting), len(others))]
	}
	slices.Sort(others)
	return others
}

// namesBySite lists the public names that each site serves: those of web
// guests, at home unless serving says otherwise.
func namesBySite(spec *network.Spec, serving map[network.GuestID]network.SiteID) map[network.SiteID][]string {
	out := map[network.SiteID][]string{}
	for _, id := range spec.GuestIDs() {
		g := spec.Guests[id]
		if g.Exposure != "web" {
			continue
		}
		site := servedAt(spec, serving, id)
		out[site] = append(out[site], g.Names...)
	}
	return out
}

func servedAt(spec *network.Spec, serving map[network.GuestID]network.SiteID, g network.GuestID) network.SiteID {
	if site, ok := serving[g]; ok {
		return site
	}
	return spec.Home(g)
}

// tunnelPrefix begins the names of targets that are tunnels; what follows says
// whose counters are read (Options.Tunnels).
const tunnelPrefix = "tunnel:"

// builder collects targets.
type builder struct {
	spec     *network.Spec
	self     network.SiteID
	opts     Options
	names    map[network.SiteID][]string
	declared map[network.SiteID][]string // names by home, wherever they are served
	out      []Target
}

// add completes a target and keeps it, if it has an address.
func (b *builder) add(site network.SiteID, path failover.Path, addr netip.AddrPort, t Target) {
	if !addr.Addr().IsValid() {
		return
	}
	t.Site, t.Path = site, path
	t.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	t.From = sameFamily(b.opts.From[path], t.Addr.Addr())
	t.Every = cmp.Or(b.opts.Every, DefaultEvery)
	t.Timeout = cmp.Or(b.opts.Timeout, DefaultTimeout)
	b.out = append(b.out, t)
}

func sameFamily(from []netip.Addr, to netip.Addr) netip.Addr {
	for _, a := range from {
		if a.Unmap().Is4() == to.Is4() {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// remote adds what is probed of another site.
func (b *builder) remote(id network.SiteID, site network.Site) {
	b.add(id, failover.PathMesh, site.Mesh, Target{Name: "agent", Kind: KindAgent, URL: healthPath})
	b.router(id, site.Router)
	for _, end := range b.opts.Tunnels {
		b.add(id, failover.PathTunnel, site.Mesh, Target{Name: tunnelPrefix + end, Kind: KindTunnel})
	}
	b.hosts(id, site, failover.PathMesh)
	b.zone(id, site)
	b.public(id, site)
}

func (b *builder) router(id network.SiteID, r network.Router) {
	switch r.Type {
	case "routeros":
		b.add(id, failover.PathMesh, netip.AddrPortFrom(r.Address, 0), Target{Name: "router", Kind: KindICMP})
	case "tcp":
		b.add(id, failover.PathMesh, netip.AddrPortFrom(r.Address, r.Port), Target{Name: "router", Kind: KindBanner})
	}
}

// hosts adds the machines of a site.
func (b *builder) hosts(id network.SiteID, site network.Site, path failover.Path) {
	for _, h := range site.HostIDs() {
		host := site.Hosts[h]
		if host.PVE != nil {
			name := "pve:" + string(h)
			b.add(id, path, endpoint(host.PVE.URL), Target{Name: name, Kind: KindTLS, Pin: b.opts.Pins[name]})
		}
		if host.PBS != nil {
			name := "pbs:" + string(h)
			b.add(id, path, endpoint(host.PBS.URL), Target{Name: name, Kind: KindTLS, Pin: b.opts.Pins[name]})
		}
		b.add(id, path, host.Dropbear, Target{Name: dropbearPrefix + string(h), Kind: KindBanner, Expect: "dropbear"})
	}
}

// endpoint reads the address of an API URL. One with a name instead of an
// address has none: probes resolve nothing, since the resolver may be what fails.
func endpoint(raw string) netip.AddrPort {
	u, err := url.Parse(raw)
	if err != nil {
		return netip.AddrPort{}
	}
	port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
	addr, err := netip.ParseAddrPort(hostPort(u.Hostname(), port))
	if err != nil {
		return netip.AddrPort{}
	}
	return addr
}

func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

// zone adds the authoritative server of a site, asked for a zone that it serves.
func (b *builder) zone(id network.SiteID, site network.Site) {
	// The way to a server that is declared at the site's public address is the
	// internet: as a mesh observation it would hide that the mesh is cut.
	path := failover.PathMesh
	if addr := site.DNS.Addr(); addr == site.Public.IPv4 || addr == site.Public.IPv6 {
		path = failover.PathPublic
	}
	for _, name := range slices.Sorted(maps.Keys(b.spec.Zones)) {
		if b.spec.Zones[name].Backend == "embedded" {
			b.add(id, path, site.DNS, Target{Name: "dns", Kind: KindDNS, Expect: name})
			return
		}
	}
}

// public adds what the world sees of a site: its entry, and every name that it serves.
func (b *builder) public(id network.SiteID, site network.Site) {
	addr := site.Public.IPv4
	if !addr.IsValid() {
		addr = site.Public.IPv6
	}
	if !addr.IsValid() || site.Public.HTTPS == 0 {
		return
	}
	entry := netip.AddrPortFrom(addr, site.Public.HTTPS)
	names := slices.Sorted(slices.Values(b.names[id]))
	// The entry is asked for a name that is declared there, wherever that is
	// served now: another target would begin with an empty window, and a site
	// that was just failed over would pass for one that nobody has asked.
	first := ""
	if own := slices.Sorted(slices.Values(b.declared[id])); len(own) > 0 {
		first = own[0]
	}
	b.add(id, failover.PathPublic, entry, Target{Name: "entry", Kind: KindTLS, ServerName: first})
	for _, name := range slices.Compact(names) {
		b.add(id, failover.PathPublic, entry, Target{Name: "name:" + name, Kind: KindHTTP, ServerName: name, URL: "/", Public: true})
	}
}

// guests adds the declared checks of the guests that run here, from inside the site.
func (b *builder) guests(serving map[network.GuestID]network.SiteID) {
	for _, id := range b.spec.GuestIDs() {
		addr, check := b.opts.Guests[id], b.spec.Guests[id].Check
		if check == nil || servedAt(b.spec, serving, id) != b.self {
			continue
		}
		if !addr.IsValid() && strings.Contains(check.URL+check.TCP, "{address}") {
			continue // Proxmox has not told it
		}
		t := Target{Name: "guest:" + string(id)}
		host := addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
		switch {
		case check.URL != "":
			t.Kind, t.URL = KindHTTP, strings.ReplaceAll(check.URL, "{address}", host)
			t.Expect = strings.TrimSpace(statusText(check.Status) + " " + check.Expect)
			b.add(b.self, failover.PathGuest, endpoint(t.URL), t)
		case check.TCP != "":
			t.Kind = KindTCP
			to, err := netip.ParseAddrPort(strings.ReplaceAll(check.TCP, "{address}", host))
			if err == nil {
				b.add(b.self, failover.PathGuest, to, t)
			}
		}
	}
}

func statusText(status int) string {
	if status == 0 {
		return ""
	}
	return strconv.Itoa(status)
}

func compareTargets(x, y Target) int {
	return cmp.Or(cmp.Compare(x.Site, y.Site), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Path, y.Path))
}
