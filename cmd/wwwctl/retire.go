package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func siteCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 || args[0] != "retire" {
			return usagef("wwwctl site needs retire; wwwctl sites shows what there is")
		}
		if err := need(args[1:], 1, 1, "the site"); err != nil {
			return err
		}
		return a.retire(ctx, failover.SiteID(args[1]))
	}
}

// retire shows what would be where and what is lost, asks for the site's name, and does it.
func (a *app) retire(ctx context.Context, site failover.SiteID) error {
	what, err := request(ctx, a, func(ctx context.Context) (api.Retirement, error) {
		return a.client.RetireSite(ctx, site, api.RetireRequest{DryRun: true})
	})
	if err != nil {
		return err
	}
	show := func(r api.Retirement) view {
		return view{kind: api.KindRetired, data: r, table: a.retireTable(r), text: func() string { return a.retireScreen(r) }}
	}
	if a.g.dryRun {
		return a.print(show(what))
	}
	if a.structured() == "" {
		a.printf("%s", a.retireScreen(what))
		fmt.Fprintf(a.con.Err, "%s will be nobody's home any more. Should it come back after all, nothing of it serves or is brought home.\n", site)
	}
	if err := a.askName(ctx, string(site)); err != nil {
		return err
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Retirement, error) {
		return a.client.RetireSite(ctx, site, api.RetireRequest{Confirm: string(site)})
	})
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(show(done))
	}
	a.printf("applied: version %d\n", done.Version)
	next := []string{"next: wwwctl config show has the network as it is now; take it as your file"}
	for _, id := range done.Empty {
		next = append(next, fmt.Sprintf("next: give %s another home: in that file, or leave it out: it has no guests, and %s stays its home", id, site))
	}
	for _, line := range append(next,
		"next: put the guests into the backup job of their new host; until then its agent backs them up as it has done",
		fmt.Sprintf("next: leave %s in the file until wwwctl guests shows newer copies from that job at other sites; then take it out,", site),
		fmt.Sprintf("      and its agent out of the group: wwwctl cluster remove %s", site),
	) {
		a.say("%s", line)
	}
	return nil
}

func (a *app) retireTable(r api.Retirement) table {
	t := table{cols: cols("GUEST", "HOME", "ID", "WAS", "HAS ALL UNTIL")}
	for _, g := range r.Guests {
		until := a.show.date(g.From.Time)
		if g.Whole {
			until = "it moved"
		}
		t.add(c(string(g.Guest)), c(fmt.Sprintf("%s at %s", g.Now.Host, g.Now.Site)), c(fmt.Sprint(g.Now.VMID)), c(fmt.Sprintf("%s/%d", g.Was.Host, g.Was.VMID)), c(until))
	}
	return t
}

func (a *app) retireScreen(r api.Retirement) string {
	p := &page{s: a.show}
	p.line("If %s is gone for good", r.Site)
	p.raw(a.retireTable(r).lines(a.show, a.g.noHeaders)...)
	p.line("  what was written at %s after HAS ALL UNTIL is lost with its disks", r.Site)
	for _, id := range r.Empty {
		p.line("  %s has no guests: %s stays its home until you give it another in network.yaml", id, r.Site)
	}
	return p.b.String()
}
