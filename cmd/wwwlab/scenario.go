package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// scenario is what a demo shows.
type scenario struct {
	name   string
	victim string                                                 // unless --kill says; "": the brique that leads
	shape  func(*site.Lab) error                                  // the network that it needs
	before func(ctx context.Context, d *demo) error               // just before it; nil: nothing
	strike func(ctx context.Context, d *demo, f *facts) error     // what happens; nil: the site loses its power
	beside func(ctx context.Context, d *demo, f facts) error      // what happens while it is answered to; nil: nothing
	also   func(ctx context.Context, d *demo, f facts, r *report) // what must be so besides
}

// scenarios is the table of them.
func scenarios() []scenario {
	return []scenario{
		{name: "site"},
		{name: "rescue", victim: "fabrique", strike: strikeRescue, also: rescuedBeside},
		{name: "parpaing", victim: "halle", shape: (*site.Lab).SettleParpaing, strike: strikeParpaing},
		{name: "host", victim: "fabrique", shape: (*site.Lab).LodgeAtRaoull, strike: strikeHost, also: hostGoneAlone},
		{name: "leader-killed", victim: "fabrique", beside: killLeader, also: wentOn},
		{name: "warm", victim: "moulin", shape: (*site.Lab).KeepWarm, before: awaitWarm, also: servedWarm},
		{name: "switchover", victim: "fabrique", strike: strikeSwitchover, beside: writeToTheEnd, also: movedWhole},
		{name: "isolation", victim: "moulin", strike: strikeIsolation, beside: writeInTheHouse, also: wayHome},
		{name: "second", victim: "moulin", shape: saveAway, also: lostAgain},
		{name: "target-dies-too", victim: "moulin", shape: slowRestores, beside: killTarget, also: wentElsewhere},
	}
}

func scenarioNames() []string {
	var out []string
	for _, s := range scenarios() {
		out = append(out, s.name)
	}
	return out
}

func scenarioOf(name string) (scenario, error) {
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, usagef("--scenario: want one of %s, not %q", strings.Join(scenarioNames(), ", "), name)
}

// seenLimit is how long the others may take to see that a host is down.
const seenLimit = 30 * time.Second

// crash takes the power from a site's structure's host, and waits until the others see it.
func (d *demo) crash(ctx context.Context, f *facts) (failover.HostID, error) {
	i, err := d.room.lab.Index(string(f.site))
	if err != nil {
		return "", err
	}
	host := ""
	for _, h := range d.room.lab.Hosts(i) {
		if h.Owner == network.OwnerStructure {
			host = h.Name
		}
	}
	if host == "" {
		return "", fmt.Errorf("no structure has a host at %s", f.site)
	}
	d.say("%s crashes; the rest of %s goes on", host, f.site)
	d.begin(f, host)
	if err := site.NewClient(d.room.dir, string(f.site)).Crash(ctx, host); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, seenLimit)
	defer cancel()
	for {
		plan, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.Plan, error) {
			return c.PlanAsLoss(ctx, api.FailoverRequest{Host: failover.HostID(host)})
		})
		if err == nil && plan.Cause == failover.CauseHostDown && len(plan.Answers) == 0 {
			d.say("the others agree that %s is down", host)
			return failover.HostID(host), nil
		}
		if err := site.Sleep(ctx, followEvery); err != nil {
			return "", fmt.Errorf("nobody sees that %s is down: %w", host, err)
		}
	}
}

// byHand types a command of wwwctl at a site, shows it, and returns its exit code and all
// that it says.
func (d *demo) byHand(ctx context.Context, at failover.SiteID, args ...string) (int, string, error) {
	fmt.Fprintf(d.out, "\n$ wwwctl %s        (at %s)\n", strings.Join(args, " "), at)
	out, err := d.room.wwwctl(ctx, string(at), args...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		_, complaint, _ := strings.Cut(err.Error(), e.Error()+": ")
		code, err = e.ExitCode(), nil
		out += complaint
	}
	fmt.Fprintf(d.out, "%s\n", strings.TrimRight(out, "\n"))
	if code != 0 {
		fmt.Fprintf(d.out, "(exit code %d)\n", code)
	}
	fmt.Fprintln(d.out)
	d.spoke = time.Now()
	return code, out, err
}

// strikeRescue crashes a structure's host; the others answer to it by themselves.
func strikeRescue(ctx context.Context, d *demo, f *facts) error {
	host, err := d.crash(ctx, f)
	if err != nil {
		return err
	}
	f.domain = failover.HostDomain(host)
	_, _, err = d.byHand(ctx, f.site, "plan", string(f.site), "--rescue")
	return err
}

// rescuedBeside: the guests run on Raoull's PVE of the same site, the dead host's plug is
// off, and no name has changed.
func rescuedBeside(ctx context.Context, d *demo, f facts, r *report) {
	st, err := site.NewClient(d.room.dir, string(f.site)).Status(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	running := map[string]string{}
	for _, h := range st.Hosts {
		for _, g := range h.Guests {
			if g.Serving && h.Power {
				running[g.Address] = h.Name
			}
		}
	}
	beside := 0
	for _, h := range running {
		if h == "raoull-"+string(f.site) {
			beside++
		}
	}
	if beside != len(f.moving) {
		r.fail("%d guests run beside the dead host, want %d", beside, len(f.moving))
	}
	for _, e := range f.events {
		if e.Reason.Code == failover.CodeZoneVerified && !e.Stamp.At.Before(f.killed) {
			r.fail("a zone was changed by a rescue")
		}
	}
	if f.op == nil || f.op.Kind != failover.KindRescue || f.op.Committed.IsZero() {
		r.fail("no rescue was committed")
	}
	i, err := d.room.lab.Index(string(f.site))
	if err != nil {
		r.fail("%v", err)
		return
	}
	if off, err := d.room.lab.FencedOff(d.room.dir, i); err != nil || !off {
		r.fail("the dead host was not put off by its %s: %v", d.room.lab.Fence(i), err)
	}
}

// strikeParpaing crashes a structure's host where no PVE of Raoull's stands: a rescue is
// refused with the two ways that there are, and the second of them is gone.
func strikeParpaing(ctx context.Context, d *demo, f *facts) error {
	if _, err := d.crash(ctx, f); err != nil {
		return err
	}
	code, says, err := d.byHand(ctx, f.site, "rescue", string(f.site), "--yes")
	switch {
	case err != nil:
		return err
	case code != refusedCode || !strings.Contains(says, failover.CodeNoRescue):
		return fmt.Errorf("wwwctl rescue %s ends with exit code %d, want %d and %s", f.site, code, refusedCode, failover.CodeNoRescue)
	case !strings.Contains(says, "Repair") || !strings.Contains(says, "wwwctl failover "+string(f.site)):
		return fmt.Errorf("wwwctl rescue %s names not the two ways: %s", f.site, says)
	}
	code, _, err = d.byHand(ctx, f.site, "failover", string(f.site), "--confirm", string(f.site), "--detach", "--reason", "demo")
	if err == nil && code != 0 {
		err = fmt.Errorf("wwwctl failover %s ends with exit code %d", f.site, code)
	}
	return err
}

// refusedCode is the exit code of wwwctl for what a rule refuses.
const refusedCode = 5
