package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func simulateCommand(a *app, fs *flag.FlagSet) runner {
	lose := fs.String("lose", "", "the `site or host` that is supposed to be lost")
	cut := fs.String("cut", "", "only `this` of the site: "+strings.Join(failover.Cuts(), ", "))
	exitCode := fs.Bool("exit-code", false, "exit 10 when a guest that should be saved would be left out")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		if *lose == "" {
			return usagef("--lose SITE or --lose HOST is missing")
		}
		missing := 0
		err := a.present(ctx, func(ctx context.Context) (view, error) {
			f, err := a.client.Simulate(ctx, *lose, *cut)
			missing = 0
			for _, l := range f.Plan.LeftOut {
				if api.Needed(l) {
					missing++
				}
			}
			return view{kind: api.KindForecast, data: f, table: a.forecastTable(f), text: func() string { return a.forecastScreen(f) }}, err
		})
		if err == nil && *exitCode && missing > 0 {
			return fail(exitNotSaved, "WWW-3022", "guests", fmt.Sprint(missing))
		}
		return err
	}
}

func (a *app) forecastTable(f api.Forecast) table {
	t := table{cols: cols(">AFTER", "CODE", "~WHAT"), indent: "  "}
	for _, e := range f.Timeline {
		m, _ := message.Entry(a.lang(), e.Reason.Code)
		tn := plain
		if m.Severity == message.Critical {
			tn = warn
		}
		t.add(c(span(e.After)), cell{e.Reason.Code, tn}, c(a.said(e.Reason)))
	}
	return t
}

// forecastScreen tells when what would happen, who goes where, and what holds
// the rest.
func (a *app) forecastScreen(f api.Forecast) string {
	s := a.show
	p := &page{s: s}
	p.line("If %s were lost now (%s, state %d):", supposed(f.Supposed), s.clock(f.Meta.At), f.Index)
	switch {
	case f.NoLeader && f.Verdict.Cause == "":
		p.line("  %s", s.paint(bad, s.text(fmt.Sprintf("%s hears no leader and cannot know: ask an agent that does", f.From))))
		return p.b.String()
	case f.NoLeader:
		p.line("  %s", s.paint(bad, "too few voters would be left to agree on anything: nothing would be decided"))
		return p.b.String()
	}
	p.raw(a.forecastTable(f).lines(s, a.g.noHeaders)...)
	p.line("seen as %s: %s", f.Verdict.Cause, basisText(f.Verdict))
	for _, h := range f.Held {
		p.line("%s", s.paint(warn, "held: ")+s.text(a.sentence(h.Reason)))
	}
	a.forecastGuests(p, f)
	if len(f.Guessed) > 0 {
		p.line("never measured, so reckoned with no time: the restore of %s", strings.Join(names(f.Guessed), ", "))
	}
	p.line("followed for %s; nothing was done", span(f.Lasted))
	return p.b.String()
}

func (a *app) forecastGuests(p *page, f api.Forecast) {
	var movable []failover.Assignment
	if f.Verdict.Cause == failover.CauseLost || f.Verdict.Cause == failover.CauseHostDown || f.Moved {
		movable = f.Plan.Assignments
	}
	if len(movable) == 0 {
		p.line("%s", a.show.paint(strong, "nothing moves"))
		return
	}
	head := "guests, when a person says so:"
	if f.Moved {
		head = "guests:"
	}
	p.line("%s", head)
	for _, as := range movable {
		text := fmt.Sprintf("  %s %s %s", as.Guest, a.show.glyph("arrow"), as.Target)
		for _, e := range f.Timeline {
			if e.Guest == as.Guest && e.Reason.Code == failover.CodeServing {
				text += " serves after " + span(e.After)
			}
		}
		if !as.Automatic {
			text += " (waits for a person)"
		}
		p.line("%s, loss %s", text, span(as.Loss))
	}
	for _, l := range f.Plan.LeftOut {
		p.line("  %s stays: %s", l.Guest, a.show.text(a.sentence(l.Reason)))
	}
}

func supposed(s failover.Supposed) string {
	switch {
	case s.Host != "":
		return "host " + string(s.Host)
	case s.Cut != "":
		return "the " + s.Cut + " of " + string(s.Site)
	}
	return string(s.Site)
}
