package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Moves that wait for their time, and agents that die at every boundary of what they do for
// guests that live away.

// What happens to a planned move before its time.
const (
	WaitUndisturbed = ""
	WaitCancelled   = "cancelled"
	WaitNewLeader   = "the leader dies"
	WaitHomeDown    = "the home is down at its time"
)

// SwitchoverAt is a planned move of a site that waits for its time (--at): nothing happens
// before, and at its time what should.
func SwitchoverAt(what string) Scenario {
	const wait = 90 * time.Second
	m := &move{}
	return Scenario{
		Name: "switchover at its time, " + what,
		Plan: func(w *World) {
			m.w = w
			w.at(0, func() { w.moveAt(lost, "fabrique", 0, w.loop.Now().Add(wait)) })
			w.at(wait/2, func() {
				switch what {
				case WaitCancelled:
					for _, id := range sortedKeys(w.log.Last().Ops) {
						w.propose(failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409"}})
					}
				case WaitNewLeader:
					w.crashAgent(w.sites[w.log.leader], 20*time.Second)
				}
			})
			w.at(wait-5*time.Second, func() {
				w.untouchedSoFar()
				if what == WaitHomeDown {
					w.net.Cut(lost, "halle", failover.PathMesh)
					w.crashOwn(w.sites[lost], 0)
				}
			})
			w.at(wait+time.Minute, func() {
				if what == WaitHomeDown {
					w.net.HealAll()
				}
			})
		},
		Until: Warm + wait + 5*time.Minute,
		Check: func(w *World) error {
			s := w.log.Last()
			for _, g := range s.Network.GuestIDs() {
				switch p := s.Guests[g]; {
				case s.Network.Home(g) != lost || s.Network.Guests[g].Priority == notRescued:
				case what == WaitCancelled && (p.Owner != lost || p.Op != ""):
					return fmt.Errorf("%s is %s's after the move was cancelled before its time", g, p.Owner)
				case what == WaitHomeDown && p.Owner == "fabrique":
					return fmt.Errorf("%s was moved from a host that is down", g)
				}
			}
			if what == WaitCancelled || what == WaitHomeDown {
				return nil
			}
			return m.check()
		},
	}
}

// untouchedSoFar: a move that waits for its time holds no guest and has begun nothing.
func (w *World) untouchedSoFar() {
	s := w.log.Last()
	for _, g := range s.Network.GuestIDs() {
		if p := s.Guests[g]; p.Op != "" || p.Epoch != (failover.Epoch{}) {
			w.check.violated(fmt.Errorf("invariant S10 violated: %s is in %q before the time of the move", g, p.Op))
		}
	}
}

// AwayCrashAt is a failover after which the agent of a site that took guests dies at the n-th
// boundary of their backups; n < 0: never. seen collects them.
func AwayCrashAt(n int, seen *Boundaries) Scenario {
	return Scenario{
		Name: fmt.Sprintf("away, crash at boundary %d", n),
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.crash = func(site failover.SiteID, boundary string) bool {
				if site != second || !strings.Contains(boundary, ": away: ") {
					return false
				}
				seen.List = append(seen.List, boundary)
				return len(seen.List)-1 == n
			}
		},
		Until: Warm + 5*time.Minute,
		Check: func(w *World) error {
			s, lived := w.log.Last(), 0
			for _, g := range s.Network.GuestIDs() {
				l, ok := s.LineageNow(g)
				if !ok || l.Site != second {
					continue
				}
				lived++
				made := 0
				for _, snap := range w.sites[second].pbs.Snapshots(l.Namespace) {
					if strings.HasSuffix(snap.Name(), "/") || strings.Contains(snap.Name(), fmt.Sprintf("/%d/", l.VMID)) {
						made++
					}
				}
				if l.Backups.Newest.IsZero() || made != 1 {
					return fmt.Errorf("%s lives at %s: %d backups there, the log knows one: %t; want exactly one", g, second, made, !l.Backups.Newest.IsZero())
				}
			}
			if lived == 0 {
				return fmt.Errorf("nobody lives away at %s", second)
			}
			return nil
		},
	}
}

// WakeCrashAt is a power cut at the site that took guests, whose agent dies at the n-th
// boundary of starting them again; n < 0: never. seen collects them.
func WakeCrashAt(n int, seen *Boundaries) Scenario {
	s := AwayPowerCut()
	s.Name = fmt.Sprintf("wake, crash at boundary %d", n)
	plan := s.Plan
	s.Plan = func(w *World) {
		plan(w)
		w.crash = func(site failover.SiteID, boundary string) bool {
			if site != second || !strings.Contains(boundary, "revive") {
				return false
			}
			seen.List = append(seen.List, boundary)
			return len(seen.List)-1 == n
		}
	}
	return s
}
