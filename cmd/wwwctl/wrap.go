package main

import (
	"fmt"
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

// prose is wrap for a terminal; piped, the text stays on one line.
func (p *page) prose(first, rest, text string) {
	if !p.s.cut {
		p.raw(strings.TrimRight(first+text, " "))
		return
	}
	p.wrap(first, rest, text)
}

// field is a named value of a screen that shows one thing; "" is left out.
func (p *page) field(name, text string) {
	if text != "" {
		p.prose(fmt.Sprintf("  %-10s ", name), strings.Repeat(" ", 13), p.s.text(text))
	}
}

// typed says what to type. A command that has no room behind its label gets a line of its own, and stays whole there
// even where the terminal folds it, so that it can be copied.
func (p *page) typed(label, command string) {
	if one := label + command; !p.s.cut || utf8.RuneCountInString(one) <= p.s.columns() {
		p.raw(one)
		return
	}
	indent := indentOf(label)
	p.prose(indent, indent+"  ", label)
	p.raw(indent + "  " + command)
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
