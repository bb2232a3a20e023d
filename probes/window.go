package probes

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// DefaultMisses is how many probes in a row must go unanswered before a target
// counts as silent (design section 6: five of one second).
const DefaultMisses = 5

// maxGap is how many intervals may pass without a probe that could be tried
// before the window forgets: nobody looked, so nothing is known.
const maxGap = 3

// Window folds the results of one target. All times are monotonic, from any
// fixed start. The rules:
//
//   - one sighting (up or refused) counts at once;
//   - silence counts after misses in a row, and then from the first of them;
//     until then the last sighting stands, or unknown where there was none;
//   - a result of unknown is no result; after three intervals without a result
//     everything before is forgotten. An observer that was stopped, or could not
//     probe, thereby starts anew and never takes its own absence for silence.
//
// Up and refused last until the other, silence or a gap: a miss or two between
// sightings is a lossy line, not an outage. Not safe for concurrent use.
type Window struct {
	misses int
	gap    time.Duration

	began  bool          // a result or an attempt was seen since the start or the last gap
	last   time.Duration // of the newest result
	since  time.Duration // of seen
	first  time.Duration // of the run of misses
	missed int           // consecutive
	seen   failover.Seen
	note   string
}

// NewWindow returns a Window for probes that are made at the interval every.
// Fewer than one miss means DefaultMisses.
func NewWindow(misses int, every time.Duration) *Window {
	if misses < 1 {
		misses = DefaultMisses
	}
	return &Window{misses: misses, gap: maxGap * every, seen: failover.SeenUnknown}
}

// Pace says that the next result is due within an interval: three of them
// without a result are a gap. It takes effect from the newest result on.
func (w *Window) Pace(every time.Duration) { w.gap = maxGap * every }

// Missing says whether the newest result was a miss, and since when they are.
func (w *Window) Missing() (since time.Duration, missing bool) { return w.first, w.missed > 0 }

// state is what Add has made of the results.
func (w *Window) state() (seen failover.Seen, since time.Duration) { return w.seen, w.since }

// Add folds the result of a probe that was made at a time. It says whether
// what the window sees has changed since the Add before, or began anew.
func (w *Window) Add(r failover.Seen, note string, at time.Duration) (changed bool) {
	at = max(at, w.last) // a step back cannot lengthen or shorten anything
	before := w.seen
	if w.forget(at, note) {
		before = "" // even if the same comes of it
	}
	switch r {
	case failover.SeenUp, failover.SeenRefused:
		w.missed = 0
		w.become(r, at)
		w.note = note
	case failover.SeenDown:
		if w.missed == 0 {
			w.first = at
		}
		w.missed++
		if w.missed >= w.misses {
			w.become(failover.SeenDown, w.first)
		}
		if w.seen == failover.SeenDown || w.seen == failover.SeenUnknown {
			w.note = note
		}
	default:
		if w.seen == failover.SeenUnknown {
			w.note = note
		}
		return w.seen != before
	}
	w.last = at
	return w.seen != before
}

// become enters a state, or stays in it.
func (w *Window) become(s failover.Seen, since time.Duration) {
	if w.seen == s {
		return
	}
	w.seen, w.since = s, since
}

// forget starts anew when nothing was measured for too long. It says whether
// something was forgotten that had been known.
func (w *Window) forget(at time.Duration, note string) bool {
	if !w.began {
		w.began = true
		w.last, w.since, w.note = at, at, note
		return false
	}
	if !w.stale(at) {
		return false
	}
	w.missed = 0
	if w.seen == failover.SeenUnknown {
		return false
	}
	w.seen, w.since, w.note = failover.SeenUnknown, w.last, note
	return true
}

func (w *Window) stale(at time.Duration) bool { return at-w.last > w.gap }

// Observe says what the window sees at a time and for how long it has been so:
// up and refused since the first such sighting, silence since the first miss,
// unknown since the last result. The note is that of the newest result that
// agrees with the state.
func (w *Window) Observe(at time.Duration) (seen failover.Seen, lasted time.Duration, note string) {
	if !w.began {
		return failover.SeenUnknown, 0, "not probed yet"
	}
	at = max(at, w.last)
	if w.stale(at) && w.seen != failover.SeenUnknown {
		return failover.SeenUnknown, at - w.last, "not probed lately"
	}
	return w.seen, at - w.since, w.note
}
