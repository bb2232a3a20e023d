package failover_test

import (
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
