package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

// Pauses between attempts at proposing while there is no leader.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Propose implements failover.Log. It tries again while there is no leader and,
// under the same id, after an unknown outcome, until ctx ends. ErrUnknown is
// kept once an attempt ended so: a later ErrNoLeader does not take it back.
func (n *Node) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	e := Entry{ID: failover.ProposalIDOf(ctx), Actor: failover.ActorOf(ctx), Command: c}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.Actor == "" {
		e.Actor = "agent:" + string(n.cfg.Site)
	}
	b, err := Encode(e)
	if err != nil {
		return failover.Stamp{}, fmt.Errorf("propose: %w", refused(err))
	}
	outcome := failover.ErrNoLeader
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		st, err := n.attempt(ctx, e, b)
		switch {
		case err == nil || isFinal(err):
			return st, err
		case errors.Is(err, failover.ErrUnknown):
			outcome = failover.ErrUnknown
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
		case <-n.ctx.Done():
			err = errClosed
		}
		timer.Stop()
		return failover.Stamp{}, fmt.Errorf("propose: %w: %w", outcome, err)
	}
}

// isFinal says whether trying again can change nothing.
func isFinal(err error) bool {
	_, rejected := errors.AsType[*failover.RejectedError](err)
	return rejected || errors.Is(err, failover.ErrRefused)
}

// refused marks an error as one that no repetition will mend.
func refused(err error) error {
	if errors.Is(err, failover.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", failover.ErrRefused, err)
}

func (n *Node) attempt(ctx context.Context, e Entry, envelope []byte) (failover.Stamp, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.Attempt)
	defer cancel()
	if n.raft.State() == raft.Leader {
		return n.append(ctx, e)
	}
	addr := n.LeaderAddr()
	if addr == "" || addr == n.cfg.Advertise {
		return failover.Stamp{}, failover.ErrNoLeader
	}
	st, err := n.cfg.Forward(ctx, addr, envelope)
	if err == nil || isFinal(err) || errors.Is(err, failover.ErrNoLeader) || errors.Is(err, failover.ErrUnknown) {
		return st, err
	}
	return st, fmt.Errorf("%w: %w", failover.ErrUnknown, err)
}

// ProposeEnvelope is the leader's side of Config.Forward: one attempt, no
// repetition. Errors are those of failover.Log's Propose.
func (n *Node) ProposeEnvelope(ctx context.Context, envelope []byte) (failover.Stamp, error) {
	e, err := Decode(envelope)
	if err == nil && e.Command == nil {
		err = ErrUnknownEntry
	}
	if err != nil {
		// In the log it would stop this agent.
		return failover.Stamp{}, fmt.Errorf("propose: %w", refused(err))
	}
	return n.append(ctx, e)
}

// append stamps an entry, appends it and waits until it is applied here.
func (n *Node) append(ctx context.Context, e Entry) (failover.Stamp, error) {
	clock := n.leading()
	if clock == nil {
		return failover.Stamp{}, failover.ErrNoLeader
	}
	row, err := typeOf(e.Command)
	if err != nil {
		return failover.Stamp{}, refused(err)
	}
	if have := n.State().MinVersion; row.since > have {
		return failover.Stamp{}, fmt.Errorf("propose %s: needs minimum version %d, the network is at %d: %w", row.name, row.since, have, failover.ErrRefused)
	}
	began := time.Now()
	future, err := n.enqueue(ctx, clock, e)
	if err != nil {
		return failover.Stamp{}, err
	}
	switch err := n.wait(ctx, future); {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return failover.Stamp{}, fmt.Errorf("%w: %w", failover.ErrNoLeader, err)
	case err != nil:
		// Leadership lost, a store that failed halfway, ctx, shutdown: the entry
		// may be in somebody's log.
		return failover.Stamp{}, fmt.Errorf("%w: %w", failover.ErrUnknown, err)
	}
	out, ok := future.Response().(outcome)
	if !ok {
		return failover.Stamp{}, fmt.Errorf("%w: entry %d was committed and could not be applied", failover.ErrUnknown, future.Index())
	}
	if n.cfg.Applied != nil {
		n.cfg.Applied(time.Since(began))
	}
	return out.stamp, out.err
}

// enqueue hands an entry to raft's main loop. One at a time: stamps then stand
// in the log in the order of their time.
func (n *Node) enqueue(ctx context.Context, clock *termClock, e Entry) (raft.ApplyFuture, error) {
	select {
	case n.stamping <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", failover.ErrNoLeader, context.Cause(ctx))
	case <-n.ctx.Done():
		return nil, fmt.Errorf("%w: %w", failover.ErrNoLeader, errClosed)
	}
	defer func() { <-n.stamping }()
	if n.leading() != clock {
		// The term changed while this one waited: its clock may be behind what
		// the new term has stamped.
		return nil, failover.ErrNoLeader
	}
	timeout := n.cfg.Timing.Attempt
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end))
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("%w: %w", failover.ErrNoLeader, context.DeadlineExceeded)
	}
	e.At = clock.now()
	b, err := Encode(e)
	if err == nil {
		// What cannot be read back would stop every agent, for ever.
		_, err = Decode(b)
	}
	if err != nil {
		return nil, refused(err)
	}
	return n.raft.Apply(b, timeout), nil
}

// Confirm implements failover.Log: it asks the leader, wherever that is, and
// takes at most Timing.Confirm, so that an answer is never older.
func (n *Node) Confirm(ctx context.Context, t failover.Token) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.Confirm)
	defer cancel()
	if n.raft.State() == raft.Leader {
		return n.ConfirmAsLeader(ctx, t)
	}
	addr := n.LeaderAddr()
	if addr == "" || addr == n.cfg.Advertise {
		return fmt.Errorf("confirm %s/%s: %w", t.Guest, t.Step, failover.ErrNoLeader)
	}
	return n.cfg.ForwardConfirm(ctx, addr, t)
}

// ConfirmAsLeader is the leader's side of Config.ForwardConfirm: it hears a
// majority first and then looks at State. ErrNoLeader if this agent does not
// lead.
func (n *Node) ConfirmAsLeader(ctx context.Context, t failover.Token) error {
	if n.leading() == nil {
		return fmt.Errorf("confirm %s/%s: %w", t.Guest, t.Step, failover.ErrNoLeader)
	}
	if err := n.wait(ctx, n.raft.VerifyLeader()); err != nil {
		return fmt.Errorf("confirm %s/%s: %w: %w", t.Guest, t.Step, failover.ErrNoLeader, err)
	}
	if err := n.caughtUp(ctx); err != nil {
		return fmt.Errorf("confirm %s/%s: %w: %w", t.Guest, t.Step, failover.ErrNoLeader, err)
	}
	return n.State().TokenCurrent(t)
}

// caughtUp waits until every committed command has been applied here: raft
// hands them to the FSM beside its main loop, and a follower's may be ahead.
func (n *Node) caughtUp(ctx context.Context) error {
	_, applied := n.fsm.waiter()
	for i := n.raft.CommitIndex(); i > applied; i-- {
		var l raft.Log
		err := n.logs.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			return nil // compacted: a snapshot of the state holds it
		}
		if err != nil {
			return err
		}
		if l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return n.fsm.waitFor(ctx, i)
		}
	}
	return nil
}
