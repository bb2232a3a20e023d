package dnsctl_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// withZone is state with the zone's declaration changed.
func withZone(t *testing.T, change func(*network.Spec, *network.Zone)) *failover.State {
	t.Helper()
	spec := declared()
	z := spec.Zones["assos.example"]
	change(spec, &z)
	spec.Zones["assos.example"] = z
	s := failover.NewState()
	for i, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec.WithDefaults()}} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestANameWithOtherRecordsIsAnAddress(t *testing.T) {
	z := only(t, withZone(t, func(_ *network.Spec, z *network.Zone) {
		z.Records = append(z.Records, network.Record{Name: "cloud.moulin", Type: "TXT", Data: `"v=1"`})
	}))
	const name = "cloud.moulin.assos.example."
	if a, alias := lookup(z, name, "A"), lookup(z, name, "CNAME"); !slices.Equal(a, []string{"203.0.113.1"}) || alias != nil {
		t.Errorf("got A %v and CNAME %v, want the address: a CNAME excludes the TXT", a, alias)
	}
	if _, err := z.Canonical(); err != nil {
		t.Error(err)
	}
}

func TestDeclaredNameServersReplaceTheSites(t *testing.T) {
	z := only(t, withZone(t, func(_ *network.Spec, z *network.Zone) {
		z.Records = append(z.Records, network.Record{Name: "@", Type: "NS", Data: "ns1.provider.example."}, network.Record{Name: "@", Type: "NS", Data: "ns2.provider.example."})
	}))
	if got, want := lookup(z, "assos.example.", "NS"), []string{"ns1.provider.example.", "ns2.provider.example."}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: the agents are hidden primaries", got, want)
	}
	if z.SOA.MName != "ns1.provider.example." {
		t.Errorf("got primary %s", z.SOA.MName)
	}
}

func TestAHeldNameStaysWhereItWas(t *testing.T) {
	s := state(t)
	s.Holds["cloud.moulin.assos.example"] = failover.NameHold{Site: "moulin"}
	s = serve(s, "quai", "cloud", "front")
	z := only(t, s)
	if got := lookup(z, "cloud.moulin.assos.example.", "CNAME"); !slices.Equal(got, []string{"moulin.site.assos.example."}) {
		t.Errorf("embedded: got %v, want the place where it was held", got)
	}
	if got := lookup(z, "assos.example.", "A"); !slices.Equal(got, []string{"203.0.113.2"}) {
		t.Errorf("embedded: got %v for the name beside it", got)
	}
	foreign := foreignState(t, "192.0.2.53:53")
	foreign.Holds["cloud.failover.test"] = failover.NameHold{Site: "moulin"}
	g, ok := dnsctl.GoalOf(foreign, "failover.test")
	if !ok || g.Owned["cloud.failover.test."] != nil || g.Owned["www.failover.test."] == nil {
		t.Errorf("rfc2136: got %v, want the held name to be nobody's but the person's", g.Owned)
	}
	for _, r := range g.Records {
		if r.Name == "cloud.failover.test." {
			t.Errorf("rfc2136: record %s is desired for a held name", r)
		}
	}
}

func TestTheLocalViewDiffersInTheSitesOwnAddressOnly(t *testing.T) {
	s := withZone(t, func(spec *network.Spec, _ *network.Zone) {
		m := spec.Sites["moulin"]
		m.LAN = network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Entry: netip.MustParseAddr("10.10.10.5")}
		spec.Sites["moulin"] = m
	})
	if got := dnsctl.DesiredAt(s, "quai"); got != nil {
		t.Errorf("a site without a declared LAN got a view: %v", got)
	}
	local := dnsctl.DesiredAt(s, "moulin")[0]
	for name, want := range map[string][]string{
		"moulin.site.assos.example.": {"10.10.10.5"}, "quai.site.assos.example.": {"203.0.113.2"}, "assos.example.": {"10.10.10.5"},
	} {
		if got := lookup(local, name, "A"); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if got := lookup(local, "moulin.site.assos.example.", "AAAA"); got != nil {
		t.Errorf("got AAAA %v: a client would take the way through the internet", got)
	}
	// A guest that is away is reached through the internet, from its home LAN, too (T7).
	if got := lookup(dnsctl.DesiredAt(serve(s, "quai", "cloud", "front"), "moulin")[0], "assos.example.", "A"); !slices.Equal(got, []string{"203.0.113.2"}) {
		t.Errorf("away: got %v", got)
	}
}

