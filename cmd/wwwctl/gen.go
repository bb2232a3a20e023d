package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// genCommand prints configuration for machines that World Wide Welsh does not
// manage; it writes and changes nothing.
func genCommand(a *app, fs *flag.FlagSet) runner {
	file := fs.String("file", "", "a network.yaml `file` instead of the network in force")
	return func(ctx context.Context, args []string) error {
		if len(args) > 0 && args[0] == "lineages" {
			if err := need(args, 1, 2, ""); err != nil {
				return err
			}
			return a.genLineages(ctx, *file, args[1:])
		}
		kinds := slices.Sorted(maps.Keys(dnsSnippets()))
		if len(args) < 2 || args[0] != "dns" || !slices.Contains(kinds, args[1]) {
			return usagef("wwwctl gen dns needs one of %s", strings.Join(kinds, ", "))
		}
		if err := need(args, 2, 3, ""); err != nil {
			return err
		}
		spec, err := a.declared(ctx, *file)
		if err != nil {
			return err
		}
		goals := dnsctl.Goals(stateOf(spec))
		if len(args) == 3 {
			name := strings.TrimSuffix(args[2], ".")
			goals = slices.DeleteFunc(goals, func(g dnsctl.Goal) bool { return g.Zone != name })
		}
		if len(goals) == 0 {
			return fail(exitFailure, "WWW-3014", "why", "the network declares no such zone")
		}
		for i, g := range goals {
			if i > 0 {
				a.printf("\n")
			}
			text, err := dnsSnippets()[args[1]](snippet{Goal: g, decl: spec.Zones[g.Zone], sites: spec})
			if err != nil {
				return fail(exitFailure, "WWW-3014", "why", err.Error())
			}
			a.printf("%s", text)
		}
		return nil
	}
}

// declared returns the network of a file, or the one in force.
func (a *app) declared(ctx context.Context, file string) (*network.Spec, error) {
	if file != "" {
		return a.readNetwork(file)
	}
	n, err := request(ctx, a, func(ctx context.Context) (api.Network, error) { return a.client.Network(ctx) })
	if err == nil && n.Spec == nil {
		err = fail(exitFailure, "WWW-3014", "why", "no network is declared yet; use --file network.yaml")
	}
	return n.Spec, err
}

// stateOf is the state of a network in which nothing has happened yet.
func stateOf(spec *network.Spec) *failover.State {
	s := failover.NewState()
	for i, c := range []failover.Command{failover.Bootstrap{Network: spec.Network, Generation: 1}, failover.ApplyNetwork{Spec: spec}} {
		// Neither can be rejected by a state that knows nothing.
		_ = s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(0, 0)}, c)
	}
	return s
}

// snippet is one zone to write configuration for.
type snippet struct {
	dnsctl.Goal
	decl  network.Zone
	sites *network.Spec
}

// dnsSnippets are the writers by kind. For a zone with backend rfc2136 a server
// is the primary that takes our updates; for an embedded one it is a secondary
// of the agents.
func dnsSnippets() map[string]func(snippet) (string, error) {
	choose := func(primary, secondary func(snippet) string) func(snippet) (string, error) {
		return func(s snippet) (string, error) {
			if s.Embedded {
				return secondary(s), nil
			}
			return primary(s), nil
		}
	}
	return map[string]func(snippet) (string, error){
		"bind": choose(snippet.bindPrimary, snippet.bindSecondary),
		"knot": choose(snippet.knotPrimary, snippet.knotSecondary),
		"powerdns": func(s snippet) (string, error) {
			if s.Embedded {
				return "", fmt.Errorf("zone %s is served by the agents: as its secondary use knot, nsd or bind", s.Zone)
			}
			return s.powerDNSPrimary(), nil
		},
		"nsd": func(s snippet) (string, error) {
			if !s.Embedded {
				return "", fmt.Errorf("NSD takes no updates and cannot be the primary of %s: use bind, knot or powerdns", s.Zone)
			}
			return s.nsdSecondary(), nil
		},
		"registrar": func(s snippet) (string, error) { return s.registrar(), nil },
	}
}

// page of a snippet.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// names lists what our key may write, the fence first.
func (s snippet) names() []string {
	return slices.Concat([]string{"_ww-fence." + s.Apex()}, slices.Sorted(maps.Keys(s.Owned)))
}

func (s snippet) types(name string) []string {
	if types := s.Owned[name]; len(types) > 0 {
		return types
	}
	return []string{"TXT"}
}

func (s snippet) key() string { return strings.TrimSuffix(s.Key, ".") }

func (s snippet) transferKey() string { return strings.TrimSuffix(s.decl.TransferKey, ".") }

func keyNote(t *text, comment, name, where string) {
	t.line("%s The key: tsig-keygen -a hmac-sha256 %s (bind9-utils), or keymgr -t %s hmac-sha256 (knot).", comment, name, name)
	t.line("%s Its secret goes here and, alone on one line, into a file of mode 0600 at every site;", comment)
	t.line("%s wwwd.yaml there: tsig: {%s: {secret_file: /etc/www/secrets/%s.tsig}}%s", comment, name, name, where)
}

