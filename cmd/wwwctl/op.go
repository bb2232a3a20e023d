package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func opCommand(a *app, fs *flag.FlagSet) runner {
	why := fs.String("reason", "", "`why`, for the events (cancel)")
	off := fs.Bool("host-is-off", false, "you have seen that the dead host of a rescue is off (retry)")
	return func(ctx context.Context, args []string) error {
		verbs := []string{"list", "show", "follow", "cancel", "approve", "retry", "ack", "confirm"}
		if len(args) == 0 || !slices.Contains(verbs, args[0]) {
			return usagef("wwwctl op needs one of %v", verbs)
		}
		verb, rest := args[0], args[1:]
		if verb == "list" {
			if err := need(rest, 0, 0, ""); err != nil {
				return err
			}
			return a.opList(ctx, func(failover.OpView) bool { return true })
		}
		if err := need(rest, 1, 1, "the operation"); err != nil {
			return err
		}
		id := failover.OpID(rest[0])
		switch verb {
		case "show":
			return a.opShow(ctx, id)
		case "follow":
			return a.follow(ctx, id)
		}
		if *off && verb != "retry" {
			return usagef("--host-is-off goes with op retry")
		}
		return a.opAct(ctx, id, verb, api.ActionRequest{Reason: *why, HostOff: *off})
	}
}

func approveCommand(a *app, fs *flag.FlagSet) runner {
	offer := fs.String("offer", "", "only `this`, as wwwctl op show has shown it, and without asking")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 1, 1, "the operation"); err != nil {
			return err
		}
		id := failover.OpID(args[0])
		if *offer != "" && !a.g.dryRun {
			return a.act(ctx, id, "approve", api.ActionRequest{Hash: *offer})
		}
		return a.opAct(ctx, id, "approve", api.ActionRequest{})
	}
}

func historyCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		return a.opList(ctx, func(op failover.OpView) bool { return op.Phase.Ended() })
	}
}

func (a *app) opList(ctx context.Context, keep func(failover.OpView) bool) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		list, err := a.client.Ops(ctx)
		list.Items = slices.DeleteFunc(list.Items, func(op failover.OpView) bool { return !keep(op) })
		t := table{cols: cols("ID", "BEGUN", "KIND", "OF", "PHASE", ">SERVING", ">WORST TOOK", ">WORST LOSS", "~BY")}
		for _, op := range list.Items {
			took, loss := worst(op)
			t.add(c(string(op.ID)), c(a.show.date(op.Begun)), c(string(op.Kind)), c(concern(op)), cell{string(op.Phase), opTone(op.Phase)},
				c(fmt.Sprintf("%d/%d", served(op), len(op.Guests))), c(spanOrDash(took)), c(spanOrDash(loss)), c(dash(op.By)))
		}
		return view{kind: api.KindOps, data: list, table: t}, err
	})
}

func opTone(p failover.OpPhase) tone {
	switch p {
	case failover.OpDone:
		return good
	case failover.OpStuck:
		return bad
	case failover.OpCancelled:
		return dim
	}
	return warn
}

func (a *app) opShow(ctx context.Context, id failover.OpID) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		op, err := a.client.Op(ctx, id)
		return view{
			kind: api.KindOp, data: op, table: a.opTable(op.Op.Guests),
			text: func() string { return a.opScreen(op) },
		}, err
	})
}

func (a *app) opScreen(op api.Op) string {
	s, v := a.show, op.Op
	p := &page{s: s}
	p.line("%s  %s of %s %s %s  %s", s.paint(strong, string(v.ID)), v.Kind, concern(v), s.glyph("arrow"), targets(v),
		s.paint(opTone(v.Phase), string(v.Phase)))

	p.field("begun", s.date(v.Begun)+" by "+dash(v.By))
	if !v.Committed.IsZero() {
		p.field("committed", s.date(v.Committed))
	}
	if !v.Ended.IsZero() {
		p.field("ended", s.date(v.Ended))
	}
	p.field("plan", v.PlanHash)
	if !v.Cancelled.IsZero() {
		p.field("cancelled", a.said(v.Cancelled))
	}
	if len(v.Waiting) > 0 && !v.Phase.Ended() {
		p.field("waits", fmt.Sprintf("for a person: wwwctl approve %s", v.ID))
		p.field("offer", fmt.Sprintf("%s, good until %s", v.Offer.Hash, s.clock(v.Offer.Until)))
	}
	if v.Total > 0 {
		p.line("  %s %3d%%  %s of %s  %s", s.bar(v.Bytes, v.Total, 20), percent(v), message.Bytes(v.Bytes), message.Bytes(v.Total), remaining(v))
	}
	p.raw(a.opTable(v.Guests).lines(s, a.g.noHeaders)...)
	waitsForPeople(p, v.Guests)
	retryLine(p, v)
	for _, l := range v.LeftOut {
		p.prose("left out: ", "  ", s.text(a.leftOut([]failover.LeftOut{l})))
	}
	if len(op.Events) > 0 {
		p.blank()
		p.raw(a.eventLines(op.Events)...)
	}
	return p.b.String()
}

// retryLine says what to type once a person has removed the cause.
func retryLine(p *page, v failover.OpView) {
	switch {
	case !v.Retry:
	case slices.ContainsFunc(v.Guests, func(g failover.OpGuestView) bool { return g.Stuck.Code == failover.CodeNoProof }):
		p.typed("when its fence works again: ", "wwwctl op retry "+string(v.ID))
		p.typed("when somebody has seen that the host is off: ", "wwwctl op retry "+string(v.ID)+" --host-is-off")
	default:
		p.typed("when the cause is removed: ", "wwwctl op retry "+string(v.ID))
	}
}

// opAct asks where the action cannot be taken back, and carries it out.
func (a *app) opAct(ctx context.Context, id failover.OpID, verb string, req api.ActionRequest) error {
	if req.HostOff && !a.g.dryRun {
		if err := a.hostIsOff(ctx, id); err != nil {
			return err
		}
	}
	if verb == "approve" || verb == "cancel" {
		op, err := request(ctx, a, func(ctx context.Context) (api.Op, error) { return a.client.Op(ctx, id) })
		if err != nil {
			return err
		}
		if a.structured() == "" && !a.g.quiet {
			a.printf("%s", a.opScreen(api.Op{Meta: op.Meta, Op: op.Op}))
		}
		if a.g.dryRun {
			return nil
		}
		if verb == "approve" {
			req.Hash = op.Op.Offer.Hash
		}
		if err := a.askYes(ctx, fmt.Sprintf("%s %s?", verb, id)); err != nil {
			return err
		}
	}
	if a.g.dryRun {
		a.say("would %s %s", verb, id)
		return nil
	}
	return a.act(ctx, id, verb, req)
}

func (a *app) act(ctx context.Context, id failover.OpID, verb string, req api.ActionRequest) error {
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.Act(ctx, id, verb, req) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s: %s accepted (log entry %d)\n", id, verb, done.Index)
	return nil
}

// worst returns the longest way back and the greatest loss of an operation.
func worst(op failover.OpView) (took, loss time.Duration) {
	for _, g := range op.Guests {
		if !g.Served.IsZero() {
			took, loss = max(took, g.Took), max(loss, g.Loss)
		}
	}
	return took, loss
}
