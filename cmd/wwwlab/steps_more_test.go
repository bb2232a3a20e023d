package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// moreStories are those of one kind of victim, and those of steps that few operations have.
func moreStories() []story {
	homeward := typed("failback", "run", "SITE", "--keep", "away")
	return []story{
		{name: "taken-back", guest: network.CT, repeat: true, once: true, casts: alone("operator", operatorCancels), acts: slices.Concat(
			takenBack(act{name: "failover-taken-back", kind: failover.KindFailover, begin: pullPlug, undo: giveUpLoss, after: acknowledged},
				failover.StepProtect, failover.StepRestore, failover.StepBefore),
			[]act{{name: "failover", kind: failover.KindFailover, begin: pullPlug, away: true, after: comeBack}},
			takenBack(act{name: "failback-taken-back", kind: failover.KindFailback, begin: homeward, undo: takeBack, away: true, parted: true},
				slices.Concat(sealAtHome, moveWhole[:len(moveWhole)-1], []failover.StepID{failover.StepBefore, failover.StepLeave, failover.StepPark})...),
			[]act{{name: "failback", kind: failover.KindFailback, begin: homeward}},
		)},
		{name: "plan-taken-back", guest: network.VM, repeat: true, once: true, casts: alone("operator", operatorCancels), acts: slices.Concat(
			takenBack(act{name: "switchover-taken-back", kind: failover.KindSwitchover, begin: typed("switchover", "SITE", "--to", "auto"), undo: takeBack},
				append(slices.Clone(moveWhole[:len(moveWhole)-1]), failover.StepBefore)...),
			[]act{{name: "switchover", kind: failover.KindSwitchover, begin: typed("switchover", "SITE", "--to", "auto"), away: true}},
			takenBack(act{name: "failback-home-taken-back", kind: failover.KindFailback, begin: typed("failback", "run", "SITE", "--keep", "home"), undo: takeBack, away: true},
				slices.Concat(sealAtHome, []failover.StepID{failover.StepBefore, failover.StepShutdown, failover.StepUnpark, failover.StepStill})...),
			[]act{{name: "failback-home", kind: failover.KindFailback, begin: typed("failback", "run", "SITE", "--keep", "home")}},
		)},
		{name: "rescue-taken-back", guest: network.CT, repeat: true, once: true, casts: alone("operator", operatorCancels), acts: takenBack(
			act{name: "rescue-taken-back", kind: failover.KindRescue, begin: crashHost, undo: giveUpRescue, after: acknowledged},
			failover.StepProtect, failover.StepRestore, failover.StepBefore, failover.StepFence)},
		{name: "zone", guest: network.CT, repeat: true, once: true, zone: true, casts: alone("names", namesSilent), acts: []act{
			{name: "failover", kind: failover.KindFailover, steps: runAndShow, begin: pullPlug, away: true, after: comeBack},
			{name: "failback-away", kind: failover.KindFailback, steps: runAndShow, begin: homeward},
		}},
		{name: "next-target", guest: network.CT, repeat: true, once: true, sites: site.DefaultSites, casts: alone("machines", machineGone), acts: targetsGone(
			failover.StepProtect, failover.StepRestore, failover.StepBefore, failover.StepStart, failover.StepCheck)},
		{name: "room", guest: network.VM, repeat: true, once: true, lodged: true, acts: []act{
			{name: "failover", kind: failover.KindFailover, begin: pullPlug, away: true, after: powerBack},
			{name: "failback-replace", kind: failover.KindFailback, steps: []failover.StepID{failover.StepReplace}, begin: replaceHome},
			{name: "fork", kind: failover.KindRemoval, steps: []failover.StepID{failover.StepFork}, begin: left("fork", func(c failover.CopyStands) bool { return c.Fork.IsZero() })},
		}},
		{name: "month", guest: network.CT, repeat: true, once: true, acts: []act{
			{name: "switchover", kind: failover.KindSwitchover, begin: typed("switchover", "SITE", "--to", "auto"), away: true},
			{name: "failback", kind: failover.KindFailback, begin: homeward},
			{name: "removal", kind: failover.KindRemoval, begin: removeLeft, after: monthLater},
			{name: "give-up", kind: failover.KindRemoval, steps: []failover.StepID{failover.StepUnseal, failover.StepUnsealCopy}, begin: left("give-up", func(c failover.CopyStands) bool { return c.GiveUp.IsZero() })},
		}},
	}
}

