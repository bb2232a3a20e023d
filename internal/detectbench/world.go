package detectbench

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// Cadences of the agents, in milliseconds.
const (
	tick     = 250 // a report's changes are looked for so often (probes.ReportStepper)
	leadLook = 500 // the leader decides on what has changed meanwhile (really: at once)
	retry    = 1000
)

// epoch is the wall time of millisecond 0.
var epoch = time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)

// Options of a World.
type Options struct {
	Seed   uint64
	Policy Policy
	// Strict steps through every quarter of a second and has the leader decide
	// on everything that was applied: what the shortcuts must equal.
	Strict bool
	// KeepHarmless lives through the effects too that change no verdict.
	KeepHarmless bool
	// Sample, above 1: of the clusters that are one lone disturbance, too short
	// to end in a failover at the defaults, one in so many is lived through and
	// counted as many times; of the longer ones four times as many.
	Sample int
	// Watch, if set, is told of every command but the reports, with its time.
	Watch func(t int64, c failover.Command)
	// LeaderClock is added to the wall clock of every leader.
	LeaderClock time.Duration
}

// World lives through one network's trace.
type World struct {
	opts   Options
	place  *Place
	trace  Trace
	ledger *Ledger

	t       int64
	skipped int64 // idle time, which the agents' own clocks do not count
	field   field // effects that may be on now
	edges   []int64
	agents  [sites]*agent

	state    *failover.State
	index    uint64
	term     uint64
	leader   int // -1: none
	lost     int64
	elect    int64 // when the next one has its term, 0: no election is on
	termAt   int64
	termBase time.Time

	gate      gate
	suspicion bool
	decided   uint64 // index when Decide last had nothing more to say
	errs      int    // commands of Decide that were refused
	decisions int    // calls of Decide
	quiet     int64  // when anybody last saw a change
	horizon   int64  // where the next cluster begins
	mayReport [sites]bool
}

// NewWorld boots a network that is well.
func NewWorld(place *Place, trace Trace, ledger *Ledger, o Options) *World {
	w := &World{opts: o, place: place, trace: trace, ledger: ledger, state: failover.NewState()}
	w.field.lines = &place.Lines
	for s := range sites {
		w.agents[s] = newAgent(place, s, o.Seed)
		w.agents[s].start(0, 0)
	}
	w.apply(0, failover.Bootstrap{Network: place.Spec.Network, Generation: 1})
	w.crown(0)
	for _, s := range siteNames {
		w.apply(0, failover.SetMember{Site: s, ServerID: "server-" + string(s), Address: string(s) + ":9977", Voter: true})
	}
	w.apply(0, failover.ApplyNetwork{Spec: place.Spec})
	w.ready()
	w.wake(0, 0)
	w.edge()
	return w
}

// ready tells the state what the targets could restore: everything, fresh.
func (w *World) ready() {
	for _, target := range siteNames[:briques] {
		r := failover.Readiness{
			Site: target, Host: raoullHost(target), Points: map[failover.GuestID][]failover.RestorePoint{},
			MemoryTotal: 1 << 40, MemoryFree: 1 << 40, StorageFree: 1 << 50,
		}
		for _, g := range w.place.Spec.GuestIDs() {
			if home := w.place.Spec.Home(g); home != target {
				r.Points[g] = []failover.RestorePoint{{
					Storage: "pbs-" + string(home), Volid: "pbs:backup/" + string(g), Time: w.now(), Size: 1 << 30, Memory: 1 << 30, Verified: true,
				}}
			}
		}
		w.apply(w.t, failover.ReportReadiness{Ready: r})
	}
}

// now is the leader's clock for the log: its wall clock at the beginning of
// its term, or the log's own if that is later, and from there monotonic.
func (w *World) now() time.Time { return w.stampAt(w.t) }

func (w *World) stampAt(t int64) time.Time {
	return w.termBase.Add(time.Duration(t-w.termAt) * time.Millisecond)
}

// apply appends a command to the log.
func (w *World) apply(t int64, c failover.Command) error {
	w.index++
	err := w.state.Apply(failover.Stamp{Index: w.index, Term: w.term, At: w.stampAt(t), Actor: "bench"}, c)
	if _, ok := c.(failover.Report); ok {
		return err
	}
	w.gate.stir()
	if err != nil {
		w.errs++
		return err
	}
	if w.opts.Watch != nil {
		w.opts.Watch(t, c)
	}
	w.ledger.command(w, t, c)
	return nil
}

// crown begins the term of a new leader.
func (w *World) crown(leader int) {
	w.term++
	wall := epoch.Add(time.Duration(w.t)*time.Millisecond + w.opts.LeaderClock + w.agents[leader].skew)
	w.termAt, w.termBase = w.t, wall
	if wall.Before(w.state.Clock) {
		w.termBase = w.state.Clock
	}
	w.leader, w.lost, w.elect = leader, 0, 0
	w.apply(w.t, failover.BeginTerm{Leader: siteNames[leader]})
	for _, a := range w.agents {
		a.next = w.t
	}
}

// edge takes up what has begun or ended since the last tick.
func (w *World) edge() {
	w.gate.stir()
	for s, a := range w.agents {
		runs := w.field.running(s, w.t)
		switch {
		case a.running && !runs:
			a.running, a.stalled = false, w.t
			for _, e := range a.all() {
				e.due = 0
			}
		case !a.running && runs:
			w.resume(a)
		}
	}
	for s, a := range w.agents {
		w.mayReport[s] = a.running && w.leader >= 0 && (s == w.leader || w.agents[w.leader].running && w.field.meets(s, w.leader, w.t))
	}
	w.election()
}

