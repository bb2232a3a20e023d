package failover

import (
	"maps"
	"slices"
	"time"
)

// Decision is what the leader should propose now, and why it holds back where
// it does. No commands means hold.
type Decision struct {
	Commands []Command
	Why      []Reason
}

// Decide says what to do next. It starts from State each time; an event only
// wakes it. It returns one kind of change per round, so that each is judged on
// the state that the one before left.
//
// The caller is the leader, behind a barrier, and has had a BeginTerm of its
// own term applied: reports of older terms do not count.
func Decide(s *State, now time.Time) Decision { return decide(s, now, true) }

// decide is Decide; without keep it begins no warm copies.
func decide(s *State, now time.Time, keep bool) Decision {
	if s.Network == nil {
		return Decision{Why: []Reason{because(CodeNoNetwork)}}
	}
	d := &decider{s: s, now: s.notBefore(now), verdicts: judgeBrief(s, now), plans: map[DomainID]Plan{}, keep: keep}
	// A return is honoured before work goes on: between the two a guest might
	// become owned elsewhere although its home is back (L3).
	for _, step := range []func(){d.expire, d.raise, d.assess, d.cancel, d.yieldWarm, d.progress, d.commit, d.begin, d.planned, d.diverge, d.returned, d.wake, d.comeHome, d.warm} {
		if step(); len(d.out.Commands) > 0 {
			break
		}
	}
	if len(d.out.Commands) == 0 && len(d.out.Why) == 0 {
		d.why(because(CodeAllWell))
	}
	return d.out
}

type decider struct {
	s        *State
	now      time.Time
	verdicts map[DomainID]Verdict
	plans    map[DomainID]Plan // made so far
	keep     bool              // warm copies
	out      Decision
}

func (d *decider) propose(c ...Command) { d.out.Commands = append(d.out.Commands, c...) }

// why adds a reason once, though more than one stage may hold for it.
func (d *decider) why(r Reason) {
	same := func(o Reason) bool { return o.Code == r.Code && maps.Equal(o.Args, r.Args) }
	if !slices.ContainsFunc(d.out.Why, same) {
		d.out.Why = append(d.out.Why, r)
	}
}

// assess records verdicts that changed.
func (d *decider) assess() {
	for _, id := range sortedKeys(d.verdicts) {
		v := d.verdicts[id]
		old := d.s.Domains[id]
		held := d.held(v)
		if !held.IsZero() {
			d.why(held)
		}
		returned := v.Back && old.Lost.Index != 0 && !v.Cause.gone(id)
		if noNews(v, old) && !d.overtaken(v, old) {
			continue
		}
		if v.Cause == old.Cause && v.Level == old.Level && held.Code == old.Held.Code && !returned {
			continue
		}
		if v.Votes == nil { // of a calm domain: the log tells who sees it
			v.Votes = d.s.evidence(id, d.now)
		}
		d.propose(Assess{
			Domain: id, Cause: v.Cause, Level: v.Level, Silence: v.Silence, Held: held, Votes: v.Votes, Back: returned,
		})
	}
}

// overtaken says whether a host's trouble is on record although nothing is seen
// of its whole site any more: then it is no trouble of its own, and must hold
// nothing and call nobody.
func (d *decider) overtaken(v Verdict, old Domain) bool {
	kind, _ := splitDomain(v.Domain)
	site := d.verdicts[SiteDomain(v.Site)]
	lost := site.Cause == CauseLost || site.Cause == CauseUnreachable
	return kind == "host" && lost && !old.Held.IsZero()
}

// noNews says whether a verdict only means that too few have reported, as after
// a change of leader, or that the few who did see nothing of what was lost:
// neither is another story than the one on record.
func noNews(v Verdict, old Domain) bool {
	switch v.Cause {
	case CauseUnknown:
		return old.Cause != CauseWeAreSick
	case CauseUp:
		return old.Cause.gone(v.Domain) && v.Seeing == 0
	}
	return false
}

// emptied says whether a site has nothing left that could still be moved.
func (d *decider) emptied(site SiteID) bool {
	for _, p := range d.s.Guests {
		if p.Owner == site && p.Phase != PhaseExcluded {
			return false
		}
	}
	return true
}

// OpFor returns the running operation that answers to a domain.
func (s *State) OpFor(d DomainID) (Operation, bool) {
	for _, id := range s.opOrder() {
		if s.Ops[id].Domain == d {
			return s.Ops[id], true
		}
	}
	return Operation{}, false
}

// PausedAt returns the pause that holds for a site, its own or the general one.
func (s *State) PausedAt(site SiteID, now time.Time) (Pause, bool) {
	for _, key := range []string{"", string(site)} {
		if p, ok := s.Pauses[key]; ok && (p.Until.IsZero() || now.Before(p.Until)) {
			return p, true
		}
	}
	return Pause{}, false
}

func (d *decider) automatic(v Verdict) Plan {
	plan, made := d.plans[v.Domain]
	if !made {
		plan = PlanFor(d.s, d.lossOf(v), d.now)
		d.plans[v.Domain] = plan
	}
	return plan
}

