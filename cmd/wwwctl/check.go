package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// gauge is the state of a monitoring plugin: its word, and its exit code.
type gauge int

const (
	checkOK gauge = iota
	checkWarning
	checkCritical
	checkUnknown
)

func (g gauge) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[g]
}

// checkCommand is a plugin for Nagios and Icinga: one line, performance data, and
// the exit codes of plugins instead of those of wwwctl.
func checkCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return a.checkFails(err)
		}
		st, err := request(ctx, a, func(ctx context.Context) (failover.Status, error) { return a.client.Status(ctx) })
		if err != nil {
			return a.checkFails(err)
		}
		g := checkOf(st)
		a.printf("WWW %s - %s\n", g, pluginText(a.checkWords(st))+perfdata(st))
		if g == checkOK {
			return nil
		}
		return &exitError{code: int(g)}
	}
}

// checkFails says that nothing is known: a usage error must not look like a disaster.
func (a *app) checkFails(err error) error {
	why := err.Error()
	if e, ok := errors.AsType[*api.Error](err); ok {
		why = e.Code + ": " + message.Text(a.lang(), e.Code, e.Args)
	}
	a.printf("WWW %s - %s\n", checkUnknown, pluginText(why))
	return &exitError{code: int(checkUnknown)}
}

// isCheck says whether the first word among the arguments that is a command is check:
// asked when they could not be read as flags.
func isCheck(args []string) bool {
	for _, word := range args {
		for _, c := range commands() {
			if c.name == word {
				return word == "check"
			}
		}
	}
	return false
}

// checkParse is for arguments that could not be read.
func (a *app) checkParse(err error, usage func()) error {
	if errors.Is(err, flag.ErrHelp) {
		usage()
		return err
	}
	return a.checkFails(err)
}

// checkOf is critical where nothing helps by itself: a loss without an operation, an
// agent that knows nothing for sure, a guest that is stuck.
func checkOf(st failover.Status) gauge {
	switch st.Headline {
	case failover.HeadLoss, failover.HeadIsolated, failover.HeadNoQuorum:
		return checkCritical
	}
	switch {
	case st.Counts.Stuck > 0:
		return checkCritical
	case st.Headline != failover.HeadHealthy, len(st.Todo) > 0, st.Counts.Ready < st.Counts.Protected, st.Counts.Unprotected > 0:
		return checkWarning
	}
	return checkOK
}

// checkWords is the headline, the guests that are ready, and the first thing to do.
func (a *app) checkWords(st failover.Status) string {
	out := headlines[st.Headline].words
	if !st.Local.HasLeader {
		return out + fmt.Sprintf(", seen from %s: no leader", st.Local.Site)
	}
	out += fmt.Sprintf(", %d/%d guests ready", st.Counts.Ready, st.Counts.Protected)
	if n := st.Counts.Unprotected; n > 0 {
		out += fmt.Sprintf(", %d unprotected", n)
	}
	if n := len(st.Todo); n > 0 {
		out += fmt.Sprintf(", %d to do: %s %s", n, st.Todo[0].Code, message.Text(a.lang(), st.Todo[0].Code, st.Todo[0].Args))
	}
	return out
}

// pluginText keeps a text on the plugin's one line and out of its performance data.
func pluginText(text string) string {
	return message.Clean(strings.Join(strings.Fields(strings.ReplaceAll(text, "|", "/")), " "))
}

// perfdata is what monitoring draws: value;warn;crit;min;max. Of the group's own view
// there is nothing without a leader: an old figure is worse than none.
func perfdata(st failover.Status) string {
	if !st.Local.HasLeader {
		return ""
	}
	lost, rpo := 0, time.Duration(0)
	for _, v := range st.Sites {
		if v.State == "lost" {
			lost++
		}
		rpo = max(rpo, v.OffsiteRPO)
	}
	out := fmt.Sprintf(" | sites_lost=%d;;0;0;%d quorum_margin=%d;;0: guests_ready=%d;%d:;;0;%d guests_away=%d;0;;0 guests_stuck=%d;;0;0 guests_unprotected=%d;0;;0",
		lost, len(st.Sites), st.Quorum.Present-st.Quorum.Needed,
		st.Counts.Ready, st.Counts.Protected, st.Counts.Protected, st.Counts.Away, st.Counts.Stuck, st.Counts.Unprotected)
	if rpo > 0 {
		out += fmt.Sprintf(" rpo_max=%.0fs", rpo.Seconds())
	}
	return out
}
