// Command wwwctl is the person's tool for a World Wide Welsh network: it asks
// the local agent over its unix socket, and tells it what to do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// version is set by the build: -ldflags "-X main.version=0.1.0".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal())
	stop()
	os.Exit(code)
}

// run carries out one command line and returns the exit code (exit.go).
func run(ctx context.Context, args []string, con console) int {
	a := &app{con: con, machine: thisMachine}
	err := a.dispatch(ctx, args)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	return a.report(ctx, err)
}

// app is one invocation.
type app struct {
	con     console
	machine func(socket string) machine // what init and join look at
	g       globals
	client  *api.Client
	show    style
}

// command is one entry of the command table. setup registers the command's
// own flags and returns what to run with the arguments that are left.
type command struct {
	name, usage, short string
	setup              func(a *app, fs *flag.FlagSet) runner
}

type runner func(ctx context.Context, args []string) error

// commands is the command table, in the order of the help.
func commands() []command {
	return []command{
		{"status", "", "the essentials on one screen", statusCommand},
		{"sites", "[SITE]", "every site; one site with its evidence", sitesCommand},
		{"guests", "[GUEST]", "every guest; one guest with its copies", guestsCommand},
		{"plan", "[SITE|HOST|GUEST]", "what would happen if it were lost now; nothing is touched", planCommand},
		{"simulate", "--lose SITE|HOST", "what would happen and when; nothing is touched", simulateCommand},
		{"failover", "[SITE]", "bring its guests back elsewhere, by hand", failoverCommand},
		{"rescue", "SITE", "restore the guests of its dead host beside it, on Raoull's PVE", rescueCommand},
		{"switchover", "SITE|STRUCTURE|GUEST --to SITE|auto", "move what lives, by plan, losing nothing", switchoverCommand},
		{"failback", "{plan|run|undo|diff|ack|remove|give-up|fork} SITE|STRUCTURE|GUEST", "bring guests home; no copy is given up that is not sealed", failbackCommand},
		{"site", "retire SITE", "a lost site is gone for good: where its guests live becomes their home", siteCommand},
		{"op", "{list|show|follow|cancel|approve|retry|ack|confirm} [OP]", "operations", opCommand},
		{"approve", "OP", "let an operation that waits go on", approveCommand},
		{"events", "", "what happened", eventsCommand},
		{"history", "", "operations that have ended", historyCommand},
		{"report", "incident OP", "the record of an operation, for those who were not there", reportCommand},
		{"pause", "[SITE]", "disarm automatic failover", pauseCommand},
		{"resume", "[SITE]", "arm it again", resumeCommand},
		{"maintenance", "{on|off} SITE|HOST", "let it be silent for a while", maintenanceCommand},
		{"observer", "{exclude|include} SITE", "do not believe what its agent says of others", observerCommand},
		{"dns", "{show|plan|verify|hold|release} [NAME|SITE|ZONE]", "public names, where they go, and whether the servers say so", dnsCommand},
		{"doctor", "[CATEGORY]", "what would go wrong in a disaster, before it happens", doctorCommand},
		{"check", "", "one line and an exit code for Nagios and Icinga", checkCommand},
		{"alert", "{test}", "try the ways by which this agent tells people", alertCommand},
		{"config", "{check|diff|apply|show|example|schema} [FILE]", "the declared network", configCommand},
		{"gen", "dns {bind|knot|powerdns|nsd|registrar} [ZONE] | lineages [SITE]", "configuration snippets for your own servers", genCommand},
		{"init", "--site NAME", "begin a network, on its first site", initCommand},
		{"join", "ADDRESS --site NAME --token TOKEN", "have this site's agent admitted to a network", joinCommand},
		{"leave", "", "have this site's agent leave for good", leaveCommand},
		{"token", "{create|list|revoke} [TOKEN]", "let an agent join, once", tokenCommand},
		{"operator", "{admit|list|revoke} [NAME]", "people who act from their own laptop, and their roles", operatorCommand},
		{"login", "FILE", "use a login file from now on", loginCommand},
		{"logout", "", "forget it", logoutCommand},
		{"cluster", "{peers|set|remove|step-down|snapshot|recover} …", "the agents and their agreement", clusterCommand},
		{"explain", "CODE|STATE", "what a code or a state means and what to do", explainCommand},
		{"completion", "{bash|zsh|fish}", "completion of commands and names for a shell", completionCommand},
		{"which", "", "which agent answers", whichCommand},
		{"version", "", "versions of wwwctl and of the agent", versionCommand},
		{"help", "[TOPIC|COMMAND]", "this, or a topic: environment exit-codes formatting states", helpCommand},
	}
}

// dispatch finds the command among the arguments, which may stand before,
// between and after the flags, and runs it.
func (a *app) dispatch(ctx context.Context, args []string) error {
	a.g = defaultGlobals(a.con)
	fs := a.flagSet("wwwctl")
	if isCheck(args) { // its first line is what monitoring reads
		fs.Usage = func() {}
	}
	if err := a.parse(fs, args); err != nil {
		if isCheck(args) {
			return a.checkParse(err, func() { a.printHelp(a.con.Out) })
		}
		return err
	}
	if fs.NArg() == 0 {
		if err := a.ready(); err != nil {
			return err
		}
		a.printHelp(a.con.Err)
		return &exitError{code: exitUsage}
	}
	name := fs.Arg(0)
	switch name {
	case "__complete": // for the shells; flags among the words are theirs
		return a.complete(ctx, args[slices.Index(args, name)+1:])
	case "__man": // for the package
		return a.man(fs.Args()[1:])
	}
	for _, c := range commands() {
		if c.name == name {
			return a.runCommand(ctx, c, fs.Args()[1:])
		}
	}
	return usagef("there is no command %q; wwwctl help lists them", name)
}

func (a *app) runCommand(ctx context.Context, c command, rest []string) error {
	fs := a.flagSet("wwwctl " + c.name)
	do := c.setup(a, fs)
	fs.Usage = func() {
		if c.name != "check" { // its first line is what monitoring reads
			a.printUsage(c, fs)
		}
	}
	positional, err := a.parseMixed(fs, rest)
	if err != nil {
		if c.name == "check" {
			return a.checkParse(err, func() { a.printUsage(c, fs) })
		}
		return err
	}
	if err := a.ready(); err != nil {
		if c.name == "check" {
			return a.checkFails(err)
		}
		return err
	}
	defer func() {
		if a.client != nil {
			a.client.Close()
		}
	}()
	return do(ctx, positional)
}

// parseMixed parses flags wherever they stand and returns the other arguments.
func (a *app) parseMixed(fs *flag.FlagSet, args []string) ([]string, error) {
	var positional []string
	for {
		if err := a.parse(fs, args); err != nil {
			return nil, err
		}
		consumed := len(args) - fs.NArg()
		if consumed > 0 && args[consumed-1] == "--" {
			return append(positional, fs.Args()...), nil
		}
		if fs.NArg() == 0 {
			return positional, nil
		}
		positional = append(positional, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

func (a *app) parse(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usagef("%v", err)
}

// need checks the number of arguments.
func need(args []string, least, most int, what string) error {
	if len(args) < least {
		return usagef("%s is missing", what)
	}
	if len(args) > most {
		return usagef("too many arguments: %q", args[most:])
	}
	return nil
}

func (a *app) printf(format string, v ...any) { fmt.Fprintf(a.con.Out, format, v...) }

// say talks to the person beside the data: not with -q.
func (a *app) say(format string, v ...any) {
	if !a.g.quiet {
		fmt.Fprintf(a.con.Err, format+"\n", v...)
	}
}
