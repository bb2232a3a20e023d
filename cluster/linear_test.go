package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// What clients do to the log. Two objects are enough to see every way in which
// it could lie: a pause, which is set, ended, ended if it is the one that was
// meant, and read; and the token of a step, which a retargeting replaces, under
// which the step is claimed, and which the leader then confirms.
const (
	doSet      = "set"      // pause with this value
	doClear    = "clear"    // end whatever pause there is
	doClearIf  = "clear-if" // end the pause with this value
	doRead     = "read"     // the pause, through the log
	doRetarget = "retarget" // to the token with this value
	doClaim    = "claim"    // the step, under the token with this value
	doConfirm  = "confirm"  // that token
)

// act is an operation's input, came its output.
type act struct {
	do    string
	value int
}

type came struct {
	ok      bool // else it was refused, by the state that it met
	unknown bool // it may be done, now or later
	value   int  // that was read
}

// logAsRegisters is the sequential model: the state is the value of the pause
// (0: none), or of the newest token, negative once its step is claimed.
var logAsRegisters = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var pause, token []porcupine.Operation
		for _, op := range history {
			if do := op.Input.(act).do; do == doRetarget || do == doClaim || do == doConfirm {
				token = append(token, op)
			} else {
				pause = append(pause, op)
			}
		}
		return [][]porcupine.Operation{pause, token}
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(int), input.(act), output.(came)
		holds, next := true, now
		switch in.do {
		case doSet, doRetarget:
			next = in.value
		case doClear:
			holds, next = now != 0, 0
		case doClearIf:
			holds, next = now == in.value, 0
		case doClaim:
			holds, next = now == in.value, -in.value
		case doConfirm:
			holds = now == -in.value
		case doRead:
			return out.value == now, now
		}
		if !holds {
			next = now
		}
		return out.unknown || out.ok == holds, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// clientHistory collects what clients did, in the order of calls and returns.
type clientHistory struct {
	order atomic.Int64
	drawn atomic.Int64 // values

	mu  sync.Mutex
	ops []porcupine.Operation
}

// never is when an operation returns of which nobody knows the outcome.
const never = int64(1) << 60

