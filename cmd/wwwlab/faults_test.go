package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// faultsLimit bounds the failover of TestFaultsWithRealProcesses.
const faultsLimit = 90 * time.Second

// build puts the programs into a directory, unless WWW_BIN names one that has them.
func build(t *testing.T) binaries {
	t.Helper()
	if bin := os.Getenv("WWW_BIN"); bin != "" {
		return programsIn(bin)
	}
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../wwwd", "../wwwctl", ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return programsIn(bin)
}

func programsIn(dir string) binaries {
	return binaries{lab: filepath.Join(dir, "wwwlab"), wwwd: filepath.Join(dir, "wwwd"), wwwctl: filepath.Join(dir, "wwwctl")}
}

// struck is a running network of three sites under faults.
type struck struct {
	t       *testing.T
	room    *room
	crashed map[string]bool // targets that lost power and have it again
}

// realRoom runs the smallest network until the test ends. Its directory stays if the
// test has failed.
// prepare changes files before a process reads them.
func realRoom(t *testing.T, bins binaries, dns string, prepare ...func(*room)) *room {
	t.Helper()
	return roomOf(t, bins, site.MinSites, dns, prepare...)
}

// roomOf is realRoom with a number of sites.
func roomOf(t *testing.T, bins binaries, sites int, dns string, prepare ...func(*room)) *room {
	t.Helper()
	dir, held, err := demoDir("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		held.Close()
		if t.Failed() {
			t.Logf("the logs are kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	begun := time.Now()
	say := func(format string, args ...any) {
		t.Logf("[%4.1fs] %s", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	// Not the test's context: that has ended when the room is closed.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	r, err := newRoom(ctx, roomConfig{dir: dir, sites: sites, dns: dns, bins: bins, say: say})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	for _, change := range prepare {
		change(r)
	}
	if err := r.start(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFaultsWithRealProcesses is a sample of the simulator's table of single
// faults, with real processes: a target's machine dies in the middle of its
// first restore and boots again, and then answers get lost or garbled and
// requests are done twice. Every guest is served in the end, once.
func TestFaultsWithRealProcesses(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("takes half a minute: set WWW_E2E=1")
	}
	r := realRoom(t, build(t), site.Embedded)
	s := &struck{t: t, room: r, crashed: map[string]bool{}}
	const victim = "moulin"
	for _, target := range r.lab.Names()[1:] {
		s.add(target, lab.Fault{Match: lab.Match{Method: "GET", Path: "*/log"}, Effect: lab.EffectCrashHost, Times: 1})
	}
	r.say("pulling the plug of %s", victim)
	if err := r.kill(victim); err != nil {
		t.Fatal(err)
	}
	op := s.follow(victim)
	r.say("%s is %s", op.ID, op.Phase)
	if op.Phase != failover.OpDone || len(s.crashed) == 0 {
		t.Fatalf("%s is %s after crashes of %v, want it done after one at least: %+v", op.ID, op.Phase, s.crashed, op.Guests)
	}
	for _, g := range op.Guests {
		if copies := s.copies(string(g.Guest)); len(copies) != 1 || !strings.HasSuffix(copies[0], "serves") {
			t.Errorf("%s: copies %q, want one that serves", g.Guest, copies)
		}
	}
}

func (s *struck) hosts(name string) *site.Client { return site.NewClient(s.room.dir, name) }

func (s *struck) add(target string, f lab.Fault) {
	s.t.Helper()
	f.Where = "pve:raoull-" + target
	if err := s.hosts(target).AddFault(s.t.Context(), f); err != nil {
		s.t.Fatal(err)
	}
}

// follow waits for the end of the operation that answers to the loss, and gives
// machines that have died their power back, with other troubles to come.
func (s *struck) follow(victim string) failover.OpView {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), faultsLimit)
	defer cancel()
	var last failover.OpView
	for site.Sleep(ctx, followEvery) == nil {
		for _, target := range s.room.living() {
			s.revive(ctx, target)
		}
		ops, err := askEach(ctx, s.room, "", func(ctx context.Context, c *api.Client) (api.OpList, error) { return c.Ops(ctx) })
		if err != nil {
			continue // a leader is being elected
		}
		for _, op := range ops.Items {
			if op.Domain == failover.SiteDomain(failover.SiteID(victim)) {
				last = op
			}
		}
		if last.Phase.Ended() {
			return last
		}
	}
	return last
}

func (s *struck) revive(ctx context.Context, target string) {
	s.t.Helper()
	st, err := s.hosts(target).Status(ctx)
	if err != nil || s.crashed[target] {
		return
	}
	for _, h := range st.Hosts {
		if h.Power {
			continue
		}
		s.room.say("%s has died and boots again", h.Name)
		s.crashed[target] = true
		if err := s.hosts(target).ClearFaults(ctx); err != nil {
			s.t.Fatal(err)
		}
		for _, f := range []lab.Fault{
			{Match: lab.Match{Method: "POST", Path: "*/start"}, Effect: lab.EffectDropReply, Times: 1},
			{Match: lab.Match{Method: "POST", Path: "*/start", Skip: 1}, Effect: lab.EffectTwice, Times: 1},
			{Match: lab.Match{Method: "GET", Path: "*/status/current"}, Effect: lab.EffectTruncate, Times: 2},
		} {
			s.add(target, f)
		}
	}
}

// copies lists the copies of a guest on every living machine.
func (s *struck) copies(guest string) []string {
	s.t.Helper()
	var out []string
	for _, name := range s.room.living() {
		st, err := s.hosts(name).Status(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, h := range st.Hosts {
			for _, g := range h.Guests {
				if g.Name == guest {
					out = append(out, fmt.Sprintf("%d at %s %s", g.ID, h.Name, map[bool]string{true: "serves", false: "does not serve"}[g.Serving]))
				}
			}
		}
	}
	return out
}
