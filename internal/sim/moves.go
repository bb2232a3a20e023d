package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// What the simulator has of planned moves (wwwctl switchover): an operator who asks for
// them, and what must be so of the copy at home.

// movers are operators who move what lives.
func (i *incident) movers() {
	w := i.w
	i.r = w.rand(fmt.Sprintf("movers %d", len(w.plan))) // of their own: other draws stay as they are
	i.some(0.35, 2, func() {
		id, target, pick := i.brique(), i.brique(), i.r.IntN(100)
		waits := time.Duration(0)
		if chance(i.r, 0.25) {
			waits = between(i.r, 5*time.Second, 40*time.Second)
		}
		w.fault(i.when(), fmt.Sprintf("an operator moves what is at %s to %s in %s", id, target, waits), func() {
			if waits == 0 {
				w.move(id, target, pick)
				return
			}
			w.moveAt(id, target, pick, w.loop.Now().Add(waits))
			w.loop.In(waits+time.Minute, "operator: too late for the move", w.unschedule)
		})
	})
}

// move begins a switchover of a site, of one of its structures or of one guest.
func (w *World) move(id, target failover.SiteID, pick int) { w.moveAt(id, target, pick, time.Time{}) }

// moveAt asks for one at a time; zero: now.
func (w *World) moveAt(id, target failover.SiteID, pick int, when time.Time) {
	s := w.log.Last()
	loss := failover.Loss{Site: id, ByHand: true, Planned: true}
	if target != id {
		loss.Target = target
	}
	if all := s.Network.GuestIDs(); pick%3 > 0 {
		g := all[pick%len(all)]
		loss.Site, loss.Guests = s.Network.Home(g), []failover.GuestID{g}
		if loss.Target == loss.Site {
			loss.Target = ""
		}
	}
	plan := failover.PlanFor(s, loss, w.loop.Now())
	w.tell("operator: switchover of %v at %s, %d guests", loss.Guests, loss.Site, len(plan.Assignments))
	if len(plan.Assignments) > 0 {
		w.propose(failover.BeginOp{Kind: failover.KindSwitchover, Plan: plan, Forced: true, At: when})
	}
}

// unschedule has an operator give up the moves that still wait though their time is over.
func (w *World) unschedule() {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		if op := s.Ops[id]; op.Phase == failover.OpScheduled && w.loop.Now().After(op.At) {
			w.propose(failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409"}})
		}
	}
}

// leaving is the newest run of a switchover, or of an undo, that has touched a guest at home.
func (w *World) leaving(g failover.GuestID) (failover.GuestRun, bool) {
	s := w.log.Last()
	var newest failover.Operation
	for _, op := range s.Ops {
		run := op.Guests[g]
		moves := op.Kind == failover.KindSwitchover || run.Assignment.Keep == failover.KeepBack
		if moves && run.Source.Found.Index != 0 && op.Begun.Index > newest.Begun.Index {
			newest = op
		}
	}
	return newest.Guests[g], newest.ID != ""
}

// standingDown finds the newest operation that shuts a guest's superseded copy down
// at its site's return.
func (w *World) standingDown(g failover.GuestID) (failover.Operation, bool) {
	var newest failover.Operation
	for _, op := range w.log.Last().Ops {
		if _, has := op.Guests[g]; has && op.Kind == failover.KindReturn && op.Begun.Index > newest.Begun.Index {
			newest = op
		}
	}
	return newest, newest.ID != "" && newest.Guests[g].Source.Epoch == w.log.Last().Guests[g].Epoch
}

// stoodDown: S9, what was on when its guest became another site's has users and is left
// alone, and so is a copy whose structure does not want it stopped; S3, another one serves.
func (c *checker) stoodDown(s *Site, op failover.Operation, g failover.GuestID, off bool) {
	p := c.w.log.Last().Guests[g]
	// It stays off, wherever its guest moves later; or does not start with its host any more.
	id := c.w.log.Last().Network.Guests[g].ID
	c.stood[at(s.name, id)] = false
	c.unsettled[onStructure(s.name, id)] = c.w.loop.Now() // and whoever starts it starts it for as long as its host runs
	switch {
	case s.onReturn != "stop":
		c.fail("S9", "the copy of %s at %s is touched at its return, and its structure keeps its hand", g, s.name)
	case c.ranOn[g] && off:
		c.fail("S9", "the copy of %s at %s ran through the isolation and is shut down", g, s.name)
	case p.Owner == s.name && p.Host == structureHost(s.name) || p.Serving != p.Owner:
		c.fail("S3", "the copy of %s at %s is shut down by %s, and %s serves", g, s.name, op.ID, p.Serving)
	}
}

