package failover

import (
	"fmt"
	"maps"

	"github.com/raoull/worldwidewelsh/internal/network"
)

func (c ApplyNetwork) apply(s *State, st Stamp) error {
	if err := s.MayApply(c); err != nil {
		return err
	}
	former := map[string]*Former{}
	for name := range c.Spec.Zones {
		former[name] = s.formerOf(c.Spec, name)
	}
	s.Network, s.NetworkVersion = c.Spec, st.Index
	s.placeGuests(st)
	s.followModes()
	s.forgetWarm()
	s.prune()
	zones := map[string]ZoneState{}
	for name := range c.Spec.Zones {
		z := s.Zones[name]
		if z.Changed == 0 {
			z.Base = zoneBase(s.Generation)
		}
		z.Changed, z.Since, z.Former = st.Index, st.At, former[name]
		zones[name] = z
	}
	s.Zones = zones
	s.event(st, because(CodeNetworkApplied, "version", fmt.Sprint(st.Index)), Event{})
	return nil
}

// zoneBase keeps the serials of a generation above those of every earlier one:
// 64 generations of 67 million entries each stay below a jump of 2^31, which
// RFC 1982 leaves undefined.
func zoneBase(generation uint64) uint32 { return uint32(max(1, generation)-1) << 26 }

// mayReplace refuses a network that would orphan running work or a guest that
// is away: nothing about them could be decided any more. The declaration
// itself was validated before it was proposed, not here: two versions of the
// program may differ on what is valid and must not differ on State.
func (s *State) mayReplace(spec *network.Spec) error {
	for _, id := range spec.GuestIDs() {
		g := spec.Guests[id]
		if _, known := s.Guests[id]; known {
			continue
		}
		if of := s.leftBy(g.Host, g.ID, id); of != "" {
			return reject(CodeForkFirst, "guest", string(id), "of", string(of), "host", string(g.Host), "id", fmt.Sprint(g.ID))
		}
	}
	for _, id := range sortedKeys(s.Guests) {
		p := s.Guests[id]
		if was := s.oldCopy(spec, id); was != 0 {
			return reject(CodeOldCopy, "guest", string(id), "id", fmt.Sprint(was), "now", fmt.Sprint(s.Network.Guests[id].ID))
		}
		if p.Op == "" && p.Phase != PhaseAway && p.Phase != PhaseDiverged {
			continue
		}
		if _, ok := spec.Guests[id]; !ok {
			return reject(CodeGuestBusy, "guest", string(id), "op", string(p.Op), "phase", string(p.Phase))
		}
		if _, ok := spec.Sites[p.Owner]; !ok {
			return reject(CodeGuestBusy, "guest", string(id), "site", string(p.Owner), "phase", string(p.Phase))
		}
		if what := s.movedGround(spec, id, p.Op); what != "" {
			return reject(CodeGuestBusy, "guest", string(id), "op", string(p.Op), "what", what)
		}
	}
	return nil
}

// oldCopy returns the id that a declaration gives a guest if that is a copy which the guest
// has left: a file from before its failback would have the guest be the older copy.
func (s *State) oldCopy(spec *network.Spec, id GuestID) int {
	guest, ok := spec.Guests[id]
	if !ok || s.Network == nil || guest.ID == s.Network.Guests[id].ID {
		return 0
	}
	lineage, known := s.lineageAt(id, Place{Site: spec.Home(id), Host: guest.Host, VMID: guest.ID})
	if !known || s.Lineages[lineage].To.Index == 0 {
		return 0
	}
	return guest.ID
}

// movedGround names what a new declaration would change under a guest that an
// operation holds, "" if nothing: its run was planned on it (S10, S11).
func (s *State) movedGround(spec *network.Spec, id GuestID, op OpID) string {
	if op == "" {
		return ""
	}
	was, will := s.Network.Guests[id], spec.Guests[id]
	wasIn, willIn := s.Network.Structures[was.Structure], spec.Structures[will.Structure]
	run := s.Ops[op].Guests[id]
	host, _, _ := spec.Target(run.Assignment.Target)
	switch {
	case was.Host != will.Host || s.Network.Home(id) != spec.Home(id):
		return "host"
	case was.Structure != will.Structure:
		return "structure"
	case wasIn.VLAN != willIn.VLAN:
		return "vlan"
	case wasIn.OffSite.Policy != willIn.OffSite.Policy:
		return "off_site"
	case was.Priority != 4 && will.Priority == 4:
		return "priority"
	case wasIn.Mode != willIn.Mode && (willIn.Mode == network.ModeManual || willIn.Mode == network.ModeNever):
		return "mode"
	case host != run.Assignment.Host && (s.Ops[op].Kind != KindFailback || run.Assignment.Keep == KeepBack):
		return "target"
	}
	return ""
}

// followModes lets a change between auto and ask hold at once for the guests
// that are not admitted yet (S10).
func (s *State) followModes() {
	for _, id := range s.opOrder() {
		op := s.Ops[id].edit()
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			if run.Admitted == 0 && s.Guests[g].Op == id {
				run.Assignment.Automatic = s.Network.Structures[run.Assignment.Structure].Mode == network.ModeAuto
				op.Guests[g] = run
			}
		}
		s.Ops[id] = op
	}
}

// placeGuests gives every declared guest a placement and forgets those that
// are no longer declared. Guests that are away or in an operation stay as they
// are.
func (s *State) placeGuests(st Stamp) {
	for _, id := range s.Network.GuestIDs() {
		g, home := s.Network.Guests[id], s.Network.Home(id)
		p, known := s.Guests[id]
		if known && (p.Op != "" || p.Phase == PhaseAway || p.Phase == PhaseDiverged || p.Phase == PhaseStuck) {
			continue
		}
		phase := PhaseHome
		if g.Priority == 4 {
			phase = PhaseExcluded
		}
		if !known || p.Phase != phase {
			p.Phase, p.Since = phase, st
		}
		p.Owner, p.Serving, p.Host, p.VMID = home, home, g.Host, g.ID
		s.Guests[id] = p
	}
	for _, id := range sortedKeys(s.Guests) {
		if _, ok := s.Network.Guests[id]; !ok {
			delete(s.Guests, id)
		}
	}
}

// prune forgets what is known of sites and hosts that are no longer declared.
func (s *State) prune() {
	gone := func(site SiteID) bool {
		_, ok := s.Network.Sites[site]
		return !ok
	}
	maps.DeleteFunc(s.Domains, func(d DomainID, _ Domain) bool { return s.knownDomain(d) != nil })
	maps.DeleteFunc(s.Blocks, func(d DomainID, _ Block) bool { return s.knownDomain(d) != nil })
	maps.DeleteFunc(s.Readiness, func(site SiteID, _ StoredReady) bool { return gone(site) })
	maps.DeleteFunc(s.Copies, func(site SiteID, _ StoredCopies) bool { return gone(site) })
	maps.DeleteFunc(s.Sighted, func(site SiteID, _ Sightings) bool { return gone(site) })
	maps.DeleteFunc(s.Cursors, func(site SiteID, _ int) bool { return gone(site) })
	maps.DeleteFunc(s.Resting, func(d DomainID, _ Rest) bool { return s.knownDomain(d) != nil })
	maps.DeleteFunc(s.Excluded, func(site SiteID, _ Exclusion) bool { return gone(site) })
	maps.DeleteFunc(s.Holds, func(name string, _ NameHold) bool {
		_, declared := s.nameAt(name)
		return !declared
	})
	maps.DeleteFunc(s.Pauses, func(site string, _ Pause) bool { return site != "" && gone(SiteID(site)) })
}
