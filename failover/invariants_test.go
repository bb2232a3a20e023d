package failover_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// served returns the states before and after the entry that makes
// nextcloud-moulin visible at quai, and those around its commit.
func served(t *testing.T) (beforeCommit, afterCommit, beforeServe, afterServe *failover.State) {
	l := moulinReady(t)
	l.dark(50*time.Second, "moulin")
	l.settle()
	l.now = l.now.Add(250 * time.Second)
	l.dark(300*time.Second, "moulin")
	for range 200 {
		d := failover.Decide(l.s, l.now)
		prev := l.s
		if len(d.Commands) > 0 {
			l.must(d.Commands[0])
			switch c := d.Commands[0].(type) {
			case failover.CommitOp:
				beforeCommit, afterCommit = prev, l.s
			case failover.Serve:
				if c.Token.Guest == "nextcloud-moulin" {
					return beforeCommit, afterCommit, prev, l.s
				}
			}
			continue
		}
		for _, token := range append(failover.Runnable(l.s, "quai", l.now), failover.Runnable(l.s, "fabrique", l.now)...) {
			step, _, _ := l.s.Ops[token.Op].Guests[token.Guest].Current()
			m := failover.StepMoved{Token: token, Attempt: step.Attempt + 1, To: failover.StatusRunning}
			l.must(m)
			m.To = failover.StatusDone
			l.must(m)
		}
	}
	t.Fatal("nextcloud-moulin was never served")
	return nil, nil, nil, nil
}

// edit changes a run of the only operation.
func editRun(s *failover.State, g failover.GuestID, change func(r *failover.GuestRun)) {
	for id, op := range s.Ops {
		run, ok := op.Guests[g]
		if !ok {
			continue
		}
		run.Steps = slices.Clone(run.Steps)
		change(&run)
		op.Guests = maps.Clone(op.Guests)
		op.Guests[g] = run
		s.Ops[id] = op
	}
}

func editOp(s *failover.State, change func(op *failover.Operation)) {
	for id, op := range s.Ops {
		op.Votes = slices.Clone(op.Votes)
		change(&op)
		s.Ops[id] = op
	}
}

func editGuest(s *failover.State, g failover.GuestID, change func(p *failover.Placement)) {
	p := s.Guests[g]
	change(&p)
	s.Guests[g] = p
}

// states are those around one entry.
type states struct{ prev, next *failover.State }

