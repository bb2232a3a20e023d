// Package logtest is the contract of failover.Log as tests: cluster.Node and
// the simulator's model pass the same suite, so that what is proved over the
// model holds over Raft.
package logtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Cluster is a group of logs under test, formed and with a leader.
type Cluster interface {
	// Nodes returns the logs; a node keeps its place.
	Nodes() []failover.Log
	// Cut isolates a node from all others: nothing passes, nothing is refused.
	// Heal ends that.
	Cut(i int)
	Heal(i int)
	// Restart ends a node, as a crash does, and starts it again on what it had
	// made durable, from a snapshot if it has one. Its place in Nodes may hold
	// another Log then.
	Restart(i int)
	// Settle lets time pass until nothing moves: the nodes that are not cut, if
	// they are a majority, have one ready leader and have applied the same
	// entries; every other node knows that it does not lead.
	Settle()
}

// Case is one rule of the contract.
type Case struct {
	Name  string
	Nodes int
	Run   func(t *testing.T, c Cluster)
}

// Cases returns the suite, for callers that wrap each case in something of
// their own, as a testing/synctest bubble.
func Cases() []Case {
	return []Case{
		{"proposals are applied everywhere in one order", 3, order},
		{"a refusal is an outcome", 3, refusal},
		{"an id is applied once", 3, once},
		{"changes wake", 3, wakes},
		{"one leader that knows the past", 3, leads},
		{"a lost leader is replaced", 3, leaderLost},
		{"a minority decides nothing", 3, minority},
		{"a restarted node has everything", 3, restarted},
		{"confirmation is the newest token's", 3, confirmation},
		{"confirmation needs a majority", 3, confirmationAlone},
		{"a single node is a group", 1, single},
	}
}

// Run runs the suite on clusters made by open.
func Run(t *testing.T, open func(t *testing.T, n int) Cluster) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t, c.Nodes)) })
	}
}

// patience bounds one call. Implementations take it as they take time.
const patience = 30 * time.Second

func propose(t *testing.T, n failover.Log, c failover.Command) (failover.Stamp, error) {
	t.Helper()
	return proposeAs(t, n, "", c)
}

func proposeAs(t *testing.T, n failover.Log, id string, c failover.Command) (failover.Stamp, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if id != "" {
		ctx = failover.WithProposalID(ctx, id)
	}
	return n.Propose(failover.WithActor(ctx, "tester"), c)
}

func mustPropose(t *testing.T, n failover.Log, c failover.Command) failover.Stamp {
	t.Helper()
	st, err := propose(t, n, c)
	if err != nil {
		t.Fatalf("Propose(%T): %v", c, err)
	}
	return st
}

func confirm(t *testing.T, n failover.Log, token failover.Token) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return n.Confirm(ctx, token)
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*failover.RejectedError](err)
	return ok
}

// leader returns the place of the only ready leader.
func leader(t *testing.T, c Cluster) int {
	t.Helper()
	at := -1
	for i, n := range c.Nodes() {
		if _, ready := n.Lead(); !ready {
			continue
		}
		if at >= 0 {
			t.Fatalf("nodes %d and %d both lead", at, i)
		}
		at = i
	}
	if at < 0 {
		t.Fatal("no node leads")
	}
	return at
}

func follower(t *testing.T, c Cluster) int {
	t.Helper()
	return (leader(t, c) + 1) % len(c.Nodes())
}

// sameState demands equal states at equal indexes.
func sameState(t *testing.T, c Cluster) {
	t.Helper()
	var first []byte
	for i, n := range c.Nodes() {
		b, err := json.Marshal(n.State())
		if err != nil {
			t.Fatalf("marshal state of node %d: %v", i, err)
		}
		if i == 0 {
			first = b
		} else if string(b) != string(first) {
			t.Fatalf("states differ after Settle\nnode 0: %s\nnode %d: %s", first, i, b)
		}
	}
}

func pause(reason string) failover.SetPause { return failover.SetPause{Reason: reason} }

