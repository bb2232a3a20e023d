package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// completeWithin bounds what a person waits for after Tab; what is not known by
// then is not offered.
const completeWithin = 300 * time.Millisecond

// completions are the scripts of the shells. They all ask `wwwctl __complete`,
// which knows the command table and asks the agent for names.
var completions = map[string]string{
	"bash": `_wwwctl() {
  local IFS=$'\n'
  COMPREPLY=($(wwwctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
}
complete -F _wwwctl wwwctl
`,
	"zsh": `#compdef wwwctl
_wwwctl() {
  local -a found
  found=(${(f)"$(wwwctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( ${#found} )); then compadd -a found; else _files; fi
}
compdef _wwwctl wwwctl
`,
	"fish": `function __wwwctl_complete
  set -l words (commandline -opc) (commandline -ct)
  wwwctl __complete $words[2..-1] 2>/dev/null
end
complete -c wwwctl -a '(__wwwctl_complete)'
`,
}

func completionCommand(a *app, _ *flag.FlagSet) runner {
	return func(_ context.Context, args []string) error {
		if err := need(args, 1, 1, "the shell"); err != nil {
			return err
		}
		script, ok := completions[args[0]]
		if !ok {
			return usagef("want bash, zsh or fish, not %q", args[0])
		}
		a.printf("%s", script)
		return nil
	}
}

// complete prints what may stand in the place of the last word.
func (a *app) complete(ctx context.Context, words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	var out []string
	var done []string // words that are no flags, before the last
	for _, w := range words[:len(words)-1] {
		if !strings.HasPrefix(w, "-") {
			done = append(done, w)
		}
	}
	switch {
	case strings.HasPrefix(last, "-"):
		out = a.flagNames(done)
	case len(done) == 0:
		for _, c := range commands() {
			out = append(out, c.name)
		}
	default:
		out = a.argumentNames(ctx, done)
	}
	slices.Sort(out)
	for _, o := range slices.Compact(out) {
		if strings.HasPrefix(o, last) {
			a.printf("%s\n", o)
		}
	}
	return nil
}

func (a *app) flagNames(done []string) []string {
	fs := a.flagSet("wwwctl")
	if len(done) > 0 {
		for _, c := range commands() {
			if c.name == done[0] {
				c.setup(a, fs)
			}
		}
	}
	var out []string
	fs.VisitAll(func(f *flag.Flag) {
		if len(f.Name) > 1 {
			out = append(out, "--"+f.Name)
		}
	})
	return out
}

// argumentNames reads the usage of a command: {a|b} are its verbs; SITE, GUEST,
// HOST, OP and NAME are asked of the agent.
func (a *app) argumentNames(ctx context.Context, done []string) []string {
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == done[0] })
	if i < 0 {
		return nil
	}
	usage := commands()[i].usage
	var out []string
	if _, rest, ok := strings.Cut(usage, "{"); ok && len(done) == 1 {
		verbs, _, _ := strings.Cut(rest, "}")
		return strings.Split(verbs, "|")
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	if err := a.ready(); err != nil {
		return nil
	}
	defer a.client.Close()
	if strings.Contains(usage, "SITE") || done[0] == "cluster" {
		if list, err := a.client.Sites(ctx); err == nil {
			for _, s := range list.Items {
				out = append(out, string(s.Site))
			}
		}
	}
	if strings.Contains(usage, "GUEST") {
		if list, err := a.client.Guests(ctx); err == nil {
			for _, g := range list.Items {
				out = append(out, string(g.Guest))
			}
		}
	}
	if strings.Contains(usage, "OP") {
		if list, err := a.client.Ops(ctx); err == nil {
			for _, op := range list.Items {
				out = append(out, string(op.ID))
			}
		}
	}
	return out
}

// roff protects what troff would take for its own.
var roff = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'")

// manPage writes the page of one command from what its help says.
func (a *app) manPage(w io.Writer, cmd command) {
	fs := a.flagSet("wwwctl " + cmd.name)
	cmd.setup(a, fs)
	global := map[string]bool{}
	a.flagSet("").VisitAll(func(f *flag.Flag) { global[f.Name] = true })
	var flags strings.Builder
	printFlags(&flags, fs, global)
	fmt.Fprintf(w, ".TH WWWCTL\\-%s 1 \"\" \"World Wide Welsh\" \"User Commands\"\n", strings.ToUpper(cmd.name))
	fmt.Fprintf(w, ".SH NAME\nwwwctl\\-%s \\- %s\n.SH SYNOPSIS\n.B wwwctl %s\n%s\n", cmd.name, roff.Replace(cmd.short), cmd.name,
		roff.Replace(strings.TrimSpace("[flags] "+cmd.usage)))
	if flags.Len() > 0 {
		fmt.Fprintf(w, ".SH OPTIONS\n.nf\n%s.fi\n", roff.Replace(flags.String()))
	}
	fmt.Fprint(w, ".SH SEE ALSO\n.BR wwwctl (1),\n.BR wwwd (8)\n")
}

// manIndex writes wwwctl(1): the help, and its topics.
func (a *app) manIndex(w io.Writer) {
	var help strings.Builder
	a.printHelp(&help)
	fmt.Fprintf(w, ".TH WWWCTL 1 \"\" \"World Wide Welsh\" \"User Commands\"\n.SH NAME\nwwwctl \\- failover of Proxmox sites, by agreement of the survivors\n"+
		".SH SYNOPSIS\n.B wwwctl\nCOMMAND [flags] [arguments]\n.SH DESCRIPTION\n.nf\n%s.fi\n", roff.Replace(help.String()))
	for _, topic := range []string{"environment", "exit-codes", "formatting", "states"} {
		fmt.Fprintf(w, ".SH %s\n.nf\n%s.fi\n", strings.ToUpper(strings.ReplaceAll(topic, "-", " ")), roff.Replace(topics()[topic]))
	}
	fmt.Fprint(w, ".SH SEE ALSO\n.BR wwwd (8),\n.BR network.yaml (5),\n.BR wwwd.yaml (5)\n")
}

// manCommand prints the page of a command, or wwwctl(1).
func (a *app) man(args []string) error {
	if len(args) == 0 {
		a.manIndex(a.con.Out)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			a.manPage(a.con.Out, c)
			return nil
		}
	}
	return usagef("there is no command %q", args[0])
}