// untaken are the steps at which nobody takes the operation back, and why.
var untaken = map[failover.StepID]string{
	failover.StepOwn:        "an entry of the log: nobody is at work at it",
	failover.StepStart:      movedOn,
	failover.StepLive:       movedOn,
	failover.StepCheck:      movedOn,
	failover.StepWhole:      movedOn,
	failover.StepServe:      movedOn,
	failover.StepAfter:      movedOn,
	failover.StepRelease:    movedOn,
	failover.StepSettle:     movedOn,
	failover.StepCleanup:    "part of what is taken back",
	failover.StepRevive:     "part of what is taken back",
	failover.StepRejoin:     "part of what is taken back",
	failover.StepReplace:    "a person has named the copy that goes",
	failover.StepRemove:     "a person has named the copy that goes",
	failover.StepFork:       "a person has named the copy that becomes a guest",
	failover.StepUnseal:     "a person has named the branch that goes",
	failover.StepUnsealCopy: "a person has named the branch that goes",
}

const movedOn = "ownership has moved: the way back is a failback"

// takenBack is an act for each of some steps, at which a person takes the operation back.
func takenBack(a act, steps ...failover.StepID) []act {
	var out []act
	for _, step := range steps {
		a.cancel, a.steps, a.by = step, []failover.StepID{step}, operatorCancels
		out = append(out, a)
	}
	return out
}

// targetsGone are two acts for each of some steps: the machine of the target dies there for good, and
// the guest comes home from where it went.
func targetsGone(steps ...failover.StepID) []act {
	var out []act
	for _, step := range steps {
		gone := act{name: "failover-elsewhere", kind: failover.KindFailover, steps: []failover.StepID{step}, begin: loseByHand, cancel: step, by: machineGone, undo: targetGone, away: true, check: elsewhere, after: powerBack}
		out = append(out, gone, act{name: "failback", kind: failover.KindFailback, begin: typed("failback", "run", "SITE", "--keep", "away"), with: &gone})
	}
	return out
}

// loseByHand takes the power of the site, and a person says at once that it is lost: two silent sites are
// more than automation answers to.
func loseByHand(ctx context.Context, s *stepsLab) error {
	if err := s.reachesTwo(ctx); err != nil {
		return err
	}
	return errors.Join(pullPlug(ctx, s), s.types(ctx, "failover", s.site, "--confirm", s.site, "--reason", "it burns", "--detach"))
}

// targetGone takes the power of Raoull's machine at the target, and with it its agent. Nobody gives it back.
func targetGone(ctx context.Context, s *stepsLab) error {
	op, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, s.op) })
	if err != nil {
		return err
	}
	s.gone = string(op.Op.Guests[0].Target)
	s.say("%s/%s/%s: raoull-%s dies for good", s.act.name, s.act.cancel, s.act.by, s.gone)
	s.room.mute = s.gone
	s.dead["raoull-"+s.gone]++
	return errors.Join(site.NewClient(s.room.dir, s.gone).Crash(ctx, "raoull-"+s.gone), s.room.children.Kill(agentOf(s.gone)))
}

// mend gives the machine its power back that targetGone has taken.
func (s *stepsLab) mend(ctx context.Context) error {
	at := s.gone
	if at == "" {
		return nil
	}
	s.say("raoull-%s is repaired", at)
	s.gone, s.room.mute = "", ""
	if err := errors.Join(site.NewClient(s.room.dir, at).Repair(ctx, "raoull-"+at), s.room.launchAgent(at)); err != nil {
		return err
	}
	for {
		st, err := s.room.anyStatus(ctx)
		i := slices.IndexFunc(st.Sites, func(r failover.SiteView) bool { return string(r.Site) == at })
		if err == nil && i >= 0 && st.Sites[i].State == "up" {
			return nil
		}
		if site.Sleep(ctx, followEvery) != nil {
			return errors.Join(fmt.Errorf("nobody sees that %s is back", at), err)
		}
	}
}

// reachesTwo waits until every other site with a host for it could restore the guest.
func (s *stepsLab) reachesTwo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, saveLimit)
	defer cancel()
	for _, at := range s.room.lab.Sites {
		for at.Kind == network.Brique && at.Name != s.site {
			plan, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Plan, error) {
				return c.PlanAsLoss(ctx, api.FailoverRequest{Site: failover.SiteID(s.site), To: failover.SiteID(at.Name)})
			})
			if err == nil && len(plan.Assignments) > 0 {
				break
			}
			if site.Sleep(ctx, followEvery) != nil {
				return errors.Join(fmt.Errorf("%s could not restore what lives at %s: %+v", at.Name, s.site, plan.LeftOut), err)
			}
		}
	}
	return nil
}

