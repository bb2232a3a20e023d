package lab

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Schema is a vendor's description of its HTTP API, read from a file at run time. It checks requests and
// answers; see reference/pve-pbs-api.README.md for the shape of the files.
type Schema struct {
	dialect dialect
	formats formats
	ops     map[string]*operation // "GET /nodes/{node}/tasks"
	names   []string              // of ops, sorted
}

// dialect is how booleans and integers look on the wire.
type dialect int

const (
	dialectPVE dialect = iota // booleans 0 and 1, integers perhaps as strings
	dialectPBS                // real JSON
)

type operation struct {
	method, path string
	segments     []string
	params       map[string]*property
	strict       bool // unknown parameters are refused
	protected    bool // handed to pvedaemon
	returns      *property
}

// flag is a boolean that the files write as 0, 1, "1", true or false; an object (a schema for further
// properties) counts as true.
type flag bool

// UnmarshalJSON reads a flag.
func (f *flag) UnmarshalJSON(b []byte) error {
	*f = flag(!slices.Contains([]string{"0", "false", "null", `"0"`, `""`}, string(b)))
	return nil
}

// number is a bound that the files write as a number or as a string.
type number struct{ value *float64 }

// UnmarshalJSON reads a bound; one that is not a number is no bound.
func (n *number) UnmarshalJSON(b []byte) error {
	var v float64
	if json.Unmarshal([]byte(strings.Trim(string(b), `"`)), &v) == nil {
		n.value = &v
	}
	return nil
}

type property struct {
	Type       string               `json:"type"`
	Optional   flag                 `json:"optional"`
	Enum       []any                `json:"enum"`
	Minimum    number               `json:"minimum"`
	Maximum    number               `json:"maximum"`
	MinLength  number               `json:"minLength"`
	MaxLength  number               `json:"maxLength"`
	Pattern    string               `json:"pattern"`
	Format     json.RawMessage      `json:"format"`
	Requires   json.RawMessage      `json:"requires"`
	Properties map[string]*property `json:"properties"`
	Items      *property            `json:"items"`
	Additional *flag                `json:"additionalProperties"`
	Alias      string               `json:"alias"`
	KeyAlias   string               `json:"keyAlias"`
	DefaultKey flag                 `json:"default_key"`

	pattern *regexp.Regexp
	format  map[string]*property // of a property string
	formats *formats             // the registered ones
}

type schemaNode struct {
	Path     string                   `json:"path"`
	Children []schemaNode             `json:"children"`
	Info     map[string]*schemaMethod `json:"info"`
}

type schemaMethod struct {
	Protected  flag      `json:"protected"`
	Parameters *property `json:"parameters"`
	Returns    *property `json:"returns"`
}

// LoadPVESchema reads a description of the Proxmox VE API (gzipped JSON).
func LoadPVESchema(path string) (*Schema, error) { return loadSchema(path, dialectPVE) }

// LoadPBSSchema reads a description of the Proxmox Backup Server API (gzipped JSON).
func LoadPBSSchema(path string) (*Schema, error) { return loadSchema(path, dialectPBS) }

func loadSchema(path string, d dialect) (*Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load schema: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := schemaText(f)
	if err != nil {
		return nil, fmt.Errorf("load schema %s: %w", path, err)
	}
	var nodes []schemaNode
	if err := json.NewDecoder(text).Decode(&nodes); err != nil {
		return nil, fmt.Errorf("load schema %s: %w", path, err)
	}
	s := &Schema{dialect: d, formats: newFormats(), ops: map[string]*operation{}}
	s.walk(nodes)
	s.names = slices.Sorted(maps.Keys(s.ops))
	if len(s.ops) == 0 {
		return nil, fmt.Errorf("load schema %s: no operation in it", path)
	}
	return s, nil
}

// schemaText returns the JSON in a schema file, which may be gzipped and may be the vendor's own
// apidoc.js: "const apiSchema = [...];".
func schemaText(f io.Reader) (io.Reader, error) {
	r := bufio.NewReader(f)
	if magic, err := r.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = bufio.NewReader(z)
	}
	if head, err := r.Peek(6); err == nil && string(head) == "const " {
		if _, err := r.ReadString('='); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *Schema) walk(nodes []schemaNode) {
	for _, n := range nodes {
		for method, m := range n.Info {
			op := &operation{method: method, path: n.Path, segments: strings.Split(strings.Trim(n.Path, "/"), "/"), protected: bool(m.Protected), returns: m.Returns}
			if p := m.Parameters; p != nil {
				op.params = p.Properties
				op.strict = p.Additional != nil && !bool(*p.Additional)
			}
			for _, p := range op.params {
				p.compile(&s.formats)
			}
			if op.returns != nil {
				op.returns.compile(&s.formats)
			}
			s.ops[method+" "+n.Path] = op
		}
		s.walk(n.Children)
	}
}

