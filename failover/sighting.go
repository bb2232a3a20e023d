package failover

import (
	"maps"
	"slices"
	"time"
)

// Sightings of one site: when each observer outside it last saw something of
// it alive, be it well or not. A silence counts from the newest: three
// observers that lost a site which a fourth still saw have not watched it be
// gone. The site's own key holds when its last maintenance ended: until then
// its silence meant nothing.
type Sightings map[SiteID]time.Time

// outlook is what one report says of one site, seen from outside.
type outlook struct {
	alive, dark bool
	silence     time.Duration // when dark: since its last sighting
}

// outlooks sums a report up by site. The observations of a site mostly stand
// together; where they do not, they are gathered.
func outlooks(r Report) map[SiteID]outlook {
	out := make(map[SiteID]outlook, 8)
	for _, site := range sitesOf(r) {
		out[site] = outlookOf(r.Observations, site)
	}
	return out
}

// sitesOf lists the sites, but the observer's own, that a report sees from outside.
func sitesOf(r Report) []SiteID {
	var out []SiteID
	for _, o := range r.Observations {
		if o.Site != r.Observer && outside(o) && !slices.Contains(out, o.Site) {
			out = append(out, o.Site)
		}
	}
	return out
}

// outlookOf sums up what is known (see known) of one site.
func outlookOf(all []Observation, site SiteID) outlook {
	l, n := outlook{}, 0
	for _, o := range all {
		if o.Site != site || !outside(o) || o.Seen == SeenUnknown && askable(all, site, o.Path) {
			continue
		}
		l.alive = l.alive || o.Seen.Alive()
		l.dark = (l.dark || n == 0) && o.Seen == SeenDown
		if n == 0 || o.For < l.silence {
			l.silence = o.For
		}
		n++
	}
	return l
}

// askable says whether something of a site could be asked over a path.
func askable(all []Observation, site SiteID, p Path) bool {
	return slices.ContainsFunc(all, func(o Observation) bool { return o.Site == site && o.Path == p && o.Seen != SeenUnknown })
}

// sight moves the observer's last sightings on. A window calls a target up
// until several probes were missed: a report that says alive is the newest that
// the sighting can be, and the one that then says silence tells it exactly. One
// that was dark before tells nothing new: its windows begin anew when it
// restarts, and must not shorten what the others have watched.
func (s *State) sight(old, report Report, st Stamp) {
	before, now := outlooks(old), outlooks(report)
	for _, site := range sortedKeys(now) {
		switch {
		case now[site].alive:
			s.sighted(site, report.Observer, st.At)
		case now[site].dark && before[site].alive:
			s.sighted(site, report.Observer, st.At.Add(-now[site].silence))
		}
	}
}

// sighted replaces the inner map: clones share it.
func (s *State) sighted(site, observer SiteID, at time.Time) {
	seen := maps.Clone(s.Sighted[site])
	if seen == nil {
		seen = Sightings{}
	}
	seen[observer] = at
	if s.Sighted == nil {
		s.Sighted = map[SiteID]Sightings{}
	}
	s.Sighted[site] = seen
}

func (s *State) forgetSightings(observer SiteID) {
	for _, site := range sortedKeys(s.Sighted) {
		seen := maps.Clone(s.Sighted[site])
		delete(seen, observer)
		s.Sighted[site] = seen
	}
	delete(s.Sighted, observer)
}

// renewSightings carries over to a new term that a silence was contradicted.
// The clocks of two leaders cannot be compared, so that it begins again: a new
// leader with a wrong clock must not make an old veto vanish. Sightings that
// contradicted nobody say nothing in the new term, or every loss of a leader
// would be committed late.
func (s *State) renewSightings(st Stamp) {
	for _, site := range sortedKeys(s.Sighted) {
		kept := Sightings{}
		for observer, at := range s.Sighted[site] {
			if s.contradicts(site, at) {
				kept[observer] = st.At
			}
		}
		s.Sighted[site] = kept
	}
}

// contradicts says whether somebody reported silence from before a sighting.
func (s *State) contradicts(site SiteID, seen time.Time) bool {
	for _, r := range s.Reports {
		l := outlooks(r.Report)[site]
		if r.Stamp.Term == s.Term && l.dark && seen.After(r.Stamp.At.Add(-l.silence).Add(sightingGrace)) {
			return true
		}
	}
	return false
}

// lastSighting returns the newest sighting of a site, zero if there is none.
func (s *State) lastSighting(site SiteID) time.Time {
	var last time.Time
	for observer, at := range s.Sighted[site] {
		if at.After(last) && (observer == site || s.believes(observer)) {
			last = at
		}
	}
	return last
}
