package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Agent is one site's agent: the production parts, wired as cmd/wwwd wires
// them. A crash forgets them all; a start makes new ones over the durable log.
type Agent struct {
	w        *World
	site     *Site
	node     *Node
	up       bool
	starting bool
	frozen   bool // its process stands still, as when the machine does
	boot     int
	life     *life // what a crash forgets
}

// life is what exists between a start and a crash.
type life struct {
	a      *Agent
	begun  time.Time
	clock  *agent.LogClock
	logger *slog.Logger
	actors map[string]*Actor

	executor *agent.Executor
	at       string // the boundary that a worker stands at
	workers  map[string]*Actor

	dns *dnsctl.Server
	pub *dnsctl.Publisher

	eyes    eyes
	drawn   drawn
	stopper *agent.StopAlone // nil: no guest is stopped for isolation in this network
}

// drawn is what the zones were last made from.
type drawn struct{ network, zone uint64 }

// crashed ends the step of an agent that dies in the middle of it.
type crashed struct{}

func newAgent(w *World, s *Site) *Agent { return &Agent{w: w, site: s} }

// wakeAll has every actor of a life step as soon as it can.
func (l *life) wakeAll() {
	for _, actors := range []map[string]*Actor{l.workers, l.actors} {
		for _, name := range sortedKeys(actors) {
			actors[name].Wake()
		}
	}
}

// waits says whether an actor waits for a call that takes long, or has hardly looked around since.
func (a *Agent) waits(name string) bool {
	actor := a.life.actors[name]
	return actor != nil && actor.late.After(a.w.loop.Now())
}

// lives says whether it runs and does not stand still.
func (a *Agent) lives() bool { return a.up && !a.frozen }

// start begins a new life at a time.
func (a *Agent) start(at time.Time) {
	if a.up || a.starting {
		return
	}
	a.starting = true
	a.w.loop.At(at, "start "+string(a.site.name), func() {
		a.starting = false
		if !a.site.power || !a.site.host || a.up {
			return
		}
		if err := a.open(); err != nil {
			a.w.check.violated(fmt.Errorf("start agent of %s: %w", a.site.name, err))
		}
	})
}

// stop forgets everything that is in memory.
func (a *Agent) stop() {
	if !a.up {
		return
	}
	a.up, a.w.touched = false, true
	for _, actor := range a.life.actors {
		actor.Stop()
	}
	for _, actor := range a.life.workers {
		actor.Stop()
	}
	a.node.boot++
	a.node.believes = 0
}

func (a *Agent) open() error {
	a.boot++
	a.up, a.w.touched = true, true
	l := &life{
		a: a, begun: a.w.loop.Now(), clock: &agent.LogClock{}, actors: map[string]*Actor{}, workers: map[string]*Actor{},
		logger: a.w.logger(string(a.site.name)),
	}
	a.life = l
	a.node = a.w.log.Node(a.site.name)
	if err := l.openDNS(); err != nil {
		return err
	}
	l.openProbes()
	if err := l.openHands(); err != nil {
		return err
	}
	leader := &agent.Leader{Site: a.site.name, Log: crashLog{a.node, a}, Clock: l.clock, Logger: l.logger, Members: a.w.members}
	l.act("leader", func(now time.Time) time.Time {
		next := leader.Step(background(), now)
		if _, leads := a.node.Lead(); !leads {
			return now.Add(time.Hour) // it is woken when it leads
		}
		return next
	})
	a.w.tell("the agent of %s runs", a.site.name)
	if a.boot > 1 {
		a.node.Restart()
	}
	a.w.log.Evaluate()
	return nil
}

// members is the Raft configuration: all agents vote.
func (w *World) members() []agent.RaftMember {
	out := make([]agent.RaftMember, len(w.places))
	for i, p := range w.places {
		out[i] = agent.RaftMember{
			Site: p.name, ServerID: "server-" + string(p.name), Address: fmt.Sprintf("%s:%d", meshAddr(i), network.DefaultMeshPort), Voter: true,
		}
	}
	return out
}

