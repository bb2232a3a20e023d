package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// restartAfter is what a service manager waits before it starts an agent again
// (RestartSec= of deploy's wwwd.service).
const restartAfter = 2 * time.Second

// nemesis has things go wrong. It knows what is in force, and makes the network so: a
// site stays dark until nothing wants it dark any more.
type nemesis struct {
	room  *netns.Room
	lab   *site.Lab
	dir   string // of the lab
	disks *disks
	truth *truth
	check *checker
	tl    *timeline
	wg    sync.WaitGroup // people at work

	mu     sync.Mutex // over everything below, and over what is done to the network
	active map[int]Event
	frozen map[string]bool
	full   map[string]bool
	slow   map[string]bool
	mute   map[string]bool      // sites whose fence does not answer
	broken map[string]bool      // machines that are
	died   map[string]time.Time // agents: since when they are seen dead
	cuts   map[string][]netns.Cut
	faults int
	noslow bool // told already
}

func newNemesis(r *netns.Room, l *site.Lab, dir string, d *disks, t *truth, c *checker, tl *timeline) *nemesis {
	return &nemesis{
		room: r, lab: l, dir: dir, disks: d, truth: t, check: c, tl: tl,
		active: map[int]Event{}, frozen: map[string]bool{}, full: map[string]bool{}, slow: map[string]bool{}, broken: map[string]bool{}, mute: map[string]bool{},
		died: map[string]time.Time{}, cuts: map[string][]netns.Cut{},
	}
}

