package cluster_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

func bubble(t *testing.T, nodes int, body func(t *testing.T, ctx context.Context, g *group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		body(t, ctx, newGroup(t, nodes, false))
	})
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	_, err := cluster.Open(cluster.Config{Advertise: "nowhere"})
	for _, word := range []string{"Dir", "Site", "Listener", "Dial", "Forward", "Logger", "WallClock", "Exit", `"nowhere" in Advertise is not HOST:PORT`} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("Open: %v, want a word on %s", err, word)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		for i := range 20 {
			g.propose(g.members[i%3], failover.SetPause{Reason: fmt.Sprint("pause ", i)})
		}
		g.Settle()
		before := asJSON(t, g.members[0].node.State())
		ids := []string{}
		for _, m := range g.members {
			ids = append(ids, m.node.ServerID())
			g.kill(m)
		}
		for i, m := range g.members {
			g.start(m)
			if got := m.node.ServerID(); got != ids[i] {
				t.Errorf("server id %s became %s", ids[i], got)
			}
			if err := m.node.Bootstrap(ctx, 1); !errors.Is(err, cluster.ErrAlreadyBootstrapped) {
				t.Errorf("Bootstrap of a node with a log: %v", err)
			}
		}
		g.Settle()
		for _, m := range g.members {
			if got := asJSON(t, m.node.State()); got != before {
				t.Errorf("%s after the restart:\n%s\nwant\n%s", m.site, got, before)
			}
		}
	})
}

// TestFiguresOfTheLog: the agent that leads hears how long its entries took, and each agent
// when it last wrote a snapshot.
func TestFiguresOfTheLog(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		var mu sync.Mutex
		took := map[failover.SiteID][]time.Duration{}
		for _, m := range g.members {
			g.kill(m)
			m.applied = func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				took[m.site] = append(took[m.site], d)
			}
		}
		for _, m := range g.members {
			g.start(m)
			if at, err := m.node.LastSnapshot(); err != nil || !at.IsZero() {
				t.Errorf("snapshot of a new log at %s, %v", at, err)
			}
		}
		g.Settle()
		for _, m := range g.members {
			g.propose(m, failover.SetPause{Reason: "by " + string(m.site)})
		}
		g.Settle()
		mu.Lock()
		for site, all := range took {
			// A message takes 3 ms, and there and back it goes to a majority.
			if site != g.leader().site || len(all) < 3 || slices.Min(all) < 6*time.Millisecond || slices.Max(all) > time.Second {
				t.Errorf("%s heard %v; %s leads", site, all, g.leader().site)
			}
		}
		if len(took) == 0 {
			t.Error("nobody heard how long an entry took")
		}
		mu.Unlock()
		for range 2 {
			time.Sleep(time.Minute) // of the bubble's own clock
			if err := cluster.TakeSnapshot(g.leader().node); err != nil {
				t.Fatal(err)
			}
			if at, err := g.leader().node.LastSnapshot(); err != nil || time.Since(at).Abs() > time.Second {
				t.Errorf("snapshot at %s, %v, want now, %s", at, err, time.Now())
			}
			g.propose(g.leader(), failover.SetPause{Reason: "more to keep"})
		}
	})
}

func TestWipedStoreIsRefusedAndNewMemberTakesOver(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		lost := g.members[2]
		if g.leader() == lost {
			lost = g.members[1]
		}
		g.kill(lost)
		if err := os.Remove(filepath.Join(lost.dir, "raft.db")); err != nil {
			t.Fatal(err)
		}
		cfg := g.config(lost)
		if _, err := cluster.Open(cfg); !errors.Is(err, cluster.ErrStoreLost) || !strings.Contains(err.Error(), "removed") {
			t.Fatalf("Open: %v, want ErrStoreLost with what to do", err)
		}
		cfg.Listener.Close()
		if err := os.RemoveAll(lost.dir); err != nil {
			t.Fatal(err)
		}
		g.start(lost)
		add := func() error {
			return g.leader().node.AddMember(ctx, lost.site, lost.node.ServerID(), lost.addr, cluster.Voter)
		}
		if err := add(); !errors.Is(err, cluster.ErrSiteTaken) {
			t.Errorf("AddMember of a site that has one: %v, want ErrSiteTaken", err)
		}
		if err := g.leader().node.RemoveMember(ctx, lost.site); err != nil {
			t.Fatal(err)
		}
		if err := add(); err != nil {
			t.Fatal(err)
		}
		g.Settle()
		if got := len(g.leader().node.Members()); got != 3 {
			t.Errorf("%d members, want 3", got)
		}
	})
}

