package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// followEvery is how often a followed operation or event log is asked for.
const followEvery = time.Second

// askYes asks a moderate question; -y answers it.
func (a *app) askYes(ctx context.Context, question string) error {
	if a.g.yes {
		return nil
	}
	answer, err := a.ask(ctx, question+" [y/N] ", "use --yes")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return fail(exitUnconfirmed, "WWW-3008")
	}
	return nil
}

// askName asks a severe question: the name has to be typed, or given with
// --confirm (several with commas); -y is not enough.
func (a *app) askName(ctx context.Context, name string) error {
	if a.g.confirm != "" {
		if !slices.Contains(strings.Split(a.g.confirm, ","), name) {
			return unnamed(name, fmt.Sprintf("--confirm=%s is not %s", a.g.confirm, name))
		}
		return nil
	}
	if a.deaf() {
		return unnamed(name, "nobody to ask; use --confirm="+name)
	}
	answer, err := a.ask(ctx, fmt.Sprintf("Type %s to go on: ", name), "")
	if err != nil {
		return err
	}
	if answer != name {
		return unnamed(name, fmt.Sprintf("%q is not %s", answer, name))
	}
	return nil
}

// unnamed says that a name was not confirmed, and how it is.
func unnamed(name, why string) error {
	return fail(exitUnconfirmed, "WWW-3038", "name", name, "why", why)
}

// deaf says whether nobody could answer a question.
func (a *app) deaf() bool { return a.g.noInput || !a.con.InTTY }

// ask reads one line from a person. Without a terminal nobody could answer.
func (a *app) ask(ctx context.Context, prompt, instead string) (string, error) {
	if a.deaf() {
		return "", fail(exitUnconfirmed, "WWW-3008", "why", "nobody to ask; "+instead)
	}
	fmt.Fprint(a.con.Err, prompt)
	type line struct {
		text string
		err  error
	}
	got := make(chan line, 1)
	// A read of a terminal cannot be cancelled; this goroutine ends with the
	// line or with the process, which Ctrl-C ends at once.
	go func() {
		text, err := bufio.NewReader(a.con.In).ReadString('\n')
		got <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.con.Err)
		return "", &exitError{code: exitInterrupted}
	case l := <-got:
		if l.err != nil && !(errors.Is(l.err, io.EOF) && l.text != "") {
			return "", fail(exitUnconfirmed, "WWW-3008", "why", "no answer")
		}
		return strings.TrimSpace(l.text), nil
	}
}
