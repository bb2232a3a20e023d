package sim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// LogFaults are the probabilities, per proposal, of what Raft may do to it.
type LogFaults struct {
	Refused float64 // surely not made: no leader
	Lost    float64 // never committed, and the caller does not learn it
	Unknown float64 // committed, and the caller does not learn it
	Late    float64 // committed later, after the caller has given up
	Change  float64 // the leader changes in the middle of it: committed or not
	Slow    float64 // a follower applies an entry seconds late
	Foreign float64 // an agent of a newer release writes an entry that this one may skip
}

// LogConfig is what the model needs of the world around it.
type LogConfig struct {
	Loop   *Loop
	Rand   *rand.Rand
	Sites  []failover.SiteID
	Faults LogFaults
	// Prefer is the node that wins elections when it can; "": any.
	Prefer failover.SiteID
	// Up says whether a node runs. Reach says whether two nodes hear each other
	// over the mesh, in both directions.
	Up    func(failover.SiteID) bool
	Reach func(a, b failover.SiteID) bool
	// Wall is a node's wall clock, which may be wrong.
	Wall func(failover.SiteID) time.Time
	// Charge makes the actor that runs pay for a call.
	Charge func(time.Duration)
	// Committed is told of every entry in the order of the log, Applied of every
	// node whose state has changed (quiet: by reports alone), Tell of what else happens.
	Committed func(prev, next *failover.State, e Committed)
	Applied   func(s failover.SiteID, quiet bool)
	Tell      func(format string, args ...any)
	Count     func(what string) // optional: what became of a proposal
	Violated  func(error)
}

// Committed is one entry of the log.
type Committed struct {
	Stamp    failover.Stamp
	Command  failover.Command
	Rejected error
}

// LogModel is the replicated log: one committed sequence, and nodes that know a
// prefix of it each. All nodes vote.
type LogModel struct {
	LogConfig
	nodes map[failover.SiteID]*Node

	entries []entry // committed
	index   uint64  // of the newest entry, the leaders' own included
	term    uint64
	last    *failover.State
	drawn   int // proposal ids
	// snapshot returns how many entries the snapshot holds that a node restarts
	// from, of those that it has applied; nil: any recent one.
	snapshot func(s failover.SiteID, applied int) int

	lag map[failover.SiteID]time.Duration // how much later a node learns what is committed

	leader   failover.SiteID // "": none
	ready    bool            // has taken up its term
	base     time.Time       // of its stamps
	begun    time.Time
	electing bool
}

// entry is a committed command with the state that it led to.
type entry struct {
	stamp   failover.Stamp
	command failover.Command
	state   *failover.State
}

// Election times and how long a deposed leader may go on believing, as measured
// with a stalled disk (reference/raft-and-simulation.md section 3).
const (
	electionMin = 2 * time.Second
	electionMax = 7 * time.Second
	maxBelief   = 7 * time.Second
)

// NewLogModel returns an empty log; call Evaluate for the first election.
func NewLogModel(c LogConfig) *LogModel {
	m := &LogModel{LogConfig: c, nodes: map[failover.SiteID]*Node{}, lag: map[failover.SiteID]time.Duration{}, last: failover.NewState()}
	for _, s := range c.Sites {
		n := &Node{m: m, site: s, state: m.last, changed: make(chan struct{})}
		n.delivery = event{pos: -1, do: n.delivered}
		m.nodes[s] = n
	}
	return m
}

// Node returns the log of one site.
func (m *LogModel) Node(s failover.SiteID) *Node { return m.nodes[s] }

// Last returns the newest committed state. It is shared: never change it.
func (m *LogModel) Last() *failover.State { return m.last }

// Leader returns the site that leads, or "".
func (m *LogModel) Leader() failover.SiteID { return m.leader }

// Quorum says whether a node is one of a majority that hear each other's leader.
func (m *LogModel) Quorum(s failover.SiteID) bool {
	return m.leader != "" && m.Up(s) && m.hears(s, m.leader)
}

func (m *LogModel) hears(a, b failover.SiteID) bool { return a == b || m.Reach(a, b) }

