package failover

import (
	"cmp"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
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
	return s.Network.Warm(g) && s.warmable(g) && s.AtHome(g)
}

// warmable says whether a guest ever moves, so that a copy of it makes sense.
func (s *State) warmable(g GuestID) bool {
	guest := s.Network.Guests[g]
	st := s.Network.Structures[guest.Structure]
	return guest.Priority < 4 && st.Mode != network.ModeNever && st.OffSite.Policy == network.ConsentAllowed &&
		(guest.Exposure == "web" || guest.Exposure == "none")
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
	k := warmKeeper{s: s, now: now, homes: map[HostID]SiteID{}, having: map[GuestID][]*warmTarget{}, load: map[SiteID]int64{}, chosen: map[StructureID]SiteID{}}
	var guests []GuestID
	for g := range s.Network.Guests {
		if s.Network.Warm(g) {
			guests = append(guests, g)
		}
	}
	if len(guests) == 0 {
		return nil
	}
	slices.SortFunc(guests, func(a, b GuestID) int {
		return cmp.Or(cmp.Compare(s.Network.Guests[a].Priority, s.Network.Guests[b].Priority), cmp.Compare(a, b))
	})
	k.apart = s.keepApart()
	k.lookAround()
	var out []WarmWant
	for _, g := range guests {
		if at := s.Guests[g]; s.warmable(g) && at.Host == s.Network.Guests[g].Host && at.Owner == k.homes[at.Host] {
			out = append(out, k.want(g))
		}
	}
	return out
}

// warmKeeper says where warm copies are wanted. What it needs of a target is
// looked up once: a network may have a hundred, and thousands of guests.
type warmKeeper struct {
	s       *State
	now     time.Time
	homes   map[HostID]SiteID
	targets []*warmTarget
	having  map[GuestID][]*warmTarget // a restore point of the guest, in the order of targets
	load    map[SiteID]int64          // bytes of the copies that are to stand there
	chosen  map[StructureID]SiteID
	apart   apart
}

// warmTarget is a site that may keep copies.
type warmTarget struct {
	id     SiteID
	host   network.Restore
	memory int64 // free, beyond the reserve
	room   int64 // free storage, beyond the reserve
	ids    int   // free ones
	busy   bool  // an operation has work there, or a copy is being restored
	points map[GuestID][]RestorePoint
}

func (k *warmKeeper) lookAround() {
	s, used := k.s, k.s.idsInUse()
	for _, id := range s.Network.SiteIDs() {
		for _, h := range s.Network.Sites[id].HostIDs() {
			k.homes[h] = id
		}
		r, told := s.Readiness[id]
		_, host, ok := s.Network.Target(id)
		if !ok || !told || !(&planner{s: s}).standing(id) {
			continue
		}
		t := &warmTarget{
			id: id, host: *host.Restore, memory: r.Ready.MemoryFree - int64(host.Restore.Reserve), busy: s.busyAt(id),
			room: r.Ready.StorageFree - int64(host.Restore.ReserveStorage), ids: s.freeIDs(id, used, len(s.Guests)), points: r.Ready.Points,
		}
		k.targets = append(k.targets, t)
		for g := range t.points {
			k.having[g] = append(k.having[g], t)
		}
	}
}

// target returns a target by its name.
func (k *warmKeeper) target(id SiteID) *warmTarget {
	i := slices.IndexFunc(k.targets, func(t *warmTarget) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	return k.targets[i]
}

func (k *warmKeeper) want(g GuestID) WarmWant {
	t := k.choose(g)
	if t == nil {
		return WarmWant{Guest: g, Why: because(CodeWarmNoPlace, "guest", string(g))}
	}
	w := WarmWant{Guest: g, Target: t.id}
	name := []string{"guest", string(g), "site", string(w.Target)}
	k.chosen[k.s.Network.Guests[g].Structure] = w.Target
	k.apart.put(g, w.Target)
	newest, verified := warmPoints(t.points[g])
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
		w.Why = k.mayFill(w, t)
	}
	return w
}

