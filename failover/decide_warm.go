package failover

import (
	"cmp"
	"slices"
	"time"
)

// yieldWarm gives up what warm copies take from operations: the restore of one
// at a target where an operation has work, and the room of those that stand
// where a restore finds none.
func (d *decider) yieldWarm() {
	if len(d.s.Warm) == 0 {
		return
	}
	for _, id := range d.s.opOrder() {
		op := d.s.Ops[id]
		if op.Kind != KindWarm || op.Phase != OpPreparing {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			reason := because(CodeWarmYields, "guest", string(g), "site", string(run.Assignment.Target))
			switch {
			case run.State != RunActive:
			case d.s.busyAt(run.Assignment.Target):
				d.propose(CancelOp{Op: id, Reason: reason})
				return
			case !d.s.warmWanted(g) && d.s.Guests[g].Op == "":
				d.propose(CancelOp{Op: id, Reason: because(CodeWarmUnwanted, "guest", string(g), "site", string(run.Assignment.Target))})
				return
			}
		}
	}
	for _, site := range d.s.Network.SiteIDs() {
		short := d.s.shortage(site)
		if short <= 0 {
			continue
		}
		for _, w := range d.s.warmAt(site) {
			if w.copy.State == WarmReady && short > d.s.warmLeaving(site) {
				d.propose(DropWarm{Guest: w.guest, Of: w.copy.Of, Reason: because(CodeWarmYields, "guest", string(w.guest), "site", string(site))})
				return
			}
		}
	}
}

// busyAt says whether an operation has work at a target that a warm copy must
// not disturb.
func (s *State) busyAt(site SiteID) bool {
	for _, op := range s.Ops {
		if op.Kind.aside() || op.Phase.Ended() {
			continue
		}
		for _, run := range op.Guests {
			if _, _, left := run.Current(); run.Assignment.Target == site && run.State == RunActive && left {
				return true
			}
		}
	}
	return false
}

// warmLeaving adds up the room that is being given back at a site.
func (s *State) warmLeaving(site SiteID) int64 {
	var sum int64
	for _, sb := range s.Warm {
		for _, c := range sb.Copies {
			if c.Site == site && c.State == WarmLeaving && s.leaves(c) {
				sum += c.Point.Size
			}
		}
	}
	return sum
}

// leaves says whether the removal of a copy is under way: one that is stuck is
// for a person, and nothing waits for it.
func (s *State) leaves(c WarmCopy) bool {
	op, ok := s.Ops[c.Op]
	return ok && !op.Phase.Ended()
}

// warmWanted says whether a guest is to have a warm copy now.
func (s *State) warmWanted(g GuestID) bool {
	guest := s.Network.Guests[g]
	st := s.Network.Structures[guest.Structure]
	return s.Network.Warm(g) && guest.Priority < 4 && st.Mode != "never" && st.OffSite.Policy == "allowed" && s.atHome(g)
}

// quietAfter is how long a domain's trouble keeps warm copies as they are: what
// is wrong for longer is a state that the network lives in.
const quietAfter = time.Hour

// calm says whether nothing is suspected, so that what stands ready may be
// exchanged.
func (d *decider) calm() bool {
	for _, dom := range d.s.Domains {
		if dom.Level >= LevelSuspect && d.now.Sub(dom.Since.At) < quietAfter {
			return false
		}
	}
	return true
}

// warm keeps one warm copy of each guest that wants one: it removes what is not
// wanted any more, then has the next one restored. It comes last, and begins
// nothing while anything is suspected.
func (d *decider) warm() {
	if !d.keep || !d.calm() {
		return
	}
	for _, g := range sortedKeys(d.s.Warm) {
		if c := d.dropWarm(g); c != nil {
			d.propose(c)
			return
		}
	}
	for _, w := range d.s.warmWants(d.now) {
		if w.Why.Code == CodeWarmDue {
			d.propose(BeginWarm{Assignment: w.assignment(d.s)})
			return
		}
	}
}

// dropWarm returns what removes a copy of a guest that stands there for nothing.
func (d *decider) dropWarm(g GuestID) Command {
	if d.s.Guests[g].Op != "" {
		return nil
	}
	wanted := d.s.warmWanted(g)
	for _, c := range d.s.Warm[g].Copies {
		why := because(CodeWarmUnwanted, "guest", string(g), "site", string(c.Site))
		best := d.s.lastWarm(g)
		switch {
		case c.State != WarmReady || d.s.adopted(c.Of):
			continue
		case !wanted || best.Of == "": // or it stands on what was declared otherwise since
		case best.Of != c.Of:
			why = because(CodeWarmNewer, "guest", string(g), "site", string(c.Site))
		default:
			continue
		}
		return DropWarm{Guest: g, Of: c.Of, Reason: why}
	}
	return nil
}

