package agent_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// aloneRig is a home whose structure wants its guests stopped when it is cut off.
type aloneRig struct {
	*moveRig
	alone   bool
	stopper *agent.StopAlone
}

func newAloneRig(t *testing.T, onIsolation string) *aloneRig {
	t.Helper()
	a := &aloneRig{moveRig: newMoveRig(t), alone: true}
	s := spec()
	st := s.Structures["le-moulin"]
	st.OnIsolation = onIsolation
	s.Structures["le-moulin"] = st
	a.must(failover.Bootstrap{Generation: 1})
	a.must(failover.ApplyNetwork{Spec: s.WithDefaults()})
	a.again()
	return a
}

// again is a new start of the agent.
func (a *aloneRig) again() {
	a.t.Helper()
	pve, err := proxmox.NewPVE(proxmox.Config{URL: "https://10.10.1.10:8006", Node: "pve-moulin", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: a})
	if err != nil {
		a.t.Fatal(err)
	}
	a.stopper = &agent.StopAlone{
		Site: home, Log: a.log, Hosts: map[failover.HostID]*proxmox.PVE{"pve-moulin": pve}, Alone: func() bool { return a.alone },
		Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler),
	}
}

// pass lets time go by with nobody but the stopper at work; the log stands still while it is alone.
func (a *aloneRig) pass(d time.Duration) {
	a.t.Helper()
	for end := a.now.Add(d); a.now.Before(end); a.now = a.now.Add(5 * time.Second) {
		a.homePVE.Advance(a.now)
		calls := len(a.requests)
		a.stopper.Step(a.t.Context(), a.now)
		if made := len(a.requests) - calls; made > 1 {
			a.t.Fatalf("%d calls in one step", made)
		}
	}
	a.log.now = a.now
}

func (a *aloneRig) runs() bool {
	g, _ := a.homePVE.Guest(homeID)
	return g.Running
}

func (a *aloneRig) shutdowns() int { return a.count("POST", "qemu/1101/status/shutdown") }

// TestStopAlone: after the delay, cleanly and once; who starts the guest again means it, whoever
// asks the agent.
func TestStopAlone(t *testing.T) {
	a := newAloneRig(t, "stop")
	if a.pass(14 * time.Minute); !a.runs() {
		t.Fatal("stopped before its delay")
	}
	if a.pass(5 * time.Minute); a.runs() || a.shutdowns() != 1 {
		t.Fatalf("runs %t after %d shutdowns, want off after one", a.runs(), a.shutdowns())
	}
	if err := a.homePVE.StartGuest(homeID, a.now); err != nil {
		t.Fatal(err)
	}
	a.pass(10 * time.Minute)
	a.again()
	if a.pass(30 * time.Minute); !a.runs() || a.shutdowns() != 1 {
		t.Errorf("a person has started it: runs %t after %d shutdowns, want left alone", a.runs(), a.shutdowns())
	}
	a.alone = false
	made := len(a.log.made)
	if a.pass(5 * time.Minute); len(a.log.made) != made {
		t.Errorf("proposed %T of a guest that a person has started", a.log.made[made])
	}
}

// TestStopAloneIsUndone: in contact again, what is still this site's is started again, by the
// log's word; what is not stays off.
func TestStopAloneIsUndone(t *testing.T) {
	a := newAloneRig(t, "stop")
	if a.pass(20 * time.Minute); a.runs() {
		t.Fatal("not stopped")
	}
	a.again() // it remembers nothing
	a.alone = false
	a.pass(time.Minute)
	if op := a.op(); op.Kind != failover.KindWake || a.runs() {
		t.Fatalf("operation %+v, runs %t; want one that starts it", op, a.runs())
	}
	if op := a.ended(); op.Phase != failover.OpDone || !a.runs() {
		t.Errorf("ended %s, runs %t: %s", op.Phase, a.runs(), a.note())
	}

	a = newAloneRig(t, "stop")
	a.pass(20 * time.Minute)
	p := a.log.state.Guests[guest]
	p.Owner, p.Host, p.VMID, p.Serving, p.Phase, p.Epoch = away, "pve-quai", vmid, away, failover.PhaseAway, failover.Epoch{Generation: 1, Index: 9}
	a.log.state.Guests[guest] = p
	a.alone = false
	made := len(a.log.made)
	if a.pass(5 * time.Minute); len(a.log.made) != made || a.runs() {
		t.Errorf("taken over meanwhile: %d proposals, runs %t; want it left off", len(a.log.made)-made, a.runs())
	}
}

