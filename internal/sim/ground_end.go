package sim

import (
	"fmt"

	"github.com/raoull/worldwidewelsh/failover"
)

// Settled says what is not yet as it must be in the end; lost are the sites
// that do not come back.
func (g *Ground) Settled(lost map[failover.SiteID]bool) (err error) {
	g.do(func(w *World) {
		err = w.settled(lost, g.before)
		g.before = g.took
	})
	return err
}

// settled: L2 and L5, every operation ends or waits for a person, every zone is
// verified, every agent has what the log was when this was last asked; and every
// guest runs where State says that it is served, by the word of every agent's
// DNS server. A guest of a lost site may instead wait, with a reason for it.
func (w *World) settled(lost map[failover.SiteID]bool, upTo uint64) error {
	last := w.log.last
	waits := map[failover.GuestID]bool{}
	for _, id := range sortedKeys(last.Ops) {
		op := last.Ops[id]
		if !op.Phase.Ended() && len(op.Waiting()) == 0 && !tidiesLost(op, lost) {
			return fmt.Errorf("%s is %s", id, op.Phase)
		}
		for guest, run := range op.Guests {
			waits[guest] = waits[guest] || run.State == failover.RunStuck || !op.Phase.Ended()
		}
	}
	for _, z := range sortedKeys(last.Zones) {
		if last.Zones[z].Verified != last.Zones[z].Changed {
			return fmt.Errorf("zone %s changed at %d is verified at %d", z, last.Zones[z].Changed, last.Zones[z].Verified)
		}
	}
	for _, id := range w.ids {
		a := w.sites[id].agent
		if lost[id] {
			continue
		}
		if !a.up {
			return fmt.Errorf("the agent of %s does not run", id)
		}
		if a.node.state.Index < upTo {
			return fmt.Errorf("%s is at %d, another was at %d", id, a.node.state.Index, upTo)
		}
		for _, g := range last.Network.GuestIDs() {
			if err := w.guestServed(a, g, lost, waits[g]); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidiesLost says whether an operation removes what lies at lost sites only: it
// is there for the day on which one comes back after all.
func tidiesLost(op failover.Operation, lost map[failover.SiteID]bool) bool {
	for _, run := range op.Guests {
		if !lost[run.Assignment.Target] {
			return false
		}
	}
	return op.Kind == failover.KindTidy || op.Kind == failover.KindReturn || op.Kind == failover.KindWake || op.Kind == failover.KindRemoval ||
		op.Kind == failover.KindWarm && op.Phase == failover.OpReleasing
}

// notRescued is the priority of guests that nobody restores by himself.
const notRescued = 4

func (w *World) guestServed(a *Agent, g failover.GuestID, lost map[failover.SiteID]bool, waits bool) error {
	last := w.log.last
	p := last.Guests[g]
	if lost[p.Serving] {
		held := last.Domains[failover.SiteDomain(p.Serving)].Held.Code
		if waits || held != "" || last.Network.Guests[g].Priority == notRescued {
			return nil
		}
		return fmt.Errorf("%s is served by %s, which is lost, and nobody says why", g, p.Serving)
	}
	for _, name := range last.Network.Guests[g].Names {
		if got := w.check.served(a, name); got != p.Serving {
			return fmt.Errorf("the server of %s points %s at %s, State at %s", a.site.name, name, got, p.Serving)
		}
		if !w.served(w.sites[p.Serving], name) {
			return fmt.Errorf("%s is served by nobody at %s", name, p.Serving)
		}
	}
	return nil
}