// lastWarm is the copy of a guest that counts: the one that was completed last,
// of those that could be used, wherever it stands.
func (s *State) lastWarm(g GuestID) WarmCopy {
	var best WarmCopy
	for _, c := range s.Warm[g].Copies {
		if s.usable(g, c) && (best.Of == "" || c.Since.Index > best.Since.Index) {
			best = c
		}
	}
	return best
}

// coldHere gives up the warm copy that a run counted on and restores the newest
// usable point at the same target instead.
func (d *decider) coldHere(op Operation, run GuestRun) (Assignment, bool) {
	a := run.Assignment
	limit := d.s.Network.Guests[a.Guest].MaxLoss.D()
	for _, pt := range d.s.Readiness[a.Target].Ready.Points[a.Guest] {
		if tooOld := limit > 0 && !op.Plan.Loss.ByHand && d.now.Sub(pt.Time) > limit; pt.Unusable != "" || tooOld {
			continue
		}
		a.Point, a.Warm = pt, ""
		a.Loss = max(0, lastWrite(d.s, op.Plan.Loss, d.now).Sub(pt.Time))
		return a, true
	}
	return a, false
}

// WarmWant is where a guest is to have its warm copy, from which restore point,
// and how that stands: Why is zero when it is as it should be.
type WarmWant struct {
	Guest  GuestID      `json:"guest"`
	Target SiteID       `json:"target,omitempty"`
	Point  RestorePoint `json:"point,omitzero"`
	Why    Reason       `json:"why,omitzero"`
}

func (w WarmWant) assignment(s *State) Assignment {
	guest := s.Network.Guests[w.Guest]
	host, _, _ := s.Network.Target(w.Target)
	return Assignment{
		Guest: w.Guest, Structure: guest.Structure, Priority: guest.Priority, Target: w.Target, Host: host,
		VLAN: s.Network.Structures[guest.Structure].VLAN, Point: w.Point,
	}
}

// warmWants says of every guest that wants a warm copy how that stands, in the
// order in which copies are restored: priority, then name.
func (s *State) warmWants(now time.Time) []WarmWant {
	var guests []GuestID
	for _, g := range sortedKeys(s.Guests) {
		if s.Network.Warm(g) && s.warmWanted(g) {
			guests = append(guests, g)
		}
	}
	if len(guests) == 0 {
		return nil
	}
	slices.SortStableFunc(guests, func(a, b GuestID) int {
		return cmp.Compare(s.Network.Guests[a].Priority, s.Network.Guests[b].Priority)
	})
	k := warmKeeper{s: s, now: now, used: s.idsInUse(), busy: map[SiteID]bool{}, load: map[SiteID]int64{}, chosen: map[StructureID]SiteID{}, apart: s.keepApart()}
	for _, id := range s.Network.SiteIDs() {
		if s.Readiness[id].Stamp.Index != 0 && (&planner{s: s}).standing(id) {
			k.targets = append(k.targets, id)
		}
		k.busy[id] = s.busyAt(id)
	}
	var out []WarmWant
	for _, g := range guests {
		out = append(out, k.want(g))
	}
	return out
}

type warmKeeper struct {
	s       *State
	now     time.Time
	targets []SiteID
	used    usedIDs
	busy    map[SiteID]bool
	load    map[SiteID]int64 // bytes of the copies that are to stand there
	chosen  map[StructureID]SiteID
	apart   apart
}

func (k *warmKeeper) want(g GuestID) WarmWant {
	w := WarmWant{Guest: g, Target: k.site(g)}
	name := []string{"guest", string(g), "site", string(w.Target)}
	if w.Target == "" {
		w.Why = because(CodeWarmNoPlace, "guest", string(g))
		return w
	}
	k.chosen[k.s.Network.Guests[g].Structure] = w.Target
	k.apart.put(g, w.Target)
	newest, verified := k.points(g, w.Target)
	w.Point = verified
	k.load[w.Target] += newest.Size
	have, ok := k.s.warmReady(g, w.Target)
	switch {
	case k.filling(g) != "":
		w.Why = because(CodeWarmFilling, "guest", string(g), "site", string(k.filling(g)))
	case verified.IsZero() || ok && !verified.Time.After(have.Point.Time):
		if !newest.IsZero() && (!ok || newest.Time.After(have.Point.Time)) {
			w.Why = because(CodeWarmUnverified, append(name, "point", clockText(newest.Time))...)
		}
	default:
		w.Why = k.mayFill(g, w)
	}
	return w
}

