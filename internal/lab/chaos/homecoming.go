package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// The last phase of a round: when everything is healed, people bring home what is away,
// while agents die. Whatever is in the way they look at and type again, as the manual says.
const (
	homeLimit   = 4 * time.Minute  // until everything is at home
	homeTrouble = 30 * time.Second // while agents die
	typeEvery   = 5 * time.Second  // how often a person looks what there is to type
)

// HomePlan returns what goes wrong while people bring home what is away. It depends on seed
// and lab alone.
func HomePlan(seed uint64, l *site.Lab) []Event {
	d := &draw{Rand: sim.NewStreams(seed).Stream("chaos home"), lab: l, length: homeTrouble}
	when := func() time.Duration { return d.between(2*time.Second, homeTrouble) }
	for range 1 + d.IntN(3) {
		d.add(Event{At: when(), For: d.between(time.Second, 6*time.Second), Do: DoAgent, Site: d.site()})
	}
	for range d.IntN(3) {
		d.add(Event{At: when(), For: d.between(time.Second, 4*time.Second), Do: DoLeader})
	}
	types := func(p float64, what string) {
		if d.chance(p) {
			d.add(Event{At: when(), Do: DoPerson, Site: d.brique(), To: what, Draw: d.Uint64()})
		}
	}
	types(0.3, PersonCancel)
	types(0.3, PersonUndo)
	sortEvents(d.plan)
	return d.plan
}

// returns are those who bring guests home, and change their mind, before all is well.
func (d *draw) returns(during func() time.Duration) {
	types := func(p float64, what string) {
		if d.chance(p) {
			d.add(Event{At: during() + d.between(0, 30*time.Second), Do: DoPerson, Site: d.brique(), To: what, Draw: d.Uint64()})
		}
	}
	types(0.4, PersonFailback)
	types(0.3, PersonFailback)
	types(0.2, PersonUndo)
}

// failback brings home one guest of those that are away, or all of its site.
func (n *nemesis) failback(e Event) [][]string {
	away := n.check.away()
	if len(away) == 0 {
		return nil
	}
	g := away[e.Draw%uint64(len(away))]
	what := []string{string(g.Guest), string(g.Home)}[e.Draw/64%4/3]
	return [][]string{failbackOf(what, e.Draw/256)}
}

func failbackOf(what string, draw uint64) []string {
	return []string{"failback", "run", what, "--keep", []string{"away", "home"}[draw%2], "--yes", "--detach"}
}

// away returns the guests that do not live on their own hosts, as the agent tells that knows
// the most.
func (c *checker) away() []failover.GuestView {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awayNow()
}

func (c *checker) awayNow() []failover.GuestView {
	a := c.informed()
	if a == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a.Guests.Items), func(g failover.GuestView) bool {
		return c.isHome(string(g.Guest), at(string(g.At), g.ID))
	})
}

// comeHome plays the last phase.
func (r *round) comeHome(ctx context.Context) error {
	away := r.check.away()
	if len(away) == 0 {
		r.tl.add("phase", "nothing is away", nil)
		return nil
	}
	r.tl.add("phase", fmt.Sprintf("people bring %d guests home", len(away)), nil)
	begun := time.Now()
	p := &returner{nem: r.nem, draw: sim.NewStreams(r.seed).Stream("chaos keep").Uint64(), tried: map[failover.OpID]int{}}
	people, stop := context.WithCancel(ctx)
	defer r.nem.wg.Wait()
	defer stop()
	r.nem.wg.Go(func() { p.work(people) })
	if err := r.chaos(ctx, r.home, homeTrouble); err != nil {
		return err
	}
	if err := r.nem.heal(ctx, r.lab.Names()); err != nil && ctx.Err() == nil {
		return fmt.Errorf("heal: %w", err)
	}
	left, err := r.until(ctx, homeLimit, func() []Violation { return r.check.unsettled(r.lab.Names(), time.Now()) }, r.check.notHome)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		r.check.broken(left, "people brought everything home", homeLimit)
		return nil
	}
	r.tl.add("phase", fmt.Sprintf("everything is at home after %.1f s", time.Since(begun).Seconds()), nil)
	return nil
}

// returner is the person who brings guests home.
type returner struct {
	nem   *nemesis
	draw  uint64
	tried map[failover.OpID]int // how often a person has had a say: what is stuck once more is acknowledged
}

func (p *returner) work(ctx context.Context) {
	for {
		p.look(ctx)
		if site.Sleep(ctx, typeEvery) != nil {
			return
		}
	}
}

// look types what there is to type now, one command after another.
func (p *returner) look(ctx context.Context) {
	for _, args := range p.typed() {
		p.nem.types(ctx, Event{Draw: p.draw}, args)
	}
	for _, c := range p.nem.check.beyond() {
		p.nem.shutDown(ctx, c)
	}
}

