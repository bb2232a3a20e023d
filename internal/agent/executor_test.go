package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

func TestExecutorCarriesOutARestore(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			r := newRigOf(t, version)
			r.begin()
			r.until("restore running")
			r.until("start running")
			g, ok := r.pve.Guest(vmid)
			switch {
			case !ok || g.Running:
				t.Fatalf("copy exists=%t running=%t before its start", ok, g.Running)
			case g.Config["onboot"] != "0" || g.Nets[0].Tag != 120 || g.Nets[0].Bridge != "vmbr0":
				t.Errorf("copy has onboot %q and %+v, want 0 and vlan 120 on vmbr0", g.Config["onboot"], g.Nets)
			}
			r.until("nothing left")
			if g, _ := r.pve.Guest(vmid); !g.Serving {
				t.Error("the copy does not serve")
			}
			if s := r.pbs.Snapshots("moulin")[0]; s.Protected {
				t.Error("the restore point is still protected")
			}
			if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 {
				t.Errorf("%d restores and %d starts were posted, want one of each", n, m)
			}
			if p := r.log.state.Guests[guest]; p.Owner != away || p.Serving != away || p.VMID != vmid {
				t.Errorf("placement %+v, want owned and served at %s as %d", p, away, vmid)
			}
		})
	}
}

func TestLostRepliesAreResolvedByLooking(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			for _, tc := range []struct {
				name  string
				match lab.Match
			}{
				{"protect", lab.Match{Method: "PUT"}},
				{"restore", lab.Match{Method: "POST", Path: "*/qemu"}},
				{"start", lab.Match{Method: "POST", Path: "*/start"}},
				{"task", lab.Match{Method: "GET", Path: "*/status"}},
			} {
				t.Run(tc.name, func(t *testing.T) {
					r := newRigOf(t, version)
					r.begin()
					if err := r.faults.Add(lab.Fault{Match: tc.match, Effect: lab.EffectDropReply, Times: 1}); err != nil {
						t.Fatal(err)
					}
					for range 400 {
						if strings.HasSuffix(r.status(), "failed") {
							r.must(failover.RetryStep{Token: r.op().TokenOf(guest)})
						}
						r.step()
					}
					if r.status() != "nothing left" {
						t.Fatalf("the run stands at %q: %s", r.status(), r.note())
					}
					if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 {
						t.Errorf("%d restores and %d starts were posted, want one of each", n, m)
					}
				})
			}
		})
	}
}

func TestRestartedAgentRepeatsNothing(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			for after := 0; after < 90; after += 2 {
				r := newRigOf(t, version)
				r.begin()
				for range after {
					r.step()
				}
				at := r.status()
				r.restart()
				r.until("nothing left")
				if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 {
					t.Fatalf("after a restart at %q: %d restores and %d starts were posted, want one of each: %v", at, n, m, r.requests)
				}
			}
		})
	}
}

func TestStaleAgentDoesNothing(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("restore running")
	old := r.log.state
	r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
	// A process that has read a snapshot from before: its State says that the
	// restore runs, and the log knows better.
	r.log.hold = old
	r.restart()
	before := len(r.requests)
	for range 50 {
		r.step()
	}
	if n := len(r.requests) - before; n != 0 {
		t.Errorf("%d requests were made for a run that was cancelled: %v", n, r.requests[before:])
	}
}

func TestNothingStartsWithoutTheLeadersWord(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("start pending")
	asked := 0
	r.log.confirm = func(failover.Token) error { asked++; return failover.ErrNoLeader }
	for range 100 {
		r.step()
	}
	if n := r.count("POST", "/status/start"); n != 0 || asked == 0 {
		t.Fatalf("%d starts were posted after %d questions, want none after some", n, asked)
	}
	r.log.confirm = nil
	r.until("nothing left")
}

func TestConfirmationAges(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("start pending")
	asked := 0
	r.log.confirm = func(t failover.Token) error {
		asked++
		r.now = r.now.Add(1500 * time.Millisecond) // a slow answer, twice within the age
		return r.log.state.TokenCurrent(t)
	}
	w := r.executor.Workers(r.now)[0]
	for range 6 {
		w.Step(t.Context(), r.now)
	}
	if asked != 1 || r.count("POST", "/status/start") != 1 {
		t.Fatalf("asked %d times and posted %d starts, want one of each", asked, r.count("POST", "/status/start"))
	}

	r = newRig(t)
	r.begin()
	r.until("start pending")
	asked = 0
	r.log.confirm = func(t failover.Token) error {
		asked++
		if asked == 1 {
			r.now = r.now.Add(3 * time.Second) // older than its two seconds when it arrives
		}
		return r.log.state.TokenCurrent(t)
	}
	w = r.executor.Workers(r.now)[0]
	for range 8 {
		w.Step(t.Context(), r.now)
	}
	if asked != 2 || r.count("POST", "/status/start") != 1 {
		t.Errorf("asked %d times and posted %d starts, want two and one", asked, r.count("POST", "/status/start"))
	}
}

