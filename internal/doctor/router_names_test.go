package doctor_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// routed gives quai a LAN and a router with these entries. It serves quais and depot; nuage is served at moulin, and
// site at halle, whose address changes.
func (b *bench) routed(entries ...doctor.RouterName) {
	addr := netip.MustParseAddr
	for id, of := range map[network.SiteID]network.Site{
		"quai":   {Public: network.Public{IPv4: addr("203.0.113.2"), IPv6: addr("2001:db8:2::1")}, LAN: network.LAN{Entry: addr("10.20.10.5")}, DNS: netip.MustParseAddrPort("10.77.2.1:53")},
		"moulin": {Public: network.Public{IPv4: addr("203.0.113.1"), IPv6: addr("2001:db8:1::1")}, LAN: network.LAN{Entry: addr("10.10.10.5")}, DNS: netip.MustParseAddrPort("10.77.1.1:53")},
		"halle":  {Public: network.Public{Name: "halle.dyndns.example"}, Mesh: netip.MustParseAddrPort("10.77.3.1:9977")},
	} {
		s := b.state.Network.Sites[id]
		s.Public, s.LAN, s.DNS, s.Mesh = of.Public, of.LAN, of.DNS, of.Mesh
		b.state.Network.Sites[id] = s
	}
	lead := func(name string, site failover.SiteID, at ...netip.Addr) {
		b.leads = append(b.leads, doctor.Lead{Name: name + ".test.example", Zone: "test.example", Site: site, Addresses: at})
	}
	lead("quais", "quai", addr("10.20.10.5"))
	lead("depot", "quai", addr("10.20.10.5"))
	lead("nuage", "moulin", addr("203.0.113.1"), addr("2001:db8:1::1"))
	lead("site", "halle")
	b.facts.Router = &doctor.RouterNames{Entries: entries}
}

func a(name, value string) doctor.RouterName {
	kind := "A"
	if strings.Contains(value, ":") {
		kind = "AAAA"
	}
	return doctor.RouterName{Name: name + ".test.example", Type: kind, Value: value}
}

func of(kind, name, value string) doctor.RouterName {
	return doctor.RouterName{Name: strings.TrimPrefix(name+".test.example", "."), Type: kind, Value: value}
}