// TestCheckFindsViolations breaks good transitions by hand: each must be found,
// under its name.
func TestCheckFindsViolations(t *testing.T) {
	const g = failover.GuestID("nextcloud-moulin")
	tests := []struct {
		name, want string
		at         string // commit or serve
		breakIt    func(s states)
	}{
		{"epoch falls", "S1", "serve", func(s states) { editGuest(s.next, g, func(p *failover.Placement) { p.Epoch.Index-- }) }},
		{"epoch of a lower generation", "S1", "serve", func(s states) {
			editGuest(s.next, g, func(p *failover.Placement) { p.Epoch = failover.Epoch{Generation: 0, Index: 1 << 60} })
		}},
		{"another owner in the same epoch", "S1", "serve", func(s states) { editGuest(s.next, g, func(p *failover.Placement) { p.Owner = "fabrique" }) }},
		{"shown where it is not owned", "S2", "serve", func(s states) { editGuest(s.next, g, func(p *failover.Placement) { p.Serving = "fabrique" }) }},
		{"shown nowhere", "S2", "serve", func(s states) { editGuest(s.next, g, func(p *failover.Placement) { p.Serving = "" }) }},
		{"shown before it was checked", "S2", "serve", func(s states) {
			editRun(s.next, g, func(r *failover.GuestRun) { r.Steps[4].Status = failover.StatusRunning })
		}},
		{"in two operations", "one operation per guest", "serve", func(s states) {
			for _, op := range maps.Clone(s.next.Ops) {
				op.ID, op.Begun.Index = "op-9999", 9999
				s.next.Ops[op.ID] = op
			}
		}},
		{"on a foreign vlan", "S11", "serve", func(s states) { editRun(s.next, g, func(r *failover.GuestRun) { r.Assignment.VLAN = 1 }) }},
		{"without consent", "S10", "serve", func(s states) {
			spec := *s.next.Network
			spec.Structures = maps.Clone(spec.Structures)
			st := spec.Structures["le-moulin"]
			st.OffSite.Policy = "forbidden"
			spec.Structures["le-moulin"] = st
			s.next.Network = &spec
		}},
		{"owned without admission", "S4", "serve", func(s states) { editRun(s.next, g, func(r *failover.GuestRun) { r.Admitted = 0 }) }},
		{"step before its turn", "L2", "serve", func(s states) {
			editRun(s.next, g, func(r *failover.GuestRun) { r.Steps[1].Status = failover.StatusRunning })
		}},
		{"started before it was owned", "S3", "serve", func(s states) { editRun(s.next, g, func(r *failover.GuestRun) { r.Epoch = failover.Epoch{} }) }},
		{"too many domains", "S6", "commit", func(s states) {
			spec := *s.next.Network
			spec.Policy.MaxDomains = 0
			s.next.Network = &spec
		}},
		{"committed without preparation", "S4", "commit", func(s states) { clear(s.prev.Ops) }},
		{"two votes", "S4", "commit", func(s states) { editOp(s.next, func(op *failover.Operation) { op.Votes = op.Votes[:2] }) }},
		{"one voter three times", "S4", "commit", func(s states) {
			editOp(s.next, func(op *failover.Operation) {
				op.Votes = []failover.Vote{op.Votes[0], op.Votes[0], op.Votes[0]}
			})
		}},
		{"votes of the lost site itself", "S4", "commit", func(s states) {
			editOp(s.next, func(op *failover.Operation) { op.Votes = op.Votes[:3]; op.Votes[0].Observer = "moulin" })
		}},
		{"votes of no voters", "S4", "commit", func(s states) {
			m := s.prev.Members["quai"]
			m.Voter = false
			s.prev.Members["quai"], s.prev.Members["halle"], s.prev.Members["temoin"] = m, m, m
		}},
		{"an old vote", "S4", "commit", eachVote(func(v *failover.Vote) { v.Age = failover.VoteAge + 1 })},
		{"an unwell voter", "S4", "commit", eachVote(func(v *failover.Vote) { v.Unwell = []string{"uplink"} })},
		{"one kind of path", "S4", "commit", eachVote(func(v *failover.Vote) { v.Paths = v.Paths[:1] })},
		{"a second too early", "S4", "commit", eachVote(func(v *failover.Vote) { v.Silence = 299 * time.Second })},
		{"somebody sees it", "S4", "commit", func(s states) {
			editOp(s.next, func(op *failover.Operation) { op.Votes[3].Sees = []string{"entry"} })
		}},
		{"mode ask", "S10", "commit", func(s states) { editRun(s.next, g, func(r *failover.GuestRun) { r.Assignment.Automatic = false }) }},
		{"declared mode ask", "S10", "commit", func(s states) {
			spec := *s.prev.Network
			spec.Structures = maps.Clone(spec.Structures)
			st := spec.Structures["le-moulin"]
			st.Mode = "ask"
			spec.Structures["le-moulin"] = st
			s.prev.Network = &spec
		}},
		{"everything paused", "S10", "commit", func(s states) { s.prev.Pauses[""] = failover.Pause{Until: s.next.Clock.Add(1)} }},
		{"a longer delay declared", "S4", "commit", func(s states) {
			spec := *s.next.Network
			spec.Policy.Commit = network.Duration(301 * time.Second)
			s.next.Network = &spec
		}},
		{"paused", "S10", "commit", func(s states) { s.prev.Pauses["moulin"] = failover.Pause{} }},
		{"the clock runs back", "clock", "serve", func(s states) { s.next.Clock = s.next.Clock.Add(-time.Second * 3600) }},
		{"the index runs back", "clock", "serve", func(s states) { s.next.Index = s.prev.Index - 1 }},
		{"too many events", "bounds", "serve", func(s states) { s.next.Events = make([]failover.Event, failover.MaxEvents+1) }},
	}
	prevCommit, nextCommit, prevServe, nextServe := served(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := states{prevServe.Clone(), nextServe.Clone()}
			if tt.at == "commit" {
				s = states{prevCommit.Clone(), nextCommit.Clone()}
			}
			if err := failover.Check(s.prev, s.next); err != nil {
				t.Fatalf("before it was broken: %v", err)
			}
			tt.breakIt(s)
			err := failover.Check(s.prev, s.next)
			if err == nil || !strings.Contains(err.Error(), "invariant "+tt.want+" violated") {
				t.Errorf("Check says %v, want a violation of %s", err, tt.want)
			}
		})
	}
}

