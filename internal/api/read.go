package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Bounds of GET /v1/events.
const (
	DefaultEvents = 200
	MaxEvents     = 2000
)

func (h *handler) meta(s *failover.State) Meta {
	local := h.Backend.Local()
	m := Meta{At: h.Backend.Now(), Index: s.Index, From: local.Site, Alone: !local.HasLeader}
	if m.Alone && local.LastContact > 0 {
		m.Heard = m.At.Add(-local.LastContact)
	}
	return m
}

func (h *handler) health(*http.Request) (any, error) {
	local, node, s := h.Backend.Local(), h.Backend.Node(), h.Backend.State()
	out := Health{
		Site: local.Site, Version: local.Version, Boot: node.Boot, HasLeader: local.HasLeader,
		Clock: h.Backend.Now(), Unwell: local.Unwell, Applied: node.Applied, Term: node.Term,
	}
	if local.HasLeader {
		out.Leader = s.Leader
	}
	return out, nil
}

func (h *handler) version(*http.Request) (any, error) {
	local := h.Backend.Local()
	return VersionInfo{Site: local.Site, Version: local.Version, Revision: h.Backend.Node().Revision, Go: runtime.Version(), API: Version}, nil
}

func (h *handler) status(*http.Request) (any, error) {
	return failover.Explain(h.Backend.State(), h.Backend.Local(), h.Backend.Now()), nil
}

func (h *handler) sites(*http.Request) (any, error) {
	s := h.Backend.State()
	return SiteList{Meta: h.meta(s), Items: failover.Explain(s, h.Backend.Local(), h.Backend.Now()).Sites}, nil
}

func (h *handler) site(r *http.Request) (any, error) {
	s, id := h.Backend.State(), failover.SiteID(r.PathValue("site"))
	st := failover.Explain(s, h.Backend.Local(), h.Backend.Now())
	i := slices.IndexFunc(st.Sites, func(v failover.SiteView) bool { return v.Site == id })
	if i < 0 {
		return nil, notFound("site", string(id))
	}
	decl := s.Network.Sites[id]
	out := Site{
		Meta: h.meta(s), Site: st.Sites[i], Place: decl.Place, Public: publicText(decl.Public),
		Seen: sightings(s, id, h.Backend.Now()), Guests: guestsOf(s, id, h.Backend.Now()), Domains: domainsOf(s, id, decl),
		Verdict: verdictsOf(s, id, decl, h.Backend.Now()),
	}
	for _, rest := range st.Resting {
		if s.SiteOfDomain(rest.Domain) == id {
			out.Resting = append(out.Resting, rest)
		}
	}
	if decl.Mesh.IsValid() {
		out.Mesh = decl.Mesh.String()
	}
	if ready, ok := s.Readiness[id]; ok {
		short := ready.Ready
		short.Points = nil // by guest: GET /v1/guests/{guest}
		out.Ready, out.ReadyAt, out.Problem = &short, ready.Stamp.At, short.Problems
	}
	for _, p := range st.Pauses {
		if p.Site == "" || p.Site == id {
			out.Pauses = append(out.Pauses, p)
		}
	}
	if b, ok := s.Blocks[failover.SiteDomain(id)]; ok && b.Until.After(h.Backend.Now()) {
		out.Blocked = &b
	}
	return out, nil
}

func publicText(p network.Public) string {
	switch {
	case p.IPv4.IsValid():
		return fmt.Sprintf("%s:%d", p.IPv4, p.HTTPS)
	case p.IPv6.IsValid():
		return fmt.Sprintf("[%s]:%d", p.IPv6, p.HTTPS)
	}
	return ""
}

// sightings is the matrix of evidence: observer by target, with the age of what
// was reported.
func sightings(s *failover.State, id failover.SiteID, now time.Time) []Sighting {
	var out []Sighting
	for _, observer := range slices.Sorted(maps.Keys(s.Reports)) {
		r := s.Reports[observer]
		unwell := slices.Clone(r.Report.Unwell)
		if _, excluded := s.Excluded[observer]; excluded {
			unwell = append(unwell, failover.UnwellExcluded)
		}
		age := max(0, now.Sub(r.Stamp.At))
		counts := len(unwell) == 0 && age <= failover.PresenceAge && r.Stamp.Term == s.Term
		for _, o := range r.Report.Observations {
			if o.Site == id {
				out = append(out, Sighting{
					Observer: observer, Target: o.Target, Path: o.Path, Seen: o.Seen, For: o.For, At: r.Stamp.At, Age: age,
					Counts: counts, Unwell: unwell, Note: o.Note,
				})
			}
		}
	}
	return out
}

func verdictsOf(s *failover.State, id failover.SiteID, decl network.Site, now time.Time) []failover.VerdictView {
	all := failover.Judge(s, now)
	out := []failover.VerdictView{failover.ExplainVerdict(s, all[failover.SiteDomain(id)])}
	for _, host := range decl.HostIDs() {
		out = append(out, failover.ExplainVerdict(s, all[failover.HostDomain(host)]))
	}
	return out
}

