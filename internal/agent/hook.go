package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Where the call of a program stands.
const (
	hookAsk  = ""     // may it be called?
	hookCall = "call" // call it
)

// called is a program's end, by the attempt that called it: should the log refuse the
// report, what is known must not be lost, and the program not called again.
type called struct {
	by  claim
	end *outcome
}

// program calls the program that the guest's declaration names for this step. It was
// claimed in the log before. An attempt that this process does not know to have called
// nothing may have called it: nobody can look at a program, as at a guest, to see what it
// did. Such a call is made again only if the declaration says that this does no harm.
func (j *job) program(ctx context.Context) (time.Time, *outcome) {
	w := j.w
	hook, declared := j.s.HookOf(j.run.Assignment.Guest, j.step.ID)
	mine := claim{w.token, j.step.Attempt}
	switch {
	case w.called.by == mine:
		return j.now, w.called.end
	case !declared:
		return j.now, &outcome{note: "no longer declared"}
	case !w.mine(j.step) && !hook.Repeat:
		return j.now, hookOutcome(hook, fmt.Sprintf("the agent stopped while %s ran or was about to: nobody knows what it did", hook.Run))
	}
	if w.mem.phase == hookAsk {
		return j.confirm(ctx, hookCall)
	}
	if !j.worded(hookAsk) {
		return j.now, nil
	}
	p := w.e.Programs[hook.Run]
	if p == nil {
		return j.now, hookOutcome(hook, noProgram(hook.Run))
	}
	j.call("call " + hook.Run)
	within, cancel := context.WithTimeout(ctx, hook.Within.D())
	defer cancel()
	said, err := p.Run(within, j.environment())
	end := j.hookEnd(hook, said, err)
	w.called = called{mine, end}
	return j.now, end
}

// hookEnd is what becomes of the step after its program's end.
func (j *job) hookEnd(hook network.Hook, said string, err error) *outcome {
	switch {
	case err == nil:
		return &outcome{note: clip(said)}
	case errors.Is(err, ErrNotYet) && j.step.Attempt < failover.MaxAttempts:
		return &outcome{failure: failover.FailTransient, note: clip(cmp.Or(said, err.Error()))}
	case errors.Is(err, context.DeadlineExceeded):
		return hookOutcome(hook, fmt.Sprintf("not done within %s: it was ended", hook.Within.D()))
	case said != "":
		return hookOutcome(hook, fmt.Sprintf("%s (%v)", said, err))
	}
	return hookOutcome(hook, err.Error())
}

// hookOutcome is a program that did not end well: without a veto the operation goes on.
func hookOutcome(hook network.Hook, note string) *outcome {
	return &outcome{failure: failover.FailHook, note: clip(note), goOn: !hook.Veto}
}

func noProgram(name string) string {
	return fmt.Sprintf("this site's wwwd.yaml has no program %q", name)
}

// environment tells a program what it is called for. WWW_TOKEN is another for each attempt,
// and the same for the same one: a program that is called twice can see it.
func (j *job) environment() []string {
	a, t := j.run.Assignment, j.w.token
	from := cmp.Or(j.run.Source.Site, j.op.Plan.Loss.Site)
	return []string{
		"WWW_OPERATION=" + string(j.op.ID), "WWW_KIND=" + string(j.op.Kind), "WWW_STEP=" + string(j.step.ID),
		"WWW_GUEST=" + string(a.Guest), "WWW_STRUCTURE=" + string(a.Structure), "WWW_FROM=" + string(from), "WWW_SITE=" + string(a.Target),
		"WWW_HOST=" + string(a.Host), fmt.Sprintf("WWW_ID=%d", j.run.VMID), "WWW_POINT=" + a.Point.Time.UTC().Format(time.RFC3339),
		fmt.Sprintf("WWW_TOKEN=%s/%s/%s/%d/%d", t.Op, t.Guest, t.Step, t.Index, j.step.Attempt),
	}
}

// checkWithin is how long one try of a check by a program may take.
const checkWithin = 30 * time.Second

// ask has a program say whether the guest serves.
func (j *job) ask(ctx context.Context, name string) error {
	p := j.w.e.Programs[name]
	if p == nil {
		return errors.New(noProgram(name))
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	said, err := p.Run(ctx, append(j.environment(), "WWW_ADDRESS="+j.w.mem.address))
	if err != nil {
		return fmt.Errorf("check by %s: %s (%w)", name, said, err)
	}
	return nil
}
