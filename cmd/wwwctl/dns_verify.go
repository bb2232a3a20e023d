package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// longTTL keeps members at a dead site for longer than they take it.
const longTTL = 5 * time.Minute

// dnsVerify asks every server now. It exits 1 when one with authority answers
// otherwise than decided; resolvers only inform.
func (a *app) dnsVerify(ctx context.Context, part string) error {
	outside := 0
	err := a.present(ctx, func(ctx context.Context) (view, error) {
		check, err := a.client.CheckDNS(ctx)
		outside = 0
		t := table{cols: cols("NAME", "TYPE", ">TTL", "~DECIDED", "SERVER", "ANSWERS")}
		for i := range check.Zones {
			z := &check.Zones[i]
			z.Names = slices.DeleteFunc(z.Names, func(n api.NameCheck) bool { return !strings.Contains(n.Name, part) })
			for _, s := range z.Servers {
				if s.Role != "resolver" && slices.Contains([]string{"differs", "refusing", "failing"}, s.Status) {
					outside++
				}
			}
			for _, n := range z.Names {
				for _, s := range z.Servers {
					t.add(c(n.Name), c(dash(n.Type)), c(span(n.TTL)), c(dash(n.Data)), c(s.Server), c(sightText(n.Seen[s.Server], s)))
				}
			}
		}
		return view{kind: api.KindDNSCheck, data: check, table: t, text: func() string { return a.verifyScreen(check) }}, err
	})
	if err == nil && outside > 0 {
		return &exitError{code: exitFailure}
	}
	return err
}

func (a *app) verifyScreen(check api.DNSCheck) string {
	s := a.show
	p := &page{s: s}
	for i, z := range check.Zones {
		if i > 0 {
			p.blank()
		}
		serial := ""
		if z.Serial != 0 {
			serial = fmt.Sprintf("  serial %d", z.Serial)
		}
		p.line("zone %s  %s%s  decision %s", z.Zone, z.Backend, serial, z.Token)
		servers := table{indent: "  ", cols: cols("SERVER", "ROLE", "STATE", ">SERIAL", "~WHY")}
		for _, v := range z.Servers {
			tone := good
			switch v.Status {
			case "in-sync":
			case "silent", "unreachable":
				tone = warn
			default:
				tone = bad
			}
			if v.Role == "resolver" && tone == bad {
				tone = warn // it may remember for a while
			}
			number := dash("")
			if v.Serial != 0 {
				number = fmt.Sprint(v.Serial)
			}
			servers.add(c(v.Server), c(strings.TrimSpace(v.Role+" "+v.Site)), cell{v.Status, tone}, c(number), c(s.text(v.Error)))
		}
		p.raw(servers.lines(s, a.g.noHeaders)...)
		p.blank()
		p.raw(a.nameTable(z).lines(s, a.g.noHeaders)...)
		for _, line := range ttlWarnings(z) {
			p.line("%s", s.paint(warn, line))
		}
	}
	if len(check.Zones) == 0 {
		p.line("no zone is declared")
	}
	return p.b.String()
}

// nameTable has a column for each server.
func (a *app) nameTable(z api.ZoneCheck) table {
	titles := []string{"NAME", "TYPE", ">TTL", "~DECIDED"}
	for _, s := range z.Servers {
		titles = append(titles, serverTitle(s))
	}
	t := table{cols: cols(titles...)}
	for _, n := range z.Names {
		name := strings.TrimSuffix(strings.TrimSuffix(n.Name, z.Zone), ".")
		if name == "" {
			name = "@"
		}
		data := strings.ReplaceAll(n.Data, "."+z.Zone+".", "")
		if n.Held {
			data += " (held)"
		}
		row := []cell{c(name), c(dash(n.Type)), c(span(n.TTL)), {dash(data), plain}}
		if n.Away {
			row[3].tone = warn
		}
		for _, s := range z.Servers {
			seen := n.Seen[s.Server]
			cl := c(sightText(seen, s))
			switch {
			case seen.State == "ok":
				cl.tone = good
			case seen.State != "" && s.Role != "resolver":
				cl.tone = bad
			case seen.State != "":
				cl.tone = warn
			}
			row = append(row, cl)
		}
		t.add(row...)
	}
	return t
}

func serverTitle(s api.ServerCheck) string {
	if s.Site != "" {
		return strings.ToUpper(s.Site)
	}
	return strings.TrimSuffix(s.Server, ":53")
}

// sightText says what a server answers; at a resolver, for how long it will.
func sightText(n api.NameSight, s api.ServerCheck) string {
	if n.State == "" {
		return "-"
	}
	if s.Role == "resolver" && n.State != "ok" && n.TTL > 0 {
		return n.State + ", " + span(n.TTL)
	}
	return n.State
}

// ttlWarnings name what would keep members at a dead site for long.
func ttlWarnings(z api.ZoneCheck) []string {
	var out []string
	for _, n := range z.Names {
		most, where := n.TTL, "decided"
		for _, s := range z.Servers {
			if seen := n.Seen[s.Server]; s.Role != "resolver" && seen.TTL > most {
				most, where = seen.TTL, "at "+s.Server
			}
		}
		if most > longTTL {
			out = append(out, fmt.Sprintf("%s has a TTL of %s (%s): lower it now, not during a disaster", n.Name, span(most), where))
		}
	}
	return out
}
