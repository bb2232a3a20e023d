package sim

import (
	_ "embed" // of the list of what is expected
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// Coverage counts what happened in runs, by kind and name: "phase home→preparing",
// "cause lost", "code WWW-1301", "error locked", "crash before confirm".
type Coverage map[string]int

// Add adds the counts of another run.
func (c Coverage) Add(o Coverage) {
	for k, n := range o {
		c[k] += n
	}
}

// Of returns the names of one kind that occurred, in order.
func (c Coverage) Of(kind string) []string {
	var out []string
	for k := range c {
		if name, ok := strings.CutPrefix(k, kind+" "); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Kinds of what is counted.
const (
	coverPhase   = "phase"   // of a guest: from→to
	coverOp      = "op"      // phase of an operation: from→to
	coverRun     = "run"     // state of a guest's run: from→to
	coverStep    = "step"    // id: from→to
	coverFailure = "failure" // kind of a step's failure
	coverCause   = "cause"   // of a verdict on record
	coverLevel   = "level"
	coverCode    = "code"    // of an event, a hold, a reason to be stuck
	coverRefusal = "refusal" // code of a rejected entry
	coverError   = "error"   // kind of what Proxmox answered
	coverCrash   = "crash"   // boundary at which an agent died
	coverReply   = "reply"   // what became of an answer of Proxmox
	coverLog     = "log"     // what became of a proposal
	coverPrimary = "primary" // what became of an update of the zone
	coverTrouble = "trouble" // that was planned, by its first words
	coverHistory = "history" // what a history has told of
)

func (c Coverage) count(kind, format string, args ...any) { c[kind+" "+fmt.Sprintf(format, args...)]++ }

// entry takes note of what an entry of the log has changed.
func (c Coverage) entry(prev, next *failover.State, e Committed) {
	if r, ok := e.Rejected.(*failover.RejectedError); ok {
		c.count(coverRefusal, "%s", r.Reason.Code)
		return
	}
	if _, quiet := e.Command.(failover.Report); quiet {
		return
	}
	for i := range next.Events[min(len(prev.Events), len(next.Events)):] {
		c.count(coverCode, "%s", next.Events[min(len(prev.Events), len(next.Events))+i].Reason.Code)
	}
	switch cmd := e.Command.(type) {
	case failover.Assess:
		c.count(coverCause, "%s", cmd.Cause)
		c.count(coverLevel, "%s", cmd.Level)
		if !cmd.Held.IsZero() {
			c.count(coverCode, "%s", cmd.Held.Code)
		}
	case failover.StepMoved:
		if cmd.Failure != "" {
			c.count(coverFailure, "%s", cmd.Failure)
		}
	}
	for id, n := range next.Guests {
		if p := prev.Guests[id]; p.Phase != n.Phase {
			c.count(coverPhase, "%s→%s", p.Phase, n.Phase)
		}
	}
	for id, n := range next.Ops {
		c.op(prev.Ops[id], n)
	}
}

func (c Coverage) op(p, n failover.Operation) {
	if p.Phase != n.Phase {
		c.count(coverOp, "%s→%s", p.Phase, n.Phase)
	}
	for g, run := range n.Guests {
		old := p.Guests[g]
		if old.State != run.State {
			c.count(coverRun, "%s→%s", old.State, run.State)
			if !run.Stuck.IsZero() {
				c.count(coverCode, "%s", run.Stuck.Code)
			}
		}
		for i, st := range run.Steps {
			from := failover.StepStatus("")
			if i < len(old.Steps) && old.Steps[i].ID == st.ID {
				from = old.Steps[i].Status
			}
			if from != st.Status {
				c.count(coverStep, "%s: %s→%s", st.ID, from, st.Status)
			}
		}
	}
}

// crash takes note of a boundary that an agent died at: of "before nuage: restore:
// post restore" the guest is left out.
func (c Coverage) crash(boundary string) {
	when, rest, _ := strings.Cut(boundary, " ")
	if _, what, ok := strings.Cut(rest, ": "); ok {
		rest = what
	}
	c.count(coverCrash, "%s %s", when, rest)
}

// Missing names what can occur and did not.
func Missing(c Coverage) []string {
	var out []string
	for _, k := range expected() {
		if c[k] == 0 {
			out = append(out, k)
		}
	}
	return out
}

// everything is what occurred in long runs, a line each: what a change of the
// program or of the simulator makes unreachable is missed by the next soak.
//
//go:embed expected.txt
var everything string

func expected() []string { return strings.Split(strings.TrimSpace(everything), "\n") }

// Expects says whether something of a kind is expected to occur whose name holds a word.
func Expects(kind, word string) bool {
	return slices.ContainsFunc(expected(), func(k string) bool {
		name, ok := strings.CutPrefix(k, kind+" ")
		return ok && slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" →:", r) }), word)
	})
}
