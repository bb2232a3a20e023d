package failover

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Standby is what is kept ready of one guest: copies at other sites, restored
// ahead of time and stopped. In rest there is one; while the next is restored
// there are two, and the older one goes only when the newer one is complete.
type Standby struct {
	Copies []WarmCopy `json:"copies,omitempty"`
	Failed Reason     `json:"failed,omitzero"` // why the newest restore came to nothing
	Again  time.Time  `json:"again,omitzero"`  // not tried before
	Fails  int        `json:"fails,omitempty"` // in a row
}

// WarmState is where a warm copy stands.
type WarmState string

// States of a warm copy. A kept one was started by somebody, who may have
// written to it (S7): nothing of ours touches it any more.
const (
	WarmFilling WarmState = "filling"
	WarmReady   WarmState = "ready"
	WarmLeaving WarmState = "leaving"
	WarmKept    WarmState = "kept"
)

// WarmCopy is one copy. It becomes the guest in no other way than any copy: by
// an operation that names it in its assignment, and by Own and start there.
type WarmCopy struct {
	Of    OpID         `json:"of"`           // operation that restored it, as its marker says
	Op    OpID         `json:"op,omitempty"` // that removes it
	State WarmState    `json:"state"`
	Site  SiteID       `json:"site"`
	Host  HostID       `json:"host"`
	VMID  int          `json:"vmid"`
	VLAN  int          `json:"vlan"`
	Point RestorePoint `json:"point"` // what it was restored from
	Since Stamp        `json:"since"` // of the state
}

// WarmSpent counts what a site has restored for warm copies.
type WarmSpent struct {
	Since time.Time `json:"since"`           // of the running 24 h
	Bytes int64     `json:"bytes"`           // provisioned, begun since
	Total int64     `json:"total,omitempty"` // restored, ever
	Waste int64     `json:"waste,omitempty"` // of Total, deleted without having been used
	Top   int       `json:"top,omitempty"`   // ids from here on were used up: see warmID
}

// budgetTime is what a budget of warm copies is for.
const budgetTime = 24 * time.Hour

// aside says whether operations of a kind hold no guest: placements do not
// know of them, and several may concern one guest.
func (k OpKind) aside() bool {
	return k == KindTidy || k == KindWarm || k == KindReturn || k == KindWake || k == KindRemoval
}

// warmCopy returns the copy that an operation restored.
func (s *State) warmCopy(g GuestID, of OpID) (WarmCopy, bool) {
	for _, c := range s.Warm[g].Copies {
		if c.Of == of {
			return c, true
		}
	}
	return WarmCopy{}, false
}

// putWarm replaces the copy of the same origin, or adds it.
func (s *State) putWarm(g GuestID, c WarmCopy) {
	sb := s.Warm[g]
	sb.Copies = slices.Clone(sb.Copies)
	if i := slices.IndexFunc(sb.Copies, func(o WarmCopy) bool { return o.Of == c.Of }); i >= 0 {
		sb.Copies[i] = c
	} else {
		sb.Copies = append(sb.Copies, c)
	}
	s.Warm[g] = sb
}

// dropWarm forgets a copy.
func (s *State) dropWarm(g GuestID, of OpID) {
	sb := s.Warm[g]
	sb.Copies = slices.DeleteFunc(slices.Clone(sb.Copies), func(o WarmCopy) bool { return o.Of == of })
	if len(sb.Copies) == 0 && sb.Failed.IsZero() {
		delete(s.Warm, g)
		return
	}
	s.Warm[g] = sb
}

// adopted says whether a run that is not over counts on a warm copy.
func (s *State) adopted(of OpID) bool {
	for _, op := range s.Ops {
		if op.Kind.aside() {
			continue
		}
		for _, run := range op.Guests {
			if run.Assignment.Warm == of && !run.leavesNothing(op) {
				return true
			}
		}
	}
	return false
}

// warmReady returns the newest warm copy of a guest that stands ready at a site.
func (s *State) warmReady(g GuestID, site SiteID) (WarmCopy, bool) {
	var best WarmCopy
	for _, c := range s.Warm[g].Copies {
		if c.Site == site && s.usable(g, c) && (best.Of == "" || c.Point.Time.After(best.Point.Time)) {
			best = c
		}
	}
	return best, best.Of != ""
}

