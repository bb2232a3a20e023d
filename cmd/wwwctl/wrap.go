package main

import (
	"strings"
	"unicode/utf8"
)

// wrapWidth is the width that text is broken at: the terminal's, but no more
// than can be read.
func (s style) wrapWidth() int { return min(s.columns(), 80) }

// wrap adds a text behind first, and behind rest from its second line on. A word
// that is too long for any line, such as a volume id, stays whole.
func (p *page) wrap(first, rest, text string) {
	p.broken(first, rest, text, "")
}

// command is wrap for a shell command: a broken line ends in a backslash, so that
// it can be copied as it stands.
func (p *page) command(first, rest, text string) {
	p.broken(first, rest, text, " \\")
}

func (p *page) broken(first, rest, text, end string) {
	room := func(prefix string) int {
		return p.s.wrapWidth() - utf8.RuneCountInString(escapes.ReplaceAllString(prefix, ""))
	}
	prefix, line := first, ""
	put := func(end string) {
		p.raw(strings.TrimRight(prefix+line, " ") + end)
		prefix, line = rest, ""
	}
	words := words(text)
	for i, word := range words {
		more := utf8.RuneCountInString(end)
		if i == len(words)-1 {
			more = 0 // the last line needs no mark
		}
		if line != "" && utf8.RuneCountInString(line+" "+word)+more > room(prefix) {
			put(end)
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	put("")
}

// flow writes things side by side with sep between them, on as many lines as the terminal needs; piped, it stays one.
func (p *page) flow(first, rest, sep string, things []string) {
	length := func(v string) int { return utf8.RuneCountInString(escapes.ReplaceAllString(v, "")) }
	line := first
	for i, thing := range things {
		between := sep
		if i == 0 {
			between = ""
		}
		if p.s.cut && length(line+between+thing) > p.s.columns() && line != rest {
			p.raw(strings.TrimRight(line, " "))
			line, between = rest, ""
		}
		line += between + thing
	}
	p.raw(strings.TrimRight(line, " "))
}

// words splits a text at blanks, but keeps what single quotes hold together.
func words(text string) []string {
	var out []string
	open := false
	for _, w := range strings.Fields(text) {
		if open {
			out[len(out)-1] += " " + w
		} else {
			out = append(out, w)
		}
		if strings.HasPrefix(strings.TrimLeft(w, "(["), "'") || open {
			open = strings.Count(out[len(out)-1], "'")%2 == 1
		}
	}
	return out
}
