package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestStopsAlone: only guests of structures that want it, after their delay, those first that
// need others; and only whose epoch still counts is started again.
func TestStopsAlone(t *testing.T) {
	p := movePlay(t)
	stops := func(alone time.Duration) (out []failover.GuestID) {
		for _, c := range p.s.StopsAlone("moulin", alone, p.now) {
			out = append(out, c.Guest)
		}
		return out
	}
	if got := stops(24 * time.Hour); len(got) != 0 {
		t.Errorf("stops %v although no structure wants it", got)
	}
	p.redeclare(func(s *network.Spec) {
		st := s.Structures["le-moulin"]
		st.OnIsolation, st.IsolationAfter = "stop", network.Duration(15*time.Minute)
		s.Structures["le-moulin"] = st
	})
	if got := stops(14 * time.Minute); len(got) != 0 {
		t.Errorf("stops %v before its delay", got)
	}
	got := stops(15 * time.Minute)
	if len(got) != 2 || got[0] != kept2 || got[1] != kept1 {
		t.Errorf("stops %v, want %s, which needs %s, first, and nobody else's", got, kept2, kept1)
	}
	if err := p.apply(failover.StartAgain{Guest: kept1, Epoch: failover.Epoch{Generation: 1, Index: 7}}); rejection(err) != failover.CodeStaleToken {
		t.Errorf("of another epoch: %v, want %s", err, failover.CodeStaleToken)
	}
	p.must(failover.StartAgain{Guest: kept1})
	if !p.runs(kept1, "moulin") || p.s.Guests[kept1].Op != "" {
		t.Error("not to do at moulin, or it holds its guest")
	}
	if err := p.apply(failover.StartAgain{Guest: kept1}); rejection(err) != failover.CodeGuestBusy {
		t.Errorf("twice: %v, want %s", err, failover.CodeGuestBusy)
	}
	p.must(failover.SetPause{Site: "moulin"})
	if got := stops(time.Hour); len(got) != 0 {
		t.Errorf("stops %v during a pause", got)
	}
}
