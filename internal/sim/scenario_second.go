package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// second is the site that takes guests of the lost one and is lost after it.
const second failover.SiteID = "fabrique"

// SecondLoss loses the site, too, to which guests were failed over, and nobody has set up
// that its backups of them reach other sites: its own guests are failed over, those that
// are away wait for a person.
func SecondLoss() Scenario {
	var f *facts
	owned := map[failover.GuestID]int{}
	return Scenario{
		Name: "second loss",
		Plan: func(w *World) {
			f, w.unpulled = w.observe(), true
			count := w.watch
			w.watch = func(e Committed) {
				count(e)
				if own, ok := e.Command.(failover.Own); ok {
					owned[own.Token.Guest]++
				}
			}
			w.at(0, func() { w.kill(lost) })
			w.at(3*time.Minute, func() { w.kill(second) })
		},
		Until: Warm + 7*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) < 2 {
				return fmt.Errorf("invariant L1 violated: %d commits, two sites were lost", len(f.committed))
			}
			s := w.log.Last()
			for _, g := range s.Network.GuestIDs() {
				p, home := s.Guests[g], s.Network.Home(g)
				movable := s.Network.Guests[g].Priority != 4
				switch {
				case home == second && movable && (p.Owner != "quai" || p.Serving != p.Owner):
					return fmt.Errorf("%s is %s, owned by %s and served at %q", g, p.Phase, p.Owner, p.Serving)
				case home == lost && movable && owned[g] != 1:
					return fmt.Errorf("invariant S7 violated: %s was given away %d times, want once", g, owned[g])
				}
			}
			return nil
		},
	}
}

// SecondFailover loses the site, too, to which guests were failed over, after the agent
// there has backed them up: they are restored once more, from what they wrote there.
func SecondFailover() Scenario {
	const after = 6 * time.Minute
	var f *facts
	var had []failover.GuestID // that lived at the second site
	saved := map[failover.GuestID]failover.RestorePoint{}
	return Scenario{
		Name: "second failover",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(lost) })
			w.at(after, func() {
				state := w.log.Last()
				for _, g := range state.Network.GuestIDs() {
					if l, ok := state.LineageNow(g); ok && l.Site == second && state.Guests[g].Phase == failover.PhaseAway {
						had, saved[g] = append(had, g), l.Backups.Newest
					}
				}
				w.kill(second)
			})
		},
		Until: Warm + after + 4*time.Minute,
		Check: func(w *World) error {
			s := w.log.Last()
			if len(had) == 0 || len(f.committed) < 2 {
				return fmt.Errorf("%d guests lived at %s, %d commits; want some, and two", len(had), second, len(f.committed))
			}
			for _, g := range had {
				p := s.Guests[g]
				lines := s.LineagesOf(g)
				last := lines[len(lines)-1]
				switch {
				case saved[g].IsZero():
					return fmt.Errorf("%s was not backed up at %s in %s", g, second, after)
				case p.Owner == second || p.Serving != p.Owner:
					return fmt.Errorf("%s is %s, owned by %s and served at %q", g, p.Phase, p.Owner, p.Serving)
				case len(lines) != 3 || last.Of != lines[1].ID():
					return fmt.Errorf("invariant S8 violated: %s has the lineages %+v, want the third to come from the second", g, lines)
				case !p.Point.Time.Equal(saved[g].Time):
					return fmt.Errorf("invariant S7 violated: %s was restored from %s, its newest was of %s", g, p.Point.Volid, saved[g].Time)
				}
			}
			return nil
		},
	}
}

// AwayPowerCut has the power of the site fail, and come back in time, at which guests live
// away: their host does not start them, the agent does.
func AwayPowerCut() Scenario {
	const cut, back = 3 * time.Minute, 15 * time.Second
	lived := 0
	return Scenario{
		Name: "power cut at the site that took them",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(cut, func() {
				for _, p := range w.log.Last().Guests {
					if p.Owner == second && p.Phase == failover.PhaseAway {
						lived++
					}
				}
				w.kill(second)
			})
			w.at(cut+back, func() { w.revive(second) })
		},
		Until: Warm + cut + 4*time.Minute,
		Check: func(w *World) error {
			s, runs := w.log.Last(), 0
			for _, g := range s.Network.GuestIDs() {
				p := s.Guests[g]
				if p.Owner != second || p.Epoch == (failover.Epoch{}) {
					continue
				}
				if copied, ok := w.sites[second].raoull.Guest(p.VMID); !ok || !copied.Running {
					return fmt.Errorf("%s lives at %s and is off", g, second)
				}
				runs++
			}
			if lived == 0 || runs != lived {
				return fmt.Errorf("%d guests lived at %s, %d run there after the power cut", lived, second, runs)
			}
			return nil
		},
	}
}