// TestRouterNames holds the static entries of quai's router against what its members are to reach.
func TestRouterNames(t *testing.T) {
	both := []doctor.RouterName{a("quais", "10.20.10.5"), a("quais", "::ffff"), a("depot", "10.20.10.5"), a("depot", "fd00::5")}
	below := func(kind, name, value string) doctor.RouterName {
		e := of(kind, name, value)
		e.Subdomains = true
		return e
	}
	for _, tt := range []struct {
		name    string
		entries []doctor.RouterName
		want    []string // "SEVERITY CODE: what to type"
	}{
		{"none", nil, nil},
		{"all of what is served here", both, nil},
		{"one is left out", both[:2], []string{"WARNING WWW-2174: /ip dns static add name=depot.test.example address=10.20.10.5 ttl=1m"}},
		{"entries of other zones only", []doctor.RouterName{{Name: "printer.lan", Type: "A", Value: "10.20.1.9"}, {Name: "x.example", Type: "NXDOMAIN"}}, nil},
		{"forwarded to this site's agent", []doctor.RouterName{below("FWD", "", "10.77.2.1")}, nil},
		{"forwarded, and one entry beside it", []doctor.RouterName{below("FWD", "", "10.20.1.53"), a("quais", "10.20.10.5")}, nil},
		{"forwarded to another site's agent", []doctor.RouterName{below("FWD", "", "10.77.1.1")}, []string{
			"WARNING WWW-2175: /ip dns static set [find name=\"test.example\" type=FWD] forward-to=10.77.2.1",
		}},
		{"forwarded into the mesh", []doctor.RouterName{below("FWD", "", "10.77.3.1")}, []string{
			"WARNING WWW-2175: /ip dns static set [find name=\"test.example\" type=FWD] forward-to=10.77.2.1",
		}},
		{"an address that nobody has any more", append([]doctor.RouterName{a("quais", "10.20.10.9")}, both[1:]...), []string{
			"ERROR WWW-2173: /ip dns static set [find name=\"quais.test.example\" address=10.20.10.9] address=10.20.10.5",
		}},
		{"a guest that is served elsewhere, at this house's entry", append([]doctor.RouterName{a("nuage", "10.20.10.5"), a("nuage", "::ffff")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"nuage.test.example\" address=10.20.10.5]",
		}},
		{"at its place, by the internet and by the mesh", append([]doctor.RouterName{a("nuage", "203.0.113.1"), a("nuage", "10.10.10.5"), a("nuage", "2001:db8:1::1")}, both...), nil},
		{"at another site's IPv6 address", append([]doctor.RouterName{a("nuage", "203.0.113.1"), a("nuage", "2001:db8:2::1")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"nuage.test.example\" address=2001:db8:2::1]",
		}},
		{"an address that changes", append([]doctor.RouterName{a("site", "198.51.100.7"), a("site", "::ffff")}, both...), nil},
		{"an address that changes is no private one", append([]doctor.RouterName{a("site", "10.20.10.5"), a("site", "::ffff")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"site.test.example\" address=10.20.10.5]",
		}},
		{"denied", append([]doctor.RouterName{of("NXDOMAIN", "nuage", "")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"nuage.test.example\" type=NXDOMAIN]",
		}},
		{"alias of its site", append([]doctor.RouterName{of("CNAME", "nuage", "moulin.site.test.example")}, both...), nil},
		{"alias of another site", append([]doctor.RouterName{of("CNAME", "nuage", "quai.site.test.example.")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"nuage.test.example\" type=CNAME]",
		}},
		{"alias of a guest beside it, and of one elsewhere", append([]doctor.RouterName{of("CNAME", "nuage", "quais.test.example"), of("CNAME", "site", "somewhere.example")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"nuage.test.example\" type=CNAME]",
		}},
		{"the whole zone in the house", []doctor.RouterName{below("A", "", "10.20.10.5"), below("AAAA", "", "::ffff")}, []string{
			"ERROR WWW-2173: /ip dns static remove [find name=\"test.example\" address=10.20.10.5]",
			"ERROR WWW-2173: /ip dns static remove [find name=\"test.example\" address=10.20.10.5]",
		}},
		{"the zone's own entry is not that of names below", append([]doctor.RouterName{of("A", "", "10.20.10.5")}, both...), nil},
		{"a regular expression goes first", append([]doctor.RouterName{{Regexp: "^nuage[.]", Type: "A", Value: "10.20.10.5"}, a("nuage", "203.0.113.1")}, both...), []string{
			"ERROR WWW-2173: /ip dns static remove [find regexp=\"^nuage[.]\" address=10.20.10.5]",
		}},
		{"a regular expression that would end the quotes", append([]doctor.RouterName{{Regexp: "^nuage|\"$", Type: "A", Value: "10.20.10.5"}}, both...), []string{"ERROR WWW-2173: /ip dns static print"}},
		{"a regular expression of another kind", append([]doctor.RouterName{{Regexp: "(?<x>nuage", Type: "A", Value: "10.20.10.5"}}, both...), nil},
		{"no AAAA", []doctor.RouterName{both[0], both[2]}, []string{"INFO WWW-2176: /ip dns static add type=AAAA name=quais.test.example address=::ffff"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			b.routed(tt.entries...)
			var got []string
			for _, f := range b.examine().Items {
				if f.Category == doctor.DNS && f.Severity != doctor.OK {
					got = append(got, string(f.Severity)+" "+f.Code+": "+f.Args["command"])
					if f.Subject != "router of quai" || f.Site != "quai" || f.Remedy == "" || strings.Contains(f.Text+f.Remedy, "?") {
						t.Errorf("%+v", f)
					}
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if n := len(doctor.RouterReasons(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Leads: b.leads})); n != len(tt.want) && !strings.HasPrefix(tt.want[0], "INFO") {
				t.Errorf("the screen tells of %d, want %d", n, len(tt.want))
			}
		})
	}
}

// TestRouterNamesWithoutADeclaredEntry: which private address leads to what is served here is not known then.
func TestRouterNamesWithoutADeclaredEntry(t *testing.T) {
	b := newBench()
	b.routed(a("quais", "10.20.10.9"), a("depot", "203.0.113.1"), a("nuage", "10.20.10.9"))
	s := b.state.Network.Sites["quai"]
	s.LAN = network.LAN{}
	b.state.Network.Sites["quai"] = s
	for i := range b.leads[:2] {
		b.leads[i].Addresses = []netip.Addr{s.Public.IPv4, s.Public.IPv6}
	}
	var got []string
	for _, r := range doctor.RouterReasons(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Leads: b.leads}) {
		got = append(got, r.Code+" "+r.Args["names"]+" "+r.Args["at"]+": "+r.Args["mend"])
	}
	want := []string{
		"WWW-2173 depot.test.example quai: /ip dns static set [find name=\"depot.test.example\" address=203.0.113.1] address=203.0.113.2",
		"WWW-2173 nuage.test.example moulin: /ip dns static remove [find name=\"nuage.test.example\" address=10.20.10.9]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestRouterThatCannotBeRead is told, and a site without one says nothing.
func TestRouterThatCannotBeRead(t *testing.T) {
	b := newBench()
	b.routed()
	b.facts.Router.Why = "the router does not accept the user or password"
	if got := told(b.examine()); !slices.Contains(got, "WARNING WWW-2177 router of quai") {
		t.Errorf("got %q", got)
	}
	b.facts = nil
	if got := doctor.RouterReasons(doctor.Input{State: b.state, Local: b.local}); got != nil {
		t.Errorf("without facts: %v", got)
	}
}
