package cluster

import (
	"context"

	"github.com/raoull/worldwidewelsh/failover"
)

// read returns the state for readers: one clone per change at most, shared by
// all of them.
func (f *fsm) read() *failover.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared == nil {
		f.shared = f.state.Clone()
	}
	return f.shared
}

func (f *fsm) waiter() (<-chan struct{}, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed, f.index
}

func (f *fsm) configIndex() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config
}

// waitFor returns when the entry at index has been applied here.
func (f *fsm) waitFor(ctx context.Context, index uint64) error {
	for {
		changed, at := f.waiter()
		if at >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// State returns the state as applied here. It is shared: never change it.
func (n *Node) State() *failover.State { return n.fsm.read() }

// Changed returns a channel that is closed at the next applied change. Take
// it before State, or a change between the two is missed.
func (n *Node) Changed() <-chan struct{} {
	changed, _ := n.fsm.waiter()
	return changed
}

// AwaitApplied returns when State has everything up to a log index: a follower
// applies what the leader accepted from it a heartbeat later. Error: that of ctx.
func (n *Node) AwaitApplied(ctx context.Context, index uint64) error {
	return n.fsm.waitFor(ctx, index)
}
