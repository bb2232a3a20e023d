package api

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// switchoverCase is that of a site, a structure or a guest that is moved by plan. A name
// that means several things is written KIND:NAME ("guest:wiki").
func switchoverCase(s *failover.State, req FailoverRequest) (failoverCase, error) {
	if req.Site != "" || req.Host != "" || req.Guest != "" || req.Rescue {
		return failoverCase{}, malformedf("switchover: names what is to be moved, nothing else does")
	}
	found := movable(s, req.Switchover)
	switch len(found) {
	case 0:
		return failoverCase{}, notFound("site, structure or guest", req.Switchover)
	case 1:
	default:
		return failoverCase{}, malformedf("switchover: %s is a site, a structure or a guest; write site:%[1]s, structure:%[1]s or guest:%[1]s", req.Switchover)
	}
	c := found[0]
	if !req.At.IsZero() && req.At.Before(s.Clock) {
		return c, malformedf("at: %s is past", req.At.Format("2006-01-02 15:04:05 MST"))
	}
	for _, g := range req.Stop {
		if _, ok := s.Guests[g]; !ok {
			return c, notFound("guest", string(g))
		}
	}
	c.loss.Planned, c.loss.HardStop = true, slices.Compact(slices.Sorted(slices.Values(req.Stop)))
	guests := c.loss.Guests
	if len(req.Only) > 0 {
		c.loss.Guests = nil
	}
	if err := c.narrow(s, req); err != nil {
		return c, err
	}
	for _, g := range req.Only {
		if len(guests) > 0 && !slices.Contains(guests, g) {
			return c, malformedf("only: %s is not of %s", g, c.name)
		}
	}
	if !slices.Contains(s.Network.SiteIDs(), c.loss.Site) {
		return c, notFound("site", string(c.loss.Site))
	}
	return c, nil
}

// movable lists what a name may mean.
func movable(s *failover.State, name string) []failoverCase {
	kind, rest, written := strings.Cut(name, ":")
	if !written {
		kind, rest = "", name
	}
	var out []failoverCase
	if _, ok := s.Network.Sites[failover.SiteID(rest)]; ok && (kind == "" || kind == "site") {
		site := failover.SiteID(rest)
		out = append(out, failoverCase{failover.Loss{Site: site}, failover.SiteDomain(site), rest})
	}
	if st, ok := s.Network.Structures[failover.StructureID(rest)]; ok && (kind == "" || kind == "structure") {
		loss := failover.Loss{Site: st.Home}
		for _, g := range s.Network.GuestIDs() {
			if s.Network.Guests[g].Structure == failover.StructureID(rest) {
				loss.Guests = append(loss.Guests, g)
			}
		}
		if len(loss.Guests) > 0 {
			out = append(out, failoverCase{loss, failover.SiteDomain(st.Home), rest})
		}
	}
	if p, ok := s.Guests[failover.GuestID(rest)]; ok && (kind == "" || kind == "guest") {
		out = append(out, failoverCase{failover.Loss{Site: p.Owner, Guests: []failover.GuestID{failover.GuestID(rest)}}, failover.SiteDomain(p.Owner), rest})
	}
	return out
}

// begin is the command that starts what a request asks for.
func (c failoverCase) begin(plan failover.Plan, req FailoverRequest) failover.BeginOp {
	cmd := failover.BeginOp{Kind: c.loss.Kind(), Domain: c.domain, Plan: plan, Forced: true}
	if c.loss.Planned { // it answers to no loss
		cmd.Domain, cmd.At = "", req.At
	}
	return cmd
}
