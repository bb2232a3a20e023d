package failover

import (
	"slices"
	"strings"
	"time"
)

// Supposed is a loss that `wwwctl simulate` supposes: a site, or one host of it,
// or only a part of what others see of it.
type Supposed struct {
	Site SiteID `json:"site"`
	Host HostID `json:"host,omitempty"`
	Cut  string `json:"cut,omitempty"` // a path (mesh, public) or a kind of target (Cuts); "" = all of it
}

// Cuts lists what can be cut off alone.
func Cuts() []string { return []string{"mesh", "public", "agent", "router", "pve", "pbs", "dns"} }

// Forecast is what would happen. Every line of it was decided by the code that
// decides for real, on a copy of the state.
type Forecast struct {
	Supposed Supposed      `json:"supposed"`
	Timeline []Foreseen    `json:"timeline"`
	Verdict  VerdictView   `json:"verdict"`            // at the end
	Held     []HeldView    `json:"held,omitempty"`     // at the end
	Plan     Plan          `json:"plan"`               // as frozen in the operation; without one what a person would get
	Moved    bool          `json:"moved"`              // something was committed
	Served   []GuestID     `json:"served,omitempty"`   // guests that serve elsewhere at the end
	Guessed  []GuestID     `json:"guessed,omitempty"`  // guests whose restore was never measured: taken as no time
	Lasted   time.Duration `json:"lasted"`             // how far it was followed
	NoLeader bool          `json:"no_leader,omitzero"` // too few voters are left to decide anything
}

// Foreseen is one line of a forecast: an event that would be in the log.
type Foreseen struct {
	After  time.Duration `json:"after"` // since the loss
	Reason Reason        `json:"reason"`
	Op     OpID          `json:"op,omitempty"`
	Guest  GuestID       `json:"guest,omitempty"`
}

// Bounds of a forecast.
const (
	foretellFor   = 48 * time.Hour
	foretellSteps = 5000
	// electionTime is how long the survivors take to elect a leader when theirs
	// is lost (measured: median 4 s).
	electionTime = 4 * time.Second
	// aMoment is the time that a step takes of which nothing is known but that it is short.
	aMoment = time.Second
)

// Foretell says what would happen if something were lost now. It changes
// nothing: Judge, Decide and PlanFor run on a copy of the state, fed with the
// newest reports in which what is supposed to be lost is silent, and every
// step of a target succeeds in the time that its measured rate promises.
func Foretell(s *State, lost Supposed, now time.Time) Forecast {
	if s.Network == nil {
		return Forecast{Supposed: lost, Timeline: []Foreseen{}, NoLeader: true}
	}
	now = s.notBefore(now)
	f := foreteller{s: s.Clone(), lost: lost, start: now, now: now, known: s.Index, due: map[Token]time.Time{}}
	f.out = Forecast{Supposed: lost, Timeline: []Foreseen{}}
	f.first = s.heard(now)
	f.mute = f.silenced()
	f.instants = f.interesting()
	if !f.quorum() {
		f.out.NoLeader = true
	} else {
		for n := 0; n < foretellSteps && f.step(); n++ {
		}
	}
	return f.result()
}

type foreteller struct {
	s        *State
	lost     Supposed
	start    time.Time
	now      time.Time
	first    map[SiteID]StoredReport // of those that are heard, as they were at the start
	mute     bool                    // the agent of the site is not heard any more
	instants []time.Duration         // at which something may change, ascending
	known    uint64                  // index of the log at the start
	due      map[Token]time.Time     // steps under way
	out      Forecast
}

// silenced says whether the agent of the supposed site is lost with it: it
// runs on Raoull's machine there.
func (f *foreteller) silenced() bool {
	host, _, ok := f.s.Network.Target(f.lost.Site)
	if !ok {
		host, _, ok = f.s.Network.Store(f.lost.Site)
	}
	switch {
	case f.lost.Cut != "":
		return f.lost.Cut == string(PathMesh) || f.lost.Cut == "agent"
	case f.lost.Host != "":
		return ok && host == f.lost.Host
	}
	return true
}

