// Command wwwd is the agent of one site: it probes the other sites, agrees
// with their agents on what is lost, and carries out this site's part of what
// follows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// version is set by the linker.
var version = "0.1.0-dev"

// Exit codes. A unit file may tell a full disk from a bug by them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitWatchdog = 70 // a log write hung: the process ended itself
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `wwwd is the World Wide Welsh agent of one site.

  wwwd [--config FILE]                 run the agent
  wwwd check [--config FILE]           check the configuration and exit
  wwwd bootstrap [--config FILE]       begin a new network with this agent (once, on one site)
  wwwd join --to ADDR:PORT [--config FILE] [--nonvoter]
                                       have the running local agent join the group of ADDR
  wwwd member --site SITE --set voter|nonvoter|removed [--confirm SITE]
                                       have the running local agent, if it leads, change one member of the group
  wwwd hold-guests [--config FILE]     wait, before this host starts its guests, until the agent knows which serve
                                       elsewhere by now; two minutes at most (wwwd-hold-guests.service)
  wwwd root-helper [--rules FILE] [--socket PATH]
                                       clear what a crashed restore left, for the agent (runs as root)
  wwwd version
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	if verb == "root-helper" { // another process with another user and file
		return rootHelper(ctx, args, stderr)
	}
	fs := flag.NewFlagSet("wwwd "+verb, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage) }
	file := fs.String("config", config.DefaultPath, "configuration of this agent")
	to := fs.String("to", "", "mesh address of an agent of the group")
	nonvoter := fs.Bool("nonvoter", false, "join without a vote")
	change := memberRequest{}
	fs.StringVar(&change.Site, "site", "", "member to change")
	fs.StringVar(&change.Set, "set", "", "what it becomes: voter, nonvoter or removed")
	fs.StringVar(&change.Confirm, "confirm", "", "the site's name again, where a vote is taken")
	showVersion := fs.Bool("version", false, "print the version")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "wwwd: unexpected argument %q\n\n%s", fs.Arg(0), usage)
		return exitUsage
	}
	if *showVersion || verb == "version" {
		fmt.Fprintln(stdout, "wwwd", version)
		return exitOK
	}
	hangup := make(chan os.Signal, 1)
	if verb == "" {
		signal.Notify(hangup, syscall.SIGHUP) // before there is anything to reload it must not end the agent
		defer signal.Stop(hangup)
	}
	conf, problems := config.Load(*file)
	if len(problems) > 0 {
		fmt.Fprint(stderr, netyaml.Format(problems))
	}
	if conf == nil {
		return exitFailed
	}
	var err error
	switch verb {
	case "":
		err = serve(ctx, newSettings(conf, *file, hangup), stderr, hostStops)
	case "check":
		fmt.Fprintf(stdout, "%s: good\n", *file)
	case "hold-guests":
		hold(ctx, conf, stdout)
	case "bootstrap":
		err = bootstrap(ctx, conf, stdout)
	case "join":
		err = join(ctx, conf, *to, !*nonvoter, stdout)
	case "member":
		err = member(ctx, conf, change, stdout)
	default:
		fmt.Fprintf(stderr, "wwwd: unknown command %q\n\n%s", verb, usage)
		return exitUsage
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "wwwd: %v\n", err)
		return exitFailed
	}
	return exitOK
}
