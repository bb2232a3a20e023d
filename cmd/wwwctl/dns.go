package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
)

func dnsCommand(a *app, fs *flag.FlagSet) runner {
	length := fs.Duration("for", 0, "hold: how `long`; without it until wwwctl dns release")
	why := fs.String("reason", "", "hold: `why`, for the others")
	read := what(fs)
	return func(ctx context.Context, args []string) error {
		verb, rest := "", []string(nil)
		if len(args) > 0 {
			verb, rest = args[0], args[1:]
		}
		switch verb {
		case "show", "verify":
			if err := need(rest, 0, 1, ""); err != nil {
				return err
			}
			part := strings.Join(rest, "")
			if verb == "show" {
				return a.dnsShow(ctx, part)
			}
			return a.dnsVerify(ctx, part)
		case "plan":
			req, err := read(rest)
			if err != nil {
				return err
			}
			return a.dnsPlan(ctx, req)
		case "hold":
			if err := need(rest, 1, 1, "the name"); err != nil {
				return err
			}
			if *length < 0 {
				return usagef("--for %s: must not be negative", *length)
			}
			return a.dnsHold(ctx, api.HoldRequest{Name: rest[0], Seconds: length.Seconds(), Reason: *why}, *length)
		case "release":
			if err := need(rest, 1, 1, "the name"); err != nil {
				return err
			}
			return a.dnsRelease(ctx, rest[0])
		}
		return usagef("wwwctl dns needs one of show [SITE|ZONE|NAME], plan SITE, verify [ZONE|NAME], hold NAME, release NAME")
	}
}

func (a *app) heldLine(h api.NameHold) string {
	line := "held: " + h.Name
	if h.By != "" {
		line += " by " + h.By
	}
	if !h.Until.IsZero() {
		line += " until " + a.show.date(h.Until)
	}
	if h.Reason != "" {
		line += " (" + h.Reason + ")"
	}
	return a.show.text(line) + "; wwwctl dns release " + h.Name
}

func (a *app) dnsHold(ctx context.Context, req api.HoldRequest, length time.Duration) error {
	end := "until wwwctl dns release"
	if length > 0 {
		end = "for " + span(length)
	}
	if a.g.dryRun {
		a.say("would hold %s as it is %s", req.Name, end)
		return nil
	}
	if err := a.askYes(ctx, fmt.Sprintf("Hold %s as it is %s? No failover moves it then.", req.Name, end)); err != nil {
		return err
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.HoldName(ctx, req) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s %s is HELD as it is %s\n", a.show.glyph("pause"), req.Name, end)
	a.say("in a zone on your own servers nobody but you writes it now; the agents' own servers go on serving it as it was")
	return nil
}

func (a *app) dnsRelease(ctx context.Context, name string) error {
	if a.g.dryRun {
		a.say("would release %s", name)
		return nil
	}
	if err := a.askYes(ctx, fmt.Sprintf("Release %s? It goes where its guest is served.", name)); err != nil {
		return err
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.ReleaseName(ctx, name) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s follows its guest again\n", name)
	return nil
}

// dnsPlan is what a loss would change in the zones.
func (a *app) dnsPlan(ctx context.Context, req api.FailoverRequest) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		plan, err := a.client.PlanDNS(ctx, req)
		t := table{cols: cols("NAME", "TYPE", ">TTL", "NOW", "THEN")}
		for _, ch := range plan.Changes {
			t.add(c(ch.Name), c(ch.Type), c(span(ch.TTL)), c(dash(strings.Join(ch.Before, " "))), cell{dash(strings.Join(ch.After, " ")), warn})
		}
		return view{kind: api.KindDNSPlan, data: plan, table: t, text: func() string {
			p := &page{s: a.show}
			p.line("If %s were lost now (%s), %s of records would change:", subject(req), a.show.clock(plan.Meta.At), plural(len(plan.Changes), "set"))
			if len(t.rows) > 0 {
				p.raw(t.lines(a.show, a.g.noHeaders)...)
			}
			for _, name := range plan.Held {
				p.line("held by a person, would stay as it is: %s", name)
			}
			p.line("Nothing was done.")
			return p.b.String()
		}}, err
	})
}