// act adds an actor of this life.
func (l *life) act(name string, step func(time.Time) time.Time) *Actor {
	actor := l.actor(name, step)
	l.actors[name] = actor
	return actor
}

// actor makes an actor whose calls are charged to it and which dies as crashed.
func (l *life) actor(name string, step func(time.Time) time.Time) *Actor {
	w := l.a.w
	var self *Actor
	self = NewActor(w.loop, string(l.a.site.name)+": "+name, w.loop.Now(), func(now time.Time) (next time.Time) {
		if l.a.frozen {
			return now.Add(time.Second)
		}
		outer := w.paying
		w.paying = self
		defer func() {
			w.paying = outer
			switch r := recover().(type) {
			case nil:
			case crashed:
				l.a.w.crashAgent(l.a.site, between(w.rand(fmt.Sprintf("back %s %d", l.a.site.name, l.a.boot)), time.Second, 20*time.Second))
			default:
				panic(r)
			}
		}()
		return step(now)
	})
	return self
}

// leaderLate is how long reports alone may wait for the leader to look at them.
const leaderLate = 200 * time.Millisecond

// changed is called whenever State has changed here; quiet: by reports alone,
// which are of concern to the leader only.
func (a *Agent) changed(quiet bool) {
	l := a.life
	l.eyes.stateChanged()
	if _, leads := a.node.Lead(); leads {
		if quiet {
			l.actors["leader"].WakeWithin(leaderLate)
		} else {
			l.actors["leader"].Wake()
		}
	}
	if quiet {
		return
	}
	for _, name := range []string{"crew", "readiness", "copies", "away", "alone"} {
		if actor := l.actors[name]; actor != nil {
			actor.Wake()
		}
	}
	if s := a.node.State(); s.NetworkVersion != l.drawn.network || s.Zones[zone].Changed != l.drawn.zone {
		l.drawn = drawn{s.NetworkVersion, s.Zones[zone].Changed}
		l.actors["zones"].Wake()
	}
	if _, leads := a.node.Lead(); leads {
		l.actors["publisher"].Wake()
	}
	for _, name := range sortedKeys(l.workers) {
		l.workers[name].Wake()
	}
}

// dies says that the agent crashes at a boundary, if it shall.
func (a *Agent) dies(boundary string) {
	if a.w.crash != nil && a.w.crash(a.site.name, boundary) {
		a.w.tell("%s stands at %q", a.site.name, boundary)
		a.w.cover.crash(boundary)
		panic(crashed{})
	}
}

// crashLog is the log of an agent that may die when a proposal was made.
type crashLog struct {
	*Node
	a *Agent
}

// Propose implements failover.Log.
func (c crashLog) Propose(ctx context.Context, cmd failover.Command) (failover.Stamp, error) {
	st, err := c.Node.Propose(ctx, cmd)
	if at := c.a.life.at; at != "" {
		c.a.life.at = ""
		c.a.dies("after " + at)
	}
	return st, err
}