func TestChangedCopyDoesNotStart(t *testing.T) {
	for name, change := range map[string]string{"vlan": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=999", "bridge": "virtio=BC:24:11:00:00:01,bridge=vmbr1,tag=120"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			r.until("start pending")
			if err := r.executor.PVE.SetConfig(t.Context(), proxmox.VM, vmid, map[string]string{"net0": change}, nil, ""); err != nil {
				t.Fatal(err)
			}
			r.until("start failed")
			if n := r.count("POST", "/status/start"); n != 0 {
				t.Errorf("%d starts were posted", n)
			}
		})
	}
}

func TestCleanupRemovesCopyAndPin(t *testing.T) {
	for _, at := range []string{"restore pending", "restore running", "own pending"} {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			for range 200 {
				if r.status() == at {
					break
				}
				r.now = r.now.Add(300 * time.Millisecond)
				r.log.now = r.now
				for _, w := range r.executor.Workers(r.now) {
					w.Step(t.Context(), r.now)
				}
			}
			if r.status() != at {
				t.Fatalf("the run stands at %q: %s", r.status(), r.note())
			}
			r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
			r.now = r.now.Add(time.Hour)
			r.log.now = r.now
			r.until("nothing left")
			if _, ok := r.pve.Guest(vmid); ok {
				t.Error("the copy is still there")
			}
			if r.pbs.Snapshots("moulin")[0].Protected {
				t.Error("the restore point is still protected")
			}
		})
	}
}

// A copy that somebody has started by hand may hold what its users wrote: whether it still runs or not, nobody but
// a person deletes it (S7; the simulator's seed 23981).
func TestCleanupLeavesACopyThatHasRun(t *testing.T) {
	for _, at := range []string{"stopped", "running"} {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			r.when("the copy exists", func() bool { g, ok := r.pve.Guest(vmid); return ok && g.Lock == "" })
			if err := r.pve.StartGuest(vmid, r.now); err != nil {
				t.Fatal(err)
			}
			r.later(time.Second)
			if at == "stopped" {
				if err := r.pve.StopGuest(vmid, r.now); err != nil {
					t.Fatal(err)
				}
			}
			r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
			r.later(time.Hour)
			r.until("cleanup failed")
			if _, ok := r.pve.Guest(vmid); !ok || r.count("DELETE", fmt.Sprintf("/qemu/%d", vmid)) != 0 {
				t.Error("a copy that has run was deleted, or was to be")
			}
			for _, want := range []string{"started", "root@pam", "qm destroy 90000", "wwwctl op retry " + string(r.op().ID)} {
				if !strings.Contains(r.note(), want) {
					t.Errorf("the note is %q and lacks %q", r.note(), want)
				}
			}
			// A person has looked and removed it: the retry ends well.
			if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
				t.Fatal(err)
			}
			step, _, _ := r.run().Current()
			r.must(failover.Stick{Op: r.op().ID, Guest: guest, Reason: failover.Reason{Code: failover.CodeStepFailed, Args: map[string]string{"step": string(step.ID)}}})
			r.must(failover.RetryOp{Op: r.op().ID})
			r.until("nothing left")
		})
	}
}

