package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// eyes are an agent's probes, its own health and its reports.
type eyes struct {
	l        *life
	set      *probes.Set
	uplink   *probes.Uplink
	health   *probes.Health
	unwell   []string
	reporter *probes.ReportStepper
	rand     *rand.Rand

	probe, look, report *Actor

	sights   []*sight               // in the order of the sites, the anchors first
	seen     []failover.Observation // room for what is gathered
	aimed    aim                    // what the targets were made from
	term     uint64
	suspects map[network.SiteID]bool
	levels   map[network.SiteID][]time.Duration
}

// eye is one prober with its schedule, in the time of its sight.
type eye struct {
	p    *probes.Prober
	free time.Time
	cost time.Duration
	seen failover.Seen
	step time.Time // the newest
}

// sight is what one agent sees of one place. While everything answers and
// nothing between the two changes, all that further probes could do is to say
// so again: their time then stands still (see rest). It goes on, where it
// stood, as soon as anything changes.
type sight struct {
	of     failover.SiteID // "": the anchors
	eyes   []*eye
	behind time.Duration // what its time has stood still, in all
	stands bool
	since  time.Time // when it began to
	change time.Time // of the way or the place, in its own time
	sig    signature // of the way and the place
}

// signature is everything that an answer depends on.
type signature struct {
	mesh, public, lossy, sick, liar, refuses, power, host, own, agent, uplink bool
	names                                                                     string
}

// aim is what an agent's targets depend on.
type aim struct {
	network, zone uint64
	members       int
}

// time is what a sight's clock says.
func (s *sight) time(now time.Time) time.Time {
	if s.stands {
		now = s.since
	}
	return now.Add(-s.behind)
}

// lookEvery is how finely the probes' times are followed.
const lookEvery = 100 * time.Millisecond

// calmLook is how often an agent that sees nothing amiss takes its own pulse.
const calmLook = 10 * time.Second

func (l *life) openProbes() {
	a := l.a
	e := &l.eyes
	e.l, e.rand, e.health = l, a.w.rand(fmt.Sprintf("loss %s %d", a.site.name, a.boot)), probes.NewHealth(0)
	var current *eye
	ask := a.w.net.prober(a.site.name, e.rand, func(d time.Duration) { current.cost = d })
	conf := probes.SetConfig{
		Misses: probes.DefaultMisses, Start: l.begun, Probe: ask,
		Rand: func(name string) *rand.Rand {
			return a.w.rand(fmt.Sprintf("probe %s %d %s", a.site.name, a.boot, name))
		},
	}
	e.uplink = probes.NewUplink(conf)
	conf.Rest = probes.DefaultRest
	e.set = probes.NewSet(conf)
	e.reporter = &probes.ReportStepper{
		Reporter: probes.NewReporter(probes.ReporterConfig{
			Observer: a.site.name, Boot: fmt.Sprintf("%s-%d", a.site.name, a.boot), Version: "sim",
		}),
		Gather: e.gather, Propose: e.propose, Poll: time.Hour,
	}
	e.probe = l.act("probes", func(now time.Time) time.Time {
		next := now.Add(time.Hour)
		for _, s := range e.sights {
			if due := e.pass(s, now, &current); due.Before(next) {
				next = due
			}
		}
		return later(next, now.Add(lookEvery))
	})
	e.look = l.act("health", e.observe)
	e.report = l.act("report", e.step)
}

// pass makes the probes of a sight that are due, and returns when the next is.
func (e *eyes) pass(s *sight, world time.Time, current **eye) time.Time {
	never := world.Add(time.Hour)
	if s.stands {
		return never
	}
	now, next := s.time(world), never
	for _, x := range s.eyes {
		// Asked each time: a miss elsewhere calls for it earlier than it said.
		due := later(x.p.Next(), x.free)
		if due.After(now) {
			next = earlier(next, due.Add(s.behind))
			continue
		}
		*current, x.cost = x, 0
		due = x.p.Step(background(), now)
		if x.step.IsZero() {
			x.p.TakeLate(now) // it has only begun: see aimAt
		}
		x.free, x.step = now.Add(x.cost), now
		if seen := x.p.Observe(now).Seen; seen != x.seen {
			x.seen = seen
			e.report.Wake()
		}
		next = earlier(next, later(due, x.free).Add(s.behind))
	}
	if e.rests(s, now) {
		s.since, s.stands = world, true
		return never
	}
	return next
}

