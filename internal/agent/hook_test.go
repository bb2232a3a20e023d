package agent_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// script is a program whose ends are given one after the other.
type script struct {
	ends []error // of its calls; those after them are well
	env  [][]string
	at   func() // in the middle of a call
}

func (s *script) Run(_ context.Context, env []string) (string, error) {
	s.env = append(s.env, env)
	if s.at != nil {
		s.at()
	}
	if n := len(s.env); n <= len(s.ends) && s.ends[n-1] != nil {
		return "told you", s.ends[n-1]
	}
	return "well", nil
}

// hooks begins a failover of a guest with programs.
func (r *rig) hooks(h network.Hooks, programs map[string]agent.Program) {
	s := spec()
	g := s.Guests[guest]
	g.Hooks = &h
	s.Guests[guest] = g
	r.beginWith(s.WithDefaults(), "vm/1101")
	r.executor.Programs = programs
}

func TestProgramsAreCalledAroundAMove(t *testing.T) {
	ask, tell := &script{}, &script{}
	r := newRig(t)
	r.hooks(network.Hooks{Before: &network.Hook{Run: "ask", Veto: true}, After: &network.Hook{Run: "tell"}}, map[string]agent.Program{"ask": ask, "tell": tell})
	ask.at = func() {
		if r.run().Owned() {
			t.Error("asked after ownership moved")
		}
	}
	tell.at = func() {
		if r.log.state.Guests[guest].Serving != away {
			t.Error("told before the guest serves")
		}
	}
	r.until("nothing left")
	if len(ask.env) != 1 || len(tell.env) != 1 {
		t.Fatalf("called %d and %d times, want once each", len(ask.env), len(tell.env))
	}
	all := strings.Join(ask.env[0], "\n")
	for _, want := range []string{"WWW_KIND=failover", "WWW_STEP=before", "WWW_GUEST=nuage", "WWW_FROM=moulin", "WWW_SITE=quai", "WWW_ID=90000", "WWW_TOKEN=op-3/nuage/before/3/1"} {
		if !strings.Contains(all, want) {
			t.Errorf("environment without %s:\n%s", want, all)
		}
	}
}

func TestHowAProgramEnds(t *testing.T) {
	no, late := errors.New("exit status 1"), context.DeadlineExceeded
	for _, tc := range []struct {
		name  string
		hook  network.Hook
		ends  []error
		gone  bool // the site's file has no such program
		calls int
		want  string // the run stands at
		note  string
	}{
		{"says no", network.Hook{Veto: true}, []error{no}, false, 1, "before failed", "told you"},
		{"says no without a veto", network.Hook{}, []error{no}, false, 1, "own pending", ""},
		{"takes too long", network.Hook{Veto: true, Within: network.Duration(20 * time.Second)}, []error{late}, false, 1, "before failed", "not done within 20s"},
		{"takes too long without a veto", network.Hook{}, []error{late}, false, 1, "own pending", ""},
		{"is not there", network.Hook{Veto: true}, nil, true, 0, "before failed", `has no program "ask"`},
		{"is not there, without a veto", network.Hook{}, nil, true, 0, "own pending", ""},
		{"not yet", network.Hook{Veto: true}, []error{agent.ErrNotYet}, false, 1, "before failed", "transient told you"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &script{ends: tc.ends}
			r := newRig(t)
			tc.hook.Run = "ask"
			r.hooks(network.Hooks{Before: &tc.hook}, map[string]agent.Program{"ask": p})
			if tc.gone {
				r.executor.Programs = nil
			}
			r.until("before running")
			for range 20 {
				if step, _, _ := r.run().Current(); step.ID != failover.StepBefore || step.Status == failover.StatusFailed {
					break
				}
				r.step()
			}
			if tc.want == "own pending" {
				step, _ := r.run().Step(failover.StepBefore)
				if step.Status != failover.StatusDone || step.Failure != failover.FailHook {
					t.Errorf("the step is %+v, want done with its failure on record", step)
				}
			} else if r.status() != tc.want || !strings.Contains(r.note(), tc.note) {
				t.Errorf("%s, note %q; want %s, %q", r.status(), r.note(), tc.want, tc.note)
			}
			if len(p.env) != tc.calls {
				t.Errorf("called %d times, want %d", len(p.env), tc.calls)
			}
		})
	}
}

// An agent that dies while a program runs does not know what it did: it is called again
// only if that does no harm.
func TestAgentDiesWhileAProgramRuns(t *testing.T) {
	for _, repeat := range []bool{false, true} {
		p := &script{}
		r := newRig(t)
		r.hooks(network.Hooks{Before: &network.Hook{Run: "ask", Veto: true, Repeat: repeat}}, map[string]agent.Program{"ask": p})
		r.when("called", func() bool { return len(p.env) == 1 })
		// The step has not been reported: the same as death in the middle.
		r.restart()
		r.executor.Programs = map[string]agent.Program{"ask": p}
		want := map[bool]string{false: "before failed", true: "start pending"}[repeat]
		r.until(want)
		if calls := map[bool]int{false: 1, true: 2}[repeat]; len(p.env) != calls {
			t.Errorf("repeat %t: called %d times, want %d", repeat, len(p.env), calls)
		}
		if !repeat && !strings.Contains(r.note(), "nobody knows what it did") {
			t.Errorf("note %q, want that nobody knows", r.note())
		}
	}
}

