package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestIsolationSaysWhatTheOthersMayHaveDone: from what it knew when the line was cut and
// the time since, an agent that is alone says from when on guests may have been taken over.
func TestIsolationSaysWhatTheOthersMayHaveDone(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cut      time.Duration
		mode     network.Mode
		takeOver time.Duration // after the cut; 0: none
		possible bool
	}{
		{"too early", 4 * time.Minute, network.ModeAuto, 5 * time.Minute, false},
		{"at the commit delay", 5 * time.Minute, network.ModeAuto, 5 * time.Minute, true},
		{"hours later", 3 * time.Hour, network.ModeAuto, 5 * time.Minute, true},
		{"never heard anybody since its start", 0, network.ModeAuto, 0, true},
		{"nobody moves without a person", 3 * time.Hour, network.ModeAsk, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			spec := fiveSites().WithDefaults()
			for id, s := range spec.Structures {
				s.Mode = tt.mode
				spec.Structures[id] = s
			}
			l.boot(spec)
			now := l.now.Add(tt.cut)
			st := failover.Explain(l.s, failover.LocalView{Site: "moulin", LastContact: tt.cut}, now)
			if st.Headline != failover.HeadIsolated || st.Isolation == nil {
				t.Fatalf("headline %s, isolation %v", st.Headline, st.Isolation)
			}
			want := time.Time{}
			if tt.takeOver > 0 {
				want = l.now.Add(tt.takeOver)
			}
			if got := st.Isolation; !got.TakeOver.Equal(want) || got.Possible != tt.possible || len(got.Structures) != 2 {
				t.Errorf("got %+v, want from %s on, possible %t, two structures", got, want, tt.possible)
			}
		})
	}
	l := movedLog(t, network.OwnerStructure, "leave")
	st := failover.Explain(l.s, failover.LocalView{Site: "moulin", LastContact: time.Hour}, l.now)
	if st.Isolation.Moved[movedGuest] != "quai" {
		t.Errorf("moved before: %v, want %s at quai", st.Isolation.Moved, movedGuest)
	}
	if st := failover.Explain(l.s, failover.LocalView{Site: "moulin", HasLeader: true}, l.now); st.Isolation != nil {
		t.Errorf("in contact: %+v, want nothing", st.Isolation)
	}
}
