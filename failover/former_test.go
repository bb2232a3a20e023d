package failover_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// formerNetwork is a network whose zone stands on another server, changed.
func formerNetwork(change func(*network.Spec)) *network.Spec {
	site := func(n byte) network.Site {
		return network.Site{
			Kind: network.Brique, Mesh: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, n, 1}), 9977),
			Public: network.Public{IPv4: netip.AddrFrom4([4]byte{203, 0, 113, n})},
		}
	}
	moulin := site(1)
	moulin.Hosts = map[network.HostID]network.Host{"pve": {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.10:8006", Node: "pve"}}}
	guest := func(id int, name string) network.Guest {
		return network.Guest{ID: id, Type: network.VM, Structure: "le-moulin", Host: "pve", Names: []string{name}}
	}
	spec := network.Spec{
		Network: "assos",
		Zones: map[string]network.Zone{"assos.example": {
			Backend: "rfc2136", Key: "k", Primaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:53")},
			Records: []network.Record{{Name: "mail", Type: "MX", Data: "10 mx.example."}, {Name: "@", Type: "TXT", Data: `"a"`}},
		}},
		Sites:      map[network.SiteID]network.Site{"moulin": moulin, "quai": site(2)},
		Structures: map[network.StructureID]network.Structure{"le-moulin": {Home: "moulin", VLAN: 120}},
		Guests:     map[network.GuestID]network.Guest{"a": guest(101, "a.assos.example"), "b": guest(102, "b.assos.example")},
	}
	change(&spec)
	return spec.WithDefaults()
}

// What leaves network.yaml is remembered until every primary was seen without
// it; what comes back, or is held, is not.
func TestStateRemembersWhatANetworkDeclaredOnce(t *testing.T) {
	s := failover.NewState()
	index := uint64(0)
	apply := func(c failover.Command) {
		t.Helper()
		index++
		if err := s.Apply(failover.Stamp{Index: index, Term: 1, At: time.Unix(int64(index), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	declare := func(change func(*network.Spec)) *failover.Former {
		t.Helper()
		apply(failover.ApplyNetwork{Spec: formerNetwork(change), IfVersion: s.NetworkVersion})
		return s.Zones["assos.example"].Former
	}
	without := func(sp *network.Spec) {
		delete(sp.Guests, "a")
		z := sp.Zones["assos.example"]
		z.Records = z.Records[1:]
		sp.Zones["assos.example"] = z
	}
	apply(failover.Bootstrap{Network: "assos"})
	if f := declare(func(*network.Spec) {}); f != nil {
		t.Fatalf("of the first network: %+v", f)
	}
	f := declare(without)
	mx := failover.FormerRecord{Name: "mail.assos.example.", Type: "MX", Data: "10 mx.example."}
	if f == nil || !slices.Equal(f.Moving, []string{"a.assos.example."}) || !slices.Equal(f.Fixed, []failover.FormerRecord{mx}) {
		t.Fatalf("got %+v, want the guest's name and the MX", f)
	}
	want := []failover.FormerRecord{
		{Type: "CNAME", Data: "moulin.site.assos.example."},
		{Type: "A", Data: "203.0.113.1"},
		{Type: "CNAME", Data: "quai.site.assos.example."},
		{Type: "A", Data: "203.0.113.2"},
	}
	if !slices.Equal(f.Places, want) {
		t.Errorf("a moving name may have led to %v, want %v", f.Places, want)
	}
	// A site goes, too: what the first one left is not forgotten.
	f = declare(func(sp *network.Spec) { without(sp); delete(sp.Sites, "quai") })
	quai := failover.FormerRecord{Name: "quai.site.assos.example.", Type: "A", Data: "203.0.113.2"}
	if f == nil || !slices.Equal(f.Fixed, []failover.FormerRecord{mx, quai}) || !slices.Equal(f.Places, want) {
		t.Fatalf("got %+v", f)
	}
	verify := func(servers map[string]bool) *failover.Former {
		apply(failover.VerifyZone{Zone: "assos.example", Changed: s.Zones["assos.example"].Changed, Servers: servers})
		return s.Zones["assos.example"].Former
	}
	if f := verify(map[string]bool{"192.0.2.53:53": true}); f == nil {
		t.Error("forgotten although one primary was not reached")
	}
	if f := verify(map[string]bool{"192.0.2.53:53": true, "192.0.2.54:53": false}); f == nil {
		t.Error("forgotten although one primary is out of sync")
	}
	// The name comes back: it is ours again.
	if f := declare(func(sp *network.Spec) { delete(sp.Sites, "quai") }); f == nil || len(f.Moving) != 0 || len(f.Places) != 0 || !slices.Equal(f.Fixed, []failover.FormerRecord{quai}) {
		t.Errorf("got %+v, want the site's name alone", f)
	}
	if f := verify(map[string]bool{"192.0.2.53:53": true, "192.0.2.54:53": true}); f != nil {
		t.Errorf("got %+v after every primary was seen in sync", f)
	}
	// A held name is a person's.
	apply(failover.HoldName{Name: "b.assos.example"})
	if f := declare(func(sp *network.Spec) { delete(sp.Sites, "quai"); delete(sp.Guests, "b") }); f != nil {
		t.Errorf("got %+v of a name that a person holds", f)
	}
	// In a zone of the agents' own, and in one that changes hands, there is nothing to take away.
	if f := declare(func(sp *network.Spec) {
		delete(sp.Sites, "quai")
		z := sp.Zones["assos.example"]
		z.Backend, z.Records = "embedded", nil
		sp.Zones["assos.example"] = z
	}); f != nil {
		t.Errorf("embedded: got %+v", f)
	}
}
