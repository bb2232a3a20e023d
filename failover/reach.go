package failover

import (
	"fmt"
	"slices"
	"time"
)

// Reach is what the agents of other sites see of a guest's public names at the site that serves
// it, asked as its members ask: through the public entry, by the real name. A copy that passed its
// check from inside is restored; only this says that it is reachable (R47).
type Reach struct {
	From   []SiteID `json:"from,omitempty"`   // they get an answer for every name, with a certificate that is valid for it
	Not    []SiteID `json:"not,omitempty"`    // they ask and do not
	Why    string   `json:"why,omitempty"`    // what one of those is told
	Needed int      `json:"needed,omitempty"` // how many must; 0: nobody asks, or there is no name
}

// ReachNeeded is from how many other sites a moved guest must be seen.
const ReachNeeded = 2

// Done says whether enough see the guest, or nobody can tell.
func (r Reach) Done() bool { return len(r.From) >= r.Needed }

// ReachOf tells what is seen of a guest from outside. Of one at home, or served nowhere, nothing is
// told: nobody waits for it.
func (s *State) ReachOf(g GuestID, now time.Time) Reach {
	return newJudge(s, s.notBefore(now)).reach(g)
}

func (j judge) reach(g GuestID) Reach {
	var out Reach
	s := j.s
	p, guest := s.Guests[g], s.Network.Guests[g]
	if s.AtHome(g) || p.Serving == "" || p.Serving != p.Owner || len(guest.Names) == 0 {
		return out
	}
	for _, observer := range j.observers {
		if observer == p.Serving || !j.counts(s.Reports[observer]) {
			continue
		}
		asked, answered := 0, 0
		for _, name := range guest.Names {
			for _, o := range j.said(p.Serving, observer) {
				if o.Target != "name:"+name || o.Path != PathPublic {
					continue
				}
				asked++
				if o.Seen == SeenUp && !refuses(guest, o.Certificate) {
					answered++
				} else if out.Why == "" {
					out.Why = fmt.Sprintf("%s: %s", name, o.saw())
				}
			}
		}
		switch {
		case asked == len(guest.Names) && answered == asked:
			out.From = append(out.From, observer)
		case asked > 0:
			out.Not = append(out.Not, observer)
		}
	}
	out.Needed = j.mustReach(p.Serving)
	return out
}

// saw is what an observation says, in words.
func (o Observation) saw() string {
	switch {
	case o.Seen == SeenUp && o.Certificate.Wrong != "":
		return "certificate " + o.Certificate.Wrong
	case o.Note != "":
		return o.Note
	}
	return string(o.Seen)
}

// mustReach is how many must see what a site serves: two, or as many as there are elsewhere whose
// word counts now, one at least; 0 where nobody would ask.
func (j judge) mustReach(site SiteID) int {
	if j.s.Network.Sites[site].Public.HTTPS == 0 {
		return 0
	}
	elsewhere, counting := 0, 0
	for m := range j.s.Members {
		if m == site {
			continue
		}
		elsewhere++
		if slices.Contains(j.observers, m) && j.counts(j.s.Reports[m]) {
			counting++
		}
	}
	return min(elsewhere, max(1, min(ReachNeeded, counting)))
}

// reachGrace is how long a guest may be served before it is told that nobody sees it: names are
// probed once a second, and a report enters the log every five.
const reachGrace = 2 * time.Minute

// unreached names the guests that were brought back and that are not seen from outside.
func (e explainer) unreached() []Reason {
	var out []Reason
	j := newJudge(e.s, e.s.notBefore(e.now))
	for _, g := range sortedKeys(e.s.Guests) {
		p := e.s.Guests[g]
		if p.Phase != PhaseAway || e.now.Sub(p.Since.At) < reachGrace {
			continue
		}
		if r := j.reach(g); !r.Done() {
			out = append(out, because(CodeUnreached, "guest", string(g), "site", string(p.Serving),
				"seen", fmt.Sprint(len(r.From)), "needed", fmt.Sprint(r.Needed), "why", r.Why))
		}
	}
	return out
}
