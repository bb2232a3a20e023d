package failover

import "slices"

// apart keeps guests on different sites while they are away (anti-affinity). It is a wish and
// not a condition: two guests on one site serve, one that was left out does not.
type apart struct {
	from map[GuestID][]GuestID // both ways, sorted
	at   map[GuestID]SiteID    // where those of them are, or are meant to be
}

// keepApart reads the declared wishes, and where their guests are.
func (s *State) keepApart() apart {
	a := apart{from: map[GuestID][]GuestID{}, at: map[GuestID]SiteID{}}
	for _, g := range s.Network.GuestIDs() {
		for _, other := range s.Network.Guests[g].ApartFrom {
			a.from[g], a.from[other] = append(a.from[g], other), append(a.from[other], g)
		}
	}
	for g, others := range a.from {
		slices.Sort(others)
		a.from[g] = slices.Compact(others)
		at := s.Guests[g]
		a.at[g] = at.Owner
		if run, ok := s.Ops[at.Op].Guests[g]; ok && run.State == RunActive {
			a.at[g] = run.Assignment.Target
		}
	}
	return a
}

// put notes where a guest goes.
func (a apart) put(g GuestID, site SiteID) {
	if len(a.from[g]) > 0 {
		a.at[g] = site
	}
}

// beside counts the guests at a site that g is to be apart from.
func (a apart) beside(g GuestID, site SiteID) int {
	n := 0
	for _, other := range a.from[g] {
		if a.at[other] == site {
			n++
		}
	}
	return n
}

// why says whom a guest stands beside although it should not.
func (a apart) why(g GuestID, site SiteID) []Reason {
	for _, other := range a.from[g] {
		if a.at[other] == site {
			return []Reason{because(CodeNotApart, "guest", string(g), "site", string(site), "other", string(other))}
		}
	}
	return nil
}