// An agent that starts from a snapshot from before the claim sees the step wait. Its own claim
// is taken for progress of the one before it, and the program is not called again.
func TestStaleAgentCallsNoProgramAgain(t *testing.T) {
	p := &script{}
	r := newRig(t)
	r.hooks(network.Hooks{Before: &network.Hook{Run: "ask", Veto: true}}, map[string]agent.Program{"ask": p})
	r.until("before pending")
	old := r.log.state
	r.when("called", func() bool { return len(p.env) == 1 })
	r.log.hold = old
	r.restart()
	r.executor.Programs = map[string]agent.Program{"ask": p}
	made := len(r.log.made)
	r.when("claimed again", func() bool { return len(r.log.made) > made })
	r.log.hold = nil
	r.until("before failed")
	if len(p.env) != 1 || !strings.Contains(r.note(), "nobody knows what it did") {
		t.Errorf("called %d times, note %q; want once, and that nobody knows", len(p.env), r.note())
	}
}

// A claim whose answer was lost is no call: the same process knows that it has called nothing.
func TestLostClaimIsNoCall(t *testing.T) {
	p := &script{}
	r := newRig(t)
	r.hooks(network.Hooks{Before: &network.Hook{Run: "ask", Veto: true}}, map[string]agent.Program{"ask": p})
	r.until("before pending")
	r.log.lose = func(c failover.Command) bool {
		m, ok := c.(failover.StepMoved)
		r.log.lose = nil
		return ok && m.Token.Step == failover.StepBefore
	}
	r.until("start pending")
	if len(p.env) != 1 {
		t.Errorf("called %d times, want once", len(p.env))
	}
}

// A report that the log refuses does not have the program called again.
func TestRefusedReportIsNoSecondCall(t *testing.T) {
	p := &script{}
	r := newRig(t)
	r.hooks(network.Hooks{Before: &network.Hook{Run: "ask", Veto: true}}, map[string]agent.Program{"ask": p})
	refused := 0
	r.log.propose = func(c failover.Command) error {
		if m, ok := c.(failover.StepMoved); ok && m.Token.Step == failover.StepBefore && m.To == failover.StatusDone && refused < 2 {
			refused++
			return &failover.RejectedError{Reason: failover.Reason{Code: failover.CodeUnconfirmed}}
		}
		return nil
	}
	r.until("start pending")
	if len(p.env) != 1 || refused != 2 {
		t.Errorf("called %d times over %d refusals, want once over 2", len(p.env), refused)
	}
}

// No program is called without the leader's word.
func TestNoProgramWithoutTheLeader(t *testing.T) {
	p := &script{}
	r := newRig(t)
	r.hooks(network.Hooks{Before: &network.Hook{Run: "ask"}}, map[string]agent.Program{"ask": p})
	r.until("before running")
	r.log.confirm = func(failover.Token) error { return failover.ErrNoLeader }
	for range 100 {
		r.step()
	}
	if len(p.env) != 0 {
		t.Errorf("called %d times without the leader's word", len(p.env))
	}
}

// A check of kind exec is asked until it ends well, with the guest's address.
func TestCheckByAProgram(t *testing.T) {
	p := &script{ends: []error{errors.New("exit status 1"), errors.New("exit status 1")}}
	r := newRig(t)
	s := spec()
	g := s.Guests[guest]
	g.Check = &network.Check{Exec: "probe"}
	s.Guests[guest] = g
	r.beginWith(s.WithDefaults(), "vm/1101")
	r.executor.Programs = map[string]agent.Program{"probe": p}
	r.until("nothing left")
	if len(p.env) != 3 || !strings.Contains(strings.Join(p.env[2], "\n"), "WWW_ADDRESS=10.10.120.5") {
		t.Errorf("called %d times, the last with %v; want 3, with the address", len(p.env), p.env)
	}
}

func TestExecProgram(t *testing.T) {
	dir := t.TempDir()
	program := func(name, body string) agent.ExecProgram {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return agent.ExecProgram{Command: []string{path, "argument"}}
	}
	t.Setenv("SECRET_OF_THE_AGENT", "x")
	said, err := program("well", `echo "$1 $WWW_GUEST $SECRET_OF_THE_AGENT."; echo more`).Run(t.Context(), []string{"WWW_GUEST=nuage"})
	if said != "argument nuage ." || err != nil {
		t.Errorf("said %q, %v; want the first line, and none of the agent's environment", said, err)
	}
	if _, err := program("later", "exit 75").Run(t.Context(), nil); !errors.Is(err, agent.ErrNotYet) {
		t.Errorf("exit code 75: %v, want ErrNotYet", err)
	}
	said, err = program("no", "echo the contract forbids it >&2; exit 1").Run(t.Context(), nil)
	if said != "the contract forbids it" || err == nil || errors.Is(err, agent.ErrNotYet) {
		t.Errorf("said %q, %v; want its complaint and an error", said, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := program("hangs", "exec tail -f /dev/null").Run(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that hangs: %v, want DeadlineExceeded", err)
	}
}

// What a program has started ends with it: the pipe that its child holds has no writer any more.
func TestExecProgramEndsWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	path, pipe := filepath.Join(dir, "program"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ntail -f /dev/null >"+pipe+" & wait\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := agent.ExecProgram{Command: []string{path}}.Run(ctx, nil)
		ended <- err
	}()
	f, err := os.Open(pipe) // once the child has opened it, too
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if err := <-ended; err == nil {
		t.Error("a program that was killed ended well")
	}
	if _, err := io.ReadAll(f); err != nil {
		t.Error(err)
	}
}
