package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/logtest"
)

// group is a network of nodes in one synctest bubble.
type group struct {
	t       *testing.T
	net     *memNet
	ca      *cluster.CA // nil: connections are not authenticated
	members []*member

	restarts int
}

type member struct {
	site failover.SiteID
	addr string
	dir  string
	node *cluster.Node // nil while stopped
	stop func()        // of its port

	clock func() time.Time
	exit  func(reason string)
	store func(cluster.Store) cluster.Store

	applied func(took time.Duration)
}

// newGroup forms a group of n voters; the first one is bootstrapped.
func newGroup(t *testing.T, n int, authenticated bool) *group {
	t.Helper()
	g := &group{t: t, net: newMemNet(3 * time.Millisecond)}
	if authenticated {
		ca, err := cluster.NewCA("test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		g.ca = ca
	}
	dir := t.TempDir()
	t.Cleanup(g.close)
	for i := range n {
		m := &member{
			site: failover.SiteID(fmt.Sprintf("site-%d", i)), addr: fmt.Sprintf("10.77.%d.1:9977", i+1),
			dir: filepath.Join(dir, fmt.Sprint(i)), clock: time.Now,
			exit: func(reason string) { t.Errorf("exit: %s", reason) },
		}
		g.members = append(g.members, m)
		g.start(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.members[0].node.Bootstrap(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for _, m := range g.members[1:] {
		if err := g.members[0].node.AddMember(ctx, m.site, m.node.ServerID(), m.addr, cluster.Voter); err != nil {
			t.Fatal(err)
		}
	}
	g.Settle()
	return g
}

func (g *group) close() {
	for i, m := range g.members {
		g.Heal(i)
		g.kill(m)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// config returns a member's configuration with its port open.
func (g *group) config(m *member) cluster.Config {
	g.t.Helper()
	listener, dial := g.open(m)
	cfg := cluster.Config{
		Dir: m.dir, Site: m.site, Network: "test", Advertise: m.addr,
		Listener: listener, Dial: dial,
		Forward: func(ctx context.Context, addr string, envelope []byte) (failover.Stamp, error) {
			to, err := g.reach(m, addr)
			if err != nil {
				return failover.Stamp{}, err
			}
			return to.ProposeEnvelope(ctx, envelope)
		},
		ForwardConfirm: func(ctx context.Context, addr string, token failover.Token) error {
			to, err := g.reach(m, addr)
			if err != nil {
				return err
			}
			return to.ConfirmAsLeader(ctx, token)
		},
		Logger: quiet(), WallClock: m.clock, Exit: m.exit, Applied: m.applied,
	}
	if m.store != nil {
		cluster.WrapStore(&cfg, m.store)
	}
	return cfg
}

// reach stands for the API between agents, which is not this package's.
func (g *group) reach(from *member, addr string) (*cluster.Node, error) {
	if blocked, _ := g.net.blocked(hostOf(from.addr), hostOf(addr)); blocked {
		return nil, failover.ErrNoLeader
	}
	for _, m := range g.members {
		if m.addr == addr && m.node != nil {
			return m.node, nil
		}
	}
	return nil, failover.ErrNoLeader
}

// open opens a member's port, plain or behind a Mux.
func (g *group) open(m *member) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	g.t.Helper()
	port, dial := g.net.listen(m.addr), g.net.dialFrom(hostOf(m.addr))
	if g.ca == nil {
		m.stop = func() {}
		return port, func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "mem", addr) }
	}
	creds := credentials(g.t, g.ca, m.site, m.dir, hostOf(m.addr), nil)
	mux := cluster.NewMux(port, creds, quiet())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mux.Run(ctx); err != nil {
			g.t.Errorf("mux of %s: %v", m.site, err)
		}
	}()
	m.stop = func() { cancel(); <-done }
	return mux.Raft(), creds.DialRaft(dial)
}

func (g *group) start(m *member) {
	g.t.Helper()
	node, err := cluster.Open(g.config(m))
	if err != nil {
		g.t.Fatalf("open %s: %v", m.site, err)
	}
	m.node = node
}

func (g *group) kill(m *member) {
	if m.node == nil {
		return
	}
	if err := m.node.Close(); err != nil {
		g.t.Errorf("close %s: %v", m.site, err)
	}
	m.stop()
	m.node = nil
}

func (g *group) Nodes() []failover.Log {
	var logs []failover.Log
	for _, m := range g.members {
		logs = append(logs, m.node)
	}
	return logs
}

func (g *group) Cut(i int)  { g.net.set(hostOf(g.members[i].addr), true) }
func (g *group) Heal(i int) { g.net.set(hostOf(g.members[i].addr), false) }

// Restart has every second node that it ends begin with a snapshot.
func (g *group) Restart(i int) {
	m := g.members[i]
	if g.restarts++; g.restarts%2 == 0 {
		if err := cluster.CompactOnce(m.node); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			g.t.Errorf("snapshot of %s: %v", m.site, err)
		}
	}
	g.kill(m)
	time.Sleep(time.Second)
	g.start(m)
}

// Settle needs a bubble: its sleep is virtual.
func (g *group) Settle() {
	g.t.Helper()
	var why error
	for range 1200 { // two minutes
		time.Sleep(100 * time.Millisecond)
		if why = g.unsettled(); why == nil {
			return
		}
	}
	g.t.Fatalf("not settled: %v", why)
}

func (g *group) unsettled() error {
	var leader *cluster.Node
	var index uint64
	leaders, connected := 0, 0
	for _, m := range g.members {
		if m.node == nil {
			continue
		}
		_, ready := m.node.Lead()
		if ready {
			leader = m.node
			leaders++
		}
		if g.net.cut[hostOf(m.addr)] {
			if ready {
				return fmt.Errorf("%s still leads", m.site)
			}
			continue
		}
		at := m.node.Stats().StateIndex
		if connected++; connected > 1 && at != index {
			return fmt.Errorf("%s is at %d, another at %d", m.site, at, index)
		}
		index = at
	}
	switch majority := len(g.members)/2 + 1; {
	case connected < majority && leaders > 0:
		return errors.New("a minority still has a leader")
	case connected < majority:
		return nil
	case leaders != 1:
		return fmt.Errorf("%d leaders", leaders)
	}
	if s := leader.Stats(); index < s.StateIndex {
		return fmt.Errorf("leader is at %d, others at %d", s.StateIndex, index)
	}
	for _, m := range g.members {
		if m.node != nil && !g.net.cut[hostOf(m.addr)] && m.node.Stats().CommitIndex != leader.Stats().LastIndex {
			return fmt.Errorf("%s has committed %d of %d", m.site, m.node.Stats().CommitIndex, leader.Stats().LastIndex)
		}
	}
	return nil
}

func (g *group) leader() *member {
	g.t.Helper()
	for _, m := range g.members {
		if m.node == nil {
			continue
		}
		if _, ready := m.node.Lead(); ready {
			return m
		}
	}
	g.t.Fatal("no leader")
	return nil
}

func (g *group) propose(m *member, c failover.Command) failover.Stamp {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	st, err := m.node.Propose(ctx, c)
	if err != nil {
		g.t.Fatalf("propose %T at %s: %v", c, m.site, err)
	}
	return st
}

func TestNodeKeepsTheContract(t *testing.T) {
	for _, c := range logtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, newGroup(t, c.Nodes, false)) })
		})
	}
}

func TestAuthenticatedNodeKeepsTheContract(t *testing.T) {
	for _, c := range logtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, newGroup(t, c.Nodes, true)) })
		})
	}
}
