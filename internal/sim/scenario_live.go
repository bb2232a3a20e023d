package sim

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// How guests are restored live in a run.
const (
	LiveWaits = "waits" // names follow when the disks are whole
	LiveBold  = "bold"  // the structures accept the risk
)

// declareLive has every VM of the network restored live.
func declareLive(spec *network.Spec, how string) {
	for id, g := range spec.Guests {
		if g.Type == network.VM {
			g.LiveRestore = true
			spec.Guests[id] = g
		}
	}
	for id, st := range spec.Structures {
		st.AcceptLiveRisk = how == LiveBold
		spec.Structures[id] = st
	}
}

// LiveRestored is the main job with VMs that start before their disks are there.
func LiveRestored(how string) Scenario {
	var f *facts
	early := 0
	return Scenario{
		Name: "live restore, " + how,
		Prepare: func(o *Options) {
			o.Live = how
			o.RestoreRate = 16 << 10
		},
		Plan: func(w *World) {
			f = w.observe()
			count := w.watch
			w.watch = func(e Committed) {
				count(e)
				if c, ok := e.Command.(failover.Serve); ok && e.Rejected == nil && w.halfThere(c.Token) {
					early++
				}
			}
			w.at(0, func() { w.kill(lost) })
		},
		Until: Warm + 3*time.Minute,
		Check: func(w *World) error {
			if w.check.lives == 0 || (early > 0) != (how == LiveBold) {
				return fmt.Errorf("%d live restores, of which %d were shown before they were whole", w.check.lives, early)
			}
			if err := f.inTime(0); err != nil {
				return err
			}
			return w.failedOver(lost)
		},
	}
}

// halfThere says whether the disks of a run's guest are still being copied.
func (w *World) halfThere(t failover.Token) bool {
	g, ok := w.copyOf(w.log.Last().Ops[t.Op].Guests[t.Guest])
	return ok && g.Lock == "create"
}

// LiveBreaks is a live restore whose PBS goes away in the middle: the guest is off, nobody is
// shown it, a person is called, removes what is left and has it restored again.
func LiveBreaks() Scenario {
	var broken failover.Token
	return Scenario{
		Name: "live restore breaks",
		Prepare: func(o *Options) {
			o.Live = LiveWaits
			o.RestoreRate = 16 << 10
		},
		Plan: func(w *World) {
			w.watch = func(e Committed) {
				c, ok := e.Command.(failover.StepMoved)
				if !ok || broken.Op != "" || c.Token.Step != failover.StepLive || c.To != failover.StatusDone {
					return
				}
				broken = c.Token
				s := w.sites[w.log.Last().Ops[broken.Op].Guests[broken.Guest].Assignment.Target]
				w.loop.In(time.Millisecond, "its PBS goes away", func() { s.pbs.PowerLoss(w.loop.Now()) })
				w.loop.In(20*time.Second, "its PBS is back", func() { s.pbs.PowerOn(w.loop.Now()) })
			}
			w.at(0, func() { w.kill(lost) })
			w.at(2*time.Minute, func() {
				op := w.log.Last().Ops[broken.Op]
				run := op.Guests[broken.Guest]
				s := w.sites[run.Assignment.Target]
				if g, ok := s.raoull.Guest(run.VMID); run.State != failover.RunStuck || !ok || g.Running || run.Served.Index != 0 {
					w.check.violated(fmt.Errorf("invariant L2 violated: %s whose live restore broke is %s, there %t, runs %t, shown at %d", broken.Guest, run.State, ok, g.Running, run.Served.Index))
					return
				}
				w.check.handled[at(s.name, run.VMID)] = true
				if err := s.raoull.RemoveGuest(run.VMID, w.loop.Now()); err != nil {
					w.check.violated(err)
				}
				w.propose(failover.RetryOp{Op: broken.Op})
			})
		},
		Until: Warm + 5*time.Minute,
		Check: func(w *World) error {
			if broken.Op == "" {
				return fmt.Errorf("nothing was restored live")
			}
			return w.failedOver(lost)
		},
	}
}

// LiveAgentsCrash is a live restore while agents die at the boundaries of their calls.
func LiveAgentsCrash() Scenario {
	s := AgentsCrash()
	s.Name = "live restore, agents crash"
	s.Prepare = func(o *Options) { o.Live = LiveWaits }
	return s
}
