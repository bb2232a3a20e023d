package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// Node is one site's view of the log.
type Node struct {
	m        *LogModel
	site     failover.SiteID
	boot     int // how often it was restarted
	applied  int // entries
	synced   int // entries that its disk has ever held, with the last one's stamp
	last     failover.Stamp
	due      int // entries that it is about to learn, by delivery
	delivery event
	state    *failover.State
	private  bool // replays the log itself, since a restart
	believes uint64
	changed  chan struct{}
	asked    bool // somebody may wait for changed
}

var _ failover.Log = (*Node)(nil)

func (n *Node) wake(quiet bool) {
	if n.asked {
		close(n.changed)
		n.changed, n.asked = make(chan struct{}), false
	}
	if n.m.Applied != nil {
		n.m.Applied(n.site, quiet)
	}
}

// catchUp applies the entries up to a number of them.
func (n *Node) catchUp(upTo int) {
	if n.applied >= upTo {
		return
	}
	if !n.private {
		n.state = n.m.entries[upTo-1].state
	}
	quiet := true
	for i := n.applied; i < upTo; i++ {
		e := n.m.entries[i]
		if _, report := e.command.(failover.Report); !report {
			quiet = false
		}
		if !n.private {
			continue
		}
		n.state = n.state.CloneFor(e.command)
		if e.command == nil {
			n.state.Index = e.stamp.Index
			continue
		}
		_ = n.state.Apply(e.stamp, e.command) // a rejection is an outcome of the proposer's
	}
	n.applied = upTo
	n.kept()
	n.wake(quiet)
}

// kept: no disk loses what it has synced (Raft's own assumption, which
// cluster's process tests hold with SIGKILL and full disks): what a node learns
// goes on where it stood.
func (n *Node) kept() {
	if n.applied < n.synced {
		return // since a restart, on the way to where it was
	}
	if n.synced > 0 && n.m.entries[n.synced-1].stamp != n.last {
		n.m.Violated(fmt.Errorf("the log of %s lost what it had synced: entry %d was %s, is %s", n.site, n.synced, n.last.ID, n.m.entries[n.synced-1].stamp.ID))
	}
	n.synced, n.last = n.applied, n.m.entries[n.applied-1].stamp
}

// snapshotEvery: of so many restarts one reads the snapshot from its bytes and
// replays the rest of the log itself, which costs as much as a minute of life.
const snapshotEvery = 3

// Restart forgets what is in memory: the node begins with a snapshot and learns
// the rest of the log from a leader. What was committed is never lost; how much
// of it is applied is not remembered.
func (n *Node) Restart() {
	n.boot++
	n.due = 0
	n.m.Loop.drop(&n.delivery)
	if n.m.leader == n.site {
		n.m.leader, n.m.ready = "", false
	}
	n.believes = 0
	at := max(0, n.applied-n.m.Rand.IntN(80))
	if n.m.snapshot != nil {
		at = n.m.snapshot(n.site, n.applied)
	}
	for at > 0 && n.m.entries[at-1].state == nil {
		at--
	}
	if at > 0 && n.boot%snapshotEvery != 0 {
		n.applied, n.private, n.state = at, false, n.m.entries[at-1].state
		n.m.Evaluate()
		return
	}
	n.applied, n.private, n.state = at, true, failover.NewState()
	if at > 0 {
		b, err := json.Marshal(n.m.entries[at-1].state)
		if err == nil {
			err = json.Unmarshal(b, n.state)
		}
		if err != nil {
			n.m.Violated(fmt.Errorf("restore snapshot of %s: %w", n.site, err))
		}
	}
	n.m.Evaluate()
}

// State implements failover.Log.
func (n *Node) State() *failover.State { return n.state }

// Changed implements failover.Log.
func (n *Node) Changed() <-chan struct{} {
	n.asked = true
	return n.changed
}

// Lead implements failover.Log.
func (n *Node) Lead() (uint64, bool) {
	switch {
	case n.believes != 0:
		return n.believes, true
	case n.m.leader == n.site:
		return n.m.term, n.m.ready
	}
	return n.m.term, false
}

