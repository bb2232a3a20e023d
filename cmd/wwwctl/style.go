package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/internal/message"
)

// narrow is the width below which a screen has one line per thing.
const narrow = 72

// style is how things look in this terminal.
type style struct {
	color, unicode bool
	wide           bool // -o wide
	cut            bool // lines longer than the terminal are cut
	width, height  int  // 0: not known
	zone           *time.Location
}

// columns is the width to lay out for.
func (s style) columns() int { return cmp.Or(s.width, 80) }

// rows is the height to lay out for: the last line is the prompt's.
func (s style) rows() int { return max(cmp.Or(s.height, 24), 24) - 1 }

// tone is the meaning of a colour; the word beside it says the same.
type tone int

const (
	plain tone = iota
	good
	warn
	bad
	dim
	strong
)

func (s style) paint(t tone, text string) string {
	if !s.color || t == plain || text == "" {
		return text
	}
	code := [...]string{good: "32", warn: "33", bad: "31;1", dim: "2", strong: "1"}[t]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// glyphs are the marks in UTF-8 and in plain ASCII.
var glyphs = map[string][2]string{
	"ok": {"●", "*"}, "work": {"▲", "^"}, "alone": {"◆", "#"}, "lost": {"✖", "x"}, "pause": {"‖", "="}, "unknown": {"○", "?"},
	"dot": {"·", "-"}, "arrow": {"→", "->"}, "cut": {"…", "~"}, "full": {"█", "#"}, "empty": {"░", "-"},
}

func (s style) glyph(name string) string {
	if s.unicode {
		return glyphs[name][0]
	}
	return glyphs[name][1]
}

// text makes a sentence fit the terminal's character set.
func (s style) text(v string) string {
	v = message.Clean(v)
	if s.unicode {
		return v
	}
	for _, g := range []string{"dot", "arrow", "cut"} {
		v = strings.ReplaceAll(v, glyphs[g][0], glyphs[g][1])
	}
	return v
}

func (s style) bar(done, total int64, cells int) string {
	n := 0
	if total > 0 {
		n = int(min(max(done, 0), total) * int64(cells) / total)
	}
	return "[" + strings.Repeat(s.glyph("full"), n) + strings.Repeat(s.glyph("empty"), cells-n) + "]"
}

// clip cuts a line at the terminal's edge; piped output stays whole.
func (s style) clip(line string, width int) string {
	if !s.cut || width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width-1)]) + s.glyph("cut")
}

func (s style) clock(t time.Time) string { return t.In(s.zone).Format("15:04:05") }

func (s style) date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(s.zone).Format("2006-01-02 15:04:05")
}

// span writes a duration as in 12s, 4m31s, 1h43m, 8d3h.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Round(time.Second).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// roughly writes an estimate: seconds would claim too much.
func roughly(d time.Duration) string {
	if d < 2*time.Minute {
		return span(d.Round(10 * time.Second))
	}
	return strings.TrimSuffix(span(d.Round(time.Minute)), "00s")
}

// spanOrDash is span for values that zero stands for unknown.
func spanOrDash(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return span(d)
}

func dash(s string) string { return cmp.Or(s, "-") }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
