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

func eventsCommand(a *app, fs *flag.FlagSet) runner {
	follow := fs.Bool("follow", false, "go on as more happens")
	fs.BoolVar(follow, "f", false, "go on as more happens")
	since := fs.String("since", "", "`when`: 1h, 2026-11-22T03:00:00Z or a log entry's number")
	site := fs.String("site", "", "of this `site`")
	code := fs.String("code", "", "of this `code`")
	limit := fs.Int("limit", 0, "the newest `n`")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		q := api.EventQuery{Since: *since, Site: failover.SiteID(*site), Code: *code, Limit: *limit}
		if *code != "" {
			q.Code = normalCode(*code)
		}
		if *follow {
			return a.followEvents(ctx, q)
		}
		return a.present(ctx, func(ctx context.Context) (view, error) {
			list, err := a.client.Events(ctx, q)
			return a.eventView(list), err
		})
	}
}

func (a *app) eventView(list api.EventList) view {
	t := table{cols: cols("TIME", "SITE", "CODE", "~EVENT", "+ENTRY", "+BY")}
	for _, e := range list.Items {
		t.add(c(a.show.date(e.Stamp.At)), c(dash(string(e.Site))), c(e.Reason.Code), c(a.eventText(e)),
			c(fmt.Sprint(e.Stamp.Index)), c(dash(e.Stamp.Actor)))
	}
	return view{kind: api.KindEvents, data: list, table: t}
}

// eventText is an event's sentence, with the operation where it does not say it.
func (a *app) eventText(e failover.Event) string {
	text := a.said(e.Reason)
	if e.Op != "" && !strings.Contains(text, string(e.Op)) {
		text += " [" + string(e.Op) + "]"
	}
	return text
}

// eventLines are events as they are followed: no table, nothing to align later.
func (a *app) eventLines(events []failover.Event) []string {
	var out []string
	for _, e := range events {
		severity := plain
		if m, ok := message.Entry(a.lang(), e.Reason.Code); ok {
			severity = map[message.Severity]tone{message.Warning: warn, message.Critical: bad, message.Error: bad}[m.Severity]
		}
		out = append(out, fmt.Sprintf("%s  %-10s %s  %s", a.show.clock(e.Stamp.At), dash(string(e.Site)), e.Reason.Code,
			a.show.paint(severity, a.show.text(a.eventText(e)))))
	}
	return out
}

// followEvents prints the newest events, then each new one, until Ctrl-C. With
// -o json there is one JSON object per line. An agent that restarts is waited for.
func (a *app) followEvents(ctx context.Context, q api.EventQuery) error {
	list, err := request(ctx, a, func(ctx context.Context) (api.EventList, error) { return a.client.Events(ctx, q) })
	if err != nil {
		return err
	}
	if err := a.printEvents(list.Items); err != nil {
		return err
	}
	q.Since = fmt.Sprint(list.Index)
	for {
		err := a.client.Follow(ctx, &q, func(e failover.Event) error { return a.printEvents([]failover.Event{e}) })
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, api.ErrNoAgent):
			return err
		case !pauseFor(ctx, followEvery):
			return nil
		}
	}
}

func (a *app) printEvents(events []failover.Event) error {
	if a.structured() != "json" {
		a.lines(a.eventLines(events))
		return nil
	}
	for _, e := range events {
		b, err := api.Marshal(api.KindEvent, e)
		if err != nil {
			return fmt.Errorf("write json: %w", err)
		}
		if a.g.jq != "" {
			if err := a.filter(b); err != nil {
				return err
			}
			continue
		}
		a.printf("%s\n", b)
	}
	return nil
}
