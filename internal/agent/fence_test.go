package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// plug is a fence whose host is on until it is put off.
type plug struct {
	off    bool
	puts   int
	dead   bool // put off without effect
	failed error
}

func (p *plug) Off(context.Context) (bool, string, error) { return p.off, "plug says off", p.failed }

func (p *plug) PutOff(context.Context) error {
	p.puts++
	p.off = !p.dead
	return p.failed
}

// rescue begins a rescue of the dead structure's host at the rig's site.
func (r *rig) rescue(fence string, fences map[string]agent.Fence, answers bool) {
	r.t.Helper()
	s := spec()
	here := s.Sites[away]
	here.Hosts["pve-dead"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.30.1.10:8006", Node: "pve-dead"}, Fence: fence}
	s.Sites[away] = here
	g := s.Guests[guest]
	g.Host = "pve-dead"
	s.Guests[guest] = g
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s})
	r.must(failover.BeginOp{
		Kind: failover.KindRescue, Domain: failover.HostDomain("pve-dead"), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: away, Host: "pve-dead", Local: true}, Assignments: []failover.Assignment{{
			Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120,
			Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + r.now.UTC().Format(time.RFC3339), Namespace: "moulin", Time: r.now, Size: 1 << 18},
		}}},
	})
	r.executor.Fences, r.executor.Answers = fences, func(context.Context, string) bool { return answers }
}

func TestRescuePutsTheDeadHostOffFirst(t *testing.T) {
	p := &plug{}
	r := newRig(t)
	r.rescue("plug", map[string]agent.Fence{"plug": p}, false)
	r.until("fence running")
	if g, ok := r.pve.Guest(vmid); !ok || g.Running || p.puts != 0 {
		t.Fatalf("before the fence: copy there %t, running %t, put off %d times", ok, g.Running, p.puts)
	}
	r.until("start running")
	if !p.off || p.puts != 1 {
		t.Errorf("host off %t after %d requests, want off after 1", p.off, p.puts)
	}
	r.until("nothing left")
	if got := r.log.state.Guests[guest]; got.Owner != away || got.Host != "pve-quai" || got.Serving != away {
		t.Errorf("placement %+v, want at %s on pve-quai", got, away)
	}
}

// Somebody may give the host back its power between the proof and the start (simulator, seed 3217).
func TestRescueIsNotStartedBesideAHostThatIsBack(t *testing.T) {
	r := newRig(t)
	r.rescue("plug", map[string]agent.Fence{"plug": &plug{}}, false)
	r.until("start pending")
	r.executor.Answers = func(context.Context, string) bool { return true }
	r.until("start failed")
	if n := r.count("POST", "/status/start"); n != 0 || !strings.Contains(r.note(), "answers at") {
		t.Errorf("%d starts, note %q; want none, and that the host answers", n, r.note())
	}
}

// It may come back between the first look and the request to its fence (simulator, seeds 76 and 288).
func TestHostThatIsBackIsNotPutOff(t *testing.T) {
	p := &plug{}
	r := newRig(t)
	r.rescue("plug", map[string]agent.Fence{"plug": p}, false)
	looks := 0
	r.executor.Answers = func(context.Context, string) bool { looks++; return looks > 1 }
	r.until("fence failed")
	if p.puts != 0 || !strings.Contains(r.note(), "answers at") {
		t.Errorf("put off %d times, note %q; want never, and that it answers", p.puts, r.note())
	}
}

func TestWhatProvesThatAHostIsOff(t *testing.T) {
	broken := errors.New("no route to plug")
	for _, tc := range []struct {
		name    string
		fence   string
		plug    *plug
		answers bool
		word    bool // of a person
		want    failover.Failure
		puts    int
	}{
		{"off already", "plug", &plug{off: true}, false, false, "", 0},
		{"put off", "plug", &plug{}, false, false, "", 1},
		{"a person's word", "", nil, false, true, "", 0},
		{"nothing declared", "", nil, false, false, failover.FailProof, 0},
		{"declared and not set up", "socket", &plug{}, false, false, failover.FailProof, 0},
		{"no effect", "plug", &plug{dead: true}, false, false, failover.FailTransient, 1},
		{"unreachable", "plug", &plug{failed: broken}, false, false, failover.FailTransient, 0},
		{"it answers", "plug", &plug{}, true, false, failover.FailFatal, 0},
		{"it answers, whatever a person says", "", nil, true, true, failover.FailFatal, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			fences := map[string]agent.Fence{}
			if tc.plug != nil {
				fences["plug"] = tc.plug
			}
			r.rescue(tc.fence, fences, tc.answers)
			r.until("fence pending")
			if tc.word {
				op := r.op()
				r.must(failover.Stick{Op: op.ID, Guest: guest, Reason: failover.Reason{Code: failover.CodeNoProof}})
				r.must(failover.RetryOp{Op: op.ID, HostOff: true})
			}
			for range 2000 {
				if step, _, _ := r.run().Current(); step.ID != failover.StepFence || step.Status == failover.StatusFailed {
					break
				}
				r.step()
			}
			step, _ := r.run().Step(failover.StepFence)
			if step.Failure != tc.want || (step.Status == failover.StatusDone) != (tc.want == "") {
				t.Errorf("fence is %s %q %q, want failure %q", step.Status, step.Failure, step.Note, tc.want)
			}
			if tc.plug != nil && tc.plug.puts != tc.puts {
				t.Errorf("put off %d times, want %d", tc.plug.puts, tc.puts)
			}
			if tc.want != "" && r.run().Owned() {
				t.Error("owned without proof")
			}
		})
	}
}

