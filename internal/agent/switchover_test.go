package agent_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/privileges"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// moveRig is a rig whose home lives: the structure's host, its site's PBS, and the agent there.
type moveRig struct {
	*rig
	homePVE  *lab.PVE
	homePBS  *lab.PBS
	there    *agent.Executor
	silentAt string // host of which nothing answers
	apart    bool   // both copies may run
	more     []interface{ Advance(time.Time) }
}

const homeID = 1101

func newMoveRig(t *testing.T, change ...func(*lab.GuestSpec)) *moveRig {
	t.Helper()
	m := &moveRig{}
	r := &rig{t: t, now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), faults: &lab.Faults{}, acl: map[string]map[string][]string{}, storeACL: map[string]map[string][]string{}}
	m.rig = r
	r.log = &log{state: failover.NewState(), now: r.now}
	clock := func() time.Time { return r.now }
	chunks := lab.NewMemStore()
	var err error
	fail := func() {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	m.homePBS, err = lab.NewPBS(lab.PBSConfig{Node: "pbs-moulin", Version: "4.2.0", Datastore: "backups", Clock: clock, Namespaces: []string{"moulin"}, Tokens: map[string]string{token: pass}, Store: chunks})
	fail()
	r.pbs, err = lab.NewPBS(lab.PBSConfig{
		Node: "pbs-quai", Version: "4.2.0", Datastore: "backups", Clock: clock, Namespaces: []string{"moulin"}, Tokens: map[string]string{token: pass},
		Jobs:   []lab.SyncJob{{ID: "pull-moulin", NS: "moulin", FromNS: "moulin", Remote: "moulin", RemoteStore: "backups", Owner: token}},
		Remote: func(string) lab.SyncSource { return m.homePBS }, Store: chunks,
	})
	fail()
	store := func(pbs *lab.PBS) []lab.StorageConfig {
		return []lab.StorageConfig{
			{ID: "local-zfs", Type: "zfspool", Size: 1 << 30},
			{ID: "pbs-moulin", Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: "moulin", Username: token, Password: pass},
		}
	}
	bridges := []lab.BridgeConfig{{Name: "vmbr0", Ports: "eno1", VLANAware: true}}
	m.homePVE, err = lab.NewPVE(lab.PVEConfig{
		Site: string(home), Node: "pve-moulin", Version: "9.2.1", Clock: clock, RestoreRate: 64 << 10, Tokens: map[string]string{token: pass}, WriteEvery: time.Second,
		Storages: store(m.homePBS), Bridges: bridges, DialPBS: func(string) *lab.PBS { return m.homePBS },
		ACL: map[string]map[string][]string{token: privileges.ACL(privileges.NeededToLeave("pve-moulin", "pbs-moulin"))},
	})
	fail()
	r.pve, err = lab.NewPVE(lab.PVEConfig{
		Site: string(away), Node: "pve-quai", Version: "9.2.1", Clock: clock, RestoreRate: 64 << 10, Tokens: map[string]string{token: pass},
		Storages: store(r.pbs), Bridges: bridges, DialPBS: func(string) *lab.PBS { return r.pbs },
	})
	fail()
	m.homePVE.Advance(r.now)
	resident := lab.GuestSpec{
		ID: homeID, Kind: "vm", Name: "nuage", DiskSize: 1 << 18, Onboot: 1, Storage: "local-zfs",
		Nets: map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120"}, Addresses: map[string]string{"net0": "10.10.120.5/24"},
	}
	for _, f := range change {
		f(&resident)
	}
	err = m.homePVE.AddGuest(resident, nil)
	fail()
	err = m.homePVE.StartGuest(homeID, r.now)
	fail()
	err = m.homePVE.Backup(homeID, "pbs-moulin", r.now)
	fail()
	_, _, err = r.pbs.Sync(m.homePBS, lab.SyncJob{ID: "pull-moulin", NS: "moulin", FromNS: "moulin", Owner: token}, r.now)
	fail()
	m.restart()
	return m
}

// RoundTrip implements http.RoundTripper over both sites.
func (m *moveRig) RoundTrip(req *http.Request) (*http.Response, error) {
	where, h := "pve:quai", http.Handler(m.pve)
	switch req.URL.Host {
	case "10.10.1.10:8006":
		where, h = "pve:moulin", m.homePVE
	case "10.30.1.20:8007":
		where, h = "pbs:quai", m.pbs
	}
	if m.silentAt == where {
		return nil, io.ErrUnexpectedEOF
	}
	if res := m.instead(req); res != nil {
		return res, nil
	}
	res, err := lab.InProcess(lab.WithFaults(where, h, m.faults)).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	hint := lab.TakeHint(res.Header)
	m.requests = append(m.requests, request{req.Method, where + strings.TrimPrefix(req.URL.Path, "/api2/json"), res.StatusCode})
	if hint.Reply != lab.ReplyArrives {
		return nil, io.ErrUnexpectedEOF
	}
	return res, nil
}

