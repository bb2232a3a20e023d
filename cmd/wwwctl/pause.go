package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func pauseCommand(a *app, fs *flag.FlagSet) runner {
	length := fs.Duration("for", 0, "how `long`; without it until wwwctl resume")
	why := fs.String("reason", "", "`why`, for the others")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		if *length < 0 {
			return usagef("--for %s: must not be negative", *length)
		}
		req := api.PauseRequest{Seconds: length.Seconds(), Reason: *why}
		where := "every site"
		if len(args) == 1 {
			req.Site, where = failover.SiteID(args[0]), args[0]
		}
		end := "until wwwctl resume"
		if *length > 0 {
			end = "for " + span(*length)
		}
		if a.g.dryRun {
			a.say("would pause automatic failover of %s %s", where, end)
			return nil
		}
		if err := a.askYes(ctx, fmt.Sprintf("Pause automatic failover of %s %s?", where, end)); err != nil {
			return err
		}
		done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.Pause(ctx, req) })
		if err != nil {
			return err
		}
		if a.structured() != "" {
			return a.print(accepted(done))
		}
		a.printf("%s automatic failover of %s PAUSED %s\n", a.show.glyph("pause"), where, end)
		if *length > 0 {
			a.say("it arms itself again at %s", a.show.clock(time.Now().Add(*length)))
		}
		a.say("what is lost is still watched and told; operations that run go on")
		return nil
	}
}

func resumeCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		var site failover.SiteID
		if len(args) == 1 {
			site = failover.SiteID(args[0])
		}
		if a.g.dryRun {
			a.say("would arm automatic failover again")
			return nil
		}
		done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) { return a.client.Resume(ctx, site) })
		if err != nil {
			return err
		}
		if a.structured() != "" {
			return a.print(accepted(done))
		}
		a.printf("automatic failover ARMED again\n")
		return nil
	}
}