func guestsOf(s *failover.State, id failover.SiteID, now time.Time) []failover.GuestView {
	return slices.DeleteFunc(failover.ExplainGuests(s, now), func(g failover.GuestView) bool {
		return g.Home != id && g.At != id
	})
}

func domainsOf(s *failover.State, id failover.SiteID, decl network.Site) map[string]DomainState {
	out := map[string]DomainState{}
	add := func(d failover.DomainID) {
		if rec, ok := s.Domains[d]; ok {
			out[string(d)] = DomainState{Cause: rec.Cause, Level: rec.Level, Since: rec.Since.At, Held: rec.Held}
		}
	}
	add(failover.SiteDomain(id))
	for _, host := range decl.HostIDs() {
		add(failover.HostDomain(host))
	}
	return out
}

func (h *handler) guests(*http.Request) (any, error) {
	s := h.Backend.State()
	out := GuestList{Meta: h.meta(s), Items: []failover.GuestView{}}
	if s.Network != nil {
		out.Items = failover.ExplainGuests(s, h.Backend.Now())
	}
	return out, nil
}

func (h *handler) guest(r *http.Request) (any, error) {
	s, id := h.Backend.State(), failover.GuestID(r.PathValue("guest"))
	if _, ok := s.Guests[id]; !ok || s.Network == nil {
		return nil, notFound("guest", string(id))
	}
	out := Guest{Meta: h.meta(s), Op: s.Guests[id].Op, Lineages: s.LineagesOf(id), Left: s.LeftCopies(id, s.Clock), Points: map[failover.SiteID][]failover.RestorePoint{}}
	for _, g := range failover.ExplainGuests(s, h.Backend.Now()) {
		if g.Guest == id {
			out.Guest = g
		}
	}
	for site, ready := range s.Readiness {
		if pts := ready.Ready.Points[id]; len(pts) > 0 {
			out.Points[site] = pts
		}
	}
	return out, nil
}

func (h *handler) plan(r *http.Request) (any, error) {
	q := r.URL.Query()
	req := FailoverRequest{
		Site: failover.SiteID(q.Get("site")), Host: failover.HostID(q.Get("host")), Guest: failover.GuestID(q.Get("guest")),
		To: failover.SiteID(q.Get("to")), Switchover: q.Get("switchover"),
		Failback: q.Get("failback"), Keep: failover.Keep(q.Get("keep")),
	}
	for _, g := range q["only"] {
		req.Only = append(req.Only, failover.GuestID(g))
	}
	for _, g := range q["stop"] {
		req.Stop = append(req.Stop, failover.GuestID(g))
	}
	req.Replace = q["replace"]
	byHand, err := boolParam(q, "by_hand")
	if err != nil {
		return nil, err
	}
	if req.Rescue, err = boolParam(q, "rescue"); err != nil {
		return nil, err
	}
	if req.Undo, err = boolParam(q, "undo"); err != nil {
		return nil, err
	}
	s := h.Backend.State()
	if req.Failback != "" && h.cutOff() { // where its guests live is not known here
		return nil, failover.ErrNoLeader
	}
	c, err := caseOf(s, req)
	if err != nil {
		return nil, err
	}
	c.loss.ByHand = byHand
	if req.Host != "" && req.To == "" && !byHand { // what would be done by itself
		c.loss.Local = s.LossOfHost(req.Host).Local
	}
	return h.planFor(s, c), nil
}

func boolParam(q url.Values, name string) (bool, error) {
	v := q.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, malformedf("%s: %q is neither true nor false", name, v)
	}
	return b, nil
}

func (h *handler) ops(*http.Request) (any, error) {
	s, now := h.Backend.State(), h.Backend.Now()
	ids := slices.SortedFunc(maps.Keys(s.Ops), func(a, b failover.OpID) int {
		return cmp.Compare(s.Ops[b].Begun.Index, s.Ops[a].Begun.Index)
	})
	out := OpList{Meta: h.meta(s), Items: []failover.OpView{}}
	for _, id := range ids {
		out.Items = append(out.Items, failover.ExplainOp(s, id, now))
	}
	return out, nil
}

func (h *handler) op(r *http.Request) (any, error) {
	s, id := h.Backend.State(), failover.OpID(r.PathValue("op"))
	if _, ok := s.Ops[id]; !ok {
		return nil, notFound("operation", string(id))
	}
	out := Op{Meta: h.meta(s), Op: failover.ExplainOp(s, id, h.Backend.Now())}
	for _, e := range s.Events {
		if e.Op == id {
			out.Events = append(out.Events, e)
		}
	}
	return out, nil
}

// incident reports on an operation, of one structure's guests with ?structure=.
func (h *handler) incident(r *http.Request) (any, error) {
	s, id := h.Backend.State(), failover.OpID(r.PathValue("op"))
	structure := failover.StructureID(r.URL.Query().Get("structure"))
	out, ok := failover.IncidentOf(s, id, structure, h.Backend.Now())
	if !ok {
		return nil, notFound("operation", string(id))
	}
	if _, known := s.Network.Structures[structure]; structure != "" && !known {
		return nil, notFound("structure", string(structure))
	}
	return Incident{Meta: h.meta(s), Incident: out}, nil
}

