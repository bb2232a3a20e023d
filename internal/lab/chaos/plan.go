package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/sim"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// Event is one thing that goes wrong. What it does is named as in the simulator.
type Event struct {
	At    time.Duration `json:"at"`            // since chaos began
	For   time.Duration `json:"for,omitempty"` // until it ends; 0: with the chaos
	Do    string        `json:"do"`
	Site  string        `json:"site,omitempty"`
	To    string        `json:"to,omitempty"`
	Cut   *netns.Cut    `json:"cut,omitempty"`
	Fault *lab.Fault    `json:"fault,omitempty"`
	Draw  uint64        `json:"draw,omitempty"` // chooses among what is there then
}

// What an event does.
const (
	DoKill    = "kill"    // a site loses power
	DoCut     = "cut"     // a line does not carry something
	DoAgent   = "agent"   // an agent is killed; the service manager starts it again
	DoLeader  = "leader"  // that of the leader
	DoFreeze  = "freeze"  // an agent stands still (SIGSTOP)
	DoDisk    = "disk"    // the disk of an agent's state is full
	DoSlow    = "slow"    // a site's line is slow and reorders
	DoMachine = "machine" // a lab's fault hits a PVE or PBS
	DoHost    = "host"    // a structure's machine dies while its site lives
	DoGuest   = "guest"   // a person acts on a guest behind everybody's back: To is what
	DoRaoull  = "raoull"  // Raoull's machine of a site dies, and the agent that runs on it
	DoPlug    = "plug"    // the fence of a structure's machine does not answer
	DoPerson  = "person"  // a person types a command: To is which
)

// Commands of people.
const (
	PersonPause      = "pause"
	PersonApprove    = "approve"
	PersonFailover   = "failover"
	PersonTwice      = "failover twice"
	PersonGuest      = "failover of a guest"
	PersonSwitchover = "switchover"
	PersonRescue     = "rescue"
	PersonCancel     = "cancel"
	PersonRetry      = "retry"
	PersonAck        = "ack"
	PersonFailback   = "failback"
	PersonUndo       = "undo"
	PersonHostOff    = "pull the plug"
)

// draw is the source of a plan.
type draw struct {
	*rand.Rand
	lab    *site.Lab
	length time.Duration
	plan   []Event
}

func (d *draw) chance(p float64) bool { return d.Float64() < p }

func (d *draw) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return (low + time.Duration(d.Int64N(int64(high-low)))).Truncate(time.Millisecond)
}

func (d *draw) site() string { return d.lab.Sites[d.IntN(len(d.lab.Sites))].Name }

func (d *draw) brique() string {
	for {
		if s := d.lab.Sites[d.IntN(len(d.lab.Sites))]; s.Kind == network.Brique {
			return s.Name
		}
	}
}

func (d *draw) add(e Event) { d.plan = append(d.plan, e) }

// Plan returns what goes wrong in a round: incidents one after another, and everything
// else at the same time, most of it while there is an incident to be made worse. It
// depends on seed, lab and length alone.
func Plan(seed uint64, l *site.Lab, length time.Duration) []Event {
	d := &draw{Rand: sim.NewStreams(seed).Stream("chaos plan"), lab: l, length: length}
	for begin := d.between(time.Second, 5*time.Second); begin < length; {
		lasts := d.between(45*time.Second, 75*time.Second)
		d.incident(begin, min(lasts, length-begin))
		begin += lasts
	}
	d.plan = slices.DeleteFunc(d.plan, func(e Event) bool { return e.At >= length })
	sortEvents(d.plan)
	return d.plan
}

