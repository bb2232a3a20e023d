package network

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// SortedKeys returns the keys of a map in order: nothing that is replicated or
// shown may depend on map order. It allocates once, unlike slices.Sorted of
// maps.Keys: the leader walks dozens of small maps several times a second.
func SortedKeys[M ~map[K]V, K cmp.Ordered, V any](m M) []K {
	if len(m) == 0 {
		return nil
	}
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// SiteIDs returns the declared sites in order.
func (s *Spec) SiteIDs() []SiteID { return SortedKeys(s.Sites) }

// GuestIDs returns the declared guests in order.
func (s *Spec) GuestIDs() []GuestID { return SortedKeys(s.Guests) }

// HostIDs returns the site's hosts in order.
func (s Site) HostIDs() []HostID { return SortedKeys(s.Hosts) }

// SiteOf returns the site that a host stands at, or "".
func (s *Spec) SiteOf(h HostID) SiteID {
	// A host stands at one site (Validate); of several the first by name, so
	// that the answer never depends on map order.
	var at SiteID
	for id, site := range s.Sites {
		if _, ok := site.Hosts[h]; ok && (at == "" || id < at) {
			at = id
		}
	}
	return at
}

// Home returns the site where a guest belongs: its host's, which is not its
// structure's home for a guest that Raoull hosts elsewhere.
func (s *Spec) Home(g GuestID) SiteID { return s.SiteOf(s.Guests[g].Host) }

// Target returns the host of a site that may receive guests.
func (s *Spec) Target(site SiteID) (HostID, Host, bool) {
	return s.Sites[site].first(func(h Host) bool { return h.Restore != nil && h.PVE != nil && h.Owner == OwnerRaoull })
}

// Store returns the site's host with a PBS of Raoull's.
func (s *Spec) Store(site SiteID) (HostID, Host, bool) {
	return s.Sites[site].first(func(h Host) bool { return h.PBS != nil && h.Owner == OwnerRaoull })
}

// first returns the first host by name that is such a one.
func (s Site) first(such func(Host) bool) (HostID, Host, bool) {
	var id HostID
	found := false
	for h, host := range s.Hosts {
		if such(host) && (!found || h < id) {
			id, found = h, true
		}
	}
	return id, s.Hosts[id], found
}

// Dual says whether a site has two independent ways to the internet.
func (s Site) Dual() bool { return len(s.Upstreams) >= 2 }

// PolicyOf returns the policy in force for a guest: the network's, overridden
// by its structure's non-zero fields and its own commit delay.
func (s *Spec) PolicyOf(g GuestID) Policy {
	guest := s.Guests[g]
	p := s.Policy.override(s.Structures[guest.Structure].Policy)
	p.Commit = cmp.Or(guest.Commit, p.Commit)
	return p
}

// CommitDelay returns how long the silence of a guest's home must last before
// its failover is committed.
func (s *Spec) CommitDelay(g GuestID) time.Duration {
	p := s.PolicyOf(g)
	if s.Guests[g].Commit == 0 && s.Sites[s.Home(g)].Dual() {
		return p.CommitDual.D()
	}
	return p.Commit.D()
}

func (p Policy) override(o Policy) Policy {
	return Policy{
		SuspectMisses: cmp.Or(o.SuspectMisses, p.SuspectMisses),
		PrepareA:      cmp.Or(o.PrepareA, p.PrepareA),
		Alert:         cmp.Or(o.Alert, p.Alert),
		PrepareB:      cmp.Or(o.PrepareB, p.PrepareB),
		Commit:        cmp.Or(o.Commit, p.Commit),
		CommitDual:    cmp.Or(o.CommitDual, p.CommitDual),
		CommitReason:  cmp.Or(o.CommitReason, p.CommitReason),
		Block:         cmp.Or(o.Block, p.Block),
		MaxDomains:    cmp.Or(o.MaxDomains, p.MaxDomains),
		UnlockGrace:   cmp.Or(o.UnlockGrace, p.UnlockGrace),
		ReturnAfter:   cmp.Or(o.ReturnAfter, p.ReturnAfter),
		KeepPrepared:  cmp.Or(o.KeepPrepared, p.KeepPrepared),
		WarmMaxAge:    cmp.Or(o.WarmMaxAge, p.WarmMaxAge),
		AwayBackup:    cmp.Or(o.AwayBackup, p.AwayBackup),
	}
}

// ZoneOf returns the declared zone with the longest name that holds a public
// name, or "".
func (s *Spec) ZoneOf(name string) string {
	for n, more := name, true; more; _, n, more = strings.Cut(n, ".") {
		if _, ok := s.Zones[n]; ok {
			return n
		}
	}
	return ""
}

// CanBeLost says whether a site holds anything whose loss means something: a
// witness without Proxmox and without a public entry is at most unreachable.
func (s *Spec) CanBeLost(id SiteID) bool {
	site := s.Sites[id]
	return len(site.Hosts) > 0 || site.Public.HTTPS != 0
}
