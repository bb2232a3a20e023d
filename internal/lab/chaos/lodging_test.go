package chaos

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// The guest that is lodged on Raoull's machine, and its home.
const (
	lodger   = "visio-fabrique"
	lodgings = "fabrique"
)

// newLodging is a scene in which guests live on Raoull's machine of one site.
func newLodging(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	if err := s.lab.LodgeAtRaoull(); err != nil {
		t.Fatal(err)
	}
	s.check = newChecker(s.lab, newTruth(s.lab.Names(), s.now), 10*time.Second, nil)
	for _, name := range s.lab.Names() {
		s.check.powered(name, s.now)
	}
	for _, g := range s.lab.Guests {
		if !g.Raoull {
			continue
		}
		s.guest[g.Name] = failover.GuestView{
			Guest: failover.GuestID(g.Name), ID: g.ID, At: lodgings, Serving: lodgings, Phase: failover.PhaseHome,
			Epoch: failover.Epoch{}.String(), Names: g.Names, Home: lodgings,
		}
		s.names[g.Names[0]] = lodgings
		h := s.lodge()
		h.Guests = append(h.Guests, site.GuestStatus{
			ID: g.ID, Name: g.Name, Running: true, Serving: true, Onboot: true, VLANs: []int{s.lab.VLAN(g.Structure)},
		})
	}
	return s
}

// lodge is Raoull's machine.
func (s *scene) lodge() *site.HostStatus {
	for i := range s.hosts[lodgings].Hosts {
		if h := &s.hosts[lodgings].Hosts[i]; strings.HasPrefix(h.Name, "raoull-") {
			return h
		}
	}
	s.t.Fatal("no machine of Raoull's")
	return nil
}

func (s *scene) asksLodge(verb string, id int) {
	s.index++
	s.look(lodgings, func(l *Look) {
		l.Effects = []site.Effect{{
			At: s.now, Host: "raoull-" + lodgings, Method: http.MethodPost, Path: fmt.Sprintf("/nodes/n/qemu/%d/status/%s", id, verb), ID: id, Status: 200,
		}}
	})
}

// moved gives the lodger to a copy elsewhere, as the failover of its host does.
func (s *scene) moved() {
	s.check.hostLost("raoull-"+lodgings, s.now)
	s.lodge().Power = false
	s.pass(15*time.Second, nil)
	s.ops = []failover.OpView{{
		ID: "op-80", Kind: failover.KindFailover, Phase: failover.OpCommitted, Domain: "host:raoull-" + lodgings, By: "quai", Committed: s.now,
		Guests: []failover.OpGuestView{{Guest: lodger, Target: target, VMID: copyID, State: failover.RunActive}},
	}}
	s.effect(http.MethodPost, "", copyID, false)
	g := s.guest[lodger]
	g.At, g.ID, g.Epoch, g.Phase = target, copyID, fmt.Sprintf("1-%d", s.index), failover.PhaseAway
	s.guest[lodger] = g
	s.pass(time.Second, nil)
	s.effect(http.MethodPost, fmt.Sprintf("/%d/status/start", copyID), copyID, false)
	h := &s.hosts[target].Hosts[1]
	h.Guests = []site.GuestStatus{{ID: copyID, Name: lodger, Running: true, Serving: true, VLANs: []int{s.lab.VLAN("atelier")}}}
	s.ops[0].Phase, s.ops[0].Guests[0].State = failover.OpDone, failover.RunDone
	s.pass(20*time.Second, nil)
	s.lodge().Power = true
	s.pass(bootGrace+5*time.Second, nil)
}

// stoodDown has the copy that started with its host shut down, as its return does.
func (s *scene) stoodDown(id int) {
	s.ops = append(s.ops, failover.OpView{
		ID: "op-81", Kind: failover.KindReturn, Phase: failover.OpCommitted, Begun: s.now,
		Guests: []failover.OpGuestView{{Guest: lodger, Target: lodgings, VMID: id, State: failover.RunActive}},
	})
	s.pass(time.Second, nil)
	s.asksLodge("shutdown", id)
	s.lodge().Guests[0].Running = false
	s.pass(5*time.Second, nil)
	s.ops[1].Phase, s.ops[1].Guests[0].State = failover.OpDone, failover.RunDone
	s.pass(time.Minute, nil)
}

// TestALostLodging: the failover of a host, and what becomes of the copy there when it is back.
func TestALostLodging(t *testing.T) {
	s := newLodging(t)
	s.pass(bootGrace+5*time.Second, nil)
	s.moved()
	s.stoodDown(s.lodge().Guests[0].ID)
	s.none("the failover of a host as it should be")
	if away := s.check.away(); len(away) != 1 || away[0].Guest != lodger {
		t.Errorf("away: %v, want %s", away, lodger)
	}
}

func TestLodgingsThatAreHarmed(t *testing.T) {
	for what, tt := range map[string]struct {
		invariant, says string
		do              func(s *scene)
	}{
		"a lodger that is shut down":         {"S9", "no planned move wants", func(s *scene) { s.asksLodge("shutdown", s.lodge().Guests[0].ID); s.pass(time.Minute, nil) }},
		"a lodger that stands down and owns": {"S9", "no planned move wants", func(s *scene) { s.ops = make([]failover.OpView, 1); s.stoodDown(s.lodge().Guests[0].ID) }},
		"a lodger that is off":               {"S9", "was stopped", func(s *scene) { s.lodge().Guests[0].Running = false; s.pass(time.Minute, nil) }},
		"a lodger that is gone":              {"S7", "is gone", func(s *scene) { s.lodge().Guests = s.lodge().Guests[1:]; s.pass(time.Minute, nil) }},
		"a host that had power is given up": {"S4", "has not been without power", func(s *scene) {
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "host:raoull-" + lodgings, By: "quai", Committed: s.now}}
			s.pass(time.Second, nil)
		}},
		"a copy that starts when it was left": {"S3", "has owned for", func(s *scene) {
			s.moved()
			s.asksLodge("start", s.lodge().Guests[0].ID)
			s.pass(time.Minute, nil)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newLodging(t)
			s.pass(bootGrace+5*time.Second, nil)
			s.none("lodgers at home")
			tt.do(s)
			s.expect(tt.invariant, tt.says)
		})
	}
}