func (s snippet) bindPrimary() string {
	t := &text{}
	t.line("// BIND as primary of %s, updated by World Wide Welsh (named.conf)", s.Zone)
	keyNote(t, "//", s.key(), "")
	t.line("key \"%s\" { algorithm hmac-sha256; secret \"SECRET\"; };", s.key())
	t.line("zone \"%s\" {", s.Zone)
	t.line("  type primary;")
	t.line("  file \"/var/lib/bind/%s.zone\";   // BIND rewrites it: edit only between rndc freeze and rndc thaw", s.Zone)
	t.line("  update-policy {                 // these names and types, and nothing else")
	for _, name := range s.names() {
		t.line("    grant %s name %s %s;", s.key(), name, strings.Join(s.types(name), " "))
	}
	t.line("  };")
	t.line("  // dnssec-policy default; inline-signing yes;   // BIND signs; the fence does not mind")
	t.line("};")
	return t.String()
}

func (s snippet) knotPrimary() string {
	t := &text{}
	t.line("# Knot as primary of %s, updated by World Wide Welsh (knot.conf)", s.Zone)
	keyNote(t, "#", s.key(), "")
	t.line("key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: SECRET", s.key())
	var types []string
	for _, name := range s.names() {
		types = append(types, s.types(name)...)
	}
	slices.Sort(types)
	t.line("acl:\n  - id: www-updates         # one rule: Knot grants an update only if one rule covers the whole of it")
	t.line("    key: %s\n    action: update\n    update-owner: name\n    update-owner-match: equal", s.key())
	t.line("    update-owner-name: [%s]\n    update-type: [%s]", strings.Join(s.names(), ", "), strings.Join(slices.Compact(types), ", "))
	t.line("zone:\n  - domain: %s\n    acl: www-updates", s.Zone)
	t.line("    zonefile-load: difference-no-serial\n    journal-content: all")
	t.line("    # dnssec-signing: on    # Knot signs; the fence does not mind")
	return t.String()
}

func (s snippet) powerDNSPrimary() string {
	t := &text{}
	t.line("# PowerDNS as primary of %s, updated by World Wide Welsh", s.Zone)
	from, moving := s.sources()
	t.line("# pdns.conf (the agents' addresses in the mesh and on the internet; without TSIG nothing is accepted for this zone):")
	t.line("#   dnsupdate=yes\n#   allow-dnsupdate-from=%s", strings.Join(from, ","))
	if len(moving) > 0 {
		t.line("# ! %s: the address is not declared or changes. If this server is not reached over the mesh,", strings.Join(moving, ", "))
		t.line("#   write 0.0.0.0/0,::/0 there: the key decides who may update.")
	}
	keyNote(t, "#", s.key(), "")
	t.line("pdnsutil import-tsig-key %s hmac-sha256 SECRET", s.key())
	t.line("pdnsutil set-kind %s primary", s.Zone)
	t.line("pdnsutil set-meta %s TSIG-ALLOW-DNSUPDATE %s", s.Zone, s.key())
	t.line("pdnsutil set-meta %s SOA-EDIT-DNSUPDATE INCREASE", s.Zone)
	t.line("pdnsutil set-meta %s NOTIFY-DNSUPDATE 1", s.Zone)
	t.line("# The key may write every name of the zone: PowerDNS grants by name only with a Lua policy.")
	return t.String()
}

// sources are the addresses from which the agents ask this server: those of the mesh where it is reached over the mesh,
// else those of the sites' lines. moving are the sites whose line has no address that stays.
func (s snippet) sources() (from, moving []string) {
	for _, id := range s.sites.SiteIDs() {
		site := s.sites.Sites[id]
		for _, a := range []netip.Addr{site.Mesh.Addr(), site.Public.IPv4, site.Public.IPv6} {
			if a.IsValid() {
				from = append(from, a.String())
			}
		}
		if site.Public.Name != "" || !site.Public.IPv4.IsValid() && !site.Public.IPv6.IsValid() {
			moving = append(moving, string(id))
		}
	}
	return from, moving
}

// agents are the embedded servers of all sites.
func (s snippet) agents() map[network.SiteID]netip.AddrPort {
	out := map[network.SiteID]netip.AddrPort{}
	for id, site := range s.sites.Sites {
		if site.DNS.IsValid() {
			out[id] = site.DNS
		}
	}
	return out
}

func (s snippet) secondaryHead(t *text, comment, program string) {
	t.line("%s %s as secondary of %s: every agent is a primary, so that any survivor will do", comment, program, s.Zone)
	t.line("%s network.yaml: zones: {%s: {secondaries: [THIS SERVER'S ADDRESS], transfer_key: NAME}}", comment, s.Zone)
	if k := s.transferKey(); k != "" {
		keyNote(t, comment, k, "")
	} else {
		t.line("%s No transfer_key is declared: the agents go by this server's address alone.", comment)
	}
}

