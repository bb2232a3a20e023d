package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// countdown is the commit delay of the lab.
const countdown = 25 * time.Second

// takesTime is a program that can be cut off.
const takesTime = "#!/bin/sh\n/bin/sleep 1\necho called >> %[1]q/called\n"

// act is one operation of a story, at one site.
type act struct {
	name  string
	kind  failover.OpKind
	steps []failover.StepID                      // that are struck: those of its guests' journals
	begin func(context.Context, *stepsLab) error // pulls a plug, or types a command
	// cancel is the step at whose running the operation is undone; "": it goes on to its end.
	cancel failover.StepID
	undo   func(context.Context, *stepsLab) error
	by     moment                                 // of which cancelling is the strike; "": it is the act's way to end
	with   *act                                   // the act that it follows, and is played with; nil: it is always played
	away   bool                                   // in the end the guests are at their targets; else at home
	parted bool                                   // in the end the copies at home may run, too
	check  func(context.Context, *stepsLab) error // what must be so besides; nil: nothing
	after  func(context.Context, *stepsLab) error // what makes the lab ready for the next act; nil: nothing
}

// story is a row of acts that leads from a sound network to one; it is played at each brique
// of a lab of its own.
type story struct {
	name   string
	guest  network.GuestType // of the one guest of each brique
	live   bool              // it is restored live when its site is lost
	repeat bool              // its programs may be called twice
	once   bool              // it leaves a network that is not sound: it is played at one site, and every moment struck there
	sites  int               // of its lab; 0: three
	zone   bool              // the zone is served by programs of its own, not by the agents
	lodged bool              // its guest lives on Raoull's machine of its site, which one site has
	casts  []cast            // who dies; nil: everybody
	acts   []act
}

// Steps that several acts have. Before and after are those of the programs that containers have.
var (
	sealAtHome = []failover.StepID{failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy}
	runAndShow = []failover.StepID{failover.StepOwn, failover.StepStart, failover.StepCheck, failover.StepServe, failover.StepAfter}
	moveWhole  = []failover.StepID{
		failover.StepReady, failover.StepShutdown, failover.StepBackup, failover.StepPull, failover.StepProtect, failover.StepVerify,
		failover.StepRestore, failover.StepStill, failover.StepRelease,
	}
)

// stepStories are the operations whose steps are struck.
func stepStories() []story {
	return append(moreStories(), []story{
		{name: "loss", guest: network.CT, acts: []act{
			{name: "failover", kind: failover.KindFailover, steps: slices.Concat(runAndShow, []failover.StepID{
				failover.StepProtect, failover.StepRestore, failover.StepBefore, failover.StepRelease,
			}), begin: pullPlug, away: true, check: writtenAway, after: comeBack},
			{name: "failback-cancelled", kind: failover.KindFailback, steps: slices.Concat(sealAtHome, []failover.StepID{
				failover.StepBefore, failover.StepLeave, failover.StepRejoin,
			}), begin: typed("failback", "run", "SITE", "--keep", "away"), cancel: failover.StepPark, undo: takeBack, away: true, parted: true},
			{name: "failback-away", kind: failover.KindFailback, steps: slices.Concat(sealAtHome, moveWhole, runAndShow, []failover.StepID{
				failover.StepBefore, failover.StepLeave, failover.StepPark, failover.StepSettle,
			}), begin: typed("failback", "run", "SITE", "--keep", "away"), check: keptAll},
			{name: "removal", kind: failover.KindRemoval, steps: append(slices.Clone(sealAtHome), failover.StepRemove), begin: removeLeft},
		}},
		{name: "plan", guest: network.VM, repeat: true, acts: []act{
			{name: "switchover-cancelled", kind: failover.KindSwitchover, steps: []failover.StepID{
				failover.StepReady, failover.StepBefore, failover.StepShutdown, failover.StepBackup, failover.StepPull, failover.StepProtect,
				failover.StepRevive,
			}, begin: typed("switchover", "SITE", "--to", "auto"), cancel: failover.StepVerify, undo: takeBack},
			{name: "switchover", kind: failover.KindSwitchover, steps: slices.Concat(moveWhole, runAndShow, []failover.StepID{failover.StepBefore}), begin: writeThen(typed("switchover", "SITE", "--to", "auto")), away: true, check: keptAll},
			{name: "failback-home", kind: failover.KindFailback, steps: slices.Concat(sealAtHome, runAndShow, []failover.StepID{
				failover.StepBefore, failover.StepShutdown, failover.StepUnpark, failover.StepStill, failover.StepSettle,
			}), begin: typed("failback", "run", "SITE", "--keep", "home")},
			{name: "failover-cancelled", kind: failover.KindFailover, steps: []failover.StepID{failover.StepCleanup}, begin: pullPlug, cancel: failover.StepRestore, undo: powerBack},
		}},
		{name: "rescue", guest: network.CT, repeat: true, once: true, acts: []act{
			{name: "rescue", kind: failover.KindRescue, steps: slices.Concat(runAndShow, []failover.StepID{
				failover.StepProtect, failover.StepRestore, failover.StepBefore, failover.StepFence, failover.StepRelease,
			}), begin: crashHost, away: true},
		}},
		{name: "live", guest: network.VM, live: true, repeat: true, acts: []act{
			{name: "failover-live", kind: failover.KindFailover, steps: []failover.StepID{
				failover.StepProtect, failover.StepBefore, failover.StepOwn, failover.StepLive, failover.StepCheck, failover.StepWhole,
				failover.StepServe, failover.StepAfter, failover.StepRelease,
			}, begin: pullPlug, away: true, after: comeBack},
			{name: "failback-live", kind: failover.KindFailback, begin: typed("failback", "run", "SITE", "--keep", "away")},
		}},
	}...)
}

