package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// heldState is a network with one name that follows a guest.
func heldState(t *testing.T) (*failover.State, func(failover.Command) error) {
	t.Helper()
	spec := network.Spec{
		Network: "assos", Zones: map[string]network.Zone{"assos.example": {}},
		Sites: map[network.SiteID]network.Site{"moulin": {Kind: network.Brique, Hosts: map[network.HostID]network.Host{
			"pve-moulin": {Owner: network.OwnerStructure},
		}}},
		Structures: map[network.StructureID]network.Structure{"le-moulin": {Home: "moulin"}},
		Guests: map[network.GuestID]network.Guest{
			"cloud": {ID: 101, Type: network.VM, Structure: "le-moulin", Host: "pve-moulin", Names: []string{"cloud.assos.example"}},
		},
	}
	s := failover.NewState()
	index := uint64(0)
	do := func(c failover.Command) error {
		index++
		return s.Apply(failover.Stamp{Index: index, Term: 1, At: time.Unix(int64(1000+index), 0)}, c)
	}
	for _, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec.WithDefaults()}} {
		if err := do(c); err != nil {
			t.Fatal(err)
		}
	}
	return s, do
}

func TestAHeldNameIsRememberedAndItsZoneChanges(t *testing.T) {
	s, do := heldState(t)
	if err := do(failover.HoldName{Name: "other.example"}); err == nil {
		t.Error("a name that is not declared was held")
	}
	if err := do(failover.HoldName{Name: "cloud.assos.example", For: -1}); err == nil {
		t.Error("a negative time was accepted")
	}
	if err := do(failover.HoldName{Name: "cloud.assos.example", For: time.Hour, Reason: "moving house"}); err != nil {
		t.Fatal(err)
	}
	h := s.Holds["cloud.assos.example"]
	if h.Site != "moulin" || h.Until != time.Unix(1005, 0).Add(time.Hour) || s.Zones["assos.example"].Changed != 5 {
		t.Errorf("got %+v and %+v", h, s.Zones["assos.example"])
	}
	p := s.Guests["cloud"]
	p.Serving = "elsewhere"
	s.Guests["cloud"] = p
	if err := do(failover.HoldName{Name: "cloud.assos.example"}); err != nil {
		t.Fatal(err)
	}
	if h := s.Holds["cloud.assos.example"]; h.Site != "moulin" || !h.Until.IsZero() {
		t.Errorf("held again: got %+v, want the place of the first hold and no end", h)
	}
	if err := do(failover.ReleaseName{Name: "cloud.assos.example", If: 5}); err == nil {
		t.Error("the end of an old hold released a new one")
	}
	if err := do(failover.ReleaseName{Name: "cloud.assos.example"}); err != nil || len(s.Holds) != 0 || s.Zones["assos.example"].Changed != 8 {
		t.Errorf("got %v, holds %v, zone %+v", err, s.Holds, s.Zones["assos.example"])
	}
	if err := do(failover.ReleaseName{Name: "cloud.assos.example"}); err == nil {
		t.Error("a name that is not held was released")
	}
}
