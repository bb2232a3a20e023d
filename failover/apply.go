package failover

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Apply is called with every committed command in log order, on every agent.
// It returns nil or a *RejectedError, which is as much a result as success and
// leaves the state as it was. A proposal id that was seen before is answered
// from memory.
func (s *State) Apply(st Stamp, c Command) error {
	s.Index = st.Index
	st.At = s.tick(st)
	if old, ok := s.seen(st.ID); ok {
		if old.Rejected != nil {
			return old.Rejected
		}
		return nil
	}
	err := reject(CodeInvalid, "what", "no command")
	if c != nil {
		err = c.apply(s, st)
	}
	s.remember(st, err)
	return err
}

// tick moves the log's clock on to an entry, and returns it. Within a term that is the time that has
// passed for its leader. At a term's first entry it may be more: the new leader's own clock may be ahead.
func (s *State) tick(st Stamp) time.Time {
	was := s.Clock
	if st.At.After(was) {
		s.Clock = st.At
	}
	if st.Term != s.LastTerm && !was.IsZero() {
		s.Leapt += s.Clock.Sub(was)
	}
	s.LastTerm = st.Term
	return s.Clock
}

// seen looks a proposal id up among the recent ones, newest first: a repeat
// comes soon after.
func (s *State) seen(id string) (SeenID, bool) {
	if id == "" {
		return SeenID{}, false
	}
	for i := len(s.Seen) - 1; i >= 0; i-- {
		if s.Seen[i].ID == id {
			return s.Seen[i], true
		}
	}
	return SeenID{}, false
}

func (s *State) remember(st Stamp, err error) {
	if st.ID == "" {
		return
	}
	rejected, _ := errors.AsType[*RejectedError](err)
	s.Seen = grow(&s.seenTail, s.Seen, SeenID{ID: st.ID, Index: st.Index, Rejected: rejected})
	if n := len(s.Seen) - MaxSeen; n > 0 {
		s.Seen = s.Seen[n:]
	}
}

func reject(code string, pairs ...string) error {
	return &RejectedError{Reason: because(code, pairs...)}
}

// event appends to the ring of events.
func (s *State) event(st Stamp, r Reason, where Event) {
	where.Stamp = Stamp{Index: st.Index, Term: st.Term, At: st.At, Actor: st.Actor}
	where.Reason = r
	s.Events = grow(&s.eventTail, s.Events, where)
	if n := len(s.Events) - MaxEvents; n > 0 {
		s.Events = s.Events[n:]
	}
}

func (c Bootstrap) apply(s *State, st Stamp) error {
	if s.Generation != 0 {
		return reject(CodeDuplicate, "what", "bootstrap")
	}
	s.Generation = max(1, c.Generation)
	s.event(st, because(CodeBootstrapped, "network", c.Network, "generation", fmt.Sprint(s.Generation)), Event{})
	return nil
}

func (c BeginTerm) apply(s *State, st Stamp) error {
	if st.Term < s.Term {
		return reject(CodeStaleToken, "what", "term", "have", fmt.Sprint(s.Term), "got", fmt.Sprint(st.Term))
	}
	if c.Leader != s.Leader {
		s.event(st, because(CodeNewLeader, "site", string(c.Leader), "term", fmt.Sprint(st.Term)), Event{Site: c.Leader})
	}
	s.renewSightings(st)
	s.Term, s.TermStart, s.Leader = st.Term, st.At, c.Leader
	return nil
}

func (c SetMember) apply(s *State, st Stamp) error {
	if c.Site == "" || c.ServerID == "" {
		return reject(CodeInvalid, "what", "member without site or server id")
	}
	m, known := s.Members[c.Site]
	if !known || m.ServerID != c.ServerID {
		m.Since = st
		s.event(st, because(CodeJoined, "site", string(c.Site), "server", c.ServerID), Event{Site: c.Site})
	}
	m.ServerID, m.Address, m.Voter = c.ServerID, c.Address, c.Voter
	s.Members[c.Site] = m
	return nil
}

func (c RemoveMember) apply(s *State, st Stamp) error {
	if _, ok := s.Members[c.Site]; !ok {
		return reject(CodeUnknownSite, "site", string(c.Site))
	}
	delete(s.Members, c.Site)
	delete(s.Reports, c.Site)
	s.forgetSightings(c.Site)
	s.event(st, because(CodeLeft, "site", string(c.Site)), Event{Site: c.Site})
	return nil
}

