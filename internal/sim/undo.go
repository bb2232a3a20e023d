package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// What people do who have kept the wrong copy (wwwctl failback undo), and what must be so of it.

// undoHomecoming moves one guest that came home back to where it was.
func (w *World) undoHomecoming(pick int) {
	s := w.log.Last()
	all := s.Network.GuestIDs()
	for n := range all {
		g := all[(n+pick)%len(all)]
		undo, err := s.UndoOf(g, w.loop.Now())
		if err != nil {
			continue
		}
		w.check.undoes(g, undo)
		loss := failover.Loss{Site: s.Guests[g].Owner, Guests: []failover.GuestID{g}, ByHand: true, Planned: true, Keep: undo.Keep}
		kind := failover.KindFailback
		if undo.Keep == "" {
			kind, loss.Target = failover.KindSwitchover, undo.Site
		}
		plan := failover.PlanFor(s, loss, w.loop.Now())
		w.tell("operator: %s goes back to %s (%s): %d guests, left out %v", g, undo.Site, undo.Keep, len(plan.Assignments), plan.LeftOut)
		if len(plan.Assignments) > 0 {
			w.propose(failover.BeginOp{Kind: kind, Plan: plan, Forced: true})
		}
		return
	}
}

// leftAway is the copy of a guest that a failback has left elsewhere when it kept that at home.
type leftAway struct {
	at   failover.Place
	line string // the last that it held
}

// undoes: S7, an undo leads to the branch that was left, as long as that stands; nothing else has what was written there.
func (c *checker) undoes(g failover.GuestID, undo failover.Undo) {
	was, left := c.branches[g]
	if !left {
		return
	}
	if _, stands := c.w.guestAt(was.at); stands && undo.Keep != failover.KeepBack && !c.forks[was.at] {
		c.fail("S7", "%s has left a copy with data of its own at %+v, and its undo has another one serve: %+v", g, was.at, undo)
	}
}

// wentOn: S7, an undo has the very copy serve again that was left, with all that it held then.
func (c *checker) wentOn(g failover.GuestID, run failover.GuestRun, was leftAway) {
	again, _ := c.w.copyOf(run)
	switch to := targetOf(run); {
	case c.handled[at(to.Site, to.VMID)]: // a person has it in hand
	case was.at != to:
		c.fail("S7", "%s serves from %+v again, and %+v is what it had left", g, to, was.at)
	case was.line != "" && !slices.Contains(again.Data(), was.line):
		c.fail("S7", "%s serves from %+v again, without %q, the last that was written there", g, to, was.line)
	}
}

// WayBack brings the guests of a site home as WayHome does, keeping the copies there, has people use
// them, and takes that back: the copies elsewhere serve again. When a step of the undo is claimed for the first
// guest, the agent that works on it dies for a while ("": none does).
func WayBack(at failover.StepID) Scenario {
	h := &homeward{keep: failover.KeepBack, at: at}
	return Scenario{
		Name:    fmt.Sprintf("way back, crash at %s", at),
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			w.watch = h.watch
			h.planBack(w)
		},
		Until: Warm + undoneAt + 6*time.Minute,
		Check: func(*World) error { return h.checkBack() },
	}
}

// undoneAt is when a person has seen that the wrong copy was kept.
const undoneAt = 9 * time.Minute

func (h *homeward) planBack(w *World) {
	first := &homeward{keep: failover.KeepHome}
	first.plan(w)
	h.w = w
	w.at(undoneAt, func() {
		s := w.log.Last()
		h.left, h.away = map[failover.GuestID]failover.Place{}, map[failover.GuestID]failover.Place{}
		for _, g := range first.moved {
			h.left[g], h.away[g] = s.Guests[g].Now(), first.away[g]
			if undo, err := s.UndoOf(g, w.loop.Now()); err == nil && undo.Keep == failover.KeepBack {
				h.moved = append(h.moved, g)
			}
		}
		plan := failover.PlanFor(s, failover.Loss{Site: lost, Guests: h.moved, Planned: true, ByHand: true, Keep: failover.KeepBack}, w.loop.Now())
		w.tell("operator: undo of %v; left out %v", h.moved, plan.LeftOut)
		if len(plan.Assignments) > 0 {
			w.propose(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
		}
	})
}

// checkBack: every guest serves again from the copy that was left away, that at home is off and sealed at two sites.
// What that copy holds is checked when it becomes the one that counts (wentOn).
func (h *homeward) checkBack() error {
	s := h.w.log.Last()
	if len(h.moved) == 0 || len(h.moved) != len(h.left) {
		return fmt.Errorf("%v can be undone, want all of %v", h.moved, h.left)
	}
	if h.at != "" && !h.struck {
		return fmt.Errorf("step %s was never claimed", h.at)
	}
	for _, g := range h.moved {
		p, seal := s.Guests[g], s.SealOf(g, h.left[g])
		again, ok := h.w.guestAt(h.away[g])
		other, there := h.w.guestAt(h.left[g])
		switch {
		case p.Host != h.away[g].Host || p.VMID != h.away[g].VMID || p.Serving != p.Owner || p.Phase != failover.PhaseAway || p.Op != "":
			return fmt.Errorf("%s is %s, at %+v and served at %q, in %q", g, p.Phase, p.Now(), p.Serving, p.Op)
		case !ok || !again.Running || !there || other.Running:
			return fmt.Errorf("%s: its copy away there %t, running %t; that at home there %t, running %t", g, ok, again.Running, there, other.Running)
		case seal == nil || len(seal.Sites()) < 2:
			return fmt.Errorf("invariant S7 violated: the copy of %s at home is sealed as %+v", g, seal)
		}
		for _, at := range seal.Copies {
			if !h.protected(at, h.left[g].VMID) {
				return fmt.Errorf("invariant S7 violated: no protected backup of %s (%d) at %s", g, h.left[g].VMID, at.Site)
			}
		}
	}
	return nil
}

// WayBackCrashAt is WayBack in which the agent that works on the first guest dies at the n-th boundary of that work;
// n < 0: never. seen collects them.
func WayBackCrashAt(n int, seen *Boundaries) Scenario {
	return crashesAt(WayBack(""), "way back", undoneAt, n, seen)
}

// crashesAt has the agent that works on the first guest die at a boundary of its work from some time on.
func crashesAt(s Scenario, name string, from time.Duration, n int, seen *Boundaries) Scenario {
	plan := s.Plan
	s.Name = fmt.Sprintf("%s, crash at boundary %d", name, n)
	s.Plan = func(w *World) {
		plan(w)
		w.at(from, func() {
			w.crash = func(_ failover.SiteID, boundary string) bool {
				if !strings.HasPrefix(boundary, "before nuage") && !strings.HasPrefix(boundary, "after nuage") {
					return false
				}
				seen.List = append(seen.List, boundary)
				return len(seen.List) == n+1
			}
		})
	}
	return s
}
