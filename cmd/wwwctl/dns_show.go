package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// dnsShow is what was decided, what the answering agent hears from the servers now, and what the leader last saw of them.
// It informs, whatever it finds: dns verify is the one that fails.
func (a *app) dnsShow(ctx context.Context, part string) error {
	return a.present(ctx, func(ctx context.Context) (view, error) {
		dns, err := a.client.DNS(ctx, true)
		if err == nil {
			err = narrowTo(&dns, part)
		}
		t := table{cols: cols("NAME", "GUEST", "HOME", "SERVED FROM", "ADDRESS", "+IPV6", "+TTL")}
		for _, n := range dns.Names {
			from := cell{dash(string(n.Site)), plain}
			if n.Site != n.Home {
				from.tone = warn
			}
			if n.Held {
				from = cell{from.text + " (held)", warn}
			}
			t.add(c(n.Name), c(string(n.Guest)), c(string(n.Home)), from, c(dash(n.IPv4)), c(dash(n.IPv6)), c(span(n.TTL)))
		}
		return view{kind: api.KindDNS, data: dns, table: t, text: func() string { return a.dnsScreen(dns, t) }}, err
	})
}

// narrowTo keeps what a person asked for: the zone of that name, or the names that contain the word or belong to the site
// of that name.
func narrowTo(dns *api.DNS, part string) error {
	if part == "" {
		return nil
	}
	guests := dns.Names
	asked, err := zonesOf(dns.Asked, part, guests)
	zone := slices.ContainsFunc(dns.Zones, func(z failover.ZoneView) bool { return z.Zone == part })
	dns.Names = slices.DeleteFunc(slices.Clone(guests), func(n api.DNSName) bool {
		if zone {
			return n.Name != part && !strings.HasSuffix(n.Name, "."+part)
		}
		return !strings.Contains(n.Name, part) && string(n.Home) != part && string(n.Site) != part
	})
	if err != nil && len(dns.Names) == 0 && !zone {
		return err
	}
	dns.Asked = asked
	dns.Zones = slices.DeleteFunc(dns.Zones, func(z failover.ZoneView) bool {
		within := func(n api.DNSName) bool { return strings.HasSuffix("."+n.Name, "."+z.Zone) }
		return z.Zone != part && !slices.ContainsFunc(asked, func(k api.ZoneCheck) bool { return k.Zone == z.Zone }) &&
			!slices.ContainsFunc(dns.Names, within)
	})
	return nil
}

// zonesOf keeps the zone of that name, or of each zone the names that contain the word or belong to the site of that name.
func zonesOf(zones []api.ZoneCheck, part string, guests []api.DNSName) ([]api.ZoneCheck, error) {
	for _, z := range zones {
		if z.Zone == part {
			return []api.ZoneCheck{z}, nil
		}
	}
	if part == "" {
		return zones, nil
	}
	out := []api.ZoneCheck{}
	for _, z := range zones {
		z.Names = slices.DeleteFunc(slices.Clone(z.Names), func(n api.NameCheck) bool {
			at := func(g api.DNSName) bool {
				return g.Name == n.Name && (string(g.Home) == part || string(g.Site) == part)
			}
			return !strings.Contains(n.Name, part) && !slices.ContainsFunc(guests, at)
		})
		if len(z.Names) > 0 {
			out = append(out, z)
		}
	}
	if len(out) == 0 {
		return out, fail(exitFailure, "WWW-3005", "what", "site, zone or name of a zone like", "name", part)
	}
	return out, nil
}

