package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explain turns State into the one text that CLI, API, metrics and logs show.
// v comes from the answering agent: State cannot tell who is reading it.
func Explain(s *State, v LocalView, now time.Time) Status {
	out := Status{
		At: now, Local: v, Leader: s.Leader, Term: s.Term, Index: s.Index, Armed: true,
		Ops: []OpView{}, Todo: []Reason{}, Sites: []SiteView{},
	}
	out.Quorum = Quorum{Voters: s.Voters(), Needed: s.Majority()}
	if s.Network == nil {
		out.Headline = HeadDegraded
		out.Todo = append(out.Todo, because(CodeNoNetwork))
		return out
	}
	out.Network = s.Network.Network
	e := explainer{s: s, now: now, verdicts: Judge(s, now), local: v, guests: ExplainGuests(s, now)}
	out.Quorum.Present = e.present()
	for _, key := range sortedKeys(s.Pauses) {
		if p, ok := s.PausedAt(SiteID(key), now); ok {
			out.Pauses = append(out.Pauses, PauseView{Site: SiteID(key), Until: p.Until, Reason: p.Reason, By: p.By.Actor})
			out.Armed = out.Armed && key != ""
		}
	}
	out.Resting, out.Excluded = e.rests(), e.excluded()
	for _, id := range s.Network.SiteIDs() {
		out.Sites = append(out.Sites, e.site(id))
	}
	out.Ops = e.ops()
	out.Counts = e.counts()
	out.Zones = e.zones()
	for _, d := range sortedKeys(s.Domains) {
		well := s.Domains[d].Cause == CauseUp && s.Domains[d].Level == LevelNone
		if held := s.Domains[d].Held; !held.IsZero() && !well && !e.covered(d) {
			out.Held = append(out.Held, HeldView{Domain: d, Reason: held})
		}
	}
	out.Local.Returning = s.unsettled(v.Site)
	out.Headline = e.headline(out)
	if out.Headline == HeadIsolated {
		out.Isolation = e.isolation()
	}
	out.Todo = e.todo(out)
	out.Notices = e.notices(out)
	return out
}

type explainer struct {
	s        *State
	now      time.Time
	verdicts map[DomainID]Verdict
	local    LocalView
	guests   []GuestView
}

// present counts the voters that reported in this term and not too long ago.
// The answering agent counts itself: it is here.
func (e explainer) present() int {
	n := 0
	if !e.local.HasLeader && len(e.s.Members) > 0 { // what the log says is of another time
		if e.s.Members[e.local.Site].Voter {
			n++
		}
		return n + len(e.local.Reachable)
	}
	for id, m := range e.s.Members {
		r, ok := e.s.Reports[id]
		fresh := ok && r.Stamp.Term == e.s.Term && e.now.Sub(r.Stamp.At) <= PresenceAge
		d := e.s.Domains[SiteDomain(id)]
		gone := d.Cause == CauseLost || d.Cause == CauseUnreachable
		if m.Voter && (id == e.local.Site || fresh && !gone) {
			n++
		}
	}
	return n
}

// covered says whether a domain is a host of a site of which nothing is seen:
// what was last known of the host is no news of its own.
func (e explainer) covered(d DomainID) bool {
	kind, _ := splitDomain(d)
	site := e.s.Domains[SiteDomain(e.s.SiteOfDomain(d))]
	return kind == "host" && (site.Level >= LevelSuspect || site.Cause == CauseLost || site.Cause == CauseUnreachable)
}

func (e explainer) site(id SiteID) SiteView {
	site := e.s.Network.Sites[id]
	d, v := e.s.Domains[SiteDomain(id)], e.verdicts[SiteDomain(id)]
	out := SiteView{
		Site: id, Kind: string(site.Kind), Cause: d.Cause, Level: d.Level, Since: d.Since.At, Silence: max(d.Silence, v.Silence),
		SeenBy: v.Seeing, Observers: v.Present, Voter: e.s.Members[id].Voter, PublicOK: e.public(id, v), Evidence: v.Votes,
	}
	if out.Cause == "" {
		out.Cause = CauseUnknown
	}
	out.State = e.siteState(id, d)
	if r, ok := e.s.RestOf(SiteDomain(id)); ok {
		out.RestUntil = r.Until
	}
	out.CommitAt = e.commitIn(d, v)
	for _, h := range site.HostIDs() {
		hd := e.s.Domains[HostDomain(h)]
		cause := hd.Cause
		if cause == "" || e.covered(HostDomain(h)) || d.Cause == CauseMeshDown || d.Cause == CauseAsymmetric {
			cause = CauseUnknown
		}
		out.Hosts = append(out.Hosts, e.host(h, HostView{Host: h, Owner: string(site.Hosts[h].Owner), Cause: cause, Since: hd.Since.At}))
	}
	e.countGuests(id, &out)
	if e.blind() {
		out.State, out.Cause, out.Level, out.SeenBy, out.CommitAt, out.Silence = "unknown", CauseUnknown, LevelNone, 0, 0, 0
		if out.PublicOK != "-" {
			out.PublicOK = "?"
		}
		for i := range out.Hosts {
			out.Hosts[i].Cause = CauseUnknown
		}
	}
	return out
}