func order(t *testing.T, c Cluster) {
	nodes := c.Nodes()
	var last failover.Stamp
	for i := range 3 * len(nodes) {
		st := mustPropose(t, nodes[i%len(nodes)], pause(fmt.Sprint("pause ", i)))
		switch {
		case st.Index <= last.Index:
			t.Fatalf("proposal %d: index %d after %d", i, st.Index, last.Index)
		case st.At.Before(last.At):
			t.Fatalf("proposal %d: time %v after %v", i, st.At, last.At)
		case st.Term == 0 || st.ID == "" || st.Actor != "tester":
			t.Fatalf("proposal %d: stamp %+v lacks term, id or actor", i, st)
		}
		last = st
	}
	c.Settle()
	for i, n := range nodes {
		s := n.State()
		if got, want := s.Pauses[""].Reason, fmt.Sprint("pause ", 3*len(nodes)-1); got != want {
			t.Errorf("node %d: pause %q, want %q", i, got, want)
		}
		if s.Index < last.Index {
			t.Errorf("node %d: state at %d, want at least %d", i, s.Index, last.Index)
		}
	}
	sameState(t, c)
}

func refusal(t *testing.T, c Cluster) {
	for i, n := range c.Nodes() {
		st, err := propose(t, n, failover.EndPause{Site: "nowhere"})
		if !isRejected(err) {
			t.Fatalf("node %d: Propose of what does not fit: %v, want *RejectedError", i, err)
		}
		if errors.Is(err, failover.ErrUnknown) || errors.Is(err, failover.ErrNoLeader) {
			t.Fatalf("node %d: %v is a refusal and more", i, err)
		}
		if st.Index == 0 {
			t.Errorf("node %d: refusal without a place in the log", i)
		}
	}
	c.Settle()
	sameState(t, c)
}

func once(t *testing.T, c Cluster) {
	nodes, l := c.Nodes(), leader(t, c)
	f := follower(t, c)
	first, err := proposeAs(t, nodes[l], "id-1", pause("first"))
	if err != nil {
		t.Fatalf("Propose: %v", err)
	}
	mustPropose(t, nodes[l], pause("second"))
	for _, i := range []int{l, f} {
		again, err := proposeAs(t, nodes[i], "id-1", pause("first"))
		if err != nil || again.Index != first.Index {
			t.Fatalf("node %d: repetition answers (%d, %v), want (%d, nil)", i, again.Index, err, first.Index)
		}
	}
	if _, err := proposeAs(t, nodes[f], "id-2", failover.EndPause{Site: "nowhere"}); !isRejected(err) {
		t.Fatalf("Propose: %v, want *RejectedError", err)
	}
	if _, err := proposeAs(t, nodes[l], "id-2", failover.EndPause{Site: "nowhere"}); !isRejected(err) {
		t.Fatalf("repetition of a refusal: %v, want *RejectedError", err)
	}
	c.Settle()
	for i, n := range nodes {
		if got := n.State().Pauses[""].Reason; got != "second" {
			t.Errorf("node %d: pause %q, want second: a repetition was applied", i, got)
		}
	}
	sameState(t, c)
}

func wakes(t *testing.T, c Cluster) {
	c.Settle()
	nodes := c.Nodes()
	changed := make([]<-chan struct{}, len(nodes))
	before := make([]*failover.State, len(nodes))
	index := make([]uint64, len(nodes))
	for i, n := range nodes {
		changed[i], before[i] = n.Changed(), n.State()
		index[i] = before[i].Index
		select {
		case <-changed[i]:
			t.Fatalf("node %d: Changed is closed although nothing moves", i)
		default:
		}
	}
	st := mustPropose(t, nodes[follower(t, c)], pause("wake up"))
	c.Settle()
	for i, n := range nodes {
		select {
		case <-changed[i]:
		default:
			t.Errorf("node %d: Changed is not closed after entry %d", i, st.Index)
		}
		if before[i].Index != index[i] || before[i].Pauses[""].Reason != "" {
			t.Errorf("node %d: a state that was handed out has changed", i)
		}
		if n.State().Index < st.Index {
			t.Errorf("node %d: state at %d, want %d", i, n.State().Index, st.Index)
		}
	}
}