// compile prepares the pattern and the format. A Perl-only pattern is left out.
func (p *property) compile(f *formats) {
	p.formats = f
	text := p.Pattern
	if strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") && len(text) > 1 {
		text = text[1 : len(text)-1]
	}
	if text != "" {
		if re, err := regexp.Compile("^(?:" + strings.ReplaceAll(text, "(?^:", "(?:") + ")$"); err == nil {
			p.pattern = re
		}
	}
	if len(p.Format) > 0 && p.Format[0] == '{' {
		if json.Unmarshal(p.Format, &p.format) != nil {
			p.format = nil // a format that is no property string is not checked
		}
		for _, sub := range p.format {
			if sub != nil {
				sub.compile(f)
			}
		}
	}
	if p.Items != nil {
		p.Items.compile(f)
	}
	for _, sub := range p.Properties {
		if sub != nil {
			sub.compile(f)
		}
	}
}

// Operations returns all operations as "METHOD /path/{template}", sorted.
func (s *Schema) Operations() []string { return slices.Clone(s.names) }

// Protected tells whether pveproxy hands an operation, in the form of Operations, to pvedaemon.
func (s *Schema) Protected(operation string) bool {
	op := s.ops[operation]
	return op != nil && op.protected
}

// Find returns the operation, in the form of Operations, that serves a request. The path may begin with
// /api2/json. False means that the vendor has no such path with that method.
func (s *Schema) Find(method, path string) (string, bool) {
	op, _ := s.find(method, path)
	if op == nil {
		return "", false
	}
	return op.method + " " + op.path, true
}

func (s *Schema) find(method, path string) (*operation, map[string]string) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, apiPrefix), "?")
	path = strings.Trim(path, "/")
	var best *operation
	var bestVars map[string]string
	for _, key := range s.names {
		op := s.ops[key]
		if op.method != method || !matches(op.segments, path) {
			continue
		}
		// The template with the fewest variables wins: /status/current before /status/{x}.
		if vars, ok := pathVars(op.segments, path); ok && (best == nil || len(vars) < len(bestVars)) {
			best, bestVars = op, vars
		}
	}
	return best, bestVars
}

// Param describes a parameter of an operation ("POST /nodes/{node}/qemu", "net[n]" or "net0").
func (s *Schema) Param(operation, name string) (Param, bool) {
	op := s.ops[operation]
	if op == nil {
		return Param{}, false
	}
	p := op.param(name)
	if p == nil {
		return Param{}, false
	}
	out := Param{Name: name, Type: p.Type, Required: !bool(p.Optional)}
	if out.Type == "" {
		out.Type = "string"
	}
	for _, v := range p.Enum {
		out.Enum = append(out.Enum, fmt.Sprint(v))
	}
	return out, true
}

func (op *operation) param(name string) *property {
	if p := op.params[name]; p != nil {
		return p
	}
	if m := indexedName.FindStringSubmatch(name); m != nil {
		return op.params[m[1]+"[n]"]
	}
	return nil
}

// CheckRequest returns everything that is wrong with a request by the vendor's schema: no such path or
// method, unknown, missing or malformed parameters. Parameters in the path belong to path, the others to
// params (as RequestParams gives them).
func (s *Schema) CheckRequest(method, path string, params map[string][]string) error {
	op, vars := s.find(method, path)
	if op == nil {
		return fmt.Errorf("%s %s: no such operation", method, path)
	}
	var errs []error
	add := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s %s: %s: %s", method, op.path, name, fmt.Sprintf(format, args...)))
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if vars[name] != "" {
			add(name, "given twice: in the path and as a parameter")
		}
		for _, msg := range op.wrongParam(name, params) {
			add(name, "%s", msg)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if p := op.param(name); p != nil {
			if msg := p.wrongText(vars[name]); msg != "" {
				add(name, "%s", msg)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(op.params)) {
		if _, given := params[name]; !given && vars[name] == "" && !bool(op.params[name].Optional) {
			add(name, "missing")
		}
	}
	return errors.Join(errs...)
}

// wrongParam returns what is wrong with one given parameter.
func (op *operation) wrongParam(name string, params map[string][]string) (wrong []string) {
	p := op.param(name)
	switch {
	case p == nil && !op.strict:
		return nil
	case p == nil:
		return []string{"not in the schema"}
	case len(params[name]) > 1 && p.Type != "array":
		wrong = append(wrong, fmt.Sprintf("given %d times", len(params[name])))
	}
	for _, v := range params[name] {
		if msg := p.wrongText(v); msg != "" {
			wrong = append(wrong, msg)
		}
	}
	if missing := p.missing(params); missing != "" {
		wrong = append(wrong, "needs "+missing)
	}
	return wrong
}

// missing returns the parameter that this one requires and that is not given.
func (p *property) missing(params map[string][]string) string {
	var name string
	if len(p.Requires) == 0 || json.Unmarshal(p.Requires, &name) != nil {
		return ""
	}
	if _, ok := params[name]; ok {
		return ""
	}
	return name
}