// begin starts the preparation of a lost site's failover, or of what answers to a dead
// host, or takes a cancelled one up again. Sites come first.
func (d *decider) begin() {
	for _, id := range d.domains() {
		v := d.verdicts[id]
		if !v.gone() || v.Level < LevelPrepareB || !v.Hold.IsZero() || !d.brake(v).IsZero() {
			continue
		}
		if op, ok := d.s.OpFor(v.Domain); ok {
			if op.Resumable() {
				d.propose(ResumeOp{Op: op.ID})
				return
			}
			continue
		}
		if d.dealtWith(v.Domain) {
			continue
		}
		if plan := d.automatic(v); len(plan.Assignments) > 0 {
			d.propose(BeginOp{Kind: plan.Loss.Kind(), Domain: v.Domain, Plan: plan})
			return
		}
	}
}

// commit admits the guests whose commit delay has passed.
func (d *decider) commit() {
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		v := d.verdicts[op.Domain]
		if d.s.Unconfirmed[id] || op.Phase == OpReleasing || !v.gone() || !v.Hold.IsZero() || !op.admits() {
			continue
		}
		if r := d.brake(v); !r.IsZero() {
			d.why(r)
			continue
		}
		var due []GuestID
		for _, g := range op.workOrder() {
			run := op.Guests[g]
			if run.State != RunActive || run.Admitted != 0 || !run.Assignment.Automatic {
				continue
			}
			if stays := d.stays(g); !stays.IsZero() {
				d.why(stays)
				continue
			}
			if v.Silence >= d.s.Network.CommitDelay(g) {
				due = append(due, g)
			}
		}
		if len(due) > 0 {
			d.propose(CommitOp{Op: id, Guests: due, Votes: v.Votes})
			return
		}
		if left := d.shortestDelay(op) - v.Silence; left > 0 && op.Phase == OpPreparing {
			d.why(because(CodeCountdown, "op", string(id), "site", string(v.Site), "in", left.Round(time.Second).String()))
		}
	}
}

// stays is the pause or the maintenance that holds a guest where it is. A guest that lives away
// is held by a pause of its home, whichever site is lost.
func (d *decider) stays(g GuestID) Reason {
	home := d.s.Network.Home(g)
	if p, paused := d.s.PausedAt(home, d.now); paused {
		return p.holds(because(CodePaused, "domain", string(SiteDomain(home)), "site", string(home)))
	}
	if r, resting := d.s.restOfGuest(g); resting {
		return because(CodeMaintenance, "domain", string(HostDomain(d.s.Guests[g].Host)), "until", clockText(r.Until), "reason", r.Reason)
	}
	return Reason{}
}

// holds is the reason for what a pause holds: until when, and why.
func (p Pause) holds(r Reason) Reason {
	if !p.Until.IsZero() {
		r.Args["until"] = clockText(p.Until)
	}
	r.Args["reason"] = p.Reason
	return r
}

// shortestDelay is the first commit delay among an operation's automatic
// guests, or among all of them when every one waits for a person.
func (d *decider) shortestDelay(op Operation) time.Duration {
	var best, any time.Duration
	for _, g := range op.workOrder() {
		delay := d.s.Network.CommitDelay(g)
		if any == 0 || delay < any {
			any = delay
		}
		if op.Guests[g].Assignment.Automatic && (best == 0 || delay < best) {
			best = delay
		}
	}
	if best == 0 {
		return any
	}
	return best
}

// admits says whether an operation has guests that are not admitted yet.
func (o Operation) admits() bool {
	for _, run := range o.Guests {
		if run.State == RunActive && run.Admitted == 0 && o.Kind != KindWarm {
			return true
		}
	}
	return false
}

// Waiting lists the guests of an operation that only a person can admit.
func (o Operation) Waiting() []GuestID {
	var out []GuestID
	if o.Phase != OpPreparing && o.Phase != OpCommitted || o.Kind == KindWarm {
		return nil
	}
	for _, g := range o.workOrder() {
		run := o.Guests[g]
		if run.State == RunActive && run.Admitted == 0 && !run.Assignment.Automatic {
			out = append(out, g)
		}
	}
	return out
}

// cancel gives up a countdown whose site was seen again before ownership moved.
func (d *decider) cancel() {
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		if op.Forced || op.Phase == OpReleasing || op.Kind.aside() || len(d.s.cancellable(op)) == 0 {
			continue
		}
		v, ok := d.verdicts[op.Domain]
		if !ok || !d.seenAgain(v) {
			continue
		}
		d.propose(CancelOp{Op: id, Reason: because(CodeBack, "domain", string(op.Domain), "cause", string(v.Cause))})
		return
	}
}

// seenAgain says whether somebody who counts sees something of the domain.
// Too few reports are not a sighting: a new leader that has not heard yet
// cancels nothing.
func (d *decider) seenAgain(v Verdict) bool {
	switch v.Cause {
	case CauseLost, CauseUnknown, CauseWeAreSick, CauseUnreachable:
		return false
	}
	return v.Level == LevelNone && v.Seeing > 0
}

// diverge marks away guests whose home site is back.
func (d *decider) diverge() {
	for _, g := range sortedKeys(d.s.Guests) {
		p := d.s.Guests[g]
		if p.Phase != PhaseAway || p.Op != "" || p.Parked {
			continue
		}
		home := d.s.Domains[d.s.homeDomain(g)]
		if d.s.Domains[HostDomain(d.s.Network.Guests[g].Host)].Cause == CauseHostDown {
			continue // the rest of its site is, and its own copy is not
		}
		if home.Lost.Index == 0 && slices.Contains([]Cause{CauseUp, CauseAgentOnly, CausePublicDown, CausePBSDown, CauseHostDown}, home.Cause) {
			d.propose(MarkDiverged{Guest: g})
			return
		}
	}
}
