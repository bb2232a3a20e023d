package failover

import (
	"cmp"
	"slices"
	"time"
)

// freshEnough is how much older a replica may be without losing its place to
// another target: the sync jobs of two targets do not run in the same minute.
const freshEnough = 15 * time.Minute

// rank puts the best candidate first: by what it is worth, then the target with the fewest
// bytes assigned so far, then free memory.
func (p *planner) rank(g GuestID, cands []candidate) {
	worth := p.worth(g, cands)
	slices.SortStableFunc(cands, func(a, b candidate) int {
		return cmp.Or(
			worth(a, b),
			cmp.Compare(p.load[a.site], p.load[b.site]),
			cmp.Compare(p.memory[b.site], p.memory[a.site]),
			cmp.Compare(a.site, b.site),
		)
	})
	if len(cands) == 0 {
		return
	}
	c, newest := &cands[0], newestOf(cands)
	code := CodeMoreMemory
	switch {
	case p.loss.Local:
		code = CodeSameSite
	case p.loss.Target != "":
		code = CodeForcedTarget
	case slices.Contains(p.s.Network.Guests[g].Prefer, c.site):
		code = CodePreferred
	case len(cands) == 1 || p.stale(g, newest, cands[1]) > p.stale(g, newest, *c):
		code = CodeFreshest
	}
	c.why = because(code, "guest", string(g), "site", string(c.site), "point", c.point.Time.UTC().Format(time.RFC3339))
}

// worth compares candidates by what does not depend on how full they are: away from those
// that the guest is to be apart from, then declared preference, then fresh replica, then a
// warm copy.
func (p *planner) worth(g GuestID, cands []candidate) func(a, b candidate) int {
	prefer, newest := p.s.Network.Guests[g].Prefer, newestOf(cands)
	preferred := func(t SiteID) int {
		if i := slices.Index(prefer, t); i >= 0 {
			return i
		}
		return len(prefer)
	}
	cold := func(c candidate) int {
		if c.warm == "" {
			return 1
		}
		return 0
	}
	return func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(p.apart.beside(g, a.site), p.apart.beside(g, b.site)),
			cmp.Compare(preferred(a.site), preferred(b.site)),
			cmp.Compare(p.stale(g, newest, a), p.stale(g, newest, b)),
			cmp.Compare(cold(a), cold(b)),
		)
	}
}

// stale is 1 for a candidate whose replica is much older than the newest.
func (p *planner) stale(g GuestID, newest time.Time, c candidate) int {
	may := freshEnough
	if c.warm != "" {
		may = max(may, p.s.Network.PolicyOf(g).WarmMaxAge.D())
	}
	if newest.Sub(c.point.Time) > may {
		return 1
	}
	return 0
}

// newestOf returns when the newest replica of all candidates was made.
func newestOf(cands []candidate) time.Time {
	var newest time.Time
	for _, c := range cands {
		if c.point.Time.After(newest) {
			newest = c.point.Time
		}
	}
	return newest
}
