package dnsctl_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func declared() *network.Spec {
	site := func(n byte) network.Site {
		return network.Site{
			Kind: network.Brique, Mesh: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, n, 1}), 9977),
			DNS:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, n, 1}), 53),
			Public: network.Public{IPv4: netip.AddrFrom4([4]byte{203, 0, 113, n}), HTTPS: 443},
		}
	}
	moulin := site(1)
	moulin.Public.IPv6 = netip.MustParseAddr("2001:db8::1")
	moulin.Hosts = map[network.HostID]network.Host{"pve-moulin": {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.10:8006", Node: "pve"}}}
	quai := site(2)
	witness := network.Site{Kind: network.Witness, Mesh: netip.MustParseAddrPort("10.77.9.1:9977")}
	return network.Spec{
		Network: "assos",
		Zones:   map[string]network.Zone{"assos.example": {Contact: "dns@raoull.example", Records: []network.Record{{Name: "@", Type: "TXT", Data: `"hello"`}}}},
		Sites:   map[network.SiteID]network.Site{"moulin": moulin, "quai": quai, "temoin": witness},
		Structures: map[network.StructureID]network.Structure{
			"le-moulin": {Home: "moulin", VLAN: 120, OffSite: network.OffSite{Policy: network.ConsentAllowed}},
		},
		Guests: map[network.GuestID]network.Guest{
			"cloud": {ID: 101, Type: network.VM, Structure: "le-moulin", Host: "pve-moulin", Names: []string{"cloud.moulin.assos.example"}},
			"front": {ID: 102, Type: network.CT, Structure: "le-moulin", Host: "pve-moulin", Names: []string{"assos.example"}},
		},
		Common: map[string]network.CommonSet{
			"rproxy": {Names: []string{"status.assos.example"}, Members: map[network.SiteID]netip.Addr{
				"moulin": netip.MustParseAddr("10.10.10.5"), "quai": netip.MustParseAddr("10.20.10.5"),
			}},
		},
	}.WithDefaults()
}

func state(t *testing.T) *failover.State {
	t.Helper()
	s := failover.NewState()
	for i, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: declared()}} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func lookup(z dnsctl.Zone, name, rtype string) []string {
	var out []string
	for _, r := range z.Records {
		if r.Name == name && r.Type == rtype {
			out = append(out, r.Data)
		}
	}
	slices.Sort(out)
	return out
}

func only(t *testing.T, s *failover.State) dnsctl.Zone {
	t.Helper()
	zones := dnsctl.Desired(s)
	if len(zones) != 1 {
		t.Fatalf("got %d zones, want 1", len(zones))
	}
	return zones[0]
}

func TestDesiredRecordsOfANetworkAtHome(t *testing.T) {
	z := only(t, state(t))
	for _, c := range []struct {
		name, rtype string
		want        []string
	}{
		{"assos.example.", "NS", []string{"moulin.ns.assos.example.", "quai.ns.assos.example."}},
		{"moulin.ns.assos.example.", "A", []string{"10.77.1.1"}},
		{"moulin.site.assos.example.", "A", []string{"203.0.113.1"}},
		{"moulin.site.assos.example.", "AAAA", []string{"2001:db8::1"}},
		{"temoin.site.assos.example.", "A", nil},
		{"cloud.moulin.assos.example.", "CNAME", []string{"moulin.site.assos.example."}},
		{"assos.example.", "A", []string{"203.0.113.1"}}, // the apex cannot be a CNAME
		{"assos.example.", "AAAA", []string{"2001:db8::1"}},
		{"assos.example.", "TXT", []string{`"hello"`}},
		{"status.assos.example.", "A", []string{"203.0.113.1", "203.0.113.2"}},
	} {
		if got := lookup(z, c.name, c.rtype); !slices.Equal(got, c.want) {
			t.Errorf("%s %s: got %v, want %v", c.name, c.rtype, got, c.want)
		}
	}
	if z.Serial != 2 || z.SOA.RName != "dns.raoull.example." {
		t.Errorf("got serial %d and contact %s", z.Serial, z.SOA.RName)
	}
}

