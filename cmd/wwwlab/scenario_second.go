package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// Scenarios in which something more breaks while an operation runs, and the one of a
// machine of Raoull's, with which the site's agent goes.

// secondBlow is what happened in mid-operation.
type secondBlow struct {
	what   string // it broke, for people
	at     time.Time
	term   uint64          // of the log then
	target failover.SiteID // a target that lost its power
}

// strikeHost takes the power of a site's machine of Raoull's: a PVE, the site's backups,
// and the agent, which runs on it.
func strikeHost(ctx context.Context, d *demo, f *facts) error {
	host := failover.HostID("raoull-" + string(f.site))
	f.domain, f.kept = failover.HostDomain(host), map[failover.GuestID]failover.SiteID{}
	for _, g := range d.room.lab.GuestsOf(string(f.site)) {
		if !g.Raoull {
			delete(f.moving, failover.GuestID(g.Name))
			f.kept[failover.GuestID(g.Name)] = f.site
		}
	}
	d.say("%s crashes, and with it the backups and the agent of %s; the structure's machine goes on", host, f.site)
	d.begin(f, string(host))
	if err := site.NewClient(d.room.dir, string(f.site)).Crash(ctx, string(host)); err != nil {
		return err
	}
	d.room.mute = string(f.site)
	return d.room.children.Kill(agentOf(string(f.site)))
}

// hostGoneAlone: what lived on Raoull's machine runs at another site, and nothing was done to
// the structure's guests.
func hostGoneAlone(ctx context.Context, d *demo, f facts, r *report) {
	if f.op == nil || f.op.Kind != failover.KindFailover || f.op.Committed.IsZero() {
		r.fail("no failover of the host was committed")
		return
	}
	for _, g := range f.op.Guests {
		if g.Target == f.site {
			r.fail("%s went to the site whose backups are gone", g.Guest)
		}
		if f.kept[g.Guest] != "" {
			r.fail("%s was moved although its own host lives", g.Guest)
		}
	}
	st, err := site.NewClient(d.room.dir, string(f.site)).Status(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	serving := map[string]bool{}
	for _, h := range st.Hosts {
		for _, g := range h.Guests {
			serving[g.Name] = serving[g.Name] || g.Serving && h.Power
		}
	}
	for g := range f.kept {
		if !serving[string(g)] {
			r.fail("%s does not run on the structure's host any more", g)
		}
	}
}

// awaitOp waits until the operation that answers to the struck site satisfies ready.
func (d *demo) awaitOp(ctx context.Context, f facts, ready func(failover.OpView) bool) (failover.OpView, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, f.killed.Add(moveLimit), errTime)
	defer cancel()
	for {
		if _, err := d.operation(ctx, &f); err == nil && f.op != nil && ready(*f.op) {
			return *f.op, nil
		}
		if err := site.Sleep(ctx, followEvery/5); err != nil {
			return failover.OpView{}, fmt.Errorf("the operation never came to where it was to be struck again: %w", err)
		}
	}
}

// killLeader ends the agent that leads, as SIGKILL does, right after the failover was
// committed: every guest's ownership is due, which only a leader can give. It starts again
// after the time that its unit waits.
func killLeader(ctx context.Context, d *demo, f facts) error {
	if _, err := d.awaitOp(ctx, f, func(op failover.OpView) bool { return op.Phase == failover.OpCommitted }); err != nil {
		return err
	}
	st, err := d.room.anyStatus(ctx)
	if err != nil {
		return err
	}
	leader := string(st.Leader)
	d.second = secondBlow{what: "the agent of " + leader + ", which led", at: time.Now(), term: st.Term}
	d.say("killing %s", d.second.what)
	if err := d.room.children.Kill(agentOf(leader)); err != nil {
		return err
	}
	if err := site.Sleep(ctx, unitRestart); err != nil {
		return err
	}
	return d.room.startAgent(ctx, leader)
}

// unitRestart is RestartSec of the agent's unit.
const unitRestart = 2 * time.Second

// How long an operation stands still when the leader crashes: what is aimed at, and what would be
// wrong. Between them lies an election that takes more than one round.
const (
	nextStepAim   = 5 * time.Second
	nextStepLimit = 10 * time.Second
)

