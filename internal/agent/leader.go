package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Pauses of the leader's loop. State changes wake it; the tick only moves
// countdowns along, whose durations the observers report.
const (
	leaderTick  = time.Second
	leaderRetry = 500 * time.Millisecond

	// A rejection is an entry, too: what is refused again and again must not fill the log.
	firstRefused = 200 * time.Millisecond
	lastRefused  = 10 * time.Second
)

// RaftMember is an agent as the Raft configuration has it.
type RaftMember struct {
	Site     failover.SiteID
	ServerID string
	Address  string
	Voter    bool
}

// Leader is the leader's loop: look at State, decide, propose. On an agent
// that does not lead it does nothing.
type Leader struct {
	Site   failover.SiteID
	Log    failover.Log
	Clock  *LogClock
	Logger *slog.Logger
	// Members returns the Raft configuration; nil leaves State's members alone.
	Members func() []RaftMember

	why     string        // what was last logged
	refused time.Duration // pause after the newest proposal, zero unless it was rejected
	after   time.Time     // nothing is proposed before
}

// Step proposes at most one command.
func (l *Leader) Step(ctx context.Context, now time.Time) time.Time {
	term, ready := l.Log.Lead()
	if !ready {
		l.why = ""
		return now.Add(leaderTick)
	}
	if now.Before(l.after) {
		return l.after
	}
	s := l.Log.State()
	c := l.next(s, term, now)
	if c == nil {
		return now.Add(leaderTick)
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(l.Site)), proposeTimeout)
	defer cancel()
	_, err := l.Log.Propose(ctx, c)
	if r, rejected := errors.AsType[*failover.RejectedError](err); rejected {
		l.refused = min(lastRefused, max(firstRefused, 2*l.refused))
		l.after = now.Add(l.refused)
		l.Logger.Warn("proposal rejected", "command", commandName(c), "code", r.Reason.Code, "err", err)
		return l.after
	}
	l.refused = 0
	if err == nil {
		return now
	}
	l.Logger.Warn("proposal failed", "command", commandName(c), "err", err)
	return now.Add(leaderRetry)
}

// next returns the command to propose now, or nil.
func (l *Leader) next(s *failover.State, term uint64, now time.Time) failover.Command {
	switch {
	case s.Generation == 0:
		return nil // not bootstrapped: nothing may be decided
	case s.Term != term:
		return failover.BeginTerm{Leader: l.Site}
	}
	if c := l.memberChange(s); c != nil {
		return c
	}
	d := failover.Decide(s, l.Clock.Now(s, now))
	l.tell(d)
	if len(d.Commands) == 0 {
		return nil
	}
	return d.Commands[0]
}

// memberChange brings State's members one step closer to the Raft configuration.
func (l *Leader) memberChange(s *failover.State) failover.Command {
	if l.Members == nil {
		return nil
	}
	have := map[failover.SiteID]bool{}
	for _, m := range l.Members() {
		have[m.Site] = true
		old, ok := s.Members[m.Site]
		if !ok || old.ServerID != m.ServerID || old.Address != m.Address || old.Voter != m.Voter {
			return failover.SetMember{Site: m.Site, ServerID: m.ServerID, Address: m.Address, Voter: m.Voter}
		}
	}
	if len(have) == 0 {
		return nil // the configuration could not be read
	}
	for _, site := range network.SortedKeys(s.Members) {
		if !have[site] {
			return failover.RemoveMember{Site: site}
		}
	}
	return nil
}

// tell logs why the leader does what it does, once per change.
func (l *Leader) tell(d failover.Decision) {
	if len(d.Why) == 0 {
		return
	}
	r := d.Why[0]
	key := r.Code + r.Args["domain"] + r.Args["op"]
	if key == l.why {
		return
	}
	l.why = key
	attrs := []any{"code", r.Code}
	for _, k := range slices.Sorted(maps.Keys(r.Args)) {
		attrs = append(attrs, k, r.Args[k])
	}
	l.Logger.Info("decision", attrs...)
}
