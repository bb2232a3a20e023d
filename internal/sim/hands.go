package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// hands are people who do things at the machines behind everybody's back.
func (i *incident) hands() {
	w, r := i.w, i.r
	i.warmHands()
	i.some(0.08, 1, func() {
		id, n, lasts := i.home(), r.IntN(10), i.span(10*time.Second, 60*time.Second)
		w.fault(i.when(), fmt.Sprintf("a person stops a guest at home at %s for %s", id, lasts), func() { w.stopHome(w.sites[id], n, lasts) })
	})
	i.some(0.08, 1, func() {
		id := i.brique()
		w.fault(i.span(10*time.Second, 70*time.Second), "a person makes a guest at "+string(id), func() { w.foreignGuest(w.sites[id]) })
	})
	i.some(0.08, 1, func() {
		w.fault(i.span(15*time.Second, 70*time.Second), "a person deletes a prepared copy", func() { w.withCopy(w.deleteCopy) })
	})
	i.some(0.08, 1, func() {
		w.fault(i.span(15*time.Second, 70*time.Second), "a person starts a prepared copy", func() { w.withCopy(w.startCopy) })
	})
}

// stopHome stops a home guest for a while.
func (w *World) stopHome(s *Site, n int, lasts time.Duration) {
	if !s.own {
		return
	}
	id := w.declared(s, n%len(s.guests))
	if g, ok := s.structure.Guest(id); !ok || !g.Running {
		return // kept off beside its rescued copy, say: nobody starts it again
	}
	if err := s.structure.StopGuest(id, w.loop.Now()); err != nil {
		w.check.violated(err)
	}
	w.tell("a person stops %d at %s", id, s.name)
	w.check.byHand[at(s.name, id)] = true
	w.loop.In(lasts, "a person starts it again", func() { w.startHome(s, id) })
}

// startHome starts a home guest that a person stopped, if it does not run.
func (w *World) startHome(s *Site, id int) {
	if !w.check.byHand[at(s.name, id)] || !s.own {
		return
	}
	for n, m := range s.guests {
		if w.declared(s, n) != id {
			continue
		}
		p := w.log.Last().Guests[guestID(s.place, m)]
		beside := p.Owner == s.name && p.Host != structureHost(s.name)
		if beside || w.mayBeOff(guestID(s.place, m)) {
			return // people see that it was rescued in the same house, or is being moved, or was
		}
	}
	if g, ok := s.structure.Guest(id); ok && !g.Running {
		if err := s.structure.StartGuest(id, w.loop.Now()); err != nil {
			w.check.violated(err)
		}
		s.handed = w.loop.Now()
	}
	delete(w.check.byHand, at(s.name, id))
}

// startHomes has people put right what they did to guests at home.
func (w *World) startHomes() {
	for _, id := range w.ids {
		s := w.sites[id]
		for n := range s.guests {
			w.startHome(s, w.declared(s, n))
		}
	}
}

// foreignGuest makes a guest under the next id of the range that copies get.
func (w *World) foreignGuest(s *Site) {
	if s.raoull == nil || !s.host {
		return
	}
	ids := w.spec.Sites[s.name].Hosts[raoullHost(s.name)].Restore.IDs
	for id := ids.First; id <= ids.Last; id++ {
		if _, _, ours := w.check.runAt(s, id); ours || w.check.wasTried(s, id) {
			continue
		}
		if _, taken := s.raoull.Guest(id); !taken {
			w.makeForeign(s, id, s.vlan)
			return
		}
	}
}

// withCopy picks the first copy that stands ready and has never been its guest.
func (w *World) withCopy(do func(s *Site, run failover.GuestRun)) {
	state := w.log.Last()
	for _, id := range sortedKeys(state.Ops) {
		for _, g := range sortedKeys(state.Ops[id].Guests) {
			run := state.Ops[id].Guests[g]
			s := w.sites[run.Assignment.Target]
			counted := slices.ContainsFunc(state.LineagesOf(g), func(l failover.Lineage) bool { // it is being started again, say
				return l.Site == run.Assignment.Target && l.VMID == run.VMID
			})
			if run.Owned() || counted || s == nil || s.raoull == nil || !s.host {
				continue
			}
			if copied, ok := s.raoull.Guest(run.VMID); ok && !copied.Running && copied.Lock == "" && !w.check.foreign[at(s.name, run.VMID)] {
				do(s, run)
				return
			}
		}
	}
}

func (w *World) startCopy(s *Site, run failover.GuestRun) {
	w.tell("a person starts the copy %s of %s", at(s.name, run.VMID), run.Assignment.Guest)
	w.check.foreign[at(s.name, run.VMID)] = true // what it is from now on a person answers for
	w.check.handled[at(s.name, run.VMID)] = true
	if err := s.raoull.StartGuest(run.VMID, w.loop.Now()); err != nil {
		w.tell("it does not start: %v", err)
		delete(w.check.foreign, at(s.name, run.VMID))
	}
}

func (w *World) deleteCopy(s *Site, run failover.GuestRun) {
	w.tell("a person deletes the copy %s of %s", at(s.name, run.VMID), run.Assignment.Guest)
	w.check.handled[at(s.name, run.VMID)] = true
	if err := s.raoull.RemoveGuest(run.VMID, w.loop.Now()); err != nil {
		w.tell("it is being deleted already: %v", err)
	}
}

// holdName has a person keep a public name of a guest of a site as it is.
func (w *World) holdName(n int, of failover.SiteID) {
	s := w.log.Last()
	var names []string
	for _, g := range s.Network.GuestIDs() {
		if s.Network.Home(g) == of {
			names = append(names, s.Network.Guests[g].Names...)
		}
	}
	if len(names) == 0 {
		return
	}
	name := names[n%len(names)]
	w.tell("operator: holds %s", name)
	w.propose(failover.HoldName{Name: name, For: time.Duration(10+n) * time.Second, Reason: "simulation"})
}
