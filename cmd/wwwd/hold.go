package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
)

// Times of `wwwd hold-guests`.
const (
	holdAtMost = 2 * time.Minute
	holdLook   = 2 * time.Second
)

// holdGuests waits, before this host starts its guests, until the agent is in
// contact and no copy here that is another site's now would start with the host.
// It never waits for longer than atMost: a site that is cut off serves its house.
func holdGuests(ctx context.Context, status func(context.Context) (failover.Status, error), look, atMost time.Duration, out io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		st, err := status(ctx)
		switch {
		case err == nil && st.Local.HasLeader && st.Local.Returning == 0:
			fmt.Fprintln(out, "in contact, and nothing here is another site's: guests may start")
			return
		case err != nil:
			fmt.Fprintf(out, "waiting for the agent: %v\n", err)
		case !st.Local.HasLeader:
			fmt.Fprintln(out, "waiting for contact with the others")
		default:
			fmt.Fprintf(out, "waiting for %d copies that are not to start\n", st.Local.Returning)
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(out, "not settled within %s: guests start as this host has them\n", atMost)
			return
		case <-time.After(look):
		}
	}
}

func hold(ctx context.Context, conf *config.Config, out io.Writer) {
	holdGuests(ctx, api.NewSocketClient(conf.Socket).Status, holdLook, holdAtMost, out)
}
