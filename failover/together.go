package failover

import "slices"

// keepTogether finds where structures that must not be split have guests
// already, running or on their way.
func (p *planner) keepTogether() {
	strict := false
	for _, st := range p.s.Network.Structures {
		strict = strict || st.Split == "never"
	}
	if !strict {
		return
	}
	for _, g := range sortedKeys(p.s.Guests) {
		at, guest := p.s.Guests[g], p.s.Network.Guests[g]
		if p.s.Network.Structures[guest.Structure].Split != "never" {
			continue
		}
		run, moving := p.s.Ops[at.Op].Guests[g]
		switch {
		case moving && run.State == RunActive:
			p.chosen[guest.Structure] = run.Assignment.Target
		case at.Owner != p.s.Network.Home(g) && at.Owner != p.loss.Site: // it leaves with the others
			p.chosen[guest.Structure] = at.Owner
		case p.staysBehind(g): // and the others with it
			p.chosen[guest.Structure] = at.Owner
		}
	}
}

// staysBehind says whether a planned move of single guests leaves one where it is that could
// move with them.
func (p *planner) staysBehind(g GuestID) bool {
	guest := p.s.Network.Guests[g]
	moves := guest.Priority != 4 && (guest.Exposure == "web" || guest.Exposure == "none")
	return p.loss.Planned && len(p.loss.Guests) > 0 && moves && p.s.Guests[g].Owner == p.loss.Site && !slices.Contains(p.loss.Guests, g)
}
