package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func tokenCommand(a *app, fs *flag.FlagSet) runner {
	length := fs.Duration("for", time.Hour, "how `long` it is valid")
	site := fs.String("for-site", "", "`SITE` that it is for; default: any")
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return usagef("want create, list or revoke TOKEN")
		}
		switch args[0] {
		case "create":
			if err := need(args, 1, 1, ""); err != nil {
				return err
			}
			return a.createToken(ctx, api.TokenRequest{Site: failover.SiteID(*site), Seconds: length.Seconds()})
		case "list":
			return a.listTokens(ctx)
		case "revoke":
			if err := need(args, 2, 2, "the token's id"); err != nil {
				return err
			}
			return a.change(ctx, fmt.Sprintf("token %s lets nobody join any more", args[1]), func(ctx context.Context) (api.Accepted, error) {
				return a.client.EndToken(ctx, args[1])
			})
		}
		return usagef("want create, list or revoke, not %q", args[0])
	}
}

// change carries out what needs no answer but that it was done.
func (a *app) change(ctx context.Context, said string, call func(context.Context) (api.Accepted, error)) error {
	if a.g.dryRun {
		a.say("would do: %s", said)
		return nil
	}
	done, err := request(ctx, a, call)
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s\n", said)
	return nil
}

func (a *app) createToken(ctx context.Context, req api.TokenRequest) error {
	if a.g.dryRun {
		a.say("would make a join token")
		return nil
	}
	made, err := request(ctx, a, func(ctx context.Context) (api.TokenMade, error) { return a.client.CreateToken(ctx, req) })
	if err != nil {
		return err
	}
	t := table{cols: cols("TOKEN", "ID", "UNTIL")}
	t.add(c(made.Token), c(made.ID), c(a.show.date(made.Until)))
	return a.print(view{kind: api.KindToken, data: made, table: t, text: func() string {
		site, via := "SITE", "ADDRESS"
		if made.Site != "" {
			site = string(made.Site)
		}
		if len(made.Via) > 0 {
			via = made.Via[0]
		}
		return fmt.Sprintf("%s\n\nIt lets one agent join, until %s, and is shown only now. On the new machine:\n\n"+
			"  wwwctl join %s --site %s --token %s\n", made.Token, a.show.date(made.Until), via, site, made.Token)
	}})
}

func (a *app) listTokens(ctx context.Context) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		list, err := a.client.Access(ctx)
		t := table{cols: cols("ID", "SITE", "UNTIL", "STATE", "+BY")}
		for _, k := range list.Tokens {
			state := "open"
			switch {
			case k.Used:
				state = "used"
			case k.Ended:
				state = "ended"
			}
			t.add(c(k.ID), c(dash(string(k.Site))), c(a.show.date(k.Until)), c(state), c(dash(k.By)))
		}
		return view{kind: api.KindAccess, data: list, table: t}, err
	})
}

func operatorCommand(a *app, fs *flag.FlagSet) runner {
	length := fs.Duration("for", 90*24*time.Hour, "how `long` the certificate is valid")
	role := fs.String("role", string(failover.RoleViewer), "viewer, operator or admin")
	why := fs.String("reason", "", "`why`, for the others")
	out := fs.String("out", "", "login `FILE` to write; default NAME.www")
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return usagef("want admit NAME, list or revoke NAME")
		}
		switch args[0] {
		case "admit":
			if err := need(args, 2, 2, "the person's name"); err != nil {
				return err
			}
			file := *out
			if file == "" {
				file = args[1] + ".www"
			}
			return a.admitOperator(ctx, file, api.OperatorRequest{Name: args[1], Role: failover.Role(*role), Seconds: length.Seconds()})
		case "list":
			return a.listOperators(ctx)
		case "revoke":
			if err := need(args, 2, 2, "the person's name"); err != nil {
				return err
			}
			if err := a.askYes(ctx, fmt.Sprintf("Refuse every certificate of %s from now on?", args[1])); err != nil {
				return err
			}
			return a.change(ctx, fmt.Sprintf("certificates of %s are refused", args[1]), func(ctx context.Context) (api.Accepted, error) {
				return a.client.RevokeOperator(ctx, args[1], *why)
			})
		}
		return usagef("want admit, list or revoke, not %q", args[0])
	}
}

// admitOperator writes a login file. It opens the file first: a certificate
// that cannot be kept should not be made.
func (a *app) admitOperator(ctx context.Context, file string, req api.OperatorRequest) (err error) {
	if a.g.dryRun {
		a.say("would make a certificate for %s as %s and write %s", req.Name, req.Role, file)
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	login, err := request(ctx, a, func(ctx context.Context) (api.Login, error) { return a.client.AdmitOperator(ctx, req) })
	if err == nil {
		err = json.NewEncoder(f).Encode(login)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file) // empty or half written: it is of no use
		return err
	}
	a.printf("%s: login file of %s as %s, until %s\n", file, login.Name, login.Role, a.show.date(login.Until))
	a.say("it holds a private key: bring it to %s's laptop by a safe way, there: wwwctl login %s", login.Name, file)
	return nil
}

func (a *app) listOperators(ctx context.Context) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		list, err := a.client.Access(ctx)
		t := table{cols: cols("NAME", "ROLE", "UNTIL", "STATE", "+SERIAL", "+BY")}
		for _, o := range list.Operators {
			state := cell{"valid", plain}
			switch {
			case o.Revoked:
				state = cell{"revoked", bad}
			case list.At.After(o.Until):
				state = cell{"ended", plain}
			}
			t.add(c(o.Name), c(string(o.Role)), c(a.show.date(o.Until)), state, c(o.Serial), c(dash(o.By)))
		}
		return view{kind: api.KindAccess, data: list, table: t}, err
	})
}
