package failover

import (
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A guest's declaration names programs that an operation calls: one before anything is done
// to the guest that cannot be taken back, one when its new copy serves. Each is a step like
// any other: claimed in the log before it runs, so that whoever goes on after a crash knows
// that it may have run.

// hookPoints are the steps of which the first in a run is what the hook comes before.
var hookPoints = []StepID{StepFence, StepOwn, StepShutdown, StepLeave}

// called says whether a step calls a program that the guest's declaration names.
func (s StepID) called() bool { return s == StepBefore || s == StepAfter }

// withHooks puts the steps of the guest's hooks into the way of a run.
func (s *State) withHooks(g GuestID, steps []Step) []Step {
	hooks := s.Network.Guests[g].Hooks
	if hooks == nil {
		return steps
	}
	at := func(ids ...StepID) int {
		return slices.IndexFunc(steps, func(st Step) bool { return slices.Contains(ids, st.ID) })
	}
	if i := at(hookPoints...); i >= 0 && hooks.Before != nil {
		steps = slices.Insert(steps, i, pendingSteps(StepBefore)...)
	}
	if i := at(StepServe); i >= 0 && hooks.After != nil {
		steps = slices.Insert(steps, i+1, pendingSteps(StepAfter)...)
	}
	return steps
}

// HookOf is what a step of a guest's run calls, by the declaration that is in force; ok is
// false when nothing is declared any more.
func (s *State) HookOf(g GuestID, step StepID) (hook network.Hook, ok bool) {
	hooks := s.Network.Guests[g].Hooks
	if hooks == nil {
		return network.Hook{}, false
	}
	switch {
	case step == StepBefore && hooks.Before != nil:
		return *hooks.Before, true
	case step == StepAfter && hooks.After != nil:
		return *hooks.After, true
	}
	return network.Hook{}, false
}

// hookReason is a reason that concerns the program which a step calls.
func (s *State) hookReason(code string, op OpID, run GuestRun, step StepID, note string) Reason {
	hook, _ := s.HookOf(run.Assignment.Guest, step)
	return because(code, "guest", string(run.Assignment.Guest), "op", string(op), "program", hook.Run, "when", string(step),
		"site", string(run.Assignment.Target), "note", note)
}

// hooked draws the consequences of the move of a step that calls a program.
func (s *State) hooked(run GuestRun, op Operation, c StepMoved, st Stamp) {
	if c.To != StatusDone {
		return
	}
	code := CodeHookRan
	if c.Failure != "" {
		code = CodeHookFailed
	}
	s.event(st, s.hookReason(code, op.ID, run, c.Token.Step, c.Note), Event{Op: op.ID, Guest: c.Token.Guest, Site: run.Assignment.Target})
}

// afterHook chooses what follows a program that did not end well and whose word counts: a
// move that can wait is taken back, any other calls a person.
func (d *decider) afterHook(op Operation, run GuestRun, step Step, t Token) Command {
	if step.Failure == FailTransient && step.Attempt < MaxAttempts {
		return RetryStep{Token: t, Wait: backoff(step.Attempt)}
	}
	why := d.s.hookReason(CodeHookVeto, op.ID, run, step.ID, step.Note)
	if op.Kind.planned() && !run.Owned() && run.State == RunActive {
		return d.back(op, t.Guest, why)
	}
	return Stick{Op: op.ID, Guest: t.Guest, Reason: why}
}
