package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/raoull/worldwidewelsh/internal/message"
)

// defaultSocket is where the packaged agent listens.
const defaultSocket = "/run/www/wwwd.sock"

// console is the world around a command line; tests make their own.
type console struct {
	In            io.Reader
	Out, Err      io.Writer
	Getenv        func(string) string
	OutTTY, InTTY bool
	Size          func() (width, height int) // of the terminal; zero when there is none
	Zone          *time.Location
}

func terminal() console {
	fd := int(os.Stdout.Fd())
	return console{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Zone: time.Local,
		OutTTY: term.IsTerminal(fd), InTTY: term.IsTerminal(int(os.Stdin.Fd())),
		Size: func() (int, int) {
			w, h, err := term.GetSize(fd)
			if err != nil {
				return 0, 0
			}
			return w, h
		},
	}
}

// globals are the flags that every command understands.
type globals struct {
	output, jq, color, lang, socket, confirm string
	noHeaders, quiet, verbose, noColor, utc  bool
	dryRun, yes, noInput                     bool
	timeout                                  time.Duration
	watch                                    watchFlag
}

func defaultGlobals(con console) globals {
	g := globals{output: "table", color: "auto", lang: "en", socket: defaultSocket, timeout: 15 * time.Second}
	if s := con.Getenv("WWW_SOCKET"); s != "" {
		g.socket = s
	}
	return g
}

// watchFlag is -w or -w=5s.
type watchFlag time.Duration

func (w *watchFlag) String() string { return time.Duration(*w).String() }

// IsBoolFlag lets -w stand without a value.
func (w *watchFlag) IsBoolFlag() bool { return true }

func (w *watchFlag) Set(s string) error {
	switch s {
	case "true":
		*w = watchFlag(2 * time.Second)
		return nil
	case "false":
		*w = 0
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 100*time.Millisecond {
		return fmt.Errorf("want a time such as 2s, at least 100ms")
	}
	*w = watchFlag(d)
	return nil
}

// flagSet returns a flag set with the global flags; values given before the
// command are its defaults.
func (a *app) flagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are reported once, by report
	g := &a.g
	for _, n := range []string{"o", "output"} {
		fs.StringVar(&g.output, n, g.output, "table, wide, json, yaml, name or tsv")
	}
	fs.StringVar(&g.jq, "jq", g.jq, "filter the JSON with a jq `expression`")
	for _, n := range []string{"w", "watch"} {
		fs.Var(&g.watch, n, "repeat every 2s, or =`time`")
	}
	fs.BoolVar(&g.noHeaders, "no-headers", g.noHeaders, "tables without their head")
	fs.BoolVar(&g.quiet, "q", g.quiet, "only the data, no talk")
	fs.BoolVar(&g.verbose, "v", g.verbose, "say more about an error")
	fs.BoolVar(&g.noColor, "no-color", g.noColor, "no colour")
	fs.StringVar(&g.color, "color", g.color, "auto, always or never")
	fs.BoolVar(&g.utc, "utc", g.utc, "times in UTC")
	fs.StringVar(&g.lang, "lang", g.lang, "language of the messages")
	fs.DurationVar(&g.timeout, "timeout", g.timeout, "of one request")
	fs.StringVar(&g.socket, "socket", g.socket, "`path` of the agent's socket")
	for _, n := range []string{"n", "dry-run"} {
		fs.BoolVar(&g.dryRun, n, g.dryRun, "show, change nothing")
	}
	for _, n := range []string{"y", "yes"} {
		fs.BoolVar(&g.yes, n, g.yes, "answer yes to a moderate question")
	}
	fs.StringVar(&g.confirm, "confirm", g.confirm, "`name`, for a severe question (several: with commas)")
	fs.BoolVar(&g.noInput, "no-input", g.noInput, "never ask")
	fs.Usage = func() { a.printHelp(a.con.Out) }
	return fs
}

// ready checks the global flags and prepares client and style.
func (a *app) ready() error {
	if !slices.Contains([]string{"table", "wide", "json", "yaml", "name", "tsv"}, a.g.output) {
		return usagef("-o %s: want table, wide, json, yaml, name or tsv", a.g.output)
	}
	if !slices.Contains([]string{"auto", "always", "never"}, a.g.color) {
		return usagef("--color=%s: want auto, always or never", a.g.color)
	}
	if !slices.Contains(message.Langs(), message.Lang(a.g.lang)) {
		return usagef("--lang %s: there is no such catalogue yet; have %v", a.g.lang, message.Langs())
	}
	if a.g.timeout <= 0 {
		return usagef("--timeout %s: must be more than zero", a.g.timeout)
	}
	if a.g.utc {
		a.con.Zone = time.UTC
	}
	a.show = a.newStyle()
	var err error
	if a.client, err = a.connect(); err == nil && a.g.dryRun {
		a.client.OnlyLook()
	}
	return err
}

func (a *app) lang() message.Lang { return message.Lang(a.g.lang) }

// newStyle decides on colour, glyphs and size from flags, environment and
// terminal.
func (a *app) newStyle() style {
	env := a.con.Getenv
	st := style{zone: a.con.Zone, wide: a.g.output == "wide", color: a.wantsColor()}
	locale := env("LC_ALL")
	for _, name := range []string{"LC_CTYPE", "LANG"} {
		if locale == "" {
			locale = env(name)
		}
	}
	locale = strings.ToLower(locale)
	st.unicode = strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
	if a.con.OutTTY {
		st.width, st.height = a.con.Size()
		st.cut = true
	}
	for name, into := range map[string]*int{"COLUMNS": &st.width, "LINES": &st.height} {
		if n, err := strconv.Atoi(env(name)); err == nil && n > 0 {
			*into = n
		}
	}
	return st
}

// wantsColor follows flags, then no-color.org, TERM=dumb and
// bixense.com/clicolors, then whether the output is a terminal.
func (a *app) wantsColor() bool {
	env := a.con.Getenv
	force := env("CLICOLOR_FORCE")
	switch {
	case a.g.color == "always":
		return true
	case a.g.noColor || a.g.color == "never":
		return false
	case env("NO_COLOR") != "" || env("TERM") == "dumb" || env("CLICOLOR") == "0":
		return false
	case force != "" && force != "0":
		return true
	}
	return a.con.OutTTY
}
