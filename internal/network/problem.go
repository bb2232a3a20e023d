package network

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a problem refuses the input or only asks for attention.
type Severity string

// Severities. A Spec with an Error is never applied.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Codes of the problems of configuration files. A code never changes its
// meaning: scripts, alerts and "wwwctl explain" refer to it.
const (
	CodeSyntax     = "WWW-0101" // not readable as YAML, too large, too deep
	CodeUnknownKey = "WWW-0102"
	CodeRepeated   = "WWW-0103" // the same key twice in one mapping
	CodeWrongType  = "WWW-0104"
	CodeMissing    = "WWW-0105"
	CodeForbidden  = "WWW-0106" // anchor, alias, tag, merge key, second document
	CodeTaken      = "WWW-0107" // vlan, id, name or address given twice
	CodeBadName    = "WWW-0108"
	CodeDangling   = "WWW-0109" // names something that is not declared
	CodeNotOneOf   = "WWW-0110"
	CodeBadAddress = "WWW-0111"
	CodeBadURL     = "WWW-0112"
	CodeNoZone     = "WWW-0113" // public name outside every declared zone
	CodeCycle      = "WWW-0114"
	CodeRange      = "WWW-0115"
	CodeOrder      = "WWW-0116" // levels of a policy do not ascend
	CodeNoReason   = "WWW-0117" // a short commit delay without a written reason
	CodeIDRange    = "WWW-0118"
	CodeKind       = "WWW-0119" // a site's kind does not fit what it declares
	CodeNeverAuto  = "WWW-0120" // warning: automation can never act
	CodeTTL        = "WWW-0121" // warning
	CodeConsent    = "WWW-0122" // warning
	CodeNoSource   = "WWW-0123" // warning: no other site could restore
	CodeConflict   = "WWW-0124" // two keys exclude each other
	CodeFewServers = "WWW-0125" // warning: one authoritative server only
	CodeNotRescued = "WWW-0126" // warning: waits for a guest that is not rescued
)

// Codes of the agent's own file, wwwd.yaml.
const (
	CodeFileMissing  = "WWW-0131"
	CodeFileMode     = "WWW-0132" // a secret that everyone can read
	CodeFileUnread   = "WWW-0133" // there, but not readable or not a regular file
	CodeRelativePath = "WWW-0134"
	CodeFingerprint  = "WWW-0135"
	CodeLabOnly      = "WWW-0136" // a lab setting on a real network
)

// ProblemCodes returns every code that a Problem may carry, in order, for the
// catalogue of messages.
func ProblemCodes() []string {
	return []string{
		CodeSyntax, CodeUnknownKey, CodeRepeated, CodeWrongType, CodeMissing, CodeForbidden, CodeTaken,
		CodeBadName, CodeDangling, CodeNotOneOf, CodeBadAddress, CodeBadURL, CodeNoZone, CodeCycle, CodeRange,
		CodeOrder, CodeNoReason, CodeIDRange, CodeKind, CodeNeverAuto, CodeTTL, CodeConsent, CodeNoSource,
		CodeConflict, CodeFewServers, CodeNotRescued,
		CodeFileMissing, CodeFileMode, CodeFileUnread, CodeRelativePath, CodeFingerprint, CodeLabOnly,
	}
}

// Position is a place in a file. Line and Column count from 1, columns in
// characters; zero means that the place is not known.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func (p Position) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d", cmp.Or(p.File, "input"), p.Line, p.Column)
	default:
		return p.File
	}
}

// Problem is one thing wrong with a configuration. Path names the value as it
// is written ("sites.moulin.hosts.pve-moulin.pve.url", "guests.a.names[1]");
// Message says what is wrong, Hint what to write instead.
type Problem struct {
	Path     string   `json:"path"`
	Code     string   `json:"code"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
	Severity Severity `json:"severity"`
	At       Position `json:"at,omitzero"`
}

// String is the problem on one line, like a compiler's, without the hint.
func (p Problem) String() string {
	where := p.At.String()
	if p.At.Line == 0 && p.Path != "" {
		where = strings.TrimPrefix(where+": "+p.Path, ": ")
	}
	if where != "" {
		where += ": "
	}
	return fmt.Sprintf("%s%s %s: %s", where, p.Severity, p.Code, p.Message)
}

// HasErrors says whether at least one problem refuses the input.
func HasErrors(ps []Problem) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}

// SortProblems sorts by place in the file, then by path, code and message.
func SortProblems(ps []Problem) {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}

// Quote shows a value in a message: quoted, and shortened when it is long.
func Quote[S ~string](v S) string {
	const most = 64
	r := []rune(string(v))
	if len(r) > most {
		return fmt.Sprintf("%q…", string(r[:most]))
	}
	return fmt.Sprintf("%q", string(v))
}

// Nearest returns the candidate that a person most likely meant by word, or
// "" when none is close: at most a third of its letters differ.
func Nearest(word string, candidates []string) string {
	const tooLong = 64
	best, least := "", (len(word)+1)/3
	if len(word) > tooLong {
		return ""
	}
	for _, c := range candidates {
		if len(c) > tooLong || len(c) > len(word)+least || len(word) > len(c)+least {
			continue
		}
		if d := distance(word, c); d < least || d == least && best == "" {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of single-letter edits (insert, delete, replace,
// swap of neighbours) between two short words: optimal string alignment.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