// resume lets an agent go on that stood still, or starts it anew.
func (w *World) resume(a *agent) {
	late := float64(w.t-a.stalled) / second
	a.running, a.stalled = true, 0
	if w.restarted(a.site) {
		a.start(w.t, w.t-w.skipped)
		return
	}
	for _, e := range a.all() {
		e.due, e.n = 0, (w.t-e.phase+second-1)/second
		e.stale(w.t)
	}
	a.look(w.t-w.skipped, late)
	a.next = w.t
}

// restarted says whether what has just ended made the agent's machine start anew.
func (w *World) restarted(s int) bool {
	for _, e := range w.field.effects {
		ended := e.Site == s && e.To <= w.t && e.To > w.t-tick
		if ended && (e.Kind == powerOff || e.Kind == hostDown && e.N == onRaoull && e.Reboot) {
			return true
		}
	}
	return false
}

// leads says whether a site's agent can hold the majority together.
func (w *World) leads(s int) bool {
	if s < 0 || !w.agents[s].running {
		return false
	}
	n := 1
	for o := range sites {
		if o != s && w.agents[o].running && w.field.meets(o, s, w.t) {
			n++
		}
	}
	return n > sites/2
}

// election replaces a leader that lost its majority for longer than its lease.
func (w *World) election() {
	const lease = 2000
	held := w.leads(w.leader)
	switch {
	case held && w.lost > 0 && w.t-w.lost < lease:
		w.lost, w.elect = 0, 0
	case !held && w.lost == 0:
		w.lost = w.t
		w.elect = w.t + electionGap(unit(draw(w.opts.Seed, 91, uint64(w.t))))
	}
	if w.lost > 0 && w.t-w.lost >= lease {
		w.leader = -1
	}
	if w.elect == 0 || w.t < w.elect {
		return
	}
	var able []int
	for s := range sites {
		if w.leads(s) {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		// Nobody can: those that are left try again and again.
		w.elect = w.t + 3000
		return
	}
	w.crown(able[draw(w.opts.Seed, 92, uint64(w.t))%uint64(len(able))])
	for s, a := range w.agents {
		w.mayReport[s] = a.running && (s == w.leader || w.field.meets(s, w.leader, w.t))
	}
}

// tick goes a quarter of a second on.
func (w *World) tick() {
	before := w.t
	w.t += tick
	edged := false
	for len(w.edges) > 0 && w.edges[0] <= w.t {
		w.edges, edged = w.edges[1:], true
	}
	if edged {
		w.jumps(before)
		w.edge()
	} else if w.lost > 0 {
		w.election()
		if w.leader < 0 {
			w.mayReport = [sites]bool{}
		}
	}
	for _, a := range w.agents {
		if a.running {
			w.observe(a)
		}
	}
	for s, a := range w.agents {
		if a.running && w.t >= a.next {
			w.report(s, a)
		}
	}
	if w.leader >= 0 && w.lost == 0 && w.t%leadLook == 0 {
		w.decide()
	}
}

// jumps moves the wall clocks that jump now.
func (w *World) jumps(before int64) {
	for _, e := range w.field.effects {
		if e.Kind == clockJump && e.From > before && e.From <= w.t {
			w.agents[e.Site].skew += 2 * time.Minute
		}
	}
}

// observe lets an agent probe and look at itself.
func (w *World) observe(a *agent) {
	changed := false
	for _, e := range a.all() {
		c := e.step(w.field, w.t)
		c = e.stale(w.t) || c
		changed = changed || c && e.site >= 0
		if c {
			w.quiet = w.t
		}
	}
	if w.t%second == 0 {
		late := float64(w.field.stride(a.site, w.t) - 1)
		changed = a.look(w.t-w.skipped, late) || changed
	}
	if changed {
		a.next = min(a.next, w.t)
		if a.failing {
			a.next = max(a.next, a.tried+retry)
		}
	}
}

// report proposes a report if one is due, as probes.ReportStepper does.
func (w *World) report(s int, a *agent) {
	now := w.at(w.t)
	in := a.inputs(w.t, w.state.Term, w.place, w.suspicion)
	if a.reporter.Due(now, in) {
		if w.mayReport[s] && w.lost == 0 {
			w.send(a, w.t, in)
		} else {
			a.reporter.Failed(now)
			a.failing, a.tried = true, w.t
		}
	}
	a.next = w.tickOf(a.reporter.Next(now, in))
}

func (w *World) send(a *agent, t int64, in probes.Inputs) {
	r := a.reporter.Build(in)
	w.gate.before(w, r)
	// An own report is refused only as a duplicate, which its number excludes.
	if err := w.apply(t, r); err != nil {
		w.errs++
		return
	}
	a.reporter.Accepted(w.at(t), r, in)
	a.told, a.failing = t, false
}

// at is the agents' own time of day, for the Reporter's differences only.
func (w *World) at(t int64) time.Time { return epoch.Add(time.Duration(t) * time.Millisecond) }

// tickOf is the first tick that is not before a time.
func (w *World) tickOf(at time.Time) int64 {
	ms := at.Sub(epoch)
	n := (ms + tick*time.Millisecond - 1) / (tick * time.Millisecond)
	return int64(n) * tick
}
