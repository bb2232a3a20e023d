package sim

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// What a campaign has of failbacks (wwwctl failback): people who bring home what lives
// elsewhere, keeping either copy, take that back, and do so in the middle of trouble; and
// what must be so of the copies that are left.

// homecomers are people who bring guests home while things go wrong: how often they do, and how often
// they take it back.
func (i *incident) homecomers(often, back float64) {
	w := i.w
	if !w.opts.Homeward {
		return
	}
	i.r = w.rand(fmt.Sprintf("homecomers %d", len(w.plan))) // of their own: other draws stay as they are
	i.some(often, 2, func() {
		id, pick, keep := i.home(), i.r.IntN(100), drawKeep(i.r.Float64())
		w.fault(i.when(), fmt.Sprintf("an operator brings home what is away from %s, keeps the copy %s", id, keep), func() { w.comeHome(id, pick, keep) })
	})
	i.some(back, 1, func() {
		pick := i.r.IntN(100)
		w.fault(i.when(), "an operator takes a homecoming back", func() { w.undoHomecoming(pick) })
	})
}

func drawKeep(p float64) failover.Keep {
	if p < 0.6 {
		return failover.KeepAway
	}
	return failover.KeepHome
}

// comeHome begins a failback of all guests of a site that live elsewhere, or of one of them.
func (w *World) comeHome(home failover.SiteID, pick int, keep failover.Keep) {
	s := w.log.Last()
	loss := failover.Loss{Site: home, ByHand: true, Planned: true, Keep: keep}
	for _, g := range s.Network.GuestIDs() {
		if now := s.Guests[g].Now(); s.Network.Home(g) == home && (now.Site != home || now.Host != structureHost(home)) {
			loss.Guests = append(loss.Guests, g)
		}
	}
	if len(loss.Guests) == 0 {
		return
	}
	if pick%3 == 0 {
		loss.Guests = loss.Guests[pick%len(loss.Guests):][:1]
	}
	if replacesAll(pick, keep) {
		loss.Replace = named(s, loss.Guests)
	}
	plan := failover.PlanFor(s, loss, w.loop.Now())
	w.tell("operator: failback of %v, keep %s: %d guests, left out %v", loss.Guests, keep, len(plan.Assignments), plan.LeftOut)
	if len(plan.Assignments) > 0 {
		w.propose(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
	}
}

// homecoming is what people do about guests that live elsewhere when all is well again;
// false: nothing.
func (c *campaign) homecoming() bool {
	w := c.w
	r := w.rand(fmt.Sprintf("homecoming %d", c.n))
	often := c.odds.home
	if w.opts.Window != (network.Window{}) {
		often /= 3 // people leave it to the window
	}
	if !w.opts.Homeward || c.homed == c.n || !chance(r, often) {
		return false
	}
	c.homed = c.n
	begun := len(w.log.Last().Ops)
	keep, pick := drawKeep(r.Float64()), r.IntN(100)
	for _, id := range w.ids {
		w.comeHome(id, pick, keep)
	}
	if chance(r, 0.3) {
		w.undoHomecoming(pick)
	}
	return len(w.log.Last().Ops) > begun
}

// declared is the id that a guest has at its home by the network in force; a failback
// changes it.
func (w *World) declared(s *Site, n int) int {
	if spec := w.log.Last().Network; spec != nil {
		return spec.Guests[guestID(s.place, s.guests[n])].ID
	}
	return homeID(s.index, n)
}

// onStructure is a place on the machine of a site's structure.
func onStructure(site failover.SiteID, id int) failover.Place {
	return failover.Place{Site: site, Host: structureHost(site), VMID: id}
}

// targetOf is the place of the copy that a run gives its guest to.
func targetOf(r failover.GuestRun) failover.Place {
	return failover.Place{Site: r.Assignment.Target, Host: r.Assignment.Host, VMID: r.VMID}
}

func placeOf(s failover.Source) failover.Place {
	return failover.Place{Site: s.Site, Host: s.Host, VMID: s.VMID}
}

// newestAt is the newest operation that does something with a copy at a place, and that
// guest's run.
func (w *World) newestAt(at failover.Place) (op failover.Operation, run failover.GuestRun) {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		for _, g := range sortedKeys(s.Ops[id].Guests) {
			r := s.Ops[id].Guests[g]
			here := targetOf(r) == at || placeOf(r.Source) == at || placeOf(r.Left) == at
			if here && s.Ops[id].Begun.Index > op.Begun.Index {
				op, run = s.Ops[id], r
			}
		}
	}
	return op, run
}

// homeward follows what failbacks do to the copies that they leave.
func (c *checker) homeward(next *failover.State, m failover.StepMoved) {
	op := next.Ops[m.Token.Op]
	run := op.Guests[m.Token.Guest]
	if op.Kind != failover.KindFailback {
		return
	}
	switch {
	case m.Token.Step == failover.StepLeave && run.Left.Found.Index != 0:
		c.left[placeOf(run.Left)] = true
	case m.Token.Step == failover.StepReplace:
		c.waitsForRoom(next, m)
	case m.Token.Step == failover.StepRejoin && m.To == failover.StatusDone:
		delete(c.left, placeOf(run.Left))
	case m.Token.Step == failover.StepStart && m.To == failover.StatusDone:
		delete(c.left, targetOf(run))
		c.unsettled[targetOf(run)] = c.w.loop.Now()
	case m.Token.Step == failover.StepSettle && m.To == failover.StatusDone:
		delete(c.unsettled, targetOf(run))
	}
}

