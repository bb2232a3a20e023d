package failover

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// How old a report may be. A down-vote must be fresh: observers refresh every
// 5 s while anything is down, so 15 s is three refreshes. A quiet observer
// refreshes every 60 s; twice that and a margin says that it is still there.
const (
	VoteAge     = 15 * time.Second
	PresenceAge = 150 * time.Second

	// seenJustNow is an age at which a sighting surely speaks against a loss.
	seenJustNow = VoteAge / 3
)

// Verdict is what the observers together say of one domain.
type Verdict struct {
	Domain  DomainID
	Site    SiteID
	Cause   Cause
	Level   Level
	Silence time.Duration // the k-th longest reported silence, k = majority of all voters; of a locked host: how long it waits
	Votes   []Vote
	Seeing  int  // observers that see something of it alive
	Present int  // observers that count
	Back    bool // seen continuously for return_after by a majority of those present
	Hold    Reason
}

// Judge folds the reports of the current term into one verdict per site and
// host. It reads nothing but its arguments: a test, the simulator and
// `wwwctl simulate` get the daemon's answer.
func Judge(s *State, now time.Time) map[DomainID]Verdict {
	if s.Network == nil {
		return map[DomainID]Verdict{}
	}
	return newJudge(s, s.notBefore(now)).all()
}

// all returns the verdicts of every site and host.
func (j judge) all() map[DomainID]Verdict {
	out := make(map[DomainID]Verdict, 3*len(j.s.Network.Sites))
	for _, id := range j.s.Network.SiteIDs() {
		hosts := j.s.Network.Sites[id].HostIDs()
		if n, calm := j.calm(id); j.brief && calm {
			v := j.calmSite(id, n)
			out[v.Domain] = j.rested(v)
			for _, h := range hosts {
				hv := j.calmHost(id, h, v.Back)
				out[hv.Domain] = j.rested(hv)
			}
			continue
		}
		v := j.site(id)
		out[v.Domain] = j.rested(v)
		for _, h := range hosts {
			hv := j.host(id, h, v)
			out[hv.Domain] = j.rested(hv)
		}
	}
	return out
}

// notBefore keeps a clock that ran back from making reports younger than they
// are: the log's own clock is the least that it can be.
func (s *State) notBefore(now time.Time) time.Time {
	if now.Before(s.Clock) {
		return s.Clock
	}
	return now
}

// Majority returns how many voters are more than half of all voters.
func (s *State) Majority() int { return s.Voters()/2 + 1 }

