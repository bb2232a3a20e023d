package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func failoverCommand(a *app, fs *flag.FlagSet) runner {
	read := what(fs)
	plan := fs.String("plan", "", "only if this is still the `plan`")
	reason := fs.String("reason", "", "`why`, for the agent's log")
	detach := fs.Bool("detach", false, "do not follow the operation")
	return func(ctx context.Context, args []string) error {
		req, err := read(args)
		if err != nil {
			return err
		}
		req.Plan, req.Reason = *plan, *reason
		return a.failover(ctx, req, !*detach)
	}
}

// failover shows the plan, asks, starts exactly that plan, and follows it.
func (a *app) failover(ctx context.Context, req api.FailoverRequest, follow bool) error {
	plan, err := request(ctx, a, func(ctx context.Context) (api.Plan, error) { return a.client.PlanByHand(ctx, req) })
	if err != nil {
		return err
	}
	switch {
	case req.Plan != "" && !plan.Is(req.Plan):
		return fail(exitStalePlan, failover.CodeStalePlan, "got", req.Plan, "have", plan.Hash)
	case len(plan.Assignments) == 0 && plan.Open != "":
		return fail(exitRefused, failover.CodeAlreadyBegun, "domain", subject(req), "op", string(plan.Open))
	case req.Rescue && len(plan.Answers) > 0:
		return fail(exitRefused, failover.CodeStillRuns, "site", string(plan.Loss.Site), "host", string(plan.Loss.Host), "seen", strings.Join(plan.Answers, ", "))
	case len(plan.Assignments) == 0:
		fmt.Fprint(a.con.Err, a.planScreen(plan, req))
		return fail(exitRefused, failover.CodeNothing, "domain", subject(req))
	}
	if a.structured() == "" && !a.g.quiet {
		a.printf("%s", a.planScreen(plan, req))
	}
	if a.g.dryRun {
		return a.print(view{kind: api.KindPlan, data: plan, table: a.planTable(plan), text: func() string { return a.planFooter(plan, req) }})
	}
	if err := a.confirmFailover(ctx, plan, req); err != nil {
		return err
	}
	if req.Plan == "" {
		req.Plan = plan.Hash
	}
	req.Confirm = plan.Confirm
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.Failover(ctx, req) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	return a.begunByHand(ctx, done, req, follow)
}

// begunByHand says what goes on, and follows it.
func (a *app) begunByHand(ctx context.Context, done api.Accepted, req api.FailoverRequest, follow bool) error {
	a.printf("%s accepted (log entry %d)\n", done.Op, done.Index)
	if !req.At.IsZero() {
		a.say("it begins at %s; to take it back: wwwctl op cancel %s", a.show.date(req.At), done.Op)
	}
	if !follow {
		a.say("follow it with: wwwctl op follow %s", done.Op)
		return nil
	}
	return a.follow(ctx, done.Op)
}

// confirmFailover asks y/N, or for the name of what is not known to be lost.
func (a *app) confirmFailover(ctx context.Context, plan api.Plan, req api.FailoverRequest) error {
	question := fmt.Sprintf("Move %s as above?", plural(len(plan.Assignments), "guest"))
	if req.Switchover != "" {
		question = fmt.Sprintf("Shut %s down and move as above?", plural(len(plan.Assignments), "guest"))
	}
	switch {
	case req.Undo:
		question = undoQuestion(plan)
	case req.Keep == failover.KeepAway:
		question = fmt.Sprintf("%s what was left at home and bring %s home?", sealWord(plan), plural(len(plan.Assignments), "guest"))
	case req.Keep == failover.KeepHome:
		question = fmt.Sprintf("Shut down and seal what serves elsewhere, and go on at home with %s?", plural(len(plan.Assignments), "guest"))
	}
	if plan.Confirm == "" {
		return a.askYes(ctx, question)
	}
	fmt.Fprintf(a.con.Err, "%s is not known to be lost (seen as %s; %s).\n", subject(req), plan.Cause, a.seenText(plan))
	fmt.Fprintf(a.con.Err, "This would be a FORCED failover: its guests may run twice, and what was written\nsince the copies will not be in the new ones.\n")
	return a.askName(ctx, plan.Confirm)
}

