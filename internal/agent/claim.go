package agent

import (
	"context"
	"errors"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// claim names one attempt at a step.
type claim struct {
	token   failover.Token
	attempt int
}

// asked is a claim as it was proposed, with the id of the proposal.
type asked struct {
	claim
	id string
}

// taken is an attempt that was begun before, and the entry that took it up.
type taken struct {
	claim
	at uint64
}

// claim asks the log for an attempt.
func (w *Worker) claim(ctx context.Context, now time.Time, c claim) time.Time {
	w.hook("claim " + string(c.token.Step))
	if w.claimed.claim != c {
		w.claimed = asked{claim: c}
		if w.e.NewID != nil {
			w.claimed.id = w.e.NewID()
		}
	}
	if w.claimed.id != "" {
		ctx = failover.WithProposalID(ctx, w.claimed.id)
	}
	st, next, err := w.propose(ctx, now, failover.StepMoved{Token: c.token, Attempt: c.attempt, To: failover.StatusRunning})
	switch _, rejected := errors.AsType[*failover.RejectedError](err); {
	case err == nil:
		w.claimed.id, w.holds, w.fresh = st.ID, c, true
	case rejected:
		w.claimed = asked{}
	}
	return next
}

// mine says whether the attempt that runs is one that this worker has claimed. The log takes
// a claim of what runs already for its progress, so its answer does not tell: an agent that
// starts from a snapshot sees steps wait that it has begun before.
func (w *Worker) mine(step failover.Step) bool {
	return w.claimed.claim == claim{w.token, step.Attempt} && w.claimed.id == step.Begun.ID
}

// adopt takes an attempt up that another incarnation of this agent began, or one
// whose claim had no answer. A State that was read from a snapshot can be hours
// behind: the operation may have ended long ago, and what was found and sent is
// not in it yet. So the log is told first, which refuses what is not wanted any
// more, and nothing is done before State has come as far as that.
func (w *Worker) adopt(ctx context.Context, s *failover.State, now time.Time, c claim, step failover.Step) time.Time {
	if w.taken.claim == c {
		if s.Index < w.taken.at {
			return now.Add(behindPause)
		}
		w.holds, w.fresh = c, false
		return now
	}
	w.hook("adopt " + string(c.token.Step))
	st, next, err := w.propose(ctx, now, failover.StepMoved{Token: c.token, Attempt: c.attempt, To: failover.StatusRunning, Note: step.Note})
	if err == nil {
		w.taken = taken{c, st.Index}
	}
	return next
}