// mayFill says whether a copy may be restored now: CodeWarmDue, or what is
// against it.
func (k *warmKeeper) mayFill(g GuestID, w WarmWant) Reason {
	s, sb := k.s, k.s.Warm[g]
	name := []string{"guest", string(g), "site", string(w.Target)}
	_, host, _ := s.Network.Target(w.Target)
	spent, rule := s.WarmSpent[w.Target], host.Restore.Warm
	if k.now.Sub(spent.Since) >= budgetTime {
		spent.Bytes = 0
	}
	free := s.Readiness[w.Target].Ready.StorageFree - int64(host.Restore.ReserveStorage)
	switch {
	case s.Guests[g].Op != "" || k.busy[w.Target]:
		return because(CodeWarmWaits, name...)
	case k.now.Before(sb.Again):
		return because(CodeWarmFailed, append(name, "note", sb.Failed.Args["note"], "at", clockText(sb.Again))...)
	case !rule.Window.Open(k.now):
		return because(CodeWarmWindow, append(name, "window", rule.Window.String())...)
	case rule.Budget > 0 && spent.Bytes+w.Point.Size > int64(rule.Budget):
		return because(CodeWarmBudget, append(name, "budget", rule.Budget.String(), "until", clockText(spent.Since.Add(budgetTime)))...)
	case free < 2*w.Point.Size: // what is left is for residents, and as much as the copy
		return because(CodeWarmNoRoom, append(name, "need", bytesText(2*w.Point.Size), "have", bytesText(free))...)
	case s.freeIDs(w.Target, k.used, len(s.Guests)) < min(len(s.Guests), len(s.Readiness[w.Target].Ready.Points)+1):
		return because(CodeNoFreeID, name...)
	}
	k.busy[w.Target] = true
	return because(CodeWarmDue, append(name, "point", clockText(w.Point.Time))...)
}

// filling returns where a copy of a guest is being restored, "" if nowhere, and
// closes its target to others.
func (k *warmKeeper) filling(g GuestID) SiteID {
	for _, c := range k.s.Warm[g].Copies {
		if c.State == WarmFilling {
			k.busy[c.Site] = true
			return c.Site
		}
	}
	return ""
}

// points returns the newest usable restore point of a guest at a target, and
// the newest that the PBS there has verified.
func (k *warmKeeper) points(g GuestID, t SiteID) (newest, verified RestorePoint) {
	for _, pt := range k.s.Readiness[t].Ready.Points[g] {
		switch {
		case pt.Unusable != "":
			continue
		case newest.IsZero():
			newest = pt
		}
		if pt.Verified {
			return newest, pt
		}
	}
	return newest, RestorePoint{}
}

// site chooses the survivor that keeps a guest's warm copy: as a failover would,
// apart from whom it should be, by preference, then where one stands already, then the one with the least to
// keep.
func (k *warmKeeper) site(g GuestID) SiteID {
	guest := k.s.Network.Guests[g]
	home := k.s.Network.Home(g)
	only, fixed := k.chosen[guest.Structure]
	fixed = fixed && k.s.Network.Structures[guest.Structure].Split == "never"
	has := k.s.warmSite(g)
	best, rank := SiteID(""), []int64(nil)
	for _, t := range k.targets {
		newest, _ := k.points(g, t)
		_, host, ok := k.s.Network.Target(t)
		mem := cmp.Or(newest.Memory, int64(guest.Memory), defaultMemory)
		if !ok || t == home || fixed && t != only || newest.IsZero() || mem > k.s.Readiness[t].Ready.MemoryFree-int64(host.Restore.Reserve) {
			continue
		}
		prefer := int64(slices.Index(guest.Prefer, t))
		if prefer < 0 {
			prefer = int64(len(guest.Prefer))
		}
		elsewhere := int64(1)
		if t == has {
			elsewhere = 0
		}
		r := []int64{int64(k.apart.beside(g, t)), prefer, elsewhere, k.load[t]}
		if best == "" || slices.Compare(r, rank) < 0 {
			best, rank = t, r
		}
	}
	return best
}

// WarmToVerify returns the restore points at a target that warm copies wait for
// until the PBS there has verified them, while the time is right for that.
func WarmToVerify(s *State, site SiteID) []RestorePoint {
	_, host, ok := s.Network.Target(site)
	if !ok || !host.Restore.Warm.Window.Open(s.Clock) || s.busyAt(site) {
		return nil
	}
	var out []RestorePoint
	for _, w := range s.warmWants(s.Clock) {
		if w.Target == site && w.Why.Code == CodeWarmUnverified {
			newest, _ := (&warmKeeper{s: s}).points(w.Guest, site)
			out = append(out, newest)
		}
	}
	return out
}

// WarmIDs returns the ids of the warm copies that stand ready at a site, ascending.
func (s *State) WarmIDs(site SiteID) []int {
	var out []int
	for _, sb := range s.Warm {
		for _, c := range sb.Copies {
			if c.Site == site && c.State == WarmReady {
				out = append(out, c.VMID)
			}
		}
	}
	slices.Sort(out)
	return out
}
