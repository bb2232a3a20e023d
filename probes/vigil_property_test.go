package probes_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// outages is when each target answers nothing: of any length from a moment to
// minutes, each target's own, and now and then of all.
func outages(r *rand.Rand, targets []probes.Target, end time.Duration) map[string][][2]time.Duration {
	out := map[string][][2]time.Duration{}
	length := func() time.Duration {
		return time.Duration(float64(time.Second) * 0.3 * float64(uint(1)<<r.UintN(10)) * (0.5 + r.Float64()))
	}
	for at := time.Duration(0); at < end; at += length() {
		down := [2]time.Duration{at, at + length()}
		for _, t := range targets {
			if r.IntN(3) == 0 || r.IntN(6) == 0 {
				out[t.Name] = append(out[t.Name], down)
			}
		}
	}
	return out
}

// TestSilenceIsNeverOfTheSchedule is what ties the bench of detection, which
// asks each target every second, to the schedule that is in force: whatever
// happens, a target that is called silent was asked, from the first miss on,
// five times at least, at every interval and never closer, and answered nothing.
// Rest makes a silence begin later than it would and never earlier.
func TestSilenceIsNeverOfTheSchedule(t *testing.T) {
	const end = 10 * time.Minute
	silences := 0
	for seed := range uint64(12) {
		targets := site("moulin")
		down := outages(rand.New(rand.NewPCG(seed, 7)), targets, end)
		st := newStreet(seed, targets)
		st.answer = func(t probes.Target, at time.Duration) failover.Seen {
			for _, span := range down[t.Name] {
				if at >= span[0] && at < span[1] {
					return d
				}
			}
			return u
		}
		st.doubts = true
		for now := time.Duration(0); now < end; now += 500 * time.Millisecond {
			st.until(now)
			for _, target := range targets {
				o := st.seen(target.Name)
				if o.Seen != d {
					continue
				}
				silences++
				if err := provenSilence(st, target, now-o.For); err != nil {
					t.Fatalf("seed %d, %s is called silent for %s at %s: %v", seed, target.Name, o.For, now, err)
				}
			}
		}
	}
	if silences < 1000 {
		t.Errorf("only %d silences were met: the test proves little", silences)
	}
}

// provenSilence says what is wrong with the probes that a silence since a time
// rests on.
func provenSilence(st *street, target probes.Target, since time.Duration) error {
	asked := st.times(target.Name, since)
	if len(asked) < probes.DefaultMisses {
		return fmt.Errorf("it was asked %d times since", len(asked))
	}
	if asked[0] != since {
		return fmt.Errorf("it counts from %s, and it was asked at %s", since, asked[0])
	}
	for i, at := range asked {
		if st.answer(target, at) != d {
			return fmt.Errorf("it answered at %s", at)
		}
		if i == 0 {
			continue
		}
		// An interval of a second and a tenth of jitter. The shell that unlocks a
		// disk is silent by custom, and rests meanwhile.
		rests := target.Name == "dropbear:b"
		if gap := at - asked[i-1]; gap < 900*time.Millisecond || gap > 1100*time.Millisecond && !rests {
			return fmt.Errorf("two of its probes are %s apart", gap)
		}
	}
	return nil
}