// unstruck are the steps at which no agent is killed here, and why.
var unstruck = map[failover.StepID]string{}

// leaderSteps are entries of the log that the leader writes: no agent works at them.
var leaderSteps = []failover.StepID{failover.StepOwn, failover.StepServe}

// plant leaves each brique one guest, for which programs are called: its journal alone is followed.
func (st story) plant(t *testing.T) func(*room) {
	dir := t.TempDir()
	return func(r *room) {
		var kept []string
		if st.lodged {
			if err := r.lab.LodgeAtRaoull(); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range r.lab.Names() {
			i := slices.IndexFunc(r.lab.Guests, func(g site.Member) bool { return st.lodged && g.Raoull && r.lab.Home(g) == s })
			if i < 0 && len(r.lab.GuestsOf(s)) == 0 {
				continue
			}
			if i < 0 {
				i = slices.IndexFunc(r.lab.Guests, func(g site.Member) bool { return r.lab.Home(g) == s && g.Type == st.guest && len(g.After) == 0 })
			}
			kept = append(kept, r.lab.Guests[i].Name)
		}
		r.lab.Guests = slices.DeleteFunc(r.lab.Guests, func(g site.Member) bool { return !slices.Contains(kept, g.Name) })
		b := board{t: t, dir: dir}
		b.declare(r, map[string]string{"allow": takesTime, "tell": takesTime}, func(spec *network.Spec) {
			// A site whose line is mended in the middle of a countdown must be seen before its end.
			spec.Policy.Commit, spec.Policy.CommitDual = network.Duration(countdown), network.Duration(countdown)
			for id, g := range spec.Guests {
				g.LiveRestore = st.live
				g.Hooks = &network.Hooks{
					Before: &network.Hook{Run: "allow", Veto: true, Repeat: st.repeat}, After: &network.Hook{Run: "tell", Repeat: st.repeat},
				}
				spec.Guests[id] = g
			}
		})
	}
}

// writtenAfter is when what a machine of a lab was told lies on its disk.
const writtenAfter = 3 * time.Second

// pullPlug takes the power of the site.
func pullPlug(ctx context.Context, s *stepsLab) error {
	if err := site.Sleep(ctx, writtenAfter); err != nil {
		return err
	}
	s.say("pulling the plug of %s", s.site)
	return s.room.kill(s.site)
}

// typed types a command of wwwctl, in which SITE stands for that of the act.
func typed(words ...string) func(context.Context, *stepsLab) error {
	return func(ctx context.Context, s *stepsLab) error {
		args := slices.Clone(words)
		for i, w := range args {
			if w == "SITE" {
				args[i] = s.site
			}
		}
		return s.types(ctx, append(args, "--detach")...)
	}
}

// types types a command that must be taken. A leader that was just chosen may need a moment.
func (s *stepsLab) types(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		code, says, err := s.byHand(ctx, failover.SiteID(s.room.living()[0]), append(args, "--yes")...)
		if err == nil && code == 0 {
			return nil
		}
		if site.Sleep(ctx, 4*followEvery) != nil {
			return errors.Join(fmt.Errorf("wwwctl %s ends with exit code %d: %s", strings.Join(args, " "), code, says), err)
		}
	}
}

