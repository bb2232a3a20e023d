package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// what registers the flags that name what is lost, and returns how to read them.
func what(fs *flag.FlagSet) func(args []string) (api.FailoverRequest, error) {
	host := fs.String("host", "", "a `host` instead of a site")
	guest := fs.String("guest", "", "one `guest` instead of a site")
	to := fs.String("to", "", "only to this `site`")
	only := fs.String("only", "", "only these `guests`, separated by commas")
	return func(args []string) (api.FailoverRequest, error) {
		req := api.FailoverRequest{Host: failover.HostID(*host), Guest: failover.GuestID(*guest), To: failover.SiteID(*to)}
		if len(args) > 0 {
			req.Site = failover.SiteID(args[0])
		}
		req.Only = guestList(*only)
		given := 0
		for _, v := range []string{string(req.Site), *host, *guest} {
			if v != "" {
				given++
			}
		}
		if given != 1 {
			return req, usagef("want exactly one of SITE, --host and --guest")
		}
		return req, need(args, 0, 1, "")
	}
}

func planCommand(a *app, fs *flag.FlagSet) runner {
	read := what(fs)
	byHand := fs.Bool("by-hand", false, "the plan of wwwctl failover: guests of mode manual too")
	rescue := fs.Bool("rescue", false, "the plan of wwwctl rescue")
	move := fs.String("switchover", "", "the plan of wwwctl switchover for this `site, structure or guest`")
	exitCode := fs.Bool("exit-code", false, "exit 10 when a guest that should be saved is left out")
	return func(ctx context.Context, args []string) error {
		req, err := read(args)
		if err != nil && (*move == "" || len(args) > 0) { // nothing is lost: that is no error then
			return err
		}
		req.Switchover = *move
		req.Rescue = *rescue
		missing := 0
		err = a.present(ctx, func(ctx context.Context) (view, error) {
			ask := a.client.PlanAsLoss
			if *byHand || *rescue || *move != "" {
				ask = a.client.PlanByHand
			}
			var plan api.Plan
			plan, req, err = planOf(ctx, ask, req)
			asked := req
			asked.Rescue = req.Rescue || plan.Loss.Local && len(plan.Assignments) > 0
			names, namesErr := a.client.PlanDNS(ctx, req) // an older agent does not know
			missing = 0
			for _, l := range plan.LeftOut {
				if api.Needed(l) {
					missing++
				}
			}
			return view{
				kind: api.KindPlan, data: plan, table: a.planTable(plan),
				text: func() string {
					return a.planScreen(plan, req) + a.namesLine(names, namesErr) + a.planFooter(plan, asked)
				},
			}, err
		})
		if err == nil && *exitCode && missing > 0 {
			return fail(exitNotSaved, "WWW-3022", "guests", fmt.Sprint(missing))
		}
		return err
	}
}

// planOf asks for a plan. What was typed for a site may be the name of a host or of a guest, too: it
// returns the request with what it is.
func planOf(
	ctx context.Context, ask func(context.Context, api.FailoverRequest) (api.Plan, error), req api.FailoverRequest,
) (api.Plan, api.FailoverRequest, error) {
	plan, err := ask(ctx, req)
	if req.Site == "" || !unknown(err) {
		return plan, req, err
	}
	host, guest := req, req
	host.Site, host.Host = "", failover.HostID(req.Site)
	guest.Site, guest.Guest = "", failover.GuestID(req.Site)
	for _, other := range []api.FailoverRequest{host, guest} {
		if plan, err := ask(ctx, other); !unknown(err) {
			return plan, other, err
		}
	}
	return plan, req, fail(exitFailure, api.CodeNotFound, "what", "site, host or guest", "name", string(req.Site))
}

func unknown(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	return ok && e.Code == api.CodeNotFound
}

