package failover

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
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
	p := Plan{Loss: loss}
	if s.Network == nil {
		return p
	}
	pl := newPlanner(s, loss, now)
	for _, g := range pl.order(pl.concerned()) {
		if r := pl.excluded(g); !r.IsZero() {
			p.LeftOut = append(p.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			continue
		}
		a, r := pl.place(g)
		if !r.IsZero() {
			p.LeftOut = append(p.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			continue
		}
		p.Assignments = append(p.Assignments, a)
	}
	p.Hash = p.hash()
	return p
}

// hash covers guests, targets and who is left out, not the restore points: a
// fresher one does not make the plan another plan.
func (p Plan) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s|%s\n", p.Loss.Site, p.Loss.Host)
	lines := make([]string, 0, len(p.Assignments)+len(p.LeftOut))
	for _, a := range p.Assignments {
		lines = append(lines, fmt.Sprintf("%s>%s", a.Guest, a.Target))
	}
	for _, l := range p.LeftOut {
		lines = append(lines, fmt.Sprintf("%s!%s", l.Guest, l.Reason.Code))
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprintln(h, l)
	}
	return "p-" + hex.EncodeToString(h.Sum(nil))[:8]
}

// planner holds what is left of each target while guests are placed.
type planner struct {
	s       *State
	loss    Loss
	now     time.Time
	targets []SiteID
	memory  map[SiteID]int64
	storage map[SiteID]int64
	load    map[SiteID]int64 // bytes already assigned, to spread restores
	closed  map[SiteID]int   // lowest priority number that did not fit
	chosen  map[StructureID]SiteID
}

func newPlanner(s *State, loss Loss, now time.Time) *planner {
	p := &planner{
		s: s, loss: loss, now: now,
		memory: map[SiteID]int64{}, storage: map[SiteID]int64{}, load: map[SiteID]int64{},
		closed: map[SiteID]int{}, chosen: map[StructureID]SiteID{},
	}
	for _, id := range s.Network.SiteIDs() {
		_, host, ok := s.Network.Target(id)
		if !ok || id == loss.Site || loss.Target != "" && id != loss.Target || !p.standing(id) {
			continue
		}
		r, ok := s.Readiness[id]
		if !ok {
			continue
		}
		p.targets = append(p.targets, id)
		p.memory[id] = r.Ready.MemoryFree - int64(host.Restore.Reserve)
		p.storage[id] = r.Ready.StorageFree
	}
	p.reserveRunning()
	return p
}

// standing says whether a site is sound enough to receive guests.
func (p *planner) standing(id SiteID) bool {
	d := p.s.Domains[SiteDomain(id)]
	if d.Cause == CauseLost || d.Lost.Index != 0 || d.Level >= LevelSuspect || d.Cause == CauseMeshDown {
		return false
	}
	host, _, _ := p.s.Network.Target(id)
	hd := p.s.Domains[HostDomain(host)]
	return hd.Cause != CauseHostDown && hd.Cause != CauseLocked
}