// blind says whether the answering agent has been without a leader for so long
// that no vote it knows of would count: what it would say of a site is history.
func (e explainer) blind() bool {
	return !e.local.HasLeader && (e.local.LastContact == 0 || e.local.LastContact > VoteAge)
}

// commitIn is how long until the first guest of a lost site is taken over if
// nothing comes between. Zero: nothing will be without a person.
func (e explainer) commitIn(d Domain, v Verdict) time.Duration {
	op, ok := e.s.OpFor(v.Domain)
	dec := decider{s: e.s, now: e.now, verdicts: e.verdicts}
	if !ok || op.Phase != OpPreparing || d.Cause != CauseLost || !d.Held.IsZero() || !v.Hold.IsZero() || !dec.brake(v).IsZero() {
		return 0
	}
	var first time.Duration
	for g, run := range op.Guests {
		if run.State != RunActive || run.Admitted != 0 || !run.Assignment.Automatic || !dec.stays(g).IsZero() {
			continue
		}
		if delay := e.s.Network.CommitDelay(g); first == 0 || delay < first {
			first = delay
		}
	}
	return max(0, first-max(v.Silence, d.Silence))
}

func (e explainer) siteState(id SiteID, d Domain) string {
	_, resting := e.s.RestOf(SiteDomain(id))
	switch {
	case resting || d.Cause == CauseMaintenance:
		return "maintenance"
	case d.Cause == "" || d.Cause == CauseUnknown:
		return "unknown"
	case d.Cause.gone(SiteDomain(id)) && d.Level != LevelSuspect:
		return "lost"
	case d.Level >= LevelSuspect:
		return "suspect"
	case d.Cause == CauseLocked:
		return "locked"
	case d.Cause == CauseUp:
		return "up"
	}
	return "degraded"
}

// public sums up what the observers say of a site's public entry.
func (e explainer) public(id SiteID, v Verdict) string {
	if e.s.Network.Sites[id].Public.HTTPS == 0 {
		return "-"
	}
	alive, dead := 0, 0
	for _, vote := range v.Votes {
		for _, target := range vote.Sees {
			if target == "entry" || strings.HasPrefix(target, "name:") {
				alive++
				break
			}
		}
		if slices.Contains(vote.Paths, PathPublic) {
			dead++
		}
	}
	switch {
	case alive > 0:
		return "ok"
	case dead > 0:
		return "dead"
	}
	return "?"
}

func (e explainer) countGuests(id SiteID, out *SiteView) {
	for _, v := range e.guests {
		if v.At == id && (v.Home != id || v.Phase == PhaseAway || v.Phase == PhaseDiverged) {
			out.Hosting++
		}
		if v.Home != id || v.Phase == PhaseExcluded {
			continue
		}
		out.Guests++
		if v.Ready {
			out.Ready++
		}
		out.OffsiteRPO = max(out.OffsiteRPO, v.RPO)
	}
}

func (e explainer) counts() Counts {
	var c Counts
	for _, v := range e.guests {
		switch v.Phase {
		case PhaseExcluded:
			c.Excluded++
			continue
		case PhaseAway:
			c.Away++
		case PhaseDiverged:
			c.Diverged++
		case PhaseStuck:
			c.Stuck++
		}
		if !v.offSite() {
			c.Unprotected++
			continue
		}
		c.Protected++
		if v.Ready {
			c.Ready++
		}
	}
	return c
}

