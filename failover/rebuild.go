package failover

import "fmt"

// ConfirmOp is a person's word that an operation which was open when the log
// was rebuilt may go on.
type ConfirmOp struct {
	Op OpID `json:"op"`
}

func (c ConfirmOp) apply(s *State, st Stamp) error {
	op, err := s.openOp(c.Op)
	if err != nil {
		return err
	}
	if !s.Unconfirmed[c.Op] {
		return reject(CodeNothingWaits, "op", string(c.Op))
	}
	delete(s.Unconfirmed, c.Op)
	s.event(st, because(CodeOpConfirmed, "op", string(c.Op)), Event{Op: c.Op, Site: op.Plan.Loss.Site})
	return nil
}

// confirmed says whether work on an operation may go on. Where the log was
// rebuilt the last steps may be missing from it, so a person looks first.
func (s *State) confirmed(id OpID) error {
	if s.Unconfirmed[id] {
		return reject(CodeUnconfirmed, "op", string(id))
	}
	return nil
}

// Rebuilt returns the state that a new group begins with after the old one lost
// its majority for good: what was known, one member, a generation above the
// old one's, the certificates of the old members revoked, everything paused,
// and no operation that moves before a person has looked at it. st.Index must
// be above that of every entry that s knows.
func (s *State) Rebuilt(self SetMember, from string, st Stamp) *State {
	n := s.Clone()
	n.Index, n.Term, n.TermStart, n.Leader = st.Index, st.Term, st.At, ""
	st.At = n.tick(st)
	n.Generation++
	for site, m := range s.Members {
		if m.ServerID != self.ServerID {
			n.Revoked[AgentKey(m.ServerID)] = Revocation{Name: string(site), Reason: "the group was rebuilt without it", By: st}
		}
	}
	n.Members = map[SiteID]Member{self.Site: {ServerID: self.ServerID, Address: self.Address, Voter: true, Since: st}}
	n.Reports, n.Sighted = map[SiteID]StoredReport{}, map[SiteID]Sightings{}
	n.Tokens = map[string]JoinToken{} // of sites that the old group wanted
	n.Seen = nil
	for name, z := range n.Zones { // above every serial that the old group published
		z.Base, z.Servers, z.Notes, z.Verified = max(z.Base, zoneBase(n.Generation)), nil, nil, 0
		n.Zones[name] = z
	}
	for _, id := range s.opOrder() {
		n.Unconfirmed[id] = true
	}
	for _, g := range sortedKeys(s.Warm) { // the lost entries may have made them guests that serve
		for _, c := range s.Warm[g].Copies {
			n.keepWarm(g, c.Of, "the group was rebuilt", st)
		}
	}
	n.Pauses[""] = Pause{Reason: "the group was rebuilt", By: st}
	n.event(st, because(CodeRecovered, "from", from, "generation", fmt.Sprint(n.Generation), "ops", fmt.Sprint(len(n.Unconfirmed))),
		Event{Site: self.Site})
	return n
}