// A person runs an older copy of the guest here, under another id: a second one would have its address, and the check
// would ask whichever answers (simulator, seeds 5408 and 178).
func TestNoStartBesideAnotherRunningCopy(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("start pending")
	ours, _ := r.pve.Guest(vmid)
	for id, mark := range map[int]string{vmid + 1: strings.Replace(ours.Config["description"], "guest=nuage", "guest=other", 1), vmid + 2: ours.Config["description"]} {
		if err := r.pve.AddGuest(lab.GuestSpec{ID: id, Kind: "vm", Name: "copy", Description: mark}, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.pve.StartGuest(id, r.now); err != nil {
			t.Fatal(err)
		}
	}
	r.until("start failed")
	if n := r.count("POST", fmt.Sprintf("/%d/status/start", vmid)); n != 0 || !strings.Contains(r.note(), "qm stop 90002") {
		t.Errorf("%d starts, note %q; want none, and what to stop", n, r.note())
	}
}

// What ran under this id before our copy was made is no reason to keep the copy.
func TestCleanupIgnoresStartsOfEarlierCopies(t *testing.T) {
	r := newRig(t)
	if err := r.pve.AddGuest(lab.GuestSpec{ID: vmid, Kind: "vm", Name: "earlier"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.pve.StartGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	if err := r.pve.StopGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	r.begin()
	r.later(time.Minute)
	r.when("the copy exists", func() bool { g, ok := r.pve.Guest(vmid); return ok && g.Lock == "" })
	r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
	r.later(time.Hour)
	r.until("nothing left")
}

func TestVanishedRestorePointNeedsNoRelease(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("release pending")
	if err := r.faults.Add(lab.Fault{Where: "pbs", Effect: lab.EffectLoseSnapshot, Times: 1}); err != nil {
		t.Fatal(err)
	}
	r.until("nothing left")
}

func TestWorkerWaitsForItsOwnProposal(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.log.hold = r.log.state // the follower that this agent is lags behind
	w := r.executor.Workers(r.now)[0]
	for range 5 {
		r.now = r.now.Add(100 * time.Millisecond)
		w.Step(t.Context(), r.now)
	}
	claims := 0
	for _, c := range r.log.made {
		if _, ok := c.(failover.StepMoved); ok {
			claims++
		}
	}
	if claims != 1 || len(r.requests) != 0 {
		t.Errorf("%d claims and %d requests on a State that is behind, want one and none", claims, len(r.requests))
	}
}

func TestUnknownOutcomeOfAClaimIsTakenUp(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.log.propose = func(c failover.Command) error {
		r.log.propose = nil
		r.must(c) // it is committed, and the answer is lost
		return failover.ErrUnknown
	}
	r.until("restore pending")
	runs := 0
	for _, c := range r.log.made {
		if m, ok := c.(failover.StepMoved); ok && m.Token.Step == failover.StepProtect && m.To == failover.StatusRunning {
			runs++
		}
	}
	if runs != 2 {
		t.Errorf("the log has %d entries of the protection that runs, want the claim and that it was taken up", runs)
	}
}

// TestNothingIsTakenUpOnOldKnowledge: an agent that starts from a snapshot sees a step run of
// which it did more since. It does nothing before its State has all that the log had.
func TestNothingIsTakenUpOnOldKnowledge(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("restore running")
	old := r.log.state
	r.when("posted", func() bool { g, ok := r.pve.Guest(vmid); return ok && g.Lock != "" })
	r.log.hold = old
	r.restart()
	before := len(r.requests)
	for range 50 {
		r.later(time.Second)
		r.step()
	}
	if n := len(r.requests) - before; n != 0 {
		t.Errorf("%d requests were made on a State that is behind: %v", n, r.requests[before:])
	}
	r.log.hold = nil
	r.until("nothing left")
}

func TestLogClock(t *testing.T) {
	var c agent.LogClock
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	stamp := now.Add(-time.Hour) // the leader's clock is an hour behind ours
	s := &failover.State{Clock: stamp}
	for _, tc := range []struct {
		name       string
		now, clock time.Time
		want       time.Time
	}{
		{"first stamp", now, stamp, stamp},
		{"goes on by our own pace", now.Add(10 * time.Second), stamp, stamp.Add(10 * time.Second)},
		{"a stamp that was on its way is no news", now.Add(20 * time.Second), stamp.Add(19 * time.Second), stamp.Add(20 * time.Second)},
		{"a stamp of the future is", now.Add(30 * time.Second), stamp.Add(time.Minute), stamp.Add(time.Minute)},
		{"and stays", now.Add(31 * time.Second), stamp.Add(time.Minute), stamp.Add(61 * time.Second)},
		{"nobody leads", now.Add(51 * time.Second), stamp.Add(time.Minute), stamp.Add(81 * time.Second)},
		{"a term that goes on where the last one ended", now.Add(52 * time.Second), stamp.Add(62 * time.Second), stamp.Add(63 * time.Second)},
		{"and from there", now.Add(62 * time.Second), stamp.Add(62 * time.Second), stamp.Add(73 * time.Second)},
		{"a stamp that is looked at late", now.Add(time.Hour), stamp.Add(75 * time.Second), stamp.Add(time.Hour + 11*time.Second)},
	} {
		s.Clock = tc.clock
		if got := c.Now(s, tc.now); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	var empty agent.LogClock
	if got := empty.Now(failover.NewState(), now); !got.Equal(now) {
		t.Errorf("without any stamp: %s, want %s", got, now)
	}
}

func TestCopyThatStopsUnderItsCheckIsStartedAgain(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("check running")
	r.pve.PowerLoss(r.now)
	r.now = r.now.Add(20 * time.Second)
	r.pve.PowerOn(r.now)
	r.until("nothing left")
	if n := r.count("POST", "/status/start"); n != 2 {
		t.Errorf("%d starts were posted, want two", n)
	}
}
