package sim_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/logtest"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// group adapts the model to the contract suite. Time passes in Settle only: a
// call of the model returns at once, whatever it would have cost.
type group struct {
	t     *testing.T
	loop  *sim.Loop
	model *sim.LogModel
	sites []failover.SiteID
	cut   map[failover.SiteID]bool
}

func newGroup(t *testing.T, n int, seed uint64) *group {
	g := &group{
		t: t, loop: sim.NewLoop(), cut: map[failover.SiteID]bool{},
		sites: []failover.SiteID{"a", "b", "c", "d", "e"}[:n],
	}
	g.model = sim.NewLogModel(sim.LogConfig{
		Loop: g.loop, Rand: rand.New(rand.NewPCG(seed, 1)), Sites: g.sites,
		Up:        func(failover.SiteID) bool { return true },
		Reach:     func(a, b failover.SiteID) bool { return !g.cut[a] && !g.cut[b] },
		Wall:      func(failover.SiteID) time.Time { return g.loop.Now() },
		Charge:    func(time.Duration) {},
		Committed: func(_, _ *failover.State, _ sim.Committed) {},
		Tell:      func(string, ...any) {},
		Violated:  func(err error) { t.Error(err) },
	})
	g.model.Evaluate()
	g.Settle()
	return g
}

// Nodes implements logtest.Cluster.
func (g *group) Nodes() []failover.Log {
	out := make([]failover.Log, len(g.sites))
	for i, s := range g.sites {
		out[i] = g.model.Node(s)
	}
	return out
}

// Cut implements logtest.Cluster.
func (g *group) Cut(i int) { g.cut[g.sites[i]] = true; g.model.Evaluate() }

// Heal implements logtest.Cluster.
func (g *group) Heal(i int) { delete(g.cut, g.sites[i]); g.model.Evaluate() }

// Restart implements logtest.Cluster.
func (g *group) Restart(i int) { g.model.Node(g.sites[i]).Restart() }

// Settle implements logtest.Cluster.
func (g *group) Settle() {
	g.t.Helper()
	if err := g.loop.Run(g.loop.Now().Add(30 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	if err := g.model.Compare(); err != nil {
		g.t.Fatal(err)
	}
}

func TestLogModelKeepsTheContract(t *testing.T) {
	for seed := range uint64(20) {
		logtest.Run(t, func(t *testing.T, n int) logtest.Cluster { return newGroup(t, n, seed) })
	}
}

func TestRestartedNodeReplaysTheLog(t *testing.T) {
	g := newGroup(t, 3, 1)
	ctx := failover.WithActor(t.Context(), "tester")
	node := g.model.Node("a")
	for range 100 {
		if _, err := node.Propose(ctx, failover.SetPause{Reason: "again"}); err != nil {
			t.Fatalf("Propose: %v", err)
		}
	}
	g.Settle()
	for _, s := range g.sites {
		want := sim.Hash(g.model.Node(s).State())
		g.model.Node(s).Restart()
		g.Settle()
		if got := sim.Hash(g.model.Node(s).State()); got != want {
			t.Errorf("node %s after a restart: state %s, want %s", s, got, want)
		}
	}
}

// TestLostWritesAreNoticed: a disk that loses what it has synced is outside the model, and nothing
// that the simulator does may amount to it.
func TestLostWritesAreNoticed(t *testing.T) {
	g := newGroup(t, 3, 1)
	ctx := failover.WithActor(t.Context(), "tester")
	propose := func() {
		for range 10 {
			if _, err := g.model.Node(g.model.Leader()).Propose(ctx, failover.SetPause{Reason: "again"}); err != nil {
				t.Fatalf("Propose: %v", err)
			}
		}
	}
	propose()
	var noticed error
	g.model.Violated = func(err error) { noticed = err }
	g.model.LoseTail(5)
	propose()
	if noticed == nil || !strings.Contains(noticed.Error(), "lost what it had synced") {
		t.Errorf("a log that lost its tail was noticed by %v", noticed)
	}
}

func TestDeposedLeaderCommitsNothing(t *testing.T) {
	for seed := range uint64(50) {
		g := newGroup(t, 5, seed)
		old := g.model.Leader()
		before := g.model.Last().Index
		g.model.Depose()
		if _, ready := g.model.Node(old).Lead(); !ready {
			t.Fatalf("seed %d: the deposed leader knows at once", seed)
		}
		_, err := g.model.Node(old).Propose(t.Context(), failover.SetPause{Reason: "stale"})
		if err == nil {
			t.Fatalf("seed %d: Propose at the deposed leader: nil", seed)
		}
		if err := g.model.Node(old).Confirm(t.Context(), failover.Token{}); err == nil {
			t.Fatalf("seed %d: Confirm at the deposed leader: nil", seed)
		}
		g.Settle()
		if got := g.model.Last(); got.Index < before || len(got.Pauses) != 0 {
			t.Errorf("seed %d: state at %d with %d pauses, want at least %d with none", seed, got.Index, len(got.Pauses), before)
		}
	}
}