// TestNoFenceWithoutTheLeader: an agent that the leader does not confirm cuts nothing off.
func TestNoFenceWithoutTheLeader(t *testing.T) {
	p := &plug{}
	r := newRig(t)
	r.rescue("plug", map[string]agent.Fence{"plug": p}, false)
	r.until("fence running")
	r.log.confirm = func(failover.Token) error { return failover.ErrNoLeader }
	for range 100 {
		r.step()
	}
	if p.puts != 0 {
		t.Errorf("put off %d times without the leader's word", p.puts)
	}
}

func TestExecFence(t *testing.T) {
	dir := t.TempDir()
	program := func(name, body string, mode os.FileMode) []string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return []string{path, filepath.Join(dir, "state")}
	}
	good := `case "$2" in status) cat "$1" 2>/dev/null || echo on;; off) echo off >"$1";; *) exit 9;; esac`
	f := agent.ExecFence{Command: program("plug", good, 0o755)}
	off, _, err := f.Off(t.Context())
	if off || err != nil {
		t.Fatalf("before: off %t, %v", off, err)
	}
	if err := f.PutOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	off, how, err := f.Off(t.Context())
	if !off || err != nil || !strings.Contains(how, "plug") {
		t.Errorf("after: off %t, how %q, %v", off, how, err)
	}
	for name, tc := range map[string]struct {
		command []string
		says    string
	}{
		"fails":           {program("fails", "echo no bus >&2; exit 3", 0o755), "no bus"},
		"babbles":         {program("babbles", "echo maybe", 0o755), "neither on nor off"},
		"others may edit": {program("loose", good, 0o757), "go-w"},
		"is not there":    {[]string{filepath.Join(dir, "none")}, "no such file"},
		"is empty":        {nil, "no command"},
	} {
		if off, _, err := (agent.ExecFence{Command: tc.command}).Off(t.Context()); off || err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("a program that %s: off %t, %v, want an error with %q", name, off, err, tc.says)
		}
	}
}

// watch is a fence that only looks; what it sees is told look by look, the last for ever.
type watch struct {
	plug
	sees  []bool // silence
	err   error
	looks int
}

func (w *watch) Off(context.Context) (bool, string, error) {
	w.looks++
	silent := w.sees[0]
	if len(w.sees) > 1 {
		w.sees = w.sees[1:]
	}
	if silent {
		return true, "nobody answers", nil
	}
	return false, "10.120.0.11 answers ARP", w.err
}

func (*watch) OnlyLooks() string { return "it cannot be put off" }

// TestLooksAreApart: what was in use a moment ago is remembered for some seconds, so looks that
// follow each other at once would call a person for nothing. The log's clock may be wrong meanwhile.
func TestLooksAreApart(t *testing.T) {
	w := &watch{sees: []bool{false}}
	r := newRig(t)
	r.rescue("lan", map[string]agent.Fence{"lan": w}, false)
	r.until("fence running")
	r.now = r.now.Add(time.Hour) // the log's clock is an hour behind the driver's
	r.executor.Clock = &agent.LogClock{}
	var at []time.Time
	for r.status() == "fence running" && len(at) < 100 {
		looks, next := w.looks, r.now
		for _, worker := range r.executor.Workers(r.now) {
			next = worker.Step(t.Context(), r.now)
		}
		if w.looks > looks {
			at = append(at, r.now)
		}
		if r.now = r.now.Add(time.Millisecond); next.After(r.now) {
			r.now = next
		}
	}
	if len(at) < 2 || r.status() != "fence failed" {
		t.Fatalf("%d looks, then %s", len(at), r.status())
	}
	for i := range at[1:] {
		if apart := at[i+1].Sub(at[i]); apart < 2*time.Second {
			t.Errorf("looks %d and %d are %s apart", i, i+1, apart)
		}
	}
}

// TestSilenceProvesTheHostOff: after three looks in a row at nobody the rescue goes on; as long as
// anybody answers, or it cannot be told, nothing is owned and a person is asked, who is told what answers.
func TestSilenceProvesTheHostOff(t *testing.T) {
	for what, tt := range map[string]struct {
		sees []bool
		err  error
		says string
		done bool
	}{
		"silent":                   {sees: []bool{true}, says: "nobody answers", done: true},
		"an address of old":        {sees: []bool{false, true, true, false, true}, says: "nobody answers", done: true},
		"believed for long":        {sees: []bool{false, false, false, false, false, false, false, false, false, false, false, true}, says: "nobody answers", done: true},
		"a guest answers":          {sees: []bool{false}, says: "answers ARP; it cannot be put off"},
		"never three in a row":     {sees: []bool{true, true, false, true, true, false, true, true, false, true, true, false, true, true, false, true}, says: "cannot be put off"},
		"the network is broken":    {sees: []bool{false}, err: errors.New("the witness is silent"), says: "the witness is silent"},
		"silent until it is asked": {sees: []bool{true, true, false}, says: "answers ARP"},
	} {
		t.Run(what, func(t *testing.T) {
			w := &watch{sees: tt.sees, err: tt.err}
			r := newRig(t)
			r.rescue("lan", map[string]agent.Fence{"lan": w}, false)
			if tt.done {
				r.until("nothing left")
				if got := r.log.state.Guests[guest]; got.Owner != away || got.Host != "pve-quai" {
					t.Errorf("placement %+v, want rescued", got)
				}
			} else {
				r.until("fence failed")
				if got := r.log.state.Guests[guest]; got.Host == "pve-quai" || !strings.Contains(r.note(), tt.says) {
					t.Errorf("placement %+v, note %q; want nothing owned and %q", got, r.note(), tt.says)
				}
			}
			if w.puts != 0 {
				t.Errorf("the host was put off %d times by what only looks", w.puts)
			}
		})
	}
}
