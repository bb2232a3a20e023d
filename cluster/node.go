package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

var _ failover.Log = (*Node)(nil)

// errClosed is the cause of everything that ends because the node was closed.
var errClosed = errors.New("node is closed")

// Node is one agent's member of the group.
type Node struct {
	cfg   Config
	id    string
	raft  *raft.Raft
	fsm   *fsm
	store store
	logs  raft.LogStore // store behind a cache
	snaps raft.SnapshotStore
	trans *transport

	notify   chan bool                 // raft's word on leadership, drained by lead
	clock    atomic.Pointer[termClock] // nil: not leading, or the barrier is not passed
	stamping chan struct{}             // one slot: stamps enter the log in the order of their time
	changing chan struct{}             // one slot: one change of membership at a time

	ctx    context.Context // ends with cause errClosed
	cancel context.CancelCauseFunc
	leader sync.WaitGroup // the goroutine of lead
	close  struct {
		once chan struct{} // one slot
		done chan struct{}
		err  error
	}
}

// Open starts the node of a data directory, which is made if it is not there.
// A new node waits until it is bootstrapped or added by the leader; nothing is
// ever bootstrapped because a directory is empty. Open fails with ErrStoreLost
// if the directory lost its log.
func Open(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	cfg.Timing = cfg.Timing.withDefaults()
	bolt, id, err := openStore(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{
		cfg: cfg, id: id, fsm: newFSM(), store: bolt,
		notify:   make(chan bool, 16),
		stamping: make(chan struct{}, 1),
		changing: make(chan struct{}, 1),
	}
	n.fsm.observe = cfg.observe
	n.close.once = make(chan struct{}, 1)
	n.close.done = make(chan struct{})
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	if err := n.start(); err != nil {
		n.cancel(errClosed)
		return nil, fmt.Errorf("open node: %w", errors.Join(err, n.store.Close()))
	}
	n.leader.Go(n.lead)
	return n, nil
}

// start wires raft: store, snapshots, transport.
func (n *Node) start() error {
	logger := newRaftLogger(n.cfg.Logger)
	if n.cfg.wrapStore != nil {
		n.store = n.cfg.wrapStore(n.store)
	}
	n.store = watchedStore{store: n.store, limit: n.cfg.Timing.Store, exit: n.cfg.Exit}
	logs, err := raft.NewLogCache(512, n.store)
	if err != nil {
		return err
	}
	n.logs = logs
	if n.snaps, err = raft.NewFileSnapshotStoreWithLogger(n.cfg.Dir, 3, logger); err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	// One request at a time to each peer: with two, raft v1.7.3 pipelines them, and a
	// follower's refusal can leave sender and reader waiting for each other (hashicorp/raft#612).
	// Heartbeats go on, so that nobody notices that the follower gets no entry any more; and
	// Close never returns.
	n.trans = &transport{
		peers: map[raft.ServerID]PeerStats{},
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger: logger, Stream: newStreamLayer(n.cfg), MaxPool: 3, MaxRPCsInFlight: 1, Timeout: n.cfg.Timing.Transport,
		}),
	}
	n.raft, err = raft.NewRaft(n.cfg.raftConfig(n.id, n.notify), n.fsm, n.logs, n.store, n.snaps, n.trans)
	if err != nil {
		n.trans.CloseStreams()
		return errors.Join(err, n.trans.Close())
	}
	return nil
}

// Close stops the node and returns when everything it started has ended. A
// leader is replaced by election; there is no handing over.
func (n *Node) Close() error {
	select {
	case n.close.once <- struct{}{}:
	default:
		<-n.close.done
		return n.close.err
	}
	defer close(n.close.done)
	n.cancel(errClosed)
	stopped := n.raft.Shutdown()
	// Replication waits for answers; without connections it does not.
	n.trans.CloseStreams()
	n.close.err = errors.Join(n.trans.Close(), stopped.Error())
	n.leader.Wait()
	n.close.err = errors.Join(n.close.err, n.store.Close())
	return n.close.err
}

// ServerID returns the id of this node's data directory.
func (n *Node) ServerID() string { return n.id }

// LeaderAddr returns the mesh address of the leader as this agent knows it,
// "" if it knows none.
func (n *Node) LeaderAddr() string {
	addr, _ := n.raft.LeaderWithID()
	return string(addr)
}

// LastContact returns how long ago this agent heard its leader: 0 for the
// leader itself, false if it never heard one.
func (n *Node) LastContact() (time.Duration, bool) {
	if n.raft.State() == raft.Leader {
		return 0, true
	}
	at := n.raft.LastContact()
	if at.IsZero() {
		return 0, false
	}
	return time.Since(at), true
}

// Turns says whether raft's main loop still takes up work, within ctx: an agent whose loop hangs
// neither votes nor follows, whatever else of it lives. The question costs a leader one heartbeat.
func (n *Node) Turns(ctx context.Context) error {
	err := n.wait(ctx, n.raft.VerifyLeader())
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
		return nil // an answer, and that is all that was asked
	}
	return err
}

// Stats are figures for metrics and status.
type Stats struct {
	Role          string // leader, follower, candidate, shutdown
	Term          uint64
	LastIndex     uint64 // of the log; 0: neither bootstrapped nor ever joined
	CommitIndex   uint64
	StateIndex    uint64 // of the last command in State
	SnapshotIndex uint64
	Peers         map[string]PeerStats // by server id, as heard while leading
}

// Stats returns the figures of this moment.
func (n *Node) Stats() Stats {
	peers := map[string]PeerStats{}
	for id, p := range n.trans.heard() {
		peers[string(id)] = p
	}
	words := n.raft.Stats()
	snapshot, err := strconv.ParseUint(words["last_snapshot_index"], 10, 64)
	if err != nil {
		snapshot = 0 // raft always writes a number there
	}
	return Stats{
		Role: roles[n.raft.State()], Term: n.raft.CurrentTerm(), LastIndex: n.raft.LastIndex(),
		CommitIndex: n.raft.CommitIndex(), StateIndex: n.State().Index, SnapshotIndex: snapshot, Peers: peers,
	}
}

var roles = map[raft.RaftState]string{
	raft.Leader: "leader", raft.Follower: "follower", raft.Candidate: "candidate", raft.Shutdown: "shutdown",
}

// wait returns the future's error, or the cause why nobody waits any longer.
func (n *Node) wait(ctx context.Context, f raft.Future) error {
	// Raft futures cannot be abandoned, and a few are never answered when raft
	// shuts down; the goroutine is then the price of not hanging with it.
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.ctx.Done():
		return context.Cause(n.ctx)
	}
}
