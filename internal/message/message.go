// Package message holds every sentence for a person: a stable code and its
// arguments become text through one catalogue per language. It is a leaf: it
// imports nothing of this module, so that everything may use it.
//
// A template names its arguments as {site}, or {size:bytes} for a number of
// bytes, or {domain|site} for the first of the two that is there. A part in
// square brackets is left out when one of its arguments is missing or empty:
// "lost[ since {since}]".
package message

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Lang names a catalogue.
type Lang string

// English is the language that is written first and the default.
const English Lang = "en"

// Langs returns the languages that have a catalogue.
func Langs() []Lang { return []Lang{English} }

// Severity says how much a message matters.
type Severity string

// Severities, mildest first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Error    Severity = "error"
	Critical Severity = "critical"
)

// Message is one entry of the catalogue.
type Message struct {
	Code     string   `json:"code"` // WWW-nnnn
	Severity Severity `json:"severity"`
	Word     string   `json:"word,omitempty"` // short stable token for bounded metric labels, never translated
	Title    string   `json:"title"`
	Text     string   `json:"text"` // template
	Meaning  string   `json:"meaning"`
	Impact   string   `json:"impact"`
	Look     string   `json:"look"` // where to look
	Do       string   `json:"do"`
}

// areas are the parts of the catalogue by the first two digits of a code.
// They are read only.
var areas = map[string]map[string]Message{
	"01": configuration,
	"11": detection,
	"12": readiness,
	"13": decisions,
	"14": operators,
	"15": publication,
	"16": warm,
	"17": away,
	"18": homeward,
	"19": telling,
	"20": rejections,
	"21": preflight,
	"22": hooks,
	"24": machine,
	"25": onboarding,
	"26": localFiles,
	"30": commandLine,
}

// Entry returns the catalogue's entry of a code. A code of the area 01nn that
// has no entry of its own gets the area's general one: those codes are born
// with their text in the configuration check. Only English exists yet, so
// every language answers in it.
func Entry(_ Lang, code string) (Message, bool) {
	digits, ok := strings.CutPrefix(code, "WWW-")
	if !ok || len(digits) != 4 {
		return Message{}, false
	}
	m, ok := areas[digits[:2]][code]
	if !ok && digits[:2] == "01" && digits >= "0101" {
		m, ok = configuration["WWW-0100"], true
	}
	m.Code = code
	return m, ok
}

// Codes returns every code that has an entry of its own, in order.
func Codes() []string {
	var codes []string
	for _, area := range areas {
		codes = slices.AppendSeq(codes, maps.Keys(area))
	}
	slices.Sort(codes)
	return codes
}

// Text returns the sentence of a code, without the code. An unknown code is
// written with its arguments, so that an older client still tells something.
func Text(lang Lang, code string, args map[string]string) string {
	m, ok := Entry(lang, code)
	if !ok {
		text := code
		for _, k := range slices.Sorted(maps.Keys(args)) {
			text += fmt.Sprintf(" %s=%s", Clean(k), Clean(args[k]))
		}
		return text
	}
	return expand(m.Text, args)
}

// Hint returns what a person may do about a code, with its arguments; "" for
// an unknown code.
func Hint(lang Lang, code string, args map[string]string) string {
	m, _ := Entry(lang, code)
	return expand(m.Do, args)
}

// Word returns the short stable token of a code, or the code itself.
func Word(code string) string {
	if m, ok := Entry(English, code); ok && m.Word != "" {
		return m.Word
	}
	return code
}

// Placeholders returns the arguments that a template names, in order of
// appearance: those that must be there, and those of its optional parts.
func Placeholders(template string) (required, optional []string) {
	depth := 0
	for i := 0; i < len(template); i++ {
		switch template[i] {
		case '[':
			depth++
		case ']':
			depth--
		case '{':
			end := strings.IndexByte(template[i:], '}')
			if end < 0 {
				return required, optional
			}
			name, _, _ := strings.Cut(template[i+1:i+end], ":")
			if depth > 0 {
				optional = append(optional, name)
			} else {
				required = append(required, name)
			}
			i += end
		}
	}
	return required, optional
}

// expand fills a template. Optional parts do not nest.
func expand(template string, args map[string]string) string {
	var b strings.Builder
	for template != "" {
		open := strings.IndexByte(template, '[')
		if open < 0 {
			fill(&b, template, args)
			break
		}
		fill(&b, template[:open], args)
		part, rest, _ := strings.Cut(template[open+1:], "]")
		if required, _ := Placeholders(part); allSet(required, args) {
			fill(&b, part, args)
		}
		template = rest
	}
	return b.String()
}

// allSet says whether every argument is there; a duration of zero says nothing.
func allSet(names []string, args map[string]string) bool {
	return !slices.ContainsFunc(names, func(n string) bool {
		_, v := pick(n, args)
		return v == "" || v == "0s"
	})
}

// fill writes a template without optional parts; a missing argument shows as "?".
func fill(b *strings.Builder, template string, args map[string]string) {
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		if !found {
			return
		}
		field, after, _ := strings.Cut(rest, "}")
		name, format, _ := strings.Cut(field, ":")
		name, v := pick(name, args)
		b.WriteString(value(name, format, v))
		template = after
		if v == "1" {
			template = singular(after)
		}
	}
}

// counted are the things of which a text may name one.
var counted = []string{"guest", "vote", "day", "error", "warning"}

// singular takes the s from what is counted right after a 1, where no verb follows that would change, too.
func singular(after string) string {
	for _, thing := range counted {
		rest, has := strings.CutPrefix(after, " "+thing+"s")
		if has && (rest == "" || strings.ContainsAny(rest[:1], ",;:)")) {
			return " " + thing + rest
		}
	}
	return after
}

// pick returns the first of the alternatives a|b that is there.
func pick(names string, args map[string]string) (name, v string) {
	for name = range strings.SplitSeq(names, "|") {
		if args[name] != "" {
			return name, args[name]
		}
	}
	return name, ""
}

// value writes one argument. Failure domains lose their prefix where it says
// nothing new: "site:moulin" is moulin, "host:pve-moulin" is host pve-moulin.
// A value that is itself a code becomes the title of its entry.
func value(name, format, v string) string {
	if v == "" {
		return "?"
	}
	if m, ok := Entry(English, v); ok {
		return fmt.Sprintf("%s (%s)", m.Title, m.Code)
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && format == "bytes" {
		return Bytes(n)
	}
	if name == "domain" {
		v = strings.TrimPrefix(v, "site:")
		v = strings.Replace(v, "host:", "host ", 1)
	}
	return Clean(v)
}

// Bytes writes a size with a binary unit and three significant digits: 45.7 GiB.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[u]
}

// Clean replaces what could move a terminal's cursor or break a line: values
// come from other machines and from people.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