// healthy says whether a node could lead: it hears a majority of all.
func (m *LogModel) healthy(s failover.SiteID) bool {
	if !m.Up(s) {
		return false
	}
	n := 0
	for _, o := range m.Sites {
		if m.Up(o) && m.hears(s, o) {
			n++
		}
	}
	return n > len(m.Sites)/2
}

// Evaluate draws the consequences of a change of who runs and who hears whom.
func (m *LogModel) Evaluate() {
	if m.leader != "" && !m.healthy(m.leader) {
		m.depose()
	}
	m.elect()
	for _, s := range m.Sites {
		if s != m.leader {
			m.deliver(s, between(m.Rand, 50*time.Millisecond, 2*time.Second))
		}
	}
}

// Depose takes the leadership away from a leader that may be sound.
func (m *LogModel) Depose() {
	if m.leader != "" {
		m.depose()
		m.elect()
	}
}

func (m *LogModel) depose() {
	old := m.nodes[m.leader]
	m.Tell("log: %s loses the leadership of term %d", m.leader, m.term)
	if m.Up(old.site) && m.ready {
		// Until it has noticed, it answers as the leader it was.
		old.believes = m.term
		until := between(m.Rand, 0, maxBelief)
		m.Loop.In(until, "log: "+string(old.site)+" stops believing", func() {
			if old.believes != 0 {
				old.believes = 0
				old.wake(false)
			}
		})
	}
	m.leader, m.ready = "", false
}

func (m *LogModel) elect() {
	if m.leader != "" || m.electing {
		return
	}
	m.electing = true
	m.Loop.In(between(m.Rand, electionMin, electionMax), "log: election", m.election)
}

func (m *LogModel) election() {
	m.electing = false
	var able []failover.SiteID
	for _, s := range m.Sites {
		if m.healthy(s) {
			able = append(able, s)
		}
	}
	if len(able) == 0 || m.leader != "" {
		return // the next change of the world tries again
	}
	m.term++
	m.index++ // the new leader's own entry
	m.leader = able[m.Rand.IntN(len(able))]
	if slices.Contains(able, m.Prefer) {
		m.leader = m.Prefer
	}
	term, n := m.term, m.nodes[m.leader]
	n.believes = 0
	m.Tell("log: %s leads term %d", m.leader, m.term)
	m.Loop.In(between(m.Rand, 20*time.Millisecond, 600*time.Millisecond), "log: "+string(m.leader)+" takes up its term", func() {
		if m.leader != n.site || m.term != term {
			return
		}
		n.catchUp(len(m.entries))
		if n.applied < n.synced {
			m.Violated(fmt.Errorf("%s leads with %d entries and has synced %d", n.site, n.applied, n.synced))
		}
		m.ready, m.begun = true, m.Loop.Now()
		m.base = later(m.Wall(n.site), m.last.Clock)
		n.wake(false)
		for _, s := range m.Sites {
			m.deliver(s, between(m.Rand, 10*time.Millisecond, time.Second))
		}
	})
}

// deliver has a node learn what is committed now, in a while, if it hears the
// leader then.
func (m *LogModel) deliver(s failover.SiteID, in time.Duration) {
	n, upTo := m.nodes[s], len(m.entries)
	if n.applied >= upTo || m.leader == "" {
		return
	}
	n.due = upTo
	at := m.Loop.Since() + in + m.lag[s]
	if n.delivery.pos >= 0 && n.delivery.at <= at {
		return // comes with what is on its way
	}
	m.Loop.put(&n.delivery, Epoch.Add(at))
}

// commit appends an entry to the one true sequence.
func (m *LogModel) commit(e cluster.Entry) (failover.Stamp, error) {
	e.At = m.base.Add(m.Loop.Now().Sub(m.begun))
	e, err := m.throughWire(e)
	if err != nil {
		return failover.Stamp{}, fmt.Errorf("propose: %w: %w", failover.ErrRefused, err)
	}
	m.index++
	st := failover.Stamp{Index: m.index, Term: m.term, At: e.At, ID: e.ID, Actor: e.Actor}
	prev, next := m.last, m.last.CloneFor(e.Command)
	err = next.Apply(st, e.Command)
	st.At, st.Index = next.Clock, appliedAt(next, st)
	m.last = next
	m.entries = append(m.entries, entry{
		stamp: failover.Stamp{Index: m.index, Term: m.term, At: e.At, ID: e.ID, Actor: e.Actor}, command: e.Command, state: next,
	})
	m.forget()
	if bad := failover.Check(prev, next); bad != nil {
		m.Violated(bad)
	}
	m.Committed(prev, next, Committed{Stamp: st, Command: e.Command, Rejected: err})
	m.nodes[m.leader].catchUp(len(m.entries))
	for _, s := range m.Sites {
		lag := between(m.Rand, 5*time.Millisecond, 250*time.Millisecond)
		if chance(m.Rand, m.Faults.Slow) {
			lag = between(m.Rand, time.Second, 8*time.Second)
		}
		m.deliver(s, lag)
	}
	return st, err
}