// typed: what is stuck is tried again, then acknowledged; what waits for a person's word has
// it; what is away and free comes home.
func (p *returner) typed() [][]string {
	var out [][]string
	busy := map[failover.GuestID]bool{}
	for _, o := range p.nem.check.ops() {
		verb := ""
		for _, g := range o.Guests {
			busy[g.Guest] = busy[g.Guest] || !o.Phase.Ended() // what was stuck may have moved on since
			if g.State == failover.RunStuck && verb == "" {
				verb = "retry"
			}
		}
		switch {
		case verb == "retry" && o.Phase.Ended() && p.tried[o.ID] > 0:
			verb = []string{"ack", ""}[min(p.tried[o.ID]-1, 1)]
		case !o.Phase.Ended() && len(o.Waiting) > 0:
			verb = "approve"
		}
		if verb != "" {
			p.tried[o.ID]++
			p.nem.check.decided(o.ID)
			out = append(out, []string{"op", verb, string(o.ID), "--yes"})
		}
	}
	for i, g := range p.nem.check.away() {
		if !busy[g.Guest] {
			out = append(out, failbackOf(string(g.Guest), p.draw>>(i%32)))
			p.draw += 0x9e3779b97f4a7c15 // what was refused is tried the other way, too
		}
	}
	return out
}

// strayCopy is a copy that does not own its guest any more.
type strayCopy struct {
	site, guest string
	id          int
}

// beyond returns the copies that run on machines of Raoull's and own nothing any more: a
// person asks who uses them, and shuts them down.
func (c *checker) beyond() []strayCopy {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []strayCopy
	c.copies(func(where, host string, g site.GuestStatus) {
		if g.Running && !isHomeHost(host) && !c.isHome(g.Name, at(where, g.ID)) && c.owner[g.Name].at != at(where, g.ID) && !c.foreign[at(where, g.ID)] && !c.moving(g.Name) {
			out = append(out, strayCopy{where, g.Name, g.ID})
		}
	})
	return out
}

// moving says whether an operation that has not ended has a guest.
func (c *checker) moving(guest string) bool {
	a := c.informed()
	return a == nil || slices.ContainsFunc(a.Ops.Items, func(o failover.OpView) bool {
		return !o.Phase.Ended() && slices.ContainsFunc(o.Guests, func(g failover.OpGuestView) bool { return string(g.Guest) == guest })
	})
}

// copies visits what the machines held when they were looked at last.
func (c *checker) copies(visit func(where, host string, g site.GuestStatus)) {
	for _, where := range c.lab.Names() {
		l := c.latest[where]
		if l == nil || l.Hosts == nil {
			continue
		}
		for _, h := range l.Hosts.Hosts {
			for _, g := range h.Guests {
				visit(where, h.Name, g)
			}
		}
	}
}

// plugIn has people give hosts power again that a fence has put off: first they see to it that
// the copies do not start whose guests live elsewhere by now (docs/operations.md).
func (n *nemesis) plugIn(ctx context.Context) {
	for _, s := range n.lab.Names() {
		if on, err := site.PlugOn(n.dir, s); on || err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, handLimit)
		client := n.room.Hosts(s)
		for _, c := range n.check.leftAt(s) {
			if err := client.Act(ctx, site.Act{Do: "hold", Guest: c.guest, ID: c.id}); err != nil {
				n.tl.add("note", fmt.Sprintf("%s is not kept off: %v", c.guest, err), nil)
			}
		}
		n.tl.add("operator", fmt.Sprintf("the host of %s has its plug back: %v", s, client.PlugIn(ctx)), nil)
		cancel()
	}
}

// leftAt returns the copies on a structure's host whose guests live elsewhere, and keeps in mind
// that a person wants them off.
func (c *checker) leftAt(where string) []strayCopy {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []strayCopy
	for _, m := range c.lab.GuestsOf(where) {
		if id := c.homeID(m); !m.Raoull && c.owner[m.Name].at != at(where, id) {
			c.held[at(where, id)] = true
			out = append(out, strayCopy{where, m.Name, id})
		}
	}
	return out
}

// shutDown has a person shut a copy down at its machine.
func (n *nemesis) shutDown(ctx context.Context, c strayCopy) {
	ctx, cancel := context.WithTimeout(ctx, handLimit)
	defer cancel()
	undo := n.check.did("stop", c.site, c.id, c.guest)
	err := n.room.Hosts(c.site).Act(ctx, site.Act{Do: "stop", Guest: c.guest, ID: c.id})
	if err != nil {
		undo()
	}
	n.tl.add("operator", fmt.Sprintf("%s (%d), which is used by nobody, is shut down by hand at %s: %v", c.guest, c.id, c.site, err), nil)
}

// notHome says what keeps the guests from being at home: L3, each lives on its own host and
// serves there, L2, and no operation is open; S3, as one copy that runs; S7, what was not kept is sealed.
func (c *checker) notHome() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Violation
	add := func(id, format string, args ...any) {
		out = append(out, Violation{At: time.Now(), Invariant: id, Text: fmt.Sprintf(format, args...)})
	}
	for _, g := range c.awayNow() {
		add("L3", "%s lives at %s/%d and is %s", g.Guest, g.At, g.ID, g.Phase)
	}
	if a := c.informed(); a != nil {
		for _, o := range a.Ops.Items {
			if !o.Phase.Ended() {
				add("L2", "%s has not ended: %s", o.ID, o.Phase)
			}
		}
	}
	running := map[string][]string{}
	c.copies(func(where, _ string, g site.GuestStatus) {
		if key := at(where, g.ID); g.Running && !c.foreign[key] {
			running[g.Name] = append(running[g.Name], key)
		}
	})
	for _, m := range c.lab.Guests {
		if own := c.owner[m.Name].at; !slices.Equal(running[m.Name], []string{own}) && !c.excused[m.Name] {
			add("S3", "%s is %s, and what runs of it is [%s]", m.Name, own, strings.Join(running[m.Name], " "))
		}
	}
	for _, text := range c.unsealed() {
		add("S7", "%s", text)
	}
	return out
}