// record runs an operation. One that was surely not done leaves no trace: if it
// was done after all, somebody reads what nobody wrote.
func (h *clientHistory) record(client int, in act, do func() (came, error)) {
	call := h.order.Add(1)
	out, err := do()
	back := h.order.Add(1)
	switch {
	case errors.Is(err, failover.ErrUnknown) && in.do != doRead && in.do != doConfirm:
		out, back = came{unknown: true}, never
	case err != nil:
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
}

// client is one of several that use the log at once, each through any agent.
type client struct {
	*nemesis
	h      *clientHistory
	r      *rand.Rand
	number int
	op     failover.OpID
	tokens *tokens
	read   func(ctx context.Context, l *wholeLife) (int, error)
}

// tokens are the tokens by value that somebody was given.
type tokens struct {
	mu      sync.Mutex
	values  []int
	byValue map[int]failover.Token
}

func (t *tokens) add(value int, token failover.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.values = append(t.values, value)
	t.byValue[value] = token
}

// pick returns one of the newest.
func (t *tokens) pick(r *rand.Rand) (int, failover.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.values[max(0, len(t.values)-1-r.IntN(2))]
	return v, t.byValue[v]
}

// throughTheLog is the read path that is to be linearizable: an entry that
// changes nothing, and then the state of this very agent, once it has it.
func throughTheLog(ctx context.Context, l *wholeLife) (int, error) {
	st, err := l.node.Propose(ctx, failover.EndPause{If: 1 << 62})
	if err != nil && !isRejected(err) {
		return 0, err
	}
	if err := l.node.AwaitApplied(ctx, st.Index); err != nil {
		return 0, err
	}
	return pauseOf(l.node.State())
}

// fromMemory is the one that is not: whatever this agent has.
func fromMemory(_ context.Context, l *wholeLife) (int, error) { return pauseOf(l.node.State()) }

func isRejected(err error) bool {
	_, ok := errors.AsType[*failover.RejectedError](err)
	return ok
}

func pauseOf(s *failover.State) (value int, err error) {
	p, ok := s.Pauses[""]
	if !ok {
		return 0, nil
	}
	_, err = fmt.Sscan(p.Reason, &value)
	return value, err
}

// step does one operation through an agent that may be anything but well.
func (c *client) step(ctx context.Context) {
	l := c.agents[c.ground.Sites()[c.r.IntN(len(c.agents))]].life.Load()
	if l.dead.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second+time.Duration(c.r.Int64N(int64(7*time.Second))))
	defer cancel()
	fresh := int(c.h.drawn.Add(1))
	switch in := (act{value: fresh}); c.r.IntN(9) {
	case 0, 1:
		in.do = doSet
		c.propose(ctx, l, in, failover.SetPause{Reason: fmt.Sprint(fresh)})
	case 2:
		c.propose(ctx, l, act{do: doClear}, failover.EndPause{})
	case 3:
		c.clearIf(ctx, l)
	case 4, 5:
		c.h.record(c.number, act{do: doRead}, func() (came, error) {
			v, err := c.read(ctx, l)
			return came{ok: true, value: v}, err
		})
	case 6:
		in.do = doRetarget
		st := c.propose(ctx, l, in, failover.Retarget{Op: c.op, Guest: linearGuest, Assignment: linearAssignment})
		if st.Index > 0 {
			token := failover.Token{Op: c.op, Guest: linearGuest, Step: failover.StepProtect, Index: st.Index}
			c.tokens.add(fresh, token)
			c.propose(ctx, l, act{do: doClaim, value: fresh}, failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
		}
	default:
		v, token := c.tokens.pick(c.r)
		c.h.record(c.number, act{do: doConfirm, value: v}, func() (came, error) {
			err := l.node.Confirm(ctx, token)
			if isRejected(err) {
				return came{}, nil
			}
			return came{ok: true}, err
		})
	}
}

func (c *client) propose(ctx context.Context, l *wholeLife, in act, cmd failover.Command) (st failover.Stamp) {
	c.h.record(c.number, in, func() (came, error) {
		var err error
		st, err = l.node.Propose(ctx, cmd)
		if isRejected(err) {
			return came{}, nil
		}
		if err != nil {
			st = failover.Stamp{}
		}
		return came{ok: err == nil}, err
	})
	return st
}

// clearIf ends the pause that this agent believes to be in force, if it is.
func (c *client) clearIf(ctx context.Context, l *wholeLife) {
	p, ok := l.node.State().Pauses[""]
	value, err := pauseOf(l.node.State())
	if !ok || err != nil || fmt.Sprint(value) != p.Reason {
		return
	}
	c.propose(ctx, l, act{do: doClearIf, value: value}, failover.EndPause{If: p.By.Index})
}

const linearGuest = failover.GuestID("nuage-moulin")

var linearAssignment = failover.Assignment{
	Guest: linearGuest, Structure: "le-moulin", Priority: 1, Target: "fabrique", Host: "raoull-fabrique", VLAN: 120,
	Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/2026-03-01T00:00:00Z"},
}

// openLinear makes agents that do nothing by themselves, and an operation.
func openLinear(t *testing.T, w *wholeNet, seed uint64) (*nemesis, client) {
	t.Helper()
	w.bare = true
	size := sim.Small
	if seed%3 == 0 {
		size = sim.Full
	}
	w.open(t, seed, size)
	n := &nemesis{wholeNet: w, r: w.seed.Stream("nemesis"), size: size, lost: map[failover.SiteID]bool{}}
	if err := n.form(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	node := w.leader().node
	st, err := node.Propose(ctx, failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain("moulin"), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: "moulin"}, Assignments: []failover.Assignment{linearAssignment}},
	})
	if err != nil {
		t.Fatal(err)
	}
	op := node.State().Ops[failover.OpID(fmt.Sprintf("op-%d", st.Index))]
	c := client{nemesis: n, h: &clientHistory{}, op: op.ID, tokens: &tokens{byValue: map[int]failover.Token{}}, read: throughTheLog}
	c.tokens.add(1<<40, op.TokenOf(linearGuest)) // replaced, as soon as there is another
	return n, c
}

