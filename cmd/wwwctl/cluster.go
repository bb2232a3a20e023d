package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/api"
)

func (a *app) peersView(ctx context.Context, args []string) error {
	if err := need(args, 0, 0, ""); err != nil {
		return err
	}
	return a.present(ctx, func(ctx context.Context) (view, error) {
		list, err := a.client.Peers(ctx)
		t := table{cols: cols("SITE", "ADDRESS", "ROLE", "VOTER", ">REPORTED", "VERSION", "~NOTE", "+SERVER ID")}
		for _, p := range list.Items {
			voter, note := "yes", strings.Join(p.Unwell, "; ")
			if !p.Voter {
				voter = "no"
			}
			role := cell{p.Role, plain}
			if p.Role == "silent" {
				role.tone = bad
			}
			if p.Site == list.From {
				note = strings.TrimPrefix(note+"; this agent", "; ")
			}
			t.add(c(string(p.Site)), c(p.Address), role, c(voter), c(spanOrDash(p.Reported)), c(dash(p.Version)), c(note), c(p.ServerID))
		}
		return view{kind: api.KindPeers, data: list, table: t, text: func() string {
			pg := &page{s: a.show}
			pg.raw(t.lines(a.show, a.g.noHeaders)...)
			pg.line("term %d, applied %d of %d, %s for a majority", list.Term, list.Applied, list.Commit, plural(list.Needed, "vote"))
			return pg.b.String()
		}}, err
	})
}

func whichCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		return a.present(ctx, func(ctx context.Context) (view, error) {
			h, err := a.client.Health(ctx)
			leader := "no leader"
			if h.HasLeader {
				leader = "leader " + string(h.Leader)
			}
			t := table{cols: cols("SITE", "VERSION", "LEADER", "SOCKET")}
			t.add(c(string(h.Site)), c(h.Version), c(leader), c(a.client.Endpoint()))
			return view{kind: api.KindHealth, data: h, table: t, text: func() string {
				return fmt.Sprintf("%s answers at %s: wwwd %s, %s, entry %d\n", h.Site, a.client.Endpoint(), h.Version, leader, h.Applied)
			}}, err
		})
	}
}

// versionCommand tells its own version even when no agent answers.
func versionCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		own := api.VersionInfo{Version: version, Revision: revision(), Go: runtime.Version(), API: api.Version}
		agent, err := request(ctx, a, a.client.Version)
		t := table{cols: cols("PROGRAM", "VERSION", "REVISION", "GO", "SITE")}
		t.add(c("wwwctl"), c(own.Version), c(dash(own.Revision)), c(own.Go), c("-"))
		if err == nil {
			t.add(c("wwwd"), c(agent.Version), c(dash(agent.Revision)), c(agent.Go), c(string(agent.Site)))
		}
		data := struct {
			Client api.VersionInfo  `json:"client"`
			Agent  *api.VersionInfo `json:"agent,omitempty"`
		}{Client: own}
		if err == nil {
			data.Agent = &agent
		}
		if perr := a.print(view{kind: api.KindVersion, data: data, table: t}); perr != nil {
			return perr
		}
		if err != nil {
			a.say("no agent answers at %s", a.client.Endpoint())
		}
		return nil
	}
}

// revision is the source's, when the build recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}
