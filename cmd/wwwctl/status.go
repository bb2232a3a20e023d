package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func statusCommand(a *app, fs *flag.FlagSet) runner {
	exitCode := fs.Bool("exit-code", false, "exit 1 unless the headline is healthy")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		var last failover.Headline
		err := a.present(ctx, func(ctx context.Context) (view, error) {
			st, err := a.client.Status(ctx)
			last = st.Headline
			return view{
				kind: api.KindStatus, data: st, table: a.siteTable(st.Sites),
				text: func() string { return a.statusScreen(st) },
			}, err
		})
		if err == nil && *exitCode && last != failover.HeadHealthy {
			return &exitError{code: exitFailure}
		}
		return err
	}
}

// headlines are the words and marks of the headline.
var headlines = map[failover.Headline]struct {
	words, mark string
	tone        tone
}{
	failover.HeadLoss:     {"LOSS IN PROGRESS", "lost", bad},
	failover.HeadFailover: {"FAILOVER IN PROGRESS", "work", warn},
	failover.HeadFailback: {"FAILBACK IN PROGRESS", "work", warn},
	failover.HeadIsolated: {"ISOLATED", "alone", bad},
	failover.HeadNoQuorum: {"NO QUORUM", "alone", bad},
	failover.HeadDiverged: {"DIVERGED", "work", warn},
	failover.HeadAway:     {"AWAY FROM HOME", "work", warn},
	failover.HeadDegraded: {"DEGRADED", "work", warn},
	failover.HeadPaused:   {"PAUSED", "pause", warn},
	failover.HeadHealthy:  {"HEALTHY", "ok", good},
}

// density is how much a screen leaves out to fit the terminal.
type density struct {
	reasons int  // sentences of one sort
	guests  int  // of an operation, at least
	fold    bool // sites that are up share a line
}

// statusScreen is the one screen. An operation comes first, then the sites,
// then what is held back and what a person has to do. It leaves out as much as
// it must to fit.
func (a *app) statusScreen(st failover.Status) string {
	if a.show.columns() < narrow {
		return a.statusPhone(st)
	}
	text := ""
	for _, d := range []density{{3, 4, false}, {1, 4, false}, {1, 4, true}, {1, 2, true}} {
		text = a.statusAt(st, d)
		if strings.Count(text, "\n") <= a.show.rows() {
			break
		}
	}
	return text
}

func (a *app) statusAt(st failover.Status, d density) string {
	p, tail := &page{s: a.show}, &page{s: a.show}
	a.statusHead(p, st)
	a.statusTail(tail, st, d.reasons)
	sites := a.siteRows(st, d)
	budget := a.show.rows() - strings.Count(p.b.String()+tail.b.String(), "\n") - len(sites) - 1
	for i, op := range running(st.Ops) {
		if i == 2 {
			break // a third would push the sites away; wwwctl op list has it
		}
		const around = 5 // head, bar, column titles, left out, blank line
		lines := a.opLines(op, st, max(d.guests, budget-around))
		budget -= len(lines) + 1
		p.raw(lines...)
		p.blank()
	}
	p.raw(sites...)
	p.blank()
	return p.b.String() + tail.b.String()
}

func running(ops []failover.OpView) []failover.OpView {
	return slices.DeleteFunc(slices.Clone(ops), func(o failover.OpView) bool { return o.Phase.Ended() })
}

// statusHead tells headline, quorum, leader, term and whether automation is armed.
func (a *app) statusHead(p *page, st failover.Status) {
	s := a.show
	h := headlines[st.Headline]
	left := fmt.Sprintf("%s %s: %s", s.glyph(h.mark), dash(st.Network), h.words)
	right := st.At.In(s.zone).Format("Mon 2 Jan 2006 15:04:05 MST")
	gap := max(2, min(s.columns(), 100)-utf8.RuneCountInString(left)-utf8.RuneCountInString(right))
	p.line("%s%s%s", s.paint(h.tone, left), strings.Repeat(" ", gap), right)
	dot := " " + s.glyph("dot") + " "
	leader := "no leader"
	if st.Local.HasLeader {
		leader = fmt.Sprintf("leader %s (term %d)", dash(string(st.Leader)), st.Term)
	}
	p.line("  quorum %d/%d%s%s%s%s", st.Quorum.Present, st.Quorum.Voters, dot, leader, dot, a.armed(st))
	if !st.Local.HasLeader {
		a.localView(p, st)
	} else if behind := st.Local.LastContact; behind > 10*time.Second {
		p.line("  seen from %s, %s old", st.Local.Site, span(behind))
	}
	for _, why := range st.Local.Unwell {
		p.line("  this agent (%s) is unwell and does not count: %s", st.Local.Site, s.text(why))
	}
	p.blank()
}