// elsewhere: a guest that was not owned yet when its target died serves at another one, and what was
// restored there is removed when the machine is back.
func elsewhere(ctx context.Context, s *stepsLab) error {
	if s.gone != "" {
		for _, g := range s.guests() {
			if string(s.expected[failover.GuestID(g)]) == s.gone {
				return fmt.Errorf("%s serves at %s, whose machine is dead", g, s.gone)
			}
		}
	} else if !slices.Contains(runningSteps, s.act.cancel) {
		return fmt.Errorf("a person had to repair the target although nothing was owned at %s", s.act.cancel)
	}
	return errors.Join(s.mend(ctx), s.awaitSettled(ctx))
}

// giveUpLoss has a person take a failover back while the site is dark, and gives the site its power back.
func giveUpLoss(ctx context.Context, s *stepsLab) error {
	return errors.Join(takeBack(ctx, s), powerBack(ctx, s))
}

// acknowledged has automation answer to the next loss, too. Typed while the site still counts as lost
// it would go on with what was taken back.
func acknowledged(ctx context.Context, s *stepsLab) error {
	return s.types(ctx, "op", "ack", string(s.op))
}

// giveUpRescue has a person take a rescue back and mend the host that had died, whose plug may be off.
func giveUpRescue(ctx context.Context, s *stepsLab) error {
	client := site.NewClient(s.room.dir, s.site)
	return errors.Join(takeBack(ctx, s), client.Repair(ctx, "pve-"+s.site), client.PlugIn(ctx))
}

// guest is the one of the story, as the agent tells that is asked.
func (s *stepsLab) guest(ctx context.Context) (api.Guest, error) {
	return askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Guest, error) {
		return c.Guest(ctx, failover.GuestID(s.guests()[0]))
	})
}

// replaceHome types a failback that gives the copy at home up for the one that comes.
func replaceHome(ctx context.Context, s *stepsLab) error {
	i, err := s.room.lab.Index(s.site)
	if err != nil {
		return err
	}
	m, _ := s.room.lab.Guest(s.guests()[0])
	at := fmt.Sprintf("%s/%d", s.room.lab.HostOf(i, m), m.ID)
	return s.types(ctx, "failback", "run", m.Name, "--keep", "away", "--replace", at, "--detach")
}

// left types what is to be done with a copy that the guest was left with.
func left(verb string, may func(failover.CopyStands) bool) func(context.Context, *stepsLab) error {
	return func(ctx context.Context, s *stepsLab) error {
		ctx, cancel := context.WithTimeout(ctx, settleLimit)
		defer cancel()
		for {
			g, err := s.guest(ctx)
			if i := slices.IndexFunc(g.Left, may); err == nil && i >= 0 {
				at := fmt.Sprintf("%s/%d", g.Left[i].Host, g.Left[i].VMID)
				return s.types(ctx, "failback", verb, string(g.Guest.Guest), "--copy", at, "--confirm", at, "--detach")
			}
			if site.Sleep(ctx, followEvery) != nil {
				return errors.Join(fmt.Errorf("no copy is there for wwwctl failback %s: %+v", verb, g.Left), err)
			}
		}
	}
}

// month is longer than what is sealed is kept.
const month = failover.KeepSealed + 24*time.Hour

// monthLater moves the wall clocks of all agents, and has another one lead: the log's time begins with
// its clock. Nothing of the program is told that this is a lab.
func monthLater(ctx context.Context, s *stepsLab) error {
	if runtime.GOARCH != "amd64" {
		s.t.Skip("clocks of processes are moved on amd64 only")
	}
	for _, name := range s.room.lab.Names() {
		pid, err := s.room.children.PID(agentOf(name))
		if err != nil {
			return err
		}
		if err := netns.JumpClock(pid, month); err != nil {
			return err
		}
	}
	s.say("the clocks of all agents show a month later")
	s.refreshLeader(ctx)
	if err := s.room.children.Kill(agentOf(s.leader)); err != nil {
		return err
	}
	old := s.leader
	for s.leader == old { // whoever comes next has the later clock
		if err := site.Sleep(ctx, unitRestart); err != nil {
			return fmt.Errorf("nobody leads after %s: %w", old, err)
		}
		s.refreshLeader(ctx)
	}
	if err := s.room.startAgent(ctx, old); err != nil {
		return err
	}
	pid, err := s.room.children.PID(agentOf(old))
	if err != nil {
		return err
	}
	return netns.JumpClock(pid, month)
}
