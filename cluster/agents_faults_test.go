package cluster_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// mainFault is what an incident is made of, in the network of three sites (small)
// or in that of five (full).
type mainFault struct {
	name        string
	small, full bool
	begin       func(*nemesis)
}

// mainFaults have their turn by seed.
var mainFaults = []mainFault{
	{"power loss", true, true, (*nemesis).powerLoss},
	{"leader isolated", true, false, (*nemesis).leaderCut},
	{"leader cut one way", true, false, (*nemesis).oneWay},
	{"leader's disk stalls", true, false, (*nemesis).sickDisk},
	{"site lost for good", true, true, (*nemesis).lostForGood},
	{"site and its target lost in mid-restore", false, true, (*nemesis).targetLost},
}

// smallFaults pass quickly; each is told how long it lasts.
var smallFaults = []struct {
	name string
	do   func(*nemesis, context.Context, *wholeAgent, *wholeAgent, time.Duration)
}{
	{"crash", func(n *nemesis, _ context.Context, a, _ *wholeAgent, _ time.Duration) { n.crash(a) }},
	{"leader crashes", func(n *nemesis, _ context.Context, _, _ *wholeAgent, _ time.Duration) {
		if l := n.leader(); l != nil {
			n.crash(l.wholeAgent)
		}
	}},
	{"restart from a snapshot", func(n *nemesis, ctx context.Context, a, _ *wholeAgent, _ time.Duration) { n.fromSnapshot(ctx, a) }},
	{"one way cut", func(n *nemesis, ctx context.Context, a, b *wholeAgent, d time.Duration) {
		n.cutWay(ctx, a.site, b.site, d)
	}},
	{"isolated", func(n *nemesis, ctx context.Context, a, _ *wholeAgent, d time.Duration) { n.cutAway(ctx, a.site, d) }},
	{"leader isolated briefly", func(n *nemesis, ctx context.Context, _, _ *wholeAgent, d time.Duration) {
		if l := n.leader(); l != nil {
			n.cutAway(ctx, l.site, d)
		}
	}},
	{"disk stalls", func(n *nemesis, ctx context.Context, _, _ *wholeAgent, d time.Duration) { n.stall(ctx, d) }},
	{"membership", func(n *nemesis, ctx context.Context, a, _ *wholeAgent, d time.Duration) { n.membership(ctx, a.site, d) }},
}

// plan draws a main fault, and smaller ones for the same time.
func (n *nemesis) plan() {
	turn := n.seed
	if n.size == sim.Full {
		turn /= 13
	}
	mains := slices.DeleteFunc(slices.Clone(mainFaults), func(f mainFault) bool {
		return n.size == sim.Full && !f.full || n.size != sim.Full && !f.small
	})
	f := mains[turn%uint64(len(mains))]
	n.all.fault(f.name)
	f.begin(n)
	kinds := len(smallFaults)
	if n.size != sim.Full || len(n.lost) > 1 {
		kinds-- // who loses two of three or five may lose no vote more
	}
	for range 1 + n.r.IntN(4) {
		n.trouble(n.between(0, wholeHeal-wholeWarm-12*time.Second), kinds)
	}
}

// trouble has one of the first kinds of small faults happen in a while.
func (n *nemesis) trouble(in time.Duration, kinds int) {
	f, a, b, length := smallFaults[n.r.IntN(kinds)], n.pick(), n.pick(), n.between(2*time.Second, 12*time.Second)
	if n.all != nil {
		n.all.fault(f.name)
	}
	n.at(in, func(ctx context.Context) { f.do(n, ctx, a, b, length) })
}

// home returns a site that has guests.
func (n *nemesis) home() failover.SiteID {
	spec := n.ground.Spec()
	ids := spec.GuestIDs()
	return spec.Home(ids[n.r.IntN(len(ids))])
}

func (n *nemesis) crash(a *wholeAgent) {
	n.ground.Tell("fault: the agent of %s crashes", a.site)
	a.life.Load().die(false)
}

func (n *nemesis) killSite(site failover.SiteID) {
	n.ground.Kill(site)
	n.agents[site].life.Load().die(true)
}

// powerLoss takes a site's power for a while.
func (n *nemesis) powerLoss() {
	site, back := n.home(), n.between(10*time.Second, 90*time.Second)
	n.at(n.between(0, 10*time.Second), func(ctx context.Context) {
		n.killSite(site)
		if sleep(ctx, back) == nil {
			n.ground.Revive(site)
		}
	})
}

func (n *nemesis) lostForGood() {
	site := n.home()
	n.lost[site] = true
	n.at(n.between(0, 10*time.Second), func(context.Context) { n.killSite(site) })
}

// targetLost loses a site for good, and the one that restores its guests while
// it does.
func (n *nemesis) targetLost() {
	site := n.home()
	n.lost[site] = true
	var other failover.SiteID
	for _, s := range n.ground.Targets() {
		if s != site && other == "" {
			other = s
		}
	}
	n.lost[other], n.found = true, other
	n.at(0, func(ctx context.Context) {
		n.killSite(site)
		for sleep(ctx, 500*time.Millisecond) == nil {
			l := n.leader()
			if l == nil {
				continue
			}
			for _, op := range l.node.State().Ops {
				for _, run := range op.Guests {
					if run.Assignment.Target == other && slices.ContainsFunc(run.Steps, func(s failover.Step) bool {
						return s.ID == failover.StepRestore && s.Status == failover.StatusRunning
					}) {
						n.killSite(other)
						return
					}
				}
			}
		}
	})
}

