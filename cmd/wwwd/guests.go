package main

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Rates of asking Proxmox for guests' addresses, which change seldom.
const (
	addressPause  = 2 * time.Second // between two guests
	addressRound  = time.Minute     // between two rounds
	addressWithin = 10 * time.Second
)

// guestAddresses learns where the guests that are served at this site by its
// own target host can be asked, for their declared checks from inside the site.
type guestAddresses struct {
	state func() *failover.State
	site  network.SiteID
	// interfaces asks this site's Proxmox; ok is false while there is none to ask.
	interfaces func(ctx context.Context, kind proxmox.Kind, id int) (addrs []netip.Addr, ok bool, err error)
	changed    func() // the addresses are others than before

	todo []network.GuestID // of the round under way

	mu    sync.Mutex // never held while asking
	known map[network.GuestID]netip.Addr
}

// addresses returns what is known; the map is not to be changed.
func (a *guestAddresses) addresses() map[network.GuestID]netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

// Step asks for the addresses of one guest.
func (a *guestAddresses) Step(ctx context.Context, now time.Time) (next time.Time) {
	s := a.state()
	wanted := a.wanted(s)
	if len(a.todo) == 0 {
		a.drop(wanted)
		a.todo = wanted
	}
	for len(a.todo) > 0 && !slices.Contains(wanted, a.todo[0]) {
		a.todo = a.todo[1:]
	}
	if len(a.todo) == 0 {
		return now.Add(addressRound)
	}
	g := a.todo[0]
	a.todo = a.todo[1:]
	limited, cancel := context.WithTimeout(ctx, addressWithin)
	all, ok, err := a.interfaces(limited, proxmox.Kind(s.Network.Guests[g].Type), s.Guests[g].VMID)
	cancel()
	if !ok {
		a.todo = nil
		return now.Add(addressRound)
	}
	// A guest that cannot be asked now keeps its address: its check will tell.
	if err == nil && len(all) > 0 {
		a.learn(g, all[0])
	}
	if len(a.todo) == 0 {
		return now.Add(addressRound)
	}
	return now.Add(addressPause)
}

// wanted lists the guests whose check needs an address that this site's Proxmox can tell.
func (a *guestAddresses) wanted(s *failover.State) []network.GuestID {
	if s.Network == nil {
		return nil
	}
	host, _, ok := s.Network.Target(a.site)
	if !ok {
		return nil
	}
	var out []network.GuestID
	for _, id := range s.Network.GuestIDs() {
		check, p := s.Network.Guests[id].Check, s.Guests[id]
		if check != nil && strings.Contains(check.URL+check.TCP, "{address}") && p.Serving == a.site && p.Host == host && p.VMID != 0 {
			out = append(out, id)
		}
	}
	return out
}

func (a *guestAddresses) learn(g network.GuestID, addr netip.Addr) {
	a.replace(func(m map[network.GuestID]netip.Addr) { m[g] = addr })
}

func (a *guestAddresses) drop(wanted []network.GuestID) {
	a.replace(func(m map[network.GuestID]netip.Addr) {
		for g := range m {
			if !slices.Contains(wanted, g) {
				delete(m, g)
			}
		}
	})
}

// replace makes a new map, since the old one is in others' hands.
func (a *guestAddresses) replace(edit func(map[network.GuestID]netip.Addr)) {
	a.mu.Lock()
	next := maps.Clone(a.known)
	if next == nil {
		next = map[network.GuestID]netip.Addr{}
	}
	edit(next)
	same := maps.Equal(next, a.known)
	a.known = next
	a.mu.Unlock()
	if !same {
		a.changed()
	}
}
