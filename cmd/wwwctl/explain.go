package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func explainCommand(a *app, _ *flag.FlagSet) runner {
	return func(_ context.Context, args []string) error {
		if len(args) == 0 { // no argument: the whole catalogue
			t := table{cols: cols("CODE", "SEVERITY", "~TITLE")}
			list := struct {
				Items []message.Message `json:"items"`
			}{}
			for _, code := range message.Codes() {
				m, _ := message.Entry(a.lang(), code)
				list.Items = append(list.Items, m)
				t.add(c(code), c(string(m.Severity)), c(m.Title))
			}
			return a.print(view{kind: "MessageList", data: list, table: t})
		}
		if err := need(args, 1, 1, "a code or a state"); err != nil {
			return err
		}
		code := normalCode(args[0])
		if m, ok := message.Entry(a.lang(), code); ok {
			t := table{cols: cols("CODE", "SEVERITY", "~TITLE")}
			t.add(c(code), c(string(m.Severity)), c(m.Title))
			return a.print(view{kind: "Message", data: m, table: t, text: func() string { return a.explanation(m) }})
		}
		for _, s := range states() {
			if s.word == strings.ToLower(args[0]) {
				a.printf("%s (%s): %s\n", s.word, s.of, s.means)
				return nil
			}
		}
		return usagef("%s is neither a code (WWW-1301) nor a state (wwwctl help states)", args[0])
	}
}

// normalCode accepts 1301, www-1301 and WWW-1301.
func normalCode(s string) string {
	s = strings.ToUpper(s)
	if !strings.HasPrefix(s, "WWW-") {
		s = "WWW-" + s
	}
	return s
}

// explanation has the headings of a runbook: meaning, impact, where to look,
// what to do.
func (a *app) explanation(m message.Message) string {
	p := &page{s: a.show}
	p.line("%s  %s (%s)", a.show.paint(strong, m.Code), m.Title, m.Severity)
	for _, f := range []struct{ name, text string }{
		{"Meaning", m.Meaning}, {"Impact", m.Impact}, {"Look", m.Look}, {"Do", m.Do}, {"Text", m.Text},
	} {
		for i, l := range wrap(a.show.text(f.text), min(a.show.columns(), 100)-9) {
			name := f.name
			if i > 0 {
				name = ""
			}
			p.line("%-8s %s", name, l)
		}
	}
	return p.b.String()
}

// wrap breaks a sentence at spaces.
func wrap(text string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			out = append(out, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(out, line)
}

type stateWord struct{ word, of, means string }

// states explains the words of the state columns.
func states() []stateWord {
	list := []stateWord{
		{"up", "site", "everything that is declared answers"},
		{"degraded", "site", "it lives, and something of it does not answer; see the column CAUSE"},
		{"suspect", "site", "silent for some seconds; nothing is decided"},
		{"lost", "site", "a majority gets no answer, over mesh and public paths"},
		{"locked", "site", "it has rebooted and waits for its disk passphrase"},
		{"isolated", "site", "this site does not reach the majority"},
		{"maintenance", "site", "a person said so"},
		{"unknown", "site", "too few fresh reports to say anything"},
		{string(failover.PhaseHome), "guest", "it runs where it belongs"},
		{string(failover.PhasePreparing), "guest", "a copy is being restored elsewhere; revocable"},
		{string(failover.PhaseStaged), "guest", "a stopped copy stands ready elsewhere; revocable"},
		{string(failover.PhaseStarting), "guest", "its copy is owned, started and checked"},
		{string(failover.PhaseAway), "guest", "it serves from another site than its home"},
		{string(failover.PhaseDiverged), "guest", "it serves from another site, and its home is back with other data"},
		{string(failover.PhaseStuck), "guest", "a person has to look: wwwctl op show"},
		{string(failover.PhaseUnprotected), "guest", "no backup of it is known"},
		{string(failover.PhaseExcluded), "guest", "declared priority 4: not rescued"},
		{string(failover.OpScheduled), "operation", "a planned move that waits for its time"},
		{string(failover.OpPreparing), "operation", "copies are restored; everything can be taken back"},
		{string(failover.OpCommitted), "operation", "its guests are being taken over"},
		{string(failover.OpReleasing), "operation", "cancelled; its copies are cleaned up after a while"},
		{string(failover.OpDone), "operation", "every guest of it serves"},
		{string(failover.OpCancelled), "operation", "given up before anything was taken over"},
	}
	slices.SortStableFunc(list, func(x, y stateWord) int { return strings.Compare(y.of, x.of) })
	return list
}

func stateHelp() string {
	var b strings.Builder
	for _, s := range states() {
		fmt.Fprintf(&b, "  %-10s %-12s %s\n", s.of, s.word, s.means)
	}
	return b.String()
}
