package sim

import (
	"fmt"
	"maps"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// keptWarm declares every other guest that moves warm.
func keptWarm(spec *network.Spec) *network.Spec {
	out := *spec
	out.Guests = maps.Clone(spec.Guests)
	for n, id := range spec.GuestIDs() {
		if g := spec.Guests[id]; g.Priority < notRescued && n%2 == 0 {
			g.Standby = network.WarmStandby
			out.Guests[id] = g
		}
	}
	return &out
}

// isWarm says whether the log knows a guest of a site as a warm copy.
func (w *World) isWarm(s *Site, vmid int) bool {
	for _, sb := range w.log.Last().Warm {
		for _, c := range sb.Copies {
			if c.Site == s.name && c.VMID == vmid {
				return true
			}
		}
	}
	return false
}

// warmHands are people who start, stop and delete warm copies by hand. They
// draw from a stream of their own: who does what else does not depend on them.
func (i *incident) warmHands() {
	w := i.w
	if !w.opts.Warm {
		return
	}
	own := &incident{w: w, r: w.rand(fmt.Sprintf("warm hands %d", w.stats.Incidents)), window: i.window}
	own.some(0.15, 1, func() {
		lasts := own.span(2*time.Second, 40*time.Second)
		w.fault(own.when(), "a person starts a warm copy", func() { w.withWarm(func(s *Site, run failover.GuestRun) { w.tryCopy(s, run, lasts) }) })
	})
	own.some(0.1, 1, func() {
		w.fault(own.when(), "a person deletes a warm copy", func() { w.withWarm(w.deleteCopy) })
	})
	own.some(0.3, 1, func() {
		w.fault(own.when(), "backups are made", w.backup)
	})
}

// withWarm picks the first warm copy that stands ready and that nobody has touched.
func (w *World) withWarm(do func(s *Site, run failover.GuestRun)) {
	state := w.log.Last()
	for _, g := range sortedKeys(state.Warm) {
		for _, c := range state.Warm[g].Copies {
			s := w.sites[c.Site]
			if c.State != failover.WarmReady || s.raoull == nil || !s.host || w.check.foreign[at(s.name, c.VMID)] {
				continue
			}
			if copied, ok := s.raoull.Guest(c.VMID); ok && !copied.Running && copied.Lock == "" {
				do(s, failover.GuestRun{Assignment: failover.Assignment{Guest: g, Target: c.Site}, VMID: c.VMID})
				return
			}
		}
	}
}

// tryCopy starts a copy, and stops it after a while: its users have written to it.
func (w *World) tryCopy(s *Site, run failover.GuestRun, lasts time.Duration) {
	w.startCopy(s, run)
	w.loop.In(lasts, "a person stops it again", func() {
		if _, ok := s.raoull.Guest(run.VMID); !ok || !s.host {
			return
		}
		if err := s.raoull.StopGuest(run.VMID, w.loop.Now()); err != nil {
			w.check.violated(err)
		}
	})
}
