package agent_test

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
)

func newLeader(l *log, members ...agent.RaftMember) *agent.Leader {
	leader := &agent.Leader{Site: away, Log: l, Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler)}
	if members != nil {
		leader.Members = func() []agent.RaftMember { return members }
	}
	return leader
}

func newLog(commands ...failover.Command) *log {
	l := &log{state: failover.NewState(), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), lead: true}
	for _, c := range commands {
		l.index++
		if err := l.state.Apply(failover.Stamp{Index: l.index, Term: 1, At: l.now}, c); err != nil {
			panic(err)
		}
	}
	return l
}

func TestLeaderProposes(t *testing.T) {
	member := func(site failover.SiteID, id string) agent.RaftMember {
		return agent.RaftMember{Site: site, ServerID: id, Address: "10.77.1.1:9977", Voter: true}
	}
	set := failover.SetMember{Site: home, ServerID: "one", Address: "10.77.1.1:9977", Voter: true}
	begun := []failover.Command{failover.Bootstrap{Generation: 1}, failover.BeginTerm{Leader: away}}
	for _, tc := range []struct {
		name    string
		have    []failover.Command
		lead    bool
		members []agent.RaftMember
		want    []failover.Command
	}{
		{"nothing where it does not lead", begun[:1], false, nil, nil},
		{"nothing before the network is begun", nil, true, nil, nil},
		{"its term first", begun[:1], true, []agent.RaftMember{member(home, "one")}, []failover.Command{failover.BeginTerm{Leader: away}, set}},
		{"a member that joined", begun, true, []agent.RaftMember{member(home, "one")}, []failover.Command{set}},
		{"a member that has a new disk", append(slices.Clone(begun), failover.SetMember{Site: home, ServerID: "old"}), true, []agent.RaftMember{member(home, "one")}, []failover.Command{set}},
		{
			"a member that left", append(slices.Clone(begun), set, failover.SetMember{Site: "gone", ServerID: "two"}), true,
			[]agent.RaftMember{member(home, "one")},
			[]failover.Command{failover.RemoveMember{Site: "gone"}},
		},
		{"no removal when the configuration cannot be read", append(slices.Clone(begun), set), true, []agent.RaftMember{}, nil},
		{"nothing without news", append(slices.Clone(begun), set), true, []agent.RaftMember{member(home, "one")}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(tc.have...)
			l.lead = tc.lead
			leader := newLeader(l, tc.members...)
			for range 4 {
				leader.Step(t.Context(), l.now)
			}
			if !slices.EqualFunc(l.made, tc.want, func(a, b failover.Command) bool { return a == b }) {
				t.Errorf("proposed %v, want %v", l.made, tc.want)
			}
		})
	}
}

func TestLeaderPauses(t *testing.T) {
	rejected := &failover.RejectedError{Reason: failover.Reason{Code: failover.CodeDuplicate}}
	for _, tc := range []struct {
		name string
		err  error
		want time.Duration
	}{
		{"not after a proposal", nil, 0},
		{"half a second after a failure", failover.ErrUnknown, 500 * time.Millisecond},
		{"a while after a rejection", rejected, 200 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(failover.Bootstrap{Generation: 1})
			l.propose = func(failover.Command) error { return tc.err }
			if got := newLeader(l).Step(t.Context(), l.now).Sub(l.now); got != tc.want {
				t.Errorf("next step after %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRejectedLeaderDoesNotFillTheLog(t *testing.T) {
	l := newLog(failover.Bootstrap{Generation: 1})
	n := 0
	l.propose = func(failover.Command) error { n++; return &failover.RejectedError{} }
	leader := newLeader(l)
	for range 6000 { // a minute in which every entry wakes it
		leader.Step(t.Context(), l.now)
		l.now = l.now.Add(10 * time.Millisecond)
	}
	if n < 5 || n > 15 {
		t.Errorf("%d proposals in a minute of rejections, want about a dozen", n)
	}
}