func eachVote(change func(v *failover.Vote)) func(states) {
	return func(s states) {
		editOp(s.next, func(op *failover.Operation) {
			for i := range op.Votes {
				change(&op.Votes[i])
			}
		})
	}
}

// TestCommitNeedsEvidence: what Check would find is refused where it enters the
// log, whatever a leader proposes.
func TestCommitNeedsEvidence(t *testing.T) {
	prev, next, _, _ := served(t)
	var op failover.Operation
	for _, op = range next.Ops {
		break
	}
	good := failover.CommitOp{Op: op.ID, Guests: []failover.GuestID{"nextcloud-moulin"}, Votes: op.Votes}
	vote := func(change func(v *failover.Vote)) func(c *failover.CommitOp) {
		return func(c *failover.CommitOp) {
			for i := range c.Votes[1:] {
				change(&c.Votes[i])
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(c *failover.CommitOp)
		want   string
	}{
		"as it was":            {func(*failover.CommitOp) {}, ""},
		"no votes":             {func(c *failover.CommitOp) { c.Votes = nil }, failover.CodeFewVotes},
		"the same voter":       {vote(func(v *failover.Vote) { v.Observer = "quai" }), failover.CodeFewVotes},
		"the lost site's own":  {vote(func(v *failover.Vote) { v.Observer = "moulin" }), failover.CodeFewVotes},
		"strangers":            {vote(func(v *failover.Vote) { v.Observer = "nowhere"; v.Voter = true }), failover.CodeFewVotes},
		"unwell":               {vote(func(v *failover.Vote) { v.Unwell = []string{"x"} }), failover.CodeFewVotes},
		"old":                  {vote(func(v *failover.Vote) { v.Age = time.Minute }), failover.CodeFewVotes},
		"not dark":             {vote(func(v *failover.Vote) { v.Dark = false }), failover.CodeFewVotes},
		"one path":             {vote(func(v *failover.Vote) { v.Paths = v.Paths[:1] }), failover.CodeFewVotes},
		"a sighting":           {vote(func(v *failover.Vote) { v.Sees = []string{"entry"} }), failover.CodeFewVotes},
		"too early":            {vote(func(v *failover.Vote) { v.Silence = 299 * time.Second }), failover.CodeCountdown},
		"nobody":               {func(c *failover.CommitOp) { c.Guests = nil }, failover.CodeNothingWaits},
		"an unknown guest":     {func(c *failover.CommitOp) { c.Guests = []failover.GuestID{"nobody"} }, failover.CodeWrongPhase},
		"twice the same guest": {func(c *failover.CommitOp) { c.Guests = append(c.Guests, c.Guests[0]) }, failover.CodeWrongPhase},
		"an unknown operation": {func(c *failover.CommitOp) { c.Op = "op-0" }, failover.CodeUnknownOp},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			c.Votes, c.Guests = slices.Clone(good.Votes), slices.Clone(good.Guests)
			tt.change(&c)
			err := prev.Clone().Apply(failover.Stamp{Index: prev.Index + 1, Term: prev.Term, At: prev.Clock}, c)
			if got := rejection(err); got != tt.want {
				t.Errorf("Apply: %v, want code %q", err, tt.want)
			}
		})
	}
	// A proposal can be on its way for long: meanwhile somebody has reported the site, and the leader, which waits for
	// its answer, has not told so yet (campaign, seed 38055).
	s := prev.Clone()
	for n, c := range []failover.Command{report(prev, "quai", func(*failover.Observation) {}), good} {
		err := s.Apply(failover.Stamp{Index: prev.Index + uint64(n) + 1, Term: prev.Term, At: prev.Clock.Add(time.Duration(n) * time.Second)}, c)
		if want := []string{"", failover.CodeBack}[n]; rejection(err) != want {
			t.Errorf("%T: %v, want code %q", c, err, want)
		}
	}
	// A proposal can be on its way for long: meanwhile the site was seen.
	for _, cause := range []failover.Cause{failover.CauseUp, failover.CauseAgentOnly, failover.CauseWeAreSick} {
		s := prev.Clone()
		d := s.Domains[op.Domain]
		d.Cause = cause
		s.Domains[op.Domain] = d
		if err := s.Apply(failover.Stamp{Index: prev.Index + 1, Term: prev.Term, At: prev.Clock}, good); rejection(err) != failover.CodeBack {
			t.Errorf("the domain is %s: %v, want code %q", cause, err, failover.CodeBack)
		}
	}
}
