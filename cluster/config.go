package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

// Config is what a Node needs. All fields but Timing must be set.
type Config struct {
	Dir       string          // data directory, only this agent's
	Site      failover.SiteID // this agent's site
	Network   string          // name of the declared network
	Advertise string          // HOST:PORT under which the others reach this agent's mesh port

	// Listener accepts raft connections of other agents, authenticated and
	// handshaken (Mux.Raft). Dial opens one to the agent at addr. The node
	// closes the listener and every connection when it closes.
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)

	// Forward carries a proposal to the leader's ProposeEnvelope and its answer
	// back: *failover.RejectedError, and errors that are ErrNoLeader (also when
	// nothing was sent, as after a refused connection) or ErrRefused, must
	// arrive as such. Any other error counts as ErrUnknown.
	Forward func(ctx context.Context, leaderAddr string, envelope []byte) (failover.Stamp, error)

	// ForwardConfirm carries a token to the leader's Confirm.
	ForwardConfirm func(ctx context.Context, leaderAddr string, t failover.Token) error

	Logger    *slog.Logger
	WallClock func() time.Time // read once per term that this agent leads

	// Exit must end the process at once: a store call hangs. Raft cannot be
	// asked to stop then, its main loop is what hangs (hashicorp/raft 503).
	Exit func(reason string)

	// Applied hears how long each entry took that this agent proposed as the
	// leader, from the proposal until it was applied here; nil: nobody asks.
	Applied func(took time.Duration)

	Timing Timing // zero fields get the defaults

	wrapStore func(store) store // tests put a sick disk here
	observe   func(applied)     // tests look at every entry here
}

// Timing holds raft's intervals. The defaults are chosen for home links:
// a new leader after a loss takes 4 s (p50) to 7 s (p99).
type Timing struct {
	Heartbeat time.Duration // 2 s: a follower that hears nothing for so long stands for election
	Election  time.Duration // 2 s
	Lease     time.Duration // 1.5 s: a leader without a majority steps down
	Commit    time.Duration // 250 ms: how late idle followers may learn the commit index
	Transport time.Duration // 2 s: for one message
	Attempt   time.Duration // 5 s: for one attempt at proposing
	Confirm   time.Duration // 2 s: age that a confirmation may reach
	Store     time.Duration // 10 s: a store call that takes longer ends the process
}

// DefaultTiming returns the intervals for home links.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 2 * time.Second, Election: 2 * time.Second, Lease: 1500 * time.Millisecond,
		Commit: 250 * time.Millisecond, Transport: 2 * time.Second,
		Attempt: 5 * time.Second, Confirm: 2 * time.Second, Store: 10 * time.Second,
	}
}

func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	for _, f := range []struct {
		to   *time.Duration
		from time.Duration
	}{
		{&t.Heartbeat, d.Heartbeat},
		{&t.Election, d.Election},
		{&t.Lease, d.Lease},
		{&t.Commit, d.Commit},
		{&t.Transport, d.Transport},
		{&t.Attempt, d.Attempt},
		{&t.Confirm, d.Confirm},
		{&t.Store, d.Store},
	} {
		if *f.to == 0 {
			*f.to = f.from
		}
	}
	return t
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, name string) {
		if !ok {
			errs = append(errs, errors.New(name+" is missing"))
		}
	}
	need(c.Dir != "", "Dir")
	need(c.Site != "", "Site")
	need(c.Network != "", "Network")
	need(c.Listener != nil, "Listener")
	need(c.Dial != nil, "Dial")
	need(c.Forward != nil, "Forward")
	need(c.ForwardConfirm != nil, "ForwardConfirm")
	need(c.Logger != nil, "Logger")
	need(c.WallClock != nil, "WallClock")
	need(c.Exit != nil, "Exit")
	if host, _, err := net.SplitHostPort(c.Advertise); err != nil || host == "" {
		errs = append(errs, fmt.Errorf("address %q in Advertise is not HOST:PORT", c.Advertise))
	}
	return errors.Join(errs...)
}

// raftConfig sets what the design decides; the rest are the library's defaults,
// as far as they do not matter or are the decision (SnapshotInterval 120 s).
func (c Config) raftConfig(id string, notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.ProtocolVersion = raft.ProtocolVersionMax
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout = c.Timing.Heartbeat
	rc.ElectionTimeout = c.Timing.Election
	rc.LeaderLeaseTimeout = c.Timing.Lease
	rc.CommitTimeout = c.Timing.Commit
	rc.MaxAppendEntries = 64
	rc.BatchApplyCh = false
	rc.PreVoteDisabled = false
	rc.ShutdownOnRemove = false
	// A follower with a conflicting tail gets snapshots in a loop when less is
	// kept (hashicorp/raft 697).
	rc.TrailingLogs = 10240
	rc.SnapshotThreshold = 8192
	rc.NotifyCh = notify
	rc.Logger = newRaftLogger(c.Logger)
	rc.NoLegacyTelemetry = true
	return rc
}
