package netyaml

import (
	"encoding"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// What a value is or should be, in the words of a person.
const (
	aMapping = "keys with values"
	aList    = "a list"
	aText    = "text"
	aNumber  = "a whole number"
	aBool    = "true or false"
)

// maxKey is the length of the longest name that anything here may have: a
// domain name (RFC 1035 section 2.3.4).
const maxKey = 255

// plainNumber is how whole numbers are written: no octal, no hexadecimal, no
// underscores, which read differently in other programs.
var plainNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// value reads a node into v and records where it stands.
func (r *reader) value(path string, n ast.Node, v reflect.Value) {
	where := place(start(n))
	if _, known := r.index.at[path]; !known {
		r.index.at[path] = where
	}
	if _, null := n.(*ast.NullNode); null {
		r.fail(path, where, network.CodeWrongType, "write a value, or leave the key out", "%s has no value", called(path))
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		r.unmarshal(path, where, n, u)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.structure(path, n, v)
	case reflect.Map:
		r.mapping(path, n, v)
	case reflect.Slice:
		r.list(path, n, v)
	default:
		r.scalar(path, where, n, v)
	}
}

// start is the token that a person would point at. Of a mapping it is the
// first key: the library gives the colon after it.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// pairs returns the entries of a mapping node; ok is false for other nodes.
func pairs(n ast.Node) (entries []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// each calls f for every well-formed, first-of-its-name entry of a mapping.
func (r *reader) each(path string, n ast.Node, f func(name, at string, key, value ast.Node)) {
	entries, ok := pairs(n)
	if !ok {
		r.wrong(path, n, aMapping)
		return
	}
	first := make(map[string]at, len(entries))
	for _, e := range entries {
		where := place(e.Key.GetToken())
		s, ok := e.Key.(*ast.StringNode)
		if ok && len(s.Value) > maxKey {
			r.fail(path, where, network.CodeBadName, "write a shorter name", "the key %s is longer than %d bytes", network.Quote(s.Value), maxKey)
			continue
		}
		if !ok || s.Value == "" {
			r.fail(path, where, network.CodeWrongType, "write the key as text, in quotes if it looks like something else", "the key %s is not text", network.Quote(e.Key.GetToken().Value))
			continue
		}
		here := s.Value
		if path != "" {
			here = path + "." + s.Value
		}
		if before, twice := first[s.Value]; twice {
			r.fail(here, where, network.CodeRepeated, "keep one of them", "key %s stands here for the second time; the first is on line %d", network.Quote(s.Value), before.line)
			continue
		}
		first[s.Value] = where
		r.index.at[here] = where
		f(s.Value, here, e.Key, e.Value)
	}
}

func (r *reader) structure(path string, n ast.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	r.each(path, n, func(name, here string, key, value ast.Node) {
		i, ok := fields.index[name]
		if !ok {
			hint := "known here: " + strings.Join(fields.names, ", ")
			if near := network.Nearest(name, fields.names); near != "" {
				hint = "did you mean " + network.Quote(near) + "?"
			}
			r.fail(here, place(key.GetToken()), network.CodeUnknownKey, hint, "key %s is not known here", network.Quote(name))
			return
		}
		r.entry(here, value, v.Field(i))
	})
}

// entry reads the value of a key. A scalar is pointed at itself, a mapping or
// list by its key.
func (r *reader) entry(path string, n ast.Node, v reflect.Value) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode, *ast.NullNode:
	default:
		r.index.at[path] = place(start(n))
	}
	r.value(path, n, v)
}

// fieldSet is the keys of a struct.
type fieldSet struct {
	names []string
	index map[string]int
}

func fieldsOf(t reflect.Type) fieldSet {
	set := fieldSet{index: map[string]int{}}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if !t.Field(i).IsExported() || name == "-" || name == "" {
			continue
		}
		set.names = append(set.names, name)
		set.index[name] = i
	}
	return set
}

func (r *reader) mapping(path string, n ast.Node, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	r.each(path, n, func(name, here string, _, value ast.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		r.entry(here, value, e)
		// Also after a mistake inside: what refers to the name finds it.
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e)
	})
}