func (a *app) planTable(plan api.Plan) table {
	t := table{cols: cols("GUEST", ">P", "TO", "COPY OF", ">LOSS", ">SIZE", ">ABOUT", "~MODE", "+HOST", "+VLAN", "+WHY", "+VOLID")}
	for _, as := range plan.Assignments {
		mode := "automatic"
		if !as.Automatic {
			mode = "waits for a person"
		}
		var why []string
		for _, r := range as.Why {
			why = append(why, a.said(r))
		}
		t.add(c(string(as.Guest)), c(fmt.Sprint(as.Priority)), c(string(as.Target)), c(a.show.date(as.Point.Time)), c(span(as.Loss)),
			c(message.Bytes(as.Point.Size)), c(spanOrDash(as.Estimate)), c(mode), c(string(as.Host)), c(fmt.Sprint(as.VLAN)),
			c(strings.Join(why, "; ")), c(as.Point.Volid))
	}
	return t
}

// planScreen is the plan alone: failover shows the same before it asks.
func (a *app) planScreen(plan api.Plan, req api.FailoverRequest) string {
	s := a.show
	p := &page{s: s}
	p.prose("", "  ", fmt.Sprintf("%s (%s): plan %s, state %d", supposition(plan, req), s.clock(plan.Meta.At), dash(plan.Hash), plan.Index))
	switch {
	case len(plan.Assignments) == 0:
		p.line("  nothing to move")
	case len(plan.Branches) > 0:
		t := a.branchTable(plan)
		if req.Undo {
			t = a.undoTable(plan)
		}
		t.indent = "  "
		p.raw(t.fitting(s, a.g.noHeaders)...)
	default:
		t := a.planTable(plan)
		t.indent = "  "
		lay := t.lines
		if req.Undo { // one guest
			lay = t.fitting
		}
		p.raw(lay(s, a.g.noHeaders)...)
	}
	switch {
	case req.Undo && len(plan.Assignments) == 0:
	case req.Undo:
		a.undoLines(p, plan, req)
	case len(plan.Branches) > 0:
		a.branchLines(p, plan)
	}
	for _, as := range plan.Assignments {
		for _, r := range as.Why {
			switch r.Code {
			case failover.CodeWarmUsed:
				p.prose("  "+s.paint(good, "warm: "+string(as.Guest))+" ", "    ", s.text("("+a.said(r)+")"))
			case failover.CodeWarmOld, failover.CodeWarmNone:
				p.prose("  "+s.paint(warn, "not warm: "+string(as.Guest))+" ", "    ", s.text("("+a.said(r)+", "+r.Code+")"))
			}
		}
	}
	for _, l := range plan.LeftOut {
		t := plain
		if api.Needed(l) {
			t = bad
		}
		p.prose("  "+s.paint(t, "left out: "+string(l.Guest))+" ", "    ", s.text("("+a.said(l.Reason)+", "+l.Reason.Code+")"))
	}
	return p.b.String()
}

// namesLine says what would change in the zones.
func (a *app) namesLine(plan api.DNSPlan, err error) string {
	if err != nil || len(plan.Changes) == 0 {
		return ""
	}
	p := &page{s: a.show}
	longest := plan.Changes[0].TTL
	for _, ch := range plan.Changes {
		longest = max(longest, ch.TTL)
	}
	held := ""
	if len(plan.Held) > 0 {
		held = "; held by a person: " + strings.Join(plan.Held, ", ")
	}
	p.prose("DNS: ", "  ", fmt.Sprintf("%s of records would change, TTL %s%s (wwwctl dns plan)", plural(len(plan.Changes), "set"), span(longest), held))
	return p.b.String()
}