// restart makes both agents anew, as new processes have them.
func (m *moveRig) restart() {
	m.t.Helper()
	open := func(url, node string) *proxmox.PVE {
		p, err := proxmox.NewPVE(proxmox.Config{URL: url, Node: node, TokenID: token, Secret: proxmox.NewSecret(pass), Transport: m})
		if err != nil {
			m.t.Fatal(err)
		}
		return p
	}
	pbs, err := proxmox.NewPBS(proxmox.Config{URL: "https://10.30.1.20:8007", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: m}, "backups")
	if err != nil {
		m.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	m.executor = &agent.Executor{Site: away, Log: m.log, PVE: open("https://10.30.1.20:8006", "pve-quai"), PBS: pbs, Checker: m, Clock: &agent.LogClock{}, Logger: quiet}
	m.there = &agent.Executor{
		Site: home, Log: m.log, Checker: m, Clock: &agent.LogClock{}, Logger: quiet,
		Hands: map[failover.HostID]agent.Hand{"pve-moulin": {PVE: open("https://10.10.1.10:8006", "pve-moulin"), Backup: "pbs-moulin"}},
	}
}

// begin begins a switchover by a person.
func (m *moveRig) begin(stop ...failover.GuestID) {
	m.t.Helper()
	m.must(failover.Bootstrap{Generation: 1})
	m.must(failover.ApplyNetwork{Spec: spec()})
	m.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: away, Host: "pve-quai", MemoryFree: 1 << 40, StorageFree: 1 << 40, Points: map[failover.GuestID][]failover.RestorePoint{guest: {{
			Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + m.now.UTC().Format(time.RFC3339), Namespace: "moulin", Time: m.now, Size: 1 << 18,
		}}},
	}})
	m.move(stop...)
}

// move begins a switchover in a network that stands.
func (m *moveRig) move(stop ...failover.GuestID) {
	m.t.Helper()
	plan := failover.PlanFor(m.log.state, failover.Loss{Site: home, ByHand: true, Planned: true, HardStop: stop}, m.now)
	m.must(failover.BeginOp{Kind: failover.KindSwitchover, Plan: plan, Forced: true})
}