// rests says whether every further probe of a sight would be answered as the
// last one was: all have been answered since the last change, nothing is lost
// by chance, and no duration is waited for.
func (e *eyes) rests(s *sight, now time.Time) bool {
	if s.sig.lossy || e.l.a.w.opts.Strict {
		return false
	}
	least := settledFor(e.l.a.w.spec)
	for _, x := range s.eyes {
		if !x.step.After(s.change) {
			return false
		}
		if strings.HasPrefix(x.p.Target().Name, "dropbear:") {
			continue
		}
		o := x.p.Observe(now)
		if !o.Seen.Alive() || x.p.Last().Seen != o.Seen || o.For < least {
			return false
		}
	}
	return len(s.eyes) > 0
}

// settledFor is from when on how long a target has been up means nothing to
// anybody.
func settledFor(s *network.Spec) time.Duration { return s.Policy.ReturnAfter.D() + 2*time.Second }

// changed has the time of the sights go on of which something has changed.
func (e *eyes) changed(now time.Time) {
	woken := false
	for _, s := range e.sights {
		sig := e.l.a.w.signature(e.l.a.site, s.of)
		if sig == s.sig {
			continue
		}
		s.sig = sig
		woken = e.goOn(s, now) || woken
		s.change = s.time(now)
	}
	if woken {
		e.probe.Wake()
	}
	e.look.Wake()
}

// goOn has the time of a sight go on, if it stood still.
func (e *eyes) goOn(s *sight, now time.Time) bool {
	if !s.stands {
		return false
	}
	s.behind += now.Sub(s.since)
	s.stands = false
	e.set.SuspectSite(s.of, e.suspects[s.of], s.time(now))
	return true
}

// hold lets time pass that no sight sees.
func (e *eyes) hold(d time.Duration) {
	for _, s := range e.sights {
		if !s.stands {
			s.behind += d
		}
	}
}

// goOnAll has the time of all sights go on: what follows is for the probes to see.
func (e *eyes) goOnAll(now time.Time) {
	for _, s := range e.sights {
		e.goOn(s, now)
	}
	e.probe.Wake()
}

// resting says whether the time of all sights stands still, but for that of one site: what is
// seen is all well, and has been for a while.
func (e *eyes) resting(but failover.SiteID) bool {
	return len(e.sights) > 1 && !slices.ContainsFunc(e.sights, func(s *sight) bool { return !s.stands && (but == "" || s.of != but) })
}

// restless names a target that keeps a sight from standing still.
func (e *eyes) restless(but failover.SiteID) string {
	for _, s := range e.sights {
		if but != "" && s.of == but {
			continue
		}
		for _, x := range s.eyes {
			now := s.time(e.l.a.w.loop.Now())
			if o := x.p.Observe(now); !s.stands && (!o.Seen.Alive() || x.p.Last().Seen != o.Seen || !x.step.After(s.change)) {
				return fmt.Sprintf("%s/%s over %s %s for %s, last %s, lossy=%t", s.of, o.Target, o.Path, o.Seen, o.For, x.p.Last().Seen, s.sig.lossy)
			}
		}
	}
	return "nothing amiss"
}

// observe takes the agent's own pulse.
func (e *eyes) observe(now time.Time) time.Time {
	a := e.l.a
	mono := now.Sub(e.l.begun)
	late, anchors := 0.0, now
	for _, s := range e.sights {
		if s.of == "" {
			anchors = s.time(now)
			continue
		}
		if s.stands {
			continue
		}
		for _, x := range s.eyes {
			late = max(late, x.p.TakeLate(s.time(now)))
		}
	}
	e.health.Observe(probes.Input{Wall: a.site.wall(now), Mono: mono, Late: late, Well: e.uplink.Well(anchors)})
	before := e.unwell
	e.unwell = e.health.Unwell(mono)
	if !slices.Equal(before, e.unwell) {
		e.report.Wake()
	}
	if len(e.unwell) == 0 && e.resting("") && !a.w.opts.Strict {
		return now.Add(calmLook)
	}
	return now.Add(time.Second)
}

// step reports. In here every change of what is seen is known, and wakes.
func (e *eyes) step(now time.Time) time.Time {
	if e.l.a.node.State().Members[e.l.a.site.name].ServerID == "" {
		return now.Add(250 * time.Millisecond)
	}
	return e.reporter.Step(background(), now)
}