// Voters counts the members that vote.
func (s *State) Voters() int {
	n := 0
	for _, m := range s.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// judge holds what the verdicts of one moment have in common.
type judge struct {
	s         *State
	now       time.Time
	majority  int
	observers []SiteID                   // that are members, have reported and are believed
	counted   []bool                     // of observers: its word counts (see counts)
	excluded  []SiteID                   // of those that have reported
	reporters []SiteID                   // both, in order
	seen      map[SiteID][][]Observation // by site, in the order of reporters: see said
	policies  map[SiteID]network.Policy  // see levels
	brief     bool                       // no votes where all is well
}

func newJudge(s *State, now time.Time) judge {
	j := judge{s: s, now: now, majority: s.Majority(), seen: make(map[SiteID][][]Observation, len(s.Reports)), policies: map[SiteID]network.Policy{}}
	j.reporters = slices.DeleteFunc(sortedKeys(s.Reports), func(observer SiteID) bool {
		_, member := s.Members[observer]
		return !member
	})
	for n, observer := range j.reporters {
		r := s.Reports[observer]
		if s.believes(observer) {
			j.observers = append(j.observers, observer)
			j.counted = append(j.counted, j.counts(r))
		} else {
			j.excluded = append(j.excluded, observer)
		}
		for rest := r.Report.Observations; len(rest) > 0; {
			// The observations of a site stand together in a report: nothing is copied.
			site, end := rest[0].Site, 1
			for end < len(rest) && rest[end].Site == site {
				end++
			}
			if j.seen[site] == nil {
				j.seen[site] = make([][]Observation, len(j.reporters))
			}
			if known := j.seen[site][n]; known != nil {
				j.seen[site][n] = append(known[:len(known):len(known)], rest[:end]...)
			} else {
				j.seen[site][n] = rest[:end:end]
			}
			rest = rest[end:]
		}
	}
	return j
}

// said returns what an observer has said of a site.
func (j judge) said(site, observer SiteID) []Observation {
	n, ok := slices.BinarySearch(j.reporters, observer)
	if all := j.seen[site]; ok && all != nil {
		return all[n]
	}
	return nil
}

// counts says whether an observer's word counts: made in this term, not too
// long ago, and by one that is well.
func (j judge) counts(r StoredReport) bool {
	return r.Stamp.Term == j.s.Term && j.now.Sub(r.Stamp.At) <= PresenceAge && len(r.Report.Unwell) == 0
}

// view is what one observer that counts says of one domain.
type view struct {
	vote  Vote
	stamp Stamp
	obs   []Observation
}

func (v view) sees() bool { return len(v.vote.Sees) > 0 }

// alive says whether the observer sees any of the targets with the prefix alive.
func (v view) alive(prefix string) bool {
	return slices.ContainsFunc(v.obs, func(o Observation) bool {
		return strings.HasPrefix(o.Target, prefix) && o.Seen.Alive()
	})
}

// silent says whether the observer probes targets with the prefix, and all are
// silent. Refused is not silence: the address lives.
func (v view) silent(prefix string) bool {
	n := 0
	for _, o := range v.obs {
		if !strings.HasPrefix(o.Target, prefix) {
			continue
		}
		if o.Seen != SeenDown {
			return false
		}
		n++
	}
	return n > 0
}

func (v view) darkPath(p Path) bool { return slices.Contains(v.vote.Paths, p) }

// views gathers what the observers outside a site say of the observations
// that keep selects; above nine sites not every agent probes every site. Those
// whose word does not count are returned only as votes, for the evidence.
func (j judge) views(site SiteID, keep func(Observation) bool) (views []view, uncounted []Vote) {
	views = make([]view, 0, len(j.observers))
	for i, observer := range j.observers {
		all := j.said(site, observer)
		if observer == site || len(all) == 0 {
			continue
		}
		r := j.s.Reports[observer]
		v := view{stamp: r.Stamp, obs: known(filter(all, keep))}
		if len(v.obs) == 0 {
			continue
		}
		v.vote = j.vote(observer, j.s.Members[observer].Voter, r, v.obs)
		if j.counted[i] {
			views = append(views, v)
		} else {
			uncounted = append(uncounted, v.vote)
		}
	}
	return views, uncounted
}

// known drops the observations that could not be tried on a path on which
// others could: an agent whose kernel forbids ping must not lose its vote.
func known(obs []Observation) []Observation {
	if !slices.ContainsFunc(obs, func(o Observation) bool { return o.Seen == SeenUnknown }) {
		return obs
	}
	tried := func(p Path) bool {
		return slices.ContainsFunc(obs, func(o Observation) bool { return o.Path == p && o.Seen != SeenUnknown })
	}
	return filter(obs, func(o Observation) bool { return o.Seen != SeenUnknown || !tried(o.Path) })
}

// filter returns the observations to keep: the very list when it keeps all, so
// nobody may write to it.
func filter(all []Observation, keep func(Observation) bool) []Observation {
	i := slices.IndexFunc(all, func(o Observation) bool { return !keep(o) })
	if i < 0 {
		return all
	}
	out := append(make([]Observation, 0, len(all)-1), all[:i]...)
	for _, o := range all[i+1:] {
		if keep(o) {
			out = append(out, o)
		}
	}
	return out
}

func (j judge) vote(observer SiteID, voter bool, r StoredReport, obs []Observation) Vote {
	v := Vote{Observer: observer, Voter: voter, Dark: true, Age: j.now.Sub(r.Stamp.At), Unwell: r.Report.Unwell}
	for _, o := range obs {
		if o.Seen != SeenDown {
			v.Dark = false
		} else if v.Silence == 0 || o.For < v.Silence {
			v.Silence = o.For
		}
		if o.Seen.Alive() {
			if v.Sees == nil {
				v.Sees = make([]string, 0, len(obs))
			}
			v.Sees = append(v.Sees, o.Target)
		}
	}
	v.Paths = darkPaths(obs)
	return v
}

// darkPaths returns the kinds of path over which there is silence only, in order.
func darkPaths(obs []Observation) []Path {
	var out []Path
	for _, o := range obs {
		if slices.Contains(out, o.Path) {
			continue
		}
		if !slices.ContainsFunc(obs, func(other Observation) bool { return other.Path == o.Path && other.Seen != SeenDown }) {
			out = append(out, o.Path)
		}
	}
	slices.Sort(out)
	return out
}

func outside(o Observation) bool { return o.Path == PathMesh || o.Path == PathPublic }

func (j judge) site(id SiteID) Verdict {
	views, uncounted := j.views(id, outside)
	v := Verdict{Domain: SiteDomain(id), Site: id, Cause: CauseUnknown, Present: len(views)}
	for _, w := range views {
		v.Votes = append(v.Votes, w.vote)
		if w.sees() {
			v.Seeing++
		}
	}
	v.Votes = append(append(v.Votes, uncounted...), j.excludedVotes(id)...)
	v.Back = j.back(views)
	if j.presentVoters(id) < j.majority-j.ownVote(id) {
		if j.unwellVoters() >= j.majority {
			v.Cause = CauseWeAreSick
		}
		return v
	}
	dark := j.darkVotes(views)
	if len(dark) >= 2 || len(dark) == 1 && len(views) == 1 {
		return j.darkSite(id, v, views, dark)
	}
	v.Cause = j.partial(id, j.settled(views))
	return v
}

// settleMargin is how much longer than a suspicion a silence must have lasted
// to name a cause other than loss. The windows of one observer do not trip in
// the same instant, nor do those of several: without it every lost site would
// pass for a dead host, a dead mesh and a quarrel in its first second.
const settleMargin = 3 * time.Second

// SettledAfter is how long a silence must have lasted to name a cause.
func SettledAfter(p network.Policy) time.Duration {
	return time.Duration(p.SuspectMisses)*time.Second + settleMargin
}

func (j judge) leastSilence() time.Duration { return SettledAfter(j.s.Network.Policy) }

// settled returns the views without silences that are too short to mean
// anything yet.
func (j judge) settled(views []view) []view {
	least := j.leastSilence()
	short := func(o Observation) bool { return o.Seen == SeenDown && o.For < least }
	fresh := func(v view) bool { return slices.ContainsFunc(v.obs, short) }
	if !slices.ContainsFunc(views, fresh) {
		return views
	}
	out := slices.Clone(views)
	for i, v := range out {
		if !fresh(v) {
			continue
		}
		v.obs = slices.Clone(v.obs)
		for k, o := range v.obs {
			if short(o) {
				v.obs[k].Seen = SeenUnknown
			}
		}
		r := j.s.Reports[v.vote.Observer]
		v.vote = j.vote(v.vote.Observer, v.vote.Voter, r, v.obs)
		out[i] = v
	}
	return out
}

// ownVote is 1 when the judged site has a voter: it cannot report on itself.
func (j judge) ownVote(id SiteID) int {
	if j.s.Members[id].Voter {
		return 1
	}
	return 0
}

// presentVoters counts the voters besides the judged site's whose word counts.
func (j judge) presentVoters(id SiteID) int {
	n := 0
	for i, observer := range j.observers {
		if observer != id && j.counted[i] && j.s.Members[observer].Voter {
			n++
		}
	}
	return n
}

func (j judge) unwellVoters() int {
	n := 0
	for site, r := range j.s.Reports {
		fresh := r.Stamp.Term == j.s.Term && j.now.Sub(r.Stamp.At) <= PresenceAge
		if j.s.Members[site].Voter && fresh && len(r.Report.Unwell) > 0 {
			n++
		}
	}
	return n
}

// darkVotes returns the fresh views to which every target is silent, the
// longest silence first.
func (j judge) darkVotes(views []view) []view {
	var dark []view
	for _, v := range views {
		if v.vote.Dark && v.vote.Age <= VoteAge {
			dark = append(dark, v)
		}
	}
	slices.SortStableFunc(dark, func(a, b view) int { return cmp.Compare(b.vote.Silence, a.vote.Silence) })
	return dark
}

// darkSite judges a site that at least two vantages see nothing of, or the
// only one there is: alone it can say so and never more.
func (j judge) darkSite(id SiteID, v Verdict, views, dark []view) Verdict {
	p := j.s.Network.Policy
	second := dark[min(1, len(dark)-1)]
	v.Cause, v.Silence = CauseUp, second.vote.Silence
	if v.Silence < time.Duration(p.SuspectMisses)*time.Second {
		return v
	}
	begun := second.stamp.At.Add(-v.Silence)
	if who := j.contradictions(id, begun); len(who) > 0 {
		if v.Silence < j.leastSilence() {
			return v // the others may be about to say the same
		}
		v.Hold = j.veto(id, who, dark)
		v.Cause = j.contradicted(views)
		return v
	}
	v.Level = LevelSuspect
	dark = j.sinceSighting(id, dark)
	for _, w := range dark { // the evidence says what was counted
		i := slices.IndexFunc(v.Votes, func(o Vote) bool { return o.Observer == w.vote.Observer })
		v.Votes[i].Silence = w.vote.Silence
	}
	var votes []view
	for _, w := range dark {
		if w.vote.Voter {
			votes = append(votes, w)
		}
	}
	if len(votes) < j.majority || len(dark) < 2 {
		v.Hold = j.fewVotes(id)
		return v
	}
	v.Silence = votes[j.majority-1].vote.Silence
	v.Hold = j.proof(id, votes, &v.Silence)
	v.Level = j.levelOf(id, v.Silence)
	if !j.s.Network.CanBeLost(id) {
		v.Cause, v.Level, v.Hold = CauseUnreachable, min(v.Level, LevelAlert), Reason{}
		return v
	}
	v.Cause = CauseLost
	return v
}

// fewVotes says why there can be or is no majority: with two voters one never
// outvotes the other.
func (j judge) fewVotes(id SiteID) Reason {
	if n := j.s.Voters(); n < MinVoters {
		return because(CodeTwoVoters, "site", string(id), "voters", strconv.Itoa(n))
	}
	return because(CodeFewVotes, "site", string(id))
}

// MinVoters is how many voters a network needs for anything automatic.
const MinVoters = 3

// proof says what the dark votes of a majority, longest silence first, still
// lack to prove a loss (S4), and else sets the silence that is proven.
func (j judge) proof(id SiteID, votes []view, silence *time.Duration) Reason {
	var proof []Vote
	for _, w := range twoPaths(votes) {
		proof = append(proof, w.vote)
	}
	switch d, ok := j.s.kthSilence(id, proof, j.majority); {
	case j.s.Voters() < MinVoters:
		return j.fewVotes(id)
	case len(proof) < j.majority:
		return because(CodeOnePath, "site", string(id))
	case !ok:
		return because(CodeOneUpstream, "site", string(id))
	default:
		*silence = d
	}
	return Reason{}
}

// twoPaths keeps the views that are dark over at least two kinds of path (S4).
func twoPaths(views []view) []view {
	return slices.DeleteFunc(slices.Clone(views), func(v view) bool { return len(v.vote.Paths) < 2 })
}

// back says whether most of those present have seen the domain without a
// break for return_after.
func (j judge) back(views []view) bool {
	n := 0
	for _, v := range views {
		for _, o := range v.obs {
			if o.Seen.Alive() && o.For >= j.s.Network.Policy.ReturnAfter.D() {
				n++
				break
			}
		}
	}
	return len(views) > 0 && n >= len(views)/2+1
}
