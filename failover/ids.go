package failover

// usedIDs are the guest ids that must not be handed out, per target.
type usedIDs map[SiteID]map[int]bool

func (u usedIDs) take(target SiteID, id int) {
	if u[target] == nil {
		u[target] = map[int]bool{}
	}
	u[target][id] = true
}

// idsInUse collects the ids that are taken: those that the targets' agents
// reported, those of guests that live away, those of lineages that are kept, and
// those of runs of which something may be left.
func (s *State) idsInUse() usedIDs {
	u := usedIDs{}
	for site, r := range s.Readiness {
		for _, id := range r.Ready.UsedIDs {
			u.take(site, id)
		}
	}
	for _, p := range s.Guests {
		u.take(p.Owner, p.VMID)
	}
	for _, sb := range s.Warm {
		for _, c := range sb.Copies {
			u.take(c.Site, c.VMID)
		}
	}
	s.takeLineages(u)
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			if !run.leavesNothing(op) {
				u.take(run.Assignment.Target, run.VMID)
				for _, t := range run.Tried {
					u.take(t.Target, t.VMID)
				}
			}
		}
	}
	return u
}

// leavesNothing says whether no copy of a run exists any more besides the one
// that the guest's placement names: it ended done, or cancelled and cleaned.
func (r GuestRun) leavesNothing(op Operation) bool {
	return op.Phase.Ended() && (r.State == RunDone || r.State == RunCancelled)
}

// nextID returns the next free id of a target's range. The cursor goes round
// the whole range before an id is used again, so that a backup group of an
// earlier guest is not met soon. cursors holds what one command has handed out
// and may be nil.
func (s *State) nextID(target SiteID, cursors map[SiteID]int, used usedIDs) (int, bool) {
	_, host, ok := s.Network.Target(target)
	if !ok {
		return 0, false
	}
	r := host.Restore.IDs
	at, ok := cursors[target]
	if !ok {
		at = s.Cursors[target]
	}
	for range r.Last - r.First + 1 {
		at++
		if !r.Contains(at) {
			at = r.First
		}
		if !used[target][at] {
			return at, true
		}
	}
	return 0, false
}

// freeIDs counts the free ids of a target's range, up to most.
func (s *State) freeIDs(target SiteID, used usedIDs, most int) int {
	_, host, ok := s.Network.Target(target)
	if !ok {
		return 0
	}
	r, taken := host.Restore.IDs, 0
	for id := range used[target] {
		if r.Contains(id) {
			taken++
		}
	}
	return min(most, max(0, r.Last-r.First+1-taken))
}
