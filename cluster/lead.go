package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// termClock stamps the entries of one term. A wrong wall clock can move its
// start but not its pace, and never back before what the log says.
type termClock struct {
	term  uint64
	base  time.Time // max(wall clock, State.Clock) when the term was taken up
	begun time.Time // the same instant, monotonic
}

func (c *termClock) now() time.Time { return c.base.Add(time.Since(c.begun)) }

// barrierTimeout bounds the queueing of the barrier, not its commitment.
const barrierTimeout = 10 * time.Second

// retryBarrier is the pause after a barrier that failed although this agent
// still leads.
const retryBarrier = 50 * time.Millisecond

// lead drains raft's word on leadership (raft's main loop waits for it when
// the channel is full) and takes up each term that this agent wins.
func (n *Node) lead() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case leading := <-n.notify:
			n.clock.Store(nil)
			if leading {
				n.takeUp()
			}
		}
	}
}

// takeUp makes the node ready for its term: after the barrier State holds
// every entry of the terms before.
func (n *Node) takeUp() {
	for n.raft.State() == raft.Leader {
		term := n.raft.CurrentTerm()
		err := n.wait(n.ctx, n.raft.Barrier(barrierTimeout))
		if err == nil && n.raft.CurrentTerm() == term {
			base := n.cfg.WallClock()
			if last := n.State().Clock; last.After(base) {
				base = last
			}
			n.clock.Store(&termClock{term: term, base: base.Round(0).UTC(), begun: time.Now()})
			n.cfg.Logger.Info("leading", "term", term)
			return
		}
		pause := time.NewTimer(retryBarrier)
		select {
		case <-n.ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// leading returns the clock of the current term, nil if this agent does not
// lead it or has not taken it up.
func (n *Node) leading() *termClock {
	c := n.clock.Load()
	if c == nil || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != c.term {
		return nil
	}
	return c
}

// Lead returns the current term, and whether this agent leads it and has
// applied every entry of the terms before.
func (n *Node) Lead() (term uint64, ready bool) {
	if c := n.leading(); c != nil {
		return c.term, true
	}
	return n.raft.CurrentTerm(), false
}
