package detectbench

import (
	"math"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// Run lives through the whole trace. Three things shorten it, and none changes
// what is decided (see the tests): idle time is skipped, time in which nothing
// but durations grows is glided over, and bursts of loss are left out that
// silence no window that matters.
func (w *World) Run() {
	clusters := w.clusters()
	for i, c := range clusters {
		w.rest(begin(c))
		w.enter(c)
		w.horizon = math.MaxInt64
		if i+1 < len(clusters) {
			w.horizon = begin(clusters[i+1])
		}
		for {
			if w.idle() {
				w.tidy()
				if w.t >= c.To {
					break
				}
			}
			if w.t >= w.horizon {
				break // the next begins before this one has come to rest
			}
			if w.opts.Strict || !w.glide() {
				w.tick()
			}
		}
	}
	w.rest(max(w.t, w.trace.Length))
}

// begin is from when a cluster is lived through.
func begin(c Cluster) int64 { return (c.From - preroll) / leadLook * leadLook }

// enter takes up the effects of a cluster.
func (w *World) enter(c Cluster) {
	left := slices.DeleteFunc(slices.Clone(w.field.effects), func(e Effect) bool { return e.To < w.t-preroll })
	w.field.effects = append(left, c.Effects...)
	w.edges = w.edges[:0]
	for _, e := range w.field.effects {
		for _, at := range []int64{e.From, e.To} {
			if at > w.t {
				w.edges = append(w.edges, at)
			}
		}
	}
	slices.Sort(w.edges)
	w.wake(w.t, c.index)
	w.refresh(w.t)
	w.ledger.cluster(w.field, c)
	w.gate.doubt = slices.ContainsFunc(c.Effects, func(e Effect) bool { return e.sickens() && e.Kind != agentStall })
}

// wake lets the time of all windows go on.
func (w *World) wake(t int64, cluster int) {
	for _, a := range w.agents {
		for _, e := range a.all() {
			e.wake(t, phaseOf(e, cluster))
		}
	}
}

func phaseOf(e *eye, cluster int) int64 {
	return int64(draw(e.id, 3, uint64(cluster)) % second)
}

// sleep stops the time of all windows.
func (w *World) sleep() {
	for _, a := range w.agents {
		for _, e := range a.all() {
			e.frozen = w.t
		}
	}
}

// rest lets idle time pass until the end, stopping only for what is due.
func (w *World) rest(end int64) {
	for w.t < end {
		if w.opts.Strict || !w.idle() {
			if w.idle() {
				w.tidy()
			}
			w.tick()
			continue
		}
		to := end
		if due := w.ms(w.gate.timer(w)); due < to {
			to = max(w.t, (due-1)/leadLook*leadLook)
		}
		w.sleep()
		w.skipped += to - w.t
		w.t = to
		if to == end {
			return // enter wakes what must be
		}
		for _, a := range w.agents {
			for _, e := range a.all() {
				e.wake(to, e.phase)
			}
		}
		w.refresh(to)
		w.tick()
		w.tick()
	}
	w.sleep()
}

// ms is the time on the trace of a date on the leader's clock.
func (w *World) ms(date time.Time) int64 { return w.termAt + date.Sub(w.termBase).Milliseconds() }

// refresh makes the reports that idle observers would have made meanwhile: of
// each the newest, since each replaces the one before.
func (w *World) refresh(to int64) { w.catchUp(to, func(*agent, int64) {}) }

// due is a report that an observer would have made while time was skipped.
type due struct {
	a *agent
	t int64
}

// catchUp makes, in order, the newest report that each observer owes until a
// time; ready prepares its windows for the moment of that report.
func (w *World) catchUp(to int64, ready func(a *agent, t int64)) {
	var owed []due
	for s, a := range w.agents {
		if !w.mayReport[s] || a.failing {
			continue
		}
		if k := (to - a.told) / w.pace(a); k >= 1 {
			owed = append(owed, due{a, a.told + k*w.pace(a)})
		}
	}
	slices.SortStableFunc(owed, func(x, y due) int { return int(x.t - y.t) })
	for _, d := range owed {
		ready(d.a, d.t)
		w.send(d.a, d.t, d.a.inputs(d.t, w.state.Term, w.place, w.suspicion))
	}
	for s, a := range w.agents {
		if a.running && !a.failing && w.mayReport[s] {
			in := a.inputs(to, w.state.Term, w.place, w.suspicion)
			a.next = w.tickOf(a.reporter.Next(w.at(to), in))
		}
	}
}

// pace is how often an observer refreshes its report now, in milliseconds.
func (w *World) pace(a *agent) int64 {
	if w.suspicion {
		return 5 * second
	}
	for _, e := range a.eyes {
		if e.seen == failover.SeenDown {
			return 5 * second
		}
	}
	return 60 * second
}

// settling is how long after the last change of what anybody sees durations
// still mean something to somebody, if all is well.
func (w *World) settling() int64 {
	return w.place.Spec.Policy.ReturnAfter.D().Milliseconds() + 2*second
}

// idle says whether nothing is wrong and nothing is under way: all that can
// happen before the next effect is that reports are refreshed.
func (w *World) idle() bool {
	if w.leader < 0 || w.lost > 0 || w.suspicion || w.gate.pending || !w.gate.up || w.t < w.quiet+w.settling() {
		return false
	}
	if w.t%leadLook != 0 {
		return false // what changed since the leader's last look has not been looked at
	}
	for i := range w.field.effects {
		if w.field.effects[i].at(w.t) {
			return false
		}
	}
	for _, a := range w.agents {
		if !a.running || a.failing || len(a.unwell) > 0 || a.next < w.t+tick || a.next != a.told+60*second {
			return false
		}
		for _, e := range a.eyes {
			if e.seen != failover.SeenUp {
				return false
			}
		}
	}
	return true
}

// glide passes over time in which nothing happens but that durations grow. It
// says whether it did.
func (w *World) glide() bool {
	to := w.steadyUntil() / tick * tick
	if to-w.t < 3*second {
		return false
	}
	w.catchUp(to, func(a *agent, t int64) { w.feed(a, t) })
	for s, a := range w.agents {
		if !a.running {
			continue
		}
		w.feed(a, to)
		if a.failing && !w.mayReport[s] {
			a.tried += (to - a.tried) / retry * retry
			a.reporter.Failed(w.at(a.tried))
			a.next = a.tried + retry
		}
	}
	w.t = to
	for s, a := range w.agents {
		if a.running && !a.failing && w.mayReport[s] {
			in := a.inputs(to, w.state.Term, w.place, w.suspicion)
			a.next = w.tickOf(a.reporter.Next(w.at(to), in))
		}
	}
	return true
}

// feed folds what an agent's windows meet until a time, of which every other
// probe is enough: they see what they saw.
func (w *World) feed(a *agent, to int64) {
	for _, e := range a.all() {
		took := int64(answerTime)
		if e.seen == failover.SeenDown {
			took = second
		}
		last := (to - took - e.phase) / second
		for n := e.n; n < last; n += 2 {
			e.add(e.seen, e.slot(n), e.slot(n)+took)
		}
		if last >= e.n {
			e.add(e.seen, e.slot(last), e.slot(last)+took)
			e.n = last + 1
		}
		e.due = 0
	}
}

// steadyUntil returns until when nothing can happen; w.t when it may at once.
func (w *World) steadyUntil() int64 {
	if w.leader < 0 || w.lost > 0 || w.gate.pending || w.t < w.quiet+second || w.t%leadLook != 0 {
		return w.t
	}
	limit := min(w.t+24*3600*second, w.horizon)
	if calm := w.quiet + w.settling(); w.t < calm {
		limit = min(limit, calm)
	}
	if len(w.edges) > 0 {
		limit = min(limit, w.edges[0]-preroll)
	}
	limit = min(limit, w.ms(w.gate.timer(w))-tick)
	for i := range w.field.effects {
		if e := &w.field.effects[i]; e.at(w.t) && (e.Kind == lossBurst || e.Kind == slowLoop) {
			return w.t
		}
	}
	dark := w.darkness()
	for s, a := range w.agents {
		limit = min(limit, w.steadyAgent(s, a), w.agesAt(s))
		if a.running && w.mayReport[s] && mayContradict(dark, s, a.told) {
			limit = min(limit, a.next-tick)
		}
	}
	return limit
}

// steadyAgent is steadyUntil for one agent.
func (w *World) steadyAgent(s int, a *agent) int64 {
	limit := w.t + 24*3600*second
	if !a.running {
		return limit
	}
	if a.next <= w.t+tick && !a.failing || a.failing && w.mayReport[s] || w.ailing(a) {
		return w.t
	}
	if !w.mayReport[s] && !a.failing {
		limit = min(limit, a.next-tick)
	}
	for _, e := range a.all() {
		if e.seen != w.field.lasting(e, w.t) {
			return w.t
		}
		if e.site < 0 || !w.mayReport[s] {
			continue
		}
		limit = min(limit, w.crossing(e))
		if e.seen == failover.SeenDown && w.t-e.changed < young.Milliseconds() {
			limit = min(limit, a.next-tick) // its next report may matter, whatever it crosses
		}
	}
	return limit
}

// ailing says whether an agent's opinion of itself will change by the clock: in
// time every ill passes but that of an uplink whose anchors are silent still.
func (w *World) ailing(a *agent) bool {
	return slices.ContainsFunc(a.unwell, func(r string) bool { return r != probes.UnwellUplink || a.anchored() })
}

// lasting is what a window sees in the end if nothing changes any more.
func (f field) lasting(e *eye, t int64) failover.Seen {
	if e.site < 0 {
		seen, _ := f.ask(e, 0, t)
		return seen
	}
	way := f.look(e.observer, e.site, t)
	switch {
	case way.forced != "":
		return way.forced
	case !f.open(&way, e.observer, e.site, e.path) || !way.answers(e.hardware, e.agent):
		return failover.SeenDown
	}
	return failover.SeenUp
}

// crossing is half a second before a duration reaches the next threshold.
func (w *World) crossing(e *eye) int64 {
	_, lasted, _ := e.window.Observe(e.mono(w.t))
	back := w.place.Spec.Policy.ReturnAfter.D()
	next := time.Duration(0)
	switch {
	case e.seen != failover.SeenDown && lasted < back:
		next = back
	case e.seen == failover.SeenDown:
		for _, l := range w.place.levels[siteNames[e.site]] {
			if l > lasted {
				next = l
				break
			}
		}
	}
	if next == 0 {
		return w.t + 24*3600*second
	}
	return w.t + (next - lasted).Milliseconds() - leadLook
}

// darkness is who sees nothing of a site, as bits, and since when they all do.
type darkness struct {
	who   uint8
	since int64
}

func (w *World) darkness() (dark [sites]darkness) {
	for o, a := range w.agents {
		var some, down uint8
		var since [sites]int64
		for _, e := range a.eyes {
			if e.seen == failover.SeenDown {
				down |= 1 << e.site
				since[e.site] = max(since[e.site], e.changed)
			} else {
				some |= 1 << e.site
			}
		}
		for s := range sites {
			if down>>s&1 != 0 && some>>s&1 == 0 {
				dark[s].who |= 1 << o
				dark[s].since = max(dark[s].since, since[s])
			}
		}
	}
	return dark
}

// mayContradict says whether an observer's next report is heard against others:
// two are dark to a site and it is not, or it is the site itself, and has not
// said so yet.
func mayContradict(dark [sites]darkness, o int, told int64) bool {
	for s, d := range dark {
		if ones(d.who) >= 2 && (o == s || d.who>>o&1 == 0) && told <= d.since+closeBy.Milliseconds() {
			return true
		}
	}
	return false
}

// agesAt is when the report of an observer that cannot renew it grows too old.
func (w *World) agesAt(s int) int64 {
	r, ok := w.state.Reports[siteNames[s]]
	never := w.t + 24*3600*second
	if !ok || w.mayReport[s] && w.agents[s].running && !w.agents[s].failing {
		return never
	}
	for _, age := range []time.Duration{failover.VoteAge, failover.PresenceAge} {
		if at := w.ms(r.Stamp.At.Add(age)); at >= w.t {
			return at - tick
		}
	}
	return never
}
