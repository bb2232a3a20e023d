package failover_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// entry is a line of the log as every replica reads it.
type entry struct {
	stamp failover.Stamp
	kind  reflect.Type
	body  []byte
}

// command decodes the entry anew: replicas share nothing.
func (e entry) command(t testing.TB) failover.Command {
	v := reflect.New(e.kind)
	if err := json.Unmarshal(e.body, v.Interface()); err != nil {
		t.Fatalf("%s: %v", e.body, err)
	}
	return v.Elem().Interface().(failover.Command)
}

// TestRandomLog plays random logs to three replicas that lag: sensible work and
// every kind of nonsense mixed. After every command the invariants hold, a
// refusal has changed nothing, and replicas at the same index are equal.
func TestRandomLog(t *testing.T) {
	const seeds, length = 12, 2000 / slow
	var accepted [seeds]map[string]int
	t.Run("seed", func(t *testing.T) {
		for seed := range accepted {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				accepted[seed] = playRandom(t, uint64(seed), length)
			})
		}
	})
	total := map[string]int{}
	for _, counts := range accepted {
		for name, n := range counts {
			total[name] += n
		}
	}
	// A generator that no longer reaches the interesting states shows nothing.
	for _, kind := range []string{
		"BeginOp", "CommitOp", "CancelOp", "ResumeOp", "EndOp", "Own", "Serve", "Retarget", "Stick", "RetryOp", "RetryStep",
		"Approve", "MarkDiverged", "ApplyNetwork", "Ack", "Assess", "SetPause", "EndPause", "AwayBackup",
	} {
		if total[kind] < 5 && slow == 1 {
			t.Errorf("%s was accepted %d times only", kind, total[kind])
		}
	}
}

func playRandom(t *testing.T, seed uint64, length int) map[string]int {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, s: failover.NewState(), now: start, term: 1}
	var logbook []entry
	replicas := []*failover.State{failover.NewState(), failover.NewState()}
	accepted := map[string]int{}
	for len(logbook) < length {
		c := g.next()
		body, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("encode %T: %v", c, err)
		}
		e := entry{kind: reflect.TypeOf(c), body: body, stamp: failover.Stamp{
			Index: g.s.Index + 1 + uint64(g.IntN(2)), Term: g.term, At: g.stampTime(), ID: g.id(), Actor: "test",
		}}
		logbook = append(logbook, e)
		prev, next := g.s, g.s.CloneFor(c)
		_, report := c.(failover.Report)
		report = report && g.IntN(8) == 0
		var was []byte
		if report {
			was, _ = json.Marshal(prev)
		}
		err = next.Apply(e.stamp, e.command(t))
		if report {
			if is, err := json.Marshal(prev); err != nil || string(is) != string(was) {
				t.Fatalf("seed %d, entry %d: %s changed the state that it was cloned from: %v", seed, len(logbook), body, err)
			}
		}
		if diff := briefDiffers(next, g.now); diff != "" {
			t.Fatalf("seed %d, entry %d: %s", seed, len(logbook), diff)
		}
		if violation := failover.Check(prev, next); violation != nil {
			t.Fatalf("seed %d, entry %d, %s %s: %v", seed, len(logbook), e.kind.Name(), body, violation)
		}
		if err == nil {
			accepted[e.kind.Name()]++
		} else if g.IntN(10) == 0 {
			if got, want := withoutStamp(t, next), withoutStamp(t, prev); got != want {
				t.Fatalf("seed %d, entry %d, %s %s was refused (%v) and changed the state:\n got %s\nwant %s", seed, len(logbook), e.kind.Name(), body, err, got, want)
			}
		}
		g.s = next
		g.look()
		if len(logbook)%250 == 0 || len(logbook) == length {
			catchUp(t, seed, logbook, replicas, g)
		}
	}
	return accepted
}

// catchUp lets the replicas read on, one of them through a snapshot, and
// compares them where all are at the end.
func catchUp(t *testing.T, seed uint64, logbook []entry, replicas []*failover.State, g *generator) {
	t.Helper()
	want := encode(t, g.s)
	for i, s := range replicas {
		if i == 1 {
			s = decode(t, encode(t, s))
			replicas[i] = s
		}
		for _, e := range logbook {
			if e.stamp.Index > s.Index {
				_ = s.Apply(e.stamp, e.command(t)) // refusals are part of the log
			}
		}
		if got := encode(t, s); got != want {
			t.Fatalf("seed %d, entry %d: replica %d differs:\n got %s\nwant %s", seed, len(logbook), i, got, want)
		}
	}
}

// TestGarbageWithoutNetwork: before a network is declared everything that needs
// one is refused, whatever it says.
func TestGarbageWithoutNetwork(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2)), t: t, s: failover.NewState(), now: start}
	for i := range 3000 {
		c := g.nonsense()
		if _, ok := c.(failover.ApplyNetwork); ok {
			continue
		}
		prev := g.s.Clone()
		_ = g.s.Apply(failover.Stamp{Index: uint64(i), Term: uint64(g.IntN(3)), At: g.now}, c)
		if err := failover.Check(prev, g.s); err != nil && g.s.Term >= prev.Term {
			t.Fatalf("%T: %v", c, err)
		}
		g.look()
	}
	if err := g.s.Apply(failover.Stamp{Index: 9999}, nil); err == nil {
		t.Error("no command at all was accepted")
	}
	if len(g.s.Ops)+len(g.s.Guests)+len(g.s.Domains) > 0 {
		t.Errorf("%d operations, %d guests, %d domains without a network", len(g.s.Ops), len(g.s.Guests), len(g.s.Domains))
	}
}

// look calls everything that reads a state: none of it may panic, and none may
// write to it.
func (g *generator) look() {
	if g.IntN(30) != 0 {
		return
	}
	before := encode(g.t, g.s)
	now := g.someTime()
	failover.Explain(g.s, failover.LocalView{Site: g.site(), HasLeader: g.IntN(2) == 0}, now)
	failover.ExplainGuests(g.s, now)
	failover.ExplainOp(g.s, g.op(), now)
	failover.Runnable(g.s, g.site(), now)
	failover.PlanFor(g.s, g.loss(), now)
	failover.Decide(g.s, now)
	_ = g.s.TokenCurrent(g.token())
	if after := encode(g.t, g.s); after != before {
		g.t.Fatalf("a reader changed the state:\n got %s\nwant %s", after, before)
	}
}

// stampTime is a leader's clock: it mostly runs on, and is sometimes behind.
func (g *generator) stampTime() time.Time {
	if g.IntN(50) == 0 {
		return g.now.Add(-time.Hour)
	}
	return g.now
}

// someTime is any reader's clock.
func (g *generator) someTime() time.Time {
	switch g.IntN(10) {
	case 0:
		return time.Time{}
	case 1:
		return g.now.AddDate(50, 0, 0)
	}
	return g.now
}

// briefDiffers compares the verdicts that Decide works with with those that
// people are shown.
func briefDiffers(s *failover.State, now time.Time) string {
	full, brief := failover.Judge(s, now), failover.JudgeBrief(s, now)
	if len(full) != len(brief) {
		return fmt.Sprintf("%d verdicts, in brief %d", len(full), len(brief))
	}
	for id, f := range full {
		b := brief[id]
		if b.Votes == nil {
			f.Votes = nil
		}
		if !reflect.DeepEqual(f, b) {
			return fmt.Sprintf("%s: %+v, in brief %+v", id, f, b)
		}
	}
	return ""
}
