package failover

import "maps"

// Pins says whether the protection of a restore point at a target may be an
// operation's own, and so nobody else's wish: of one that is open or stuck, or
// that has ended since asOf, the index up to which whoever saw the protection
// knew the log. Proxmox does not tell who protected a snapshot.
func (s *State) Pins(target SiteID, volid string, asOf uint64) bool {
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			if run.pins(target, volid) && (!op.Phase.Ended() || run.State == RunStuck || op.Ended.Index > asOf) {
				return true
			}
		}
	}
	return false
}

// pins says whether a run has protected a restore point that was not protected before.
func (r GuestRun) pins(target SiteID, volid string) bool {
	if a := r.Assignment; a.Target == target && a.Point.Volid == volid && !a.Point.Protected {
		return true
	}
	for _, t := range r.Tried {
		if t.Target == target && t.Volid == volid {
			return true
		}
	}
	return false
}

// withoutOurPins takes back what a readiness says of restore points that only an
// operation protects: a later one would leave them protected for ever, as if a
// person had wanted it. The reader cannot know: it may be behind the log.
func (s *State) withoutOurPins(r Readiness) Readiness {
	points := maps.Clone(r.Points)
	for g, list := range points {
		var own []RestorePoint
		for i, p := range list {
			if !p.Protected || !s.Pins(r.Site, p.Volid, r.AsOf) {
				continue
			}
			if own == nil {
				own = append(own, list...)
			}
			own[i].Protected = false
		}
		if own != nil {
			points[g] = own
		}
	}
	r.Points = points
	return r
}