// TestStopAloneIsUndoneAnyway: what the network has come to want of a guest while its site was cut
// off does not keep it off: it ran, and the agent put it off (seed 212086).
func TestStopAloneIsUndoneAnyway(t *testing.T) {
	for name, edit := range map[string]func(*network.Spec){
		"its structure wants it left on now": func(s *network.Spec) {
			st := s.Structures["le-moulin"]
			st.OnIsolation = "leave"
			s.Structures["le-moulin"] = st
		},
		"it is not rescued any more": func(s *network.Spec) {
			g := s.Guests[guest]
			g.Priority = 4
			s.Guests[guest] = g
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAloneRig(t, "stop")
			if a.pass(20 * time.Minute); a.runs() {
				t.Fatal("not stopped")
			}
			s := spec()
			st := s.Structures["le-moulin"]
			st.OnIsolation = "stop"
			s.Structures["le-moulin"] = st
			edit(s)
			a.must(failover.ApplyNetwork{Spec: s.WithDefaults(), IfVersion: a.log.state.NetworkVersion})
			a.alone = false
			a.pass(time.Minute)
			if op := a.ended(); op.Phase != failover.OpDone || !a.runs() {
				t.Errorf("ended %s, runs %t: %s", op.Phase, a.runs(), a.note())
			}
		})
	}
}

// TestStaysOffAlone: a guest that its people have shut down is not asked to shut down, which
// Proxmox would take, and so is not started when its site is in contact again.
func TestStaysOffAlone(t *testing.T) {
	a := newAloneRig(t, "stop")
	if err := a.homePVE.StopGuest(homeID, a.now); err != nil {
		t.Fatal(err)
	}
	if a.pass(20 * time.Minute); a.shutdowns() != 0 {
		t.Errorf("%d shutdowns of a guest that was off", a.shutdowns())
	}
	a.alone = false
	made := len(a.log.made)
	if a.pass(5 * time.Minute); len(a.log.made) != made || a.runs() {
		t.Errorf("in contact: %d proposals, runs %t; want it left off", len(a.log.made)-made, a.runs())
	}
}

// TestStopAloneCountsFromTheLastWord: a contact between two looks begins the delay anew.
func TestStopAloneCountsFromTheLastWord(t *testing.T) {
	a := newAloneRig(t, "stop")
	a.pass(14 * time.Minute)
	a.log.state.Index++ // an entry, whatever it says
	if a.pass(14 * time.Minute); !a.runs() {
		t.Fatal("stopped 14 minutes after the others were heard")
	}
	if a.pass(2 * time.Minute); a.runs() {
		t.Error("not stopped")
	}
}

// TestStopAloneIsUndoneLate: what an operation holds when the site is in contact again, one that
// is given up just then, say, is started again as soon as it is let go.
func TestStopAloneIsUndoneLate(t *testing.T) {
	a := newAloneRig(t, "stop")
	if a.pass(20 * time.Minute); a.runs() {
		t.Fatal("not stopped")
	}
	p := a.log.state.Guests[guest]
	p.Op = "op-1"
	a.log.state.Guests[guest] = p
	a.alone = false
	made := len(a.log.made)
	if a.pass(5 * time.Minute); len(a.log.made) != made {
		t.Fatalf("proposed %T of a guest that an operation holds", a.log.made[made])
	}
	p.Op = ""
	a.log.state.Guests[guest] = p
	a.pass(time.Minute)
	if op := a.op(); op.Kind != failover.KindWake {
		t.Fatalf("operation %+v, want one that starts it", op)
	}
	if op := a.ended(); op.Phase != failover.OpDone || !a.runs() {
		t.Errorf("ended %s, runs %t: %s", op.Phase, a.runs(), a.note())
	}
}

// TestStaysUpAlone: nobody else's guests are stopped, and none during a pause.
func TestStaysUpAlone(t *testing.T) {
	a := newAloneRig(t, "keep-local")
	if a.pass(time.Hour); !a.runs() {
		t.Error("stopped although its structure keeps it running")
	}
	a = newAloneRig(t, "stop")
	a.must(failover.SetPause{Reason: "works"})
	if a.pass(time.Hour); !a.runs() {
		t.Error("stopped during a pause, in which nobody takes it over")
	}
}

// TestIsolationAfter: the delay is at least a minute, and stands with stop only.
func TestIsolationAfter(t *testing.T) {
	for after, fits := range map[network.Duration]bool{0: true, network.Duration(time.Minute): true, network.Duration(time.Second): false} {
		s := spec()
		st := s.Structures["le-moulin"]
		st.OnIsolation, st.IsolationAfter = "stop", after
		s.Structures["le-moulin"] = st
		found := true
		for _, p := range s.WithDefaults().Validate() {
			if p.Path == "structures.le-moulin.isolation_after" {
				found = false
			}
		}
		if found != fits {
			t.Errorf("isolation_after %s: accepted %t, want %t", after, found, fits)
		}
	}
}