// step moves time on: each agent takes a step, the leader decides once.
func (m *moveRig) step() {
	m.t.Helper()
	m.now = m.now.Add(300 * time.Millisecond)
	m.log.now = m.now
	m.homePVE.Advance(m.now)
	m.pve.Advance(m.now)
	m.pbs.Advance(m.now)
	for _, o := range m.more {
		o.Advance(m.now)
	}
	for _, e := range []*agent.Executor{m.there, m.executor} {
		for _, w := range e.Workers(m.now) {
			w.Step(m.t.Context(), m.now)
		}
	}
	for _, c := range failover.Decide(m.log.state, m.now).Commands {
		switch c.(type) {
		case failover.Assess: // nobody observes anything here
		default:
			prev := m.log.state
			m.must(c)
			if err := failover.Check(prev, m.log.state); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	m.two()
}

// two fails the test when both copies run.
func (m *moveRig) two() {
	m.t.Helper()
	if m.apart {
		return
	}
	a, _ := m.homePVE.Guest(homeID)
	for _, b := range m.pve.Guests() {
		if a.Running && b.Running {
			m.t.Fatalf("both copies run: %d and %d, at %s", a.ID, b.ID, m.status())
		}
	}
}

func (m *moveRig) until(want string) {
	m.t.Helper()
	for range 4000 {
		if m.status() == want {
			return
		}
		m.step()
	}
	m.t.Fatalf("the run stands at %q, want %q; note %q; back %v; last requests %v", m.status(), want, m.note(), m.run().Back, m.requests[max(0, len(m.requests)-12):])
}

// ended runs until every operation has ended.
func (m *moveRig) ended() failover.Operation {
	m.t.Helper()
	for range 6000 {
		if !slices.ContainsFunc(sortedOps(m.log.state), func(o failover.Operation) bool { return !o.Phase.Ended() }) {
			return m.op()
		}
		m.step()
	}
	m.t.Fatalf("%s has not ended: %q, note %q", m.op().ID, m.status(), m.note())
	return failover.Operation{}
}

func sortedOps(s *failover.State) []failover.Operation {
	var out []failover.Operation
	for _, o := range s.Ops {
		out = append(out, o)
	}
	return out
}

// atHome fails the test unless the guest runs at home as before and nothing is left at the target.
func (m *moveRig) atHome() {
	m.t.Helper()
	g, ok := m.homePVE.Guest(homeID)
	if !ok || !g.Running || g.Config["onboot"] != "1" {
		m.t.Errorf("the guest at home: there %t, running %t, onboot %q, want it as it was", ok, g.Running, g.Config["onboot"])
	}
	if left := m.pve.Guests(); len(left) > 0 {
		m.t.Errorf("%d guests are left at the target", len(left))
	}
	for _, s := range m.pbs.Snapshots("moulin") {
		if s.Protected {
			m.t.Errorf("%s is still protected", s.Name())
		}
	}
	if p := m.log.state.Guests[guest]; p.Owner != home || p.Op != "" || p.Phase != failover.PhaseHome {
		m.t.Errorf("placement %+v, want home", p)
	}
}

// moved fails the test unless the guest runs at the target with all that was written at home.
func (m *moveRig) moved() {
	m.t.Helper()
	old, _ := m.homePVE.Guest(homeID)
	copied, ok := m.pve.Guest(vmid)
	switch {
	case !ok || !copied.Running:
		m.t.Fatalf("the copy: there %t, running %t", ok, copied.Running)
	case old.Running || old.Config["onboot"] != "0":
		m.t.Errorf("the guest at home runs %t, onboot %q, want it off", old.Running, old.Config["onboot"])
	}
	if lines := old.Data(); len(lines) == 0 || !slices.Contains(copied.Data(), lines[len(lines)-1]) {
		m.t.Errorf("the last of %d lines that were written at home is not in the copy", len(lines))
	}
	if p := m.log.state.Guests[guest]; p.Owner != away || p.Serving != away || !p.Parked || p.Phase != failover.PhaseAway {
		m.t.Errorf("placement %+v, want away", p)
	}
}

func TestSwitchoverLosesNothing(t *testing.T) {
	m := newMoveRig(t)
	m.begin()
	m.until("shutdown running")
	for range 20 {
		m.step()
	}
	if op := m.ended(); op.Phase != failover.OpDone {
		t.Fatalf("%s ended %s: %v", op.ID, op.Phase, op.Cancelled)
	}
	m.moved()
	for what, want := range map[string]int{"/status/shutdown": 1, "/vzdump": 1, "/qemu": 1, "/verify": 1, "/status/stop": 0} {
		if n := m.count("POST", what); n != want {
			t.Errorf("%d posts of %s, want %d", n, what, want)
		}
	}
}

// TestSwitchoverIsTakenBack: a cancel after any number of steps before ownership leaves
// the guest at home as it was.
func TestSwitchoverIsTakenBack(t *testing.T) {
	for after := 0; ; after += 7 {
		m := newMoveRig(t)
		m.begin()
		for range after {
			m.step()
		}
		if m.run().Owned() {
			if after == 0 {
				t.Fatal("owned at once")
			}
			return
		}
		at := m.status()
		m.must(failover.CancelOp{Op: m.op().ID, Reason: failover.Reason{Code: "WWW-1409"}})
		if op := m.ended(); op.Phase != failover.OpCancelled {
			t.Fatalf("cancelled at %q: ended %s, note %q", at, op.Phase, m.note())
		}
		if m.atHome(); t.Failed() {
			t.Fatalf("cancelled after %d steps at %q", after, at)
		}
	}
}

// TestSwitchoverGoesOnAfterCrashes: agents that restart after any number of steps, and
// answers that are lost, repeat nothing and lose nothing.
func TestSwitchoverGoesOnAfterCrashes(t *testing.T) {
	for after := 0; after < 260; after += 9 {
		m := newMoveRig(t)
		m.begin()
		for range after {
			m.step()
		}
		at := m.status()
		m.restart()
		if op := m.ended(); op.Phase != failover.OpDone {
			t.Fatalf("restart at %q: ended %s: %v", at, op.Phase, op.Cancelled)
		}
		m.moved()
		if n := m.count("POST", "/status/shutdown"); n != 1 {
			t.Errorf("restart at %q: %d shutdowns, want 1", at, n)
		}
		if n := m.count("POST", "/vzdump"); n != 1 {
			t.Errorf("restart at %q: %d backups, want 1", at, n)
		}
	}
}

func TestSwitchoverLostAnswers(t *testing.T) {
	for _, match := range []lab.Match{
		{Method: "PUT", Path: "*/config"},
		{Method: "POST", Path: "*/shutdown"},
		{Method: "POST", Path: "*/vzdump"},
		{Method: "POST", Path: "*/run"},
		{Method: "POST", Path: "*/verify"},
		{Method: "POST", Path: "*/qemu"},
		{Method: "POST", Path: "*/start"},
		{Method: "GET", Path: "*/status"},
	} {
		t.Run(fmt.Sprint(match.Method, match.Path), func(t *testing.T) {
			m := newMoveRig(t)
			m.begin()
			if err := m.faults.Add(lab.Fault{Match: match, Effect: lab.EffectDropReply, Times: 1}); err != nil {
				t.Fatal(err)
			}
			if op := m.ended(); op.Phase != failover.OpDone {
				t.Fatalf("ended %s: %v", op.Phase, op.Cancelled)
			}
			m.moved()
			if n := m.count("POST", "/status/shutdown"); n != 1 {
				t.Errorf("%d shutdowns, want 1", n)
			}
		})
	}
}

// TestSwitchoverFailures: what fails before ownership takes everything back.
func TestSwitchoverFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		break_ func(m *moveRig)
		at     string
	}{
		"no pull": {func(m *moveRig) {
			m.pbs.Heal()
			_ = m.faults.Add(lab.Fault{Match: lab.Match{Method: "POST", Path: "*/run"}, Effect: lab.EffectStatus, Status: 500, Text: "no way"})
		}, "ready pending"},
		"no backup": {func(m *moveRig) {
			_ = m.faults.Add(lab.Fault{Match: lab.Match{Method: "POST", Path: "*/vzdump"}, Effect: lab.EffectStatus, Status: 500, Text: "no space left"})
		}, "ready pending"},
		"home is started by hand": {func(m *moveRig) {
			if err := m.homePVE.StartGuest(homeID, m.now); err != nil {
				m.t.Fatal(err)
			}
		}, "restore running"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMoveRig(t)
			m.begin()
			m.until(tc.at)
			tc.break_(m)
			if op := m.ended(); op.Phase != failover.OpCancelled {
				t.Fatalf("ended %s", op.Phase)
			}
			m.atHome()
		})
	}
}

