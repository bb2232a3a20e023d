package main

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// TestGuestAddresses: only guests that this site serves from its own target
// host are asked for, one per step; one that does not answer keeps its address.
func TestGuestAddresses(t *testing.T) {
	check := &network.Check{URL: "http://{address}:80/"}
	spec := &network.Spec{
		Sites: map[network.SiteID]network.Site{"quai": {Hosts: map[network.HostID]network.Host{
			"pve-raoull-quai": {Owner: network.OwnerRaoull, PVE: &network.PVE{}, Restore: &network.Restore{}},
			"pve-quai":        {Owner: network.OwnerStructure, PVE: &network.PVE{}},
		}}},
		Guests: map[network.GuestID]network.Guest{
			"chat": {Type: network.VM, Check: check}, "wiki": {Type: network.CT, Check: check}, "mail": {Type: network.VM, Check: check},
			"blog": {Type: network.VM, Check: check}, "quiet": {Type: network.VM}, "fixed": {Type: network.VM, Check: &network.Check{TCP: "10.1.1.1:80"}},
		},
	}
	s := failover.NewState()
	s.Network = spec
	here := failover.Placement{Serving: "quai", Host: "pve-raoull-quai", VMID: 90001}
	for g := range spec.Guests {
		s.Guests[g] = here
	}
	s.Guests["mail"] = failover.Placement{Serving: "moulin", Host: "pve-raoull-moulin", VMID: 90001}
	s.Guests["blog"] = failover.Placement{Serving: "quai", Host: "pve-quai", VMID: 101} // its host is the structure's
	var asked []proxmox.Kind
	fails, changes, open := false, 0, true
	a := &guestAddresses{
		state: func() *failover.State { return s }, site: "quai", changed: func() { changes++ },
		interfaces: func(ctx context.Context, kind proxmox.Kind, id int) ([]netip.Addr, bool, error) {
			if _, ok := ctx.Deadline(); !ok || id != 90001 {
				t.Errorf("asked for %d, deadline %v", id, ok)
			}
			asked = append(asked, kind)
			if fails {
				return nil, open, errors.New("guest agent is not running")
			}
			return []netip.Addr{netip.MustParseAddr("10.20.0.7"), netip.MustParseAddr("fd00::7")}, open, nil
		},
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if next := a.Step(t.Context(), now); next.Sub(now) != addressPause {
		t.Errorf("next after %s, want another guest soon", next.Sub(now))
	}
	if next := a.Step(t.Context(), now); next.Sub(now) != addressRound {
		t.Errorf("next after %s, want the next round", next.Sub(now))
	}
	if len(asked) != 2 || asked[0] != proxmox.VM || asked[1] != proxmox.CT {
		t.Errorf("asked for %v, want chat (a VM) and wiki (a container)", asked)
	}
	addr := netip.MustParseAddr("10.20.0.7")
	want := map[network.GuestID]netip.Addr{"chat": addr, "wiki": addr}
	if got := a.addresses(); !maps.Equal(got, want) || changes != 2 {
		t.Errorf("know %v after %d changes, want %v", got, changes, want)
	}
	fails = true
	a.Step(t.Context(), now)
	a.Step(t.Context(), now)
	if got := a.addresses(); !maps.Equal(got, want) || changes != 2 {
		t.Errorf("after failures: %v, %d changes", got, changes)
	}
	s.Guests["wiki"] = failover.Placement{Serving: "moulin"}
	a.Step(t.Context(), now)
	if got := a.addresses(); len(got) != 1 || changes != 3 {
		t.Errorf("wiki has gone: %v, %d changes", got, changes)
	}
	open, asked = false, nil
	if next := a.Step(t.Context(), now); next.Sub(now) != addressRound || len(asked) != 1 {
		t.Errorf("without a Proxmox: next after %s, asked %d times", next.Sub(now), len(asked))
	}
}