// mayBeLeft says whether a failback may keep a copy off: not when it was given up, and has
// found it running, unless its guest was failed over meanwhile: it may be a copy in the same
// house by now, and the person who began the failback had given up this one.
func (c *checker) mayBeLeft(at failover.Place) bool {
	if !c.left[at] {
		return false
	}
	op, run := c.w.newestAt(at)
	givenUp := op.Kind == failover.KindFailback && op.Phase.Ended() && run.State == failover.RunCancelled && placeOf(run.Left) == at
	return !givenUp || !run.Left.Ran || c.w.log.Last().Guests[run.Assignment.Guest].Epoch != run.Source.Epoch
}

// mayBeUnsettled says whether a copy that came home may be off because its host has started before it was to start
// with it.
func (c *checker) mayBeUnsettled(s *Site, at failover.Place) bool {
	since, unsettled := c.unsettled[at]
	return unsettled && s.ownBack.After(since)
}

// cameHome: a failback gives a guest to its home only when the other copy is off (S1), and is
// sealed at two sites or was moved whole (S7).
func (c *checker) cameHome(next *failover.State, op failover.Operation, run failover.GuestRun) {
	g := run.Assignment.Guest
	c.left[targetOf(run)] = true // until it is started
	was, known := c.branches[g]
	delete(c.branches, g)
	old, there := c.w.guestAt(placeOf(run.Source))
	if c.foreign[at(run.Source.Site, run.Source.VMID)] || c.handled[at(run.Source.Site, run.Source.VMID)] {
		return // a person has it in hand
	}
	if !there && !run.Source.Unstarted || old.Running {
		c.fail("S1", "%s comes home by %s; its copy at %s: there %t, running %t", g, op.ID, run.Source.Site, there, old.Running)
		return
	}
	losers := []failover.Source{run.Left}
	if run.Source.Unstarted {
		c.neverWritten(g, placeOf(run.Source))
		return
	}
	if run.Assignment.Keep.Stays() {
		losers = []failover.Source{run.Source}
		if run.Assignment.Keep == failover.KeepHome {
			c.branches[g] = leftAway{at: placeOf(run.Source), line: lastLine(old)}
		} else if known {
			c.wentOn(g, run, was)
		}
	} else if copied, _ := c.w.copyOf(run); lastLine(copied) != lastLine(old) {
		c.fail("S7", "%s comes home without its last line %q, its copy ends with %q", g, lastLine(old), lastLine(copied))
	}
	for _, l := range losers {
		if seal := next.SealOf(g, placeOf(l)); l.Site != "" && (seal == nil || len(seal.Sites()) < 2) {
			c.fail("S7", "%s comes home by %s and the copy at %s that does not go on is sealed as %+v", g, op.ID, l.Site, seal)
		}
	}
}

// neverWritten: S7, nobody was told that he has written to a copy which counts as never run.
func (c *checker) neverWritten(g failover.GuestID, where failover.Place) {
	for _, wr := range c.ledger.written[g] {
		if wr.place() == where {
			c.fail("S7", "%s, which counts as never run, has taken %s of %s", at(where.Site, where.VMID), wr.note, g)
		}
	}
}

// restoresHome says whether a failback restores a guest at its home, by a state.
func restoresHome(state *failover.State, home failover.SiteID) bool {
	for _, op := range state.Ops {
		for _, run := range op.Guests {
			step, _, left := run.Current()
			if op.Kind == failover.KindFailback && run.Assignment.Target == home && left && step.ID == failover.StepRestore {
				return true
			}
		}
	}
	return false
}

// atFailback checks a request at a structure's host that a failback makes; false: it makes none.
func (c *checker) atFailback(s *Site, req *http.Request, path string) bool {
	if restorePath.MatchString(path) {
		// An agent that is cut off goes on with what it knows: what it restores is never started.
		return restoresHome(c.w.log.Last(), s.name) || restoresHome(s.agent.node.State(), s.name)
	}
	m := guestPath.FindStringSubmatch(path)
	if m == nil {
		return false
	}
	id := number(m[1])
	op, run := c.w.newestAt(onStructure(s.name, id))
	of := op.Kind
	if of == failover.KindTidy { // what it restored, and has given up, is removed by an operation of its own
		of = c.w.log.Last().Ops[op.Of].Kind
	}
	if of != failover.KindFailback {
		return false
	}
	p := c.w.log.Last().Guests[run.Assignment.Guest]
	step, _, _ := run.Current()
	switch {
	case m[2] == "/agent/ping", m[2] == "/config", m[2] == "/status/shutdown", strings.HasSuffix(m[2], "/vzdump"):
	case req.Method == http.MethodDelete && m[2] == "":
		if !homeIDs.Contains(id) {
			c.fail("S7", "deletion of %s on its structure's host", at(s.name, id))
		}
		c.deleted(s, id)
	case m[2] == "/status/start" && (step.ID == failover.StepRejoin || step.ID == failover.StepRevive) && p.Epoch == run.Source.Epoch:
	case m[2] == "/status/start" && run.Owned() && p.Owner == s.name && p.Epoch == run.Epoch && run.VMID == id:
		c.starts[at(s.name, id)]++
	default:
		c.fail("S9", "%s %s on a structure's host by %s, at %s", req.Method, path, op.ID, step.ID)
	}
	return true
}
