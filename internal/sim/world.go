package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// World is one simulated network in the middle of a run.
type World struct {
	opts    Options
	loop    *Loop
	streams Streams
	places  []place
	ids     []failover.SiteID
	sites   map[failover.SiteID]*Site
	net     *Network
	log     *LogModel
	chunks  *lab.Store
	spec    *network.Spec
	faults  *lab.Faults
	trace   *trace
	check   *checker
	paying  *Actor // whose step runs
	names   map[failover.SiteID]names
	stats   Stats
	cover   Coverage
	// primaries serve the zone if the agents do not; else nil.
	primaries *primaries
	plan      []Planned
	heals     int // how often all faults have ended
	// undecided: a guest of a site that burnt down waits for a person to choose what goes on. People who
	// retry it all the time keep what else was lost from being failed over (one domain at a time).
	undecided bool
	touched   bool          // something has changed that the agents may see
	unpulled  bool          // nobody has set up the jobs that bring the backups of away guests to other sites
	month     time.Duration // that has passed at the end, in which nothing happened
	freed     int           // requests that the root helper granted

	// crash decides whether an agent dies at a boundary; strike is asked before
	// every request of a worker which fault strikes it; watch is told of every
	// entry that took effect.
	crash  func(site failover.SiteID, boundary string) bool
	strike func(s *Site, where, boundary string) (lab.Fault, bool)
	watch  func(Committed)
}

// names caches which public names a site serves.
type names struct {
	at   time.Time
	set  map[string]bool
	text string
}

// trace is the account of a run: a hash of all of it and the last lines.
type trace struct {
	hash    uint64
	last    []string
	verbose io.Writer
}

const keptLines = 40

func (t *trace) add(at time.Time, line string) {
	var numbers [48]byte
	b := append(strconv.AppendUint(numbers[:0], t.hash, 10), ' ')
	b = append(strconv.AppendInt(b, at.UnixNano(), 10), ' ')
	h := fnv.New64a()
	h.Write(b)
	_, _ = io.WriteString(h, line) // no hash fails
	t.hash = h.Sum64()
}

func (t *trace) tell(at time.Time, line string) {
	t.add(at, line)
	line = fmt.Sprintf("%9.3f %s", at.Sub(Epoch).Seconds(), line)
	t.last = append(t.last, line)
	if n := len(t.last) - keptLines; n > 0 {
		t.last = slices.Delete(t.last, 0, n)
	}
	if t.verbose != nil {
		fmt.Fprintln(t.verbose, line)
	}
}

// tick mixes an event into the hash without a line of its own.
func (t *trace) tick(at time.Time, name string) {
	const prime = 1099511628211
	h := t.hash ^ uint64(at.UnixNano())
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	t.hash = h * prime
}

func newWorld(o Options) (*World, error) {
	o.Chatter, o.Writing = cmp.Or(o.Chatter, 30*time.Second), cmp.Or(o.Writing, writeEvery)
	w := &World{
		opts: o, loop: NewLoop(), streams: NewStreams(o.Seed), places: o.places(), sites: map[failover.SiteID]*Site{},
		chunks: lab.NewMemStore(), faults: &lab.Faults{}, trace: &trace{verbose: o.Verbose}, names: map[failover.SiteID]names{}, cover: Coverage{},
	}
	w.ids = siteIDs(w.places)
	w.spec = Declared(w.places, o.Timing, o.Mode)
	if o.Warm {
		w.spec = keptWarm(w.spec)
	}
	if o.Live != "" {
		declareLive(w.spec, o.Live)
	}
	if o.Homeward {
		declareHomeward(w.spec, w.places)
	}
	if o.Alone {
		declareAlone(w.spec)
	}
	if o.Window != (network.Window{}) {
		declareWindow(w.spec, o.Window)
	}
	if o.Primaries > 0 {
		w.primaries = newPrimaries(w, o.Primaries)
		w.primaries.declare(w.spec)
	}
	w.check = newChecker(w)
	w.net = newNetwork(w)
	if err := w.openHosts(); err != nil {
		return nil, fmt.Errorf("open hosts: %w", err)
	}
	w.log = NewLogModel(LogConfig{
		Loop: w.loop, Rand: w.rand("log"), Sites: w.ids, Faults: o.Log, Prefer: o.Leader,
		Up:     func(s failover.SiteID) bool { return w.sites[s].agent != nil && w.sites[s].agent.lives() },
		Reach:  w.net.mesh,
		Wall:   func(s failover.SiteID) time.Time { return w.sites[s].wall(w.loop.Now()) },
		Charge: w.charge, Tell: w.tell, Violated: w.check.violated,
		Committed: w.committed, Count: func(what string) { w.cover.count(coverLog, "%s", what) },
		Applied: func(s failover.SiteID, quiet bool) {
			if a := w.sites[s].agent; a != nil && a.up && !a.frozen {
				a.changed(quiet)
			}
		},
	})
	for _, id := range w.ids {
		w.sites[id].agent = newAgent(w, w.sites[id])
	}
	w.loop.After = w.after
	return w, nil
}

