package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

func helpCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		if len(args) == 0 {
			a.printHelp(a.con.Out)
			return nil
		}
		if text, ok := topics()[args[0]]; ok {
			a.printf("%s", text)
			return nil
		}
		for _, cmd := range commands() {
			if cmd.name == args[0] {
				fs := a.flagSet("wwwctl " + cmd.name)
				cmd.setup(a, fs)
				a.printUsage(cmd, fs)
				return nil
			}
		}
		return usagef("there is no command or topic %q; topics are %s", args[0], strings.Join(slices.Sorted(maps.Keys(topics())), ", "))
	}
}

func (a *app) printHelp(w io.Writer) {
	fmt.Fprint(w, "wwwctl — failover of Proxmox sites, by agreement of the survivors\n\nusage: wwwctl COMMAND [flags] [arguments]\n\n")
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", cmd.name, cmd.short)
	}
	fmt.Fprint(w, "\nflags of every command (wwwctl help COMMAND for its own):\n")
	printFlags(w, a.flagSet("wwwctl"), nil)
	fmt.Fprint(w, "\nfirst steps: wwwctl status · wwwctl plan SITE · wwwctl explain WWW-1103\n")
}

func (a *app) printUsage(cmd command, fs *flag.FlagSet) {
	fmt.Fprintf(a.con.Out, "wwwctl %s — %s\n\nusage: wwwctl %s\n", cmd.name, cmd.short, strings.TrimSpace(cmd.name+" [flags] "+cmd.usage))
	global := map[string]bool{}
	a.flagSet("").VisitAll(func(f *flag.Flag) { global[f.Name] = true })
	own := false
	fs.VisitAll(func(f *flag.Flag) { own = own || !global[f.Name] })
	if own {
		fmt.Fprint(a.con.Out, "\nflags:\n")
		printFlags(a.con.Out, fs, global)
	}
	fmt.Fprint(a.con.Out, "\nFlags of every command: wwwctl help\n")
}

// printFlags lists flags, short and long names of one together.
func printFlags(w io.Writer, fs *flag.FlagSet, without map[string]bool) {
	byUsage := map[string][]string{}
	var order []string
	fs.VisitAll(func(f *flag.Flag) {
		if without[f.Name] {
			return
		}
		value, usage := flag.UnquoteUsage(f)
		name := "-" + f.Name
		if len(f.Name) > 1 {
			name = "--" + f.Name
		}
		if value != "" && value != "value" {
			name += " " + strings.ToUpper(value)
		}
		if len(byUsage[usage]) == 0 {
			order = append(order, usage)
		}
		byUsage[usage] = append(byUsage[usage], name)
	})
	for _, usage := range order {
		fmt.Fprintf(w, "  %-32s %s\n", strings.Join(byUsage[usage], ", "), usage)
	}
}

func topics() map[string]string {
	return map[string]string{
		"environment": `  WWW_SOCKET                    path of the agent's socket (--socket)
  COLUMNS, LINES                size to lay out for; below 72 columns one line per site
  LC_ALL, LC_CTYPE, LANG        UTF-8 marks when they say UTF-8, plain ASCII otherwise
  NO_COLOR, TERM=dumb           no colour
  CLICOLOR=0, CLICOLOR_FORCE=1  never, always colour
`,
		"exit-codes": `    0  done, or the information was obtained
    1  error; doctor: at least one finding is an error
    2  usage
    3  no leader, or the outcome is unknown: look before you repeat
    4  no agent answers
    5  refused by a rule; the reason is printed
    6  partly done: some guests need a person
    7  not confirmed, or nobody to ask (no terminal, no --yes or --confirm)
    8  not allowed
    9  the plan is stale: the state changed since
   10  plan, simulate --exit-code: a guest that should be saved would be left out
  130  interrupted; operations that run go on
  check alone has the codes of a plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN
`,
		"formatting": `  -o table   for the eye; fits the terminal, whole when piped
  -o wide    with more columns
  -o json    {"apiVersion":"www/v1","kind":…}; times RFC 3339 in UTC, durations
             in seconds, sizes in bytes; keys are only ever added
  -o yaml    the same
  -o name    one name per line
  -o tsv     every column, tabs between them
  --jq EXPR  filters the JSON: wwwctl status --jq '.sites[] | select(.state != "up").site'
  --watch    again and again; with --jq one result after the other
`,
		"states": stateHelp(),
	}
}
