package failover

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// mayCommit checks an automatic commit where it cannot be got round, in the
// log: a pause that overtook the decision, a changed mode, a majority that
// grew meanwhile (S4, S6, S10). op holds the runs as they would be admitted.
func (s *State) mayCommit(op Operation, c CommitOp, at time.Time) error {
	name := []string{"op", string(op.ID), "domain", string(op.Domain), "site", string(op.Plan.Loss.Site)}
	if len(c.Guests) == 0 {
		return reject(CodeNothingWaits, name...)
	}
	if _, paused := s.PausedAt(op.Plan.Loss.Site, at); paused {
		return reject(CodePaused, name...)
	}
	if r, resting := s.RestOf(op.Domain); resting {
		return reject(CodeMaintenance, append(name, "until", clockText(r.Until))...)
	}
	if !s.Domains[op.Domain].Cause.gone(op.Domain) {
		// The proposal may have been on its way for long: it answers again.
		return reject(CodeBack, name...)
	}
	if s.Voters() < MinVoters {
		return reject(CodeTwoVoters, append(name, "voters", fmt.Sprint(s.Voters()))...)
	}
	if s.seenAlive(op.Domain, at) {
		return reject(CodeBack, name...) // by what the log has learnt since the votes were counted
	}
	silence, proven := s.provenSilence(op.Domain, c.Votes)
	if !proven {
		return reject(CodeFewVotes, name...)
	}
	for _, g := range c.Guests {
		rest, resting := s.restOfGuest(g)
		_, paused := s.PausedAt(s.Network.Home(g), at)
		switch {
		case paused:
			return reject(CodePaused, append(name, "guest", string(g))...)
		case resting:
			return reject(CodeMaintenance, append(name, "guest", string(g), "until", clockText(rest.Until))...)
		case !op.Guests[g].Assignment.Automatic:
			return reject(CodeWaitApproval, append(name, "guest", string(g))...)
		case silence < s.Network.CommitDelay(g):
			return reject(CodeCountdown, append(name, "guest", string(g), "in", (s.Network.CommitDelay(g)-silence).String())...)
		}
	}
	if (op.Phase == OpPreparing || op.Again.Index != 0) && s.automaticOps() >= s.Network.Policy.MaxDomains {
		return reject(CodeTooMany, name...)
	}
	return nil
}

// automaticOps counts the domains that automation is failing over. An operation that had ended and
// that a person has opened again is none of them: what it does now is the person's word, and it
// holds nobody else up, no more than it did when it had ended.
func (s *State) automaticOps() int {
	n := 0
	for _, op := range s.Ops {
		if op.Phase == OpCommitted && len(op.Votes) > 0 && op.Again.Index == 0 {
			n++
		}
	}
	return n
}

// seenAlive says whether anybody who is believed reports just now that something of a domain lives.
func (s *State) seenAlive(domain DomainID, at time.Time) bool {
	return slices.ContainsFunc(s.evidence(domain, at), func(v Vote) bool {
		return s.believes(v.Observer) && len(v.Sees) > 0 && v.Age < seenJustNow
	})
}

// provenSilence returns the k-th longest silence of the votes that prove a
// loss, k being a majority of all voters (S4). It is false when there are
// fewer, or when anybody who is believed sees something alive just now, be it well or not.
func (s *State) provenSilence(domain DomainID, votes []Vote) (time.Duration, bool) {
	kind, _ := splitDomain(domain)
	site := s.SiteOfDomain(domain)
	var counted []Vote
	for _, v := range votes {
		if !s.believes(v.Observer) {
			continue
		}
		outside := kind != "site" || v.Observer != site
		well := len(v.Unwell) == 0
		twice := slices.ContainsFunc(counted, func(o Vote) bool { return o.Observer == v.Observer })
		if len(v.Sees) > 0 && v.Age < seenJustNow {
			return 0, false
		}
		if s.Members[v.Observer].Voter && outside && well && !twice && v.Dark && v.Age <= VoteAge && len(v.Paths) >= 2 {
			counted = append(counted, v)
		}
	}
	slices.SortStableFunc(counted, func(a, b Vote) int { return cmp.Compare(b.Silence, a.Silence) })
	return s.kthSilence(site, counted, s.Majority())
}
