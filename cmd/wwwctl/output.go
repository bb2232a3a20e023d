package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/itchyny/gojq"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// view is what a command found, for every output format.
type view struct {
	kind  string // of the JSON
	data  any
	table table         // for name and tsv, and for the screen when there is no text
	text  func() string // for table and wide
}

// present fetches once, or again and again with --watch.
func (a *app) present(ctx context.Context, fetch func(context.Context) (view, error)) error {
	for {
		v, err := a.fetch(ctx, fetch)
		if err == nil {
			err = a.print(v)
		}
		every := time.Duration(a.g.watch)
		if every == 0 {
			return err
		}
		if err != nil { // while watching, trouble is shown and may pass
			a.report(ctx, err)
		}
		if !pauseFor(ctx, every) {
			return nil
		}
	}
}

func (a *app) fetch(ctx context.Context, fetch func(context.Context) (view, error)) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, a.g.timeout)
	defer cancel()
	return fetch(ctx)
}

// request is one call of the API under the time limit.
func request[T any](ctx context.Context, a *app, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, a.g.timeout)
	defer cancel()
	return call(ctx)
}

// pauseFor waits; false when the person has had enough.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (a *app) print(v view) error {
	if a.g.watch != 0 && a.con.OutTTY && a.structured() == "" {
		a.printf("\x1b[H\x1b[2J")
	}
	switch a.structured() {
	case "json":
		return a.printJSON(v)
	case "yaml":
		b, err := api.Marshal(v.kind, v.data)
		if err == nil {
			b, err = yaml.JSONToYAML(b)
		}
		if err != nil {
			return fmt.Errorf("write yaml: %w", err)
		}
		a.printf("%s", b)
		return nil
	case "name":
		for _, row := range v.table.rows {
			a.printf("%s\n", row[0].text)
		}
		return nil
	case "tsv":
		a.lines(v.table.tsv(a.g.noHeaders))
		return nil
	}
	if of, ok := v.data.(interface{ Origin() api.Meta }); ok && of.Origin().Alone && v.kind != api.KindDNS { // that says so itself
		a.say("%s", a.ownView(of.Origin()))
	}
	if v.text != nil {
		a.printf("%s", v.text())
		return nil
	}
	a.lines(v.table.lines(a.show, a.g.noHeaders))
	return nil
}

// ownView says that an agent answers which hears no leader: what it says is its own view, and how old.
func (a *app) ownView(m api.Meta) string {
	if m.Heard.IsZero() {
		return fmt.Sprintf("LOCAL view of %s; it has heard no leader since it started", m.From)
	}
	return fmt.Sprintf("LOCAL view of %s; last shared state %s (%s ago)", m.From, a.show.clock(m.Heard), span(m.At.Sub(m.Heard)))
}

// structured returns the output format if it is for machines, else "".
func (a *app) structured() string {
	switch {
	case a.g.jq != "":
		return "json"
	case a.g.output == "table" || a.g.output == "wide":
		return ""
	}
	return a.g.output
}

func (a *app) lines(lines []string) {
	for _, l := range lines {
		a.printf("%s\n", l)
	}
}

func (a *app) printJSON(v view) error {
	b, err := api.Marshal(v.kind, v.data)
	if err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	if a.g.jq == "" {
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "  "); err != nil {
			return fmt.Errorf("write json: %w", err)
		}
		a.printf("%s\n", out.Bytes())
		return nil
	}
	return a.filter(b)
}

// filter runs the jq expression; strings are written without their quotes, as
// jq -r does.
func (a *app) filter(b []byte) error {
	query, err := gojq.Parse(a.g.jq)
	if err != nil {
		return usagef("--jq: %v", err)
	}
	var input any
	if err := json.Unmarshal(b, &input); err != nil {
		return fmt.Errorf("read json: %w", err)
	}
	iter := query.Run(input)
	for {
		v, ok := iter.Next()
		if !ok {
			return nil
		}
		if err, failed := v.(error); failed {
			return usagef("--jq: %v", err)
		}
		if s, isText := v.(string); isText {
			a.printf("%s\n", s)
			continue
		}
		out, err := gojq.Marshal(v)
		if err != nil {
			return fmt.Errorf("write json: %w", err)
		}
		a.printf("%s\n", out)
	}
}

// escapes are the colours that style.paint writes.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// page collects the lines of a screen.
type page struct {
	s style
	b strings.Builder
}

// line adds one line. What is too long for the terminal is cut, but never a command: half of one is worth nothing.
func (p *page) line(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if bare := escapes.ReplaceAllString(text, ""); p.s.cut && utf8.RuneCountInString(bare) > p.s.columns() {
		switch i := strings.LastIndex(bare, "wwwctl "); {
		case i > 0 && bare[i-1] == ' ' && utf8.RuneCountInString(indentOf(bare)+"  "+bare[i:]) <= p.s.columns():
			p.typed(bare[:i], bare[i:])
			return
		case i >= 0:
			p.wrap(indentOf(bare), indentOf(bare)+"  ", bare)
			return
		}
		text = p.s.clip(bare, p.s.columns()) // without its colours: they would be cut too
	}
	p.b.WriteString(strings.TrimRight(text, " "))
	p.b.WriteByte('\n')
}

func indentOf(text string) string { return text[:len(text)-len(strings.TrimLeft(text, " "))] }

// raw adds lines that are laid out already.
func (p *page) raw(lines ...string) {
	for _, l := range lines {
		p.b.WriteString(l)
		p.b.WriteByte('\n')
	}
}

func (p *page) blank() { p.b.WriteByte('\n') }