func TestMembership(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		var other *member
		for _, m := range g.members {
			if m != leader {
				other = m
			}
		}
		suffrage := func() cluster.Suffrage {
			t.Helper()
			g.Settle()
			for _, m := range other.node.Members() { // as the follower has it
				if m.ServerID == other.node.ServerID() {
					if s := leader.node.State().Members[other.site]; m.Site != other.site || m.Address != other.addr || s.Voter != (m.Suffrage == cluster.Voter) {
						t.Errorf("member %+v, in State %+v", m, s)
					}
					return m.Suffrage
				}
			}
			return ""
		}
		set := func(want cluster.Suffrage) {
			t.Helper()
			if err := leader.node.AddMember(ctx, other.site, other.node.ServerID(), other.addr, want); err != nil {
				t.Fatal(err)
			}
			if got := suffrage(); got != want {
				t.Errorf("suffrage %q, want %q", got, want)
			}
		}
		set(cluster.Voter) // nothing to do
		set(cluster.Nonvoter)
		set(cluster.Nonvoter)
		set(cluster.Voter)
		if err := other.node.AddMember(ctx, other.site, other.node.ServerID(), other.addr, cluster.Voter); !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("AddMember at a follower: %v, want ErrNoLeader", err)
		}
		if err := leader.node.RemoveMember(ctx, leader.site); err == nil {
			t.Error("RemoveMember of the leader: nil")
		}
		if err := leader.node.RemoveMember(ctx, "nowhere"); err == nil {
			t.Error("RemoveMember of nobody: nil")
		}
		if err := leader.node.AddMember(ctx, "", "", "", "observer"); err == nil {
			t.Error("AddMember of nothing: nil")
		}
		if err := leader.node.RemoveMember(ctx, other.site); err != nil {
			t.Fatal(err)
		}
		if _, ok := leader.node.State().Members[other.site]; ok || len(leader.node.Members()) != 2 {
			t.Errorf("members after removal: %+v", leader.node.Members())
		}
	})
}

// TestMembershipByALeaderThatIsDeposed: what a leader was asked for while it lost the others may have been done
// or not. Whoever asked is told so, and asks again: an agent that joins does.
func TestMembershipByALeaderThatIsDeposed(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		for i, m := range g.members {
			if m == leader {
				g.Cut(i)
			}
		}
		err := leader.node.AddMember(ctx, "late", "late-server", "10.0.0.99:9977", cluster.Nonvoter)
		if !errors.Is(err, failover.ErrUnknown) && !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("AddMember by a leader that nobody hears: %v, want ErrUnknown", err)
		}
	})
}

func TestUnreachableMemberGetsNoVote(t *testing.T) {
	bubble(t, 2, func(t *testing.T, ctx context.Context, g *group) {
		short, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		leader := g.leader().node
		err := leader.AddMember(short, "far", "abcdefghijklmnop", "10.99.0.1:9977", cluster.Voter)
		if err == nil || !strings.Contains(err.Error(), "no vote yet") {
			t.Errorf("AddMember of what does not answer: %v", err)
		}
		g.propose(g.leader(), failover.SetPause{Reason: "two of two still decide"})
		for _, m := range leader.Members() {
			if m.Site == "far" && m.Suffrage != cluster.Nonvoter {
				t.Errorf("member %+v", m)
			}
		}
	})
}

func TestBootstrapIsTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{t: t, net: newMemNet(time.Millisecond)}
		m := &member{site: "moulin", addr: "10.77.1.1:9977", dir: filepath.Join(t.TempDir(), "data"), clock: time.Now, exit: func(string) {}}
		g.members = []*member{m}
		t.Cleanup(g.close)
		g.start(m)
		if got := m.node.Stats(); got.LastIndex != 0 || got.Role != "follower" {
			t.Errorf("a new node has %+v", got)
		}
		if _, heard := m.node.LastContact(); heard || m.node.LeaderAddr() != "" {
			t.Error("a new node has heard a leader")
		}
		time.Sleep(time.Minute)
		if got := m.node.Stats().LastIndex; got != 0 {
			t.Fatalf("a node bootstrapped itself: last index %d", got)
		}
		// Interrupted between raft's own bootstrap and the first entry.
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := m.node.Bootstrap(short, 3); err == nil {
			t.Fatal("Bootstrap within 10 ms: nil, although an election takes seconds")
		}
		if err := m.node.Bootstrap(t.Context(), 3); err != nil {
			t.Fatalf("Bootstrap again: %v", err)
		}
		s := m.node.State()
		if s.Generation != 3 || s.Members["moulin"].ServerID != m.node.ServerID() || !s.Members["moulin"].Voter {
			t.Errorf("after Bootstrap: generation %d, members %+v", s.Generation, s.Members)
		}
		if err := m.node.Bootstrap(t.Context(), 4); !errors.Is(err, cluster.ErrAlreadyBootstrapped) {
			t.Errorf("Bootstrap a third time: %v", err)
		}
	})
}