func (e explainer) zones() []ZoneView {
	var out []ZoneView
	for _, name := range sortedKeys(e.s.Zones) {
		z := e.s.Zones[name]
		sync := z.Verified == z.Changed
		for _, ok := range z.Servers {
			sync = sync && ok
		}
		after := uint32(0)
		if e.s.Network != nil {
			after = e.s.Network.Zones[name].SerialAfter
		}
		out = append(out, ZoneView{
			Zone: name, Serial: z.Base + after + uint32(z.Changed), Since: z.Since, InSync: sync, Servers: z.Servers, Notes: z.Notes, Verified: z.At.At,
		})
	}
	return out
}

func (e explainer) headline(st Status) Headline {
	lost, degraded := false, false
	for _, row := range st.Sites {
		lost = lost || row.State == "lost" && !e.settled(row.Site)
		degraded = degraded || row.State != "up"
	}
	running, others := false, false
	for _, o := range st.Ops {
		if !o.Phase.Ended() && o.Phase != OpReleasing && o.Phase != OpScheduled && o.Kind != KindWarm {
			running, others = true, others || o.Kind != KindFailback
		}
	}
	switch {
	case e.s.CutOff(st.Local):
		return HeadIsolated
	case !st.Local.HasLeader:
		return HeadNoQuorum
	case others:
		return HeadFailover
	case lost:
		return HeadLoss
	case running:
		return HeadFailback
	case st.Counts.Diverged > 0:
		return HeadDiverged
	case st.Counts.Away > 0:
		return HeadAway
	case degraded || st.Counts.Stuck > 0:
		return HeadDegraded
	case len(st.Pauses) > 0:
		return HeadPaused
	}
	return HeadHealthy
}

// CutOff says whether an agent that knows only this of itself reaches too few others to decide anything.
func (s *State) CutOff(l LocalView) bool {
	return !l.HasLeader && len(l.Reachable)+1 < s.Majority() && s.Voters() > 1
}

// settled says whether a lost site has nothing left that automation or a
// person could still move.
func (e explainer) settled(id SiteID) bool {
	for _, p := range e.s.Guests {
		if p.Owner == id && p.Phase != PhaseExcluded {
			return false
		}
	}
	return true
}

func (e explainer) todo(st Status) []Reason {
	out := []Reason{}
	for _, op := range st.Ops {
		if len(op.Waiting) > 0 && !op.Phase.Ended() {
			out = append(out, because(CodeWaitApproval, "op", string(op.ID), "guests", fmt.Sprint(len(op.Waiting))))
		}
		for _, g := range op.Guests {
			if g.State == RunStuck && e.s.Guests[g.Guest].Phase == PhaseStuck {
				out = append(out, because(CodeStuck, "op", string(op.ID), "guest", string(g.Guest), "why", g.Stuck.Code, "note", g.Note, "home", e.s.wayHomeOf(g.Guest)))
			}
		}
	}
	for _, h := range st.Held {
		idle := h.Reason.Code == CodeNothing && e.settled(e.s.SiteOfDomain(h.Domain))
		if !slices.Contains([]string{CodeWaitApproval, CodeFewVotes, CodeMaintenance, CodeCleaning}, h.Reason.Code) && !idle {
			out = append(out, h.Reason)
		}
	}
	out = append(out, e.s.keptWarm()...)
	if st.Counts.Diverged > 0 {
		out = append(out, because(CodeBranches, "guests", fmt.Sprint(st.Counts.Diverged)))
	}
	for _, row := range st.Sites {
		if row.State == "lost" {
			out = append(out, because(CodeGoThere, "site", string(row.Site)))
		}
		if row.State == "locked" {
			out = append(out, because(CodeLocked, "domain", string(SiteDomain(row.Site)), "site", string(row.Site)))
		}
	}
	return out
}