func (w *World) charge(d time.Duration) {
	if w.paying != nil {
		w.paying.Charge(d)
	}
}

func (w *World) tell(format string, args ...any) {
	w.trace.tell(w.loop.Now(), fmt.Sprintf(format, args...))
}

func (w *World) after(name string, step bool) error {
	w.trace.tick(w.loop.Now(), name)
	if !step || w.touched {
		w.look()
	}
	return w.check.err
}

// look has the agents see that something may have changed between them.
func (w *World) look() {
	w.touched = false
	for _, id := range w.ids {
		if a := w.sites[id].agent; a.up {
			a.life.eyes.changed(w.loop.Now())
		}
	}
}

// signature is what the answers depend on that a site's agent gets from a
// place; of its own anchors for "".
func (w *World) signature(here *Site, of failover.SiteID) signature {
	sig := signature{sick: here.sick, liar: here.liar, uplink: here.uplink, power: here.power}
	if of == "" {
		return sig
	}
	there := w.sites[of]
	sig.power = there.power
	sig.mesh, sig.public = w.net.passes(here.name, of, failover.PathMesh), w.net.passes(here.name, of, failover.PathPublic)
	sig.lossy = w.net.lossy(here.name, of)
	sig.refuses, sig.host, sig.own, sig.agent, sig.names = there.refuses, there.host, there.own, there.agent.lives(), w.names[of].text
	return sig
}

// served says whether a site's public entry finds a guest for a name.
func (w *World) served(s *Site, name string) bool {
	if c, ok := w.names[s.name]; !ok || w.loop.Now().Sub(c.at) >= time.Second {
		w.serving(s)
	}
	return w.names[s.name].set[name]
}

// serving learns which names a site serves now.
func (w *World) serving(s *Site) {
	c := names{at: w.loop.Now(), set: map[string]bool{}}
	for _, p := range []*lab.PVE{s.structure, s.raoull} {
		if p != nil {
			p.Advance(c.at)
			p.Answering(c.set)
		}
	}
	c.text = strings.Join(sortedKeys(c.set), " ")
	w.touched = w.touched || c.text != w.names[s.name].text
	w.names[s.name] = c
}

// follow learns every second which names the sites serve.
func (w *World) follow() {
	for _, id := range w.ids {
		if s := w.sites[id]; s.structure != nil {
			w.serving(s)
		}
	}
	if w.touched {
		w.look()
	}
	w.check.lonely()
	w.loop.In(time.Second, "", w.follow)
}

// committed tells of every entry that enters the log.
func (w *World) committed(prev, next *failover.State, e Committed) {
	w.stats.Entries++
	line := describe(e.Command)
	if e.Rejected != nil {
		line += " — " + e.Rejected.Error()
	}
	if _, quiet := e.Command.(failover.Report); quiet {
		w.trace.add(w.loop.Now(), line)
	} else {
		w.tell("%d.%d %s %s", e.Stamp.Term, e.Stamp.Index, e.Stamp.Actor, line)
	}
	w.primaries.committed(next)
	w.check.committed(prev, next, e)
	w.cover.entry(prev, next, e)
	if e.Rejected != nil {
		return
	}
	w.stats.count(e.Command)
	if w.watch != nil {
		w.watch(e)
	}
}