// leaderCut isolates the leader's site.
func (n *nemesis) leaderCut() {
	length := n.between(5*time.Second, 80*time.Second)
	n.at(n.between(0, 10*time.Second), func(ctx context.Context) {
		if l := n.leader(); l != nil {
			n.cutAway(ctx, l.site, length)
		}
	})
}

// cutAway isolates a site for a while.
func (n *nemesis) cutAway(ctx context.Context, site failover.SiteID, length time.Duration) {
	n.ground.Uplink(site, false)
	n.net.set(hostOf(n.agents[site].addr), true)
	_ = sleep(ctx, length) // healed at the end as well
	n.ground.Uplink(site, true)
	n.net.set(hostOf(n.agents[site].addr), false)
}

// oneWay has the leader hear nobody, or nobody hear it, over the mesh.
func (n *nemesis) oneWay() {
	length, deaf := n.between(5*time.Second, 60*time.Second), n.r.IntN(2) == 0
	n.at(n.between(0, 10*time.Second), func(ctx context.Context) {
		l := n.leader()
		if l == nil {
			return
		}
		for _, s := range n.ground.Sites() {
			if s == l.site {
				continue
			}
			from, to := l.site, s
			if deaf {
				from, to = s, l.site
			}
			n.wg.Go(func() { n.cutWay(ctx, from, to, length) })
		}
	})
}

// cutWay cuts one direction of the mesh for a while.
func (n *nemesis) cutWay(ctx context.Context, from, to failover.SiteID, length time.Duration) {
	if from == to {
		return
	}
	n.ground.Tell("fault: nothing passes from %s to %s for %s", from, to, length)
	set := func(works bool) {
		n.ground.Way(from, to, failover.PathMesh, works)
		n.net.way(hostOf(n.agents[from].addr), hostOf(n.agents[to].addr), !works)
	}
	set(false)
	_ = sleep(ctx, length) // healed at the end as well
	set(true)
}

// sickDisk has the leader's disk stall, for long enough to end it or not.
func (n *nemesis) sickDisk() {
	length := n.between(2*time.Second, 20*time.Second)
	n.at(n.between(0, 30*time.Second), func(ctx context.Context) { n.stall(ctx, length) })
}

func (n *nemesis) stall(ctx context.Context, length time.Duration) {
	l := n.leader()
	if l == nil {
		return
	}
	n.ground.Tell("fault: the disk of %s, which leads, stalls for %s", l.site, length)
	cure := l.disk.hang()
	_ = sleep(ctx, length) // cured at the end as well
	cure()
}

// fromSnapshot has an agent write a snapshot, drop the log behind it, crash and
// begin again from there.
func (n *nemesis) fromSnapshot(ctx context.Context, a *wholeAgent) {
	l := a.life.Load()
	if l.dead.Load() {
		return
	}
	n.ground.Tell("fault: %s compacts its log and crashes", a.site)
	if err := cluster.CompactOnce(l.node); err != nil {
		n.ground.Tell("%s writes no snapshot: %v", a.site, err)
	}
	if sleep(ctx, time.Second) == nil {
		l.die(false)
	}
}

// membership takes a site's vote or its membership, and gives it back, as a
// person does on the leader's machine.
func (n *nemesis) membership(ctx context.Context, site failover.SiteID, length time.Duration) {
	l := n.leader()
	if l == nil || l.site == site || n.lost[site] {
		return
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "p-operator"), wholePatience)
	defer cancel()
	member := l.node.State().Members[site]
	n.ground.Tell("fault: %s loses its vote, and its place", site)
	err := l.node.SetSuffrage(ctx, site, cluster.Nonvoter)
	if err == nil && sleep(ctx, length) == nil {
		err = l.node.RemoveMember(ctx, site)
	}
	n.ground.Tell("%s is removed: %v", site, err)
	_ = sleep(ctx, length)
	n.readmit(ctx, site, member)
}

// readmit brings a site back as a voter, through whoever leads, until it votes.
func (n *nemesis) readmit(ctx context.Context, site failover.SiteID, m failover.Member) {
	for ctx.Err() == nil {
		if l := n.leader(); l != nil {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			err := l.node.AddMember(short, site, m.ServerID, m.Address, cluster.Voter)
			cancel()
			if err == nil {
				n.ground.Tell("%s votes again", site)
				return
			}
			if errors.Is(err, cluster.ErrSiteTaken) {
				n.t.Errorf("readmit %s: %v", site, err)
				return
			}
		}
		_ = sleep(ctx, time.Second)
	}
}

// person does what a person is called for when two sites are lost at once, and
// the program does not go on by itself: approves what is prepared.
func (n *nemesis) person(ctx context.Context) {
	for sleep(ctx, 3*time.Second) == nil {
		l := n.leader()
		if l == nil {
			continue
		}
		s := l.node.State()
		for id, op := range s.Ops {
			if op.Phase != failover.OpPreparing || s.Domains[op.Domain].Held.Code == "" {
				continue
			}
			short, cancel := context.WithTimeout(failover.WithActor(ctx, "p-approver"), 10*time.Second)
			_, err := l.node.Propose(short, failover.Approve{Op: id, Hash: n.ground.Offer(s, op)})
			cancel()
			n.ground.Tell("a person approves %s: %v", id, err)
		}
	}
}

// heal ends all faults. What waits for them to end goes on at once.
func (n *nemesis) heal() {
	for _, a := range n.agents {
		host := hostOf(a.addr)
		n.net.set(host, false)
		for _, b := range n.agents {
			n.net.way(host, hostOf(b.addr), false)
		}
		a.life.Load().disk.free()
	}
	n.ground.Heal(n.lost)
	for site := range n.lost {
		n.agents[site].life.Load().die(true)
	}
}