// wentOn: the operation took its next step under another leader in time, and no effect was
// repeated.
func wentOn(ctx context.Context, d *demo, f facts, r *report) {
	if f.op == nil {
		return // the summary tells
	}
	next, ok, err := d.nextStep(ctx, f.op.ID)
	switch {
	case err != nil:
		r.fail("%v", err)
	case !ok:
		r.fail("no step was taken after the leader's crash")
	default:
		d.say("after the leader's crash the next step of the operation came after %.2f s (aim: %s)", next.Seconds(), nextStepAim)
		if next > nextStepLimit {
			r.fail("the operation stood still for %.2f s, want %s at most", next.Seconds(), nextStepLimit)
		}
	}
	d.restoredOnce(ctx, f, r)
}

// nextStep is from the crash of the leader to the first entry of a later term that belongs to
// the operation.
func (d *demo) nextStep(ctx context.Context, id failover.OpID) (time.Duration, bool, error) {
	op, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, id) })
	if err != nil {
		return 0, false, err
	}
	var first time.Time
	for _, e := range op.Events {
		if e.Stamp.Term > d.second.term && (first.IsZero() || e.Stamp.At.Before(first)) {
			first = e.Stamp.At
		}
	}
	return first.Sub(d.second.at), !first.IsZero(), nil
}

// restoredOnce: no guest of the operation was restored more often than its run says.
func (d *demo) restoredOnce(ctx context.Context, f facts, r *report) {
	for _, g := range f.op.Guests {
		st, err := site.NewClient(d.room.dir, string(g.Target)).Status(ctx)
		if err != nil {
			r.fail("%v", err)
			continue
		}
		n := 0
		for _, h := range st.Hosts {
			for _, copy := range h.Guests {
				if copy.Name == string(g.Guest) {
					n++
				}
			}
		}
		if n != 1 {
			r.fail("%d copies of %s are at %s, want 1", n, g.Guest, g.Target)
		}
	}
}

// secondVictim is the target that dies too. With moulin it is the pair of briques whose loss leaves
// every agent of the lab an anchor of its own line.
const secondVictim = "quai"

// slowRestores lets the target be at work when the countdown ends.
func slowRestores(l *site.Lab) error {
	l.Rate /= 6
	return nil
}

// killTarget takes the power of a site that is restoring guests of a committed operation. Before
// commitment two silent sites would be a mass event, to which nothing answers by itself.
func killTarget(ctx context.Context, d *demo, f facts) error {
	_, err := d.awaitOp(ctx, f, func(op failover.OpView) bool {
		return op.Phase == failover.OpCommitted && restoring(op, secondVictim)
	})
	if err != nil {
		return err
	}
	d.second = secondBlow{what: "the plug of " + secondVictim, at: time.Now(), target: secondVictim}
	d.say("pulling %s too, which is restoring guests of %s", d.second.what, f.site)
	return d.room.kill(secondVictim)
}

// restoring says whether a target has guests of an operation and has not finished one of them.
func restoring(op failover.OpView, target failover.SiteID) bool {
	some := false
	for _, g := range op.Guests {
		if g.Target != target {
			continue
		}
		if g.Step != failover.StepProtect && g.Step != failover.StepRestore {
			return false
		}
		some = true
	}
	return some
}

// wentElsewhere: every guest serves, none of them at a site without power, and the guests of the
// second site, which nobody may move by itself any more, were left.
func wentElsewhere(_ context.Context, d *demo, f facts, r *report) {
	if d.second.target == "" {
		r.fail("no target was struck before ownership moved")
	}
	if f.op == nil {
		return // the summary tells
	}
	moved := 0
	for _, g := range f.op.Guests {
		if cmp.Or(g.Target, d.second.target) == d.second.target {
			r.fail("%s is still meant for %s", g.Guest, d.second.target)
		}
	}
	for _, e := range f.events {
		if e.Reason.Code == failover.CodeRetarget {
			moved++
		}
	}
	if moved == 0 {
		r.fail("no guest was given another target")
	}
}
