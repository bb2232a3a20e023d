package sim

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// committed remembers what a decision says of every name that is not in a person's hands.
func (p *primaries) committed(s *failover.State) {
	if p == nil || s.Network == nil {
		return
	}
	at := s.Zones[zone].Changed
	if p.said[at] != nil {
		return
	}
	names := map[string]failover.SiteID{}
	for _, g := range s.Network.GuestIDs() {
		for _, name := range s.Network.Guests[g].Names {
			if _, held := s.Holds[name]; !held {
				names[name] = s.Guests[g].Serving
			}
		}
	}
	p.said[at] = names
}

// applied: S2, an update never puts an older decision in the place of a newer one, and what stands there afterwards is what
// its decision says, whole: each name leads to one site, whose copy the log has shown. Decisions are those that were
// committed, whose copies were checked (see checker.committed).
func (p *primaries) applied(n *nameServer) {
	c := p.w.check
	f, ok := n.read()
	said := p.said[f.index]
	switch {
	case !ok:
		c.fail("S2", "%s takes an update, and no fence of ours stands there", n.addr)
	case f.less(n.fence):
		c.fail("S2", "%s had decision %d-%d and takes the older %d-%d", n.addr, n.fence.generation, n.fence.index, f.generation, f.index)
	case said == nil:
		c.fail("S2", "%s carries decision %d-%d, which the log does not have", n.addr, f.generation, f.index)
	}
	n.fence = f
	for _, name := range sortedKeys(said) {
		if site, records := n.points(name); site != said[name] || records != 1 {
			c.fail("S2", "%s points %s at %q by %d records, decision %d-%d at %q", n.addr, name, site, records, f.generation, f.index, said[name])
		}
	}
}

// How long a server that is well, and reached by the agent that leads, may show something else than the log says: the last
// of the pauses after failed updates, and the update. What nobody was told of is seen when the zone is looked at again.
const (
	primaryBehind = 90 * time.Second
	verifyAgain   = 5*time.Minute + primaryBehind
)

// follows says whether a server shows what the log says.
func (n *nameServer) follows(s *failover.State) bool {
	if s.Network == nil {
		return true
	}
	for _, g := range s.Network.GuestIDs() {
		for _, name := range s.Network.Guests[g].Names {
			if _, held := s.Holds[name]; held {
				continue
			}
			if site, records := n.points(name); site != s.Guests[g].Serving || records != 1 {
				return false
			}
		}
	}
	return true
}

// converging: L5, every server that is well comes to serve what the log says.
func (p *primaries) converging(now time.Time) {
	w := p.w
	leader, last := w.log.leader, w.log.Last()
	works := leader != "" && w.log.ready && w.log.Quorum(leader) && w.primariesReachable(leader)
	for _, n := range p.list {
		bound := primaryBehind
		if n.slow {
			bound = verifyAgain
		}
		// A secondary can do no better than its primary.
		lame := n.how != "" || n.of != nil && (n.of.how != "" || !n.of.follows(last))
		switch {
		case n.follows(last):
			n.behind, n.slow = time.Time{}, false
		case !works || lame:
			n.behind = time.Time{}
		case n.behind.IsZero() || n.judged != leader:
			n.behind, n.judged = now, leader
		case now.Sub(n.behind) > bound:
			w.check.fail("L5", "%s has not followed the log for %s", n.addr, now.Sub(n.behind))
		}
	}
}

// primariesReachable says whether nothing of a site keeps its agent from updating the zone in time.
func (w *World) primariesReachable(id failover.SiteID) bool {
	s := w.sites[id]
	return s.power && s.host && s.uplink && s.agent.lives() && w.net.slow[id] == 0 && s.wall(w.loop.Now()).Sub(w.loop.Now()).Abs() < 4*time.Minute
}

// unrest says which server is not as the log says.
func (p *primaries) unrest() string {
	if p == nil {
		return ""
	}
	for _, n := range p.list {
		if n.how != "" || !n.follows(p.w.log.Last()) {
			return n.addr.String() + " is not as it should be"
		}
	}
	return ""
}
