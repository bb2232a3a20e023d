package failover

import (
	"fmt"

	"github.com/raoull/worldwidewelsh/internal/network"
)

func (c ApplyNetwork) apply(s *State, st Stamp) error {
	if c.Spec == nil {
		return reject(CodeInvalid, "what", "no network")
	}
	if c.IfVersion != s.NetworkVersion {
		return reject(CodeStaleNetwork, "have", fmt.Sprint(s.NetworkVersion), "got", fmt.Sprint(c.IfVersion))
	}
	if err := s.mayReplace(c.Spec); err != nil {
		return err
	}
	s.Network, s.NetworkVersion = c.Spec, st.Index
	s.placeGuests(st)
	s.pruneDomains()
	zones := map[string]ZoneState{}
	for name := range c.Spec.Zones {
		z := s.Zones[name]
		if z.Changed == 0 {
			z.Base = zoneBase(s.Generation)
		}
		z.Changed = st.Index
		zones[name] = z
	}
	s.Zones = zones
	s.event(st, because(CodeNetworkApplied, "version", fmt.Sprint(st.Index)), Event{})
	return nil
}

// zoneBase keeps the serials of a generation above those of every earlier one:
// 64 generations of 67 million entries each stay below a jump of 2^31, which
// RFC 1982 leaves undefined.
func zoneBase(generation uint64) uint32 { return uint32(generation-1) << 26 }

// mayReplace refuses a network that would orphan running work or a guest that
// is away: nothing about them could be decided any more. The declaration
// itself was validated before it was proposed, not here: two versions of the
// program may differ on what is valid and must not differ on State.
func (s *State) mayReplace(spec *network.Spec) error {
	for _, id := range sortedKeys(s.Guests) {
		p := s.Guests[id]
		if p.Op == "" && p.Phase != PhaseAway && p.Phase != PhaseDiverged {
			continue
		}
		if _, ok := spec.Guests[id]; !ok {
			return reject(CodeGuestBusy, "guest", string(id), "op", string(p.Op), "phase", string(p.Phase))
		}
		if _, ok := spec.Sites[p.Owner]; !ok {
			return reject(CodeGuestBusy, "guest", string(id), "site", string(p.Owner), "phase", string(p.Phase))
		}
	}
	return nil
}

// placeGuests gives every declared guest a placement and forgets those that
// are no longer declared. Guests that are away or in an operation stay as they
// are.
func (s *State) placeGuests(st Stamp) {
	for _, id := range s.Network.GuestIDs() {
		g, home := s.Network.Guests[id], s.Network.Home(id)
		p, known := s.Guests[id]
		if known && (p.Op != "" || p.Owner != home) {
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

func (s *State) pruneDomains() {
	for _, d := range sortedKeys(s.Domains) {
		kind, name := splitDomain(d)
		_, site := s.Network.Sites[SiteID(name)]
		if kind == "site" && !site || kind == "host" && s.Network.SiteOf(HostID(name)) == "" {
			delete(s.Domains, d)
		}
	}
}