func leads(t *testing.T, c Cluster) {
	nodes := c.Nodes()
	var oldTerm uint64
	for round := range 3 {
		l := leader(t, c)
		acked := mustPropose(t, nodes[l], pause(fmt.Sprint("round ", round)))
		term, _ := nodes[l].Lead()
		if term <= oldTerm || acked.Term != term {
			t.Fatalf("round %d: leader of term %d stamped %d, after term %d", round, term, acked.Term, oldTerm)
		}
		oldTerm = term
		c.Cut(l)
		c.Settle()
		next := leader(t, c)
		if next == l {
			t.Fatalf("round %d: node %d still leads although it is cut off", round, l)
		}
		if got := nodes[next].State().Index; got < acked.Index {
			t.Fatalf("round %d: new leader is ready at %d, entry %d was acknowledged", round, got, acked.Index)
		}
		c.Heal(l)
		c.Settle()
	}
	sameState(t, c)
}

func leaderLost(t *testing.T, c Cluster) {
	nodes, old := c.Nodes(), leader(t, c)
	c.Cut(old)
	_, err := propose(t, nodes[old], pause("by the cut one"))
	if !errors.Is(err, failover.ErrNoLeader) && !errors.Is(err, failover.ErrUnknown) {
		t.Fatalf("Propose at the lost leader: %v, want ErrNoLeader or ErrUnknown", err)
	}
	c.Settle()
	if _, ready := nodes[old].Lead(); ready {
		t.Fatal("the lost leader still leads")
	}
	st := mustPropose(t, nodes[(old+1)%len(nodes)], pause("by the others"))
	mustPropose(t, nodes[(old+2)%len(nodes)], failover.EndPause{})
	c.Heal(old)
	c.Settle()
	sameState(t, c)
	events := 0
	for _, e := range nodes[old].State().Events {
		if e.Stamp.Index == st.Index {
			events++
		}
	}
	if events != 1 {
		t.Errorf("the healed node knows %d events of entry %d, want 1", events, st.Index)
	}
	mustPropose(t, nodes[old], pause("by the healed one"))
}

func minority(t *testing.T, c Cluster) {
	nodes, l := c.Nodes(), leader(t, c)
	acked := mustPropose(t, nodes[l], pause("before"))
	c.Settle()
	for i := range nodes {
		if i != l {
			c.Cut(i)
		}
	}
	for i, n := range nodes {
		st, err := propose(t, n, pause("by a minority"))
		if !errors.Is(err, failover.ErrNoLeader) && !errors.Is(err, failover.ErrUnknown) {
			t.Errorf("node %d: Propose without a majority: (%+v, %v)", i, st, err)
		}
	}
	c.Settle()
	for i, n := range nodes {
		if _, ready := n.Lead(); ready {
			t.Errorf("node %d leads without a majority", i)
		}
		if got := n.State().Index; got != acked.Index {
			t.Errorf("node %d: state at %d, want %d", i, got, acked.Index)
		}
	}
	for i := range nodes {
		if i != l {
			c.Heal(i)
		}
	}
	c.Settle()
	for _, n := range nodes {
		mustPropose(t, n, pause("after"))
	}
	c.Settle()
	sameState(t, c)
}

func single(t *testing.T, c Cluster) {
	n := c.Nodes()[0]
	st := mustPropose(t, n, pause("alone"))
	c.Settle()
	if got := n.State(); got.Index != st.Index || got.Pauses[""].Reason != "alone" {
		t.Errorf("state at %d with pause %q, want %d and alone", got.Index, got.Pauses[""].Reason, st.Index)
	}
}

func restarted(t *testing.T, c Cluster) {
	for round := range 4 {
		for i, n := range c.Nodes() {
			mustPropose(t, n, pause(fmt.Sprint("round ", round, " by ", i)))
		}
		if round%2 == 0 {
			c.Restart(follower(t, c))
		} else {
			c.Restart(leader(t, c))
		}
		c.Settle()
		sameState(t, c)
		if got, want := c.Nodes()[leader(t, c)].State().Pauses[""].Reason, fmt.Sprint("round ", round, " by ", len(c.Nodes())-1); got != want {
			t.Fatalf("round %d: pause %q, want %q: an acknowledged entry is lost", round, got, want)
		}
	}
	for i := range c.Nodes() { // all of them, one after the other
		c.Restart(i)
		c.Settle()
	}
	mustPropose(t, c.Nodes()[0], failover.EndPause{})
	c.Settle()
	sameState(t, c)
}
