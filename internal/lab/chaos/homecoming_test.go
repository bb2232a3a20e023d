package chaos

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const cameID = 5000 // of the copy that comes home

// asks is a request to the hero's own machine, by a path below qemu.
func (s *scene) asks(method, path string, id int) {
	s.index++
	s.look(home, func(l *Look) {
		l.Effects = []site.Effect{{At: s.now, Host: "pve-" + home, Method: method, Path: "/nodes/n/" + path, ID: id, Status: 200}}
	})
}

// asksAway is a request to the machine where the hero is served.
func (s *scene) asksAway(verb string) {
	s.effect(http.MethodPost, fmt.Sprintf("/%d/status/%s", copyID, verb), copyID, false)
}

// parted is a hero that is served elsewhere while its copy at home runs.
func (s *scene) parted() {
	s.moves()
	s.check.truth.set(nil, nil, s.now)
	st := &site.Status{Site: home}
	i, _ := s.lab.Index(home)
	for _, h := range s.lab.Hosts(i) {
		st.Hosts = append(st.Hosts, site.HostStatus{Name: h.Name, Power: true})
	}
	for _, m := range s.lab.GuestsOf(home) {
		st.Hosts[0].Guests = append(st.Hosts[0].Guests, site.GuestStatus{ID: m.ID, Name: m.Name, Running: true, Serving: true, Onboot: true})
	}
	s.hosts[home] = st
	s.check.powered(home, s.now)
	s.ops = nil
	s.pass(bootGrace+5*time.Second, nil)
	s.none("a site that is back")
}

// returns begins a failback of the hero to a copy at home.
func (s *scene) returns(vmid int) {
	s.ops = []failover.OpView{{
		ID: "op-95", Kind: failover.KindFailback, Phase: failover.OpCommitted, Domain: "site:" + home, Committed: s.now, Begun: s.now, By: "unix:root",
		Guests: []failover.OpGuestView{{Guest: hero, Target: home, VMID: vmid, State: failover.RunActive}},
	}}
	s.pass(2*time.Second, nil)
}

// awayRuns says whether the copy that serves elsewhere runs.
func (s *scene) awayRuns(running bool) { s.copyAt(target, running) }

// seal shows a sealed branch at sites.
func (s *scene) seal(id int, sites ...string) {
	for _, name := range sites {
		h := &s.hosts[name].Hosts[len(s.hosts[name].Hosts)-1]
		h.Sealed = append(h.Sealed, fmt.Sprintf("sealed/%s/vm/%d/2026-03-01T12:00:00Z", home, id))
	}
}

// left: the copy at home is shut down, sealed and parked; the guest is shut down and restored
// at home under another id.
func (s *scene) left() {
	s.returns(cameID)
	s.asks(http.MethodPost, "qemu/1101/status/shutdown", 1101)
	s.homeRuns(false)
	s.asks(http.MethodPost, "vzdump", 1101)
	s.pass(5*time.Second, nil)
	s.seal(1101, home, target)
	s.asks(http.MethodPut, "qemu/1101/config", 1101)
	s.asksAway("shutdown")
	s.awayRuns(false)
	s.pass(5*time.Second, nil)
	s.asks(http.MethodPost, "qemu", cameID)
	h := &s.hosts[home].Hosts[0]
	h.Guests = append(h.Guests, site.GuestStatus{ID: cameID, Name: hero})
	s.asks(http.MethodPut, "qemu/5000/config", cameID)
	s.pass(2*time.Second, nil)
}

// owns gives the hero to its copy at home, which starts and serves.
func (s *scene) owns(id int) {
	g := s.guest[hero]
	g.At, g.ID, g.Epoch, g.Phase = home, id, fmt.Sprintf("1-%d", s.index), failover.PhaseStarting
	s.guest[hero] = g
	s.pass(time.Second, nil)
	s.asks(http.MethodPost, fmt.Sprintf("qemu/%d/status/start", id), id)
	h := &s.hosts[home].Hosts[0]
	for i := range h.Guests {
		if h.Guests[i].ID == id {
			h.Guests[i].Running, h.Guests[i].Serving = true, true
		}
	}
	s.pass(time.Second, nil)
	g.Serving, g.Phase = home, failover.PhaseHome
	s.guest[hero] = g
	s.names[g.Names[0]] = home
	s.ops[0].Phase, s.ops[0].Guests[0].State = failover.OpDone, failover.RunDone
	s.pass(40*time.Second, nil)
}