// describe is a command as a line of the trace tells it.
func describe(c failover.Command) string {
	switch c := c.(type) {
	case failover.Report:
		return fmt.Sprintf("report %d of %s %v", c.Seq, c.Observer, c.Unwell)
	case failover.ReportReadiness:
		protected := 0
		for _, points := range c.Ready.Points {
			for _, p := range points {
				if p.Protected {
					protected++
				}
			}
		}
		return fmt.Sprintf("readiness of %s, points of %d guests, %d protected", c.Ready.Site, len(c.Ready.Points), protected)
	case failover.ApplyNetwork:
		return "network declared"
	case failover.Assess:
		return fmt.Sprintf("assess %s %s %s silence=%s held=%s back=%t", c.Domain, c.Cause, c.Level, c.Silence, c.Held.Code, c.Back)
	case failover.BeginOp:
		return fmt.Sprintf("begin %s of %s, %d guests", c.Kind, c.Domain, len(c.Plan.Assignments))
	case failover.CommitOp:
		return fmt.Sprintf("commit %s %v", c.Op, c.Guests)
	case failover.StepMoved:
		return fmt.Sprintf("step %s %s %s %s #%d %s %s", c.Token.Op, c.Token.Guest, c.Token.Step, c.To, c.Attempt, c.Failure, c.Note)
	case failover.Retarget:
		return fmt.Sprintf("retarget %s %s to %s: %v", c.Op, c.Guest, c.Assignment.Target, c.Reason)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T %v", c, c), "failover.")
}

// propose puts a person's command into the log through any agent that is up,
// until it has an outcome.
func (w *World) propose(c failover.Command) { w.proposeAs("p-operator", c, nil) }

func (w *World) proposeAs(who string, c failover.Command, done func(failover.Stamp, error)) {
	for _, id := range w.ids {
		if !w.log.Quorum(id) {
			continue
		}
		st, err := w.log.Node(id).Propose(failover.WithActor(background(), who), c)
		if err == nil || isRejected(err) {
			if done != nil {
				done(st, err)
			}
			return
		}
	}
	w.loop.In(time.Second, "operator tries again", func() { w.proposeAs(who, c, done) })
}

// Boot starts every agent and has a person begin the network.
func (w *World) boot() {
	for i, id := range w.ids {
		w.sites[id].agent.start(w.loop.Now().Add(time.Duration(i) * 37 * time.Millisecond))
	}
	w.loop.In(time.Second, "begin", func() {
		w.propose(failover.Bootstrap{Network: w.spec.Network, Generation: 1})
		w.declare()
	})
	w.loop.In(5*time.Second, "backup", w.backup)
	if !w.opts.OneBackup {
		w.loop.In(35*time.Second, "backup", w.backup)
	}
	w.loop.In(awayEvery, "", w.pullAway)
	var look func()
	look = func() {
		w.check.world()
		w.loop.In(5*time.Second, "look at the world", look)
	}
	w.loop.In(5*time.Second, "look at the world", look)
	w.loop.In(truthEvery, "", w.check.truth.follow)
	w.loop.In(w.opts.Writing, "", w.check.ledger.follow)
	w.loop.In(time.Second, "", w.follow)
	w.primaries.follow()
}

func (w *World) declare() {
	if len(w.log.Last().Members) < len(w.ids) {
		w.loop.In(time.Second, "declare", w.declare)
		return
	}
	w.propose(failover.ApplyNetwork{Spec: w.spec, IfVersion: w.log.Last().NetworkVersion})
}

// Kill cuts a site's power: everything of it is gone at once.
func (w *World) kill(id failover.SiteID) {
	s := w.sites[id]
	w.tell("fault: %s loses power", id)
	s.power = false
	w.hostDown(s)
	w.ownDown(s)
	w.log.Evaluate()
}

// revive gives it power again; machines boot, then the agent.
func (w *World) revive(id failover.SiteID) {
	s := w.sites[id]
	if s.power && s.host {
		return
	}
	w.tell("fault: %s has power again", id)
	s.power = true
	w.ownUp(s)
	w.hostUp(s)
	w.log.Evaluate()
}

// hostDown has Raoull's machine at a site stop, with PBS and agent.
func (w *World) hostDown(s *Site) {
	s.host = false
	if s.raoull != nil {
		s.raoull.PowerLoss(w.loop.Now())
	}
	if s.pbs != nil {
		s.pbs.PowerLoss(w.loop.Now())
	}
	s.agent.stop()
}

func (w *World) hostUp(s *Site) {
	s.host = true
	if s.raoull != nil {
		s.raoull.PowerOn(w.loop.Now())
	}
	if s.pbs != nil {
		s.pbs.PowerOn(w.loop.Now())
	}
	s.agent.start(w.loop.Now().Add(between(w.rand("boot "+string(s.name)), 3*time.Second, 12*time.Second)))
}

// crashHost is a machine that fails alone and comes back after a while.
func (w *World) crashHost(s *Site, back time.Duration) {
	if !s.host {
		return
	}
	w.tell("fault: the machine of %s crashes", s.name)
	w.hostDown(s)
	w.log.Evaluate()
	w.loop.In(back, "machine of "+string(s.name)+" is back", func() {
		if s.power && !s.host {
			w.tell("the machine of %s is back", s.name)
			w.hostUp(s)
			w.log.Evaluate()
		}
	})
}

// crashAgent ends an agent's process; the service manager starts it again.
func (w *World) crashAgent(s *Site, back time.Duration) {
	if !s.agent.up {
		return
	}
	w.tell("fault: the agent of %s crashes", s.name)
	w.stats.Crashes++
	s.agent.stop()
	w.log.Evaluate()
	w.loop.In(back, "agent of "+string(s.name)+" is back", func() {
		if s.power && s.host && !s.agent.up && !s.agent.starting {
			s.agent.start(w.loop.Now())
		}
	})
}

// freeze stops an agent's process where it stands, or lets it go on.
func (w *World) freeze(s *Site, stands bool) {
	w.tell("fault: the agent of %s stands still: %t", s.name, stands)
	s.agent.frozen = stands
	if !stands {
		w.check.thaws[s.name] = w.loop.Now()
	}
	if s.agent.up {
		s.agent.life.eyes.goOnAll(w.loop.Now())
	}
	if s.agent.up && !stands {
		s.agent.life.wakeAll() // it goes on where it stood, with what it knew then
	}
	w.log.Evaluate()
}

// isolate cuts a site's line, or ends that.
func (w *World) setUplink(id failover.SiteID, works bool) {
	w.tell("fault: uplink of %s: %t", id, works)
	w.sites[id].uplink = works
	w.log.Evaluate()
}

// healAll ends every fault: everything runs and hears everything.
func (w *World) healAll() {
	w.tell("all faults end")
	w.heals++
	w.crash = nil
	w.log.Faults = LogFaults{}
	w.faults.Clear()
	w.net.HealAll()
	w.primaries.heal()
	for _, id := range w.ids {
		s := w.sites[id]
		s.uplink, s.sick, s.liar, s.refuses, s.dns, s.skew, s.mute, s.programs = true, false, false, false, dnsFault{}, 0, false, ""
		if s.agent.frozen {
			w.freeze(s, false)
		}
		for _, p := range []*lab.PVE{s.raoull, s.structure} {
			if p != nil {
				p.Heal()
			}
		}
		if s.pbs != nil {
			s.pbs.Heal()
		}
		w.revive(id)
		w.unplugged(s)
		if !s.agent.up && !s.agent.starting {
			s.agent.start(w.loop.Now().Add(time.Second))
		}
	}
	w.startHomes()
	w.log.Evaluate()
}