func (r *reader) list(path string, n ast.Node, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.wrong(path, n, aList)
		return
	}
	if len(s.Values) == 0 {
		return // an empty list is no list, so that writing and reading agree
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, e := range s.Values {
		r.value(path+"["+strconv.Itoa(i)+"]", e, v.Index(i))
	}
}

func (r *reader) scalar(path string, where at, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		text, ok := textOf(n)
		if !ok {
			r.wrong(path, n, aText)
			return
		}
		v.SetString(text)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.wrong(path, n, aBool)
			return
		}
		v.SetBool(b.Value)
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32:
		text := n.GetToken().Value
		if _, ok := n.(*ast.IntegerNode); !ok || !plainNumber.MatchString(text) {
			r.wrong(path, n, aNumber)
			return
		}
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.CanUint() && (i < 0 || v.OverflowUint(uint64(i))) || v.CanInt() && v.OverflowInt(i) {
			r.fail(path, where, network.CodeRange, "write a smaller number", "%s %s is out of range", called(path), clip(text))
			return
		}
		if v.CanInt() {
			v.SetInt(i)
		} else {
			v.SetUint(uint64(i))
		}
	default:
		panic("netyaml: no reading for " + v.Type().String()) // a field of our own types, seen by every test
	}
}

// textOf returns the text of a scalar that is text in YAML.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// unmarshal reads a value that has a form of its own: an address, a duration.
// Numbers are passed on as they are written, so that the form can say what it
// misses ("want a unit").
func (r *reader) unmarshal(path string, where at, n ast.Node, into encoding.TextUnmarshaler) {
	text, ok := textOf(n)
	if !ok {
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			text = n.GetToken().Value
		default:
			r.wrong(path, n, aText)
			return
		}
	}
	switch into := into.(type) {
	case *netip.Addr:
		a, err := netip.ParseAddr(text)
		if err != nil {
			r.fail(path, where, network.CodeBadAddress, "write an address, such as 10.77.1.1 or \"2001:db8::1\"", "%s is not an IP address", network.Quote(text))
			return
		}
		*into = a
	case *netip.AddrPort:
		a, err := addrPort(text)
		if err != nil {
			r.fail(path, where, network.CodeBadAddress, "write ADDRESS or ADDRESS:PORT, such as \"10.77.1.1:53\" or \"[2001:db8::1]:53\"", "%s is not an IP address with or without a port", network.Quote(text))
			return
		}
		*into = a
	default:
		if err := into.UnmarshalText([]byte(text)); err != nil {
			what, want, _ := strings.Cut(err.Error(), ": want ")
			r.fail(path, where, network.CodeWrongType, "write "+want, "%s is not readable", clip(what))
		}
	}
}

// addrPort accepts an address without a port as port 0, which the defaults
// replace.
func addrPort(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(text)
}

// wrong tells that a node is of another kind than wanted.
func (r *reader) wrong(path string, n ast.Node, want string) {
	where := place(start(n))
	got := kindOf(n)
	hint := map[string]string{
		aMapping: "write KEY: VALUE, one on a line or in braces {}",
		aList:    "write [FIRST, SECOND]",
		aNumber:  "write digits only, such as 120",
		aBool:    "write true or false",
		aText:    "write one word, or a text in quotes",
	}[want]
	if want == aText && (got == aNumber || got == aBool || got == "a number") {
		hint = "write it in quotes: " + network.Quote(n.GetToken().Value)
	}
	r.fail(path, where, network.CodeWrongType, hint, "%s must be %s, not %s", called(path), want, got)
}

// kindOf says what a node is, with its value where that is short.
func kindOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return aMapping
	case *ast.SequenceNode:
		return aList
	case *ast.IntegerNode:
		if plainNumber.MatchString(n.GetToken().Value) {
			return aNumber
		}
		return "a number in another notation (" + clip(n.GetToken().Value) + ")"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + clip(n.GetToken().Value)
	case *ast.BoolNode:
		return aBool
	case *ast.StringNode:
		return "the text " + network.Quote(n.Value)
	default:
		return aText
	}
}

// called is how a message names the value at a path: its last part.
func called(path string) string {
	if path == "" {
		return "the file"
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	return clip(name)
}

// clip shortens what a file says before it is repeated in a message.
func clip(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
