package probes

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// pollEvery is how often the inputs are looked at for changes: it adds to the
// latency of detection, and costs next to nothing.
const pollEvery = 250 * time.Millisecond

// minStep keeps the stepper from spinning.
const minStep = 10 * time.Millisecond

// proposeWithin bounds one proposal: longer than an election takes.
const proposeWithin = 5 * time.Second

// ReportStepper brings an agent's reports into the log.
type ReportStepper struct {
	Reporter *Reporter
	// Gather returns the inputs at a time.
	Gather func(now time.Time) Inputs
	// Propose puts a report into the log: one outside call.
	Propose func(context.Context, failover.Report) error
	// Poll is how often the inputs are looked at for changes; zero means four
	// times a second. Who knows of every change, and wakes, may look less often.
	Poll time.Duration
	// Failed is told of a proposal that failed, for the log; optional.
	Failed func(error)
}

// Step proposes a report if one is due, and returns when to look again. A
// wake-up in between, for a change that the caller knows of, does no harm.
func (s *ReportStepper) Step(ctx context.Context, now time.Time) (next time.Time) {
	in := s.Gather(now)
	if s.Reporter.Due(now, in) {
		report := s.Reporter.Build(in)
		limited, cancel := context.WithTimeout(ctx, proposeWithin)
		err := s.Propose(limited, report)
		cancel()
		if err == nil {
			s.Reporter.Accepted(now, report, in)
		} else {
			s.Reporter.Failed(now)
			if s.Failed != nil {
				s.Failed(err)
			}
		}
	}
	poll := s.Poll
	if poll == 0 {
		poll = pollEvery
	}
	next = earliest(s.Reporter.Next(now, in), now.Add(poll))
	return latest(next, now.Add(minStep))
}