func sortEvents(plan []Event) {
	slices.SortStableFunc(plan, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}

// incident is a main fault, and others that come on top of it.
func (d *draw) incident(begin, lasts time.Duration) {
	d.mainFault(begin, lasts)
	// Verdict after some 8 s, commit after 10 s, restores until some 25 s after.
	during := func() time.Duration { return begin + d.between(0, min(lasts, 35*time.Second)) }
	for range d.IntN(5) {
		d.machine(begin + d.between(0, min(lasts, 25*time.Second)))
	}
	if d.chance(0.4) {
		d.crashInRestore(begin)
	}
	for range d.IntN(3) {
		d.add(Event{At: during(), For: d.between(time.Second, 12*time.Second), Do: DoAgent, Site: d.site()})
	}
	if d.chance(0.4) {
		d.add(Event{At: during(), For: d.between(time.Second, 8*time.Second), Do: DoLeader})
	}
	if d.chance(0.35) {
		d.add(Event{At: during(), For: d.between(time.Second, 20*time.Second), Do: DoFreeze, Site: d.site()})
	}
	if d.chance(0.25) {
		d.add(Event{At: during(), For: d.between(5*time.Second, 25*time.Second), Do: DoDisk, Site: d.site()})
	}
	if d.chance(0.2) {
		d.add(Event{At: during(), For: d.between(5*time.Second, 30*time.Second), Do: DoSlow, Site: d.site(), Draw: d.Uint64N(400)})
	}
	d.cuts(during)
	d.people(during)
	d.hands(during)
	d.returns(during)
	d.noProof(begin)
	d.lodgings(begin, lasts)
}

// mainFault is what the incident is about; the odds are those of the simulator.
func (d *draw) mainFault(begin, lasts time.Duration) {
	id := d.brique()
	line := func(c netns.Cut, lasts time.Duration) {
		d.add(Event{At: begin, For: lasts, Do: DoCut, Site: c.At, Cut: &c})
	}
	switch x := d.IntN(14); {
	case x < 3: // lost until the incident is over
		d.add(Event{At: begin, For: lasts, Do: DoKill, Site: id})
	case x < 4: // back, and lost again while the copies are kept
		first := d.between(9*time.Second, 20*time.Second)
		d.add(Event{At: begin, For: first, Do: DoKill, Site: id})
		again := begin + first + d.between(3*time.Second, 12*time.Second)
		d.add(Event{At: again, For: max(time.Second, begin+lasts-again), Do: DoKill, Site: id})
	case x < 6: // lost for a while: back before or after anything
		d.add(Event{At: begin, For: d.between(2*time.Second, 45*time.Second), Do: DoKill, Site: id})
	case x < 8: // alone, its guests alive
		line(netns.Cut{At: id}, d.between(2*time.Second, 50*time.Second))
	case x < 9: // the mesh dies, the public side lives
		line(netns.Cut{At: id, Path: failover.PathMesh}, lasts)
	case x < 11: // its structure's machine dies, the rest of the site lives
		d.add(Event{At: begin, For: d.between(5*time.Second, lasts), Do: DoHost, Site: id})
		if d.chance(0.4) {
			d.add(Event{At: begin + d.between(3*time.Second, 20*time.Second), Do: DoPerson, Site: id, To: PersonRescue, Draw: d.Uint64()})
		}
	case x < 13: // it is to be moved by plan, and then something happens to it, or to its target
		d.add(Event{At: begin, Do: DoPerson, Site: id, To: PersonSwitchover, Draw: d.Uint64()})
		if d.chance(0.6) {
			d.add(Event{At: begin + d.between(2*time.Second, 25*time.Second), For: d.between(5*time.Second, 40*time.Second), Do: []string{DoKill, DoHost, DoAgent}[d.IntN(3)], Site: []string{id, d.brique()}[d.IntN(2)]})
		}
		if d.chance(0.3) {
			d.add(Event{At: begin + d.between(2*time.Second, 25*time.Second), Do: DoPerson, Site: id, To: PersonCancel, Draw: d.Uint64()})
		}
	default: // heard by nobody
		line(netns.Cut{At: id, Only: netns.OnlyOut}, lasts)
		if d.chance(0.5) {
			d.add(Event{At: begin + d.between(0, 30*time.Second), For: d.between(5*time.Second, 40*time.Second), Do: DoKill, Site: d.brique()})
		}
	}
}

// noProof: a structure's machine dies and its fence does not answer, so that a person who is
// called has to go there.
func (d *draw) noProof(begin time.Duration) {
	if !d.chance(0.15) {
		return
	}
	id := d.brique()
	begin += d.between(0, 5*time.Second)
	for _, do := range []string{DoPlug, DoHost} {
		d.add(Event{At: begin, Do: do, Site: id}) // with the chaos: restore and fence take a minute
	}
	d.add(Event{At: begin + d.between(5*time.Second, 30*time.Second), Do: DoPerson, Site: id, To: PersonHostOff, Draw: d.Uint64()})
}

// lodgings: Raoull's machine dies alone, at the site where guests live on it, or at another.
func (d *draw) lodgings(begin, lasts time.Duration) {
	if !d.chance(0.2) {
		return
	}
	id := d.brique()
	for _, g := range d.lab.Guests {
		if g.Raoull && d.chance(0.7) {
			id = d.lab.Home(g)
		}
	}
	d.add(Event{At: begin + d.between(0, 10*time.Second), For: d.between(8*time.Second, lasts), Do: DoRaoull, Site: id})
}

// cuts cuts single ways, in one or both directions, and makes some lossy.
func (d *draw) cuts(during func() time.Duration) {
	paths := []failover.Path{failover.PathMesh, failover.PathPublic, ""}
	cut := func(c netns.Cut) {
		d.add(Event{At: during(), For: d.between(2*time.Second, 30*time.Second), Do: DoCut, Site: c.At, Cut: &c})
	}
	for range d.IntN(3) {
		c := netns.Cut{At: d.site(), To: d.site(), Path: paths[d.IntN(3)], Only: []string{"", netns.OnlyOut, netns.OnlyIn}[d.IntN(3)]}
		if c.At != c.To {
			cut(c)
		}
	}
	if d.chance(0.3) {
		cut(netns.Cut{At: d.site(), Path: paths[d.IntN(2)]})
	}
	if d.chance(0.3) {
		cut(netns.Cut{At: d.site(), DNS: true})
	}
	for range d.IntN(2) {
		cut(netns.Cut{At: d.site(), Path: paths[d.IntN(3)], Loss: 5 + d.IntN(45)})
	}
}

// troubles are those of the simulator, and what needs a machine that takes its time.
var troubles = append(slices.Clone(lab.Troubles),
	lab.Fault{Effect: lab.EffectKillTask}, lab.Fault{Effect: lab.EffectStallHost}, lab.Fault{Effect: lab.EffectProxyCut})

// machine hits the host that others' guests are restored on; clearing its faults ends
// what they have done, too.
func (d *draw) machine(when time.Duration) {
	s := d.brique()
	f := troubles[d.IntN(len(troubles))]
	f.Match, f.Times = lab.Requests[d.IntN(len(lab.Requests))], 1+d.IntN(3)
	f.Match.Skip = d.IntN(3)
	f.Where = []string{"pve:", "pbs:"}[d.IntN(2)] + "raoull-" + s
	d.add(Event{At: when, For: d.between(5*time.Second, 40*time.Second), Do: DoMachine, Site: s, Fault: &f})
}

// crashInRestore takes the power from a target when it is asked how a restore goes.
func (d *draw) crashInRestore(begin time.Duration) {
	s := d.brique()
	f := lab.Fault{
		Where: "pve:raoull-" + s, Match: lab.Match{Method: "GET", Path: "*/log", Skip: d.IntN(3)}, Effect: lab.EffectCrashHost, Times: 1,
	}
	d.add(Event{At: begin, For: d.between(25*time.Second, 45*time.Second), Do: DoMachine, Site: s, Fault: &f})
}

// people type commands in the middle of it all.
func (d *draw) people(during func() time.Duration) {
	types := func(p float64, what string, lasts time.Duration) {
		if d.chance(p) {
			d.add(Event{At: during(), For: lasts, Do: DoPerson, Site: d.brique(), To: what, Draw: d.Uint64()})
		}
	}
	types(0.2, PersonPause, d.between(5*time.Second, 30*time.Second))
	types(0.5, PersonApprove, 0)
	types(0.15, PersonFailover, 0)
	types(0.15, PersonTwice, 0)
	types(0.2, PersonGuest, 0)
	types(0.3, PersonSwitchover, 0)
	types(0.1, PersonRescue, 0)
	types(0.2, PersonCancel, 0)
	types(0.3, PersonRetry, 0)
	types(0.2, PersonAck, 0)
}

// hands act on guests behind everybody's back.
func (d *draw) hands(during func() time.Duration) {
	acts := func(p float64, what string) {
		if d.chance(p) {
			d.add(Event{At: during(), Do: DoGuest, Site: d.brique(), To: what, Draw: d.Uint64()})
		}
	}
	acts(0.15, "stop")
	acts(0.15, "start")
	acts(0.1, "delete")
	acts(0.2, "create")
}
