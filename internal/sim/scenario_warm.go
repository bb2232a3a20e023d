package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Times of the scenarios with warm copies, after Warm.
const (
	warmKilled = time.Minute      // by then every copy stands ready
	warmServes = 15 * time.Second // after the commit delay, for a warm guest to serve
)

// standing are the warm copies that stand ready, by guest.
func (w *World) standing() map[failover.GuestID]failover.WarmCopy {
	out := map[failover.GuestID]failover.WarmCopy{}
	for g, sb := range w.log.Last().Warm {
		for _, c := range sb.Copies {
			if c.State == failover.WarmReady {
				out[g] = c
			}
		}
	}
	return out
}

// WarmLost is the main job with warm guests: they serve from their copies, with
// nothing restored, within a bound after the commit delay.
func WarmLost() Scenario {
	var f *facts
	var ready map[failover.GuestID]failover.WarmCopy
	served := map[failover.GuestID]time.Duration{}
	return Scenario{
		Name:    "warm",
		Prepare: func(o *Options) { o.Warm = true },
		Plan: func(w *World) {
			f = w.observe()
			watch := w.watch
			w.watch = func(e Committed) {
				watch(e)
				if c, ok := e.Command.(failover.Serve); ok {
					served[c.Token.Guest] = w.loop.Now().Sub(Epoch.Add(Warm + warmKilled))
				}
			}
			w.at(warmKilled, func() {
				ready = w.standing()
				w.kill(lost)
			})
		},
		Until: Warm + warmKilled + 2*time.Minute,
		Check: func(w *World) error {
			if err := errors.Join(f.inTime(warmKilled), w.failedOver(lost)); err != nil {
				return err
			}
			n := 0
			for _, g := range w.spec.GuestIDs() {
				c, ok := ready[g]
				if !ok || w.spec.Home(g) != lost {
					continue
				}
				n++
				p := w.log.Last().Guests[g]
				switch limit := w.opts.Timing.Commit + warmServes; {
				case p.Owner != c.Site || p.VMID != c.VMID:
					return fmt.Errorf("%s is served as %s, its warm copy was %s", g, at(p.Owner, p.VMID), at(c.Site, c.VMID))
				case served[g] == 0 || served[g] > limit:
					return fmt.Errorf("%s is served after %s, want at most %s", g, served[g], limit)
				}
			}
			if n == 0 {
				return errors.New("no warm copy stood ready")
			}
			return nil
		},
	}
}

// WarmTouched is the same after a person has started a copy, written to it, and
// stopped it: it is theirs, and the guest is restored beside it.
func WarmTouched() Scenario {
	var guest failover.GuestID
	var c failover.WarmCopy
	return Scenario{
		Name:    "warm copy started by hand",
		Prepare: func(o *Options) { o.Warm = true },
		Plan: func(w *World) {
			w.at(warmKilled-8*time.Second, func() {
				for _, g := range w.spec.GuestIDs() {
					if copied, ok := w.standing()[g]; ok && guest == "" && w.spec.Home(g) == lost {
						guest, c = g, copied
						w.tryCopy(w.sites[c.Site], failover.GuestRun{Assignment: failover.Assignment{Guest: g, Target: c.Site}, VMID: c.VMID}, 4*time.Second)
					}
				}
			})
			w.at(warmKilled, func() { w.kill(lost) })
		},
		Until: Warm + warmKilled + 3*time.Minute,
		Check: func(w *World) error {
			if guest == "" {
				return errors.New("no warm copy stood ready")
			}
			if err := w.failedOver(lost); err != nil {
				return err
			}
			if _, ok := w.sites[c.Site].raoull.Guest(c.VMID); !ok {
				return fmt.Errorf("invariant S7 violated: %s, which has run, is gone", at(c.Site, c.VMID))
			}
			if p := w.log.Last().Guests[guest]; p.Owner == c.Site && p.VMID == c.VMID {
				return fmt.Errorf("%s is served from %s, which a person has used", guest, at(c.Site, c.VMID))
			}
			return nil
		},
	}
}
