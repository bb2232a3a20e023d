package failover

import (
	"slices"
	"time"
)

// restoreTime is how long one restore takes at a target, by the rate that past ones had there;
// 0 = none was measured. The rate is that of single restores, with whatever ran beside them.
func (s *State) restoreTime(site SiteID, size int64) time.Duration {
	rate := s.Readiness[site].Ready.Rate
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(size) / float64(rate) * float64(time.Second))
}

// lanes are the restores that a target does at once, each with the time at which it is free:
// guests take the first free one in the order of the plan, as Runnable lets them.
type lanes []time.Duration

// take gives the lane that is free first to a restore and returns when it is done.
func (l lanes) take(takes time.Duration) time.Duration {
	i := slices.Index(l, slices.Min(l))
	l[i] += takes
	return l[i]
}

// estimate takes the next lane of a target for a guest and returns when its restore would be
// done, counted from the decision; 0 = not known.
func (p *planner) estimate(site SiteID, size int64) time.Duration {
	takes := p.s.restoreTime(site, size)
	if takes == 0 {
		return 0
	}
	if p.lanes[site] == nil {
		_, host, _ := p.s.Network.Target(site)
		p.lanes[site] = make(lanes, max(1, host.Restore.Parallel))
	}
	return p.lanes[site].take(takes)
}