func (l *life) openHands() error {
	a := l.a
	if a.site.raoull == nil {
		return nil
	}
	transport := &transport{w: a.w, s: a.site, r: a.w.rand(fmt.Sprintf("transport %s %d", a.site.name, a.boot))}
	failed := func(kind proxmox.ErrorKind) { a.w.cover.count(coverError, "%s", kind) }
	pve, err := proxmox.NewPVE(proxmox.Config{
		URL: "https://" + hostAddr(a.site.index, 1) + ":8006", Failed: failed, Node: a.site.raoull.Node(), TokenID: pveToken, Secret: proxmox.NewSecret(secret),
		Transport: transport,
	})
	if err != nil {
		return err
	}
	pbs, err := proxmox.NewPBS(proxmox.Config{
		URL: "https://" + hostAddr(a.site.index, 1) + ":8007", Failed: failed, TokenID: pbsToken, Secret: proxmox.NewSecret(secret), Transport: transport,
	}, datastore)
	if err != nil {
		return err
	}
	home, err := proxmox.NewPVE(proxmox.Config{
		URL: "https://" + hostAddr(a.site.index, 0) + ":8006", Failed: failed, Node: a.site.structure.Node(), TokenID: pveToken, Secret: proxmox.NewSecret(secret),
		Transport: transport,
	})
	if err != nil {
		return err
	}
	log, claims := crashLog{a.node, a}, 0
	l.executor = &agent.Executor{
		NewID: func() string {
			claims++
			return fmt.Sprintf("claim %s %d/%d", a.site.name, a.boot, claims)
		},
		Hands: map[failover.HostID]agent.Hand{structureHost(a.site.name): {PVE: home, Backup: ownBackups}},
		Site:  a.site.name, Log: log, PVE: pve, PBS: pbs, Helper: newRootHelper(a), Checker: checkGuest{a}, Fences: a.fences(), Programs: a.programs(), Answers: a.hostAnswers, Clock: l.clock, Logger: l.logger,
		Hook: func(boundary string) {
			a.dies("before " + boundary)
			l.at = boundary
		},
	}
	readiness := &agent.Readiness{
		Hands: []failover.HostID{structureHost(a.site.name)},
		Site:  a.site.name, Log: log, PVE: pve, PBS: pbs, PBSNode: a.site.pbs.Node(), Every: a.w.opts.ReadyEvery, Logger: l.logger,
	}
	copies := &agent.Copies{
		Site: a.site.name, Log: log, Every: a.w.opts.ReadyEvery, Clock: l.clock, Logger: l.logger,
		Hosts: map[failover.HostID]*proxmox.PVE{structureHost(a.site.name): home, raoullHost(a.site.name): pve},
	}
	l.act("copies", func(now time.Time) time.Time { return copies.Step(background(), now) })
	away := &agent.Away{Site: a.site.name, Log: log, PVE: pve, Clock: l.clock, Logger: l.logger, Hook: l.executor.Hook}
	l.act("away", func(now time.Time) time.Time {
		l.at = ""
		return away.Step(background(), now)
	})
	l.act("readiness", func(now time.Time) time.Time { return readiness.Step(background(), now) })
	l.act("crew", l.crew)
	l.openStopper(log, home, pve)
	return nil
}

// crew keeps one actor per guest with a step to do here, as cmd/wwwd keeps one
// goroutine.
func (l *life) crew(now time.Time) time.Time {
	wanted := map[string]bool{}
	for _, worker := range l.executor.Workers(now) {
		name := worker.Name()
		wanted[name] = true
		if l.workers[name] == nil {
			l.workers[name] = l.actor("worker "+name, func(now time.Time) time.Time {
				l.at = ""
				return worker.Step(background(), now)
			})
		}
	}
	for _, name := range sortedKeys(l.workers) {
		if !wanted[name] {
			l.workers[name].Stop()
			delete(l.workers, name)
		}
	}
	return now.Add(time.Second)
}

func (l *life) openDNS() error {
	a := l.a
	var err error
	l.dns, err = dnsctl.NewServer(dnsctl.Config{Logger: l.logger, Now: func() time.Duration { return a.w.loop.Now().Sub(Epoch) }})
	if err != nil {
		return err
	}
	l.pub = &dnsctl.Publisher{Site: a.site.name, Log: crashLog{a.node, a}, Server: l.dns, Exchange: exchanger{a}, Sign: a.signs, Logger: l.logger}
	l.act("zones", func(now time.Time) time.Time {
		l.pub.Publish(a.node.State())
		a.w.check.answers(a)
		return now.Add(5 * time.Second)
	})
	l.act("publisher", func(now time.Time) time.Time { return l.pub.Step(background(), now) })
	return nil
}