func (s snippet) bindSecondary() string {
	t := &text{}
	s.secondaryHead(t, "//", "BIND")
	key := ""
	if k := s.transferKey(); k != "" {
		t.line("key \"%s\" { algorithm hmac-sha256; secret \"SECRET\"; };", k)
		key = fmt.Sprintf(" key \"%s\"", k)
	}
	t.line("zone \"%s\" {\n  type secondary;\n  file \"/var/cache/bind/%s.sec\";\n  primaries {", s.Zone, s.Zone)
	var notify []string
	agents := s.agents()
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		t.line("    %s port %d%s;   // %s", agents[id].Addr(), agents[id].Port(), key, id)
		notify = append(notify, agents[id].Addr().String()+";", s.sites.Sites[id].Mesh.Addr().String()+";")
	}
	t.line("  };\n  allow-notify { %s };", strings.Join(slices.Compact(notify), " "))
	t.line("  // transfer-source ADDRESS;   // with several addresses: the one in secondaries")
	t.line("  min-refresh-time 60; max-refresh-time 600; min-retry-time 5; max-retry-time 60;")
	t.line("  // inline-signing yes; dnssec-policy default;   // the agents' zone is unsigned: sign it here\n};")
	return t.String()
}

func (s snippet) knotSecondary() string {
	t := &text{}
	s.secondaryHead(t, "#", "Knot")
	key := s.transferKey()
	if key != "" {
		t.line("key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: SECRET", key)
	}
	t.line("remote:   # with several addresses: in each remote via: the one in secondaries")
	var ids, from []string
	agents := s.agents()
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		t.line("  - id: www-%s\n    address: %s@%d", id, agents[id].Addr(), agents[id].Port())
		if key != "" {
			t.line("    key: %s", key)
		}
		ids = append(ids, "www-"+string(id))
		from = append(from, agents[id].Addr().String(), s.sites.Sites[id].Mesh.Addr().String())
	}
	t.line("acl:\n  - id: www-notify\n    address: [%s]\n    action: notify", strings.Join(slices.Compact(from), ", "))
	t.line("zone:\n  - domain: %s\n    master: [%s]\n    acl: www-notify", s.Zone, strings.Join(ids, ", "))
	t.line("    refresh-max-interval: 10m\n    retry-max-interval: 1m")
	t.line("    dnssec-signing: on            # the agents' zone is unsigned: Knot signs it here\n    zonefile-load: none\n    journal-content: all")
	t.line("    serial-policy: unixtime\n    # the DS for the registrar: keymgr %s ds", s.Zone)
	return t.String()
}

func (s snippet) nsdSecondary() string {
	t := &text{}
	s.secondaryHead(t, "#", "NSD")
	key := "NOKEY"
	if k := s.transferKey(); k != "" {
		t.line("key:\n    name: \"%s\"\n    algorithm: hmac-sha256\n    secret: \"SECRET\"", k)
		key = k
	}
	t.line("zone:\n    name: \"%s\"\n    zonefile: \"%s.sec\"\n    multi-master-check: yes   # ask all of them, take the newest", s.Zone, s.Zone)
	agents := s.agents()
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		t.line("    request-xfr: AXFR %s@%d %s", agents[id].Addr(), agents[id].Port(), key)
	}
	var seen []string
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		for _, addr := range []netip.Addr{agents[id].Addr(), s.sites.Sites[id].Mesh.Addr()} {
			if !slices.Contains(seen, addr.String()) {
				seen = append(seen, addr.String())
				t.line("    allow-notify: %s NOKEY", addr)
			}
		}
	}
	t.line("    # outgoing-interface: ADDRESS   # with several addresses: the one in secondaries")
	t.line("    max-refresh-time: 600\n    max-retry-time: 60")
	t.line("# server: xfrd-reload-timeout: 1     # else NSD shows a new zone up to this many seconds late")
	return t.String()
}

// registrar prints what the parent zone must say.
func (s snippet) registrar() string {
	t := &text{}
	t.line("; What the registrar of %s must have. It takes hours to change: never part of a failover.", s.Zone)
	if !s.Embedded {
		t.line("; The zone's own servers are its name servers; World Wide Welsh changes nothing there.")
		return t.String()
	}
	var servers []string
	for _, r := range s.Records {
		if r.Type == "NS" && r.Name == s.Apex() {
			servers = append(servers, r.Data)
			t.line("%s", r)
		}
	}
	for _, r := range s.Records {
		if (r.Type == "A" || r.Type == "AAAA") && slices.Contains(servers, r.Name) {
			t.line("%s   ; glue", r)
			if addr, err := netip.ParseAddr(r.Data); err == nil && (addr.IsPrivate() || addr.IsLoopback()) {
				t.line("; ! %s is private: nobody on the internet reaches this name server. Declare public dns:, or", addr)
				t.line(";   NS records of public secondaries at \"@\" (hidden primaries).")
			}
		}
	}
	t.line("; The agents do not sign: no DS, unless secondaries sign for them (wwwctl gen dns knot, docs/dns.md).")
	return t.String()
}