// localView says what an agent without a leader knows, and what it does not.
func (a *app) localView(p *page, st failover.Status) {
	if st.Quorum.Voters == 0 { // an empty log: nobody is missing
		p.line("  %s belongs to no network yet: wwwd join --to ADDRESS, or wwwd bootstrap", dash(string(st.Local.Site)))
		return
	}
	own := api.Meta{At: st.At, From: st.Local.Site}
	if st.Local.LastContact > 0 {
		own.Heard = st.At.Add(-st.Local.LastContact)
	}
	p.line("  %s", a.ownView(own))
	reach := "no other voter"
	if len(st.Local.Reachable) > 0 {
		reach = strings.Join(names(st.Local.Reachable), ", ")
	}
	p.line("  reaches %s; %s needed to decide", reach, plural(st.Quorum.Needed, "vote"))
	if st.Isolation != nil {
		a.alone(p, st)
	}
}

func names[T ~string](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func (a *app) armed(st failover.Status) string {
	switch {
	case !st.Local.HasLeader:
		return "automatic failover waits for a leader"
	case st.Armed && len(st.Pauses) == 0:
		return "automatic failover ARMED"
	}
	text := "failover PAUSED"
	if st.Armed {
		var at []string
		for _, p := range st.Pauses {
			at = append(at, string(p.Site))
		}
		return text + " for " + strings.Join(at, ", ")
	}
	for _, p := range st.Pauses {
		if p.Site == "" && !p.Until.IsZero() {
			text += " until " + a.show.clock(p.Until)
		}
	}
	return text
}

// statusTail tells counts, DNS, ended operations, what is held back and what
// a person has to do.
func (a *app) statusTail(p *page, st failover.Status, most int) {
	s := a.show
	dot := " " + s.glyph("dot") + " "
	parts := []string{fmt.Sprintf("%s protected, %d ready", plural(st.Counts.Protected, "guest"), st.Counts.Ready)}
	for _, n := range []struct {
		count int
		word  string
	}{
		{st.Counts.Away, "away"},
		{st.Counts.Diverged, "diverged"},
		{st.Counts.Stuck, "stuck"},
		{st.Counts.Unprotected, "unprotected"},
		{st.Counts.Excluded, "not rescued"},
	} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.count, n.word))
		}
	}
	if len(st.Zones) > 0 {
		parts = append(parts, a.dnsWord(st.Zones))
	}
	p.line("%s", strings.Join(parts, dot))
	ended := 0
	for _, op := range st.Ops {
		if op.Phase.Ended() && ended < 2 {
			p.line("%s  %s of %s: %s %s ago, %d of %s serving", op.ID, op.Kind, concern(op), op.Phase,
				span(st.At.Sub(op.Ended)), served(op), plural(len(op.Guests), "guest"))
			ended++
		}
	}
	held := heldLines(a, st)
	a.reasonLines(p, reasons{"held", held, warn}, most)
	notes := slices.DeleteFunc(a.sentences(st.Notices), func(text string) bool { return slices.Contains(held, text) })
	a.reasonLines(p, reasons{"note", notes, plain}, most)
	a.todo(p, st, most)
}

// todo is the last word of every screen: what a person has to do.
func (a *app) todo(p *page, st failover.Status, most int) {
	texts := a.sentences(st.Todo)
	for _, r := range st.Todo {
		if i := slices.Index(texts, a.sentence(r)); r.Code == failover.CodeBranches && i >= 0 { // a choice: say how it is made
			texts[i] += ". " + message.Hint(a.lang(), r.Code, r.Args)
		}
	}
	if !st.Local.HasLeader && st.Quorum.Voters > 0 {
		texts = append(texts, "check power, box and links here: wwwctl sites "+string(st.Local.Site), "stop and restore nothing by hand: what differs is settled when the line is back")
	}
	if len(texts) == 0 {
		p.line("%s", a.show.paint(good, "nothing to do"))
	}
	a.reasonLines(p, reasons{"to do", texts, bad}, most)
}

// reasons are sentences of one sort.
type reasons struct {
	label string
	texts []string
	tone  tone
}

// reasonLines writes at most that many of them; a sentence takes the lines it
// needs.
func (a *app) reasonLines(p *page, r reasons, most int) {
	for i, text := range r.texts {
		if i == most {
			p.line("%-6s and %d more: wwwctl status -o json", r.label, len(r.texts)-most)
			return
		}
		lines := wrap(a.show.text(text), a.show.columns()-7)
		p.line("%s %s", a.show.paint(r.tone, fmt.Sprintf("%-6s", r.label)), lines[0])
		for _, more := range lines[1:] {
			p.line("       %s", more)
		}
	}
}

