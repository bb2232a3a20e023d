package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func sitesCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		return a.present(ctx, func(ctx context.Context) (view, error) {
			if len(args) == 0 {
				list, err := a.client.Sites(ctx)
				return view{kind: api.KindSites, data: list, table: a.siteTable(list.Items)}, err
			}
			site, err := a.client.Site(ctx, failover.SiteID(args[0]))
			return view{
				kind: api.KindSite, data: site, table: a.siteTable([]failover.SiteView{site.Site}),
				text: func() string { return a.siteScreen(site) },
			}, err
		})
	}
}

func siteMark(row failover.SiteView) (mark string, t tone) {
	switch row.State {
	case "up":
		return "ok", good
	case "lost":
		return "lost", bad
	case "isolated":
		return "alone", bad
	case "maintenance":
		return "pause", warn
	case "unknown":
		return "unknown", dim
	}
	return "work", warn
}

// siteTable is the table of sites; the first column is the name alone.
func (a *app) siteTable(rows []failover.SiteView) table {
	t := table{cols: cols("SITE", "KIND", "STATE", ">SEEN BY", "PUBLIC", ">READY", ">HOSTS", ">OFF-SITE", "~CAUSE", "+SINCE", "+VOTES")}
	for _, r := range rows {
		_, tn := siteMark(r)
		cause := siteCause(r)
		if !r.RestUntil.IsZero() {
			cause = strings.TrimLeft(cause+", until "+a.show.clock(r.RestUntil), ", ")
		}
		t.add(c(string(r.Site)), c(r.Kind), cell{r.State, tn}, c(fmt.Sprintf("%d/%d", r.SeenBy, r.Observers)), c(r.PublicOK),
			c(ready(r)), c(hosting(r)), c(spanOrDash(r.OffsiteRPO)), c(cause), c(a.show.date(r.Since)), c(vote(r)))
	}
	return t
}

func ready(r failover.SiteView) string {
	if r.Guests == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.Ready, r.Guests)
}

func hosting(r failover.SiteView) string {
	if r.Hosting == 0 {
		return "-"
	}
	return fmt.Sprintf("+%d", r.Hosting)
}

func vote(r failover.SiteView) string {
	if r.Voter {
		return "voter"
	}
	return "-"
}

// siteCause says what is the matter, and what comes next.
func siteCause(r failover.SiteView) string {
	if r.State == "up" && r.CommitAt == 0 {
		return ""
	}
	text := string(r.Cause)
	switch {
	case r.State == "suspect":
		text = "silent"
	case text == r.State:
		text = ""
	}
	if r.Silence > 0 {
		text += " for " + span(r.Silence)
	}
	if r.CommitAt > 0 {
		text += ", commits in " + span(r.CommitAt)
	}
	return strings.TrimLeft(text, " ,")
}

// siteRows is the table on the status screen: marks in front, columns that
// say nothing left out, and while something is wrong its cause instead of the
// age of the copies.
func (a *app) siteRows(st failover.Status, d density) []string {
	var rows []failover.SiteView
	var up []string
	for _, r := range st.Sites {
		if d.fold && r.State == "up" {
			up = append(up, string(r.Site))
			continue
		}
		rows = append(rows, r)
	}
	t := a.siteTable(rows)
	for i, r := range rows {
		mark, _ := siteMark(r)
		t.rows[i][0].text = a.show.glyph(mark) + " " + t.rows[i][0].text
	}
	t.cols[0].title = "  SITE"
	hide := map[string]bool{}
	for i, col := range t.cols {
		hide[col.title] = t.says(i) == ""
	}
	for i, col := range t.cols {
		switch col.title {
		case "HOSTS", "CAUSE":
			t.cols[i].wide = hide[col.title]
		case "OFF-SITE":
			t.cols[i].wide = !hide["CAUSE"]
		}
	}
	lines := t.lines(a.show, a.g.noHeaders)
	if len(up) > 0 {
		lines = append(lines, a.show.clip(fmt.Sprintf("%s %d up: %s", a.show.glyph("ok"), len(up), strings.Join(up, ", ")), a.show.columns()))
	}
	return lines
}

// says returns the first field of a column that is not empty.
func (t table) says(col int) string {
	for _, row := range t.rows {
		if text := strings.Trim(row[col].text, "-"); text != "" {
			return text
		}
	}
	return ""
}

// siteScreen is one site with its evidence and its place.
func (a *app) siteScreen(site api.Site) string {
	s, v := a.show, site.Site
	p := &page{s: s}
	mark, t := siteMark(v)
	state := v.State
	if !v.Since.IsZero() {
		state += " since " + s.date(v.Since)
	}
	p.line("%s (%s)  %s", s.paint(t, s.glyph(mark)+" "+string(v.Site)), v.Kind, state)
	field := func(name, text string) {
		if text == "" {
			return
		}
		for _, l := range wrap(s.text(text), max(20, s.columns()-13)) {
			p.line("  %-10s %s", name, l)
			name = ""
		}
	}
	cause := siteCause(v)
	if !strings.Contains(cause, string(v.Cause)) {
		cause = strings.TrimSpace(string(v.Cause) + " " + cause)
	}
	field("cause", cause)
	if len(site.Verdict) > 0 {
		field("rests on", basisText(site.Verdict[0]))
	}
	for _, r := range site.Resting {
		field("maintained", fmt.Sprintf("%s until %s: %s", domain(r.Domain), s.date(r.Until), dash(r.Reason)))
	}
	field("mesh", site.Mesh)
	field("public", strings.TrimSpace(site.Public+"  "+v.PublicOK))
	field("guests", fmt.Sprintf("%d at home, %d ready, %d of others", v.Guests, v.Ready, v.Hosting))
	for _, h := range v.Hosts {
		text := fmt.Sprintf("%s (%s): %s", h.Host, h.Owner, h.Cause)
		if h.UnlockIn > 0 {
			text += ", " + span(h.UnlockIn) + " left to unlock it"
		}
		field("host", text)
	}
	if r := site.Ready; r != nil {
		field("capacity", fmt.Sprintf("%s of %s memory free, %s storage free, reported %s", message.Bytes(r.MemoryFree),
			message.Bytes(r.MemoryTotal), message.Bytes(r.StorageFree), s.date(site.ReadyAt)))
	}
	field("place", site.Place.Address)
	field("key", site.Place.Key)
	field("breaker", site.Place.Breaker)
	field("contract", site.Place.Contract)
	field("contacts", strings.Join(site.Place.Contacts, " "+s.glyph("dot")+" "))
	for _, d := range slices.Sorted(maps.Keys(site.Domains)) {
		if held := site.Domains[d].Held; !held.IsZero() {
			field("held", a.sentence(held))
		}
	}
	if site.Blocked != nil {
		field("blocked", fmt.Sprintf("until %s after %s", s.date(site.Blocked.Until), site.Blocked.Op))
	}
	for _, problem := range site.Problem {
		field("problem", a.sentence(problem))
	}
	a.siteTables(p, site)
	return p.b.String()
}

// siteTables are the evidence, and the guests that belong or run there.
func (a *app) siteTables(p *page, site api.Site) {
	if len(site.Seen) > 0 {
		p.blank()
		p.raw(a.matrix(site.Seen)...)
	}
	if len(site.Guests) > 0 {
		p.blank()
		if a.show.columns() < narrow {
			for _, g := range site.Guests {
				p.line("%s  %s", g.Guest, g.Phase)
			}
		} else {
			p.raw(a.guestTable(site.Guests).lines(a.show, a.g.noHeaders)...)
		}
	}
}
