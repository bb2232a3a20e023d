package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

const failbackVerbs = "plan, run, undo, diff, ack, remove, give-up and fork"

// failbackFlags are the verbs that each flag goes with: what a verb does not heed it refuses, lest somebody count on it.
var failbackFlags = map[string][]string{
	"keep": {"plan", "run"}, "only": {"plan", "run"}, "stop": {"plan", "run"}, "replace": {"plan", "run"}, "at": {"run"},
	"plan": {"run", "undo"}, "reason": {"run", "undo"}, "copy": {"diff", "remove", "give-up", "fork"}, "path": {"diff"},
	"detach": {"run", "undo", "remove", "give-up", "fork"},
}

func failbackCommand(a *app, fs *flag.FlagSet) runner {
	keep := fs.String("keep", "", "the `copy` that goes on: away (it moves home), or home (plan, run)")
	at := fs.String("at", "", "not before this `time`: 03:00, \"2026-03-02 03:00\", RFC 3339, or 2h from now (run)")
	only := fs.String("only", "", "only these `guests`, separated by commas (plan, run)")
	stop := fs.String("stop", "", "switch these `guests` off if they do not shut down, separated by commas (run)")
	replace := fs.String("replace", "", "give these `copies` at home up for those that come, once they are sealed: HOST/ID, separated by commas (plan, run)")
	plan := fs.String("plan", "", "only if this is still the `plan` (run, undo)")
	reason := fs.String("reason", "", "`why`, for the agent's log (run, undo)")
	copied := fs.String("copy", "", "only this `copy`: HOST/ID (diff, remove, give-up, fork)")
	path := fs.String("path", "", "the `folder` in the backup to begin with (diff)")
	detach := fs.Bool("detach", false, "do not follow the operation")
	return func(ctx context.Context, args []string) error {
		if err := failbackUsage(fs, args, failover.Keep(*keep)); err != nil {
			return err
		}
		verb, rest := args[0], args[1:]
		req := api.FailoverRequest{
			Failback: rest[0], Keep: failover.Keep(*keep), Only: guestList(*only), Stop: guestList(*stop), Plan: *plan, Reason: *reason,
			Replace: commaList(*replace),
		}
		switch verb {
		case "plan":
			req.Keep = cmp.Or(req.Keep, failover.KeepAway)
			return a.otherOnly(ctx, req, a.failbackPlan(ctx, req))
		case "run":
			if req.Keep == "" {
				return usagef("want --keep away or --keep home: wwwctl failback plan %s shows both copies", rest[0])
			}
			var err error
			if req.At, err = a.later(ctx, *at); err != nil {
				return err
			}
		case "undo":
			req.Undo, req.Keep = true, ""
		case "diff":
			return a.fileDiff(ctx, failover.GuestID(rest[0]), *copied, *path)
		case "ack":
			return a.ackSeal(ctx, failover.GuestID(rest[0]))
		default:
			if verb == "fork" && *copied == "" {
				return usagef("want --copy HOST/ID: wwwctl failback remove %s --dry-run shows the copies", rest[0])
			}
			return a.clearLeft(ctx, failover.GuestID(rest[0]), clearing{verb: verb, only: *copied, follow: !*detach})
		}
		return a.otherOnly(ctx, req, a.failover(ctx, req, !*detach && req.At.IsZero()))
	}
}

// failbackUsage refuses a line that says what nobody can have meant.
func failbackUsage(fs *flag.FlagSet, args []string, keep failover.Keep) error {
	verbs := strings.Split(strings.ReplaceAll(failbackVerbs, " and ", ", "), ", ")
	switch {
	case len(args) == 0:
		return usagef("wwwctl failback needs one of " + failbackVerbs)
	case !slices.Contains(verbs, args[0]):
		return usagef("wwwctl failback needs one of "+failbackVerbs+", not %q", args[0])
	}
	if err := need(args[1:], 1, 1, "the site, structure or guest"); err != nil {
		return err
	}
	var wrong error
	fs.Visit(func(f *flag.Flag) {
		if with, own := failbackFlags[f.Name]; own && !slices.Contains(with, args[0]) {
			wrong = usagef("--%s goes with failback %s, not with failback %s", f.Name, strings.Join(with, ", "), args[0])
		}
	})
	if wrong == nil && keep != "" && keep != failover.KeepAway && keep != failover.KeepHome {
		return usagef("--keep: want away or home, not %q", keep)
	}
	return wrong
}

