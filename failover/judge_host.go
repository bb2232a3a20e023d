package failover

import (
	"slices"
	"strings"
	"time"
)

// A host is judged by what its API says over the mesh, and by the service of its guests
// as others see it: two kinds of path (S4). Its site must answer meanwhile, or nothing is
// known of the host.

// fellTogether is how long before its host a service may have gone for its silence to be
// evidence: what was broken before says nothing of the host.
const fellTogether = time.Minute

// deadHost adds to a host that most see nothing of for how long that is proven, or what
// speaks against it.
func (j judge) deadHost(v Verdict, site SiteID, h HostID) Verdict {
	services := j.services(site, h)
	v.Votes, v.Seeing, v.Present = nil, 0, 0
	var dark, sighted []view
	for _, observer := range j.observers {
		all := j.said(site, observer)
		obs := hostEvidence(all, h, services)
		if len(obs) == 0 || j.livesOn(observer, h) {
			continue
		}
		r := j.s.Reports[observer]
		w := view{stamp: r.Stamp, obs: obs, vote: j.vote(observer, j.s.Members[observer].Voter, r, obs)}
		v.Votes = append(v.Votes, w.vote)
		switch {
		case w.sees() && r.Stamp.Term == j.s.Term:
			sighted = append(sighted, w)
		case observer != site && len(j.reaching(site, []view{w})) == 0:
		case j.counts(r) && w.vote.Dark && w.vote.Age <= VoteAge:
			dark = append(dark, w)
		}
		if j.counts(r) {
			v.Present++
		}
	}
	if len(dark) == 0 {
		if len(sighted) > 0 {
			v.Seeing, v.Hold = len(sighted), v.seenBy(site, sighted[0])
		}
		return v
	}
	// The shortest silence counts: no sighting by anybody may be younger.
	shortest := slices.MinFunc(dark, func(a, b view) int { return int(a.vote.Silence - b.vote.Silence) })
	v.Silence = shortest.vote.Silence
	begun := shortest.stamp.At.Add(-v.Silence).Add(contradictionGrace)
	for _, w := range sighted {
		if w.stamp.At.After(begun) {
			v.Seeing++
			v.Hold = v.seenBy(site, w)
		}
	}
	if v.Seeing > 0 || v.Silence < time.Duration(j.s.Network.Policy.SuspectMisses)*time.Second {
		v.Silence = 0
		return v
	}
	return j.provenHost(v, site, dark)
}

// seenBy is the veto of one who still gets an answer.
func (v Verdict) seenBy(site SiteID, w view) Reason {
	return because(CodeVeto, "domain", string(v.Domain), "site", string(site), "observer", string(w.vote.Observer))
}

// provenHost says how far the silence of a host that nobody sees has come.
func (j judge) provenHost(v Verdict, site SiteID, dark []view) Verdict {
	var votes []view
	for _, w := range dark {
		if w.vote.Voter {
			votes = append(votes, w)
		}
	}
	slices.SortStableFunc(votes, func(a, b view) int { return int(b.vote.Silence - a.vote.Silence) })
	v.Level = LevelSuspect
	if len(votes) < j.majority {
		v.Hold = j.fewVotes(site)
		return v
	}
	v.Level = j.levelAfter(v.Domain, site, v.Silence)
	longest := v.Silence
	if v.Hold = j.proof(site, votes, &longest); v.Hold.IsZero() {
		v.Silence = min(v.Silence, longest)
	}
	return v
}

// livesOn says whether an observer's agent runs on a host: it cannot testify to its end.
func (j judge) livesOn(observer SiteID, h HostID) bool {
	if at, _, ok := j.s.Network.Target(observer); ok {
		return at == h
	}
	at, _, ok := j.s.Network.Store(observer)
	return ok && at == h
}

// services lists the targets that are the service of a host's guests.
func (j judge) services(site SiteID, h HostID) map[string]bool {
	out := map[string]bool{}
	for g, p := range j.s.Guests {
		if p.Host != h || p.Serving != site {
			continue
		}
		out["guest:"+string(g)] = true
		for _, name := range j.s.Network.Guests[g].Names {
			out["name:"+name] = true
		}
	}
	return out
}

// hostEvidence selects what an observer says of a host. The service of a guest that a
// living entry or the site's own agent finds refused is as good as silent; one that is
// asked through a dead entry tells nothing, and neither does one that went long before.
func hostEvidence(all []Observation, h HostID, services map[string]bool) []Observation {
	var out []Observation
	entry, longest := false, time.Duration(0)
	for _, o := range all {
		entry = entry || o.Target == "entry" && o.Seen.Alive()
		own := strings.HasSuffix(o.Target, ":"+string(h)) && (o.Path == PathMesh || o.Path == PathLAN)
		if own && o.Seen != SeenUnknown {
			out = append(out, o)
			longest = max(longest, o.For)
		}
	}
	if len(out) == 0 {
		return nil
	}
	for _, o := range all {
		if !services[o.Target] || o.Seen == SeenUnknown || o.Path == PathPublic && !entry {
			continue
		}
		if o.Seen == SeenRefused {
			o.Seen = SeenDown
		}
		if o.Seen == SeenDown && o.For > longest+fellTogether {
			continue
		}
		out = append(out, o)
	}
	return out
}
