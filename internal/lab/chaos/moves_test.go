package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// at home: a request that reaches the hero's own machine.
func (s *scene) homeEffect(verb string) {
	s.index++
	s.look(home, func(l *Look) {
		l.Effects = []site.Effect{{
			At: s.now, Host: "pve-" + home, Method: "POST", Path: fmt.Sprintf("/nodes/n/qemu/1101/status/%s", verb), ID: 1101, Status: 200,
		}}
	})
}

func (s *scene) homeRuns(running bool) {
	g := &s.hosts[home].Hosts[0].Guests[0]
	g.Running, g.Serving = running, running
}

// leaves is a planned move of the hero until its guest is off and its copy restored.
func (s *scene) leaves() {
	s.ops = []failover.OpView{{
		ID: "op-91", Kind: failover.KindSwitchover, Phase: failover.OpCommitted, Domain: "site:" + home, Committed: s.now, Begun: s.now, By: "unix:root",
		Guests: []failover.OpGuestView{{Guest: hero, Target: target, VMID: copyID, State: failover.RunActive}},
	}}
	s.homeEffect("shutdown")
	s.homeRuns(false)
	s.pass(30*time.Second, nil)
	s.effect("POST", "", copyID, false)
	s.copyAt(target, false)
	s.pass(2*time.Second, nil)
}

// arrives ends a failover or a move as it should end, and lets time pass.
func (s *scene) arrives(rest time.Duration) {
	g := s.guest[hero]
	g.At, g.ID, g.Epoch, g.Phase = target, copyID, fmt.Sprintf("1-%d", s.index), failover.PhaseStarting
	s.guest[hero] = g
	s.pass(time.Second, nil)
	s.effect("POST", fmt.Sprintf("/%d/status/start", copyID), copyID, false)
	s.copyAt(target, true)
	s.pass(time.Second, nil)
	g.Serving, g.Phase = target, failover.PhaseAway
	s.guest[hero] = g
	s.names[g.Names[0]] = target
	s.ops[0].Phase, s.ops[0].Guests[0].State = failover.OpDone, failover.RunDone
	s.pass(rest, nil)
}

// givenUp ends it before ownership moved; the copy is gone.
func (s *scene) givenUp() {
	s.ops[0].Phase, s.ops[0].Guests[0].State = failover.OpCancelled, failover.RunCancelled
	s.hosts[target].Hosts[1].Guests = nil
	s.pass(time.Second, nil)
}

func (s *scene) none(what string) {
	s.t.Helper()
	if v := s.check.Violations(); len(v) > 0 {
		s.t.Errorf("violations of %s: %v", what, v)
	}
}

func TestAPlannedMoveHasNoViolation(t *testing.T) {
	s := newScene(t)
	s.pass(bootGrace+5*time.Second, nil)
	s.leaves()
	s.arrives(time.Minute)
	s.none("a planned move as it should be")

	s = newScene(t)
	s.pass(bootGrace+5*time.Second, nil)
	s.leaves()
	s.givenUp()
	s.homeEffect("start")
	s.homeRuns(true)
	s.pass(time.Minute, nil)
	s.none("a planned move that was given up")
}

// TestPlannedMovesThatDoHarm: what a planned move excuses is told from what it does not.
func TestPlannedMovesThatDoHarm(t *testing.T) {
	for what, tt := range map[string]struct {
		invariant, says string
		do              func(s *scene)
	}{
		"a shutdown that nobody planned": {"S9", "no planned move wants", func(s *scene) {
			s.homeEffect("shutdown")
			s.pass(knownAfter+5*time.Second, nil)
		}},
		"a guest that is switched off": {"S9", "nobody wanted", func(s *scene) { s.leaves(); s.homeEffect("stop") }},
		"a shutdown after it was given up": {"S9", "no planned move wants", func(s *scene) {
			s.leaves()
			s.givenUp()
			s.homeRuns(true)
			s.pass(knownAfter+5*time.Second, nil)
			s.homeEffect("shutdown")
			s.pass(knownAfter+5*time.Second, nil)
		}},
		"a guest that stays off": {"S9", "was stopped", func(s *scene) {
			s.leaves()
			s.givenUp()
			s.pass(bootGrace+5*time.Second, nil)
		}},
		"a guest that is stopped after it was given up": {"S9", "was stopped", func(s *scene) {
			s.leaves()
			s.givenUp()
			s.homeRuns(true)
			s.pass(time.Second, nil)
			s.homeRuns(false)
			s.pass(time.Second, nil)
		}},
		"two copies with one address": {"S3", "with one address", func(s *scene) { s.copyAt(home, true); s.pass(time.Second, nil) }},
		"a host that had power": {"S4", "has not been without power", func(s *scene) {
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "host:pve-" + home, By: "fabrique", Committed: s.now}}
			s.pass(time.Second, nil)
		}},
		"a host that has just died": {"S4", "has not been without power", func(s *scene) {
			s.check.hostLost("pve-"+home, s.now)
			s.hosts[home].Hosts[0].Power = false
			s.pass(2*time.Second, nil)
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "host:pve-" + home, By: "fabrique", Committed: s.now}}
			s.pass(time.Second, nil)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.pass(bootGrace+5*time.Second, nil)
			tt.do(s)
			s.expect(tt.invariant, tt.says)
		})
	}
}

// TestARescueOfADeadHost: a machine that is dead for long enough may be given up.
func TestARescueOfADeadHost(t *testing.T) {
	s := newScene(t)
	s.pass(bootGrace+5*time.Second, nil)
	s.check.hostLost("pve-"+home, s.now)
	s.hosts[home].Hosts[0].Power = false
	s.pass(15*time.Second, nil)
	s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "host:pve-" + home, By: "fabrique", Committed: s.now}}
	s.copyAt(home, false)
	s.pass(time.Minute, nil)
	s.none("a rescue as it should be")
}
