package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// even is a network of one lost site with guests of these sizes in GiB, of falling priority, and
// two targets that restore one guest at a time.
func even(t *testing.T, sizes ...int64) *failover.State {
	s := mass(t, len(sizes), 2, 1, 1)
	for i, id := range s.Network.GuestIDs() {
		g := s.Network.Guests[id]
		g.Priority, g.After = min(3, 1+i*3/len(sizes)), nil
		s.Network.Guests[id] = g
		for _, site := range s.Network.SiteIDs() {
			if r, ok := s.Readiness[site]; ok {
				r.Ready.Points[id] = []failover.RestorePoint{restorePoint(id, start.Add(-time.Hour), sizes[i]*gib)}
			}
		}
	}
	return s
}

// loads is how much each target of a plan restores, and where each guest goes.
func loads(s *failover.State) (map[failover.SiteID]int64, map[failover.GuestID]failover.Assignment) {
	load, at := map[failover.SiteID]int64{}, map[failover.GuestID]failover.Assignment{}
	for _, a := range failover.PlanFor(s, failover.Loss{Site: "lost"}, start).Assignments {
		load[a.Target] += a.Point.Size / gib
		at[a.Guest] = a
	}
	return load, at
}

// TestPlanFillsTargetsEvenly: one after another, 30 would go beside 20, and 40 on top of either.
func TestPlanFillsTargetsEvenly(t *testing.T) {
	load, at := loads(even(t, 30, 20, 10, 40))
	if load["target-0"] != 50 || load["target-1"] != 50 {
		t.Errorf("the targets restore %v GiB, want 50 each: %v", load, at)
	}
	evened := 0
	for _, a := range at {
		if a.Why[0].Code == failover.CodeEvened {
			evened++
		}
	}
	if evened == 0 {
		t.Error("no guest says that it was placed for that")
	}
}

// TestEvennessComesLast: nobody is moved from where it is wished to be, or as long as somebody finds no room.
func TestEvennessComesLast(t *testing.T) {
	declare := func(s *failover.State, g failover.GuestID, change func(*network.Guest)) {
		guest := s.Network.Guests[g]
		change(&guest)
		s.Network.Guests[g] = guest
	}
	s := even(t, 30, 20, 10, 40)
	for _, g := range []failover.GuestID{"guest-000", "guest-003"} {
		declare(s, g, func(g *network.Guest) { g.Prefer = []network.SiteID{"target-0"} })
	}
	if load, at := loads(s); at["guest-000"].Target != "target-0" || at["guest-003"].Target != "target-0" {
		t.Errorf("who prefers target-0 goes elsewhere: %v", load)
	}
	s = even(t, 30, 20, 10, 40)
	declare(s, "guest-001", func(g *network.Guest) { g.ApartFrom = []network.GuestID{"guest-003"} })
	if load, at := loads(s); at["guest-001"].Target == at["guest-003"].Target {
		t.Errorf("who is to be apart is together: %v", load)
	}
	s = even(t, 30, 20, 10, 40)
	r := s.Readiness["target-1"]
	r.Ready.StorageFree = 45 * gib
	s.Readiness["target-1"] = r
	load, _ := loads(s)
	_, host, _ := s.Network.Target("target-1")
	if most := 45 - int64(host.Restore.ReserveStorage)/gib; load["target-1"] > most {
		t.Errorf("target-1 restores %d GiB and has room for %d", load["target-1"], most)
	}
}
