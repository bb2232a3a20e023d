package sim

import (
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// What the simulator has of structures that want their guests stopped when the site that
// runs them is cut off (on_isolation: stop), and of those that let them come home by
// themselves (return: window).

// stopsAlone is the structure that wants it, when Options.Alone says so: after so long.
const stopsAlone = failover.StructureID("atelier")

// aloneAfter is shorter than network.yaml may say: incidents are.
const aloneAfter = 20 * time.Second

// declareAlone declares it.
func declareAlone(s *network.Spec) {
	st := s.Structures[stopsAlone]
	st.OnIsolation, st.IsolationAfter = "stop", network.Duration(aloneAfter)
	s.Structures[stopsAlone] = st
}

// comeByThemselves are the structures whose guests may, when Options.Window says when.
var comeByThemselves = []failover.StructureID{"le-moulin", "les-docks"}

func declareWindow(s *network.Spec, w network.Window) {
	for _, id := range comeByThemselves {
		st := s.Structures[id]
		st.Return = &network.Return{Window: w, After: network.Duration(2 * time.Minute)}
		s.Structures[id] = st
	}
}

// keptOff is a person of a structure whose guests may come home by themselves: what lives
// elsewhere by now does not start with the machine.
func (w *World) keptOff(s *Site) {
	if w.opts.Window == (network.Window{}) || !slices.Contains(comeByThemselves, s.place.structure) {
		return
	}
	for n, m := range s.guests {
		g := guestID(s.place, m)
		if p := w.log.Last().Guests[g]; p.Host == "" || p.Host == structureHost(s.name) {
			continue
		}
		if _, there := s.structure.Guest(w.declared(s, n)); !there {
			continue // given up for room
		}
		w.check.parked[g] = true
		if err := s.structure.SetOption(w.declared(s, n), "onboot", "0"); err != nil {
			w.check.violated(err)
		}
	}
}

// openStopper has an agent stop guests while it is cut off.
func (l *life) openStopper(log failover.Log, home, pve *proxmox.PVE) {
	a := l.a
	if !a.w.opts.Alone {
		return
	}
	stopper := &agent.StopAlone{
		Site: a.site.name, Log: log, Clock: l.clock, Logger: l.logger,
		Hosts: map[failover.HostID]*proxmox.PVE{structureHost(a.site.name): home, raoullHost(a.site.name): pve},
		Alone: func() bool { return !a.w.log.Quorum(a.site.name) },
	}
	l.stopper = stopper
	l.act("alone", func(now time.Time) time.Time { return stopper.Step(background(), now) })
}

// contactSeen is how long a contact lasts that an agent sees in any case: it looks every five seconds.
const contactSeen = 6 * time.Second

// lonely follows since when the sites are cut off from whoever leads.
func (c *checker) lonely() {
	if !c.w.opts.Alone {
		return
	}
	now := c.w.loop.Now()
	for _, id := range c.w.ids {
		switch since, alone := c.alone[id]; {
		case c.w.log.Quorum(id):
			if !alone {
				break
			}
			if c.contact[id].IsZero() {
				c.contact[id] = now
			}
			// An agent does not see a contact that is shorter than its look, unless it was told something.
			if now.Sub(c.contact[id]) >= contactSeen || c.w.log.Node(id).State().Index != c.aloneAt[id] {
				c.together[id] = now
				delete(c.alone, id)
				delete(c.contact, id)
			}
		case !alone && since.IsZero():
			c.alone[id], c.aloneAt[id] = now, c.w.log.Node(id).State().Index
		default:
			delete(c.contact, id)
		}
	}
}

// stoppedAlone checks a clean shutdown that an agent asks for while its site is cut off; false:
// it is not for that. S9: only where the structure wants it, and only after its delay; S10:
// and nobody has paused.
func (c *checker) stoppedAlone(s *Site, host failover.HostID, id int) bool {
	since, alone := c.alone[s.name]
	if !c.w.opts.Alone || !alone {
		return false
	}
	known := s.agent.node.State() // what the agent knows: it is cut off
	for _, g := range known.Network.GuestIDs() {
		now := known.Guests[g].Now()
		if now.Site != s.name || now.Host != host || now.VMID != id {
			continue
		}
		if run, busy := known.Ops[known.Guests[g].Op]; busy && !run.Phase.Ended() {
			return false
		}
		structure := known.Network.Guests[g].Structure
		if alone := c.w.loop.Now().Sub(since); structure != stopsAlone || alone < aloneAfter-2*time.Second {
			c.fail("S9", "%s of %s is shut down at %s, which is cut off for %s", g, structure, s.name, alone)
		}
		for _, of := range []string{"", string(s.name)} {
			if p, paused := known.Pauses[of]; paused && p.Until.IsZero() {
				c.fail("S10", "%s is shut down at %s, and %q is paused", g, s.name, of)
			}
		}
		c.lonelyOff[now.Host] = append(c.lonelyOff[now.Host], id)
		return true
	}
	return false
}

// startedAgain checks a start at a structure's host by an operation that starts what its agent
// has shut down for an isolation; false: no such operation is at work there.
func (c *checker) startedAgain(s *Site, id int) bool {
	state := c.w.log.Last()
	where := onStructure(s.name, id)
	for _, op := range state.Ops {
		for g, run := range op.Guests {
			if op.Kind != failover.KindWake || op.Phase.Ended() || placeOf(run.Source).VMID != id || run.Source.Host != where.Host {
				continue
			}
			if now := state.Guests[g].Now(); now.Host != where.Host || now.VMID != id {
				c.fail("S3", "%s is started for %s, which is %s's", at(s.name, id), g, now.Site)
			}
			return true
		}
	}
	return false
}

// startsAgainWithin is how long after it is in contact again a site's guests that were shut down for
// its isolation may stay off: a turn of the agent, an operation, and a fault or two.
const startsAgainWithin = 3 * time.Minute

// mayBeAlone says whether a home copy may be off because its site was cut off: it is, or was until a
// little while ago, or its guest is another's by now, or a person is asked to start it. Nor is it started
// while an operation holds its guest: an agent begins to see to it when that has ended.
func (c *checker) mayBeAlone(s *Site, g failover.GuestID, id int) bool {
	stopped := false
	for _, other := range c.lonelyOff[structureHost(s.name)] {
		stopped = stopped || other == id
	}
	if !stopped {
		return false
	}
	state := c.w.log.Last()
	now := state.Guests[g].Now()
	if now.Host != structureHost(s.name) || now.VMID != id {
		return true
	}
	for _, op := range state.Ops {
		if run, has := op.Guests[g]; has && (!op.Phase.Ended() || run.State == failover.RunStuck) {
			c.heldAlone[g] = c.w.loop.Now()
			return true
		}
	}
	if _, alone := c.alone[s.name]; alone || !s.power || !s.host || !s.uplink {
		return true
	}
	free := c.together[s.name]
	if held := c.heldAlone[g]; held.After(free) {
		free = held
	}
	return c.w.loop.Now().Sub(free) < startsAgainWithin
}

// byItself: S7, what comes home without a person leaves no copy there that anybody has written
// to since, as far as its machine can tell: not after that has lost its power in the meantime (the
// copy is sealed like any other); S10, its structure lets it, at this time of the day.
func (c *checker) byItself(prev *failover.State, cmd failover.BeginOp) {
	if cmd.Kind != failover.KindFailback || cmd.Forced {
		if cmd.Window {
			c.fail("S4", "a %s is begun by a window for failbacks", cmd.Kind)
		}
		return
	}
	c.w.cover.count(coverOp, "failback without a person")
	for _, a := range cmd.Plan.Assignments {
		p, home := prev.Guests[a.Guest], prev.HomePlace(a.Guest)
		rule := prev.Network.Structures[a.Structure].Return
		if at := c.w.log.Last().Clock; rule == nil || !rule.Window.Open(at) { // the log's time, which is a wrong one under a leader with a wrong clock
			c.fail("S10", "%s comes home by itself at %s", a.Guest, at)
		}
		if c.forks[home] || c.replaced[home] {
			continue // a person has made that copy a guest of its own, or has given it up when it was sealed
		}
		seen := c.w.loop.Now().Add(-c.w.opts.ReadyEvery - 10*time.Second) // its agent has looked since; what it finds running then is left as it is
		for _, wr := range c.ledger.written[a.Guest] {
			if wr.at.Before(seen) && wr.site == home.Site && wr.host == home.Host && wr.vmid == home.VMID && wr.at.After(p.Owned) && !c.w.sites[home.Site].ownBack.After(wr.at) {
				c.fail("S7", "%s comes home by itself, and %s was written to its copy there at %s", a.Guest, wr.note, wr.at.Sub(Epoch))
			}
		}
	}
}