// usable says whether a copy stands ready, on the VLAN and host that are declared now.
func (s *State) usable(g GuestID, c WarmCopy) bool {
	host, _, ok := s.Network.Target(c.Site)
	return ok && c.State == WarmReady && c.Host == host && c.VLAN == s.Network.Structures[s.Network.Guests[g].Structure].VLAN
}

// warmSite returns where a guest has a warm copy that stands ready, "" if nowhere.
func (s *State) warmSite(g GuestID) SiteID {
	for _, c := range s.Warm[g].Copies {
		if c.State == WarmReady {
			return c.Site
		}
	}
	return ""
}

// warmID returns a free id for a warm copy: the highest of the target's range.
// Copies come and go each night; they keep away from the cursor of the other
// end, which an id should reach late. One that became its guest has backups of
// its own: it and those above it are not taken before all others were.
func (s *State) warmID(target SiteID, used usedIDs) (int, bool) {
	_, host, ok := s.Network.Target(target)
	if !ok {
		return 0, false
	}
	r := host.Restore.IDs
	top := s.WarmSpent[target].Top
	if top == 0 {
		top = r.Last + 1
	}
	for _, part := range [][2]int{{r.First, min(top-1, r.Last)}, {max(top, r.First), r.Last}} {
		for id := part[1]; id >= part[0]; id-- {
			if !used[target][id] {
				return id, true
			}
		}
	}
	return 0, false
}

// warmFor says whether a warm copy may take the place of a cold restore from pt
// (zero: there is nothing to restore from) at a target, and if not, why.
func (p *planner) warmFor(g GuestID, t SiteID, pt RestorePoint) (WarmCopy, Reason) {
	if p.loss.Local || p.loss.Planned || !p.s.AtHome(g) || !p.s.Network.Warm(g) && p.s.warmSite(g) == "" {
		return WarmCopy{}, Reason{}
	}
	name := []string{"guest", string(g), "site", string(t)}
	c, ok := p.s.warmReady(g, t)
	if !ok {
		return WarmCopy{}, because(CodeWarmNone, name...)
	}
	most := p.s.Network.PolicyOf(g).WarmMaxAge.D()
	age := pt.Time.Sub(c.Point.Time)
	limit := p.s.Network.Guests[g].MaxLoss.D()
	tooOld := limit > 0 && !p.loss.ByHand && p.now.Sub(c.Point.Time) > limit
	if !pt.IsZero() && (age > most || tooOld) {
		return WarmCopy{}, because(CodeWarmOld, append(name, "age", age.Round(time.Minute).String(), "limit", most.String())...)
	}
	if tooOld {
		return WarmCopy{}, because(CodeMaxLoss, append(name, "age", p.now.Sub(c.Point.Time).Round(time.Minute).String(), "limit", limit.String())...)
	}
	return c, because(CodeWarmUsed, append(name, "point", clockText(c.Point.Time))...)
}

// idOf returns the id of a run at its target: a new one, or that of the warm
// copy that it counts on, which must stand there as it was planned.
func (s *State) idOf(a Assignment, cursors map[SiteID]int, ids usedIDs) (id int, fresh bool, err error) {
	if a.Warm == "" {
		id, ok := s.nextID(a.Target, cursors, ids)
		if !ok {
			return 0, false, reject(CodeNoFreeID, "site", string(a.Target))
		}
		return id, true, nil
	}
	c, ok := s.warmCopy(a.Guest, a.Warm)
	if !ok || c.State != WarmReady || c.Site != a.Target || c.Point.Volid != a.Point.Volid || c.VLAN != a.VLAN || s.adopted(c.Of) {
		return 0, false, reject(CodeStaleWarm, "guest", string(a.Guest), "site", string(a.Target))
	}
	return c.VMID, false, nil
}