// events answers with the newest events that match. since is a log index
// (exclusive), an RFC 3339 time or a duration back from now.
func (h *handler) events(r *http.Request) (any, error) {
	s, q := h.Backend.State(), r.URL.Query()
	match, err := eventFilter(q, h.Backend.Now())
	if err != nil {
		return nil, err
	}
	limit := DefaultEvents
	if v := q.Get("limit"); v != "" {
		limit, err = strconv.Atoi(v)
		if err != nil || limit < 1 || limit > MaxEvents {
			return nil, malformedf("limit: %q is not a number from 1 to %d", v, MaxEvents)
		}
	}
	out := EventList{Meta: h.meta(s), Items: []failover.Event{}}
	for i := len(s.Events) - 1; i >= 0; i-- {
		if !match(s.Events[i]) {
			continue
		}
		if len(out.Items) == limit {
			out.More = true
			break
		}
		out.Items = append(out.Items, s.Events[i])
	}
	slices.Reverse(out.Items)
	return out, nil
}

func eventFilter(q url.Values, now time.Time) (func(failover.Event) bool, error) {
	site, code := failover.SiteID(q.Get("site")), q.Get("code")
	var index uint64
	var after time.Time
	if v := q.Get("since"); v != "" {
		d, derr := time.ParseDuration(v)
		at, terr := time.Parse(time.RFC3339, v)
		n, nerr := strconv.ParseUint(v, 10, 64)
		switch {
		case nerr == nil:
			index = n
		case terr == nil:
			after = at
		case derr == nil:
			after = now.Add(-d.Abs())
		default:
			return nil, malformedf("since: %q is neither a log index, a time such as 2026-11-22T03:00:00Z, nor a duration such as 1h", v)
		}
	}
	return func(e failover.Event) bool {
		return (site == "" || e.Site == site) && (code == "" || e.Reason.Code == code) &&
			e.Stamp.Index > index && !e.Stamp.At.Before(after)
	}, nil
}

func (h *handler) dns(r *http.Request) (any, error) {
	s := h.Backend.State()
	out := DNS{Meta: h.meta(s), Zones: []failover.ZoneView{}, Names: []DNSName{}}
	if local := h.Backend.Local(); !local.HasLeader {
		out.Leaderless, out.Age = true, local.LastContact
	}
	if s.Network == nil {
		return out, nil
	}
	if r.URL.Query().Get("ask") == "1" && h.Zones != nil {
		out.Asked = h.askServers(r)
	}
	out.Zones = append(out.Zones, failover.Explain(s, h.Backend.Local(), h.Backend.Now()).Zones...)
	for _, id := range s.Network.GuestIDs() {
		p := s.Guests[id]
		for _, name := range s.Network.Guests[id].Names {
			n := DNSName{
				Name: name, Guest: id, Home: s.Network.Home(id), Site: p.Serving,
				TTL: s.Network.Zones[s.Network.ZoneOf(name)].TTL.D(),
			}
			if hold, held := s.Holds[name]; held {
				n.Held, n.Site = true, hold.Site
			}
			entry := s.Network.Sites[n.Site].Public
			if entry.IPv4.IsValid() {
				n.IPv4 = entry.IPv4.String()
			}
			if entry.IPv6.IsValid() {
				n.IPv6 = entry.IPv6.String()
			}
			out.Names = append(out.Names, n)
		}
	}
	out.Held = holds(s)
	return out, nil
}

func (h *handler) network(*http.Request) (any, error) {
	s := h.Backend.State()
	return Network{Meta: h.meta(s), Version: s.NetworkVersion, Spec: s.Network}, nil
}

func (h *handler) peers(*http.Request) (any, error) {
	s, node, local, now := h.Backend.State(), h.Backend.Node(), h.Backend.Local(), h.Backend.Now()
	out := PeerList{Meta: h.meta(s), Term: node.Term, Commit: node.Commit, Applied: node.Applied, Needed: s.Majority(), Items: []Peer{}}
	for _, id := range slices.Sorted(maps.Keys(s.Members)) {
		m := s.Members[id]
		p := Peer{Site: id, ServerID: m.ServerID, Address: m.Address, Voter: m.Voter, Role: "follower"}
		r, reported := s.Reports[id]
		if reported {
			p.Reported, p.Version, p.Unwell = max(time.Nanosecond, now.Sub(r.Stamp.At)), r.Report.Version, r.Report.Unwell
		}
		switch {
		case id == local.Site && !local.HasLeader:
			p.Role = node.Role
		case id == s.Leader && local.HasLeader:
			p.Role = "leader"
		case id != local.Site && (!reported || p.Reported > failover.PresenceAge):
			p.Role = "silent"
		}
		if id == local.Site {
			p.Version = local.Version
		}
		out.Items = append(out.Items, p)
	}
	return out, nil
}