// TestLogIsLinearizable: whatever happens to the agents, what clients see of the
// log is what one that does one thing after the other could have answered.
func TestLogIsLinearizable(t *testing.T) {
	from, seeds := *bubbleFrom, uint64(24)
	switch {
	case *bubbleSeed > 0:
		from, seeds = *bubbleSeed, 1
	case *bubbleSeeds > 0:
		seeds = *bubbleSeeds
	case raced:
		seeds = 2
	case testing.Short():
		seeds = 4
	}
	dir := stateDir(t)
	var done, unknown, refused atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := from; seed < from+seeds; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				w := &wholeNet{dir: fmt.Sprintf("%s/%d", dir, seed)}
				var ops []porcupine.Operation
				synctest.Test(t, func(t *testing.T) { ops = chaos(t, w, seed) })
				if err := os.RemoveAll(w.dir); err != nil {
					t.Error(err)
				}
				for _, op := range ops {
					switch out := op.Output.(came); {
					case out.unknown:
						unknown.Add(1)
					case !out.ok:
						refused.Add(1)
					default:
						done.Add(1)
					}
				}
				if got := porcupine.CheckOperationsTimeout(logAsRegisters, ops, time.Minute); got != porcupine.Ok {
					t.Errorf("seed %d: %s\nreplay: go test ./cluster -run TestLogIsLinearizable -bubble.seed=%d\n%s", seed, got, seed, told(ops))
				}
			})
		}
	})
	t.Logf("%d operations done, %d refused, %d with an unknown outcome", done.Load(), refused.Load(), unknown.Load())
	if per := int64(seeds); done.Load() < 20*per || seeds > 3 && (unknown.Load() == 0 || refused.Load() == 0) {
		t.Errorf("%d done, %d refused, %d unknown: that is no test", done.Load(), refused.Load(), unknown.Load())
	}
}

// chaos has five clients use the log for a while in which everything goes wrong.
func chaos(t *testing.T, w *wholeNet, seed uint64) []porcupine.Operation {
	n, shared := openLinear(t, w, seed)
	defer w.close()
	const length = 60 * time.Second
	for range 6 + n.r.IntN(6) {
		n.trouble(n.between(0, length), len(smallFaults))
	}
	end := time.Now().Add(length)
	var clients sync.WaitGroup
	for i := range 5 {
		c := shared
		c.number, c.r = i, w.seed.Stream(fmt.Sprint("client ", i))
		clients.Go(func() {
			for time.Now().Before(end) {
				c.step(w.ctx)
				_ = sleep(w.ctx, time.Duration(c.r.Int64N(int64(2*time.Second)))) // the end is looked at above
			}
		})
	}
	clients.Wait()
	if err := n.ground.Err(); err != nil {
		t.Errorf("seed %d: %v\nlast events:\n%s", seed, err, strings.Join(n.ground.Account(), "\n"))
	}
	return shared.h.ops
}

// told is a history for people.
func told(ops []porcupine.Operation) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "client %d %5d-%5d %+v → %+v\n", op.ClientId, op.Call, op.Return, op.Input, op.Output)
	}
	return b.String()
}

