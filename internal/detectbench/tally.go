package detectbench

import (
	"math"
	"slices"
	"time"
)

// Delays are the commit delays that are measured.
var delays = [...]time.Duration{
	15 * time.Second, 30 * time.Second, 60 * time.Second, 90 * time.Second,
	120 * time.Second, 180 * time.Second, 300 * time.Second, 600 * time.Second,
}

func delayIndex(d time.Duration) int { return slices.Index(delays[:], d) }

// binWidth of the histograms, in milliseconds.
const binWidth = 10

// Histogram counts durations up to a limit; longer ones fall into the last bin.
type Histogram struct {
	Bins  [12001]int32
	Count int
}

func (h *Histogram) add(ms int64) {
	h.Bins[min(int64(len(h.Bins)-1), max(0, ms)/binWidth)]++
	h.Count++
}

func (h *Histogram) merge(o *Histogram) {
	for i, n := range o.Bins {
		h.Bins[i] += n
	}
	h.Count += o.Count
}

// Quantile returns the upper end of the bin in which a quantile lies, in
// seconds; NaN when nothing was counted.
func (h *Histogram) Quantile(q float64) float64 {
	if h.Count == 0 {
		return math.NaN()
	}
	left := int(math.Ceil(q * float64(h.Count)))
	for i, n := range h.Bins {
		if left -= int(n); left <= 0 {
			return float64(i+1) * binWidth / 1000
		}
	}
	return float64(len(h.Bins)) * binWidth / 1000
}

// Judged counts failovers by what they were in truth.
type Judged struct {
	Wrong  int // the site still served a healthy observer, or the votes were those of sick ones
	Regret int // truly cut, and back before trueLoss
	Right  int
}

func (j *Judged) merge(o Judged) {
	j.Wrong += o.Wrong
	j.Regret += o.Regret
	j.Right += o.Right
}

// Tally is what was counted over many networks; it adds up in any order.
type Tally struct {
	Networks int
	Years    [lineKinds]float64 // of sites
	// Homes are the years of sites with guests over which a delay was measured.
	Homes           [len(delays)][lineKinds]float64
	Commits         [len(delays)][lineKinds]Judged
	CommitAt        [len(delays)]Histogram // from the true loss, less the delay
	Suspicions      [lineKinds]int         // that ended by themselves
	Useless         [lineKinds]int         // preparations, at the default delays
	Losses          int                    // of homes, true ones with only this site cut off
	LossesCommitted int                    // of these, at the default delay
	MassLosses      int                    // with another site cut off at the same time
	Suspect         Histogram              // from a true loss of any site
	SuspectLeader   Histogram              // of these, with the leader's site lost
	Unseen          int                    // true losses that were never suspected
	Elections       int
	Refused         int // commands of Decide that the log refused
	Decisions       int // calls of Decide
	Rivals          [rivalKinds]RivalTally
	Notes           []string // what is to be looked at, for the first few of each network
}

func (t *Tally) merge(o *Tally) {
	t.Networks += o.Networks
	for l := range lineKinds {
		t.Years[l] += o.Years[l]
		t.Suspicions[l] += o.Suspicions[l]
		t.Useless[l] += o.Useless[l]
		for d := range delays {
			t.Homes[d][l] += o.Homes[d][l]
			t.Commits[d][l].merge(o.Commits[d][l])
		}
	}
	for d := range delays {
		t.CommitAt[d].merge(&o.CommitAt[d])
	}
	t.Losses += o.Losses
	t.LossesCommitted += o.LossesCommitted
	t.MassLosses += o.MassLosses
	t.Suspect.merge(&o.Suspect)
	t.SuspectLeader.merge(&o.SuspectLeader)
	t.Unseen += o.Unseen
	t.Elections += o.Elections
	t.Refused += o.Refused
	t.Decisions += o.Decisions
	for r := range t.Rivals {
		t.Rivals[r].merge(&o.Rivals[r])
	}
	t.Notes = append(t.Notes, o.Notes...)
}

// WrongAtDefaults counts the wrong failovers of the default policy, at any of its delays.
func (t *Tally) WrongAtDefaults() int {
	n := 0
	for d := range delays {
		for l := range lineKinds {
			if delays[d] == defaultDelay(l) {
				n += t.Commits[d][l].Wrong
			}
		}
	}
	return n
}

// defaultDelay is the commit delay in force without a word in the declaration.
func defaultDelay(l Line) time.Duration {
	if l == Dual {
		return 120 * time.Second
	}
	return 300 * time.Second
}
