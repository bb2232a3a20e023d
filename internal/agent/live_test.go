package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// liveRig is a failover of a guest that is restored live, so slowly that its copying takes a while.
func liveRig(t *testing.T, bold bool) *rig {
	t.Helper()
	r := newRigOf(t, "9.2.1", func(c *lab.PVEConfig) { c.RestoreRate = 8 << 10 }) // 32 s
	s := spec()
	g := s.Guests[guest]
	g.LiveRestore = true
	s.Guests[guest] = g
	st := s.Structures["le-moulin"]
	st.AcceptLiveRisk = bold
	s.Structures["le-moulin"] = st
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s.WithDefaults()})
	r.beginLive()
	return r
}

func (r *rig) beginLive() {
	at := r.now.UTC().Format(time.RFC3339)
	r.must(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{{
			Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120, Automatic: true, Live: true,
			Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + at, Namespace: "moulin", Time: r.now, Size: 1 << 18},
		}}},
	})
}

func (r *rig) copying() bool {
	g, ok := r.pve.Guest(vmid)
	return ok && g.Lock == "create" && g.Running
}

// Names follow when the disks are whole, or before if the structure accepts the risk.
func TestLiveRestoreServesWhenItIsWhole(t *testing.T) {
	for _, bold := range []bool{false, true} {
		r := liveRig(t, bold)
		r.when("it is owned", func() bool { return r.run().Owned() })
		if _, there := r.pve.Guest(vmid); there {
			t.Error("it stands there before it is owned")
		}
		r.when("it runs while its disks come", r.copying)
		r.when("it is shown", func() bool { return r.run().Served.Index != 0 })
		if r.copying() != bold {
			t.Errorf("accepts the risk %t: shown while its disks still come: %t", bold, r.copying())
		}
		r.until("nothing left")
		if g, _ := r.pve.Guest(vmid); g.Lock != "" || !g.Serving || r.count("POST", "/status/start") != 0 || r.count("POST", "/qemu") != 1 {
			t.Errorf("lock %q, serving %t, %d starts, %d restores; want it whole after one restore", g.Lock, g.Serving, r.count("POST", "/status/start"), r.count("POST", "/qemu"))
		}
	}
}

// A live restore that breaks calls a person, is never removed or done again by itself, and begins
// anew at a person's word.
func TestLiveRestoreThatBreaks(t *testing.T) {
	r := liveRig(t, false)
	r.until("whole running")
	r.pbs.PowerLoss(r.now)
	r.until("whole failed")
	if !strings.Contains(r.note(), "qm destroy 90000") || r.run().Served.Index != 0 {
		t.Errorf("note %q, shown at %v; want what to type, and nothing shown", r.note(), r.run().Served)
	}
	if n := r.count("DELETE", fmt.Sprintf("/qemu/%d", vmid)); n != 0 {
		t.Errorf("the program removed it %d times", n)
	}
	op := r.op()
	r.must(failover.Stick{Op: op.ID, Guest: guest, Reason: failover.Reason{Code: failover.CodeStepFailed}})
	r.pbs.PowerOn(r.now)
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	r.must(failover.RetryOp{Op: op.ID})
	r.until("nothing left")
	if g, _ := r.pve.Guest(vmid); !g.Serving || r.count("POST", "/qemu") != 2 {
		t.Errorf("serving %t after %d restores, want 2", g.Serving, r.count("POST", "/qemu"))
	}
}

// An agent that dies at any boundary of a live restore asks for it once.
func TestAgentDiesInALiveRestore(t *testing.T) {
	boundaries := map[string]bool{}
	r := liveRig(t, false)
	r.executor.Hook = func(b string) { boundaries[b] = true }
	r.until("nothing left")
	for b := range boundaries {
		if !strings.Contains(b, "live") && !strings.Contains(b, "whole") {
			continue
		}
		r := liveRig(t, false)
		died := false
		r.executor.Hook = func(at string) {
			if at == b && !died {
				died = true
				panic(b)
			}
		}
		for range 400 {
			if r.status() == "nothing left" {
				break
			}
			func() {
				defer func() {
					if recover() != nil {
						r.restart()
					}
				}()
				r.step()
			}()
		}
		if r.status() != "nothing left" || !died || r.count("POST", "/qemu") != 1 {
			t.Errorf("death at %q (%t): %s, note %q, %d restores; want one, and the end", b, died, r.status(), r.note(), r.count("POST", "/qemu"))
		}
	}
	if len(boundaries) < 10 {
		t.Errorf("boundaries %v", boundaries)
	}
}

// A host that has started again after the copying was complete leaves the VM off: it is started, not restored again.
func TestLiveRestoreIsOffWhenItIsWhole(t *testing.T) {
	r := liveRig(t, false)
	r.when("it runs while its disks come", r.copying)
	r.later(time.Minute)
	r.pve.PowerLoss(r.now)
	r.pve.PowerOn(r.now)
	r.until("nothing left")
	if g, _ := r.pve.Guest(vmid); !g.Serving || r.count("POST", "/qemu") != 1 || r.count("POST", "/status/start") == 0 {
		t.Errorf("serving %t after %d restores and %d starts", g.Serving, r.count("POST", "/qemu"), r.count("POST", "/status/start"))
	}
}

// A lost answer to the request is looked for, not repeated.
func TestLiveRestoreLostAnswer(t *testing.T) {
	r := liveRig(t, false)
	if err := r.faults.Add(lab.Fault{Match: lab.Match{Method: "POST", Path: "*/qemu"}, Effect: lab.EffectDropReply, Times: 1}); err != nil {
		t.Fatal(err)
	}
	r.until("nothing left")
	if n := r.count("POST", "/qemu"); n != 1 {
		t.Errorf("%d restores, want 1", n)
	}
}

// Where the log refuses a live restore: for a guest that does not declare it, and any but a failover.
func TestLiveRestoreIsDeclared(t *testing.T) {
	r := newRig(t)
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: spec()})
	_, err := r.log.Propose(t.Context(), failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{{
			Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120, Live: true,
			Point: failover.RestorePoint{Volid: "v", Time: r.now},
		}}},
	})
	if err == nil {
		t.Error("accepted")
	}
}
