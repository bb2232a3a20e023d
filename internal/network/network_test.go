package network_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/network"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// sample is a small network without a problem: two briques and a witness.
func sample() network.Spec {
	site := func(n int, other network.SiteID) network.Site {
		a := func(last int) string { return fmt.Sprintf("10.%d.1.%d", n, last) }
		return network.Site{
			Kind: network.Brique, Mesh: netip.AddrPortFrom(addr(fmt.Sprintf("10.77.%d.1", n)), 0),
			Public: network.Public{IPv4: addr(fmt.Sprintf("203.0.113.%d", n))},
			DNS:    netip.AddrPortFrom(addr(fmt.Sprintf("203.0.113.%d", n)), 0),
			Hosts: map[network.HostID]network.Host{
				network.HostID(fmt.Sprintf("pve%d", n)): {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://" + a(10) + ":8006", Node: "pve"}},
				network.HostID(fmt.Sprintf("raoull%d", n)): {
					Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://" + a(20) + ":8006", Node: "raoull"},
					PBS:     &network.PBS{URL: "https://" + a(20) + ":8007", Datastore: "backups"},
					Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 90000, Last: 90999}},
					Sources: map[network.SiteID][]string{other: {"pbs-" + string(other)}},
				},
			},
		}
	}
	agreed := network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-03-02"}
	return network.Spec{
		Network: "assos",
		Zones:   map[string]network.Zone{"assos.example": {}},
		Sites:   map[network.SiteID]network.Site{"a": site(1, "b"), "b": site(2, "a"), "w": {Kind: network.Witness, Mesh: netip.AddrPortFrom(addr("10.77.9.1"), 0)}},
		Structures: map[network.StructureID]network.Structure{
			"sa": {Home: "a", VLAN: 120, Mode: network.ModeAuto, OffSite: agreed},
			"sb": {Home: "b", VLAN: 130, OffSite: agreed},
		},
		Guests: map[network.GuestID]network.Guest{
			"db":  {ID: 101, Type: network.VM, Structure: "sa", Host: "pve1", Priority: 1},
			"web": {ID: 102, Type: network.CT, Structure: "sa", Host: "pve1", Priority: 2, After: []network.GuestID{"db"}, Names: []string{"www.assos.example"}},
			"own": {ID: 101, Type: network.CT, Structure: "sb", Host: "raoull2"},
		},
	}
}

// foreign puts the zone on a server that takes updates.
func foreign(s *network.Spec, records ...network.Record) {
	s.Zones["assos.example"] = network.Zone{
		Backend: "rfc2136", Key: "k", Primaries: []netip.AddrPort{netip.AddrPortFrom(addr("192.0.2.53"), 0)}, Records: records,
	}
}

// lan gives site a a LAN.
func lan(s *network.Spec, l network.LAN) {
	site := s.Sites["a"]
	site.LAN = l
	s.Sites["a"] = site
}

// comesHome declares that a structure's machine takes its guests back, changed by edit.
func comesHome(edit func(*network.Host)) func(*network.Spec) {
	return func(s *network.Spec) {
		h := s.Sites["a"].Hosts["pve1"]
		h.Restore = &network.Restore{Storage: "local", Bridge: "vmbr0", IDs: network.IDRange{First: 95000, Last: 95999}}
		h.Lineages = map[network.SiteID]network.LineageStorages{"a": {Away: "pbs-away-a", Sealed: "pbs-sealed-a"}}
		if edit != nil {
			edit(&h)
		}
		s.Sites["a"].Hosts["pve1"] = h
	}
}

func TestValidateAcceptsTheSample(t *testing.T) {
	spec := sample()
	if got := spec.WithDefaults().Validate(); len(got) > 0 {
		t.Fatalf("problems: %v", got)
	}
}

