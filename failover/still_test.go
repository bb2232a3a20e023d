package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestLateOwnershipLooksAgain: what was seen at home a while ago is looked at once more
// before ownership moves, and the log takes no ownership that comes later still.
func TestLateOwnershipLooksAgain(t *testing.T) {
	p := lineagePlay(t)
	op := p.move(lineageGuest).ID
	p.done(lineageGuest, failover.StepOwn)
	token := p.s.Ops[op].TokenOf(lineageGuest)
	if err := p.apply(failover.LookAgain{Token: token}); rejection(err) != failover.CodeWrongPhase {
		t.Errorf("right after the look: %v, want %s", err, failover.CodeWrongPhase)
	}
	p.now = p.now.Add(50 * time.Second)
	p.dark(time.Hour)
	if err := p.apply(failover.Own{Token: token}); rejection(err) != failover.CodeWrongPhase {
		t.Errorf("ownership 50 s after the look: %v, want %s", err, failover.CodeWrongPhase)
	}
	again, ok := p.decided().(failover.LookAgain)
	if !ok {
		t.Fatalf("decides %T, want to look again", p.decided())
	}
	p.must(again)
	if step, _, _ := p.s.Ops[op].Guests[lineageGuest].Current(); step.ID != failover.StepStill || step.Status != failover.StatusPending {
		t.Errorf("the run stands at %s %s, want still pending", step.ID, step.Status)
	}
	p.done(lineageGuest, failover.StepOwn)
	if own, ok := p.decided().(failover.Own); !ok || own.Token.Guest != lineageGuest {
		t.Errorf("decides %+v, want ownership now", p.decided())
	}
}
