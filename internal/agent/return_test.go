package agent_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// returnRig is a guest that was given to quai while its home had no power, which has it
// again: the host has started its copy.
func returnRig(t *testing.T, owner network.Owner, change ...func(*lab.GuestSpec)) *moveRig {
	t.Helper()
	m := newMoveRig(t, change...)
	s := spec()
	host := s.Sites[home].Hosts["pve-moulin"]
	host.Owner = owner
	s.Sites[home].Hosts["pve-moulin"] = host
	m.homePVE.PowerLoss(m.now)
	m.beginWith(s, "vm/1101")
	m.must(failover.SetMember{Site: home, ServerID: "server-moulin", Voter: true})
	m.until("nothing left")
	m.ended()
	m.later(time.Hour)
	m.homePVE.PowerOn(m.now)
	m.later(time.Minute)
	m.homePVE.Advance(m.now)
	m.must(failover.Report{Observer: home, Boot: "again", Seq: 1})
	eyes := &agent.Copies{
		Site: home, Log: m.log, Hosts: map[failover.HostID]*proxmox.PVE{"pve-moulin": m.there.Hands["pve-moulin"].PVE}, Every: time.Hour,
		Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler),
	}
	for range 8 {
		eyes.Step(t.Context(), m.now)
	}
	return m
}

// stood runs until the copy at home has been shut down, or its run is stuck.
func (m *moveRig) stood() failover.GuestRun {
	m.t.Helper()
	for range 4000 {
		for _, op := range sortedOps(m.log.state) {
			if op.Kind == failover.KindReturn && op.Phase.Ended() {
				return op.Guests[guest]
			}
		}
		m.stepOnly()
	}
	m.t.Fatal("the return has not ended")
	return failover.GuestRun{}
}

// stepOnly is step where two copies may run.
func (m *moveRig) stepOnly() {
	m.now = m.now.Add(300 * time.Millisecond)
	m.log.now = m.now
	m.homePVE.Advance(m.now)
	for _, w := range m.there.Workers(m.now) {
		w.Step(m.t.Context(), m.now)
	}
	for _, c := range failover.Decide(m.log.state, m.now).Commands {
		if _, noted := c.(failover.Assess); !noted {
			m.must(c)
		}
	}
}

// TestReturnShutsDownWhatTheHostStarted: on Raoull's own host the copy that started with it
// is shut down cleanly, keeps its disks, and starts with it no more; that it did is kept.
func TestReturnShutsDownWhatTheHostStarted(t *testing.T) {
	m := returnRig(t, network.OwnerRaoull)
	before, _ := m.homePVE.Guest(homeID)
	if !before.Running || m.log.state.Guests[guest].Branch.Reason.Code != failover.CodeBranchBooted {
		t.Fatalf("running %t, branch %+v; want it started with its host", before.Running, m.log.state.Guests[guest].Branch)
	}
	m.must(failover.BeginReturn{Guest: guest})
	run := m.stood()
	after, ok := m.homePVE.Guest(homeID)
	if run.State != failover.RunDone || !ok || after.Running || after.Config["onboot"] != "0" {
		t.Fatalf("run %s %+v; copy there %t, running %t, onboot %q; want it off and kept", run.State, run.Stuck, ok, after.Running, after.Config["onboot"])
	}
	if len(after.Data()) < len(before.Data()) {
		t.Errorf("%d lines of data are left of %d", len(after.Data()), len(before.Data()))
	}
	if b := m.log.state.Guests[guest].Branch; b.Stopped.Index == 0 || !b.OnBoot {
		t.Errorf("branch %+v, want it remembered that it started with its host", b)
	}
	for _, q := range m.requests {
		if strings.HasSuffix(q.path, "/status/stop") || q.method == "DELETE" {
			t.Errorf("%s %s", q.method, q.path)
		}
	}
	if copied, _ := m.pve.Guest(vmid); !copied.Running {
		t.Error("the copy that serves was stopped")
	}
}

// TestReturnLeavesWhatAPersonStartsMeanwhile: a copy that was off when the return began would
// start with its host and must not; a person who starts it before that is done means it.
func TestReturnLeavesWhatAPersonStartsMeanwhile(t *testing.T) {
	off := true
	for boundary := 1; off; boundary++ {
		m := returnRig(t, network.OwnerRaoull)
		m.must(failover.BeginReturn{Guest: guest})
		if err := m.homePVE.StopGuest(homeID, m.now); err != nil {
			t.Fatal(err)
		}
		n := 0
		m.there.Hook = func(string) {
			if n++; n != boundary {
				return
			}
			if err := m.homePVE.StartGuest(homeID, m.now); err != nil {
				t.Error(err)
			}
		}
		run := m.stood()
		off = n >= boundary
		found := run.Source.Found.Index != 0 && !run.Source.Ran
		if after, _ := m.homePVE.Guest(homeID); run.State != failover.RunDone || off && found && !after.Running {
			t.Errorf("started at boundary %d: run %s %+v, running %t", boundary, run.State, run.Stuck, after.Running)
		}
		if posts := m.count("POST", "/status/shutdown"); found && posts != 0 {
			t.Errorf("started at boundary %d: %d shutdowns of a copy that was off", boundary, posts)
		}
	}
}

// TestReturnOfACrashedAgent: an agent that dies at any boundary of it goes on where the
// world stands, and asks for one shutdown.
func TestReturnOfACrashedAgent(t *testing.T) {
	for crash := 1; ; crash++ {
		m := returnRig(t, network.OwnerRaoull)
		m.must(failover.BeginReturn{Guest: guest})
		n := 0
		died := false
		m.there.Hook = func(string) {
			if n++; n == crash {
				died = true
				panic("crash")
			}
		}
		func() {
			defer func() { _ = recover() }()
			m.stood()
		}()
		if !died {
			if crash < 5 {
				t.Fatalf("only %d boundaries", crash)
			}
			return
		}
		m.restart()
		run := m.stood()
		if after, _ := m.homePVE.Guest(homeID); run.State != failover.RunDone || after.Running || after.Config["onboot"] != "0" {
			t.Errorf("crash at boundary %d: run %s, running %t, onboot %q", crash, run.State, after.Running, after.Config["onboot"])
		}
		if posts := m.count("POST", "/status/shutdown"); posts != 1 {
			t.Errorf("crash at boundary %d: %d shutdowns", crash, posts)
		}
		if !m.log.state.Guests[guest].Branch.OnBoot {
			t.Errorf("crash at boundary %d: how it started with its host is forgotten", crash)
		}
	}
}

// TestReturnLeavesAStructuresHostAlone: nothing is asked of it, and the log refuses to begin.
func TestReturnLeavesAStructuresHostAlone(t *testing.T) {
	m := returnRig(t, network.OwnerStructure)
	if _, err := m.log.Propose(t.Context(), failover.BeginReturn{Guest: guest}); err == nil {
		t.Error("a return is begun on a structure's host")
	}
	if got, _ := m.homePVE.Guest(homeID); !got.Running || got.Config["onboot"] != "1" {
		t.Errorf("running %t, onboot %q, want it as its structure has it", got.Running, got.Config["onboot"])
	}
}
