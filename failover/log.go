package failover

import (
	"context"
	"errors"
)

var (
	// ErrNoLeader says that a proposal was surely not made: no leader was
	// known, or the one asked had not taken up its term. Trying again is free.
	ErrNoLeader = errors.New("no leader")

	// ErrUnknown says that the outcome of a proposal is not known: it may be
	// committed already, later, or never. Only a repetition with the same
	// proposal id (WithProposalID) cannot apply it twice; otherwise look at
	// State before proposing again.
	ErrUnknown = errors.New("outcome of the proposal unknown")

	// ErrRefused says that a proposal was surely not made and never can be: it
	// is too large, or of a kind that the leader or MinVersion does not allow.
	ErrRefused = errors.New("proposal refused")
)

// Log is the replicated log as its users see it. cluster.Node and the
// simulator's model implement it and pass the suite of internal/logtest. All
// methods may be called from several goroutines.
type Log interface {
	// Propose has the leader append c, and waits until it is applied there; the
	// local State may be behind the returned stamp. The error is nil, a
	// *RejectedError (applied and refused, the stamp is set), or an error that
	// Is ErrNoLeader, ErrUnknown or ErrRefused. The actor and the proposal id
	// are taken from ctx.
	Propose(ctx context.Context, c Command) (Stamp, error)

	// State returns the state as applied here. It is shared: never change it.
	State() *State

	// Changed returns a channel that is closed at the next applied change. Take
	// the channel before State, or a change between the two is missed.
	Changed() <-chan struct{}

	// Lead returns the current term and whether this agent leads it and has
	// applied every entry of the terms before.
	Lead() (term uint64, ready bool)

	// Confirm asks the leader whether an irreversible effect with this token
	// may go ahead now. Only nil allows it, and for two seconds from the call.
	Confirm(ctx context.Context, t Token) error
}

type (
	actorKey      struct{}
	proposalIDKey struct{}
)

// WithActor names who is behind the proposals made with ctx: agent,
// certificate or unix user, and from where.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns the actor of ctx, "" if none was named.
func ActorOf(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}

// WithProposalID fixes the id of the one proposal made with ctx, so that its
// repetition after ErrUnknown is answered and not applied again. The id must
// be unguessable and unique; without one Propose draws it.
func WithProposalID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, proposalIDKey{}, id)
}

// ProposalIDOf returns the proposal id of ctx, "" if none was fixed.
func ProposalIDOf(ctx context.Context) string {
	id, _ := ctx.Value(proposalIDKey{}).(string)
	return id
}
