package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// dnsVerify asks every server now. It exits 1 when one with authority answers
// otherwise than decided; resolvers only inform.
func (a *app) dnsVerify(ctx context.Context, part string) error {
	outside := 0
	err := a.present(ctx, func(ctx context.Context) (view, error) {
		check, err := a.client.CheckDNS(ctx)
		outside = 0
		if err == nil {
			check.Zones, err = zonesOf(check.Zones, part, nil)
		}
		t := table{cols: cols("NAME", "TYPE", ">TTL", "~DECIDED", "SERVER", "ANSWERS")}
		for _, z := range check.Zones {
			for _, s := range z.Servers {
				if s.Role != "resolver" && slices.Contains([]string{"differs", "refusing", "failing"}, s.Status) {
					outside++
				}
			}
			for _, n := range z.Names {
				for _, s := range z.Servers {
					t.add(c(n.Name), c(dash(n.Type)), c(span(n.TTL)), c(dash(n.Data)), c(s.Server), sight(n.Seen[s.Server], s))
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
		p.line("ZONE %s  %s%s  decision %s", z.Zone, z.Backend, serial, z.Token)
		servers := table{indent: "  ", cols: cols("SERVER", "ROLE", "STATE", ">SERIAL", "~WHY")}
		for _, v := range z.Servers {
			serial, why := dash(""), v.Error
			if why == v.Status {
				why = "" // nothing beyond the word
			}
			if v.Serial != 0 {
				serial = number(v.Serial)
			}
			servers.add(c(v.Server), c(strings.TrimSpace(v.Role+" "+v.Site)), cell{v.Status, serverTone(v)}, c(serial), c(s.text(why)))
		}
		p.raw(servers.lines(s, a.g.noHeaders)...)
		p.blank()
		a.namesOf(p, z, nil)
	}
	if len(check.Zones) == 0 {
		p.line("no zone is declared")
	}
	return p.b.String()
}