// warmSizes adds up what could be given back at a site: warm copies that stand
// there and that no operation counts on.
func (s *State) warmSizes(site SiteID) int64 {
	var sum int64
	for _, sb := range s.Warm {
		for _, c := range sb.Copies {
			if c.Site == site && c.State != WarmKept && (c.State != WarmLeaving || s.leaves(c)) && !s.adopted(c.Of) {
				sum += c.Point.Size
			}
		}
	}
	return sum
}

// warmAt lists the copies at a site that may be given up, of the guest that is
// rescued last first, and of one guest the oldest.
func (s *State) warmAt(site SiteID) []warmRef {
	var out []warmRef
	for _, g := range sortedKeys(s.Warm) {
		for _, c := range s.Warm[g].Copies {
			if c.Site == site && (c.State == WarmReady || c.State == WarmFilling) && !s.adopted(c.Of) {
				out = append(out, warmRef{g, c})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b warmRef) int {
		return cmp.Or(cmp.Compare(s.Network.Guests[b.guest].Priority, s.Network.Guests[a.guest].Priority), a.copy.Point.Time.Compare(b.copy.Point.Time))
	})
	return out
}

// warmRef is a warm copy and the guest that it is of.
type warmRef struct {
	guest GuestID
	copy  WarmCopy
}

// shortage is how many bytes the restores that operations have still to begin
// at a site need beyond what is free there; not above zero: none.
func (s *State) shortage(site SiteID) int64 {
	need := int64(0)
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			if op.Kind.aside() || run.State != RunActive || run.Assignment.Target != site || run.Assignment.Warm != "" || op.Phase.Ended() {
				continue
			}
			if st, ok := run.copyBegins(); ok && (st.Status == StatusPending || st.Status == StatusRunning && st.Begun.Index > s.Readiness[site].Stamp.Index) {
				need += run.Assignment.Point.Size
			}
		}
	}
	if need == 0 {
		return 0
	}
	_, host, _ := s.Network.Target(site)
	if host.Restore != nil {
		need += int64(host.Restore.ReserveStorage)
	}
	return need - s.Readiness[site].Ready.StorageFree
}

// mustWait says whether a restore waits for room that a warm copy still takes.
func (s *State) mustWait(site SiteID) bool {
	return len(s.Warm) > 0 && s.warmSizes(site) > 0 && s.shortage(site) > 0
}

func bytesText(n int64) string { return fmt.Sprint(max(0, n)) }

// checkWarm: S3, what is kept ready is nobody's guest: no placement names it,
// and its operations own and start nothing. S7, one that somebody has started is
// touched by none of them.
func checkWarm(prev, next *State) error {
	for _, g := range sortedKeys(next.Warm) {
		filling := 0
		for _, c := range next.Warm[g].Copies {
			for _, other := range sortedKeys(next.Guests) {
				if p := next.Guests[other]; p.Owner == c.Site && p.VMID == c.VMID && p.Host == c.Host && c.State != WarmKept {
					return violated("S3", "the warm copy %d of %s at %s is where %s is placed", c.VMID, g, c.Site, other)
				}
			}
			if c.State == WarmFilling {
				filling++
			}
			was, known := prev.warmCopy(g, c.Of)
			if known && was.State == WarmKept && c.State != WarmKept {
				return violated("S7", "the warm copy %d of %s at %s was somebody's and is %s", c.VMID, g, c.Site, c.State)
			}
			if c.State == WarmLeaving && known && was.State == WarmReady && prev.adopted(c.Of) {
				return violated("S7", "the warm copy %d of %s at %s is removed while an operation counts on it", c.VMID, g, c.Site)
			}
		}
		if filling > 1 {
			return violated("warm", "%d copies of %s are restored at once", filling, g)
		}
	}
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			c, ok := next.warmCopy(g, op.origin())
			switch {
			case op.Kind != KindWarm:
			case run.Owned() || run.Admitted != 0 || len(run.Steps) > 1:
				return violated("S3", "%s of %s: a warm copy is owned, admitted or started", g, id)
			case ok && c.State == WarmKept && next.Index > c.Since.Index && !next.Unconfirmed[id]:
				return violated("S7", "%s works on the warm copy %d of %s, which is somebody's", id, c.VMID, g)
			}
		}
	}
	return nil
}
