package doctor

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// RouterNames are the static DNS entries of this site's router.
type RouterNames struct {
	Why     string // they could not be read; "" = they were
	Entries []RouterName
}

// RouterName is one entry in use, as RouterOS spells it.
type RouterName struct {
	Name, Regexp string // one of the two
	Type         string // A, AAAA, CNAME, FWD, NXDOMAIN and others
	Value        string // address, name, or where it asks
	Subdomains   bool   // of names below Name, too
}

// Lead is where the name of a guest leads for the members in this site's LAN: the local
// view of the zone.
type Lead struct {
	Name, Zone string
	Site       failover.SiteID // that serves it
	Addresses  []netip.Addr    // none: not known
}

// String is the entry as the router prints it, in short.
func (n RouterName) String() string {
	name := n.Name
	if name == "" {
		name = "regexp " + n.Regexp
	}
	if n.Subdomains {
		name += " (and below)"
	}
	return strings.TrimSpace(name + " " + n.Type + " " + n.Value)
}

// find is how the router's console finds the entry, an A or AAAA by its address, since A is no
// type there but the lack of one. Names are quoted, and a quote, a dollar or a backslash in
// one would need more than that: "".
func (n RouterName) find() string {
	key, text, of := "name", n.Name, "type="+n.Type
	if text == "" {
		key, text = "regexp", n.Regexp
	}
	if n.Type == "A" || n.Type == "AAAA" {
		of = "address=" + n.Value
	}
	if strings.ContainsAny(text, "\"$\\") || strings.ContainsAny(of, "\"$\\[]; ") {
		return ""
	}
	return "[find " + key + "=\"" + text + "\" " + of + "]"
}

// routerNames holds the router's static entries against the local view: whom they send
// elsewhere, whom they leave to the internet, and what fails without it.
func (in Input) routerNames(r *result) {
	if in.Facts == nil || in.Facts.Router == nil || in.State.Network == nil {
		return
	}
	site, router := in.Local.Site, in.Facts.Router
	if router.Why != "" {
		r.add(found(DNS, CodeRouterUnread, site, "router of "+string(site), "why", router.Why))
		return
	}
	r.checked += len(router.Entries)
	in.forwards(r)
	wrong, order := map[string][]string{}, []misled{}
	var waits []string
	for _, l := range in.Leads {
		rows := router.answering(l.Name)
		for _, row := range rows {
			if in.right(l, row) {
				continue
			}
			m := misled{row, l.Site, l.Addresses}
			if wrong[m.key()] == nil {
				order = append(order, m)
			}
			wrong[m.key()] = append(wrong[m.key()], l.Name)
		}
		if onlyA(rows) && !router.forwarded(l.Zone) {
			waits = append(waits, l.Name)
		}
	}
	for _, m := range order {
		r.add(found(DNS, CodeRouterMisleads, site, "router of "+string(site), "entry", m.row.String(), "names", few(wrong[m.key()]),
			"at", string(m.at), "command", m.mend(site)))
	}
	in.leftOut(r)
	if len(waits) > 0 {
		r.add(found(DNS, CodeRouterNoAAAA, site, "router of "+string(site), "names", few(waits), "count", itoa(len(waits)),
			"command", "/ip dns static add type=AAAA name="+waits[0]+" address=::ffff"))
	}
}

// misled is an entry that answers for names which are served somewhere else.
type misled struct {
	row  RouterName
	at   failover.SiteID
	want []netip.Addr
}

func (m misled) key() string { return m.row.String() + " " + string(m.at) }

// mend is what to type at the router: the address of the local view for what is served
// here, nothing for what is not, which then is asked of the zone's servers.
func (m misled) mend(here failover.SiteID) string {
	find := m.row.find()
	i := slices.IndexFunc(m.want, func(a netip.Addr) bool { return m.row.Type == "A" && a.Is4() || m.row.Type == "AAAA" && a.Is6() })
	switch {
	case find == "":
		return "/ip dns static print"
	case m.at == here && i >= 0 && m.row.Regexp == "" && !m.row.Subdomains:
		return "/ip dns static set " + find + " address=" + m.want[i].String()
	}
	return "/ip dns static remove " + find
}