// otherOnly turns a refusal of --only into the names that may stand there.
func (a *app) otherOnly(ctx context.Context, req api.FailoverRequest, err error) error {
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeMalformed || len(req.Only) == 0 {
		return err
	}
	all := req
	all.Only = nil
	plan, askErr := request(ctx, a, func(ctx context.Context) (api.Plan, error) { return a.client.PlanByHand(ctx, all) })
	if askErr != nil {
		return err
	}
	var may []string
	for _, b := range plan.Branches {
		may = append(may, string(b.Guest))
	}
	for _, g := range req.Only {
		if !slices.Contains(may, string(g)) {
			return usagef("--only: %s does not live away from %s; these do: %s", g, req.Failback, dash(strings.Join(may, ", ")))
		}
	}
	return err
}

// failbackPlan shows the copies, the way home, and what stands in it. Nothing is touched.
func (a *app) failbackPlan(ctx context.Context, req api.FailoverRequest) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		plan, err := request(ctx, a, func(ctx context.Context) (api.Plan, error) { return a.client.PlanByHand(ctx, req) })
		uses := make([]api.CopyUses, len(plan.Branches))
		if a.structured() == "" {
			uses = a.usesOf(ctx, plan)
		}
		return view{kind: api.KindPlan, data: plan, table: a.branchTable(plan), text: func() string {
			p := &page{s: a.show}
			p.raw(a.planScreen(plan, req))
			a.usesLines(p, plan, uses)
			failbackWays(p, plan, req)
			a.quietTime(p, plan)
			return p.b.String()
		}}, err
	})
}

// failbackWays says what to type to keep either copy. What is stuck away comes home with the one
// there only.
func failbackWays(p *page, plan api.Plan, req api.FailoverRequest) {
	p.line("Nothing was done.")
	ways := []struct {
		keep failover.Keep
		name string
	}{{failover.KeepAway, "To keep the copy that serves: "}, {failover.KeepHome, "To keep the copy at home:     "}}
	if req.Keep == failover.KeepHome {
		slices.Reverse(ways)
	}
	served := slices.ContainsFunc(plan.Branches, func(b failover.BranchView) bool { return !b.Stuck })
	for _, way := range ways {
		if way.keep == failover.KeepAway && !served && len(plan.Branches) > 0 {
			continue
		}
		one := req
		if one.Keep = way.keep; way.keep == failover.KeepHome {
			one.Replace = nil // it makes room for the copy that comes
		}
		p.typed(way.name, "wwwctl "+spell(one))
	}
	if slices.ContainsFunc(plan.Branches, func(b failover.BranchView) bool { return b.Propose == failover.KeepAway }) {
		p.wrap("", "", "Proposed: the copy that serves, unless people have used the other one since.")
	}
}

// branchTable is the two copies of each guest of a failback, one guest per row.
func (a *app) branchTable(plan api.Plan) table {
	t := table{cols: cols("GUEST", "SERVES AT", "SINCE", "PARTED", "AT HOME", "SEALED", ">SIZE", ">AWAY FOR", "+HOME HOST", "+HOME ID")}
	for _, b := range plan.Branches {
		home, host, id := "gone", "", ""
		if b.Left != nil {
			host, id = string(b.Left.Host), fmt.Sprint(b.Left.VMID)
			switch {
			case b.Running:
				home = "RUNS"
			case !b.LastRun.IsZero():
				home = "off, ran " + a.show.date(b.LastRun)
			default:
				home = "off"
			}
			if b.Whole {
				home += ", nothing of its own"
			}
		}
		sealed := "no"
		if b.Sealed != nil {
			sealed = strings.Join(names(b.Sealed.Sites()), ",")
		}
		serves := fmt.Sprintf("%s:%d", b.Serves.Site, b.Serves.VMID)
		if b.Stuck {
			serves = "STUCK, " + serves
		}
		t.add(c(string(b.Guest)), c(serves), c(a.show.date(b.Since)), c(a.show.date(b.Parted)), c(home),
			c(sealed), c(message.Bytes(b.Size)), c(spanOrDash(b.Downtime)), c(host), c(id))
	}
	return t
}