// homeRuns says whether the home copy of a guest runs.
func (c *checker) homeRuns(g failover.GuestID) bool {
	spec := c.w.log.Last().Network
	home := c.w.sites[spec.Home(g)]
	copied, ok := home.structure.Guest(spec.Guests[g].ID)
	return ok && copied.Running && home.own
}

// mayBeOff says whether a planned move may have shut a guest down at home, or its return.
func (w *World) mayBeOff(g failover.GuestID) bool {
	if op, standing := w.standingDown(g); standing && op.Guests[g].Source.Found.Index != 0 {
		return true
	}
	run, ok := w.leaving(g)
	if !ok {
		return false
	}
	step, _, left := run.Current()
	given := w.log.Last().Guests[g].Owner != w.log.Last().Network.Home(g)
	return given || run.State == failover.RunActive || left && step.ID == failover.StepRevive
}

var homePower = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/(\d+)/(status/shutdown|status/start|config)$`)

// atHome checks a request that changed something on the host that a guest leaves: S3, S9.
func (c *checker) atHome(s *Site, req *http.Request, path string, status int) {
	if status != http.StatusOK || strings.HasSuffix(path, "/vzdump") || strings.Contains(path, "/tasks/") && req.Method == http.MethodDelete {
		return
	}
	m := homePower.FindStringSubmatch(path)
	switch {
	case m != nil && m[2] == "status/shutdown" && c.stoppedAlone(s, structureHost(s.name), number(m[1])):
		return
	case m != nil && m[2] == "status/start" && c.startedAgain(s, number(m[1])):
		return
	}
	if c.w.opts.Homeward && (c.atFork(s, req, path) || c.atFailback(s, req, path)) {
		return
	}
	if m == nil {
		c.fail("S9", "%s %s on a structure's host: no step does that", req.Method, path)
		return
	}
	var g failover.GuestID
	for n, member := range s.guests {
		if homeID(s.index, n) == number(m[1]) || c.w.declared(s, n) == number(m[1]) {
			g = guestID(s.place, member)
		}
	}
	run, ok := c.w.leaving(g)
	p := c.w.log.Last().Guests[g]
	if op, standing := c.w.standingDown(g); standing && !strings.HasSuffix(path, "/start") {
		c.stoodDown(s, op, g, strings.HasSuffix(path, "/shutdown"))
		return
	}
	switch {
	case !ok:
		c.fail("S9", "%s %s: no planned move of %q has begun", req.Method, path, g)
	case p.Epoch != run.Source.Epoch:
		c.fail("S3", "%s %s for %s, which is %s's in epoch %s", req.Method, path, g, p.Owner, p.Epoch)
	}
}

// movedWhole: a guest that was moved by plan is owned elsewhere only when its home copy
// is off (S1) and all that it has written is in the new one (S7).
func (c *checker) movedWhole(next *failover.State, t failover.Token) {
	op := next.Ops[t.Op]
	run := op.Guests[t.Guest]
	if op.Kind == failover.KindFailback {
		c.cameHome(next, op, run)
	}
	if op.Kind != failover.KindSwitchover {
		return
	}
	old, ok := c.w.sites[run.Source.Site].structure.Guest(run.Source.VMID)
	if !ok || old.Running {
		c.fail("S1", "%s becomes %s's and runs at %s", t.Guest, run.Assignment.Target, run.Source.Site)
		return
	}
	copied, _ := c.w.sites[run.Assignment.Target].raoull.Guest(run.VMID)
	if last := lastLine(old); last != lastLine(copied) {
		c.fail("S7", "%s is moved without its last line %q, its copy ends with %q", t.Guest, last, lastLine(copied))
	}
}

func lastLine(g lab.GuestView) string {
	lines := g.Data()
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// doubled says whether a person runs another copy of a guest at its target: that has the
// same address, and who answers a check nobody can tell.
func (c *checker) doubled(run failover.GuestRun) bool {
	s := c.w.sites[run.Assignment.Target]
	copied, _ := c.w.copyOf(run)
	for _, g := range s.raoull.Guests() {
		if (g.ID != run.VMID || run.Assignment.Host != raoullHost(s.name)) && g.Running && g.Name == copied.Name && c.foreign[at(s.name, g.ID)] {
			return true
		}
	}
	return false
}
