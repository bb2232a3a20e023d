package failover

import "slices"

func (e explainer) rests() []RestView {
	var out []RestView
	for _, d := range sortedKeys(e.s.Resting) {
		r := e.s.Resting[d]
		out = append(out, RestView{Domain: d, Until: r.Until, Reason: r.Reason, By: r.By.Actor})
	}
	return out
}

func (e explainer) excluded() []PauseView {
	var out []PauseView
	for _, id := range sortedKeys(e.s.Excluded) {
		x := e.s.Excluded[id]
		out = append(out, PauseView{Site: id, Until: x.Until, Reason: x.Reason, By: x.By.Actor})
	}
	return out
}

func (e explainer) host(h HostID, v HostView) HostView {
	if r, ok := e.s.RestOf(HostDomain(h)); ok {
		v.RestUntil = r.Until
	}
	if now := e.verdicts[HostDomain(h)]; now.Cause == CauseLocked {
		v.UnlockIn = max(0, e.s.unlockGrace(h)-now.Silence)
	}
	return v
}

// ExplainVerdict returns the verdict of this moment with what it rests on.
func ExplainVerdict(s *State, v Verdict) VerdictView {
	out := VerdictView{Domain: v.Domain, Cause: v.Cause, Level: v.Level, Silence: v.Silence, Hold: v.Hold}
	b := Basis{Needed: s.Majority()}
	shared := map[Path]int{}
	for _, w := range v.Votes {
		switch {
		case len(w.Unwell) > 0 || w.Age > PresenceAge || w.Dark && w.Age > VoteAge:
			b.Uncounted = append(b.Uncounted, w.Observer)
		case len(w.Sees) > 0:
			b.Sees = append(b.Sees, w.Observer)
		case w.Dark && w.Voter:
			b.Dark = append(b.Dark, w.Observer)
			for _, p := range w.Paths {
				shared[p]++
			}
		}
	}
	for _, p := range sortedKeys(shared) {
		if shared[p] == len(b.Dark) {
			b.Paths = append(b.Paths, p)
		}
	}
	for _, list := range []*[]SiteID{&b.Dark, &b.Sees, &b.Uncounted} {
		slices.Sort(*list)
	}
	out.Basis = b
	return out
}