func (e explainer) notices(st Status) []Reason {
	var out []Reason
	if n := e.s.Voters(); n < MinVoters {
		out = append(out, because(CodeTwoVoters, "voters", fmt.Sprint(n)))
	}
	for _, row := range st.Sites {
		if row.CommitAt > 0 {
			out = append(out, because(CodeCountdown, "domain", string(SiteDomain(row.Site)), "site", string(row.Site), "in", row.CommitAt.Round(time.Second).String()))
		}
	}
	for _, r := range e.rests() {
		out = append(out, because(CodeMaintenance, "domain", string(r.Domain), "until", clockText(r.Until), "reason", r.Reason))
	}
	for _, x := range e.excluded() {
		out = append(out, because(CodeExcluded, "observer", string(x.Site), "until", clockText(x.Until), "reason", x.Reason))
	}
	for _, id := range sortedKeys(e.s.Readiness) {
		out = append(out, e.s.Readiness[id].Ready.Problems...)
	}
	out = append(out, e.channels()...)
	out = append(out, e.local.Names...)
	out = append(out, e.unreached()...)
	out = append(out, e.certificates()...)
	out = append(out, e.awayReminder()...)
	out = append(out, e.unsaved()...)
	out = append(out, e.secondLossNotices()...)
	for _, v := range e.guests {
		if !v.Ready && v.Phase == PhaseHome && !v.NotReady.IsZero() {
			out = append(out, v.NotReady)
		}
		if !v.WarmWhy.IsZero() {
			out = append(out, v.WarmWhy)
		}
	}
	return out
}

// offSite says whether a guest has a copy where the loss of its home does not take it.
func (v GuestView) offSite() bool {
	return slices.ContainsFunc(v.Copies, func(c CopyView) bool { return c.Site != v.Home })
}

// ExplainGuests returns every guest as `wwwctl guests` shows it.
func ExplainGuests(s *State, now time.Time) []GuestView {
	out := []GuestView{}
	if s.Network == nil {
		return out
	}
	homes := map[HostID]SiteID{}
	for _, id := range s.Network.SiteIDs() {
		for _, h := range s.Network.Sites[id].HostIDs() {
			homes[h] = id
		}
	}
	j := newJudge(s, s.notBefore(now))
	copies, behind := s.copies(), map[GuestID]Reason{}
	for _, w := range s.warmWants(now) {
		behind[w.Guest] = w.Why
	}
	for _, g := range sortedKeys(s.Guests) {
		v := s.guestView(g, now, copies[g])
		v.Warm, v.WarmWhy = s.warmViews(g), behind[g]
		v.Home = homes[s.Network.Guests[g].Host]
		v.Reach = j.reach(g)
		v.Left = s.Guests[g].Branch
		out = append(out, v)
	}
	return out
}

// copies returns every guest's restore points as the screens show them: of each
// site the newest usable one, and the newer ones that are not.
func (s *State) copies() map[GuestID][]CopyView {
	out := map[GuestID][]CopyView{}
	for _, site := range sortedKeys(s.Readiness) {
		for g := range s.Readiness[site].Ready.Points {
			points, _ := s.PointsAt(g, site)
			for _, pt := range points {
				out[g] = append(out[g], CopyView{Site: site, Time: pt.Time, Verified: pt.Verified, Unusable: pt.Unusable})
				if pt.Unusable == "" {
					break
				}
			}
		}
	}
	return out
}

func (s *State) guestView(g GuestID, now time.Time, copies []CopyView) GuestView {
	guest, p := s.Network.Guests[g], s.Guests[g]
	out := GuestView{
		Guest: g, ID: p.VMID, Type: string(guest.Type), Structure: guest.Structure, Priority: guest.Priority,
		At: p.Owner, Serving: p.Serving, Phase: p.Phase, Epoch: p.Epoch.String(),
		Since: p.Since.At, Copies: append([]CopyView{}, copies...), Names: guest.Names,
	}
	var newest time.Time
	for _, c := range copies {
		if c.Site != p.Owner && c.Unusable == "" && c.Time.After(newest) {
			newest = c.Time
		}
	}
	if !newest.IsZero() {
		out.RPO = max(0, now.Sub(newest))
	}
	out.NotReady = s.notReady(g, newest)
	out.Ready = out.NotReady.IsZero()
	return out
}

// notReady says why a guest could not be failed over now, cheaply: whether it
// also fits beside all others is the plan's to say.
func (s *State) notReady(g GuestID, newest time.Time) Reason {
	guest := s.Network.Guests[g]
	st := s.Network.Structures[guest.Structure]
	switch {
	case guest.Priority == 4:
		return because(CodePriority4, "guest", string(g))
	case st.Mode == "never":
		return because(CodeMode, "guest", string(g), "mode", string(st.Mode))
	case st.OffSite.Policy != "allowed":
		return because(CodeNoConsent, "guest", string(g), "structure", string(guest.Structure))
	case newest.IsZero():
		return because(CodeNoPoint, "guest", string(g))
	}
	return Reason{}
}
