package main

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func switchoverCommand(a *app, fs *flag.FlagSet) runner {
	to := fs.String("to", "", "the target `site`, or auto")
	at := fs.String("at", "", "not before this `time`: 03:00, \"2026-03-02 03:00\", RFC 3339, or 2h from now")
	only := fs.String("only", "", "only these `guests`, separated by commas")
	stop := fs.String("stop", "", "switch these `guests` off if they do not shut down, separated by commas")
	plan := fs.String("plan", "", "only if this is still the `plan`")
	reason := fs.String("reason", "", "`why`, for the agent's log")
	detach := fs.Bool("detach", false, "do not follow the operation")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 1, 1, "what is to be moved"); err != nil {
			return err
		}
		if *to == "" {
			return usagef("want --to SITE, or --to auto")
		}
		req := api.FailoverRequest{Switchover: args[0], Plan: *plan, Reason: *reason, Only: guestList(*only), Stop: guestList(*stop)}
		if *to != "auto" {
			req.To = failover.SiteID(*to)
		}
		var err error
		if req.At, err = a.later(ctx, *at); err != nil {
			return err
		}
		return a.failover(ctx, req, !*detach && req.At.IsZero())
	}
}

// later reads a time that is to come, by the clock of the network; "" is the zero time.
func (a *app) later(ctx context.Context, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	st, err := request(ctx, a, func(ctx context.Context) (failover.Status, error) { return a.client.Status(ctx) })
	if err != nil {
		return time.Time{}, err
	}
	return timeOf(text, st.At.In(a.con.Zone))
}

func guestList(text string) []failover.GuestID {
	var out []failover.GuestID
	for _, g := range commaList(text) {
		out = append(out, failover.GuestID(g))
	}
	return out
}

// commaList reads names separated by commas.
func commaList(text string) []string {
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// timeOf reads a time that is to come: of the day, of a date, or from now on.
func timeOf(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		day := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		if !day.After(now) {
			day = time.Date(now.Year(), now.Month(), now.Day()+1, t.Hour(), t.Minute(), 0, 0, now.Location())
		}
		return day, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			if !t.After(now) {
				return t, usagef("--at: %s is past (it is %s)", text, now.Format("2006-01-02 15:04"))
			}
			return t, nil
		}
	}
	return time.Time{}, usagef("--at: %q is no time such as 03:00, \"2026-03-02 03:00\" or 2h", text)
}

// spellSwitchover writes a request as a command line.
func spellSwitchover(req api.FailoverRequest) string {
	to := "auto"
	if req.To != "" {
		to = string(req.To)
	}
	text := "switchover " + req.Switchover + " --to " + to
	if len(req.Only) > 0 {
		text += " --only " + strings.Join(names(req.Only), ",")
	}
	if len(req.Stop) > 0 {
		text += " --stop " + strings.Join(names(req.Stop), ",")
	}
	return text + spellAt(req)
}