// outlookLines say how full the targets would be, where the times come from, and what would
// find no place if another site were lost besides.
func (a *app) outlookLines(p *page, out failover.Outlook) {
	var full, rates []string
	for _, t := range out.Targets {
		text := fmt.Sprintf("%s %s more in use", t.Site, message.Bytes(t.MemoryThen-t.MemoryUsed))
		if t.MemoryTotal > 0 {
			text = fmt.Sprintf("%s %s %s %s of %s memory (%d %%)", t.Site, message.Bytes(t.MemoryUsed), a.show.glyph("arrow"),
				message.Bytes(t.MemoryThen), message.Bytes(t.MemoryTotal), t.MemoryThen*100/t.MemoryTotal)
		}
		full = append(full, text+fmt.Sprintf(", %s storage left", message.Bytes(t.StorageThen)))
		if t.Rate > 0 {
			rates = append(rates, fmt.Sprintf("%s %s/s", t.Site, message.Bytes(t.Rate)))
		} else {
			rates = append(rates, string(t.Site)+" not measured yet")
		}
	}
	if len(full) == 0 {
		return
	}
	p.prose("room: ", "  ", strings.Join(full, "; "))
	p.prose("", "  ", "times rest on the measured rate of past restores: "+strings.Join(rates, ", "))
	for _, second := range out.Second {
		if len(second.LeftOut) == 0 {
			p.prose("", "  ", fmt.Sprintf("second loss: %s lost too, a place again for %s of %d", second.Site, plural(second.Guests, "guest"), second.Guests))
			continue
		}
		var names []string
		for _, l := range second.LeftOut {
			names = append(names, string(l.Guest))
		}
		p.prose(a.show.paint(warn, "second loss:")+" ", "  ", fmt.Sprintf("%s lost too, %d of %s would find no place: %s",
			second.Site, len(second.LeftOut), plural(second.Guests, "guest"), strings.Join(names, ", ")))
	}
}

func (a *app) planFooter(plan api.Plan, req api.FailoverRequest) string {
	p := &page{s: a.show}
	a.outlookLines(p, plan.Outlook)
	p.prose("", "  ", fmt.Sprintf("seen as %s; %s", plan.Cause, a.seenText(plan)))
	if plan.Open != "" {
		p.typed("under way: ", "wwwctl op show "+string(plan.Open))
	}
	p.typed("Nothing was done. By hand: ", "wwwctl "+spell(req))
	return p.b.String()
}

// seenText says who still gets an answer.
func (a *app) seenText(plan api.Plan) string {
	if len(plan.Answers) == 0 {
		return "nobody gets an answer from it"
	}
	text := strings.Join(plan.Answers[:min(3, len(plan.Answers))], ", ")
	if n := len(plan.Answers) - 3; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return "it answers " + text
}

// supposition is what a plan answers to.
func supposition(plan api.Plan, req api.FailoverRequest) string {
	if req.Undo && plan.Loss.Keep == failover.KeepBack {
		return "To have " + subject(req) + " serve again from what its failback has left elsewhere"
	}
	if req.Undo {
		return "To move " + subject(req) + " back to where it served before its failback"
	}
	if req.Failback != "" {
		return fmt.Sprintf("To bring %s home, keeping the copy %s", subject(req), map[failover.Keep]string{failover.KeepAway: "that serves", failover.KeepHome: "at home"}[req.Keep])
	}
	if req.Switchover != "" {
		return "To move " + subject(req) + " by plan, losing nothing"
	}
	if req.Rescue {
		return "To rescue " + subject(req) + " beside its dead host now"
	}
	return "If " + subject(req) + " were lost now"
}

// subject names what a request speaks of, in a sentence.
func subject(req api.FailoverRequest) string {
	switch {
	case req.Failback != "":
		return req.Failback
	case req.Switchover != "":
		return req.Switchover
	case req.Host != "":
		return "host " + string(req.Host)
	case req.Guest != "":
		return "guest " + string(req.Guest)
	}
	return string(req.Site)
}

// spell writes a request as a command line.
func spell(req api.FailoverRequest) string {
	if req.Failback != "" {
		return spellFailback(req)
	}
	if req.Switchover != "" {
		return spellSwitchover(req)
	}
	text := "failover"
	if req.Rescue {
		text = "rescue"
	}
	if req.Site != "" {
		text += " " + string(req.Site)
	}
	if req.Host != "" {
		text += " --host " + string(req.Host)
	}
	if req.Guest != "" {
		text += " --guest " + string(req.Guest)
	}
	if req.To != "" {
		text += " --to " + string(req.To)
	}
	if len(req.Only) > 0 {
		text += " --only " + strings.Join(names(req.Only), ",")
	}
	return text
}
