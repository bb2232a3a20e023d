package cluster

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

// fsm feeds committed entries to failover.State. It holds no logic.
type fsm struct {
	mu      sync.Mutex
	state   *failover.State
	shared  *failover.State // clone of state for readers, nil after a change
	changed chan struct{}   // closed at the next change
	index   uint64          // of the last entry of any type that came here
	config  uint64          // index of the last configuration that came here
	observe func(applied)   // nil but in tests
}

// applied is one step of the state: an entry, or a snapshot (no command).
type applied struct {
	state   *failover.State // after it, shared
	command failover.Command
	outcome
}

// outcome is what Apply answers to the proposer.
type outcome struct {
	stamp failover.Stamp
	err   error // nil or *failover.RejectedError
}

func newFSM() *fsm {
	return &fsm{state: failover.NewState(), changed: make(chan struct{})}
}

// Apply panics on an entry that it cannot decode: going on without it would
// let this agent decide on a state that no other has.
func (f *fsm) Apply(l *raft.Log) any {
	e, err := Decode(l.Data)
	if r, ok := e.Command.(failover.RaiseVersion); ok && r.Version > failover.CommandVersion {
		err = tooNew(r.Version)
	}
	if err != nil {
		panic(fmt.Sprintf("apply entry %d: %v", l.Index, err)) // systemd starts it again; the journal has the sentence
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index = l.Index
	st := failover.Stamp{Index: l.Index, Term: l.Term, At: e.At, ID: e.ID, Actor: e.Actor}
	if e.Command == nil { // ignorable, and not known to this version
		f.state.Index = l.Index
		f.wake()
		f.tell(nil, outcome{stamp: st})
		return outcome{stamp: st}
	}
	err = f.state.Apply(st, e.Command)
	st.At = f.state.Clock
	st.Index = appliedAt(f.state, st)
	f.wake()
	f.tell(e.Command, outcome{stamp: st, err: err})
	return outcome{stamp: st, err: err}
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

// StoreConfiguration remembers where the committed configuration stands: raft
// v1.7.3 does not tell it otherwise (GetConfiguration().Index() is always 0).
func (f *fsm) StoreConfiguration(index uint64, _ raft.Configuration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index, f.config = index, index
	f.wake()
}

// wake must be called with mu held.
func (f *fsm) wake() {
	f.shared = nil
	close(f.changed)
	f.changed = make(chan struct{})
}

// tell must be called with mu held.
func (f *fsm) tell(c failover.Command, o outcome) {
	if f.observe != nil {
		f.shared = f.state.Clone()
		f.observe(applied{state: f.shared, command: c, outcome: o})
	}
}

// Snapshot clones; the encoding is Persist's, which runs beside Apply.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{state: f.read()}, nil }

// Restore reads into a new state and swaps it in, or leaves everything as it is.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	s, err := readSnapshot(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.index = s, s.Index
	f.wake()
	f.tell(nil, outcome{})
	return nil
}