// interesting lists the durations of silence at which anything is decided.
func (f *foreteller) interesting() []time.Duration {
	p := newJudge(f.s, f.now).levels(f.lost.Site)
	out := []time.Duration{
		time.Duration(p.SuspectMisses) * time.Second, SettledAfter(p), p.PrepareA.D(), p.Alert.D(), p.PrepareB.D(),
		UselessPrepareB, LoneSightingAfter, p.UnlockGrace.D(),
	}
	for _, g := range sortedKeys(f.s.Guests) {
		if f.s.Guests[g].Owner == f.lost.Site {
			out = append(out, f.s.Network.CommitDelay(g))
		}
	}
	for i := range out {
		out[i] += aMoment // of probing, reporting and looking
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// quorum says whether enough voters are left to agree on anything.
func (f *foreteller) quorum() bool {
	n := 0
	for id := range f.first {
		if f.s.Members[id].Voter && !f.muted(id) {
			n++
		}
	}
	return n >= f.s.Majority()
}

// heard returns the reports of the members whose agents are there: one that is
// silent now, or whose site is lost already, reports nothing in a forecast.
func (s *State) heard(now time.Time) map[SiteID]StoredReport {
	out, verdicts := map[SiteID]StoredReport{}, Judge(s, now)
	for id, r := range s.Reports {
		_, member := s.Members[id]
		gone := verdicts[SiteDomain(id)].Cause.gone(SiteDomain(id))
		if member && !gone && r.Stamp.Term == s.Term && now.Sub(r.Stamp.At) <= PresenceAge {
			out[id] = r
		}
	}
	return out
}

// muted says whether the agent of a site is not heard in this forecast.
func (f *foreteller) muted(id SiteID) bool {
	_, heard := f.first[id]
	return !heard || f.mute && id == f.lost.Site
}

// step lives through one instant and moves on to the next; false at the end.
func (f *foreteller) step() bool {
	f.elect()
	f.report()
	f.decide()
	for f.work() {
		f.decide()
	}
	next, ok := f.next()
	if !ok || next.Sub(f.start) > foretellFor {
		return false
	}
	f.now = next
	return true
}

func (f *foreteller) next() (time.Time, bool) {
	var next time.Time
	for _, d := range f.instants {
		if at := f.start.Add(d); at.After(f.now) {
			next = at
			break
		}
	}
	for _, at := range f.due {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

func (f *foreteller) apply(c Command) bool {
	return f.s.Apply(Stamp{Index: f.s.Index + 1, Term: f.s.Term, At: f.now, Actor: "simulate"}, c) == nil
}

// elect lets another voter lead when the leader is lost.
func (f *foreteller) elect() {
	if !f.mute || f.s.Leader != f.lost.Site || f.now.Sub(f.start) < electionTime {
		return
	}
	for _, id := range sortedKeys(f.s.Members) {
		if f.s.Members[id].Voter && !f.muted(id) {
			f.s.Apply(Stamp{Index: f.s.Index + 1, Term: f.s.Term + 1, At: f.now, Actor: "simulate"}, BeginTerm{Leader: id})
			return
		}
	}
}

// report has every observer say what it would see now.
func (f *foreteller) report() {
	since := f.now.Sub(f.start)
	for _, id := range sortedKeys(f.first) {
		if f.muted(id) {
			continue
		}
		old := f.first[id]
		r := old.Report
		r.Seq = f.s.Reports[id].Report.Seq + 1
		r.Observations = slices.Clone(r.Observations)
		tripped := since >= time.Duration(f.s.Network.Policy.SuspectMisses)*time.Second
		for i, o := range r.Observations {
			if f.hit(o) && o.Seen != SeenDown && o.Seen != SeenUnknown && tripped {
				r.Observations[i].Seen, r.Observations[i].For = SeenDown, since
				continue
			}
			r.Observations[i].For += f.now.Sub(old.Stamp.At)
		}
		f.apply(r)
	}
}

// hit says whether an observation is of something that is supposed to be lost.
func (f *foreteller) hit(o Observation) bool {
	kind, name, _ := strings.Cut(o.Target, ":")
	switch {
	case o.Site != f.lost.Site:
		return false
	case f.lost.Cut != "":
		return f.lost.Cut == string(o.Path) || f.lost.Cut == kind
	case f.lost.Host == "":
		return true
	case kind == "agent":
		return f.mute
	case kind == "guest":
		return f.s.Guests[GuestID(name)].Host == f.lost.Host
	case kind == "name":
		return f.serves(name)
	}
	return name == string(f.lost.Host)
}

// serves says whether a public name is one of a guest of the lost host.
func (f *foreteller) serves(name string) bool {
	for _, g := range f.s.Network.GuestIDs() {
		if slices.Contains(f.s.Network.Guests[g].Names, name) {
			return f.s.Guests[g].Host == f.lost.Host
		}
	}
	return false
}

// decide does what the leader would do now.
func (f *foreteller) decide() {
	for range foretellSteps {
		d := decide(f.s, f.now, false)
		if len(d.Commands) == 0 {
			return
		}
		for _, c := range d.Commands {
			if !f.apply(c) {
				return
			}
		}
	}
}

// work carries the targets' steps on; it says whether any was done.
func (f *foreteller) work() bool {
	done := false
	for _, site := range f.s.Network.SiteIDs() {
		if f.muted(site) {
			continue
		}
		for _, token := range Runnable(f.s, site, f.now) {
			run := f.s.Ops[token.Op].Guests[token.Guest]
			step, _, left := run.Current()
			at, begun := f.due[token]
			switch {
			case !left || step.ID != token.Step:
			case step.Status == StatusPending:
				if f.apply(StepMoved{Token: token, Attempt: step.Attempt + 1, To: StatusRunning}) {
					f.due[token] = f.now.Add(f.takes(token, run))
				}
			case !begun:
				f.due[token] = f.now.Add(f.takes(token, run)) // it ran before all this
			case !f.now.Before(at):
				delete(f.due, token)
				done = f.apply(f.ending(token, step)) || done
			}
		}
	}
	for token, at := range f.due { // of what was given up meanwhile
		if !f.now.Before(at) {
			delete(f.due, token)
		}
	}
	return done
}

// ending is what a step would come to: all succeed but the fence of a host that has none.
func (f *foreteller) ending(t Token, step Step) StepMoved {
	m := StepMoved{Token: t, Attempt: step.Attempt, To: StatusDone}
	loss := f.s.Ops[t.Op].Plan.Loss
	if t.Step == StepFence && f.s.Network.Sites[loss.Site].Hosts[loss.Host].Fence == "" {
		m.To, m.Failure = StatusFailed, FailProof
	}
	return m
}

// takes returns how long a step would take.
func (f *foreteller) takes(t Token, run GuestRun) time.Duration {
	if t.Step != StepRestore && t.Step != StepWhole || run.Assignment.Warm != "" {
		return aMoment
	}
	long := f.s.restoreTime(run.Assignment.Target, run.Assignment.Point.Size)
	if long == 0 && !slices.Contains(f.out.Guessed, t.Guest) {
		f.out.Guessed = append(f.out.Guessed, t.Guest)
	}
	return max(aMoment, long)
}

func (f *foreteller) result() Forecast {
	out := f.out
	out.Lasted = f.now.Sub(f.start)
	for _, e := range f.s.Events {
		if e.Stamp.Index <= f.known {
			continue
		}
		out.Timeline = append(out.Timeline, Foreseen{After: max(0, e.Stamp.At.Sub(f.start)), Reason: e.Reason, Op: e.Op, Guest: e.Guest})
	}
	domain := SiteDomain(f.lost.Site)
	if f.lost.Host != "" {
		domain = HostDomain(f.lost.Host)
	}
	verdicts := Judge(f.s, f.now)
	if verdicts[domain].Cause == CauseUnknown { // of its whole site nothing clear is seen
		domain = SiteDomain(f.lost.Site)
	}
	out.Verdict = ExplainVerdict(f.s, verdicts[domain])
	for _, d := range sortedKeys(f.s.Domains) {
		if held := f.s.Domains[d].Held; !held.IsZero() && f.s.SiteOfDomain(d) == f.lost.Site {
			out.Held = append(out.Held, HeldView{Domain: d, Reason: held})
		}
	}
	out.Plan = PlanFor(f.s, Loss{Site: f.lost.Site, Host: f.lost.Host}, f.now)
	for _, id := range sortedKeys(f.s.Ops) {
		if op := f.s.Ops[id]; op.Begun.Index > f.known && (op.Kind == KindFailover || op.Kind == KindRescue) {
			out.Plan = op.Plan
			out.Moved = out.Moved || op.Committed.Index != 0
			out.Served = append(out.Served, served(op)...)
		}
	}
	return out
}

func served(op Operation) []GuestID {
	var out []GuestID
	for _, g := range sortedKeys(op.Guests) {
		if op.Guests[g].Served.Index != 0 {
			out = append(out, g)
		}
	}
	return out
}
