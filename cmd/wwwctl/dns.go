package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/api"
)

func dnsCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 || args[0] != "show" {
			return usagef("wwwctl dns show [NAME]")
		}
		if err := need(args, 1, 2, ""); err != nil {
			return err
		}
		return a.present(ctx, func(ctx context.Context) (view, error) {
			dns, err := a.client.DNS(ctx)
			if len(args) == 2 {
				dns.Names = slices.DeleteFunc(dns.Names, func(n api.DNSName) bool { return !strings.Contains(n.Name, args[1]) })
			}
			t := table{cols: cols("NAME", "GUEST", "HOME", "SERVED FROM", "ADDRESS", "+IPV6")}
			for _, n := range dns.Names {
				from := cell{dash(string(n.Site)), plain}
				if n.Site != n.Home {
					from.tone = warn
				}
				t.add(c(n.Name), c(string(n.Guest)), c(string(n.Home)), from, c(dash(n.IPv4)), c(dash(n.IPv6)))
			}
			return view{kind: api.KindDNS, data: dns, table: t, text: func() string { return a.dnsScreen(dns, t) }}, err
		})
	}
}

func (a *app) dnsScreen(dns api.DNS, names table) string {
	s := a.show
	p := &page{s: s}
	for _, z := range dns.Zones {
		word, t := "in sync", good
		if !z.InSync {
			word, t = "being published", warn
		}
		p.line("zone %s  serial %d  %s  verified %s", z.Zone, z.Serial, s.paint(t, word), s.date(z.Verified))
		for _, server := range slices.Sorted(maps.Keys(z.Servers)) {
			state := s.paint(good, "ok")
			if !z.Servers[server] {
				state = s.paint(bad, "OUT OF SYNC")
			}
			p.line("  %s  %s", server, state)
		}
	}
	if len(dns.Zones) == 0 {
		p.line("no zone is declared")
	}
	p.blank()
	p.raw(names.lines(s, a.g.noHeaders)...)
	if len(names.rows) == 0 {
		p.line("%s", fmt.Sprintf("no name (of %d zones) follows a guest", len(dns.Zones)))
	}
	return p.b.String()
}
