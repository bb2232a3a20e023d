package failover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// MayApply says what the log answers to a network now, without taking it: nil
// or a *RejectedError. It is the whole rule: no client goes around it.
func (s *State) MayApply(c ApplyNetwork) error {
	if c.Spec == nil {
		return reject(CodeInvalid, "what", "no network")
	}
	if c.IfVersion != s.NetworkVersion {
		return reject(CodeStaleNetwork, "have", fmt.Sprint(s.NetworkVersion), "got", fmt.Sprint(c.IfVersion))
	}
	if err := s.mayReplace(c.Spec); err != nil {
		return err
	}
	if what := s.losesWarm(c.Spec); what != "" {
		return reject(CodeStaleWarm, "what", what)
	}
	if err := s.keepsVoters(c.Spec); err != nil {
		return err
	}
	return s.keepsReplicas(c)
}

// keepsVoters refuses a network without the site of a voter. Its vote would
// count on in every majority, and nobody would ask after it or hear it: each
// such site brings the group nearer to where it cannot act any more. Votes are
// taken by SetMember and RemoveMember, which mind the majority.
func (s *State) keepsVoters(spec *network.Spec) error {
	if s.Network == nil {
		return nil
	}
	for _, site := range sortedKeys(s.Members) {
		_, was := s.Network.Sites[site]
		_, stays := spec.Sites[site]
		if s.Members[site].Voter && was && !stays {
			return reject(CodeDropsVoter, "site", string(site), "voters", fmt.Sprint(s.Voters()), "needed", fmt.Sprint(s.Majority()))
		}
	}
	return nil
}

// keepsReplicas refuses a network that gives up the last usable copy of a
// guest outside its home, unless a person has named the site that holds it.
func (s *State) keepsReplicas(c ApplyNetwork) error {
	lost := map[SiteID][]string{}
	for _, g := range sortedKeys(s.Guests) {
		for _, site := range s.lastReplicas(c.Spec, g) {
			lost[site] = append(lost[site], string(g))
		}
	}
	for _, site := range sortedKeys(lost) {
		if !slices.Contains(c.Confirmed, site) {
			return reject(CodeDropsReplica, "site", string(site), "guests", strings.Join(lost[site], ", "))
		}
	}
	return nil
}

// lastReplicas returns the sites that hold a usable copy of a guest now, if no
// site would under another network. A guest that is given up, excluded, or
// given another home is declared anew on purpose.
func (s *State) lastReplicas(spec *network.Spec, g GuestID) []SiteID {
	will, declared := spec.Guests[g]
	home := s.Network.Home(g)
	if !declared || will.Priority == 4 || s.Guests[g].Phase == PhaseExcluded || spec.Home(g) != home {
		return nil
	}
	var had []SiteID
	for _, site := range sortedKeys(s.Readiness) {
		if site == s.Guests[g].Owner {
			continue
		}
		for _, pt := range s.Readiness[site].Ready.Points[g] {
			switch {
			case pt.Unusable != "":
			case s.restorable(spec, site, home, pt):
				return nil
			case s.restorable(s.Network, site, home, pt):
				had = append(had, site)
			}
		}
	}
	return slices.Compact(had)
}

// restorable says whether a network lets a site restore from a copy that it
// holds now: it has the same target there, which reads the same storage entry.
// An entry that is not among those of the guest's home was not declared with
// it, and is not taken away with it.
func (s *State) restorable(spec *network.Spec, site, home SiteID, pt RestorePoint) bool {
	was, now, ok := s.Network.Target(site)
	id, will, stays := spec.Target(site)
	return ok && stays && id == was && (!slices.Contains(now.Sources[home], pt.Storage) || slices.Contains(will.Sources[home], pt.Storage))
}
