package failover_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestPreparationInVainIsCounted: what was restored for a site that came back counts, by site; what
// was only pinned does not.
func TestPreparationInVainIsCounted(t *testing.T) {
	for steps, want := range map[string]bool{"": true, " protect": false} {
		p := newPlay(t)
		for _, line := range []string{
			"network five", "advance 60s", "dark moulin 46s", "decide", "work quai,fabrique" + steps,
			"report all: moulin all=up:1s", "decide", "advance 11m", "report all: moulin all=up:11m", "decide", "work quai,fabrique", "decide",
		} {
			p.run(line)
		}
		var restored int64
		for _, op := range p.s.Ops {
			for _, run := range op.Guests {
				if run.Assignment.Target == "quai" {
					restored += run.Assignment.Point.Size
				}
			}
		}
		if got := p.s.Wasted["quai"]; want && (got != restored || restored == 0) || !want && got != 0 {
			t.Errorf("after%s: %d bytes were restored at quai in vain, want %t of %d", steps, got, want, restored)
		}
	}
}

// TestIncidentTellsWhatPreparationWasGoodFor: of each copy that the countdown restored whether it was used, is kept or was
// removed, and how many bytes were restored in vain. A guest that was restored only after its admission is not among them.
func TestIncidentTellsWhatPreparationWasGoodFor(t *testing.T) {
	begun := []string{"network five", "advance 60s", "dark moulin 46s", "decide", "work quai,fabrique"}
	back := append(slices.Clone(begun), "report all: moulin all=up:1s", "decide")
	for name, tt := range map[string]struct {
		lines []string
		want  failover.Prepared
		each  string
	}{
		"counting down": {begun, failover.Prepared{Waits: 3}, failover.PreparedWaits},
		"back":          {back, failover.Prepared{Waits: 3}, failover.PreparedWaits},
		"cleaned": {
			append(slices.Clone(back), "advance 11m", "report all: moulin all=up:11m", "decide", "work quai,fabrique", "decide"),
			failover.Prepared{Thrown: 3},
			failover.PreparedThrown,
		},
		"served": {
			append(slices.Clone(begun), "advance 5m", "dark moulin 301s", "decide", "work quai,fabrique", "decide"),
			failover.Prepared{Used: 3},
			failover.PreparedUsed,
		},
		"not wanted": {
			[]string{
				"network five le-moulin.prepare=never atelier.prepare=never", "advance 60s", "dark moulin 46s", "decide", "work quai,fabrique",
				"advance 5m", "dark moulin 301s", "decide", "work quai,fabrique", "decide",
			},
			failover.Prepared{},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t)
			for _, line := range tt.lines {
				p.run(line)
			}
			in, _ := failover.IncidentOf(p.s, p.newest().ID, "", p.now)
			if tt.want.Thrown > 0 {
				for _, bytes := range p.s.Wasted {
					tt.want.Wasted += bytes
				}
			}
			if in.Prepared != tt.want || len(in.Guests) != 3 || (in.Prepared.Wasted > 0) != (tt.want.Thrown > 0) {
				t.Errorf("prepared %+v of %d guests, want %+v", in.Prepared, len(in.Guests), tt.want)
			}
			for _, g := range in.Guests {
				if g.Prepared != tt.each {
					t.Errorf("%s: %q, want %q", g.Guest, g.Prepared, tt.each)
				}
			}
		})
	}
}

// TestNothingIsPreparedUnwanted: the check of every state sees that a guest is restored before its
// admission although its structure wants no preparation.
func TestNothingIsPreparedUnwanted(t *testing.T) {
	for _, wish := range []string{"never", "allowed"} {
		p := newPlay(t)
		for _, line := range []string{"network five", "declare le-moulin.prepare=" + wish, "dark moulin 50s", "decide"} {
			p.run(line)
		}
		var op failover.Operation
		for _, o := range p.s.Ops {
			op = o
		}
		prev := p.s
		next := prev.Clone()
		st := failover.Stamp{Index: next.Index + 1, Term: next.Term, At: p.now.Add(time.Second)}
		c := failover.StepMoved{Token: op.TokenOf("nextcloud-moulin"), Attempt: 1, To: failover.StatusRunning}
		if err := next.Apply(st, c); err != nil {
			t.Fatal(err)
		}
		err := failover.Check(prev, next)
		if told := err != nil && strings.Contains(err.Error(), "S10"); told != (wish == "never") {
			t.Errorf("prepare: %s and a step that begins in the countdown: %v", wish, err)
		}
	}
}
