package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// Exit codes (help topic exit-codes).
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNoLeader    = 3
	exitNoAgent     = 4
	exitRefused     = 5
	exitPartly      = 6
	exitUnconfirmed = 7
	exitNotAllowed  = 8
	exitStalePlan   = 9
	exitNotSaved    = 10
	exitInterrupted = 130
)

// exitError ends the program with a code. Reason is printed through the
// catalogue; without one nothing more is said.
type exitError struct {
	code   int
	reason failover.Reason
}

func (e *exitError) Error() string {
	return message.Text(message.English, e.reason.Code, e.reason.Args)
}

func fail(code int, id string, pairs ...string) error {
	return &exitError{code: code, reason: reason(id, pairs...)}
}

func usagef(format string, v ...any) error {
	return fail(exitUsage, "WWW-3009", "why", fmt.Sprintf(format, v...))
}

func reason(id string, pairs ...string) failover.Reason {
	r := failover.Reason{Code: id, Args: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Args[pairs[i]] = pairs[i+1]
	}
	return r
}

// exitCode maps an error to the table.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, failover.ErrNoLeader), errors.Is(err, failover.ErrUnknown):
		return exitNoLeader
	case errors.Is(err, api.ErrNoAgent):
		return exitNoAgent
	case errors.Is(err, api.ErrStalePlan):
		return exitStalePlan
	case errors.Is(err, api.ErrStillAlive):
		return exitUnconfirmed
	case errors.Is(err, api.ErrNotAllowed):
		return exitNotAllowed
	case errors.Is(err, api.ErrRefused):
		return exitRefused
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailure
}

// report prints an error once, with its code and what to do, and returns the
// exit code.
func (a *app) report(ctx context.Context, err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	if ctx.Err() != nil && !isExit(err) {
		return exitInterrupted
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		if !e.reason.IsZero() {
			a.complain(e.reason.Code, message.Text(a.lang(), e.reason.Code, e.reason.Args), message.Hint(a.lang(), e.reason.Code, e.reason.Args))
		}
		return code
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		for _, p := range e.Problems {
			fmt.Fprintln(a.con.Err, message.Clean(p.String()))
		}
		a.complain(e.Code, message.Clean(e.Message), message.Clean(e.Hint))
		return code
	}
	fmt.Fprintf(a.con.Err, "wwwctl: %v\n", err)
	return code
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exitError](err)
	return ok
}

func (a *app) complain(code, text, hint string) {
	fmt.Fprintf(a.con.Err, "wwwctl: %s: %s\n", code, text)
	if hint != "" && !a.g.quiet {
		fmt.Fprintf(a.con.Err, "  %s\n", hint)
	}
	if m, ok := message.Entry(a.lang(), code); ok && a.g.verbose {
		fmt.Fprintf(a.con.Err, "  %s\n  %s\n", m.Meaning, m.Impact)
	}
}