// reserveRunning takes off what running operations will still need: their
// guests are not yet in the readiness that their targets reported.
func (p *planner) reserveRunning() {
	for _, id := range sortedKeys(p.s.Ops) {
		op := p.s.Ops[id]
		if op.Phase.Ended() {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			start, ok := run.Step(StepStart)
			if run.State != RunActive || ok && start.Status == StatusDone {
				continue
			}
			p.memory[run.Assignment.Target] -= run.Assignment.Memory
			if restore, _ := run.Step(StepRestore); restore.Status == StatusPending {
				p.storage[run.Assignment.Target] -= run.Assignment.Point.Size
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

// order sorts by priority, then so that a guest comes after those it depends
// on, then the largest first (it takes longest), then by name.
func (p *planner) order(guests []GuestID) []GuestID {
	depth := map[GuestID]int{}
	var walk func(g GuestID, seen int) int
	walk = func(g GuestID, seen int) int {
		if d, ok := depth[g]; ok || seen > len(p.s.Network.Guests) {
			return d
		}
		d := 0
		for _, dep := range p.s.Network.Guests[g].After {
			d = max(d, walk(dep, seen+1)+1)
		}
		depth[g] = d
		return d
	}
	out := slices.Clone(guests)
	size := map[GuestID]int64{}
	for _, g := range out {
		walk(g, 0)
		size[g] = p.size(g)
	}
	slices.SortStableFunc(out, func(a, b GuestID) int {
		return cmp.Or(
			cmp.Compare(p.s.Network.Guests[a].Priority, p.s.Network.Guests[b].Priority),
			cmp.Compare(depth[a], depth[b]),
			cmp.Compare(size[b], size[a]),
			cmp.Compare(a, b),
		)
	})
	return out
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
	case st.OffSite.Policy != "allowed":
		return because(CodeNoConsent, name...)
	case guest.Exposure != "web" && guest.Exposure != "none":
		return because(CodeExposure, append(name, "exposure", guest.Exposure)...)
	case pl.Op != "":
		return because(CodeInOperation, append(name, "op", string(pl.Op))...)
	case pl.Owner != p.s.Network.Home(g):
		return because(CodeAwayThere, append(name, "site", string(pl.Owner))...)
	}
	return Reason{}
}

// candidate is one target that could take a guest.
type candidate struct {
	site  SiteID
	point RestorePoint
	why   Reason
}

// place chooses a target for a guest and takes its share of it.
func (p *planner) place(g GuestID) (Assignment, Reason) {
	guest := p.s.Network.Guests[g]
	cands, why := p.candidates(g)
	if len(cands) == 0 {
		return Assignment{}, why
	}
	st := p.s.Network.Structures[guest.Structure]
	c := cands[0]
	host, _, _ := p.s.Network.Target(c.site)
	mem := p.memoryOf(g, c.point)
	p.memory[c.site] -= mem
	p.storage[c.site] -= c.point.Size
	p.load[c.site] += c.point.Size
	if _, ok := p.chosen[guest.Structure]; !ok {
		p.chosen[guest.Structure] = c.site
	}
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: c.site, Host: host, VLAN: st.VLAN,
		Point: c.point, Loss: max(0, p.now.Sub(c.point.Time)), Memory: mem, Automatic: st.Mode == "auto",
		Why: []Reason{c.why},
	}
	if rate := p.s.Readiness[c.site].Ready.Rate; rate > 0 {
		a.Estimate = time.Duration(float64(p.load[c.site]) / float64(rate) * float64(time.Second))
	}
	return a, Reason{}
}

func (p *planner) memoryOf(g GuestID, pt RestorePoint) int64 {
	return cmp.Or(pt.Memory, int64(p.s.Network.Guests[g].Memory), defaultMemory)
}

// candidates returns the targets that can take a guest, best first, or why
// none can: the reason that stands closest to success.
func (p *planner) candidates(g GuestID) ([]candidate, Reason) {
	guest := p.s.Network.Guests[g]
	st := p.s.Network.Structures[guest.Structure]
	why := because(CodeNoTarget, "guest", string(g))
	var out []candidate
	for _, t := range p.targets {
		if only, ok := p.chosen[guest.Structure]; ok && st.Split == "never" && only != t {
			why = because(CodeSplitNever, "guest", string(g), "site", string(only))
			continue
		}
		pt, r := p.point(g, t)
		if !r.IsZero() {
			why = r
			continue
		}
		if r := p.fits(g, t, pt); !r.IsZero() {
			p.closeAt(t, guest.Priority)
			why = r
			continue
		}
		out = append(out, candidate{site: t, point: pt})
	}
	p.rank(g, out)
	return out, why
}

func (p *planner) closeAt(t SiteID, priority int) {
	if old, ok := p.closed[t]; !ok || priority < old {
		p.closed[t] = priority
	}
}

// point chooses the newest usable restore point that a target holds.
func (p *planner) point(g GuestID, t SiteID) (RestorePoint, Reason) {
	points := p.s.Readiness[t].Ready.Points[g]
	if len(points) == 0 {
		return RestorePoint{}, because(CodeNoPoint, "guest", string(g), "site", string(t))
	}
	for _, pt := range points {
		if pt.Unusable != "" {
			continue
		}
		if limit := p.s.Network.Guests[g].MaxLoss.D(); limit > 0 && p.now.Sub(pt.Time) > limit && !p.loss.ByHand {
			return RestorePoint{}, because(CodeMaxLoss, "guest", string(g), "site", string(t),
				"age", p.now.Sub(pt.Time).Round(time.Minute).String(), "limit", limit.String())
		}
		return pt, Reason{}
	}
	return RestorePoint{}, because(CodeNoPoint, "guest", string(g), "site", string(t), "newest", points[0].Unusable)
}

// fits checks capacity: memory beyond what is reserved for residents, storage
// by provisioned bytes (a thin pool accepts more and fails late).
func (p *planner) fits(g GuestID, t SiteID, pt RestorePoint) Reason {
	closed, ok := p.closed[t]
	mem := p.memoryOf(g, pt)
	switch {
	case mem > p.memory[t] || ok && closed < p.s.Network.Guests[g].Priority:
		return because(CodeNoMemory, "guest", string(g), "site", string(t), "need", fmt.Sprint(mem), "have", fmt.Sprint(max(0, p.memory[t])))
	case pt.Size > p.storage[t]:
		return because(CodeNoStorage, "guest", string(g), "site", string(t), "need", fmt.Sprint(pt.Size), "have", fmt.Sprint(max(0, p.storage[t])))
	}
	return Reason{}
}

// freshEnough is how much older a replica may be without losing its place to
// another target: the sync jobs of two targets do not run in the same minute.
const freshEnough = 15 * time.Minute

// rank puts the best candidate first: declared preference, then fresh replica,
// then the target with the fewest bytes assigned so far, then free memory.
func (p *planner) rank(g GuestID, cands []candidate) {
	prefer := p.s.Network.Guests[g].Prefer
	place := func(t SiteID) int {
		if i := slices.Index(prefer, t); i >= 0 {
			return i
		}
		return len(prefer)
	}
	var newest time.Time
	for _, c := range cands {
		if c.point.Time.After(newest) {
			newest = c.point.Time
		}
	}
	stale := func(c candidate) int {
		if newest.Sub(c.point.Time) > freshEnough {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(cands, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(place(a.site), place(b.site)),
			cmp.Compare(stale(a), stale(b)),
			cmp.Compare(p.load[a.site], p.load[b.site]),
			cmp.Compare(p.memory[b.site], p.memory[a.site]),
			cmp.Compare(a.site, b.site),
		)
	})
	if len(cands) == 0 {
		return
	}
	c := &cands[0]
	code := CodeMoreMemory
	switch {
	case p.loss.Target != "":
		code = CodeForcedTarget
	case slices.Contains(prefer, c.site):
		code = CodePreferred
	case len(cands) == 1 || stale(cands[1]) > stale(*c):
		code = CodeFreshest
	}
	c.why = because(code, "guest", string(g), "site", string(c.site), "point", c.point.Time.UTC().Format(time.RFC3339))
}
