package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Trouble in the middle of a planned move.
type Trouble string

// What happens when a step of the move of the first guest is claimed.
const (
	MoveUndisturbed Trouble = ""
	MoveHomeDies    Trouble = "home dies"
	MoveTargetDies  Trouble = "target dies"
	MoveCancelled   Trouble = "cancelled"
	MoveAgentDies   Trouble = "home's agent dies for a minute"
)

// moveBack is when a site is back that died in the middle of a planned move.
const moveBack = 3 * time.Minute

// SwitchoverSteps are the steps of a planned move that an agent carries out.
func SwitchoverSteps() []failover.StepID {
	return []failover.StepID{
		failover.StepReady, failover.StepShutdown, failover.StepBackup, failover.StepPull, failover.StepProtect, failover.StepVerify,
		failover.StepRestore, failover.StepStill, failover.StepStart, failover.StepCheck, failover.StepRelease,
	}
}

// Switchover is a planned move of a site in which trouble comes when the first guest is
// at a step. What was not owned elsewhere by then stays at home, or is failed over.
func Switchover(what Trouble, at failover.StepID) Scenario {
	m := &move{what: what, at: at}
	return Scenario{
		Name: fmt.Sprintf("switchover, %s at %s", what, at),
		Plan: func(w *World) {
			m.w = w
			w.watch = m.watch
			w.at(0, func() { w.move(lost, "fabrique", 0) })
		},
		Until: Warm + 6*time.Minute,
		Check: func(*World) error { return m.check() },
	}
}

// move is a run of Switchover.
type move struct {
	w      *World
	what   Trouble
	at     failover.StepID
	struck bool
	owned  bool // the first guest, elsewhere, when it was struck
}

func (m *move) watch(e Committed) {
	c, ok := e.Command.(failover.StepMoved)
	if m.what == MoveUndisturbed || m.struck || !ok || c.Token.Step != m.at || c.To != failover.StatusRunning {
		return
	}
	w := m.w
	m.struck = true
	w.loop.In(400*time.Millisecond, "trouble", func() {
		m.owned = w.log.Last().Ops[c.Token.Op].Guests[c.Token.Guest].Owned()
		switch m.what {
		case MoveHomeDies:
			w.kill(lost)
			w.loop.In(moveBack, "home is back", func() { w.revive(lost) })
		case MoveTargetDies:
			w.kill("fabrique")
			w.loop.In(moveBack, "target is back", func() { w.revive("fabrique") })
		case MoveCancelled:
			w.propose(failover.CancelOp{Op: c.Token.Op, Reason: failover.Reason{Code: "WWW-1409"}})
		case MoveAgentDies:
			w.crashAgent(w.sites[lost], time.Minute)
		}
	})
}

// check: every guest runs somewhere and only there, and everything has ended.
func (m *move) check() error {
	w, s := m.w, m.w.log.Last()
	if m.what != MoveUndisturbed && !m.struck {
		return fmt.Errorf("step %s was never claimed", m.at)
	}
	for n, member := range w.sites[lost].guests {
		g := guestID(w.sites[lost].place, member)
		p := s.Guests[g]
		if s.Network.Guests[g].Priority == notRescued {
			continue
		}
		old, _ := w.sites[lost].structure.Guest(homeID(w.sites[lost].index, n))
		stays := p.Owner == lost
		switch {
		case m.what == MoveUndisturbed && stays, m.what == MoveAgentDies && stays:
			return fmt.Errorf("%s was not moved", g)
		case m.what == MoveCancelled && stays == m.owned:
			return fmt.Errorf("%s is %s's, and was owned when it was cancelled: %t", g, p.Owner, m.owned)
		case stays && m.what == MoveHomeDies:
			return fmt.Errorf("%s is left at its dead home", g)
		case stays && (!old.Running || old.Config["onboot"] != "1" || p.Op != ""):
			return fmt.Errorf("%s stays at home, runs %t, onboot %q, in %q", g, old.Running, old.Config["onboot"], p.Op)
		case !stays && old.Running && (m.what != MoveHomeDies || old.Config["onboot"] != "1"): // it ran when its home died
			return fmt.Errorf("%s is %s's and runs at home", g, p.Owner)
		case !stays && p.Serving != p.Owner && m.what != MoveTargetDies:
			return fmt.Errorf("%s is %s's and served at %q", g, p.Owner, p.Serving)
		}
	}
	for _, id := range sortedKeys(s.Ops) {
		if op := s.Ops[id]; !op.Phase.Ended() && op.Kind != failover.KindTidy {
			return fmt.Errorf("%s is %s", id, op.Phase)
		}
	}
	return nil
}

// MoveCrashAt is a planned move in which the agent that works on the first guest dies at
// the n-th boundary of that work; n < 0: never. seen collects them.
func MoveCrashAt(n int, seen *Boundaries) Scenario {
	m := &move{}
	return Scenario{
		Name: fmt.Sprintf("switchover, crash at boundary %d", n),
		Plan: func(w *World) {
			m.w = w
			w.at(0, func() { w.move(lost, "fabrique", 0) })
			w.crash = func(_ failover.SiteID, boundary string) bool {
				if !slices.ContainsFunc([]string{"before nuage", "after nuage"}, func(p string) bool { return strings.HasPrefix(boundary, p) }) {
					return false
				}
				seen.List = append(seen.List, boundary)
				return len(seen.List) == n+1
			}
		},
		Until: Warm + 4*time.Minute,
		Check: func(*World) error { return m.check() },
	}
}
