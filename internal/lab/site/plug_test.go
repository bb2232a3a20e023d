package site_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// TestAHostHasItsPlugBack: a host whose plug is off stays off, whatever is mended, until a
// person plugs it in; a copy that is held does not start with it, the others do.
func TestAHostHasItsPlugBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	host := func() site.HostStatus {
		st, err := client.Status(t.Context())
		if err != nil || len(st.Hosts) == 0 || st.Hosts[0].Name != "pve-moulin" {
			t.Fatalf("status of moulin: %+v, %v", st.Hosts, err)
		}
		return st.Hosts[0]
	}
	running := func(name string) bool {
		for _, g := range host().Guests {
			if g.Name == name {
				return g.Running
			}
		}
		return false
	}
	if err := errors.Join(client.Crash(t.Context(), "pve-moulin"), site.PullPlug(w.dir, "moulin"), client.Repair(t.Context(), "pve-moulin")); err != nil {
		t.Fatal(err)
	}
	if host().Power {
		t.Fatal("the host has power without its plug")
	}
	if err := client.Act(t.Context(), site.Act{Do: "hold", Guest: "nuage-moulin"}); err != nil {
		t.Fatal(err)
	}
	if err := client.PlugIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the guests start with their host", func() error {
		if !host().Power || !running("adherents-moulin") {
			return fmt.Errorf("it has power: %t", host().Power)
		}
		return nil
	})
	if running("nuage-moulin") {
		t.Error("the copy that is held has started")
	}
}

// TestAStoreIsHaltedAlone: a PBS that is halted answers nobody, keeps what it has, and stays so when
// something else is mended; its machine goes on.
func TestAStoreIsHaltedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	i := w.index("moulin")
	store := func() error {
		_, _, err := w.get(w.lab.Plan().Mesh(i), netip.AddrPortFrom(w.lab.Plan().Host(i, 1), site.PBSPort), "pbs", "/api2/json/version", nil)
		return err
	}
	w.until("the PBS answers", store)
	if err := errors.Join(client.StopStore(t.Context()), client.Crash(t.Context(), "pve-moulin"), client.Repair(t.Context(), "pve-moulin")); err != nil {
		t.Fatal(err)
	}
	if err := store(); err == nil {
		t.Error("the PBS answers, and is halted")
	}
	if st, err := client.Status(t.Context()); err != nil || !st.Hosts[1].Power {
		t.Errorf("its machine is %+v, %v; want it to go on", st.Hosts, err)
	}
	if err := client.StartStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the PBS answers again", store)
}
