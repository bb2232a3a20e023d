package failover

import (
	"fmt"
	"slices"
)

// A fork makes a copy that a guest has left a guest of its own, in place of sealing it away
// or after that: both lines live on. The copy gets network cards of its own, their cables
// out, and is the guest's no more; a person gives it another address and declares it under
// another name. Until then it can be declared under none: both would have one address.

// ForkCopy has the agent of its site make a copy that a guest has left, and that is off, a
// guest of its own.
type ForkCopy struct {
	Guest GuestID `json:"guest"`
	Host  HostID  `json:"host"`
	VMID  int     `json:"vmid"`
}

// forked says whether the copy that stands at a place is a guest of its own by now.
func (s *State) forked(g GuestID, at Place) bool {
	id, ok := s.lineageAt(g, at)
	return ok && s.Lineages[id].Forked.Index != 0
}

// forkable refuses a copy that cannot become a guest of its own now.
func (s *State) forkable(g GuestID, at Place) error {
	if err := s.idle(g); err != nil {
		return err
	}
	p := s.Guests[g]
	name := []string{"guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID)}
	removal, removing := s.removedBy(g)
	switch {
	case removing:
		return reject(CodeGuestBusy, "guest", string(g), "op", string(removal))
	case p.Phase != PhaseHome && p.Phase != PhaseAway && p.Phase != PhaseDiverged && p.Phase != PhaseExcluded:
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	case s.gone(g, at):
		return reject(CodeNothing, "what", fmt.Sprintf("copy %d on %s", at.VMID, at.Host), "guest", string(g))
	}
	for _, c := range s.CopiesOf(g) {
		if c.same(at) && c.Running {
			return reject(CodeForkRuns, name...)
		}
	}
	return nil
}

func (c ForkCopy) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	all := s.superseded(c.Guest)
	i := slices.IndexFunc(all, func(p Place) bool { return p.Host == c.Host && p.VMID == c.VMID })
	if i < 0 {
		return reject(CodeNothing, "what", fmt.Sprintf("copy %d on %s that it has left", c.VMID, c.Host), "guest", string(c.Guest))
	}
	if err := s.forkable(c.Guest, all[i]); err != nil {
		return err
	}
	run := s.removalRun(c.Guest, all[i], st)
	run.Steps = pendingSteps(StepFork)
	s.beginRemoval(run, st)
	return nil
}

// mayFork says whether a run may make its copy a guest of its own: nobody's data goes by
// it, but the copy that counts must never be taken for the other one.
func (s *State) mayFork(run GuestRun) error {
	g := run.Assignment.Guest
	p := s.Guests[g]
	at := Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID}
	if p.Op != "" || at.same(p.Now()) || p.Owner == at.Site && p.Host == at.Host && p.VMID == at.VMID {
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	}
	return nil
}

// fork makes the copy of a run nobody's in the log: a guest of its own, once a person
// declares it.
func (s *State) fork(run GuestRun, op Operation, st Stamp) {
	g := run.Assignment.Guest
	at := Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID, Epoch: run.Source.Epoch}
	l := s.lineageFor(g, at, st)
	l.Forked = st
	s.Lineages[l.ID()] = l
	p := s.Guests[g]
	if p.Branch != nil && p.Branch.same(at) {
		p.Branch = nil
	}
	s.Guests[g] = p
	s.event(st, because(CodeForked, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID)),
		Event{Op: op.ID, Guest: g, Site: at.Site})
}

// leftBy returns the guest that has left the copy which a declaration would make another
// guest's, and that is not forked; "" for none.
func (s *State) leftBy(host HostID, id int, as GuestID) GuestID {
	for _, g := range sortedKeys(s.Guests) {
		if g == as {
			continue
		}
		for _, at := range s.superseded(g) {
			if at.Host == host && at.VMID == id && !s.gone(g, at) {
				return g
			}
		}
	}
	return ""
}
