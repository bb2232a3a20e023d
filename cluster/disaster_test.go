package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

func TestWrongWallClockHastensNothing(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		for i, m := range g.members {
			offset := []time.Duration{10 * time.Minute, -10 * time.Minute, -time.Hour}[i]
			g.kill(m)
			m.clock = func() time.Time { return time.Now().Add(offset) }
			g.start(m)
		}
		g.Settle()
		var last failover.Stamp
		for round := range 4 {
			leader := g.leader()
			for i := range 3 {
				begun := time.Now()
				st := g.propose(leader, failover.SetPause{Reason: fmt.Sprint(round, i)})
				if st.At.Before(last.At) {
					t.Fatalf("time runs back: %v after %v", st.At, last.At)
				}
				if st.Term == last.Term {
					if got, most := st.At.Sub(last.At), time.Second+time.Since(begun); got < time.Second || got > most {
						t.Fatalf("one term's clock moved by %v, want 1s to %v", got, most)
					}
				}
				last = st
				time.Sleep(time.Second)
			}
			g.kill(leader)
			time.Sleep(20 * time.Second)
			g.start(leader)
			g.Settle()
		}
	})
}

func TestLostLeadershipIsUnknown(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		for i, m := range g.members {
			if m != leader {
				g.Cut(i)
			}
		}
		b, err := cluster.Encode(cluster.Entry{ID: "once", Command: failover.SetPause{Reason: "in one log"}})
		if err != nil {
			t.Fatal(err)
		}
		// The entry stands in the leader's own log: it may yet be committed.
		_, err = leader.node.ProposeEnvelope(ctx, b)
		if !errors.Is(err, failover.ErrUnknown) || errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("ProposeEnvelope while leadership is lost: %v, want ErrUnknown", err)
		}
		// Now it surely was not made.
		_, err = leader.node.ProposeEnvelope(ctx, b)
		if !errors.Is(err, failover.ErrNoLeader) || errors.Is(err, failover.ErrUnknown) {
			t.Errorf("ProposeEnvelope after leadership was lost: %v, want ErrNoLeader", err)
		}
	})
}

// sickStore hangs on appending while it is sick.
type sickStore struct {
	cluster.Store
	sick *atomic.Bool
	cure chan struct{}
}

func (s sickStore) StoreLogs(logs []*raft.Log) error {
	if s.sick.Load() {
		<-s.cure
	}
	return s.Store.StoreLogs(logs)
}

func (s sickStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func TestHungStoreEndsTheProcess(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		var sick atomic.Bool
		cure := make(chan struct{})
		exited := make(chan string, 64)
		patient := g.leader()
		g.kill(patient)
		patient.store = func(s cluster.Store) cluster.Store { return sickStore{Store: s, sick: &sick, cure: cure} }
		patient.exit = func(reason string) {
			select {
			case exited <- reason:
			default:
			}
		}
		g.start(patient)
		g.Settle()
		for g.leader() != patient { // it must lead: only then raft would not mind
			m := g.leader()
			g.kill(m)
			time.Sleep(30 * time.Second)
			g.start(m)
			g.Settle()
		}
		turns := func(m *member) error {
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return m.node.Turns(short)
		}
		for _, m := range g.members {
			if err := turns(m); err != nil {
				t.Errorf("the loop of %s, which is well: %v", m.site, err)
			}
		}
		sick.Store(true)
		begun := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			short, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			_, err := patient.node.Propose(short, failover.SetPause{Reason: "never"})
			if !errors.Is(err, failover.ErrUnknown) {
				t.Errorf("Propose at a hung disk: %v, want ErrUnknown", err)
			}
		})
		reason := <-exited
		if took := time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("exit after %v, want 10 s", took)
		}
		if !strings.Contains(reason, "append takes more than 10s") {
			t.Errorf("reason %q", reason)
		}
		if err := turns(patient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its loop, which hangs: %v, want that it does not answer", err)
		}
		g.net.set(hostOf(patient.addr), true) // the process is gone
		time.Sleep(20 * time.Second)
		for _, m := range g.members {
			if m != patient {
				g.propose(m, failover.SetPause{Reason: "after " + string(m.site)})
			}
		}
		wg.Wait()
		sick.Store(false)
		close(cure)
		time.Sleep(time.Minute)
		g.net.set(hostOf(patient.addr), false)
		g.Settle()
	})
}

// A heartbeat that is answered beside raft's main loop, as its fast path does,
// would hide that the main loop hangs; and lets terms go down (raft 695).
func TestHeartbeatsWaitForTheMainLoop(t *testing.T) {
	bubble(t, 3, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		patient := g.members[0]
		if patient == leader {
			patient = g.members[1]
		}
		var sick atomic.Bool
		cure := make(chan struct{})
		g.kill(patient)
		patient.store = func(s cluster.Store) cluster.Store { return sickStore{Store: s, sick: &sick, cure: cure} }
		patient.exit = func(string) {}
		g.start(patient)
		g.Settle()
		sick.Store(true)
		g.propose(leader, failover.SetPause{Reason: "hang"})
		time.Sleep(10 * time.Second)
		heard := leader.node.Stats().Peers
		for _, m := range g.members {
			age := time.Since(heard[m.node.ServerID()].Heard)
			if m == patient && age < 9*time.Second {
				t.Errorf("the hung follower answered a heartbeat %v ago", age)
			}
			if m != patient && m != leader && age > time.Second {
				t.Errorf("the well follower last answered %v ago", age)
			}
		}
		sick.Store(false)
		close(cure)
		time.Sleep(time.Minute)
		g.Settle()
	})
}

func TestMemberThatComesLateGetsASnapshot(t *testing.T) {
	bubble(t, 2, func(t *testing.T, ctx context.Context, g *group) {
		leader := g.leader()
		for i := range 20 {
			g.propose(leader, failover.SetPause{Reason: fmt.Sprint("pause ", i)})
		}
		if err := cluster.CompactLog(leader.node); err != nil {
			t.Fatal(err)
		}
		late := &member{
			site: "late", addr: "10.77.9.1:9977", dir: filepath.Join(t.TempDir(), "late"), clock: time.Now,
			exit: func(reason string) { t.Errorf("exit: %s", reason) },
		}
		g.start(late)
		g.members = append(g.members, late)
		if err := leader.node.AddMember(ctx, late.site, late.node.ServerID(), late.addr, cluster.Voter); err != nil {
			t.Fatal(err)
		}
		g.Settle()
		if got := leader.node.Stats().Peers[late.node.ServerID()].Snapshots; got != 1 {
			t.Errorf("%d snapshots were sent, want 1", got)
		}
		if got, want := asJSON(t, late.node.State()), asJSON(t, leader.node.State()); got != want {
			t.Errorf("the late member has\n%s\nwant\n%s", got, want)
		}
		g.kill(late)
		g.start(late)
		g.Settle()
		if got, want := asJSON(t, late.node.State()), asJSON(t, leader.node.State()); got != want {
			t.Errorf("after a restart it has\n%s\nwant\n%s", got, want)
		}
	})
}