// removeLeft types the removal of the copy that our host was left with.
func removeLeft(ctx context.Context, s *stepsLab) error {
	name := s.guests()[0]
	g, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Guest, error) {
		return c.Guest(ctx, failover.GuestID(name))
	})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(g.Left, func(c failover.CopyStands) bool { return c.Remove.IsZero() })
	if i < 0 {
		return fmt.Errorf("nothing that %s has left may be removed: %+v", name, g.Left)
	}
	at := fmt.Sprintf("%s/%d", g.Left[i].Host, g.Left[i].VMID)
	return s.types(ctx, "failback", "remove", name, "--copy", at, "--confirm", at, "--detach")
}

// writeThen has members write to the guests before something begins.
func writeThen(begin func(context.Context, *stepsLab) error) func(context.Context, *stepsLab) error {
	return func(ctx context.Context, s *stepsLab) error {
		return errors.Join(s.write(ctx, "before"), begin(ctx, s))
	}
}

// writtenAway has members write to what serves away, which the way home must keep.
func writtenAway(ctx context.Context, s *stepsLab) error { return s.write(ctx, "away") }

func (s *stepsLab) write(ctx context.Context, what string) error {
	for _, g := range s.guests() {
		if err := s.byName(ctx, failover.GuestID(g), what+"-"+s.site, 3); err != nil {
			return err
		}
	}
	return nil
}

// keptAll: every line that members wrote is in the copies that serve.
func keptAll(ctx context.Context, s *stepsLab) error {
	for _, g := range s.guests() {
		if err := s.holds(ctx, []failover.GuestID{failover.GuestID(g)}, "internet", s.expected[failover.GuestID(g)]); err != nil {
			return err
		}
	}
	return nil
}

// powerBack gives the site its power back.
func powerBack(ctx context.Context, s *stepsLab) error {
	s.say("%s has its power back", s.site)
	if err := s.room.revive(ctx, s.site); err != nil {
		return err
	}
	return s.slow(ctx, s.site)
}

// takeBack has a person take the operation back.
func takeBack(ctx context.Context, s *stepsLab) error {
	return s.types(ctx, "op", "cancel", string(s.op), "--reason", "not tonight")
}

// comeBack gives the site its power back. Its machines boot, and with them the copies at home.
func comeBack(ctx context.Context, s *stepsLab) error {
	if err := powerBack(ctx, s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, partedLimit)
	defer cancel()
	for {
		g, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Guest, error) {
			return c.Guest(ctx, failover.GuestID(s.guests()[0]))
		})
		if left := g.Guest.Left; err == nil && g.Guest.Phase == failover.PhaseDiverged && left != nil && !left.Since.IsZero() {
			return nil
		}
		if site.Sleep(ctx, followEvery) != nil {
			return errors.Join(fmt.Errorf("nobody says that the copy at %s runs again: %+v", s.site, g.Guest.Left), err)
		}
	}
}

// crashHost breaks the structure's machine of the site; the rest of it goes on.
func crashHost(ctx context.Context, s *stepsLab) error {
	_, err := s.crash(ctx, &facts{site: failover.SiteID(s.site)})
	return err
}
