package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// limited is a thing that a person begins for a while and may end before.
type limited struct {
	what, on, off string // in a sentence; the verbs
	question      string // one %s for the name, one for the time
	begin         func(ctx context.Context, req api.LimitRequest) (api.Accepted, error)
	end           func(ctx context.Context, name string) (api.Accepted, error)
	after         string // what it means, said when it has begun
}

func maintenanceCommand(a *app, fs *flag.FlagSet) runner {
	return a.limited(fs, func() limited {
		return limited{
			what: "maintenance", on: "on", off: "off",
			question: "Let nothing of %s move by itself for %s?",
			begin:    a.client.BeginMaintenance, end: a.client.EndMaintenance,
			after: "its silence alarms nobody; when it is over, a silence counts from then on",
		}
	}, 2*time.Hour)
}

func observerCommand(a *app, fs *flag.FlagSet) runner {
	return a.limited(fs, func() limited {
		return limited{
			what: "exclusion", on: "exclude", off: "include",
			question: "Believe nothing that the agent of %s says of others for %s?",
			begin:    a.client.ExcludeObserver,
			end: func(ctx context.Context, name string) (api.Accepted, error) {
				return a.client.IncludeObserver(ctx, failover.SiteID(name))
			},
			after: "its sightings are no veto and its votes do not count; the majority is still one of all voters",
		}
	}, time.Hour)
}

// limited runs `VERB NAME`. The client is known only when the command runs.
func (a *app) limited(fs *flag.FlagSet, kind func() limited, normally time.Duration) runner {
	length := fs.Duration("for", normally, "how `long`; it ends by itself")
	why := fs.String("reason", "", "`why`, for the others")
	return func(ctx context.Context, args []string) error {
		k := kind()
		if len(args) == 0 || args[0] != k.on && args[0] != k.off {
			return usagef("want %s or %s", k.on, k.off)
		}
		if err := need(args, 2, 2, "the name"); err != nil {
			return err
		}
		if args[0] == k.off {
			return a.endLimited(ctx, k, args[1])
		}
		if *length <= 0 {
			return usagef("--for %s: must be more than 0, since it ends by itself", *length)
		}
		if a.g.dryRun {
			a.say("would begin the %s of %s for %s", k.what, args[1], span(*length))
			return nil
		}
		if err := a.askYes(ctx, fmt.Sprintf(k.question, args[1], span(*length))); err != nil {
			return err
		}
		req := api.LimitRequest{Name: args[1], Seconds: length.Seconds(), Reason: *why}
		done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return k.begin(ctx, req) })
		if err != nil {
			return err
		}
		if a.structured() != "" {
			return a.print(accepted(done))
		}
		a.printf("%s %s of %s until %s\n", a.show.glyph("pause"), k.what, args[1], a.show.clock(time.Now().Add(*length)))
		a.say("%s", k.after)
		return nil
	}
}

func (a *app) endLimited(ctx context.Context, k limited, name string) error {
	if a.g.dryRun {
		a.say("would end the %s of %s", k.what, name)
		return nil
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return k.end(ctx, name) })
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s of %s ended\n", k.what, name)
	return nil
}