// TestLeadsAreTheLocalView: of guests, in zones of every back end, where they are served or held.
func TestLeadsAreTheLocalView(t *testing.T) {
	s := serve(withZone(t, func(spec *network.Spec, _ *network.Zone) {
		m := spec.Sites["moulin"]
		m.LAN = network.LAN{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Entry: netip.MustParseAddr("10.10.10.5")}
		spec.Sites["moulin"] = m
	}), "quai", "front")
	held := s.Clone()
	held.Holds["cloud.moulin.assos.example"] = failover.NameHold{Site: "quai"}
	foreign := "203.0.113.1 2001:db8::1"
	for _, tt := range []struct {
		name string
		s    *failover.State
		site network.SiteID
		want []string // name, site and addresses
	}{
		{"in the LAN", s, "moulin", []string{"cloud.moulin.assos.example moulin [10.10.10.5]", "assos.example quai [203.0.113.2]"}},
		{"in another, without an entry", s, "quai", []string{"cloud.moulin.assos.example moulin [203.0.113.1 2001:db8::1]", "assos.example quai [203.0.113.2]"}},
		{"held", held, "moulin", []string{"cloud.moulin.assos.example quai [203.0.113.2]", "assos.example quai [203.0.113.2]"}},
		{"served nowhere", serve(s, "", "front", "cloud"), "moulin", nil},
		{"of other servers", foreignState(t, "192.0.2.53:53"), "quai", []string{"cloud.failover.test moulin [" + foreign + "]", "www.failover.test moulin [" + foreign + "]", "failover.test moulin [" + foreign + "]"}},
		{"nothing is declared", failover.NewState(), "quai", nil},
	} {
		var got []string
		for _, l := range dnsctl.LeadsAt(tt.s, tt.site) {
			got = append(got, fmt.Sprint(l.Name, " ", l.Site, " ", l.Addresses))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestForeseeIsWhatALossWouldChange(t *testing.T) {
	s := state(t)
	got := dnsctl.Foresee(s, failover.Plan{Assignments: []failover.Assignment{{Guest: "cloud", Target: "quai"}, {Guest: "front", Target: "quai"}}})
	var text []string
	for _, c := range got {
		text = append(text, c.String())
	}
	want := []string{
		"assos.example. AAAA 2001:db8::1 ->",
		"assos.example. A 203.0.113.1 -> 203.0.113.2",
		"cloud.moulin.assos.example. CNAME moulin.site.assos.example. -> quai.site.assos.example.",
	}
	if !slices.Equal(text, want) {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestAZoneThatTakesUpdatesIsNotServedByTheAgents(t *testing.T) {
	if got := dnsctl.Desired(foreignState(t, "192.0.2.53:53")); got != nil {
		t.Errorf("got %v", got)
	}
}

// A site whose address changes is known by the name that a dynamic DNS service
// keeps: its guests' names lead there, and no name is left without records.
func TestASiteWithADynamicAddressIsAnAlias(t *testing.T) {
	s := withZone(t, func(spec *network.Spec, z *network.Zone) {
		m := spec.Sites["quai"]
		m.Public.Name = "quai.dyndns.example"
		spec.Sites["quai"], z.SerialAfter = m, 2026112207
	})
	z := only(t, serve(s, "quai", "cloud"))
	if got := lookup(z, "quai.site.assos.example.", "CNAME"); !slices.Equal(got, []string{"quai.dyndns.example."}) {
		t.Errorf("got %v", got)
	}
	if got := lookup(z, "cloud.moulin.assos.example.", "CNAME"); !slices.Equal(got, []string{"quai.site.assos.example."}) {
		t.Errorf("got %v", got)
	}
	if _, err := z.Canonical(); err != nil || !dnsctl.SerialLess(2026112207, z.Serial) {
		t.Errorf("serial %d, %v", z.Serial, err)
	}
	foreign := foreignState(t, "192.0.2.53:53")
	m := foreign.Network.Sites["quai"]
	m.Public = network.Public{Name: "quai.dyndns.example"}
	foreign.Network.Sites["quai"] = m
	g, ok := dnsctl.GoalOf(serve(foreign, "quai", "g0"), "failover.test")
	if !ok {
		t.Fatal("no goal")
	}
	// A server that has nothing at all there does not serve what was decided.
	empty := inMemory(t)
	if err := empty.Publish([]dnsctl.Zone{mainZone()}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cloud.failover.test.", "quai.site.failover.test."} {
		look := dnsctl.LookAt(t.Context(), dnsctl.InProcess{"192.0.2.53:53": empty}, "192.0.2.53:53", g, []string{name})
		if look.Status != dnsctl.Differs || look.Names[name].State != dnsctl.SightAbsent {
			t.Errorf("%s: got %s, %v", name, look.Status, look.Names)
		}
	}
}
