package failover

import (
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// UselessPrepareB is when copies are restored of a site with two useless
// preparations in the last day.
const UselessPrepareB = 90 * time.Second

// levelOf returns the level of a suspected site.
func (j judge) levelOf(site SiteID, silence time.Duration) Level {
	return j.levelAfter(SiteDomain(site), site, silence)
}

// levelAfter returns the level of a suspected domain of a site.
func (j judge) levelAfter(domain DomainID, site SiteID, silence time.Duration) Level {
	p := j.levels(site)
	prepareB := p.PrepareB.D()
	if j.recentUseless(domain) >= 2 {
		prepareB = max(prepareB, min(UselessPrepareB, p.Commit.D()))
	}
	switch {
	case silence >= prepareB:
		return LevelPrepareB
	case silence >= p.Alert.D():
		return LevelAlert
	case silence >= p.PrepareA.D():
		return LevelPrepareA
	}
	return LevelSuspect
}

// levels is the policy of a site: each level is reached when the first of its
// guests' structures wants it. They are gathered at the first use, since most of
// the time nothing is suspected.
func (j judge) levels(site SiteID) network.Policy {
	if len(j.policies) == 0 {
		j.policies[""] = j.s.Network.Policy // gathered
		for _, g := range sortedKeys(j.s.Guests) {
			at := j.s.Guests[g]
			if at.Phase == PhaseExcluded {
				continue
			}
			p := j.s.Network.PolicyOf(g)
			if first, ok := j.policies[at.Owner]; ok {
				p.PrepareA, p.Alert = min(first.PrepareA, p.PrepareA), min(first.Alert, p.Alert)
				p.PrepareB, p.Commit = min(first.PrepareB, p.PrepareB), min(first.Commit, p.Commit)
			}
			j.policies[at.Owner] = p
		}
	}
	if p, ok := j.policies[site]; ok {
		return p
	}
	return j.s.Network.Policy
}

func (j judge) recentUseless(d DomainID) int {
	n := 0
	for _, t := range j.s.Domains[d].Useless {
		if j.now.Sub(t) < 24*time.Hour {
			n++
		}
	}
	return n
}

// Suspected names the sites of which somebody suspects something, or which are
// coming back: observers look at them closely.
func (s *State) Suspected() map[SiteID]bool {
	out := map[SiteID]bool{}
	for id, d := range s.Domains {
		if d.Level < LevelSuspect && (d.Lost.Index == 0 || d.Cause == CauseLost) {
			continue
		}
		out[s.SiteOfDomain(id)] = true
	}
	return out
}
