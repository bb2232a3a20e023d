package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// returning is a site whose structure wants its superseded copies stopped.
const returning = failover.SiteID("quai")

// Returned is a site that dies, is failed over and comes back: what its host has
// started is shut down cleanly and kept, and the copies away go on serving.
func Returned() Scenario {
	const back = 110 * time.Second
	return Scenario{
		Name: "returned",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(returning) })
			w.at(back, func() { w.revive(returning) })
		},
		Until: Warm + back + 3*time.Minute,
		Check: func(w *World) error {
			s, state := w.sites[returning], w.log.Last()
			for n, m := range s.guests {
				g := guestID(s.place, m)
				p := state.Guests[g]
				if p.Owner == returning {
					continue // left out
				}
				copied, ok := s.structure.Guest(homeID(s.index, n))
				switch b := p.Branch; {
				case !ok || copied.Running || copied.Config["onboot"] != "0":
					return fmt.Errorf("the copy of %s at home: there %t, running %t, onboot %q", g, ok, copied.Running, copied.Config["onboot"])
				case b == nil || b.Stopped.Index == 0 || !b.OnBoot || b.Site != returning:
					return fmt.Errorf("the log says of the copy of %s: %+v", g, b)
				case p.Serving != p.Owner || p.Phase != failover.PhaseDiverged:
					return fmt.Errorf("%s is %s, owned by %s and shown at %s", g, p.Phase, p.Owner, p.Serving)
				}
			}
			return w.failedOver(returning)
		},
	}
}

// LeftAlone is the same at a structure that keeps its hand: what its host has
// started runs on, and is told.
func LeftAlone() Scenario {
	const back = 110 * time.Second
	return Scenario{
		Name: "left alone",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(back, func() { w.revive(lost) })
		},
		Until: Warm + back + 2*time.Minute,
		Check: func(w *World) error {
			s, state := w.sites[lost], w.log.Last()
			for n, m := range s.guests {
				p := state.Guests[guestID(s.place, m)]
				copied, _ := s.structure.Guest(homeID(s.index, n))
				if !copied.Running || copied.Config["onboot"] != "1" {
					return fmt.Errorf("the copy %d at home runs %t, onboot %q", copied.ID, copied.Running, copied.Config["onboot"])
				}
				if p.Owner != lost && (p.Branch == nil || p.Branch.Reason.Code != failover.CodeBranchBooted) {
					return fmt.Errorf("the log says of the copy of %s: %+v", guestID(s.place, m), p.Branch)
				}
			}
			return w.failedOver(lost)
		},
	}
}
