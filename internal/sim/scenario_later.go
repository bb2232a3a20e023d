package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// MovedAndBack moves the guests of a site away by plan and brings them home, keeping either
// copy. The move has taken from the copies at home that they start with their host; what
// comes home does again.
func MovedAndBack(keep failover.Keep) Scenario {
	h := &homeward{keep: keep}
	return Scenario{
		Name:    fmt.Sprintf("moved by plan and back, keep %s", keep),
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			h.w = w
			w.at(0, func() { w.move(lost, second, 0) })
			w.at(4*time.Minute, h.begin)
		},
		Until: Warm + 11*time.Minute,
		Check: func(*World) error { return h.check() },
	}
}

// LostBesideHome loses the site to which guests were failed over when their home is back:
// they are restored at a third one. Only a person who has chosen a copy brings them home.
func LostBesideHome() Scenario {
	const back, after = 2 * time.Minute, 6 * time.Minute
	var had []failover.GuestID // that lived at the second site
	home := 0                  // assignments that lead home
	return Scenario{
		Name:    "the site that took them is lost when their home is back",
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			w.watch = func(e Committed) {
				c, ok := e.Command.(failover.BeginOp)
				if !ok || c.Kind != failover.KindFailover {
					return
				}
				for _, a := range c.Plan.Assignments {
					if a.Target == w.log.Last().Network.Home(a.Guest) {
						home++
					}
				}
			}
			w.at(0, func() { w.kill(lost) })
			w.at(back, func() { w.revive(lost) })
			w.at(after, func() {
				s := w.log.Last()
				for _, g := range s.Network.GuestIDs() {
					if p := s.Guests[g]; p.Owner == second && s.Network.Home(g) == lost {
						had = append(had, g)
					}
				}
				w.kill(second)
			})
		},
		Until: Warm + after + 4*time.Minute,
		Check: func(w *World) error {
			if len(had) == 0 || home > 0 {
				return fmt.Errorf("%d guests lived at %s when it was lost, %d were to be failed over to their home", len(had), second, home)
			}
			for _, g := range had {
				if p := w.log.Last().Guests[g]; p.Owner == second || p.Owner == lost || p.Serving != p.Owner {
					return fmt.Errorf("%s is %s, owned by %s and served at %q, want at a third site", g, p.Phase, p.Owner, p.Serving)
				}
			}
			return nil
		},
	}
}

// SealedWithAnotherKey backs the copies that do not go on up with a key that nobody else has:
// for a while the entry for sealed branches at their site holds another one. What both sites'
// stores verify nobody could read; it is not taken for sealed, and the copies serve on.
func SealedWithAnotherKey() Scenario {
	h := &homeward{keep: failover.KeepHome}
	return Scenario{
		Name:    "sealed with another key",
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			w.watch = func(e Committed) {
				c, ok := e.Command.(failover.StepMoved)
				if !ok || h.struck || c.Token.Step != failover.StepSeal || c.To != failover.StatusRunning {
					return
				}
				h.struck = true
				at := w.log.Last().Ops[c.Token.Op].Guests[c.Token.Guest].Source.Site
				if err := w.faults.Add(lab.Fault{
					Where: "pve:" + string(at), Match: lab.Match{Method: "POST", Path: "*/vzdump"}, Effect: lab.EffectWrongKey, Text: sealedEntry(lost),
				}); err != nil {
					w.check.violated(err)
				}
			}
			h.plan(w)
			w.at(7*time.Minute, func() {
				w.faults.Clear()
				for _, id := range w.ids {
					if s := w.sites[id]; s.raoull != nil {
						s.raoull.Heal()
					}
				}
			})
		},
		Until: Warm + 9*time.Minute,
		Check: func(w *World) error {
			for _, g := range h.moved {
				p := w.log.Last().Guests[g]
				there, ok := w.guestAt(h.away[g])
				if seal := w.log.Last().SealOf(g, h.away[g]); !h.struck || p.Owner == lost || !ok || !there.Running || seal != nil {
					return fmt.Errorf("%s is %s's, its copy there %t, running %t, sealed as %+v; want it served as before", g, p.Owner, ok, there.Running, seal)
				}
			}
			if len(h.moved) == 0 {
				return fmt.Errorf("nothing was to come home")
			}
			return nil
		},
	}
}