func (c Report) apply(s *State, st Stamp) error {
	if _, ok := s.Members[c.Observer]; !ok {
		return reject(CodeUnknownSite, "site", string(c.Observer))
	}
	old, ok := s.Reports[c.Observer]
	if ok && old.Report.Boot == c.Boot && old.Report.Seq >= c.Seq {
		return reject(CodeDuplicate, "what", "report", "seq", fmt.Sprint(c.Seq))
	}
	var before []Exposure
	differs := !slices.Equal(old.Report.Exposed, c.Exposed)
	if differs {
		before = s.Exposed()
	}
	back := old.Back
	if !ok || st.At.Sub(old.Stamp.At) >= silentFor {
		back = st
	}
	s.Reports[c.Observer] = StoredReport{Report: c, Stamp: st, Back: back}
	s.sight(old.Report, c, st)
	if differs {
		s.exposures(before, st)
	}
	return nil
}

func (c ReportReadiness) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	if _, ok := s.Network.Sites[c.Ready.Site]; !ok {
		return reject(CodeUnknownSite, "site", string(c.Ready.Site))
	}
	s.Readiness[c.Ready.Site] = StoredReady{Ready: s.withoutOurPins(c.Ready), Stamp: st}
	s.readWarm(c.Ready, st)
	s.forgetLineages(c.Ready)
	return nil
}

// maxUseless bounds the list of useless preparations kept per domain.
const maxUseless = 16

func (c Assess) apply(s *State, st Stamp) error {
	if err := s.knownDomain(c.Domain); err != nil {
		return err
	}
	d := s.Domains[c.Domain]
	if d.Cause != c.Cause {
		d.Since = st
	}
	isLost := c.Cause.gone(c.Domain)
	switch {
	case isLost && d.Lost.Index == 0:
		d.Lost = st
	case !isLost && c.Back:
		if d.Lost.Index != 0 {
			s.event(st, because(CodeBack, "domain", string(c.Domain)), Event{Site: s.SiteOfDomain(c.Domain)})
		}
		d.Lost = Stamp{}
	}
	news := c.news(d)
	d.Cause, d.Level, d.Silence, d.Held = c.Cause, c.Level, c.Silence, c.Held
	s.Domains[c.Domain] = d
	for _, r := range news {
		s.event(st, r, Event{Site: s.SiteOfDomain(c.Domain)})
	}
	return nil
}

// news is what an assessment tells that was not known of a domain.
func (c Assess) news(d Domain) []Reason {
	var news []Reason
	first := d.Cause == "" && c.Cause == CauseUp
	if changed := d.Cause != c.Cause || d.Level != c.Level; changed && !first {
		news = append(news, c.reason())
	}
	if c.Held.Code != d.Held.Code && c.worthTelling() {
		if len(news) > 0 && news[0].Code == c.Held.Code {
			news = nil // the hold says the same, and more
		}
		news = append(news, c.Held)
	}
	return news
}

// worthTelling says whether what holds a decision is an event. That the votes
// do not suffice yet is how every suspicion begins.
func (c Assess) worthTelling() bool {
	return !c.Held.IsZero() && (c.Held.Code != CodeFewVotes || c.Level > LevelSuspect)
}

var causeCodes = map[Cause]string{
	CauseAgentOnly: CodeAgentOnly, CauseMeshDown: CodeMeshDown, CausePublicDown: CodePublicDown,
	CauseHostDown: CodeHostDown, CausePBSDown: CodePBSDown, CauseLocked: CodeLocked,
	CauseAsymmetric: CodeAsymmetric, CauseWeAreSick: CodeWeAreSick, CauseMassEvent: CodeMassEvent,
	CauseUnreachable: CodeUnreachable, CauseLost: CodeLost, CauseUnknown: CodeUnknown, CauseMaintenance: CodeMaintenance,
}

// reason names what an assessment says, for its event.
func (c Assess) reason() Reason {
	code, ok := causeCodes[c.Cause]
	switch {
	case c.Level == LevelSuspect:
		code = CodeSuspect
	case !ok:
		code = CodeAllWell
	}
	return because(code, "domain", string(c.Domain), "level", c.Level.String(),
		"silence", c.Silence.Round(100*time.Millisecond).String(), "votes", fmt.Sprint(darkVotes(c.Votes)))
}

func darkVotes(votes []Vote) int {
	n := 0
	for _, v := range votes {
		if v.Dark {
			n++
		}
	}
	return n
}