// A guest that is served elsewhere takes its names along, and nothing else
// changes; one that is served nowhere loses them.
func TestDesiredRecordsFollowServing(t *testing.T) {
	s := state(t)
	before := only(t, s)
	p := s.Guests["cloud"]
	p.Serving = "quai"
	s.Guests["cloud"] = p
	z := only(t, s)
	if got := lookup(z, "cloud.moulin.assos.example.", "CNAME"); !slices.Equal(got, []string{"quai.site.assos.example."}) {
		t.Errorf("got %v", got)
	}
	diff := dnsctl.Diff(before.Records, z.Records, dnsctl.Guard{Names: dnsctl.Moving(s, "assos.example")})
	if all := diff.All(); len(all) != 1 || len(diff.Refused) != 0 {
		t.Errorf("got changes %+v, refused %+v, want one change", all, diff.Refused)
	}
	p = s.Guests["front"]
	p.Serving = "quai"
	s.Guests["front"] = p
	z = only(t, s)
	if v4, v6 := lookup(z, "assos.example.", "A"), lookup(z, "assos.example.", "AAAA"); !slices.Equal(v4, []string{"203.0.113.2"}) || v6 != nil {
		t.Errorf("apex: got A %v and AAAA %v, want the survivor's A alone: a forgotten AAAA is half a failover", v4, v6)
	}
	p.Serving = ""
	s.Guests["front"] = p
	if got := lookup(only(t, s), "assos.example.", "A"); got != nil {
		t.Errorf("got %v for a guest that State shows nowhere", got)
	}
}

type fakeLog struct {
	state    *failover.State
	lead     bool
	proposed []failover.Command
}

func (l *fakeLog) Propose(_ context.Context, c failover.Command) (failover.Stamp, error) {
	l.proposed = append(l.proposed, c)
	s := l.state.Clone()
	st := failover.Stamp{Index: s.Index + 1, Term: 1, At: s.Clock.Add(time.Second)}
	err := s.Apply(st, c)
	l.state = s
	return st, err
}
func (l *fakeLog) State() *failover.State                        { return l.state }
func (l *fakeLog) Changed() <-chan struct{}                      { return nil }
func (l *fakeLog) Lead() (uint64, bool)                          { return 1, l.lead }
func (l *fakeLog) Confirm(context.Context, failover.Token) error { return nil }

func inMemory(t *testing.T) *dnsctl.Server {
	t.Helper()
	srv, err := dnsctl.NewServer(dnsctl.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// The leader's publisher finds a server that lags, says so, and says so again
// when it has caught up; an agent that does not lead asks nobody.
func TestPublisherVerifiesEveryServer(t *testing.T) {
	log := &fakeLog{state: state(t), lead: true}
	good, lagging := inMemory(t), inMemory(t)
	p := &dnsctl.Publisher{
		Site: "quai", Log: log, Server: good, Logger: slog.New(slog.DiscardHandler),
		Exchange: dnsctl.InProcess{"10.77.1.1:53": lagging, "10.77.2.1:53": good},
	}
	p.Publish(log.state)
	old := only(t, log.state)
	old.Serial--
	if err := lagging.Publish([]dnsctl.Zone{old}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	steps := func(n int) {
		for range n {
			now = p.Step(t.Context(), now)
		}
	}
	steps(400)
	z := log.state.Zones["assos.example"]
	if want := map[string]bool{"10.77.1.1:53": false, "10.77.2.1:53": true}; z.Verified == z.Changed || len(z.Servers) != 2 || z.Servers["10.77.1.1:53"] != want["10.77.1.1:53"] || !z.Servers["10.77.2.1:53"] {
		t.Fatalf("got %+v, want %v", z, want)
	}
	if err := lagging.Publish([]dnsctl.Zone{only(t, log.state)}); err != nil {
		t.Fatal(err)
	}
	steps(100)
	if z = log.state.Zones["assos.example"]; z.Verified != z.Changed || !z.Servers["10.77.1.1:53"] {
		t.Errorf("after it caught up: got %+v", z)
	}
	n := len(log.proposed)
	log.lead = false
	steps(50)
	if len(log.proposed) != n {
		t.Errorf("a follower proposed %v", log.proposed[n:])
	}
}