func (a *app) sentences(rs []failover.Reason) []string {
	var out []string
	for _, r := range rs {
		if text := a.sentence(r); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// said is a reason in words, its times as everywhere on the screen.
func (a *app) said(r failover.Reason) string {
	args := maps.Clone(r.Args)
	for k, v := range args {
		if t, err := time.Parse(time.RFC3339, v); err == nil {
			args[k] = a.show.date(t)
		}
	}
	return message.Text(a.lang(), r.Code, args)
}

// sentence writes a reason with its code first, and the thing it speaks of
// when its text does not name it.
func (a *app) sentence(r failover.Reason) string {
	text := a.said(r)
	for _, k := range []string{"guest", "op"} {
		if v := r.Args[k]; v != "" && !strings.Contains(text, v) {
			text = v + ": " + text
			break
		}
	}
	return r.Code + "  " + text
}

// heldLines are the decisions that are held back, without those that stand
// among what a person has to do.
func heldLines(a *app, st failover.Status) []string {
	var out []string
	todo := a.sentences(st.Todo)
	for _, h := range st.Held {
		if slices.Contains(todo, a.sentence(h.Reason)) {
			continue
		}
		text := a.sentence(h.Reason)
		if name := domain(h.Domain); !strings.Contains(text, name) {
			text = h.Reason.Code + "  " + name + ": " + strings.TrimPrefix(text, h.Reason.Code+"  ")
		}
		out = append(out, text)
	}
	return out
}

func (a *app) dnsWord(zones []failover.ZoneView) string {
	for _, z := range zones {
		if !z.InSync {
			return "DNS not yet in sync"
		}
	}
	return "DNS in sync"
}

// domain writes a failure domain for a person.
func domain(d failover.DomainID) string {
	if name, ok := strings.CutPrefix(string(d), "host:"); ok {
		return "host " + name
	}
	return strings.TrimPrefix(string(d), "site:")
}

// concern is what an operation is about: a site, a host, the operation whose copies it removes, or guests.
func concern(op failover.OpView) string {
	switch {
	case op.Domain != "":
		return domain(op.Domain)
	case op.Of != "":
		return string(op.Of)
	case len(op.Guests) == 1:
		return string(op.Guests[0].Guest)
	}
	return plural(len(op.Guests), "guest")
}

func served(op failover.OpView) int {
	n := 0
	for _, g := range op.Guests {
		if !g.Served.IsZero() {
			n++
		}
	}
	return n
}

// statusPhone is the screen below 72 columns: one line per thing.
func (a *app) statusPhone(st failover.Status) string {
	s := a.show
	p := &page{s: s}
	h := headlines[st.Headline]
	auto := "ARMED"
	switch {
	case !st.Local.HasLeader:
		auto = "NO LEADER"
	case !st.Armed:
		auto = "PAUSED"
	}
	p.line("%s  %d/%d  %s  %s", s.paint(h.tone, fmt.Sprintf("%s %s %s", s.glyph(h.mark), dash(st.Network), h.words)),
		st.Quorum.Present, st.Quorum.Voters, auto, st.At.In(s.zone).Format("15:04"))
	if !st.Local.HasLeader {
		p.line("LOCAL view of %s, %s old", st.Local.Site, span(st.Local.LastContact))
	}
	if st.Isolation != nil {
		a.alone(p, st)
	}
	for _, op := range running(st.Ops) {
		p.line("%s %s %s %s", op.ID, op.Kind, concern(op), a.opState(op, st))
		if op.Total > 0 {
			p.line("%s %3d%% %s", s.bar(op.Bytes, op.Total, 10), percent(op), remaining(op))
		}
		for _, g := range op.Guests {
			word, t := stepWord(g)
			p.line("  %s%s%s %s", g.Guest, s.glyph("arrow"), g.Target, s.paint(t, word))
		}
	}
	for _, row := range st.Sites {
		mark, t := siteMark(row)
		text := fmt.Sprintf("%s %-9s %-8s", s.glyph(mark), row.Site, row.State)
		if row.Guests > 0 {
			text += fmt.Sprintf(" ready %d/%d", row.Ready, row.Guests)
		}
		if row.OffsiteRPO > 0 {
			text += "  off-site " + span(row.OffsiteRPO)
		}
		p.line("%s", s.paint(t, text))
	}
	a.reasonLines(p, reasons{"held", heldLines(a, st), warn}, 3)
	a.todo(p, st, 3)
	return p.b.String()
}