func (m *LogModel) count(what string) {
	if m.Count != nil {
		m.Count(what)
	}
}

// newer commits an entry of a kind that only the next release knows, as the
// codec of this one reads it: it changes nothing but the index.
func (m *LogModel) newer() {
	wire, err := cluster.Encode(cluster.Entry{ID: "newer", At: m.Wall(m.leader), Command: failover.EndPause{}})
	if err == nil {
		wire[1], wire[2] = 0xfd, 0xe8 // the ignorable bit, and a number that is not given yet
		var e cluster.Entry
		if e, err = cluster.Decode(wire); err == nil && e.Command != nil {
			err = fmt.Errorf("an entry of an unknown kind is read as %T", e.Command)
		}
	}
	if err != nil {
		m.Violated(fmt.Errorf("read a newer release's entry: %w", err))
		return
	}
	m.index++
	m.last = m.last.Clone()
	m.last.Index = m.index
	m.entries = append(m.entries, entry{stamp: failover.Stamp{Index: m.index, Term: m.term}, state: m.last})
	m.count("a newer release writes")
	m.Tell("log: an entry of a newer release at %d", m.index)
}

// plainReports is how many reports of a row skip the codec: they are most of
// what is proposed, all alike, and its cost would be that of all the rest.
const plainReports = 15

// plainEntries is the same for all others.
const plainEntries = 5

// throughWire has an entry written and read as the log of a real group has it.
func (m *LogModel) throughWire(e cluster.Entry) (cluster.Entry, error) {
	if r, ok := e.Command.(failover.Report); ok && r.Seq%(plainReports+1) != 0 {
		return e, nil
	} else if !ok && m.index%(plainEntries+1) != 0 {
		return e, nil
	}
	wire, err := cluster.Encode(e)
	if err != nil {
		return e, err
	}
	return cluster.Decode(wire)
}

// States are large. Of the older ones, one in keptEvery stays for snapshots.
const (
	keptStates = 200
	keptEvery  = 25
)

// forget drops a state that nothing but an old snapshot would need.
func (m *LogModel) forget() {
	i := len(m.entries) - keptStates
	if i < 0 || i%keptEvery == 0 {
		return
	}
	for _, s := range m.Sites {
		if m.nodes[s].applied == i+1 {
			return
		}
	}
	m.entries[i].state = nil
}

// appliedAt returns the index of a proposal's first appearance in the log.
func appliedAt(s *failover.State, st failover.Stamp) uint64 {
	for i := len(s.Seen) - 1; i >= 0 && st.ID != ""; i-- {
		if s.Seen[i].ID == st.ID {
			return s.Seen[i].Index
		}
	}
	return st.Index
}

// Hash is a state's content as one short text.
func Hash(s *failover.State) string {
	b, err := json.Marshal(s)
	if err != nil {
		return "unmarshalable: " + err.Error()
	}
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:8])
}

// Compare demands that every node's state is that of the log at its index.
func (m *LogModel) Compare() error {
	for _, s := range m.Sites {
		n := m.nodes[s]
		if n.applied == 0 || n.state == m.entries[n.applied-1].state {
			continue
		}
		want := m.entries[n.applied-1].state
		if want == nil {
			continue // a node that has been gone for long: it begins with a snapshot
		}
		if got, want := Hash(n.state), Hash(want); got != want {
			return fmt.Errorf("invariant S1 violated: the state of %s at index %d is %s, replay of the log gives %s", s, n.state.Index, got, want)
		}
		// Its replay has led to the same: what it would make of the rest, the log tells.
		n.private, n.state = false, want
	}
	return nil
}
