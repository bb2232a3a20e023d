package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Rescue loses the structure's machine of a site that lives: its guests run
// again beside it, and no name moves.
func Rescue() Scenario {
	return Scenario{
		Name:  "rescue",
		Plan:  func(w *World) { w.at(0, func() { w.crashOwn(w.sites[lost], 0) }) },
		Until: Warm + 4*time.Minute,
		Check: func(w *World) error { return w.rescued(lost) },
	}
}

// RescueAgentDies is a rescue in which the site's own agent, which does all
// the work, dies again and again.
func RescueAgentDies() Scenario {
	return Scenario{
		Name: "rescue, agent dies",
		Plan: func(w *World) {
			w.at(0, func() { w.crashOwn(w.sites[lost], 0) })
			for i := range 12 {
				w.at(time.Duration(25+7*i)*time.Second, func() { w.crashAgent(w.sites[lost], 2*time.Second) })
			}
		},
		Until: Warm + 6*time.Minute,
		Check: func(w *World) error { return w.rescued(lost) },
	}
}

// RescueReturns is a machine that is back before anything was committed.
func RescueReturns() Scenario {
	var f *facts
	return Scenario{
		Name: "rescue, back in time",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.crashOwn(w.sites[lost], 24*time.Second) })
		},
		Until: Warm + 4*time.Minute,
		Check: func(w *World) error {
			if w.sites[lost].plug {
				return fmt.Errorf("invariant S9 violated: the machine of %s that came back was put off", lost)
			}
			return f.untouched()
		},
	}
}

// RescueUnproven is a fence that does not answer: nothing is owned, nothing
// starts, a person is called; with the plug pulled by hand it goes on.
func RescueUnproven() Scenario {
	const word = 3 * time.Minute
	early := 0
	return Scenario{
		Name: "rescue without proof",
		Plan: func(w *World) {
			w.at(0, func() { w.sites[lost].mute = true; w.crashOwn(w.sites[lost], 0) })
			w.at(word, func() {
				for _, p := range w.log.Last().Guests {
					if p.Epoch.Index != 0 {
						early++
					}
				}
				w.sites[lost].plug = true // somebody has pulled it
				for _, id := range sortedKeys(w.log.Last().Ops) {
					w.propose(failover.RetryOp{Op: id, HostOff: true})
				}
			})
		},
		Until: Warm + 7*time.Minute,
		Check: func(w *World) error {
			if early > 0 {
				return fmt.Errorf("invariant S3 violated: %d guests were owned while their old host might run", early)
			}
			return w.rescued(lost)
		},
	}
}

// RescueSaved is a rescue after which the site's own agent backs the rescued copies up, into the
// same places as any copy away from home, apart from the backups of the dead host.
func RescueSaved() Scenario {
	s := Rescue()
	s.Name, s.Until = "rescue, backed up", Warm+8*time.Minute
	s.Check = func(w *World) error {
		if err := w.rescued(lost); err != nil {
			return err
		}
		state, saved := w.log.Last(), 0
		for _, g := range state.Network.GuestIDs() {
			l, ok := state.LineageNow(g)
			if !ok || l.Home != lost || l.Epoch == (failover.Epoch{}) {
				continue
			}
			if l.Namespace != failover.AwayNamespace(lost) || l.Backups.Newest.IsZero() {
				return fmt.Errorf("invariant S8 violated: %s, rescued at %s, is backed up into %q, newest %v", g, l.Site, l.Namespace, l.Backups.Newest.Time)
			}
			saved++
		}
		if saved == 0 {
			return fmt.Errorf("no rescued guest has a lineage")
		}
		return nil
	}
	return s
}

// rescued says what a rescue has not reached.
func (w *World) rescued(id failover.SiteID) error {
	s, site := w.log.Last(), w.sites[id]
	for n, m := range site.guests {
		g := guestID(site.place, m)
		p, declared := s.Guests[g], s.Network.Guests[g]
		switch {
		case declared.Priority == 4:
		case p.Owner != id || p.Host != raoullHost(id) || p.Serving != id:
			return fmt.Errorf("%s is on %s of %s, shown at %s; want rescued beside its host", g, p.Host, p.Owner, p.Serving)
		}
		if declared.Priority == 4 {
			continue
		}
		if copied, ok := site.raoull.Guest(p.VMID); !ok || !copied.Serving {
			return fmt.Errorf("the copy %d of %s (%d at home) is there: %t, and does not serve", p.VMID, g, homeID(site.index, n), ok)
		}
	}
	return nil
}