// sealWord begins the question before the copies at home are sealed: those that run are shut down for it.
func sealWord(plan api.Plan) string {
	runs := 0
	for _, b := range plan.Branches {
		if b.Running && slices.ContainsFunc(plan.Assignments, func(as failover.Assignment) bool { return as.Guest == b.Guest }) {
			runs++
		}
	}
	switch runs {
	case 0:
		return "Seal"
	case 1:
		return fmt.Sprintf("1 copy RUNS at %s and may have users: shut it down, seal", plan.Loss.Site)
	}
	return fmt.Sprintf("%d copies RUN at %s and may have users: shut them down, seal", runs, plan.Loss.Site)
}

func accepted(v api.Accepted) view {
	t := table{cols: cols("OPERATION", "ENTRY")}
	t.add(c(dash(string(v.Op))), c(fmt.Sprint(v.Index)))
	return view{kind: api.KindAccepted, data: v, table: t}
}

// followError turns the end of an operation into an exit code.
func followError(op failover.OpView) error {
	switch {
	case op.Phase == failover.OpStuck, op.Phase == failover.OpDone && stayed(op) > 0:
		return fail(exitPartly, "WWW-3017", "op", string(op.ID))
	case op.Phase == failover.OpCancelled:
		return fail(exitFailure, "WWW-3020", "op", string(op.ID), "why", op.Cancelled.Code)
	}
	return nil
}

// stayed counts the guests of a switchover that were taken back.
func stayed(op failover.OpView) int {
	n := 0
	for _, g := range op.Guests {
		if !g.Back.IsZero() {
			n++
		}
	}
	return n
}

// follow prints each change of an operation until it has ended. Ctrl-C
// detaches: the agents carry the operation, not this program.
func (a *app) follow(ctx context.Context, id failover.OpID) error {
	a.say("following %s (Ctrl-C stops nothing)", id)
	seen := map[failover.GuestID]string{}
	var index uint64
	lost := false
	for {
		op, err := request(ctx, a, func(ctx context.Context) (api.Op, error) { return a.client.Op(ctx, id) })
		switch {
		case ctx.Err() != nil:
			return fail(exitInterrupted, "WWW-3018", "op", string(id))
		case err != nil && errors.Is(err, api.ErrNoAgent) && index > 0:
			if !lost { // the local agent may be restarting; the operation does not need it
				a.say("no agent answers here; still trying")
			}
			lost = true
		case err != nil:
			return err
		default:
			lost = false
			index = a.followStep(op, index, seen)
			if op.Op.Phase.Ended() {
				if op.Op.Kind == failover.KindRemoval { // it serves nothing
					a.printf("%s %s\n", id, op.Op.Phase)
					return followError(op.Op)
				}
				a.printf("%s %s: %d of %s serving\n", id, op.Op.Phase, served(op.Op), plural(len(op.Op.Guests), "guest"))
				if op.Op.Kind == failover.KindFailback {
					a.nextAfter(ctx, op.Op)
				}
				return followError(op.Op)
			}
		}
		if !pauseFor(ctx, followEvery) {
			return fail(exitInterrupted, "WWW-3018", "op", string(id))
		}
	}
}

// followStep prints what is new: events, and the progress of restores at each
// tenth; it returns the newest log entry shown.
func (a *app) followStep(op api.Op, index uint64, seen map[failover.GuestID]string) uint64 {
	for _, e := range op.Events {
		if e.Stamp.Index > index {
			a.lines(a.eventLines([]failover.Event{e}))
		}
	}
	for _, e := range op.Events {
		index = max(index, e.Stamp.Index)
	}
	for _, g := range op.Op.Guests {
		if g.Step != failover.StepRestore || g.Total <= 0 || g.Bytes <= 0 || !g.Waits.IsZero() {
			continue
		}
		tenth := fmt.Sprint(g.Bytes * 10 / g.Total)
		if seen[g.Guest] != tenth {
			seen[g.Guest] = tenth
			a.printf("%s  %-10s %s %s\n", a.show.clock(op.Meta.At), g.Target, g.Guest, a.progress(g))
		}
	}
	return max(index, 1)
}