// branchLines says in words what the choice between the copies means.
func (a *app) branchLines(p *page, plan api.Plan) {
	runs, stuck := 0, 0
	for _, b := range plan.Branches {
		if b.Running {
			runs++
		}
		if b.Stuck {
			stuck++
		}
	}
	say := func(format string, v ...any) { p.prose("  ", "    ", fmt.Sprintf(format, v...)) }
	home := plan.Loss.Site
	if plan.Loss.Keep == failover.KeepHome {
		say("the copies that serve are shut down and sealed; those at %s go on, without what was written elsewhere", home)
	} else {
		say("the copies that serve move to %s; those that were left there are sealed and parked first", home)
	}
	for _, as := range plan.Assignments {
		if as.Replace != 0 {
			say("%s/%d is GIVEN UP for the one that comes, once it is sealed: its disks go, at a structure's host by its people", as.Host, as.Replace)
		}
	}
	say("sealed means: backed up whole, read back, kept at two sites until somebody says wwwctl failback ack")
	if stuck > 0 {
		say("%s stuck away and was never served: only the copy at home goes on; the other one is removed if its host proves that it never ran, "+
			"else it is sealed and kept", stuckGuests(stuck))
	}
	if runs > 0 {
		say("%s at %s: ask the people there which copy they have used", runningCopies(runs), home)
	}
}

func stuckGuests(n int) string {
	if n == 1 {
		return "1 guest is"
	}
	return fmt.Sprintf("each of %d guests is", n)
}

func runningCopies(n int) string {
	if n == 1 {
		return "1 copy runs"
	}
	return fmt.Sprintf("%d copies run", n)
}

func (a *app) ackSeal(ctx context.Context, g failover.GuestID) error {
	if a.g.dryRun {
		a.say("would let the sealed branches of %s be given up %d days from now", g, int(failover.KeepSealed.Hours()/24))
		return nil
	}
	if err := a.askYes(ctx, fmt.Sprintf("Is nothing missed of the sealed branches of %s? They may be given up %d days from now.", g, int(failover.KeepSealed.Hours()/24))); err != nil {
		return err
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.AckSeal(ctx, g) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("accepted (log entry %d)\n", done.Index)
	if guest, err := request(ctx, a, func(ctx context.Context) (api.Guest, error) { return a.client.Guest(ctx, g) }); err == nil {
		if until := keptUntil(guest); !until.IsZero() {
			a.printf("the sealed branches of %s are kept until %s at least\n", g, a.show.date(until))
		}
	}
	return nil
}

// spellFailback writes a request as a command line.
func spellFailback(req api.FailoverRequest) string {
	if req.Undo {
		return "failback undo " + req.Failback
	}
	text := fmt.Sprintf("failback run %s --keep %s", req.Failback, req.Keep)
	if len(req.Only) > 0 {
		text += " --only " + strings.Join(names(req.Only), ",")
	}
	if len(req.Stop) > 0 {
		text += " --stop " + strings.Join(names(req.Stop), ",")
	}
	if len(req.Replace) > 0 {
		text += " --replace " + strings.Join(req.Replace, ",")
	}
	return text + spellAt(req)
}

// spellAt is the time of a request as it is typed: without it the line would begin at once.
func spellAt(req api.FailoverRequest) string {
	if req.At.IsZero() {
		return ""
	}
	return " --at " + req.At.Format(time.RFC3339)
}