func (e *eyes) gather(now time.Time) probes.Inputs {
	s := e.l.a.node.State()
	in := probes.Inputs{Unwell: e.unwell, Term: s.Term, Suspicion: len(e.suspects) > 0}
	in.Observations = e.seen[:0] // a report has its own
	for _, s := range e.sights {
		if s.of == "" {
			continue
		}
		at := s.time(now)
		for _, x := range s.eyes {
			in.Observations = append(in.Observations, x.p.Observe(at))
		}
	}
	e.seen = in.Observations
	if s.Network != nil {
		in.ReturnAfter = s.Network.Policy.ReturnAfter.D()
		in.Levels = func(site network.SiteID) []time.Duration { return e.levels[site] }
	}
	return in
}

var errNotMember = errors.New("no member yet")

func (e *eyes) propose(ctx context.Context, r failover.Report) error {
	a := e.l.a
	if _, ok := a.node.State().Members[a.site.name]; !ok {
		return errNotMember
	}
	a.w.check.reports(e.l, r)
	_, err := a.node.Propose(failover.WithActor(ctx, "agent:"+string(a.site.name)), r)
	return err
}

// stateChanged brings the probes to what State declares and suspects.
func (e *eyes) stateChanged() {
	a := e.l.a
	s, now := a.node.State(), a.w.loop.Now()
	if s.Term != e.term {
		e.term = s.Term
		e.report.Wake()
	}
	if s.Network == nil {
		return
	}
	e.aimAt(s, now)
	suspects := s.Suspected()
	if maps.Equal(suspects, e.suspects) {
		return
	}
	e.suspects = suspects
	for _, sight := range e.sights {
		if !sight.stands { // all that stand still are well: their next change asks them all
			e.set.SuspectSite(sight.of, suspects[sight.of], sight.time(now))
		}
	}
	e.probe.Wake()
	e.report.Wake()
}

// aimAt replaces the targets when what they are made from has changed.
func (e *eyes) aimAt(s *failover.State, now time.Time) {
	a := e.l.a
	want := aim{network: s.NetworkVersion, members: len(s.Members), zone: s.Zones[zone].Changed} // the zone changes with who serves
	if want == e.aimed {
		return
	}
	if e.aimed.network != s.NetworkVersion || e.levels == nil {
		e.levels = map[network.SiteID][]time.Duration{}
		for _, id := range s.Network.SiteIDs() {
			e.levels[id] = probes.Levels(s.Network, id, probes.DefaultEvery)
		}
	}
	serving := map[network.GuestID]network.SiteID{}
	for _, g := range s.Network.GuestIDs() {
		serving[g] = s.Guests[g].Serving
	}
	e.aimed = want
	opts := probes.Options{Voters: a.w.ids}
	// New probers begin in the time of the sight that is furthest behind: with
	// their first probe at once, wherever they belong.
	for _, s := range e.sights {
		now = earlier(now, s.time(a.w.loop.Now()))
	}
	e.set.Update(probes.Targets(s.Network, a.site.name, serving, opts), now)
	e.uplink.Update(probes.AnchorTargets(s.Network, a.site.name, opts), now)
	e.resight(a.w.loop.Now())
}

// resight sorts the probers of all targets into their sights.
func (e *eyes) resight(now time.Time) {
	old, sights := map[*probes.Prober]*eye{}, map[failover.SiteID]*sight{}
	for _, s := range e.sights {
		for _, x := range s.eyes {
			old[x.p] = x
		}
		s.eyes = nil
		sights[s.of] = s
	}
	e.sights = nil
	add := func(of failover.SiteID, p *probes.Prober) {
		s := sights[of]
		if s == nil {
			s = &sight{of: of, sig: e.l.a.w.signature(e.l.a.site, of)}
			sights[of] = s
		}
		if !slices.Contains(e.sights, s) {
			e.sights = append(e.sights, s)
		}
		x := old[p]
		if x == nil {
			x = &eye{p: p, seen: failover.SeenUnknown}
			e.goOn(s, now)
		}
		s.eyes = append(s.eyes, x)
	}
	for _, p := range e.uplink.Steppers() {
		add("", p)
	}
	for _, p := range e.set.Steppers() {
		add(p.Target().Site, p)
	}
	e.probe.Wake()
	e.look.Wake()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
