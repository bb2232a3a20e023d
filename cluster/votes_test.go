package cluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// TestVotesThatAreNeededStay: raft would take a change after which no majority
// answers, and then stand still.
func TestVotesThatAreNeededStay(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		var follows, silent int
		for i, m := range g.members {
			if m != leader {
				follows, silent = silent, i
			}
		}
		needed, spare := g.members[follows], g.members[silent]
		if err := leader.node.SetSuffrage(ctx, leader.site, cluster.Nonvoter); err == nil {
			t.Error("the leader gave up its own vote")
		}
		if err := leader.node.SetSuffrage(ctx, "nowhere", cluster.Voter); err == nil {
			t.Error("nobody got a vote")
		}
		if err := needed.node.SetSuffrage(ctx, spare.site, cluster.Nonvoter); !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("SetSuffrage at a follower: %v, want ErrNoLeader", err)
		}
		g.Cut(silent)
		time.Sleep(time.Minute)
		if err := leader.node.SetSuffrage(ctx, needed.site, cluster.Nonvoter); !errors.Is(err, cluster.ErrNeeded) {
			t.Errorf("SetSuffrage of the only other that answers: %v, want ErrNeeded", err)
		}
		if err := leader.node.RemoveMember(ctx, needed.site); !errors.Is(err, cluster.ErrNeeded) {
			t.Errorf("RemoveMember of the only other that answers: %v, want ErrNeeded", err)
		}
		if err := leader.node.SetSuffrage(ctx, spare.site, cluster.Nonvoter); err != nil {
			t.Errorf("the vote of the silent one: %v", err)
		}
		g.Heal(silent)
		if err := leader.node.SetSuffrage(ctx, spare.site, cluster.Voter); err != nil {
			t.Errorf("its vote again: %v", err)
		}
		if got := leader.node.State().Voters(); got != 3 {
			t.Errorf("%d voters, want 3", got)
		}
	})
}
