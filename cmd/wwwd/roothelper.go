package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// Times of the root helper. A look at a guest is four Proxmox commands of
// about a second, and qm and pct wait up to 10 s for a guest's lock file.
const (
	helperReadTimeout = 2 * time.Second
	helperTimeout     = time.Minute
	helperIdle        = 30 * time.Second // then a helper that systemd started goes away
)

// rootHelper runs the helper of internal/roothelper: on the socket that
// systemd passes, or on one of its own. It reads nothing of the agent's.
func rootHelper(ctx context.Context, args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("wwwd root-helper", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage) }
	rules := fs.String("rules", roothelper.DefaultRules, "for whom and on which guests the helper acts")
	socket := fs.String("socket", roothelper.DefaultSocket, "unix socket, if systemd passes none")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "wwwd: unexpected argument %q\n\n%s", fs.Arg(0), usage)
		return exitUsage
	}
	s := &roothelper.Server{
		// Whoever the helper runs as must be the only one to write its rules.
		Rules:       func() (roothelper.Rules, error) { return roothelper.ReadRules(*rules, os.Geteuid()) },
		Runner:      roothelper.Exec{},
		Log:         slog.New(slog.NewTextHandler(stderr, nil)).With("component", "root-helper"),
		MountInfo:   func() ([]byte, error) { return os.ReadFile("/proc/self/mountinfo") },
		ReadTimeout: helperReadTimeout,
		Timeout:     helperTimeout,
	}
	ln, idle, err := helperSocket(*socket)
	if err == nil {
		s.Idle = idle
		err = s.Serve(ctx, ln)
	}
	if err != nil {
		fmt.Fprintf(stderr, "wwwd: root-helper: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// helperSocket returns the listener and after which idle time to end. systemd
// starts a helper again at the next request; nobody else does.
func helperSocket(path string) (*net.UnixListener, time.Duration, error) {
	ln, err := roothelper.Activated(os.Getenv, os.Getpid())
	if ln != nil || err != nil {
		return ln, helperIdle, err
	}
	ln, err = roothelper.Listen(path)
	return ln, 0, err
}
