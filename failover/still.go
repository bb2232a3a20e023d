package failover

import (
	"fmt"
	"time"
)

// stillCounts is how long the last look at home counts: a guest that somebody has started
// there since would lose what it wrote.
const stillCounts = 20 * time.Second

// LookAgain has the agent of the home look once more that a guest was not started there,
// since ownership comes late after the last look: no leader was there, or the target was
// suspected.
type LookAgain struct {
	Token Token `json:"token"` // of the step own
}

// lookedLong says whether a planned move's last look at home is too long ago.
func (r GuestRun) lookedLong(now time.Time, most time.Duration) bool {
	step, ok := r.Step(StepStill)
	return ok && step.Status == StatusDone && now.Sub(step.Ended.At) > most
}

func (c LookAgain) apply(s *State, st Stamp) error {
	op, run, i, err := s.find(c.Token)
	if err != nil {
		return err
	}
	if run.Steps[i].ID != StepOwn || run.State != RunActive || i == 0 || run.Steps[i-1].ID != StepStill || !run.lookedLong(st.At, stillCounts) {
		return reject(CodeWrongPhase, "guest", string(c.Token.Guest), "step", string(run.Steps[i].ID), "phase", string(run.State))
	}
	step := &run.Steps[i-1]
	step.Status, step.NotBefore, step.Failure = StatusPending, time.Time{}, ""
	step.Note = fmt.Sprintf("once more: ownership comes %s after the last look", st.At.Sub(step.Ended.At).Round(time.Second))
	op.Guests[c.Token.Guest] = run
	s.Ops[op.ID] = op
	return nil
}
