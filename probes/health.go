package probes

import "time"

// Reasons of an observer to be left out of the count (Report.Unwell).
const (
	UnwellClock    = "clock-jump"
	UnwellDisk     = "disk"
	UnwellLate     = "overloaded"
	UnwellStarting = "starting"
	UnwellUplink   = "uplink"
)

// Limits of an observer's own health.
const (
	maxClockStep = 2 * time.Second  // wall against monotonic clock, between two inputs
	clockPenalty = time.Minute      // after a jump
	maxLate      = 2.0              // intervals that a probe may come late
	latePenalty  = 10 * time.Second // of punctuality before a late observer counts again
	// uplinkPenalty is how long the anchors must answer before an observer that
	// was cut off counts again. Its windows still hold its own outage as the
	// silence of others; each is asked again every second, with a deadline, and a
	// line that comes back comes back in pieces.
	uplinkPenalty = 10 * time.Second
	// DefaultGrace is how long a process that has just started does not count:
	// its windows hold too little.
	DefaultGrace = 10 * time.Second
)

// Input is one look at ourselves.
type Input struct {
	Wall time.Time     // the wall clock
	Mono time.Duration // monotonic, since the process started
	Late float64       // Set.TakeLate: intervals
	Disk error         // what writing to the data directory says, nil when it works
	Well bool          // Uplink.Well
}

// Health folds Inputs into the reasons why this observer must not be counted.
// It is pure and not safe for concurrent use.
type Health struct {
	grace       time.Duration
	begun       bool
	last        Input
	jumped      time.Duration // end of the penalty
	lateUntil   time.Duration
	uplinkUntil time.Duration
}

// NewHealth returns a Health that is starting for as long as grace (zero:
// DefaultGrace) after the process started.
func NewHealth(grace time.Duration) *Health {
	if grace == 0 {
		grace = DefaultGrace
	}
	return &Health{grace: grace}
}

// Observe takes a look into account. It wants to be called about once a
// second: a clock that is slewed slowly is not a jump, and looks that are far
// apart would make it one.
func (h *Health) Observe(in Input) {
	if h.begun {
		wall, mono := in.Wall.Round(0).Sub(h.last.Wall.Round(0)), in.Mono-h.last.Mono
		if (wall - mono).Abs() > maxClockStep {
			h.jumped = in.Mono + clockPenalty
		}
	}
	if in.Late > maxLate {
		h.lateUntil = in.Mono + latePenalty
	}
	if !in.Well {
		h.uplinkUntil = in.Mono + uplinkPenalty
	}
	h.begun, h.last = true, in
}

// Unwell returns the reasons at a monotonic time, in alphabetical order; none
// means that this observer counts. Before the first look it is starting.
func (h *Health) Unwell(at time.Duration) []string {
	var out []string
	for _, r := range []struct {
		name string
		bad  bool
	}{
		{UnwellClock, at < h.jumped},
		{UnwellDisk, h.begun && h.last.Disk != nil},
		{UnwellLate, at < h.lateUntil},
		{UnwellStarting, !h.begun || at < h.grace},
		{UnwellUplink, at < h.uplinkUntil},
	} {
		if r.bad {
			out = append(out, r.name)
		}
	}
	return out
}