// answering are the entries from which the router answers for a name: the first regular
// expression that fits, else those of the name, else those of the nearest name above
// (reference/mikrotik-wireguard.md, /ip/dns/static).
func (n RouterNames) answering(name string) (out []RouterName) {
	for _, e := range n.Entries {
		if e.Regexp == "" {
			continue
		}
		// What Go does not read, RouterOS may: nothing is said of it.
		if re, err := regexp.Compile(e.Regexp); err == nil && re.MatchString(name) {
			return []RouterName{e}
		}
	}
	for at := name; at != ""; _, at, _ = strings.Cut(at, ".") {
		for _, e := range n.Entries {
			if e.Regexp == "" && strings.EqualFold(strings.TrimSuffix(e.Name, "."), at) && (at == name || e.Subdomains) {
				out = append(out, e)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// forwarded says whether the router asks somebody for a whole zone.
func (n RouterNames) forwarded(zone string) bool {
	return slices.ContainsFunc(n.answering("any."+zone), func(e RouterName) bool { return e.Type == "FWD" })
}

func onlyA(rows []RouterName) bool {
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(e RouterName) bool { return e.Type != "A" || e.Regexp != "" })
}

// right says whether an entry leads to where the name is served, or says nothing of that.
func (in Input) right(l Lead, e RouterName) bool {
	spec, addr := in.State.Network, netip.Addr{}
	switch e.Type {
	case "NXDOMAIN":
		return false
	case "CNAME":
		return in.sameLead(l, strings.TrimSuffix(strings.ToLower(e.Value), "."))
	case "A", "AAAA":
		addr, _ = netip.ParseAddr(e.Value)
	default:
		return true
	}
	own := spec.Sites[l.Site]
	known := slices.Concat(l.Addresses, []netip.Addr{own.Public.IPv4, own.Public.IPv6, own.LAN.Entry}) // the last by the mesh
	if e.Value == "" || slices.Contains(known, addr) {
		return true
	}
	elsewhere := slices.ContainsFunc(spec.SiteIDs(), func(id failover.SiteID) bool {
		s := spec.Sites[id]
		return id != l.Site && slices.Contains([]netip.Addr{s.Public.IPv4, s.Public.IPv6, s.LAN.Entry}, addr)
	})
	switch {
	case e.Type == "AAAA": // one that leads nowhere spares clients the wait for the internet
		return !elsewhere
	case l.Site == in.Local.Site && !own.LAN.Entry.IsValid():
		return !elsewhere && addr.IsPrivate() // which of them is not declared
	}
	return len(l.Addresses) == 0 && !elsewhere && !addr.IsPrivate()
}

// sameLead says whether an alias leads to the site that serves the name, as far as the
// network declares it.
func (in Input) sameLead(l Lead, alias string) bool {
	if site, ok := strings.CutSuffix(alias, ".site."+l.Zone); ok {
		return site == string(l.Site)
	}
	for _, other := range in.Leads {
		if other.Name == alias {
			return other.Site == l.Site
		}
	}
	return true
}

// forwards tells of zones that the router asks of another site's agent: it answers for
// the internet, and not at all when this site is cut off.
func (in Input) forwards(r *result) {
	spec, here := in.State.Network, in.Local.Site
	for _, e := range in.Facts.Router.Entries {
		addr, err := netip.ParseAddr(e.Value)
		zone := strings.TrimSuffix(strings.ToLower(e.Name), ".")
		if _, ours := spec.Zones[zone]; err != nil || e.Type != "FWD" || !ours {
			continue
		}
		for _, site := range spec.SiteIDs() {
			s := spec.Sites[site]
			if site == here || addr != s.DNS.Addr() && addr != s.Mesh.Addr() {
				continue
			}
			command := "/ip dns static print"
			if own := spec.Sites[here].DNS; own.IsValid() && e.find() != "" {
				command = "/ip dns static set " + e.find() + " forward-to=" + own.Addr().String()
			}
			r.add(found(DNS, CodeRouterForwards, here, "router of "+string(here), "entry", e.String(), "zone", zone, "at", string(site), "command", command))
			break
		}
	}
}

// leftOut tells of names that are served here and have no entry, while others of their
// zone have one: a router without any leaves all to the internet, by choice.
func (in Input) leftOut(r *result) {
	router, here := in.Facts.Router, in.Local.Site
	some, none := map[string]bool{}, map[string][]Lead{}
	for _, l := range in.Leads {
		if rows := router.answering(l.Name); len(rows) > 0 {
			some[l.Zone] = true
		} else if l.Site == here {
			none[l.Zone] = append(none[l.Zone], l)
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(none)) {
		if !some[zone] || router.forwarded(zone) {
			continue
		}
		var names []string
		for _, l := range none[zone] {
			names = append(names, l.Name)
		}
		address := "ADDRESS"
		if entry := in.State.Network.Sites[here].LAN.Entry; entry.IsValid() {
			address = entry.String()
		}
		r.add(found(DNS, CodeRouterLacks, here, "router of "+string(here), "names", few(names), "zone", zone,
			"command", "/ip dns static add name="+names[0]+" address="+address+" ttl=1m"))
	}
}

// RouterReasons are what is wrong with the router's static entries, for the screen of
// this site: as the findings, each with what to type there.
func RouterReasons(in Input) (out []failover.Reason) {
	var r result
	in.routerNames(&r)
	sortFindings(r.findings)
	for _, f := range r.findings {
		if f.Severity == Info {
			continue
		}
		args := maps.Clone(f.Args)
		args["mend"] = args["command"]
		out = append(out, failover.Reason{Code: f.Code, Args: args})
	}
	return out
}
