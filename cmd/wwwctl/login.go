package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// loginPath is where a person's login is kept.
func (a *app) loginPath() string {
	base := a.con.Getenv("XDG_CONFIG_HOME")
	if base == "" {
		base = filepath.Join(a.con.Getenv("HOME"), ".config")
	}
	return filepath.Join(base, "www", "login.json")
}

// connect chooses the agent to talk to: the socket that was named, the local
// agent's, or by the login of a laptop.
func (a *app) connect() (*api.Client, error) {
	if a.g.socket != defaultSocket || a.con.Getenv("WWW_SOCKET") != "" {
		return api.NewSocketClient(a.g.socket), nil
	}
	if _, err := os.Stat(a.g.socket); err == nil {
		return api.NewSocketClient(a.g.socket), nil
	}
	b, err := os.ReadFile(a.loginPath())
	if errors.Is(err, fs.ErrNotExist) {
		return api.NewSocketClient(a.g.socket), nil
	}
	if err != nil {
		return nil, fail(exitFailure, "WWW-3036", "why", err.Error())
	}
	login, err := api.ParseLogin(b)
	if err != nil {
		return nil, fail(exitFailure, "WWW-3036", "why", a.loginPath()+": "+err.Error())
	}
	if time.Now().After(login.Until) {
		return nil, fail(exitNotAllowed, "WWW-3036", "why", fmt.Sprintf("the certificate of %s ended at %s", login.Name, login.Until.Format(time.RFC3339)))
	}
	return login.Client()
}

func loginCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 1, 1, "the login file"); err != nil {
			return err
		}
		b, err := os.ReadFile(args[0])
		if err != nil {
			return fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		login, err := api.ParseLogin(b)
		if err != nil {
			return fail(exitFailure, "WWW-3036", "why", args[0]+": "+err.Error())
		}
		path := a.loginPath()
		if a.g.dryRun {
			a.say("would keep it as %s", path)
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		if err := os.WriteFile(path+".new", b, 0o600); err != nil {
			return fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		a.printf("logged in to %s as %s (%s), until %s\n", login.Network, login.Name, login.Role, a.show.date(login.Until))
		client, err := login.Client()
		if err != nil {
			return fail(exitFailure, "WWW-3036", "why", err.Error())
		}
		defer client.Close()
		h, err := request(ctx, a, client.Health)
		if err != nil {
			a.say("no agent answers from here just now: is the VPN up?")
			return err
		}
		a.say("%s answers; delete %s, it is kept as %s", h.Site, args[0], path)
		return nil
	}
}

func logoutCommand(a *app, _ *flag.FlagSet) runner {
	return func(_ context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		err := os.Remove(a.loginPath())
		if errors.Is(err, fs.ErrNotExist) {
			a.say("nobody was logged in")
			return nil
		}
		if err != nil {
			return fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		a.say("the login is forgotten here; its certificate stays valid: wwwctl operator revoke NAME")
		return nil
	}
}
