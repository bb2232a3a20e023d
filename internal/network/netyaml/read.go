package netyaml

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// at is a place in the file, counted from 1.
type at struct{ line, column int }

func place(tk *token.Token) at {
	if tk == nil || tk.Position == nil {
		return at{1, 1}
	}
	return at{tk.Position.Line, tk.Position.Column}
}

// Index knows where each value of a file stands: path → position. The zero
// value knows nothing.
type Index struct {
	file string
	at   map[string]at
}

// Place returns the problems with their positions filled in: that of the
// value at the problem's path, or of the nearest thing around it.
func (x Index) Place(problems []network.Problem) []network.Problem {
	for i := range problems {
		p := &problems[i]
		path := p.Path
		where, ok := x.at[path]
		for !ok && path != "" {
			path = Parent(path)
			where, ok = x.at[path]
		}
		p.At = network.Position{File: x.file, Line: where.line, Column: where.column}
	}
	return problems
}

// Decode reads a file into a pointer to a struct and returns every mistake,
// sorted by place. What could be read is in the struct even then.
func Decode(file string, b []byte, into any) []network.Problem {
	_, problems := Read(file, b, into)
	return problems
}

// Read is Decode for a caller that checks the values itself and wants to say
// where they stand.
func Read(file string, b []byte, into any) (Index, []network.Problem) {
	r := &reader{index: Index{file: file, at: map[string]at{}}}
	if doc := r.document(b); doc != nil {
		r.index.at[""] = at{1, 1}
		r.value("", doc, reflect.ValueOf(into).Elem())
	}
	network.SortProblems(r.out)
	return r.index, r.out
}

// reader walks one document.
type reader struct {
	index Index
	out   []network.Problem
}

func (r *reader) fail(path string, where at, code, hint, format string, args ...any) {
	r.out = append(r.out, network.Problem{
		Path: path, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: network.Error,
		At: network.Position{File: r.index.file, Line: where.line, Column: where.column},
	})
}

// document returns the root of the only document, or nil with a problem told.
func (r *reader) document(b []byte) (root ast.Node) {
	tokens := r.tokens(b)
	if len(r.out) > 0 {
		return nil
	}
	// The parser is not ours and the text may be hostile: a panic in it is one
	// more way of saying that the text is not YAML.
	defer func() {
		if p := recover(); p != nil {
			root = nil
			r.fail("", at{1, 1}, network.CodeSyntax, lookAround, "%s", syntax(fmt.Sprint(p)))
		}
	}()
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// Not se.Error(): it prints the text around the token in quadratic time.
		if se, ok := errors.AsType[*yaml.SyntaxError](err); ok {
			r.fail("", place(se.Token), network.CodeSyntax, lookAround, "%s", syntax(se.Message))
		} else {
			r.fail("", at{1, 1}, network.CodeSyntax, lookAround, "%s", syntax(err.Error()))
		}
		return nil
	}
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			r.fail("", place(d.Body.GetToken()), network.CodeForbidden, oneDocument, "second documents (---) are not read")
			return nil
		}
		root = d.Body
	}
	if root == nil {
		r.fail("", at{1, 1}, network.CodeMissing, "begin with the example that comes with the package", "the file is empty")
	}
	return root
}
