package failover

import (
	"time"
)

// Rest is a maintenance: nobody is alarmed and nothing moves by itself, since
// people said that the domain may be silent.
type Rest struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	Boot   string    `json:"boot,omitempty"` // see BeginMaintenance
	By     Stamp     `json:"by"`
}

// Exclusion is an operator's word that an observer is not to be believed.
type Exclusion struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	By     Stamp     `json:"by"`
}

// Longest limits. What people forget must end by itself.
const (
	MaxMaintenance = 7 * 24 * time.Hour
	MaxExclusion   = 24 * time.Hour
)

func (c BeginMaintenance) apply(s *State, st Stamp) error {
	if err := s.knownDomain(c.Domain); err != nil {
		return err
	}
	if c.For <= 0 || c.For > MaxMaintenance {
		return reject(CodeInvalid, "what", "a maintenance of "+c.For.String()+", want more than 0 and at most "+MaxMaintenance.String())
	}
	r := Rest{Until: st.At.Add(c.For), Reason: c.Reason, Boot: c.Boot, By: st}
	s.Resting[c.Domain] = r
	s.event(st, because(CodeMaintenanceSet, "domain", string(c.Domain), "until", clockText(r.Until), "reason", c.Reason),
		Event{Site: s.SiteOfDomain(c.Domain)})
	return nil
}

// apply ends a maintenance. From here on a silence counts, and only from here:
// the countdown that people have to stop a failover is always the whole one.
func (c EndMaintenance) apply(s *State, st Stamp) error {
	r, ok := s.Resting[c.Domain]
	if !ok || c.If != 0 && c.If != r.By.Index {
		return reject(CodeNothing, "what", "maintenance", "domain", string(c.Domain))
	}
	delete(s.Resting, c.Domain)
	site := s.SiteOfDomain(c.Domain)
	if c.Domain == SiteDomain(site) {
		s.sighted(site, site, st.At)
	}
	s.event(st, because(CodeMaintenanceEnded, "domain", string(c.Domain)), Event{Site: site})
	return nil
}

func (c ExcludeObserver) apply(s *State, st Stamp) error {
	if _, ok := s.Members[c.Site]; !ok {
		return reject(CodeUnknownSite, "site", string(c.Site))
	}
	if c.For <= 0 || c.For > MaxExclusion {
		return reject(CodeInvalid, "what", "an exclusion of "+c.For.String()+", want more than 0 and at most "+MaxExclusion.String())
	}
	e := Exclusion{Until: st.At.Add(c.For), Reason: c.Reason, By: st}
	s.Excluded[c.Site] = e
	s.event(st, because(CodeExcluded, "observer", string(c.Site), "until", clockText(e.Until), "reason", c.Reason), Event{Site: c.Site})
	return nil
}

func (c IncludeObserver) apply(s *State, st Stamp) error {
	if e, ok := s.Excluded[c.Site]; !ok || c.If != 0 && c.If != e.By.Index {
		return reject(CodeNothing, "what", "exclusion", "site", string(c.Site))
	}
	delete(s.Excluded, c.Site)
	s.event(st, because(CodeIncluded, "observer", string(c.Site)), Event{Site: c.Site})
	return nil
}

// believes says whether an observer's word counts at all.
func (s *State) believes(observer SiteID) bool {
	_, excluded := s.Excluded[observer]
	return !excluded
}

// RestOf returns the maintenance that covers a domain, a host's own one or that
// of its site. It is in force until the entry that ends it.
func (s *State) RestOf(d DomainID) (Rest, bool) {
	if r, ok := s.Resting[d]; ok || len(s.Resting) == 0 {
		return r, ok
	}
	r, ok := s.Resting[SiteDomain(s.SiteOfDomain(d))]
	return r, ok
}

// restOfGuest returns the maintenance of a guest's home or host.
func (s *State) restOfGuest(g GuestID) (Rest, bool) {
	return s.RestOf(HostDomain(s.Guests[g].Host))
}

// expire ends what was set for a while only, and the maintenance that an agent
// announced before its host went down and whose next boot is well.
func (d *decider) expire() {
	for _, key := range sortedKeys(d.s.Pauses) {
		if p := d.s.Pauses[key]; !p.Until.IsZero() && !d.now.Before(p.Until) {
			d.propose(EndPause{Site: SiteID(key), If: p.By.Index})
			return
		}
	}
	for _, id := range sortedKeys(d.s.Resting) {
		if r := d.s.Resting[id]; !d.now.Before(r.Until) || d.rebooted(id, r) {
			d.propose(EndMaintenance{Domain: id, If: r.By.Index})
			return
		}
	}
	for _, observer := range sortedKeys(d.s.Excluded) {
		if e := d.s.Excluded[observer]; !d.now.Before(e.Until) {
			d.propose(IncludeObserver{Site: observer, If: e.By.Index})
			return
		}
	}
}

// rebooted says whether the agent that announced a maintenance is back and well.
func (d *decider) rebooted(id DomainID, r Rest) bool {
	own, ok := d.s.Reports[d.s.SiteOfDomain(id)]
	return r.Boot != "" && ok && own.Report.Boot != r.Boot && own.Stamp.Index > r.By.Index &&
		own.Stamp.Term == d.s.Term && len(own.Report.Unwell) == 0
}

// clockText writes a date as an argument of a reason.
func clockText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// rested turns the verdict on a domain in maintenance that is not well into
// one that alarms nobody. What the observers said stays in it.
func (j judge) rested(v Verdict) Verdict {
	r, ok := j.s.RestOf(v.Domain)
	switch {
	case !ok:
		return v
	case v.Cause == CauseUnknown || v.Cause == CauseWeAreSick || v.Cause == CauseUp && v.Level == LevelNone:
		return v
	}
	v.Cause, v.Level = CauseMaintenance, LevelNone
	v.Hold = because(CodeMaintenance, "domain", string(v.Domain), "site", string(v.Site), "until", clockText(r.Until), "reason", r.Reason)
	return v
}