func TestSnapshotSurvivesRestart(t *testing.T) {
	bubble(t, 2, func(t *testing.T, ctx context.Context, g *group) {
		for i := range 10 {
			g.propose(g.members[0], failover.SetPause{Reason: fmt.Sprint("pause ", i)})
		}
		g.Settle()
		before := asJSON(t, g.members[0].node.State())
		config, err := cluster.ConfigIndex(g.members[0].node)
		if err != nil || config == 0 {
			t.Fatalf("configuration at index %d, %v", config, err)
		}
		for _, m := range g.members {
			if err := cluster.TakeSnapshot(m.node); err != nil {
				t.Fatal(err)
			}
			g.kill(m)
		}
		for _, m := range g.members {
			g.start(m)
			if got := m.node.Stats().SnapshotIndex; got == 0 {
				t.Error("no snapshot after the restart")
			}
			if got := asJSON(t, m.node.State()); got != before {
				t.Errorf("%s from its snapshot:\n%s\nwant\n%s", m.site, got, before)
			}
			if got, err := cluster.ConfigIndex(m.node); err != nil || got != config {
				t.Errorf("configuration at index %d, %v; want %d", got, err, config)
			}
		}
		g.Settle()
		// The compare and set of raft's configuration works from there.
		m := g.leader()
		for _, other := range g.members {
			if other != m {
				if err := m.node.AddMember(ctx, other.site, other.node.ServerID(), other.addr, cluster.Nonvoter); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func TestProposalsAtOnceAreAllApplied(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		var nodes []*cluster.Node
		for _, m := range g.members {
			nodes = append(nodes, m.node)
		}
		n := proposeAtOnce(t, ctx, nodes)
		g.Settle()
		for _, m := range g.members {
			if got := len(m.node.State().Members); got != n+3 {
				t.Errorf("%s knows %d members, want %d", m.site, got, n+3)
			}
		}
	})
}

// proposeAtOnce demands that every proposal gets its own place in the log and
// that their times are in the same order. It returns how many it made.
func proposeAtOnce(t *testing.T, ctx context.Context, nodes []*cluster.Node) int {
	t.Helper()
	var wg sync.WaitGroup
	stamps := make([]failover.Stamp, 60)
	for i := range stamps {
		wg.Go(func() {
			st, err := nodes[i%len(nodes)].Propose(ctx, failover.SetMember{
				Site: failover.SiteID(fmt.Sprint("m", i)), ServerID: "x", Address: "10.0.0.1:1",
			})
			if err != nil {
				t.Errorf("proposal %d: %v", i, err)
			}
			stamps[i] = st
		})
	}
	wg.Wait()
	slices.SortFunc(stamps, func(a, b failover.Stamp) int { return cmp.Compare(a.Index, b.Index) })
	for i := 1; i < len(stamps); i++ {
		a, b := stamps[i-1], stamps[i]
		if a.Index == b.Index || a.At.After(b.At) {
			t.Fatalf("entry %d is of %v, entry %d of %v", a.Index, a.At, b.Index, b.At)
		}
	}
	return len(stamps)
}

func TestEnvelopeThatWouldStopTheAgentsIsRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, ctx context.Context, g *group) {
		node := g.leader().node
		before := node.Stats().LastIndex
		for name, b := range map[string][]byte{
			"empty":                 nil,
			"a newer type":          entry(1, 32000, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{}}`),
			"a newer ignorable one": entry(1, 1<<15|32000, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{}}`),
			"a newer field":         entry(1, 23, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{"newer":1}}`),
		} {
			if _, err := node.ProposeEnvelope(ctx, b); !errors.Is(err, failover.ErrRefused) {
				t.Errorf("%s: ProposeEnvelope: %v, want ErrRefused", name, err)
			}
		}
		unreadable := failover.Assess{Level: failover.Level(77)}
		if _, err := node.Propose(ctx, unreadable); !errors.Is(err, failover.ErrRefused) {
			t.Errorf("Propose of what cannot be read back: %v, want ErrRefused", err)
		}
		if after := node.Stats().LastIndex; after != before {
			t.Errorf("the log grew from %d to %d", before, after)
		}
	})
}

func TestForwardThatFailsIsUnknownUntilTheIDAnswers(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		follower := g.members[0]
		if g.leader() == follower {
			follower = g.members[1]
		}
		g.kill(follower)
		var calls atomic.Int32
		lossy := func(times int32) {
			cfg := g.config(follower)
			forward := cfg.Forward
			calls.Store(0)
			cfg.Forward = func(ctx context.Context, addr string, envelope []byte) (failover.Stamp, error) {
				st, err := forward(ctx, addr, envelope)
				if calls.Add(1) <= times {
					return failover.Stamp{}, errors.New("connection reset") // the answer is lost
				}
				return st, err
			}
			node, err := cluster.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			follower.node = node
			g.Settle()
		}
		lossy(2)
		events := len(follower.node.State().Events)
		g.propose(follower, failover.SetPause{Reason: "once"})
		g.Settle()
		if got := len(follower.node.State().Events) - events; got != 1 || calls.Load() != 3 {
			t.Errorf("%d attempts made %d events, want 3 and 1", calls.Load(), got)
		}
		g.kill(follower)
		lossy(1 << 30)
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := follower.node.Propose(short, failover.SetPause{Reason: "lost"}); !errors.Is(err, failover.ErrUnknown) || errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("Propose without answers: %v, want ErrUnknown", err)
		}
	})
}

func TestCloseAnswersThoseWhoWait(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		for i, m := range g.members {
			if m != leader {
				g.Cut(i)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := leader.node.Propose(ctx, failover.SetPause{Reason: "nobody hears"})
			if !errors.Is(err, failover.ErrUnknown) && !errors.Is(err, failover.ErrNoLeader) {
				t.Errorf("Propose at a node that closes: %v", err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		for range 2 {
			if err := leader.node.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		wg.Wait()
		if _, err := leader.node.Propose(ctx, failover.SetPause{}); !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("Propose at a closed node: %v, want ErrNoLeader", err)
		}
	})
}

// TestProposalThatWaitedOverAChangeOfTermIsNotStamped: the clock of the old
// term may be behind what the new one has stamped already.
func TestProposalThatWaitedOverAChangeOfTermIsNotStamped(t *testing.T) {
	bubble(t, 1, func(t *testing.T, ctx context.Context, g *group) {
		node := g.leader().node
		b, err := cluster.Encode(cluster.Entry{ID: "i", Actor: "tester", At: time.Now(), Command: failover.SetPause{Reason: "waits"}})
		if err != nil {
			t.Fatal(err)
		}
		release := node.HoldStamps()
		answer := make(chan error, 1)
		go func() {
			_, err := node.ProposeEnvelope(ctx, b)
			answer <- err
		}()
		synctest.Wait()
		node.RenewClock()
		release()
		if err := <-answer; !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("ProposeEnvelope: %v, want ErrNoLeader", err)
		}
		if _, err := node.ProposeEnvelope(ctx, b); err != nil {
			t.Errorf("repeated: %v", err)
		}
	})
}
