package failover

import (
	"cmp"
	"slices"
	"time"
)

// sightingGrace is how much later than a silence the last sighting by another
// observer may lie without shortening it: the phases of two probes and the way
// of a report into the log. Without it every true loss would be committed late.
const sightingGrace = 2500 * time.Millisecond

// sinceSighting lets silences begin at the last sighting by anybody, the
// longest first. While somebody still saw the site it was not gone, whatever
// the others could reach.
func (j judge) sinceSighting(id SiteID, dark []view) []view {
	last := j.s.lastSighting(id)
	out := slices.Clone(dark)
	for i, w := range out {
		if last.After(w.stamp.At.Add(-w.vote.Silence).Add(sightingGrace)) {
			out[i].vote.Silence = max(0, w.stamp.At.Sub(last))
		}
	}
	slices.SortStableFunc(out, func(a, b view) int { return cmp.Compare(b.vote.Silence, a.vote.Silence) })
	return out
}

// contradictionGrace is how much later than the beginning of the silence a
// sighting must stand in the log to contradict it: observers do not probe in
// the same instant, and a report takes a moment to be committed.
const contradictionGrace = 1500 * time.Millisecond

// contradictions looks for observers outside the site, and for the site's own
// agent, whose word stands in the log after the silence began. The word of an
// observer that is unwell is a veto all the same, though never a vote; and the
// last word of one that is not heard of any more stays one as long as its own
// site is there: it may see the site still, and only not reach the leader.
func (j judge) contradictions(id SiteID, begun time.Time) []SiteID {
	var who []SiteID
	after := begun.Add(contradictionGrace)
	for _, observer := range j.observers {
		r := j.s.Reports[observer]
		if observer == id || !slices.ContainsFunc(j.said(id, observer), func(o Observation) bool { return outside(o) && o.Seen.Alive() }) {
			continue
		}
		sameTerm := r.Stamp.Term == j.s.Term
		switch {
		case sameTerm && !r.Stamp.At.After(after):
		case !sameTerm && !j.s.Sighted[id][observer].After(after):
		case (!sameTerm || j.now.Sub(r.Stamp.At) > PresenceAge) && j.gone(observer):
		default:
			who = append(who, observer)
		}
	}
	if j.ownWord(id, after) {
		who = append(who, id)
	}
	return who
}

// ownWord says whether a site's own agent has reported since.
func (j judge) ownWord(id SiteID, since time.Time) bool {
	own, ok := j.s.Reports[id]
	return ok && j.s.believes(id) && own.Stamp.Term == j.s.Term && own.Stamp.At.After(since)
}

// LoneSightingAfter is how long one observer may contradict a majority of all
// voters before people are called: it is the sick one, or it alone is right.
const LoneSightingAfter = time.Minute

// veto names who contradicts a silence that dark, longest first, report.
func (j judge) veto(id SiteID, who []SiteID, dark []view) Reason {
	code, votes := CodeVeto, 0
	for _, w := range dark {
		if w.vote.Voter && w.vote.Silence >= LoneSightingAfter {
			votes++
		}
	}
	if len(who) == 1 && votes >= j.majority && j.claimedFor(id, who[0]) >= LoneSightingAfter {
		code = CodeLoneSighting
	}
	return because(code, "site", string(id), "observer", string(who[0]))
}

// claimedFor returns for how long an observer has seen something of a site
// without a break; the site's own agent, something of the others. A site that
// comes back after an hour is seen by one of them first.
func (j judge) claimedFor(id, observer SiteID) time.Duration {
	r := j.s.Reports[observer]
	lasted := time.Duration(0)
	for _, o := range r.Report.Observations {
		if (o.Site == id || observer == id) && outside(o) && o.Seen.Alive() {
			lasted = max(lasted, o.For)
		}
	}
	return lasted + max(0, j.now.Sub(r.Stamp.At))
}

// excludedVotes is what the observers that are not believed say of a site,
// for the evidence alone.
func (j judge) excludedVotes(site SiteID) []Vote {
	var out []Vote
	for _, observer := range j.excluded {
		obs := known(filter(j.said(site, observer), outside))
		if observer == site || len(obs) == 0 {
			continue
		}
		v := j.vote(observer, j.s.Members[observer].Voter, j.s.Reports[observer], obs)
		v.Unwell = append(slices.Clone(v.Unwell), UnwellExcluded)
		out = append(out, v)
	}
	return out
}

// UnwellExcluded stands among a vote's reasons not to count when an operator
// excluded its observer.
const UnwellExcluded = "excluded"

// gone says whether nothing is seen of an observer's own site by two others.
func (j judge) gone(observer SiteID) bool {
	views, _ := j.views(observer, outside)
	return len(j.darkVotes(views)) >= 2
}