// begin has an event happen.
func (n *nemesis) begin(ctx context.Context, id int, e Event) error {
	if e.Do == DoLeader {
		e.Site = n.check.leader()
		if e.Site == "" {
			return nil // nobody leads: nothing to hit
		}
	}
	n.tl.add("fault", describe(e), e)
	n.mu.Lock()
	n.faults++
	n.mu.Unlock()
	switch e.Do {
	case DoMachine:
		n.hit(ctx, e)
	case DoGuest:
		n.touch(ctx, e)
		return nil
	case DoPerson:
		n.person(ctx, e)
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.active[id] = e
	return n.apply(ctx)
}

// end has it be over.
func (n *nemesis) end(ctx context.Context, id int) error {
	n.mu.Lock()
	e, ok := n.active[id]
	delete(n.active, id)
	n.mu.Unlock()
	if !ok {
		return nil
	}
	n.tl.add("end", describe(e), nil)
	if e.Do == DoMachine {
		n.mend(ctx, e.Site)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.apply(ctx)
}

// heal ends everything at some sites and between them, and leaves the rest dead for good.
func (n *nemesis) heal(ctx context.Context, sites []string) error {
	n.mu.Lock()
	n.active = map[int]Event{}
	for i, s := range n.lab.Names() {
		if !slices.Contains(sites, s) {
			n.active[-1-i] = Event{Do: DoKill, Site: s}
		}
	}
	err := n.apply(ctx)
	n.mu.Unlock()
	for _, s := range sites {
		n.mend(ctx, s)
	}
	return err
}

// mend ends the faults of a site's machines; those that have crashed get power.
func (n *nemesis) mend(ctx context.Context, name string) {
	if !n.room.HostsAlive(name) {
		return // whatever plays them starts without faults
	}
	ctx, cancel := context.WithTimeout(ctx, handLimit)
	defer cancel()
	if err := n.room.Hosts(name).ClearFaults(ctx); err != nil {
		n.tl.add("note", fmt.Sprintf("faults of %s not cleared: %v", name, err), nil)
	}
}

func (n *nemesis) hit(ctx context.Context, e Event) {
	ctx, cancel := context.WithTimeout(ctx, handLimit)
	defer cancel()
	if err := n.room.Hosts(e.Site).AddFault(ctx, *e.Fault); err != nil {
		n.tl.add("note", fmt.Sprintf("no fault at %s: %v", e.Site, err), nil) // it is dark
	}
}

// wants says whether something that is in force does that to a site.
func (n *nemesis) wants(site string, do ...string) bool {
	for _, e := range n.active {
		if e.Site == site && slices.Contains(do, e.Do) {
			return true
		}
	}
	return false
}

// apply makes the network what the events in force say. The caller holds n.mu.
func (n *nemesis) apply(ctx context.Context) error {
	dark := map[string]bool{}
	var all []netns.Cut
	var errs []error
	for _, s := range n.lab.Names() {
		var here []netns.Cut
		if dark[s] = n.wants(s, DoKill); dark[s] {
			here = append(here, netns.Cut{At: s})
		}
		for _, id := range sortedIDs(n.active) {
			if e := n.active[id]; e.Do == DoCut && e.Site == s {
				here = append(here, *e.Cut)
			}
		}
		all = append(all, here...)
		if !slices.Equal(here, n.cuts[s]) {
			// Before anything dies, so that its peers are not told; and what may be
			// opened is in the account before it is.
			errs = append(errs, n.room.World.SetCuts(ctx, s, here))
			n.cuts[s] = here
		}
	}
	booting := map[string]bool{}
	for _, s := range n.lab.Names() {
		booting[s] = dark[s] || !n.room.HostsAlive(s)
	}
	n.truth.set(booting, all, time.Now())
	for _, s := range n.lab.Names() {
		errs = append(errs, n.power(ctx, s, dark), n.host(ctx, s, DoHost, "pve-"+s), n.host(ctx, s, DoRaoull, "raoull-"+s), n.plug(s), n.process(s), n.disk(s), n.line(ctx, s))
	}
	n.truth.set(dark, all, time.Now())
	return errors.Join(errs...)
}

// power starts or ends a site's machines.
func (n *nemesis) power(ctx context.Context, s string, dark map[string]bool) error {
	switch alive := n.room.HostsAlive(s); {
	case alive && dark[s]:
		n.check.unpowered(s)
		delete(n.broken, "pve-"+s)
		delete(n.broken, "raoull-"+s)
		return n.room.KillHosts(s)
	case !alive && !dark[s]:
		err := n.room.StartHosts(ctx, s)
		n.check.powered(s, time.Now())
		return err
	}
	return nil
}

// host breaks one of a site's machines, and mends it. What a fence has put off stays off.
func (n *nemesis) host(ctx context.Context, s, do, name string) error {
	broken := n.wants(s, do)
	if broken == n.broken[name] || !n.room.HostsAlive(s) {
		return nil
	}
	n.broken[name] = broken
	ctx, cancel := context.WithTimeout(ctx, handLimit)
	defer cancel()
	if broken {
		n.check.hostLost(name, time.Now())
		return n.room.Hosts(s).Crash(ctx, name)
	}
	return n.room.Hosts(s).Repair(ctx, name)
}

// plug has a structure's machine's fence say nothing, and answer again.
func (n *nemesis) plug(s string) error {
	mute := n.wants(s, DoPlug)
	if mute == n.mute[s] {
		return nil
	}
	n.mute[s] = mute
	if mute {
		return site.SilencePlug(n.dir, s)
	}
	return site.HearPlug(n.dir, s)
}

// process ends a site's agent, starts it again as a service manager does, and has it
// stand still or go on.
func (n *nemesis) process(s string) error {
	alive, wanted := n.room.AgentAlive(s), !n.wants(s, DoKill, DoAgent, DoLeader, DoRaoull)
	switch {
	case alive && !wanted:
		if err := n.room.KillAgent(s); err != nil {
			return err
		}
		n.frozen[s] = false
		n.died[s] = time.Now()
		return nil
	case !alive && wanted:
		if n.died[s].IsZero() {
			n.died[s] = time.Now()
			n.tl.add("note", "the agent of "+s+" has ended by itself", nil)
		}
		if time.Since(n.died[s]) < restartAfter {
			return nil
		}
		n.check.restarted(s)
		if err := n.room.LaunchAgent(s); err != nil {
			return err
		}
		delete(n.died, s)
		n.frozen[s] = false
		return nil
	case !alive:
		return nil
	}
	delete(n.died, s)
	freeze := n.wants(s, DoFreeze)
	if freeze == n.frozen[s] {
		return nil
	}
	n.frozen[s] = freeze
	if freeze {
		return n.room.FreezeAgent(s)
	}
	return n.room.ThawAgent(s)
}

func (n *nemesis) disk(s string) error {
	full := n.wants(s, DoDisk)
	if full == n.full[s] {
		return nil
	}
	n.full[s] = full
	if full {
		return n.disks.fill(s)
	}
	return n.disks.drain(s)
}

// line makes a site's line slow; a kernel that cannot is told of once.
func (n *nemesis) line(ctx context.Context, s string) error {
	slow := n.wants(s, DoSlow)
	if slow == n.slow[s] || n.noslow {
		return nil
	}
	by := ""
	for _, e := range n.active {
		if e.Do == DoSlow && e.Site == s {
			by = fmt.Sprintf("%dms", 50+e.Draw)
		}
	}
	err := n.room.World.SlowLine(ctx, s, by, "30ms")
	if errors.Is(err, netns.ErrNoNetem) {
		n.noslow = true
		n.tl.add("note", netns.ErrNoNetem.Error(), nil)
		return nil
	}
	n.slow[s] = slow
	return err
}

// superviseEvery is how often the service managers look.
const superviseEvery = 500 * time.Millisecond

// supervise starts agents again that have ended, until ctx ends.
func (n *nemesis) supervise(ctx context.Context) {
	for site.Sleep(ctx, superviseEvery) == nil {
		n.mu.Lock()
		for _, s := range n.lab.Names() {
			if err := n.process(s); err != nil && ctx.Err() == nil {
				n.tl.add("note", fmt.Sprintf("the agent of %s: %v", s, err), nil)
			}
		}
		n.mu.Unlock()
	}
}

func sortedIDs(m map[int]Event) []int {
	var out []int
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// describe is an event as a line tells it.
func describe(e Event) string {
	s := e.Do
	if e.Site != "" {
		s += " at " + e.Site
	}
	switch {
	case e.Cut != nil:
		c := *e.Cut
		s = "cut of " + c.At
		if c.To != "" {
			s += " and " + c.To
		}
		if c.DNS {
			s += ", questions to its name server only"
		}
		if c.Path != "" {
			s += ", " + string(c.Path) + " only"
		}
		if c.Only != "" {
			s += ", " + c.Only + " only"
		}
		if c.Loss > 0 {
			s += fmt.Sprintf(", %d %% lost", c.Loss)
		}
	case e.Fault != nil:
		f := *e.Fault
		s += fmt.Sprintf(": %s of %d × %s %s of %s, after %d", f.Effect, f.Times, f.Match.Method, f.Match.Path, f.Where, f.Match.Skip)
	case e.To != "":
		s += ": " + e.To
	}
	if e.For > 0 {
		s += " for " + e.For.Round(100*time.Millisecond).String()
	}
	return s
}
