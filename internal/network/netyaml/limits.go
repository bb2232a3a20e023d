package netyaml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Limits of a file. The parser's cost is quadratic in the depth, in the
// length of one mapping and in the number of empty values; a network of a
// hundred sites and five thousand guests stays inside all of them.
const (
	MaxSize  = 1 << 20 // bytes
	MaxDepth = 64      // nested mappings and lists
	MaxKeys  = 8192    // in one mapping
	maxEmpty = 64      // values left empty; each is an error anyway
)

const (
	oneDocument = "keep one document in the file"
	lookAround  = "look at the quotes, brackets and indentation (spaces only) just before this place"
)

// tokens checks the text as far as possible without parsing and returns its
// tokens. Problems mean that it must not be parsed.
func (r *reader) tokens(b []byte) token.Tokens {
	if len(b) > MaxSize {
		r.fail("", at{1, 1}, network.CodeSyntax, "split off what is not the network", "the file has %d bytes; at most %d are read", len(b), MaxSize)
		return nil
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !r.text(b) {
		return nil
	}
	tokens := lexer.Tokenize(string(b))
	if tk := tokens.InvalidToken(); tk != nil {
		r.fail("", place(tk), network.CodeSyntax, lookAround, "%s", syntax(tk.Error))
		return nil
	}
	r.features(tokens)
	if len(r.out) > 0 {
		return nil
	}
	tk, what := excess(tokens)
	if tk == nil {
		tk, what = empties(tokens)
	}
	if tk != nil {
		r.fail("", place(tk), network.CodeSyntax, "write it as the example does, or split it", "%s", what)
		return nil
	}
	return tokens
}

// text refuses bytes that are no text: a file in another encoding would be
// read as something else than its author sees.
func (r *reader) text(b []byte) bool {
	line, column := 1, 1
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		switch {
		case c == utf8.RuneError && n == 1:
			r.fail("", at{line, column}, network.CodeSyntax, "save the file as UTF-8", "byte 0x%02x is not UTF-8", b[0])
			return false
		case c < ' ' && c != '\n' && c != '\r' && c != '\t', c == 0x7f, c == 0xfeff:
			r.fail("", at{line, column}, network.CodeSyntax, "remove the character", "control character U+%04X", c)
			return false
		case c == '\n':
			line, column = line+1, 0
		}
		b, column = b[n:], column+1
	}
	return true
}

// features refuses the parts of YAML by which a file says something else than
// a reader sees at a glance.
func (r *reader) features(tokens token.Tokens) {
	const most = 20
	for i, tk := range tokens {
		what := ""
		switch tk.Type {
		case token.AnchorType:
			what = "anchors (&name)"
		case token.AliasType:
			what = "aliases (*name)"
		case token.TagType:
			what = "tags (!name)"
		case token.MergeKeyType:
			what = "merge keys (<<)"
		case token.DirectiveType:
			what = "directives (%name)"
		case token.MappingKeyType:
			what = "explicit keys (?)"
		case token.DocumentHeaderType:
			if !begun(tokens[:i]) {
				continue
			}
			what = "second documents (---)"
		default:
			continue
		}
		hint := "write the value out; text with such signs stands in quotes"
		if tk.Type == token.DocumentHeaderType {
			hint = oneDocument
		}
		r.fail("", place(tk), network.CodeForbidden, hint, "%s are not read", what)
		if len(r.out) == most || tk.Type == token.DocumentHeaderType {
			return
		}
	}
}

// begun says whether tokens hold more than comments.
func begun(before token.Tokens) bool {
	for i := len(before) - 1; i >= 0; i-- {
		if before[i].Type != token.CommentType {
			return true
		}
	}
	return false
}

// block is an open block collection: the column of its keys or dashes and how
// many it has.
type block struct{ column, entries int }

// excess returns the first token that is over a limit, and which. Flow
// collections are counted by their brackets, block collections by the columns
// of the keys and dashes that are open.
func excess(tokens token.Tokens) (*token.Token, string) {
	flow := 0
	var open []block // columns ascend
	for i, tk := range tokens {
		column := 0
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.SequenceEntryType:
			column = tk.Position.Column
		case token.MappingValueType:
			column = tokens[max(0, i-1)].Position.Column
		}
		if column > 0 && flow == 0 {
			open = enter(open, column)
			// A dash and the keys of the mapping around it may share a column.
			if tk.Type == token.MappingValueType {
				open[len(open)-1].entries++
			}
			if open[len(open)-1].entries > MaxKeys {
				return tk, fmt.Sprintf("more than %d keys in one mapping", MaxKeys)
			}
		}
		if flow+len(open) > MaxDepth {
			return tk, fmt.Sprintf("more than %d levels of nesting", MaxDepth)
		}
	}
	return nil, ""
}

// enter closes the blocks that end before a token at this column and opens
// the one that it belongs to if it is new.
func enter(open []block, column int) []block {
	for len(open) > 0 && open[len(open)-1].column > column {
		open = open[:len(open)-1]
	}
	if len(open) == 0 || open[len(open)-1].column < column {
		open = append(open, block{column: column})
	}
	return open
}

// empties returns the token at which more values are missing than are worth
// telling one by one. The parser fills each in by moving all tokens after it.
func empties(tokens token.Tokens) (*token.Token, string) {
	n := 0
	var open []flowState
	for i, tk := range tokens {
		missing := false
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			open = append(open, flowState{mapping: tk.Type == token.MappingStartType})
		case token.MappingEndType, token.SequenceEndType:
			open = open[:max(0, len(open)-1)]
		case token.SequenceEntryType:
			missing = valueless(tokens, i, tk.Position.Column)
		case token.MappingValueType:
			missing = valueless(tokens, i, tokens[max(0, i-1)].Position.Column)
			if len(open) > 0 {
				open[len(open)-1].colon = true
			}
		case token.CollectEntryType:
			if len(open) > 0 {
				top := &open[len(open)-1]
				missing = top.mapping && !top.colon
				top.colon = false
			}
		}
		if missing {
			n++
		}
		if n > maxEmpty {
			return tk, fmt.Sprintf("more than %d values are empty", maxEmpty)
		}
	}
	return nil, ""
}

// flowState is an open flow collection: a mapping or a list, and whether its
// present entry has a colon.
type flowState struct{ mapping, colon bool }

// valueless says whether nothing follows the colon or dash at tokens[i] that
// could be its value; column is that of the key or dash.
func valueless(tokens token.Tokens, i, column int) bool {
	for _, next := range tokens[i+1:] {
		switch next.Type {
		case token.CommentType:
			continue
		case token.CollectEntryType, token.MappingEndType, token.SequenceEndType, token.DocumentHeaderType, token.DocumentEndType:
			return true
		case token.SequenceEntryType: // a list may stand at the column of its key
			return next.Position.Column < column || next.Position.Column == column && tokens[i].Type == token.SequenceEntryType
		}
		return next.Position.Line > tokens[i].Position.Line && next.Position.Column <= column
	}
	return true
}

// syntax makes the parser's message a sentence of ours: its first line, with
// its own words for places left out.
func syntax(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return fmt.Sprintf("not readable as YAML: %s", clip(line))
}
