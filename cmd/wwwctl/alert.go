package main

import (
	"context"
	"flag"
	"slices"
	"strings"
)

func alertCommand(a *app, fs *flag.FlagSet) runner {
	channel := fs.String("channel", "", "only this `channel` of wwwd.yaml; default: all of this agent")
	return func(ctx context.Context, args []string) error {
		if len(args) != 1 || !slices.Contains(alertVerbs, args[0]) {
			return usagef("want wwwctl alert %s", strings.Join(alertVerbs, "|"))
		}
		if a.g.dryRun {
			a.say("would send a test message")
			return nil
		}
		text, err := request(ctx, a, func(ctx context.Context) (string, error) {
			return a.client.Verb(ctx, "/v1/alert/test", map[string]string{"channel": *channel})
		})
		if err != nil {
			return err
		}
		a.printf("%s\n", text)
		return nil
	}
}

// alertVerbs are what can be asked of the channels.
var alertVerbs = []string{"test"}
