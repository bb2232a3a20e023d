package failover

import (
	"cmp"
	"slices"
	"time"
)

// Guests are placed one after another, the most important first. That fills targets well with
// many guests; a few cannot fill them evenly without looking ahead: the largest of the last ones
// finds every target full. So when all have a place, those that would be as well off at
// another target change places, as long as the last restore ends earlier for it.

// place is where a guest goes.
type place struct {
	guest  GuestID
	at     candidate
	others []candidate // as good as that
	memory int64
	apart  []Reason
}

// balanceAtMost is how many guests are looked at: more of them fill targets evenly by themselves.
const balanceAtMost = 64

// asGood returns the candidates that are worth as much as the first, other than by how full
// they are. Who is to be apart from others, is kept together with others, or is warm stays.
func (p *planner) asGood(g GuestID, cands []candidate) []candidate {
	if len(cands) < 2 || len(p.apart.from[g]) > 0 || cands[0].warm != "" || p.s.Network.Structures[p.s.Network.Guests[g].Structure].Split == "never" {
		return nil
	}
	worth := p.worth(g, cands)
	var out []candidate
	for _, c := range cands[1:] {
		if worth(cands[0], c) == 0 {
			c.why = because(CodeEvened, "guest", string(g), "site", string(c.site))
			out = append(out, c)
		}
	}
	return out
}

// could returns the guest's candidate at a site; nil: it has none there.
func (at place) could(site SiteID) *candidate {
	i := slices.IndexFunc(at.others, func(c candidate) bool { return c.site == site })
	if i < 0 {
		return nil
	}
	return &at.others[i]
}

// balance lets guests change places while the restores end earlier for it. When a target had no
// room for somebody, everybody keeps theirs: who was admitted where decides who was left out (S12).
func (p *planner) balance(places []place) {
	movable := slices.ContainsFunc(places, func(at place) bool { return len(at.others) > 0 })
	if !movable || len(p.closed) > 0 {
		return
	}
	b := newBalance(p, places)
	for range len(places) * len(places) { // each time it gets better: this ends it
		if !b.improve() {
			return
		}
	}
}

// balance is a division of guests among targets, and how full it makes them.
type balance struct {
	p      *planner
	places []place
	full   map[SiteID]int64 // see fullness
	lanes  map[SiteID]lanes // to reckon with
	pool   int64            // no division gives its fullest target fewer MiB than that,
	lane   int64            // nor its fullest lane
}

func newBalance(p *planner, places []place) *balance {
	b := &balance{p: p, places: places, full: map[SiteID]int64{}, lanes: map[SiteID]lanes{}}
	var total, largest, count int64
	for _, t := range p.targets {
		_, host, _ := p.s.Network.Target(t)
		b.lanes[t] = make(lanes, max(1, host.Restore.Parallel))
		count += int64(len(b.lanes[t]))
	}
	for _, at := range places {
		total, largest = total+at.mib(), max(largest, at.mib())
	}
	b.pool, b.lane = max(1, largest, total/int64(len(p.targets))), max(1, largest, total/count)
	for _, t := range p.targets {
		b.full[t] = b.fullness(t)
	}
	return b
}

// mib is what a guest adds to the restores of its target.
func (at place) mib() int64 {
	if at.at.warm != "" {
		return 0
	}
	return at.at.point.Size >> 20
}

// evenly is how full the fullest target of a division is that cannot be better.
const evenly = 100_000

// fullness is what a target has to restore, in parts of the least that the fullest of any
// division has. It reckons with both kinds of storage: one that a few restores fill, where the bytes
// of a target count, and one where each restore is slow by itself, where those of its
// fullest lane do. Whole numbers: every agent comes to the same plan.
func (b *balance) fullness(t SiteID) int64 {
	free, load := b.lanes[t], int64(0)
	clear(free)
	for _, at := range b.places {
		if at.at.site == t && at.at.warm == "" {
			load += at.mib()
			free.take(time.Duration(at.mib())) // for time: all targets are taken to be as fast
		}
	}
	return max(load*evenly/b.pool, int64(slices.Max(free))*evenly/b.lane)
}

// fullest returns the target that has the most to restore.
func (b *balance) fullest() SiteID {
	return slices.MaxFunc(b.p.targets, func(x, y SiteID) int {
		return cmp.Or(cmp.Compare(b.full[x], b.full[y]), cmp.Compare(y, x))
	})
}

// change is one guest that goes to another target, or two that change places.
type change struct {
	guest, other int // in places; other -1: nobody
	to, back     candidate
}

// improve makes the change after which the fullest target and the other one are the least full,
// and says whether there was one that is better than none.
func (b *balance) improve() bool {
	from := b.fullest()
	if b.full[from] <= evenly {
		return false
	}
	var best change
	var least [2]int64
	found := false
	for i := range b.places {
		if b.places[i].at.site != from {
			continue
		}
		for _, c := range b.changes(i) {
			undo := b.apply(c)
			x, y := b.fullness(from), b.fullness(c.to.site)
			now := [2]int64{max(x, y), min(x, y)}
			if b.roomy(from, c.to.site) && now[0] < b.full[from] && (!found || slices.Compare(now[:], least[:]) < 0) {
				best, least, found = c, now, true
			}
			b.apply(undo)
		}
	}
	if found {
		b.apply(best)
		b.full[from], b.full[best.to.site] = b.fullness(from), b.fullness(best.to.site)
	}
	return found
}

// changes lists what a guest could do.
func (b *balance) changes(i int) []change {
	var out []change
	from := b.places[i].at.site
	for _, to := range b.places[i].others {
		out = append(out, change{guest: i, other: -1, to: to})
		for j := range b.places {
			if b.places[j].at.site != to.site {
				continue
			}
			if back := b.places[j].could(from); back != nil {
				out = append(out, change{guest: i, other: j, to: to, back: *back})
			}
		}
	}
	return out
}

// apply carries a change out, and returns what takes it back.
func (b *balance) apply(c change) (undo change) {
	undo = change{guest: c.guest, other: c.other, to: b.places[c.guest].at}
	b.p.move(&b.places[c.guest], c.to)
	if c.other >= 0 {
		undo.back = b.places[c.other].at
		b.p.move(&b.places[c.other], c.back)
	}
	return undo
}

// move takes a guest's share back where it is and takes it at another candidate, which is
// what the first was to it from then on.
func (p *planner) move(at *place, to candidate) {
	was := at.at
	p.memory[was.site] += at.memory
	p.storage[was.site] += was.point.Size
	p.load[was.site] -= was.point.Size
	p.ids[was.site]++
	at.memory = p.memoryOf(at.guest, to.point)
	p.take(to, at.memory)
	at.at = to
	*at.could(to.site) = was
}

// roomy says whether two targets still have what was promised on them.
func (b *balance) roomy(sites ...SiteID) bool {
	return !slices.ContainsFunc(sites, func(t SiteID) bool { return b.p.memory[t] < 0 || b.p.storage[t] < 0 || b.p.ids[t] < 0 })
}