// TestValidate changes one thing of the sample and wants exactly one problem.
// The files in netyaml/testdata cover what a file can say; here stands what
// needs a value that a file cannot hold, and what tells on several things.
func TestValidate(t *testing.T) {
	guest := func(s *network.Spec, id network.GuestID, f func(*network.Guest)) {
		g := s.Guests[id]
		f(&g)
		s.Guests[id] = g
	}
	site := func(s *network.Spec, id network.SiteID, f func(*network.Site)) {
		v := s.Sites[id]
		f(&v)
		s.Sites[id] = v
	}
	zone := func(s *network.Spec, f func(*network.Zone)) {
		z := s.Zones["assos.example"]
		f(&z)
		s.Zones["assos.example"] = z
	}
	for _, tt := range []struct {
		name   string
		change func(*network.Spec)
		want   string // path, code
	}{
		{"no sites", func(s *network.Spec) { *s = network.Spec{Network: "n"} }, "sites WWW-0105"},
		{"network name", func(s *network.Spec) { s.Network = "Assos" }, "network WWW-0108"},
		{"self dependency", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.After = []network.GuestID{"db"} })
		}, "guests.db.after WWW-0114"},
		{"dependency twice", func(s *network.Spec) {
			guest(s, "web", func(g *network.Guest) { g.After = []network.GuestID{"db", "db"} })
		}, "guests.web.after[1] WWW-0107"},
		{"prefers home", func(s *network.Spec) {
			guest(s, "web", func(g *network.Guest) { g.Prefer = []network.SiteID{"a"} })
		}, "guests.web.prefer[0] WWW-0124"},
		{"prefers a witness", func(s *network.Spec) {
			guest(s, "web", func(g *network.Guest) { g.Prefer = []network.SiteID{"w"} })
		}, "guests.web.prefer[0] WWW-0119"},
		{"id too small", func(s *network.Spec) { guest(s, "db", func(g *network.Guest) { g.ID = 99 }) }, "guests.db.id WWW-0115"},
		{"id in the range of another host of its site", func(s *network.Spec) { guest(s, "db", func(g *network.Guest) { g.ID = 90999 }) }, "sites.a.hosts.raoull1.restore.ids WWW-0118"},
		{"id in the range of its host, to which it came home", func(s *network.Spec) { guest(s, "own", func(g *network.Guest) { g.ID = 90999 }) }, ""},
		{"id in the range of another site", func(s *network.Spec) {
			site(s, "a", func(v *network.Site) {
				h := v.Hosts["raoull1"]
				h.Restore.IDs = network.IDRange{First: 1000, Last: 1999}
				v.Hosts["raoull1"] = h
			})
			guest(s, "own", func(g *network.Guest) { g.ID = 1500 })
		}, ""},
		{"negative memory", func(s *network.Spec) { guest(s, "db", func(g *network.Guest) { g.Memory = -1 }) }, "guests.db WWW-0115"},
		{"hidden with a name", func(s *network.Spec) { guest(s, "web", func(g *network.Guest) { g.Exposure = "none" }) }, "guests.web.exposure WWW-0124"},
		{"a live restore of a container", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Type, g.LiveRestore = network.CT, true })
		}, "guests.db.live_restore WWW-0119"},
		{"hooks that call nothing", func(s *network.Spec) { guest(s, "db", func(g *network.Guest) { g.Hooks = &network.Hooks{} }) }, "guests.db.hooks WWW-0105"},
		{"a command line for a program", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Check = &network.Check{Exec: "/usr/bin/probe"} })
		}, "guests.db.check.exec WWW-0108"},
		{"a hook without a program", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Hooks = &network.Hooks{Before: &network.Hook{Veto: true}} })
		}, "guests.db.hooks.before.run WWW-0105"},
		{"a hook that takes for ever", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) {
				g.Hooks = &network.Hooks{Before: &network.Hook{Run: "ask", Within: network.Duration(time.Hour)}}
			})
		}, "guests.db.hooks.before.within WWW-0115"},
		{"a veto when it is too late", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Hooks = &network.Hooks{After: &network.Hook{Run: "tell", Veto: true}} })
		}, "guests.db.hooks.after.veto WWW-0124"},
		{"empty check", func(s *network.Spec) { guest(s, "db", func(g *network.Guest) { g.Check = &network.Check{} }) }, "guests.db.check WWW-0105"},
		{"tcp check with a status", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Check = &network.Check{TCP: "{address}:25", Status: 200} })
		}, "guests.db.check.status WWW-0124"},
		{"tcp check without a port", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Check = &network.Check{TCP: "{address}"} })
		}, "guests.db.check.tcp WWW-0111"},
		{"status", func(s *network.Spec) {
			guest(s, "db", func(g *network.Guest) { g.Check = &network.Check{URL: "http://{address}/", Status: 99} })
		}, "guests.db.check.status WWW-0115"},
		{"guest on a PBS", func(s *network.Spec) {
			site(s, "b", func(v *network.Site) {
				v.Hosts["pbs"] = network.Host{Owner: network.OwnerRaoull, PBS: &network.PBS{URL: "https://10.2.1.30:8007", Datastore: "d"}}
			})
			guest(s, "own", func(g *network.Guest) { g.Host = "pbs" })
		}, "guests.own.host WWW-0119"},
		{"IPv6 as IPv4", func(s *network.Spec) { site(s, "b", func(v *network.Site) { v.Public.IPv4 = addr("2001:db8::1") }) }, "sites.b.public.ipv4 WWW-0111"},
		{"IPv4 in IPv6", func(s *network.Spec) {
			site(s, "b", func(v *network.Site) { v.Public.IPv6 = addr("::ffff:203.0.113.2") })
		}, "sites.b.public.ipv6 WWW-0111"},
		{"broadcast", func(s *network.Spec) {
			site(s, "w", func(v *network.Site) { v.Anchors = []netip.AddrPort{netip.MustParseAddrPort("255.255.255.255:53")} })
		}, "sites.w.anchors[0] WWW-0111"},
		{"port without a public address", func(s *network.Spec) { site(s, "w", func(v *network.Site) { v.Public.HTTPS = 443 }) }, "sites.w.public WWW-0105"},
		{"router without an address", func(s *network.Spec) { site(s, "b", func(v *network.Site) { v.Router.Type = "routeros" }) }, "sites.b.router.address WWW-0105"},
		{"router by TCP without a port", func(s *network.Spec) {
			site(s, "b", func(v *network.Site) { v.Router = network.Router{Type: "tcp", Address: addr("10.77.2.254")} })
		}, "sites.b.router.port WWW-0105"},
		{"upstream twice", func(s *network.Spec) { site(s, "b", func(v *network.Site) { v.Upstreams = []string{"x", "x"} }) }, "sites.b.upstreams[1] WWW-0107"},
		{"a structure's machine takes its guests back", comesHome(nil), ""},
		{"a structure's machine receives those of others", comesHome(func(h *network.Host) { h.Sources = map[network.SiteID][]string{"b": {"pbs-b"}} }), "sites.a.hosts.pve1.sources WWW-0119"},
		{"warm copies on a structure's machine", comesHome(func(h *network.Host) { h.Restore.Warm.Budget = 1 }), "sites.a.hosts.pve1.restore.warm WWW-0119"},
		{"dropbear without a port", func(s *network.Spec) {
			site(s, "a", func(v *network.Site) {
				h := v.Hosts["pve1"]
				h.Dropbear = netip.AddrPortFrom(addr("10.1.1.10"), 0)
				v.Hosts["pve1"] = h
			})
		}, "sites.a.hosts.pve1.dropbear WWW-0105"},
		{"storage id", func(s *network.Spec) { s.Sites["a"].Hosts["raoull1"].Restore.Storage = "1x" }, "sites.a.hosts.raoull1.restore.storage WWW-0108"},
		{"bridge", func(s *network.Spec) { s.Sites["a"].Hosts["raoull1"].Restore.Bridge = "vmbr0,tag=1" }, "sites.a.hosts.raoull1.restore.bridge WWW-0108"},
		{"parallel", func(s *network.Spec) { s.Sites["a"].Hosts["raoull1"].Restore.Parallel = -1 }, "sites.a.hosts.raoull1.restore.parallel WWW-0115"},
		{"budget of warm copies", func(s *network.Spec) { s.Sites["a"].Hosts["raoull1"].Restore.Warm.Budget = -1 }, "sites.a.hosts.raoull1.restore.warm.budget WWW-0115"},
		{"certificate", func(s *network.Spec) {
			g := s.Guests["db"]
			g.Certificate = "none"
			s.Guests["db"] = g
		}, "guests.db.certificate WWW-0110"},
		{"preparation", func(s *network.Spec) {
			v := s.Structures["sb"]
			v.Prepare = "later"
			s.Structures["sb"] = v
		}, "structures.sb.prepare WWW-0110"},
		{"standby of a structure", func(s *network.Spec) {
			v := s.Structures["sb"]
			v.Standby = "hot"
			s.Structures["sb"] = v
		}, "structures.sb.standby WWW-0110"},
		{"witness as home", func(s *network.Spec) {
			v := s.Structures["sb"]
			v.Home = "w"
			s.Structures["sb"] = v
		}, "structures.sb.home WWW-0119"},
		{"vlan of a common set", func(s *network.Spec) {
			s.Common = map[string]network.CommonSet{"rproxy": {VLAN: 120, Members: map[network.SiteID]netip.Addr{"a": addr("10.10.10.5")}}}
		}, "structures.sa.vlan WWW-0107|common.rproxy.vlan WWW-0107"},
		{"name of a common set", func(s *network.Spec) {
			s.Common = map[string]network.CommonSet{"rproxy": {Names: []string{"www.assos.example"}, Members: map[network.SiteID]netip.Addr{"a": addr("10.10.10.5")}}}
		}, "common.rproxy.names[0] WWW-0107"},
		{"common set without members", func(s *network.Spec) { s.Common = map[string]network.CommonSet{"rproxy": {}} }, "common.rproxy.members WWW-0105"},
		{"embedded zone with a key", func(s *network.Spec) { zone(s, func(z *network.Zone) { z.Key = "k" }) }, "zones.assos.example.backend WWW-0124"},
		{"ttl", func(s *network.Spec) { zone(s, func(z *network.Zone) { z.TTL = network.Duration(time.Millisecond) }) }, "zones.assos.example.ttl WWW-0115"},
		{"CNAME beside another record", func(s *network.Spec) {
			zone(s, func(z *network.Zone) {
				z.Records = []network.Record{{Name: "x", Type: "A", Data: "203.0.113.9"}, {Name: "x", Type: "CNAME", Data: "y.example."}}
			})
		}, "zones.assos.example.records[1].type WWW-0124"},
		{"record type", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.Records = []network.Record{{Name: "x", Type: "HINFO", Data: "?"}} })
		}, "zones.assos.example.records[0].type WWW-0110"},
		{"record at the apex beside a moving name", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.Records = []network.Record{{Name: "@", Type: "MX", Data: "10 mail.example."}} })
			guest(s, "web", func(g *network.Guest) { g.Names = []string{"assos.example"} })
		}, ""},
		{"text beside a moving name", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.Records = []network.Record{{Name: "www", Type: "TXT", Data: `"v"`}} })
		}, ""},
		{"address beside a moving name", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.Records = []network.Record{{Name: "www", Type: "A", Data: "203.0.113.9"}} })
		}, "guests.web.names[0] WWW-0124"},
		{"zone on another server", func(s *network.Spec) { foreign(s) }, ""},
		{"zone on another server, without one", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { *z = network.Zone{Backend: "rfc2136", Key: "k"} })
		}, "zones.assos.example.primaries WWW-0105"},
		{"its NS set", func(s *network.Spec) {
			foreign(s, network.Record{Name: "@", Type: "NS", Data: "ns.example."})
		}, "zones.assos.example.records[0].type WWW-0124"},
		{"its fence", func(s *network.Spec) {
			foreign(s, network.Record{Name: "_ww-fence", Type: "TXT", Data: `"x"`})
		}, "zones.assos.example.records[0].name WWW-0124"},
		{"expire too short", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.SOA.Expire = network.Duration(time.Hour) })
		}, "zones.assos.example.soa.expire WWW-0115"},
		{"retry longer than refresh", func(s *network.Spec) {
			zone(s, func(z *network.Zone) {
				z.SOA = network.SOA{Refresh: network.Duration(time.Minute), Retry: network.Duration(time.Hour)}
			})
		}, "zones.assos.example.soa.retry WWW-0124"},
		{"its transfers", func(s *network.Spec) {
			foreign(s)
			zone(s, func(z *network.Zone) { z.TransferKey = "t" })
		}, "zones.assos.example.transfer_key WWW-0124"},
		{"transfer key for nobody", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.TransferKey = "t" })
		}, "zones.assos.example.secondaries WWW-0105"},
		{"resolver of every interface", func(s *network.Spec) {
			zone(s, func(z *network.Zone) { z.Resolvers = []netip.AddrPort{netip.AddrPortFrom(addr("0.0.0.0"), 53)} })
		}, "zones.assos.example.resolvers[0] WWW-0111"},
		{"local view", func(s *network.Spec) {
			lan(s, network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Entry: addr("10.1.10.5")})
		}, ""},
		{"local view for nobody", func(s *network.Spec) { lan(s, network.LAN{Entry: addr("10.1.10.5")}) }, "sites.a.lan.prefixes WWW-0105"},
		{"local view without an entry", func(s *network.Spec) {
			lan(s, network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
		}, "sites.a.lan.entry WWW-0105"},
		{"local view for everybody", func(s *network.Spec) {
			lan(s, network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Entry: addr("10.1.10.5")})
		}, "sites.a.lan.prefixes[0] WWW-0115"},
		{"local view of no network", func(s *network.Spec) {
			lan(s, network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/16")}, Entry: addr("10.1.10.5")})
		}, "sites.a.lan.prefixes[0] WWW-0111"},
		{"structure override only repeats what it changes", func(s *network.Spec) {
			v := s.Structures["sb"]
			v.Policy.Commit = network.Duration(10 * time.Second)
			v.Policy.CommitReason = "lab"
			s.Structures["sb"] = v
		}, "structures.sb.policy.commit WWW-0116"},
		{"guest commit before prepare", func(s *network.Spec) {
			s.Policy.CommitReason = "lab"
			guest(s, "db", func(g *network.Guest) { g.Commit = network.Duration(10 * time.Second) })
		}, "guests.db.commit WWW-0116"},
		{"levels of the lab", func(s *network.Spec) {
			sec := func(n int) network.Duration { return network.Duration(time.Duration(n) * time.Second) }
			s.Policy = network.Policy{PrepareA: sec(6), Alert: sec(7), PrepareB: sec(8), Commit: sec(15), CommitDual: sec(15), CommitReason: "lab"}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sample()
			tt.change(&s)
			var got []string
			for _, p := range s.WithDefaults().Validate() {
				got = append(got, p.Path+" "+p.Code)
				if p.Message == "" || p.Hint == "" || p.Severity != network.Error || !slices.Contains(network.ProblemCodes(), p.Code) {
					t.Errorf("incomplete problem %+v", p)
				}
			}
			if want := strings.Split(tt.want, "|"); !(len(got) == 0 && tt.want == "") && !(len(got) == 1 && slices.Contains(want, got[0])) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCyclesAreNamedOnce(t *testing.T) {
	s := sample()
	for i, after := range []string{"g1", "g2", "g0"} {
		s.Guests[network.GuestID(fmt.Sprintf("g%d", i))] = network.Guest{ID: 200 + i, Type: network.CT, Structure: "sa", Host: "pve1", After: []network.GuestID{network.GuestID(after), "db"}}
	}
	got := s.WithDefaults().Validate()
	if len(got) != 1 || got[0].Path != "guests.g0.after" || !strings.HasSuffix(got[0].Message, "g0 → g1 → g2 → g0") {
		t.Errorf("got %v", got)
	}
}

// TestValidateIsFastOnALargeNetwork: a hostile file can hold this much.
func TestValidateIsFastOnALargeNetwork(t *testing.T) {
	s := sample()
	for i := range 20000 {
		id := network.GuestID(fmt.Sprintf("x%d", i))
		s.Guests[id] = network.Guest{ID: 1000 + i, Type: network.CT, Structure: "nobody", Host: "nowhere", After: []network.GuestID{network.GuestID(fmt.Sprintf("x%d", (i+1)%20000)), "x0"}}
	}
	begin := time.Now()
	got := s.WithDefaults().Validate()
	if took := time.Since(begin); took > 30*time.Second { // what is quadratic takes minutes; the machine may be busy
		t.Errorf("took %s", took)
	}
	if len(got) < 40000 {
		t.Errorf("got %d problems, want every dangling name", len(got))
	}
}

func TestDiff(t *testing.T) {
	old := sample()
	next := sample()
	g := next.Guests["web"]
	g.Priority, g.Names = 3, []string{"www.assos.example", "neu.assos.example"}
	next.Guests["web"] = g
	delete(next.Guests, "own")
	next.Guests["new"] = network.Guest{ID: 300, Type: network.VM, Structure: "sb", Host: "raoull2"}
	next.Policy.Commit = network.Duration(10 * time.Minute)
	var got []string
	for _, c := range network.Diff(old.WithDefaults(), next.WithDefaults()) {
		got = append(got, c.String())
	}
	want := []string{
		"+ guests.new: {exposure: web, host: raoull2, id: 300, priority: 3, standby: cold, structure: sb, type: vm}",
		"- guests.own: {exposure: web, host: raoull2, id: 101, priority: 3, standby: cold, structure: sb, type: ct}",
		"~ guests.web.names: [www.assos.example] → [www.assos.example, neu.assos.example]",
		"~ guests.web.priority: 2 → 3",
		"~ policy.commit: 5m → 10m",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	first := network.Diff(nil, old.WithDefaults())
	if !slices.ContainsFunc(first, func(c network.Change) bool { return c.Path == "sites.a" && c.Kind == network.Added }) {
		t.Errorf("first network does not add its sites: %v", first)
	}
	if d := network.Diff(nil, nil); len(d) != 0 {
		t.Errorf("nothing against nothing: %v", d)
	}
}

func TestTextForms(t *testing.T) {
	var v struct {
		D []network.Duration
		B []network.Bytes
		I []network.IDRange
	}
	in := `{"D":["45s","5m","1h30m0s","14d","250ms","0s"],"B":["8GiB","1.5TiB","512B","0B"],"I":["90000-90999"]}`
	if err := json.Unmarshal([]byte(in), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"D":["45s","5m","1h30m","14d","250ms","0s"],"B":["8GiB","1536GiB","512B","0B"],"I":["90000-90999"]}`
	if string(out) != want {
		t.Errorf("got %s, want %s", out, want)
	}
	for _, bad := range []string{"", "5", "-5m", "1.5d", "40000d", "d", "5 m", "99999999999h"} {
		if err := new(network.Duration).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("duration %q was accepted", bad)
		}
	}
	for _, bad := range []string{"", "8", "8GB", "-1GiB", "NaNGiB", "1e30TiB", "InfB"} {
		if err := new(network.Bytes).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("size %q was accepted", bad)
		}
	}
	for _, bad := range []string{"", "100", "99-200", "200-100", "100-1999999999", "a-b", "100-200-300"} {
		if err := new(network.IDRange).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("range %q was accepted", bad)
		}
	}
}

func TestDelaysAndPlaces(t *testing.T) {
	s := sample()
	a := s.Sites["a"]
	a.Upstreams = []string{"fibre", "lte"}
	s.Sites["a"] = a
	sb := s.Structures["sb"]
	sb.Policy.Commit = network.Duration(10 * time.Minute)
	s.Structures["sb"] = sb
	db := s.Guests["db"]
	db.Commit = network.Duration(90 * time.Second)
	s.Guests["db"] = db
	spec := s.WithDefaults()
	for id, want := range map[network.GuestID]time.Duration{"web": 2 * time.Minute, "own": 10 * time.Minute, "db": 90 * time.Second} {
		if got := spec.CommitDelay(id); got != want {
			t.Errorf("commit delay of %s is %s, want %s", id, got, want)
		}
	}
	if got := spec.Home("own"); got != "b" {
		t.Errorf("home of own is %q", got)
	}
	if id, _, ok := spec.Target("a"); !ok || id != "raoull1" {
		t.Errorf("target of a is %q, %t", id, ok)
	}
	if _, _, ok := spec.Target("w"); ok {
		t.Error("a witness is a target")
	}
	if id, _, ok := spec.Store("b"); !ok || id != "raoull2" {
		t.Errorf("store of b is %q, %t", id, ok)
	}
	if again := spec.WithDefaults(); !cmp.Equal(spec.Policy, again.Policy) || len(network.Diff(spec, again)) > 0 {
		t.Error("expanding defaults twice changes the network")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"moulin", "fabrique", "quai", "priority", "prefer", "s"}
	for word, want := range map[string]string{
		"mouiln": "moulin", "fabrque": "fabrique", "prority": "priority", "qai": "quai", "t": "", "paris": "",
		strings.Repeat("m", 1000): "", "": "",
	} {
		if got := network.Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestProblemOnOneLine(t *testing.T) {
	p := network.Problem{Path: "sites.a", Code: "WWW-0107", Message: "taken", Severity: network.Error, At: network.Position{File: "n.yaml", Line: 4, Column: 2}}
	if got := p.String(); got != "n.yaml:4:2: error WWW-0107: taken" {
		t.Errorf("got %q", got)
	}
	p.At = network.Position{}
	if got := p.String(); got != "sites.a: error WWW-0107: taken" {
		t.Errorf("got %q", got)
	}
	if got := network.Quote(strings.Repeat("é", 100)); len([]rune(got)) != 67 {
		t.Errorf("long value is shown as %q", got)
	}
}
