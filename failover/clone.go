package failover

import "maps"

// NewState returns the state before the first entry.
func NewState() *State {
	return &State{
		MinVersion:  1,
		Members:     map[SiteID]Member{},
		Reports:     map[SiteID]StoredReport{},
		Readiness:   map[SiteID]StoredReady{},
		Sighted:     map[SiteID]Sightings{},
		Copies:      map[SiteID]StoredCopies{},
		Domains:     map[DomainID]Domain{},
		Guests:      map[GuestID]Placement{},
		Ops:         map[OpID]Operation{},
		Pauses:      map[string]Pause{},
		Resting:     map[DomainID]Rest{},
		Excluded:    map[SiteID]Exclusion{},
		Blocks:      map[DomainID]Block{},
		Cursors:     map[SiteID]int{},
		Zones:       map[string]ZoneState{},
		Holds:       map[string]NameHold{},
		Warm:        map[GuestID]Standby{},
		WarmSpent:   map[SiteID]WarmSpent{},
		Wasted:      map[SiteID]int64{},
		Lineages:    map[LineageID]Lineage{},
		Tokens:      map[string]JoinToken{},
		Operators:   map[string]Operator{},
		Revoked:     map[string]Revocation{},
		Unconfirmed: map[OpID]bool{},
		Told:        map[string]Notice{},
	}
}

// Clone returns a state that shares nothing which Apply changes: top-level
// maps are copied, their values are replaced by Apply and never edited in
// place, and the two lists only grow, by grow, or are re-sliced.
func (s *State) Clone() *State {
	c := *s
	c.Members = maps.Clone(s.Members)
	c.Reports = maps.Clone(s.Reports)
	c.Readiness = maps.Clone(s.Readiness)
	c.Sighted = maps.Clone(s.Sighted)
	c.Copies = maps.Clone(s.Copies)
	c.Domains = maps.Clone(s.Domains)
	c.Guests = maps.Clone(s.Guests)
	c.Ops = maps.Clone(s.Ops)
	c.Pauses = maps.Clone(s.Pauses)
	c.Resting = maps.Clone(s.Resting)
	c.Excluded = maps.Clone(s.Excluded)
	c.Blocks = maps.Clone(s.Blocks)
	c.Cursors = maps.Clone(s.Cursors)
	c.Zones = maps.Clone(s.Zones)
	c.Holds = maps.Clone(s.Holds)
	c.Warm = maps.Clone(s.Warm)
	c.WarmSpent = maps.Clone(s.WarmSpent)
	c.Wasted = maps.Clone(s.Wasted)
	c.Lineages = maps.Clone(s.Lineages)
	c.Tokens = maps.Clone(s.Tokens)
	c.Operators = maps.Clone(s.Operators)
	c.Revoked = maps.Clone(s.Revoked)
	c.Unconfirmed = maps.Clone(s.Unconfirmed)
	c.Told = maps.Clone(s.Told)
	return &c
}

// CloneFor returns a state that shares nothing which this command changes:
// reports, most of what a log holds, change little of a large state.
func (s *State) CloneFor(c Command) *State {
	if _, report := c.(Report); !report {
		return s.Clone()
	}
	n := *s
	n.Reports = maps.Clone(s.Reports)
	n.Sighted = maps.Clone(s.Sighted)
	return &n
}

// edit returns a copy of the operation whose runs may be replaced.
func (o Operation) edit() Operation {
	o.Guests = maps.Clone(o.Guests)
	return o
}

// edit returns a copy of the run whose steps may be changed.
func (r GuestRun) edit() GuestRun {
	r.Steps = append([]Step(nil), r.Steps...)
	return r
}
