package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func rescueCommand(a *app, fs *flag.FlagSet) runner {
	host := fs.String("host", "", "this `host` of the site, where there are several")
	only := fs.String("only", "", "only these `guests`, separated by commas")
	plan := fs.String("plan", "", "only if this is still the `plan`")
	reason := fs.String("reason", "", "`why`, for the agent's log")
	detach := fs.Bool("detach", false, "do not follow the operation")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 1, 1, "the site"); err != nil {
			return err
		}
		req := api.FailoverRequest{
			Rescue: true, Site: failover.SiteID(args[0]), Host: failover.HostID(*host), Only: guestList(*only), Plan: *plan, Reason: *reason,
		}
		return a.failover(ctx, req, !*detach)
	}
}

// hostIsOff has a person type the name of the host that they say is off: two copies
// with one address are what comes of a mistake.
func (a *app) hostIsOff(ctx context.Context, id failover.OpID) error {
	op, err := request(ctx, a, func(ctx context.Context) (api.Op, error) { return a.client.Op(ctx, id) })
	if err != nil {
		return err
	}
	if op.Op.Kind != failover.KindRescue {
		return usagef("--host-is-off is for a rescue, and %s is a %s", id, op.Op.Kind)
	}
	_, host, _ := strings.Cut(string(op.Op.Domain), ":")
	fmt.Fprintf(a.con.Err, "If %s still runs, its guests will run twice with the same addresses.\nSay so only when you have seen that it has no power or no network cable.\n", host)
	return a.askName(ctx, host)
}