// TestSwitchoverLeavesAStoppedGuestAlone: what does not run at home is not started elsewhere.
func TestSwitchoverLeavesAStoppedGuestAlone(t *testing.T) {
	m := newMoveRig(t)
	if err := m.homePVE.StopGuest(homeID, m.now); err != nil {
		t.Fatal(err)
	}
	m.begin()
	if op := m.ended(); op.Phase != failover.OpCancelled {
		t.Fatalf("ended %s", op.Phase)
	}
	if g, _ := m.homePVE.Guest(homeID); g.Running || g.Config["onboot"] != "1" {
		t.Errorf("running %t, onboot %q, want it as it was", g.Running, g.Config["onboot"])
	}
}

// TestSwitchoverOfADeafGuest: a guest that does not shut down is switched off only if the
// operator has named it.
func TestSwitchoverOfADeafGuest(t *testing.T) {
	deaf := func(s *lab.GuestSpec) { s.Deaf = true }
	t.Run("unnamed", func(t *testing.T) {
		m := newMoveRig(t, deaf)
		m.begin()
		if op := m.ended(); op.Phase != failover.OpCancelled || !strings.Contains(m.run().Back.Args["note"], "--stop") {
			t.Fatalf("ended %s: %v", op.Phase, m.run().Back)
		}
		m.atHome()
		if n := m.count("POST", "/status/stop"); n != 0 {
			t.Errorf("%d stops, want none", n)
		}
	})
	t.Run("named", func(t *testing.T) {
		m := newMoveRig(t, deaf)
		m.begin(guest)
		if op := m.ended(); op.Phase != failover.OpDone {
			t.Fatalf("ended %s: %v", op.Phase, op.Cancelled)
		}
		m.moved()
		if n, s := m.count("POST", "/status/stop"), m.count("POST", "/status/shutdown"); n != 1 || s != 1 {
			t.Errorf("%d shutdowns and %d stops, want one of each, in this order", s, n)
		}
	})
}

// TestSwitchoverLeavesALockedGuest: the lock of a backup that runs is waited for a while;
// then the guest stays, and the note says what to type if nothing of it runs.
func TestSwitchoverLeavesALockedGuest(t *testing.T) {
	m := newMoveRig(t, func(s *lab.GuestSpec) { s.Extra = map[string]string{"lock": "backup"} })
	m.begin()
	if op := m.ended(); op.Phase != failover.OpCancelled || !strings.Contains(m.run().Back.Args["note"], "qm unlock 1101; then type the move again") {
		t.Fatalf("ended %s: %v", op.Phase, m.run().Back)
	}
	if n := m.count("POST", "/status/shutdown"); n != 0 {
		t.Errorf("%d shutdowns, want none", n)
	}
}

func TestSwitchoverWithoutHands(t *testing.T) {
	m := newMoveRig(t)
	m.there.Hands = map[failover.HostID]agent.Hand{"another": m.there.Hands["pve-moulin"]}
	m.begin()
	if op := m.ended(); op.Phase != failover.OpCancelled || !strings.Contains(m.run().Back.Args["note"], "hands") {
		t.Fatalf("ended %s: %v", op.Phase, m.run().Back)
	}
	m.atHome()
}
