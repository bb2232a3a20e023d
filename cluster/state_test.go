package cluster_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestAFollowerSeesItsOwnWrite once it has waited for it: accepted by the
// leader is not yet applied here.
func TestAFollowerSeesItsOwnWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, false)
		for _, m := range g.members {
			if m == g.leader() {
				continue
			}
			st, err := m.node.Propose(t.Context(), failover.SetPause{Reason: string(m.site)})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.node.AwaitApplied(t.Context(), st.Index); err != nil {
				t.Fatal(err)
			}
			if got := m.node.State().Pauses[""].Reason; got != string(m.site) {
				t.Errorf("%s knows of the pause %q, want its own", m.site, got)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.members[0].node.AwaitApplied(ctx, 1<<40); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait for what is not there: %v, want the deadline", err)
		}
	})
}
