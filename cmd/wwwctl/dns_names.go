package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// longTTL keeps members at a dead site for longer than they take it.
const longTTL = 5 * time.Minute

// leastDecided is what the column of what was decided may shrink to before a table gives way to a list.
const leastDecided = 16

// namesOf writes a zone's names with what each server says of them: a table with a column for each, or where the
// terminal is too narrow for that, a few lines for each name.
func (a *app) namesOf(p *page, z api.ZoneCheck, guests map[string]api.DNSName) {
	s := a.show
	switch t := a.nameTable(z, guests); {
	case len(z.Names) == 0:
		p.line("no name of this zone follows a guest")
	case s.cut && t.least(s) > s.columns():
		a.nameList(p, z)
	default:
		p.raw(t.lines(s, a.g.noHeaders)...)
	}
	for _, line := range ttlWarnings(z) {
		p.wrap("", "  ", line)
	}
}

// nameTable has a column for each server, and with -o wide whose names they are.
func (a *app) nameTable(z api.ZoneCheck, guests map[string]api.DNSName) table {
	titles := []string{"NAME", "TYPE", ">TTL", "~DECIDED"}
	for _, label := range serverLabels(z.Servers) {
		titles = append(titles, strings.ToUpper(label))
	}
	if guests != nil {
		titles = append(titles, "+GUEST", "+HOME", "+SERVED FROM")
	}
	t := table{cols: cols(titles...)}
	for _, n := range z.Names {
		row := []cell{c(shortName(n, z)), c(dash(n.Type)), c(ttlText(n.TTL)), decided(n, z)}
		for _, v := range z.Servers {
			row = append(row, sight(n.Seen[v.Server], v))
		}
		if guests != nil {
			g := guests[n.Name]
			row = append(row, c(dash(string(g.Guest))), c(dash(string(g.Home))), c(dash(string(g.Site))))
		}
		t.add(row...)
	}
	return t
}

// nameList has a few lines for each name: where it goes, then who says what.
func (a *app) nameList(p *page, z api.ZoneCheck) {
	s := a.show
	labels := serverLabels(z.Servers)
	for _, n := range z.Names {
		p.line("%s  %s  %s", s.paint(strong, s.text(shortName(n, z))), dash(n.Type), ttlText(n.TTL))
		to := decided(n, z)
		p.line("  %s", s.paint(to.tone, s.text(to.text)))
		var order []string
		said := map[string][]string{}
		tones := map[string]tone{}
		silent := false
		for i, v := range z.Servers {
			if !answers(v) {
				silent = true // the head says so once
				continue
			}
			cl := sight(n.Seen[v.Server], v)
			if said[cl.text] == nil {
				order = append(order, cl.text)
			}
			said[cl.text] = append(said[cl.text], labels[i])
			tones[cl.text] = max(tones[cl.text], cl.tone)
		}
		if len(order) == 1 && order[0] == "ok" {
			where := "everywhere"
			if silent {
				where = "at all that answer"
			}
			p.line("  %s", s.paint(good, "ok "+where))
			continue
		}
		for _, answer := range order {
			word := answer
			if answer == "-" {
				word = "no answer"
			}
			p.flow("  "+s.paint(tones[answer], word)+": ", "    ", ", ", said[answer])
		}
	}
}

// shortName is a name without its zone.
func shortName(n api.NameCheck, z api.ZoneCheck) string {
	if n.Name == z.Zone {
		return "@"
	}
	return strings.TrimSuffix(n.Name, "."+z.Zone)
}

// decided is where a name should lead.
func decided(n api.NameCheck, z api.ZoneCheck) cell {
	out := cell{dash(strings.ReplaceAll(n.Data, "."+z.Zone+".", "")), plain}
	if n.Away {
		out.text, out.tone = out.text+" (away)", warn
	}
	if n.Held {
		out.text += " (held)"
	}
	return out
}

// sight says what a server answers; at a resolver, for how long it will.
func sight(seen api.NameSight, v api.ServerCheck) cell {
	switch {
	case seen.State == "":
		return cell{"-", dim}
	case seen.State == "ok":
		return cell{"ok", good}
	case v.Role != "resolver":
		return cell{seen.State, bad}
	case seen.TTL > 0:
		return cell{seen.State + ", " + span(seen.TTL), warn}
	}
	return cell{seen.State, warn}
}

// answers says whether a server said anything of the names.
func answers(v api.ServerCheck) bool {
	return v.Status != "silent" && v.Status != "unreachable" && v.Status != "unchecked"
}

// ttlText is a TTL without the seconds or minutes that are none.
func ttlText(d time.Duration) string {
	text := span(d)
	if d >= time.Minute && d%time.Minute == 0 {
		text = strings.TrimSuffix(text, "00s")
	}
	if d >= time.Hour && d%time.Hour == 0 {
		text = strings.TrimSuffix(text, "00m")
	}
	return text
}

// serverTone is how bad it is. A resolver may remember for a while.
func serverTone(v api.ServerCheck) tone {
	switch {
	case v.Status == "in-sync":
		return good
	case v.Status == "silent", v.Status == "unreachable", v.Role == "resolver":
		return warn
	}
	return bad
}

// serverLabels are short names of servers: of the NS record, else of the site, else the address; where two would be
// called the same, the addresses.
func serverLabels(servers []api.ServerCheck) []string {
	out := make([]string, len(servers))
	count := map[string]int{}
	for i, v := range servers {
		label, _, _ := strings.Cut(v.Name, ".")
		if label == "" {
			label = v.Site
		}
		if label == "" {
			label = strings.TrimSuffix(v.Server, ":53")
		}
		out[i] = label
		count[label]++
	}
	for i, v := range servers {
		if count[out[i]] > 1 {
			out[i] = strings.TrimSuffix(v.Server, ":53")
		}
	}
	return out
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

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
