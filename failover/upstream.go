package failover

import "time"

// choiceOfUpstreams says whether the voters outside a site declare at least two
// different ways to the internet. Then one of them alone proves no loss: its
// own outage looks the same from all who share it.
func (s *State) choiceOfUpstreams(site SiteID) bool {
	first := ""
	for _, id := range sortedKeys(s.Members) {
		if id == site || !s.Members[id].Voter {
			continue
		}
		for _, up := range s.Network.Sites[id].Upstreams {
			if first == "" {
				first = up
			}
			if up != first {
				return true
			}
		}
	}
	return false
}

// kthSilence returns the longest silence that k of the votes, longest first,
// all reach, of which at least two stand behind different upstreams where the
// declaration gives that choice (S4). False: they do not prove anything.
func (s *State) kthSilence(site SiteID, votes []Vote, k int) (time.Duration, bool) {
	if k < 1 || len(votes) < k {
		return 0, false
	}
	if !s.choiceOfUpstreams(site) {
		return votes[k-1].Silence, true
	}
	seen := map[string]bool{}
	for i, v := range votes {
		for _, up := range s.Network.Sites[v.Observer].Upstreams {
			seen[up] = true
		}
		if i >= k-1 && len(seen) >= 2 {
			return v.Silence, true
		}
	}
	return 0, false
}
