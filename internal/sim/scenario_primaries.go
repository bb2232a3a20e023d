package sim

import (
	"fmt"
	"time"
)

// onPrimaries has a scenario play in a network whose zone stands on servers that are updated.
func onPrimaries(s Scenario, name string) Scenario {
	check := s.Check
	s.Name = name
	s.Prepare = func(o *Options) { o.Primaries = 2 }
	s.Check = func(w *World) error {
		if err := check(w); err != nil {
			return err
		}
		if why := w.primaries.unrest(); why != "" {
			return fmt.Errorf("in the end %s", why)
		}
		return nil
	}
	return s
}

// ZoneElsewhere is the main job with a zone on two primaries and a secondary, each of them well.
func ZoneElsewhere() Scenario { return onPrimaries(SiteKilled(lost), "zone on other servers") }

// primariesFail is it with something that happens to the first of them when the first guest is about to be shown.
func primariesFail(name string, happens func(w *World, n *nameServer)) Scenario {
	s := SiteKilled(lost)
	plan := s.Plan
	s.Plan = func(w *World) {
		plan(w)
		w.at(w.opts.Timing.Commit-time.Second, func() { happens(w, w.primaries.list[0]) })
	}
	s.Until += 2 * time.Minute
	return onPrimaries(s, name)
}

// UpdatesApplyLate has the first update after the loss apply when those after it have: by what stands there then it is too old.
func UpdatesApplyLate() Scenario {
	return primariesFail("updates apply late", func(w *World, n *nameServer) {
		n.late = 25 * time.Second
		n.ail(primaryLate)
		w.tell("fault: %s %s", n.addr, n.how)
		begun := n.zone.Updates()
		var well func()
		well = func() {
			if n.heard == 0 && n.zone.Updates() == begun {
				w.loop.In(100*time.Millisecond, "", well)
				return
			}
			n.ail("")
		}
		n.heard = 0
		well()
	})
}

// UpdatesAreNotAnswered has the answers to updates be lost for a while.
func UpdatesAreNotAnswered() Scenario {
	return primariesFail("updates are not answered", func(w *World, n *nameServer) {
		n.ail(primaryDeaf)
		w.loop.In(30*time.Second, "name server well", func() { n.ail("") })
	})
}

// PrimaryRestored puts an old backup in the place of what a primary holds when everything is done.
func PrimaryRestored() Scenario {
	s := primariesFail("primary restored from a backup", func(w *World, n *nameServer) {
		old := n.zone.Backup()
		w.loop.In(time.Minute, "restore", func() {
			w.tell("fault: %s %s", n.addr, primaryOld)
			w.primaries.restored(n, old)
			w.loop.In(time.Minute, "people transfer the zone anew", func() { w.primaries.heal() })
		})
	})
	s.Until += verifyAgain
	return s
}