// TestCheckerRejects: histories that no log may have, and their neighbours that
// it may.
func TestCheckerRejects(t *testing.T) {
	op := func(call, back int64, do string, value int, out came) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: back, Input: act{do, value}, Output: out}
	}
	ok := came{ok: true}
	for name, tt := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"read after set":                   {[]porcupine.Operation{op(1, 2, doSet, 7, ok), op(3, 4, doRead, 0, came{ok: true, value: 7})}, true},
		"stale read after set":             {[]porcupine.Operation{op(1, 2, doSet, 7, ok), op(3, 4, doRead, 0, came{ok: true})}, false},
		"old read beside set":              {[]porcupine.Operation{op(1, 4, doSet, 7, ok), op(2, 3, doRead, 0, came{ok: true})}, true},
		"read goes back":                   {[]porcupine.Operation{op(1, 9, doSet, 7, ok), op(2, 3, doRead, 0, came{ok: true, value: 7}), op(4, 5, doRead, 0, came{ok: true})}, false},
		"read of what was never set":       {[]porcupine.Operation{op(1, 2, doRead, 0, came{ok: true, value: 7})}, false},
		"unknown set is read late":         {[]porcupine.Operation{op(1, never, doSet, 7, came{unknown: true}), op(2, 3, doRead, 0, came{ok: true}), op(4, 5, doRead, 0, came{ok: true, value: 7})}, true},
		"unknown set is never read":        {[]porcupine.Operation{op(1, never, doSet, 7, came{unknown: true}), op(2, 3, doRead, 0, came{ok: true})}, true},
		"unknown set is done twice":        {[]porcupine.Operation{op(1, never, doSet, 7, came{unknown: true}), op(2, 3, doRead, 0, came{ok: true, value: 7}), op(4, 5, doClear, 0, ok), op(6, 7, doRead, 0, came{ok: true, value: 7})}, false},
		"pause is ended twice":             {[]porcupine.Operation{op(1, 2, doSet, 7, ok), op(3, 4, doClear, 0, ok), op(5, 6, doClear, 0, ok)}, false},
		"another pause is ended":           {[]porcupine.Operation{op(1, 2, doSet, 7, ok), op(3, 4, doSet, 8, ok), op(5, 6, doClearIf, 7, ok)}, false},
		"token that was replaced":          {[]porcupine.Operation{op(1, 2, doRetarget, 7, ok), op(3, 4, doClaim, 7, ok), op(5, 6, doRetarget, 8, ok), op(7, 8, doConfirm, 7, ok)}, false},
		"token that was replaced, refused": {[]porcupine.Operation{op(1, 2, doRetarget, 7, ok), op(3, 4, doClaim, 7, ok), op(5, 6, doConfirm, 7, ok), op(7, 8, doRetarget, 8, ok), op(9, 10, doConfirm, 7, came{})}, true},
		"claim under an old token":         {[]porcupine.Operation{op(1, 2, doRetarget, 7, ok), op(3, 4, doRetarget, 8, ok), op(5, 6, doClaim, 7, ok)}, false},
	} {
		if got := porcupine.CheckOperations(logAsRegisters, tt.ops); got != tt.want {
			t.Errorf("%s: linearizable %t, want %t", name, got, tt.want)
		}
	}
}

// TestStaleReadsAreCaught: the same clients with a read path that asks nobody.
func TestStaleReadsAreCaught(t *testing.T) {
	for name, tt := range map[string]struct {
		read func(context.Context, *wholeLife) (int, error)
		want porcupine.CheckResult
	}{
		"from memory":     {fromMemory, porcupine.Illegal},
		"through the log": {throughTheLog, porcupine.Ok},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wholeNet{dir: t.TempDir()}
			synctest.Test(t, func(t *testing.T) {
				n, c := openLinear(t, w, 1)
				defer w.close()
				ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
				defer cancel()
				leader := w.leader()
				var behind *wholeLife
				for _, a := range w.agents {
					if l := a.life.Load(); l != leader {
						behind = l
					}
				}
				read := func() {
					c.h.record(0, act{do: doRead}, func() (came, error) {
						v, err := tt.read(ctx, behind)
						return came{ok: true, value: v}, err
					})
				}
				read()
				n.net.set(hostOf(behind.addr), true)
				c.propose(ctx, leader, act{do: doSet, value: 1}, failover.SetPause{Reason: "1"})
				read()
				n.net.set(hostOf(behind.addr), false)
				if got := porcupine.CheckOperationsTimeout(logAsRegisters, c.h.ops, time.Minute); got != tt.want {
					t.Errorf("%s, want %s\n%s", got, tt.want, told(c.h.ops))
				}
			})
		})
	}
}