// Propose implements failover.Log. The outcome is decided at once; what it
// costs is charged to the caller.
func (n *Node) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	m := n.m
	e := cluster.Entry{ID: failover.ProposalIDOf(ctx), Actor: failover.ActorOf(ctx), Command: c}
	if e.ID == "" {
		m.drawn++
		e.ID = fmt.Sprintf("p%d-%08x", m.drawn, m.Rand.Uint32())
	}
	if e.Actor == "" {
		e.Actor = "agent:" + string(n.site)
	}
	if n.believes != 0 {
		m.count("made to a leader that was")
		// It stands in the old leader's log and nowhere else.
		m.Charge(between(m.Rand, time.Second, 5*time.Second))
		return failover.Stamp{}, fmt.Errorf("propose: %w: leadership lost", failover.ErrUnknown)
	}
	if m.leader == "" || !m.ready || !m.hears(n.site, m.leader) || chance(m.Rand, m.Faults.Refused) {
		m.Charge(between(m.Rand, 20*time.Millisecond, 3*time.Second))
		return failover.Stamp{}, fmt.Errorf("propose: %w", failover.ErrNoLeader)
	}
	return n.attempt(e)
}

func (n *Node) attempt(e cluster.Entry) (failover.Stamp, error) {
	m := n.m
	if chance(m.Rand, m.Faults.Foreign) {
		m.newer()
	}
	unknown := fmt.Errorf("propose: %w: no answer", failover.ErrUnknown)
	switch f := m.Faults; {
	case chance(m.Rand, f.Lost):
		m.Charge(between(m.Rand, time.Second, 5*time.Second))
		m.count("lost")
		m.Tell("log: %T of %s is lost", e.Command, n.site)
		return failover.Stamp{}, unknown
	case chance(m.Rand, f.Late):
		m.Charge(between(m.Rand, time.Second, 5*time.Second))
		leader, term := m.leader, m.term
		m.count("late")
		m.Tell("log: %T of %s is late", e.Command, n.site)
		m.Loop.In(between(m.Rand, 200*time.Millisecond, 15*time.Second), "log: late entry", func() {
			if m.leader == leader && m.term == term && m.ready {
				_, _ = m.commit(e) // nobody waits for the outcome
			}
		})
		return failover.Stamp{}, unknown
	case chance(m.Rand, f.Change):
		m.count("the leader changes meanwhile")
		m.Charge(between(m.Rand, time.Second, 5*time.Second))
		if chance(m.Rand, 0.5) {
			_, _ = m.commit(e) // it is in the next leader's log, too
		}
		m.Depose()
		return failover.Stamp{}, unknown
	case chance(m.Rand, f.Unknown):
		m.Charge(between(m.Rand, time.Second, 5*time.Second))
		m.count("committed without an answer")
		m.Tell("log: %T of %s is committed without an answer", e.Command, n.site)
		if _, err := m.commit(e); isRefused(err) {
			return failover.Stamp{}, err
		}
		return failover.Stamp{}, unknown
	}
	m.Charge(between(m.Rand, 15*time.Millisecond, 150*time.Millisecond))
	return m.commit(e)
}

// Confirm implements failover.Log.
func (n *Node) Confirm(_ context.Context, t failover.Token) error {
	m := n.m
	m.Charge(between(m.Rand, 15*time.Millisecond, 150*time.Millisecond))
	if n.believes != 0 || m.leader == "" || !m.ready || !m.hears(n.site, m.leader) || chance(m.Rand, m.Faults.Refused) {
		m.Charge(between(m.Rand, 100*time.Millisecond, 1500*time.Millisecond))
		return fmt.Errorf("confirm %s/%s: %w", t.Guest, t.Step, failover.ErrNoLeader)
	}
	return m.last.TokenCurrent(t)
}

func isRefused(err error) bool { return errors.Is(err, failover.ErrRefused) }

// delivered has a node learn what was on its way, if it hears the leader.
func (n *Node) delivered() {
	upTo := n.due
	n.due = 0
	if n.m.Quorum(n.site) {
		n.catchUp(upTo)
	}
}