func (c SetPause) apply(s *State, st Stamp) error {
	if err := s.knownSite(c.Site); err != nil {
		return err
	}
	if c.For < 0 {
		return reject(CodeInvalid, "what", "a pause of "+c.For.String())
	}
	p := Pause{Reason: c.Reason, By: st}
	if c.For > 0 {
		p.Until = st.At.Add(c.For)
	}
	s.Pauses[string(c.Site)] = p
	s.event(st, because(CodePauseSet, "site", string(c.Site), "reason", c.Reason, "for", c.For.String()), Event{Site: c.Site})
	return nil
}

func (c EndPause) apply(s *State, st Stamp) error {
	if p, ok := s.Pauses[string(c.Site)]; !ok || c.If != 0 && c.If != p.By.Index {
		return reject(CodeNothing, "what", "pause", "site", string(c.Site))
	}
	if open := sortedKeys(s.Unconfirmed); c.Site == "" && len(open) > 0 {
		return reject(CodeUnconfirmed, "op", string(open[0]))
	}
	delete(s.Pauses, string(c.Site))
	s.event(st, because(CodePauseEnded, "site", string(c.Site)), Event{Site: c.Site})
	return nil
}

func (s *State) knownSite(id SiteID) error {
	if id == "" {
		return nil
	}
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	if _, ok := s.Network.Sites[id]; !ok {
		return reject(CodeUnknownSite, "site", string(id))
	}
	return nil
}

func (s *State) knownDomain(d DomainID) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	kind, name := splitDomain(d)
	_, site := s.Network.Sites[SiteID(name)]
	if kind == "site" && site || kind == "host" && s.Network.SiteOf(HostID(name)) != "" {
		return nil
	}
	return reject(CodeInvalid, "what", fmt.Sprintf("domain %q", d))
}

func (c Ack) apply(s *State, st Stamp) error {
	if _, ok := s.Blocks[c.Domain]; !ok {
		return reject(CodeNothing, "what", "block", "domain", string(c.Domain))
	}
	delete(s.Blocks, c.Domain)
	s.event(st, because(CodeAcked, "domain", string(c.Domain)), Event{Site: s.SiteOfDomain(c.Domain)})
	return nil
}

func (c MarkDiverged) apply(s *State, st Stamp) error {
	p, ok := s.Guests[c.Guest]
	switch {
	case !ok || p.Phase != PhaseAway:
		return reject(CodeWrongPhase, "guest", string(c.Guest), "phase", string(p.Phase))
	case p.Op != "":
		// The end of the operation would forget the mark.
		return reject(CodeGuestBusy, "guest", string(c.Guest), "op", string(p.Op))
	}
	p.Phase, p.Since = PhaseDiverged, st
	s.Guests[c.Guest] = p
	s.event(st, because(CodeDiverged, "guest", string(c.Guest), "site", string(p.Owner)), Event{Guest: c.Guest, Site: p.Owner})
	return nil
}

func (c VerifyZone) apply(s *State, st Stamp) error {
	z, ok := s.Zones[c.Zone]
	if !ok {
		return reject(CodeInvalid, "what", "zone "+c.Zone)
	}
	if c.Changed > z.Changed || c.Changed < z.Verified {
		return reject(CodeStaleToken, "what", "zone", "have", fmt.Sprint(z.Changed), "got", fmt.Sprint(c.Changed))
	}
	inSync := len(c.Servers) > 0
	for _, server := range sortedKeys(c.Servers) {
		if !c.Servers[server] {
			inSync = false
			s.event(st, because(CodeZoneOutside, "zone", c.Zone, "server", server, "why", c.Notes[server]), Event{})
		}
	}
	z.Servers, z.Notes, z.At = c.Servers, c.Notes, st
	if c.purged(s) {
		z.Former = nil
	}
	if inSync && z.Verified != c.Changed {
		z.Verified = c.Changed
		s.event(st, because(CodeZoneVerified, "zone", c.Zone, "servers", fmt.Sprint(len(c.Servers))), Event{})
	}
	s.Zones[c.Zone] = z
	return nil
}

// SiteOfDomain returns the site that a domain is, or stands at; "" for a host
// that is not declared.
func (s *State) SiteOfDomain(d DomainID) SiteID {
	kind, name := splitDomain(d)
	if kind == "site" || s.Network == nil {
		return SiteID(name)
	}
	return s.Network.SiteOf(HostID(name))
}
