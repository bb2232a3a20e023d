// Command wwwlab builds a whole World Wide Welsh network on this machine,
// unprivileged, on loopback addresses: for a look, for tests, for figures. Only
// chaos needs root: its networks stand in namespaces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage is a command line that makes no sense.
var errUsage = errors.New("usage")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// streams are where a command talks to: data to Out, the rest to Err.
type streams struct{ Out, Err io.Writer }

// command is one entry of the command table.
type command struct {
	name, usage, short string
	run                func(ctx context.Context, args []string, s streams) error
}

// commands is the command table, in the order of the help.
func commands() []command {
	return []command{
		{"up", "[--sites N] [--dir D] [--pve 8.4] [--pbs 3.4]", "build a network and keep it running until Ctrl-C or down", up},
		{"status", "", "what stands and what is cut", roomStatus},
		{"kill", "SITE", "pull the plug of a site", verb("kill")},
		{"revive", "SITE", "give its power back", verb("revive")},
		{"restart", "SITE", "stop its agent and start it again", verb("restart")},
		{"cut", "SITE [--path mesh|public|both] [--one-way]", "cut its lines; one-way: only what it sends is lost", cut},
		{"heal", "SITE", "mend its lines", heal},
		{"fault", "{add|list|clear} SITE ... | effects", "faults of its Proxmox hosts", fault},
		{"guest", "{start|stop|delete} SITE GUEST", "act on a guest behind everybody's back", guest},
		{"write", "GUEST TEXT [--at SITE]", "write a line to a guest as people do, where its name leads; --at: in the house", writeLine},
		{"read", "GUEST [--at SITE]", "read the lines that were written to it", readLines},
		{"logs", "SITE [--site]", "the log of its agent, or of its hosts", logs},
		{"down", "", "end the network and remove its directory", down},
		{"demo", "[--scenario NAME] [--kill SITE] [--dns bind|knot|powerdns] [--json] [--pve 8.4] [--pbs 3.4]", "build a network, pull a plug, watch its guests come back", demoCommand},
		{"bench", "[--runs N]", "measure the failover of a leader's site", benchCommand},
		{"chaos", "[--minutes M] [--seed N]", "break networks in namespaces at random, check them from outside (root)", chaosCommand},
		{"site", "--dir D --site NAME", "run the hosts of one site (started by up)", siteCommand},
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		help(stderr)
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(stderr, "wwwlab: there is no command %q; wwwlab help lists them\n", args[0])
		return exitUsage
	}
	c := commands()[i]
	switch err := c.run(ctx, args[1:], streams{Out: stdout, Err: stderr}); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "wwwlab %s: %v\n  wwwlab %s %s\n", c.name, err, c.name, c.usage)
		return exitUsage
	case errors.Is(err, errTold):
		return exitFailed
	default:
		fmt.Fprintf(stderr, "wwwlab %s: %v\n", c.name, err)
		return exitFailed
	}
}

// errTold is a failure that the command has printed itself.
var errTold = errors.New("failed")

func help(w io.Writer) {
	fmt.Fprint(w, "wwwlab runs a whole network on this machine.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  wwwlab %-50s %s\n", c.name+" "+c.usage, c.short)
	}
	fmt.Fprint(w, "\nEvery command but demo, bench and chaos takes --dir D (default ./.lab), the directory of the network.\n")
}

// parse parses flags wherever they stand and returns the other arguments, of which
// there must be least to most.
func parse(fs *flag.FlagSet, args []string, s streams, least, most int) ([]string, error) {
	fs.SetOutput(io.Discard)
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fs.SetOutput(s.Err)
				fs.PrintDefaults()
				return nil, err
			}
			return nil, usagef("%v", err)
		}
		if fs.NArg() == 0 {
			break
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	switch {
	case len(rest) < least:
		return nil, usagef("an argument is missing")
	case len(rest) > most:
		return nil, usagef("too many arguments: %q", rest[most:])
	}
	return rest, nil
}