// takenBack gives it up: both copies run as before.
func (s *scene) takenBack() {
	s.ops[0].Guests[0].State = failover.RunCancelled
	s.pass(time.Second, nil)
	s.asksAway("start")
	s.awayRuns(true)
	s.asks(http.MethodPut, "qemu/1101/config", 1101)
	s.asks(http.MethodPost, "qemu/1101/status/start", 1101)
	s.homeRuns(true)
	s.asks(http.MethodDelete, "qemu/5000", cameID)
	s.ops[0].Phase = failover.OpCancelled
	s.pass(time.Minute, nil)
}

func (s *scene) keepsHome() {
	s.returns(1101)
	s.asksAway("shutdown")
	s.awayRuns(false)
	s.pass(5*time.Second, nil)
	s.seal(copyID, home, target)
	s.asks(http.MethodPut, "qemu/1101/config", 1101)
}

// TestAFailbackHasNoViolation: whichever copy is kept, and when it is taken back.
func TestAFailbackHasNoViolation(t *testing.T) {
	for what, tt := range map[string]struct {
		do   func(s *scene)
		home bool
	}{
		"keep away":  {func(s *scene) { s.left(); s.owns(cameID) }, true},
		"keep home":  {func(s *scene) { s.keepsHome(); s.owns(1101) }, true},
		"taken back": {func(s *scene) { s.left(); s.takenBack() }, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.parted()
			tt.do(s)
			s.none("a failback as it should be")
			left := s.check.notHome()
			if tt.home && len(left) > 0 {
				t.Errorf("at home, and still %v", left)
			}
			if !tt.home && !strings.Contains(fmt.Sprint(left), hero+" lives at "+target) {
				t.Errorf("taken back, and %v says nothing of the guest that is away", left)
			}
		})
	}
}

// TestFailbacksThatDoHarm: what a failback may ask of machines is told from what nobody may.
func TestFailbacksThatDoHarm(t *testing.T) {
	late := knownAfter + 5*time.Second
	for what, tt := range map[string]struct {
		invariant, says string
		do              func(s *scene)
	}{
		"a copy at home that nobody brings back": {"S9", "no planned move wants", func(s *scene) {
			s.asks(http.MethodPost, "qemu/1101/status/shutdown", 1101)
			s.pass(late, nil)
		}},
		"what serves is shut down": {"S9", "no planned move wants", func(s *scene) {
			s.asksAway("shutdown")
			s.pass(late, nil)
		}},
		"what serves is switched off": {"S9", "nobody wanted", func(s *scene) { s.left(); s.asksAway("stop") }},
		"the copy that came home is shut down": {"S9", "no planned move wants", func(s *scene) {
			s.left()
			s.owns(cameID)
			s.asks(http.MethodPost, "qemu/5000/status/shutdown", cameID)
			s.pass(late, nil)
		}},
		"the copy that is kept is shut down": {"S9", "no planned move wants", func(s *scene) {
			s.returns(1101)
			s.asks(http.MethodPost, "qemu/1101/status/shutdown", 1101)
			s.pass(late, nil)
		}},
		"a change that nobody planned": {"S9", "to change", func(s *scene) { s.asks(http.MethodPut, "qemu/1101/config", 1101); s.pass(late, nil) }},
		"a backup that nobody planned": {"S9", "back moulin/1101 up", func(s *scene) { s.asks(http.MethodPost, "vzdump", 1101); s.pass(late, nil) }},
		"a restore that nobody planned": {"S7", "where no failback brings it", func(s *scene) {
			s.asks(http.MethodPost, "qemu", cameID)
			s.pass(late, nil)
		}},
		"a restore under an id of theirs": {"S7", "where no failback brings it", func(s *scene) {
			s.returns(1150)
			s.asks(http.MethodPost, "qemu", 1150)
			s.pass(late, nil)
		}},
		"a restore over the copy at home": {"S3", "restored over", func(s *scene) { s.returns(1101); s.asks(http.MethodPost, "qemu", 1101) }},
		"a copy of theirs is deleted":     {"S7", "which has owned", func(s *scene) { s.left(); s.asks(http.MethodDelete, "qemu/1101", 1101) }},
		"something else of theirs is deleted": {"S7", "nothing is ours", func(s *scene) {
			s.left()
			s.asks(http.MethodDelete, "qemu/1777", 1777)
			s.pass(late, nil)
		}},
		"the copy that came home is deleted": {"S7", "which has run", func(s *scene) {
			s.left()
			s.owns(cameID)
			s.asks(http.MethodDelete, "qemu/5000", cameID)
		}},
		"the copy that was left starts while it goes on": {"S3", "has owned for", func(s *scene) {
			s.left()
			s.asks(http.MethodPost, "qemu/1101/status/start", 1101)
			s.pass(late, nil)
		}},
		"the copy that was left starts after it": {"S3", "has owned for", func(s *scene) {
			s.left()
			s.owns(cameID)
			s.asks(http.MethodPost, "qemu/1101/status/start", 1101)
			s.pass(late, nil)
		}},
		"both run at home": {"S3", "with one address", func(s *scene) {
			s.left()
			s.owns(cameID)
			s.homeRuns(true)
			s.pass(time.Second, nil)
		}},
		"what came home is gone": {"S7", "is gone", func(s *scene) {
			s.left()
			s.owns(cameID)
			h := &s.hosts[home].Hosts[0]
			h.Guests = h.Guests[:len(h.Guests)-1]
			s.pass(late, nil)
		}},
		"what came home is stopped": {"S9", "was stopped", func(s *scene) {
			s.left()
			s.owns(cameID)
			h := &s.hosts[home].Hosts[0]
			h.Guests[len(h.Guests)-1].Running = false
			s.pass(late, nil)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.parted()
			tt.do(s)
			s.expect(tt.invariant, tt.says)
		})
	}
}