func (a *app) dnsScreen(dns api.DNS, names table) string {
	s := a.show
	p := &page{s: s}
	if dns.Leaderless {
		p.flow("", "  ", ": ", []string{s.paint(warn, "NO LEADER"), "what was decided is as " + string(dns.Meta.From) + " knew it " + span(dns.Age) + " ago"})
	}
	guests := map[string]api.DNSName{}
	for _, n := range dns.Names {
		guests[n.Name] = n
	}
	unasked := 0
	for i, z := range dns.Zones {
		if i > 0 {
			p.blank()
		}
		j := slices.IndexFunc(dns.Asked, func(k api.ZoneCheck) bool { return k.Zone == z.Zone })
		if j < 0 { // an older agent, or a zone whose declaration has a fault
			unasked++
			a.loggedZone(p, z)
			continue
		}
		a.askedZone(p, z, dns.Asked[j], dns.Meta)
		a.namesOf(p, dns.Asked[j], guests)
	}
	if len(dns.Zones) == 0 {
		p.line("no zone is declared")
	}
	if unasked == len(dns.Zones) {
		p.blank()
		p.raw(names.lines(s, a.g.noHeaders)...)
		if len(names.rows) == 0 {
			p.line("no name (of %s) follows a guest", plural(len(dns.Zones), "zone"))
		}
	}
	for _, h := range dns.Held {
		p.wrap("", "  ", a.heldLine(h))
	}
	return p.b.String()
}

// askedZone is the head of a zone: its name servers as they answer now, what is wrong with which, and the log's word.
func (a *app) askedZone(p *page, z failover.ZoneView, now api.ZoneCheck, meta api.Meta) {
	s := a.show
	head := "ZONE " + z.Zone
	if now.Serial != 0 {
		head += "  serial " + number(now.Serial)
	}
	var states, wrong []string
	labels := serverLabels(now.Servers)
	for i, v := range now.Servers {
		word, tone := v.Status, serverTone(v)
		if v.Status == "in-sync" {
			word = "ok"
		}
		place := labels[i]
		if v.Site != "" && v.Site != place {
			place += " (" + v.Site + ")"
		}
		if v.Role != "resolver" {
			states = append(states, s.text(place)+" "+s.paint(tone, word))
		}
		if why := whyNot(z, v); why != "" {
			wrong = append(wrong, s.text(labels[i]+": "+why))
		}
	}
	p.flow(head+"  ", "  ", " "+s.glyph("dot")+" ", states)
	log := "in sync"
	if !z.InSync {
		log = "being published"
	}
	if !z.Verified.IsZero() {
		log += ", verified " + s.date(z.Verified)
	}
	p.flow("  ", "  ", " "+s.glyph("dot")+" ", []string{"asked by " + string(meta.From) + " at " + s.clock(meta.At), "log: " + log})
	for _, line := range wrong {
		p.wrap("  ", "    ", line)
	}
}

// whyNot says what is wrong with a server beyond the word in the head, and what the leader last saw of it where that is
// something else. Resolvers that remember are told by their column.
func whyNot(z failover.ZoneView, v api.ServerCheck) string {
	if v.Status == "in-sync" || v.Role == "resolver" && v.Status == "differs" {
		return ""
	}
	why := v.Status
	if answers(v) && v.Error != "" {
		why = v.Error
	}
	note, ok := z.Notes[v.Server], z.Servers[v.Server]
	switch {
	case note == "" && ok:
		return why + "; the leader saw it in sync"
	case note != "" && note != v.Error && !strings.HasSuffix(note, "("+v.Status+")"):
		return why + "; the leader: " + note
	case why == v.Status && v.Role != "resolver":
		return ""
	}
	return why
}

// loggedZone is what the leader last saw of a zone that was not asked now.
func (a *app) loggedZone(p *page, z failover.ZoneView) {
	s := a.show
	word, t := "in sync", good
	if !z.InSync {
		word, t = "being published", warn
	}
	p.line("ZONE %s  serial %d  %s  verified %s", z.Zone, z.Serial, s.paint(t, word), s.date(z.Verified))
	all := slices.Collect(maps.Keys(z.Servers))
	for server := range z.Notes {
		if _, told := z.Servers[server]; !told {
			all = append(all, server)
		}
	}
	slices.Sort(all)
	for _, server := range all {
		ok, told := z.Servers[server]
		state := s.paint(good, "ok")
		switch {
		case !told:
			state = s.paint(warn, "silent")
		case !ok:
			state = s.paint(bad, "OUT OF SYNC")
		}
		if note := z.Notes[server]; note != "" {
			state += "  " + s.text(note)
		}
		p.line("  %s  %s", server, state)
	}
}