// mayFill says whether a copy may be restored now: CodeWarmDue, or what is
// against it.
func (k *warmKeeper) mayFill(w WarmWant, t *warmTarget) Reason {
	s, sb := k.s, k.s.Warm[w.Guest]
	name := []string{"guest", string(w.Guest), "site", string(w.Target)}
	spent, rule := s.WarmSpent[w.Target], t.host.Warm
	if k.now.Sub(spent.Since) >= budgetTime {
		spent.Bytes = 0
	}
	switch {
	case s.Guests[w.Guest].Op != "" || t.busy:
		return because(CodeWarmWaits, name...)
	case k.now.Before(sb.Again):
		return because(CodeWarmFailed, append(name, "note", sb.Failed.Args["note"], "at", clockText(sb.Again))...)
	case !rule.Window.Open(k.now):
		return because(CodeWarmWindow, append(name, "window", rule.Window.String())...)
	case rule.Budget > 0 && spent.Bytes+w.Point.Size > int64(rule.Budget):
		return because(CodeWarmBudget, append(name, "budget", rule.Budget.String(), "until", clockText(spent.Since.Add(budgetTime)))...)
	case t.room < 2*w.Point.Size: // what is left is for residents, and as much as the copy
		return because(CodeWarmNoRoom, append(name, "need", bytesText(2*w.Point.Size), "have", bytesText(t.room))...)
	case t.ids < min(len(s.Guests), len(t.points)+1):
		return because(CodeNoFreeID, name...)
	}
	t.busy = true
	return because(CodeWarmDue, append(name, "point", clockText(w.Point.Time))...)
}

// filling returns where a copy of a guest is being restored, "" if nowhere, and
// closes its target to others.
func (k *warmKeeper) filling(g GuestID) SiteID {
	for _, c := range k.s.Warm[g].Copies {
		if c.State == WarmFilling {
			if t := k.target(c.Site); t != nil {
				t.busy = true
			}
			return c.Site
		}
	}
	return ""
}

// warmPoints returns the newest usable restore point of a target's, and the newest
// that the PBS there has verified.
func warmPoints(points []RestorePoint) (newest, verified RestorePoint) {
	for _, pt := range points {
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

// choose returns the survivor that keeps a guest's warm copy: as a failover would,
// apart from whom it should be, by preference, then where one stands already, then
// the one with the least to keep.
func (k *warmKeeper) choose(g GuestID) *warmTarget {
	guest := k.s.Network.Guests[g]
	home, has := k.homes[guest.Host], k.s.warmSite(g)
	only, fixed := k.chosen[guest.Structure]
	fixed = fixed && k.s.Network.Structures[guest.Structure].Split == "never"
	var best *warmTarget
	var rank [4]int64
	for _, t := range k.having[g] {
		newest, _ := warmPoints(t.points[g])
		if t.id == home || fixed && t.id != only || newest.IsZero() || cmp.Or(newest.Memory, int64(guest.Memory), defaultMemory) > t.memory {
			continue
		}
		prefer := int64(slices.Index(guest.Prefer, t.id))
		if prefer < 0 {
			prefer = int64(len(guest.Prefer))
		}
		elsewhere := int64(1)
		if t.id == has {
			elsewhere = 0
		}
		r := [4]int64{int64(k.apart.beside(g, t.id)), prefer, elsewhere, k.load[t.id]}
		if best == nil || slices.Compare(r[:], rank[:]) < 0 {
			best, rank = t, r
		}
	}
	return best
}

// WarmToVerify returns the restore points at a target that warm copies wait for
// until the PBS there has verified them, while the time is right for that.
func WarmToVerify(s *State, site SiteID) []RestorePoint {
	_, host, ok := s.Network.Target(site)
	if !ok || !host.Restore.Warm.Window.Open(s.Clock) || s.busyAt(site) || !s.warmWaits(site) {
		return nil
	}
	var out []RestorePoint
	for _, w := range s.warmWants(s.Clock) {
		if w.Target == site && w.Why.Code == CodeWarmUnverified {
			newest, _ := warmPoints(s.Readiness[site].Ready.Points[w.Guest])
			out = append(out, newest)
		}
	}
	return out
}

// warmWaits says whether a target has a newer restore point than its verified ones of any
// guest that wants a warm copy: without one nothing is to be verified for such copies.
func (s *State) warmWaits(site SiteID) bool {
	for g, points := range s.Readiness[site].Ready.Points {
		if !s.Network.Warm(g) {
			continue
		}
		if newest, verified := warmPoints(points); !newest.Time.Equal(verified.Time) || newest.Volid != verified.Volid {
			return true
		}
	}
	return false
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
