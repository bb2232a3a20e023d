package failover

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// defaultMemory is reckoned for a guest of which neither a backup nor the
// declaration tells the memory.
const defaultMemory = 1 << 30

// PlanFor says who would go where if the loss were committed now. It is the
// very function that the leader runs; `wwwctl plan` calls it on any agent.
//
// Guests are admitted in the order of priority, then dependencies, then size.
// A target that cannot take a guest of priority p takes no guest of a lower
// priority any more (S12).
func PlanFor(s *State, loss Loss, now time.Time) Plan {
	return planAvoiding(s, loss, now, nil)
}

// planAvoiding is PlanFor without the targets in avoid.
func planAvoiding(s *State, loss Loss, now time.Time, avoid map[SiteID]bool) Plan {
	p := Plan{Loss: loss}
	if s.Network == nil {
		return p
	}
	if loss.Keep != "" {
		return planFailback(s, loss)
	}
	pl := newPlanner(s, loss, now, avoid)
	var places []place
	order := pl.order(pl.concerned())
	pl.evens = len(order) <= balanceAtMost
	for _, g := range order {
		if r := pl.excluded(g); !r.IsZero() {
			p.LeftOut = append(p.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			continue
		}
		place, r := pl.place(g)
		if !r.IsZero() {
			p.LeftOut = append(p.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			continue
		}
		places = append(places, place)
	}
	pl.balance(places)
	for _, place := range places {
		p.Assignments = append(p.Assignments, pl.assign(place))
	}
	p.Hash = p.hash(p.bound())
	return p
}

// planner holds what is left of each target while guests are placed.
type planner struct {
	s         *State
	loss      Loss
	now       time.Time
	lastWrite time.Time // see there
	targets   []SiteID
	memory    map[SiteID]int64
	storage   map[SiteID]int64
	load      map[SiteID]int64 // bytes already assigned, to spread restores
	ids       map[SiteID]int   // free guest ids, as far as this plan can need them
	closed    map[SiteID]int   // lowest priority number that was left out for want of room
	chosen    map[StructureID]SiteID
	lanes     map[SiteID]lanes // see estimate
	apart     apart
	evens     bool // see balance
}

// lastWrite is until when the guests may have been written to: what a restore
// loses lies between its point and then. A site that is truly lost stopped
// writing when its silence began.
func lastWrite(s *State, loss Loss, now time.Time) time.Time {
	j := newJudge(s, s.notBefore(now))
	v := j.site(loss.Site)
	if loss.Host != "" {
		v = j.host(loss.Site, loss.Host, v)
	}
	if v.Cause == CauseLost || v.Cause == CauseHostDown && loss.Host != "" {
		return now.Add(-v.Silence)
	}
	return now
}

func newPlanner(s *State, loss Loss, now time.Time, avoid map[SiteID]bool) *planner {
	p := &planner{
		s: s, loss: loss, now: now,
		memory: map[SiteID]int64{}, storage: map[SiteID]int64{}, load: map[SiteID]int64{}, ids: map[SiteID]int{},
		lanes: map[SiteID]lanes{}, closed: map[SiteID]int{}, chosen: map[StructureID]SiteID{}, lastWrite: lastWrite(s, loss, now),
	}
	used := s.idsInUse()
	for _, id := range s.Network.SiteIDs() {
		at, host, ok := s.Network.Target(id)
		if !ok || avoid[id] || !loss.mayReceive(id, at) || loss.Target != "" && id != loss.Target || !p.standing(id) {
			continue
		}
		r, ok := s.Readiness[id]
		if !ok {
			continue
		}
		p.targets = append(p.targets, id)
		p.memory[id] = r.Ready.MemoryFree - int64(host.Restore.Reserve)
		p.storage[id] = r.Ready.StorageFree - int64(host.Restore.ReserveStorage) + s.warmSizes(id) // warm copies give way
		p.ids[id] = s.freeIDs(id, used, len(s.Guests))
	}
	p.reserveRunning()
	p.apart = s.keepApart()
	if !loss.Local {
		p.keepTogether()
	}
	return p
}

// standing says whether a site is sound enough to receive guests.
func (p *planner) standing(id SiteID) bool {
	d := p.s.Domains[SiteDomain(id)]
	if d.Cause == CauseLost || d.Lost.Index != 0 || d.Level >= LevelSuspect || d.Cause == CauseMeshDown {
		return false
	}
	host, _, _ := p.s.Network.Target(id)
	if _, resting := p.s.RestOf(HostDomain(host)); resting && p.loss.Target != id {
		return false // unless a person names it
	}
	hd := p.s.Domains[HostDomain(host)]
	return hd.Cause != CauseHostDown && hd.Cause != CauseLocked
}

// reserveRunning takes off what operations need beyond the readiness that
// their targets reported: what is not restored or started yet, and what was
// only after that report.
func (p *planner) reserveRunning() {
	for _, op := range p.s.Ops {
		for _, run := range op.Guests {
			if run.State != RunActive && run.State != RunDone {
				continue
			}
			target := run.Assignment.Target
			ready := p.s.Readiness[target].Stamp.Index
			if start, ok := run.starting(); op.Kind != KindWarm && (!ok || start.Status != StatusDone || start.Ended.Index > ready) {
				p.memory[target] -= run.Assignment.Memory
			}
			// The restore allocates its disks when it begins.
			if restore, ok := run.copyBegins(); run.Assignment.Warm == "" && (!ok || restore.Status == StatusPending || restore.Begun.Index > ready) {
				p.storage[target] -= run.Assignment.Point.Size
			}
		}
	}
}

// concerned lists the guests that the loss takes down.
func (p *planner) concerned() []GuestID {
	if len(p.loss.Guests) > 0 {
		return p.loss.Guests
	}
	var out []GuestID
	for _, g := range sortedKeys(p.s.Guests) {
		pl := p.s.Guests[g]
		if pl.Owner == p.loss.Site && (p.loss.Host == "" || pl.Host == p.loss.Host) {
			out = append(out, g)
		}
	}
	return out
}

// order sorts by priority, then the largest first, since it takes longest (list
// scheduling), but a guest comes before those that wait for it: it is drawn forward
// to the place of the largest of them.
func (p *planner) order(guests []GuestID) []GuestID {
	depth := p.depths(guests)
	out := slices.Clone(guests)
	size, weight := map[GuestID]int64{}, map[GuestID]int64{}
	for _, g := range out {
		size[g] = p.size(g)
	}
	// The deepest first: what a guest gives on to those it waits for is complete by then.
	slices.SortStableFunc(out, func(a, b GuestID) int { return cmp.Or(cmp.Compare(depth[b], depth[a]), cmp.Compare(a, b)) })
	for _, g := range out {
		weight[g] = max(weight[g], size[g])
		for _, dep := range p.s.Network.Guests[g].After {
			if p.s.Network.Guests[dep].Priority == p.s.Network.Guests[g].Priority {
				weight[dep] = max(weight[dep], weight[g])
			}
		}
	}
	slices.SortStableFunc(out, func(a, b GuestID) int {
		return cmp.Or(
			cmp.Compare(p.s.Network.Guests[a].Priority, p.s.Network.Guests[b].Priority),
			cmp.Compare(weight[b], weight[a]),
			cmp.Compare(depth[a], depth[b]),
			cmp.Compare(size[b], size[a]),
			cmp.Compare(a, b),
		)
	})
	return out
}

// depths counts how many guests each has to wait for, one after another.
func (p *planner) depths(guests []GuestID) map[GuestID]int {
	depth := map[GuestID]int{}
	var walk func(g GuestID) int
	walk = func(g GuestID) int {
		if d, ok := depth[g]; ok {
			return d
		}
		d := 0
		depth[g] = d // a circle of dependencies ends here
		for _, dep := range p.s.Network.Guests[g].After {
			d = max(d, walk(dep)+1)
		}
		depth[g] = d
		return d
	}
	for _, g := range guests {
		walk(g)
	}
	return depth
}

func (p *planner) size(g GuestID) int64 {
	var size int64
	for _, t := range p.targets {
		for _, pt := range p.s.Readiness[t].Ready.Points[g] {
			size = max(size, pt.Size)
		}
	}
	return size
}

// excluded says why a guest is never moved by this plan, whatever the capacity.
func (p *planner) excluded(g GuestID) Reason {
	guest := p.s.Network.Guests[g]
	st := p.s.Network.Structures[guest.Structure]
	pl := p.s.Guests[g]
	name := []string{"guest", string(g), "structure", string(guest.Structure)}
	switch {
	case guest.Priority == 4:
		return because(CodePriority4, name...)
	case st.Mode == "never" || st.Mode == "manual" && !p.loss.ByHand:
		return because(CodeMode, append(name, "mode", string(st.Mode))...)
	case st.OffSite.Policy != "allowed" && !p.loss.Local:
		return because(CodeNoConsent, name...)
	case guest.Exposure != "web" && guest.Exposure != "none" && !p.loss.Local:
		return because(CodeExposure, append(name, "exposure", guest.Exposure)...)
	case pl.Op != "":
		return because(CodeInOperation, append(name, "op", string(pl.Op))...)
	case p.loss.Planned && p.reviving(g):
		by, _ := p.s.revivedBy(g)
		return because(CodeInOperation, append(name, "op", string(by))...)
	case !p.s.AtHome(g) && p.loss.Planned:
		return because(CodeAwayThere, append(name, "site", string(pl.Owner))...)
	case p.loss.Planned && p.s.noHands(pl.Owner, pl.Host):
		return because(CodeNoHands, append(name, "site", string(pl.Owner), "host", string(pl.Host))...)
	}
	return Reason{}
}

// candidate is one target that could take a guest.
type candidate struct {
	site  SiteID
	point RestorePoint
	why   Reason
	warm  OpID   // the copy to use, "" = restore
	note  Reason // why it is, or is not
}

// place chooses a target for a guest and takes its share of it.
func (p *planner) place(g GuestID) (place, Reason) {
	cands, why := p.candidates(g)
	if len(cands) == 0 {
		return place{}, why
	}
	c := cands[0]
	out := place{guest: g, at: c, memory: p.memoryOf(g, c.point), apart: p.apart.why(g, c.site)}
	if p.evens {
		out.others = p.asGood(g, cands)
	}
	p.take(c, out.memory)
	p.apart.put(g, c.site)
	structure := p.s.Network.Guests[g].Structure
	if _, ok := p.chosen[structure]; !ok {
		p.chosen[structure] = c.site
	}
	return out, Reason{}
}

// take takes a guest's share of a target.
func (p *planner) take(c candidate, memory int64) {
	p.memory[c.site] -= memory
	p.storage[c.site] -= c.point.Size
	if c.warm == "" {
		p.load[c.site] += c.point.Size
		p.ids[c.site]--
	}
}

// assign says what becomes of a guest at its place.
func (p *planner) assign(at place) Assignment {
	g, c := at.guest, at.at
	guest := p.s.Network.Guests[g]
	st := p.s.Network.Structures[guest.Structure]
	host, _, _ := p.s.Network.Target(c.site)
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: c.site, Host: host, VLAN: st.VLAN,
		Point: c.point, Loss: max(0, p.lastWrite.Sub(c.point.Time)), Memory: at.memory, Automatic: st.Mode == "auto",
		Warm: c.warm, Why: append([]Reason{c.why}, at.apart...),
	}
	if p.loss.Planned {
		a.Loss = 0 // it is shut down before its last backup
		a.Point = p.s.leavesBy(g, c.site, c.point)
	}
	if a.Live = !p.loss.Planned && !p.loss.Local && c.warm == "" && p.s.mayLive(KindFailover, g, c.point); a.Live {
		a.Why = append(a.Why, because(CodeLive, "guest", string(g), "site", string(c.site)))
	}
	if c.warm == "" {
		a.Estimate = p.estimate(c.site, c.point.Size)
	}
	if !c.note.IsZero() {
		a.Why = append(a.Why, c.note)
	}
	if !p.loss.Planned && !p.s.current(g, c.point) {
		a.Why = append(a.Why, p.behind(g, c.point))
	}
	return a
}

func (p *planner) reviving(g GuestID) bool {
	_, ok := p.s.revivedBy(g)
	return ok
}

func (p *planner) memoryOf(g GuestID, pt RestorePoint) int64 {
	return cmp.Or(pt.Memory, int64(p.s.Network.Guests[g].Memory), defaultMemory)
}

// closeness orders the reasons why a target cannot take a guest: the one that
// stands closest to success is told.
var closeness = map[string]int{
	CodeNoTarget: 0, CodeNoPoint: 1, CodeAwayThere: 1, CodeSplitNever: 2, CodeMaxLoss: 3, CodeNoFreeID: 4, CodeNoStorage: 5, CodeNoMemory: 6,
}

// candidates returns the targets that can take a guest, best first, or why
// none can. A guest that is left out for want of room closes the targets that
// had none to guests of lower priority (S12).
func (p *planner) candidates(g GuestID) ([]candidate, Reason) {
	why := because(CodeNoTarget, "guest", string(g))
	var out []candidate
	var full []SiteID
	for _, t := range p.targets {
		if !p.loss.Local && t == p.s.Network.Home(g) {
			// The copy that it left stands there, with the same address on the same VLAN: only a
			// rescue, which proves that one off, or a failback, which shuts it down, leads there.
			continue
		}
		c, r := p.candidate(g, t)
		if r.IsZero() {
			if r = p.fits(g, c); !r.IsZero() {
				full = append(full, t)
			}
		}
		if r.IsZero() {
			out = append(out, c)
		} else if closeness[r.Code] > closeness[why.Code] {
			why = r
		}
	}
	if len(out) == 0 {
		for _, t := range full {
			p.closeAt(t, p.s.Network.Guests[g].Priority)
		}
	}
	p.rank(g, out)
	return out, why
}

// candidate is a target with what it would serve a guest from.
func (p *planner) candidate(g GuestID, t SiteID) (candidate, Reason) {
	pt, r := p.point(g, t)
	if !r.IsZero() && r.Code != CodeNoPoint {
		return candidate{}, r
	}
	c := candidate{site: t, point: pt}
	w, note := p.warmFor(g, t, pt)
	c.note = note
	if w.Of != "" {
		c.point, c.warm, r = w.Point, w.Of, Reason{}
	}
	return c, r
}

func (p *planner) closeAt(t SiteID, priority int) {
	if old, ok := p.closed[t]; !ok || priority < old {
		p.closed[t] = priority
	}
}

// point chooses the newest usable restore point that a target holds.
func (p *planner) point(g GuestID, t SiteID) (RestorePoint, Reason) {
	structure := p.s.Network.Guests[g].Structure
	if only, ok := p.chosen[structure]; ok && p.s.Network.Structures[structure].Split == "never" && only != t {
		return RestorePoint{}, because(CodeSplitNever, "guest", string(g), "site", string(only))
	}
	points, older := p.s.PointsAt(g, t)
	pt, r := p.newest(g, t, points)
	if r.Code == CodeNoPoint && len(older) > 0 {
		return p.older(g, t, older)
	}
	return pt, r
}

// fits checks capacity: memory beyond what is reserved for residents, storage
// by provisioned bytes (a thin pool accepts more and fails late).
func (p *planner) fits(g GuestID, c candidate) Reason {
	t, pt := c.site, c.point
	closed, ok := p.closed[t]
	mem, have := p.memoryOf(g, pt), max(0, p.memory[t])
	if ok && closed < p.s.Network.Guests[g].Priority {
		have = 0 // what is left is not for guests of this priority
	}
	switch {
	case mem > have:
		return because(CodeNoMemory, "guest", string(g), "site", string(t), "need", fmt.Sprint(mem), "have", fmt.Sprint(have))
	case pt.Size > p.storage[t]:
		return because(CodeNoStorage, "guest", string(g), "site", string(t), "need", fmt.Sprint(pt.Size), "have", fmt.Sprint(max(0, p.storage[t])))
	case p.ids[t] <= 0 && c.warm == "":
		return because(CodeNoFreeID, "guest", string(g), "site", string(t))
	}
	return Reason{}
}