// TestWhatIsNotAtHome: the end of a round names what people could not bring home.
func TestWhatIsNotAtHome(t *testing.T) {
	for what, tt := range map[string]struct {
		says string
		do   func(s *scene)
	}{
		"what lives elsewhere": {"L3", func(*scene) {}},
		"what is not over": {"L2", func(s *scene) {
			s.left()
			s.owns(cameID)
			s.ops = append(s.ops, failover.OpView{ID: "op-99", Phase: failover.OpCommitted, Waiting: []failover.GuestID{hero}})
		}},
		"what does not run": {"S3", func(s *scene) { s.left(); s.owns(cameID); s.hosts[home].Hosts[0].Guests[4].Running = false }},
		"what runs twice":   {"S3", func(s *scene) { s.left(); s.owns(cameID); s.awayRuns(true) }},
		"what is not sealed": {"S7", func(s *scene) {
			s.returns(1101)
			s.asksAway("shutdown")
			s.awayRuns(false)
			s.check.failed = map[string]bool{} // nobody has lost power
			s.owns(1101)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.parted()
			tt.do(s)
			s.pass(time.Second, nil)
			for _, v := range s.check.notHome() {
				if v.Invariant == tt.says {
					return
				}
			}
			t.Errorf("%v, want something of %s", s.check.notHome(), tt.says)
		})
	}
}

// TestTheWayHomeIsPlanned: one seed, one plan; agents, leaders and people are in it.
func TestTheWayHomeIsPlanned(t *testing.T) {
	l, seen := labOf(t), map[string]int{}
	if diff := cmp.Diff(HomePlan(7, l), HomePlan(7, labOf(t))); diff != "" {
		t.Errorf("two plans of one seed differ:\n%s", diff)
	}
	for seed := range uint64(50) {
		for _, e := range HomePlan(seed, l) {
			seen[e.Do+e.To]++
			if e.At < 0 || e.At >= homeTrouble || e.Do != DoPerson && e.For <= 0 {
				t.Fatalf("seed %d: %+v is not within the phase, or has no end", seed, e)
			}
		}
	}
	for _, do := range []string{DoAgent, DoLeader, DoPerson + PersonCancel, DoPerson + PersonUndo} {
		if seen[do] == 0 {
			t.Errorf("%q is in no plan of 50", do)
		}
	}
}

// TestAHostThatHasItsPlugBack: the copies of guests that live elsewhere stay off as a person
// wanted; those that live there run.
func TestAHostThatHasItsPlugBack(t *testing.T) {
	s := newScene(t)
	s.parted()
	if got := s.check.leftAt(home); len(got) != 1 || got[0] != (strayCopy{home, hero, 1101}) {
		t.Fatalf("left at %s: %v, want %s alone", home, got, hero)
	}
	s.homeRuns(false)
	s.pass(bootGrace+5*time.Second, nil)
	s.none("a copy that a person keeps off")
	s.hosts[home].Hosts[0].Guests[1].Running = false
	s.pass(bootGrace+5*time.Second, nil)
	s.expect("S9", "was stopped")
}
