package cluster

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

// What tests of this package see beyond its API.

type Store = store

func WrapStore(c *Config, wrap func(Store) Store) { c.wrapStore = wrap }

// Observe has f told of every entry and snapshot (no command) that a node
// applies, with the state that came of it, before anybody else sees it.
func Observe(c *Config, f func(s *failover.State, st failover.Stamp, cmd failover.Command, rejected error)) {
	c.observe = func(a applied) { f(a.state, a.stamp, a.command, a.err) }
}

// Watch returns a store that calls exit when a call of it takes longer than limit.
func Watch(s Store, limit time.Duration, exit func(reason string)) Store {
	return watchedStore{store: s, limit: limit, exit: exit}
}

type FSM struct{ *fsm }

func NewFSM() FSM { return FSM{newFSM()} }

func (f FSM) State() *failover.State { return f.read() }

func (f FSM) Outcome(l *raft.Log) (failover.Stamp, error) {
	out, ok := f.Apply(l).(outcome)
	if !ok {
		panic("Apply did not return an outcome")
	}
	return out.stamp, out.err
}

func WriteSnapshot(w io.Writer, s *failover.State) error { return writeSnapshot(w, s) }

func ReadSnapshot(r io.Reader) (*failover.State, error) { return readSnapshot(r) }

// TakeSnapshot makes a node write one now.
func TakeSnapshot(n *Node) error { return n.raft.Snapshot().Error() }

// CompactLog takes a snapshot and keeps next to nothing of the log: what is not
// committed, and a few entries before. A node that restarts without the entry
// of its snapshot and with one after it that no majority has can never be
// brought to the log of another leader (hashicorp/raft issue 697; production
// keeps 10240, see doc.go).
func CompactLog(n *Node) error {
	c := n.raft.ReloadableConfig()
	c.TrailingLogs = n.raft.LastIndex() - n.raft.AppliedIndex() + 8
	if err := n.raft.ReloadConfig(c); err != nil {
		return err
	}
	return TakeSnapshot(n)
}

// CompactOnce takes a snapshot and drops the log behind it, and then keeps as
// much of the log as ever.
func CompactOnce(n *Node) error {
	c := n.raft.ReloadableConfig()
	kept := c.TrailingLogs
	if err := CompactLog(n); err != nil {
		return err
	}
	c.TrailingLogs = kept
	return n.raft.ReloadConfig(c)
}

// RaftConfig returns what the node gives to raft.
func RaftConfig(c Config) *raft.Config {
	c.Timing = c.Timing.withDefaults()
	return c.raftConfig("id", nil)
}

// RaftLogger returns the adapter that raft logs through.
func RaftLogger(to *slog.Logger) hclog.Logger { return newRaftLogger(to) }

func ConfigIndex(n *Node) (uint64, error) { return n.configIndex() }

// Row is one row of the table of log entries.
type Row struct {
	Number uint16
	Name   string
	Type   string
	New    func(body []byte) (failover.Command, error)
}

func Rows() []Row {
	var rows []Row
	for _, r := range commandTypes {
		rows = append(rows, Row{r.number, r.name, r.goType.Name(), r.decode})
	}
	return rows
}

// Rename returns the same authority under the name of another network.
func Rename(ca *CA, network string) *CA {
	renamed := *ca
	renamed.network = network
	return &renamed
}

// HoldStamps makes proposals wait for their stamp until release is called.
func (n *Node) HoldStamps() (release func()) {
	n.stamping <- struct{}{}
	return func() { <-n.stamping }
}

// RenewClock does to the clock what another term of this leader does.
func (n *Node) RenewClock() {
	c := *n.clock.Load()
	n.clock.Store(&c)
}

// Pipelines says whether a node sends a peer another request before the last is answered.
func (n *Node) Pipelines() bool {
	_, err := n.trans.AppendEntriesPipeline("", "")
	return !errors.Is(err, raft.ErrPipelineReplicationNotSupported)
}
