package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// wrongText says what is wrong with a parameter's text, "" when nothing is.
func (p *property) wrongText(v string) string {
	q := p
	if p.Type == "array" && p.Items != nil {
		q = p.Items
	}
	kind := Param{Type: q.Type}
	if msg := kind.wrong(v); msg != "" {
		return msg
	}
	if q.Type == "integer" || q.Type == "number" {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return "not a number: " + v
		}
		if msg := q.wrongRange(n); msg != "" {
			return msg
		}
	}
	if q.Type == "boolean" {
		return ""
	}
	if len(q.Enum) > 0 && !slices.ContainsFunc(q.Enum, func(e any) bool { return fmt.Sprint(e) == v }) {
		return fmt.Sprintf("%q is not one of %v", v, q.Enum)
	}
	return q.wrongString(v)
}

func (p *property) wrongRange(n float64) string {
	switch {
	case p.Minimum.value != nil && n < *p.Minimum.value:
		return fmt.Sprintf("%v is below %v", n, *p.Minimum.value)
	case p.Maximum.value != nil && n > *p.Maximum.value:
		return fmt.Sprintf("%v is above %v", n, *p.Maximum.value)
	}
	return ""
}

func (p *property) wrongString(v string) string {
	switch {
	case p.MinLength.value != nil && len(v) < int(*p.MinLength.value):
		return fmt.Sprintf("%d characters, at least %v", len(v), *p.MinLength.value)
	case p.MaxLength.value != nil && len(v) > int(*p.MaxLength.value):
		return fmt.Sprintf("%d characters, at most %v", len(v), *p.MaxLength.value)
	case p.pattern != nil && !p.pattern.MatchString(v):
		return fmt.Sprintf("%q does not match %s", v, p.pattern)
	}
	if p.format != nil && v != "" {
		return p.wrongProperties(v)
	}
	if name := p.formatName(); name != "" && p.formats != nil {
		return p.formats.wrong(name, v)
	}
	return ""
}

// wrongProperties checks a property string such as "virtio=MAC,bridge=vmbr0,tag=120".
func (p *property) wrongProperties(v string) string {
	defaultKey := ""
	for _, k := range slices.Sorted(maps.Keys(p.format)) {
		if sub := p.format[k]; sub != nil && bool(sub.DefaultKey) {
			defaultKey = k
		}
	}
	var keys []string
	for part := range strings.SplitSeq(v, ",") {
		k, value, given := strings.Cut(part, "=")
		if !given {
			k, value = defaultKey, part
		}
		sub, ok := p.format[k]
		switch {
		case !ok && !given:
			return fmt.Sprintf("%q has no key", part)
		case !ok:
			return fmt.Sprintf("unknown key %q", k)
		}
		keys = append(keys, k)
		switch {
		case sub == nil:
			continue
		case sub.Alias != "" && p.format[sub.Alias] != nil:
			sub = p.format[sub.Alias] // the shorthand model=MAC
		}
		if msg := sub.wrongText(value); msg != "" {
			return k + ": " + msg
		}
	}
	return p.missingKeys(keys)
}

// schemaFault is a place where a schema file is known to differ from what its server sends.
type schemaFault struct{ operation, at, reason string }

// schemaFaults are accepted by CheckAnswer (reference/proxmox.md and pve-pbs-api.README.md say what is sent).
var schemaFaults = []schemaFault{
	{"GET /cluster/nextid", "data", "the id is sent as a string"},
	{"GET /nodes/{node}/storage/{storage}/content/{volume}", "data.protected", "a JSON boolean here, 0 or 1 in the list"},
	{"GET /admin/datastore/{store}/snapshots", "data[].files[]", "objects with filename, size and crypt-mode"},
	{"GET /admin/datastore/{store}/protected", "data", "the flag; the file declares null"},
	{"GET /admin/datastore/{store}/notes", "data", "the text; the file declares null"},
	{"GET /nodes/{node}/tasks/{upid}/log", "data", "rows of n and t; the PBS file declares null"},
	{"POST /admin/sync/{id}/run", "data", "the UPID; the file declares null"},
	{"POST /nodes/{node}/qemu/{vmid}/config", "data", "null when the change was done in the background delay"},
	// What is sent and the file is silent about.
	{"GET /cluster/ha/resources", "data[].*", "state, type, group; only sid is declared"},
	{"GET /nodes", "data[].id", "sent by PVE::API2::Nodes"},
	{"GET /nodes", "data[].type", "sent by PVE::API2::Nodes"},
	{"GET /nodes/{node}/status", "data.cpuinfo.*", "of /proc/cpuinfo"},
	{"GET /storage", "data[].*", "the whole entry of storage.cfg; only storage is declared"},
	{"GET /nodes/{node}/storage/{storage}/content", "data[].content", "sent by PVE::Storage"},
	{"GET /nodes/{node}/storage/{storage}/content", "data[].subtype", "sent by PBSPlugin.pm"},
	{"GET /nodes/{node}/qemu", "data[].disk", "sent by PVE::QemuServer::vmstatus"},
	{"GET /nodes/{node}/qemu/{vmid}/status/current", "data.disk", "sent by PVE::QemuServer::vmstatus"},
	{"GET /nodes/{node}/lxc", "data[].type", "sent by PVE::LXC::vmstatus"},
	{"GET /nodes/{node}/lxc/{vmid}/status/current", "data.type", "sent by PVE::LXC::vmstatus"},
	{"GET /nodes/{node}/tasks", "data[].tokenid", "sent by PVE::API2::Tasks for ended tasks"},
	{"GET /nodes/{node}/tasks/{upid}/status", "data.tokenid", "sent by PVE::Tools::upid_decode"},
}

// CheckAnswer returns everything in a successful answer ({"data": ...}) that differs from the vendor's
// schema, apart from its known faults. What the schema does not declare passes.
func (s *Schema) CheckAnswer(method, path string, body []byte) error {
	op, _ := s.find(method, path)
	if op == nil {
		return fmt.Errorf("%s %s: no such operation", method, path)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var envelope map[string]any
	if err := dec.Decode(&envelope); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, op.path, err)
	}
	data, ok := envelope["data"]
	if !ok {
		return fmt.Errorf("%s %s: no data in the answer", method, op.path)
	}
	c := answerCheck{schema: s, operation: op.method + " " + op.path}
	c.check("data", op.returns, data)
	return errors.Join(c.errs...)
}

func known(operation, at string) bool {
	return slices.ContainsFunc(schemaFaults, func(f schemaFault) bool {
		under, all := strings.CutSuffix(f.at, "*")
		return f.operation == operation && (f.at == at || (all && strings.HasPrefix(at, under)))
	})
}

type answerCheck struct {
	schema    *Schema
	operation string
	errs      []error
}

func (c *answerCheck) fail(at, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s: %s", c.operation, at, fmt.Sprintf(format, args...)))
}

func (c *answerCheck) check(at string, p *property, v any) {
	if p == nil || known(c.operation, at) {
		return
	}
	switch p.Type {
	case "object":
		c.object(at, p, v)
	case "array":
		list, ok := v.([]any)
		if !ok {
			c.fail(at, "got %s, want an array", kindOf(v))
			return
		}
		for _, one := range list {
			c.check(at+"[]", p.Items, one)
		}
	case "null":
		if v != nil {
			c.fail(at, "got %s, want null", kindOf(v))
		}
	default:
		c.scalar(at, p, v)
	}
}

func (c *answerCheck) object(at string, p *property, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		c.fail(at, "got %s, want an object", kindOf(v))
		return
	}
	op := operation{params: p.Properties}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		sub := op.param(k)
		switch {
		case sub != nil:
			c.check(at+"."+k, sub, m[k])
		case known(c.operation, at+"."+k):
		case p.Additional != nil && !bool(*p.Additional) && len(p.Properties) > 0:
			c.fail(at+"."+k, "not in the schema")
		case len(p.Properties) > 0 && p.Additional == nil:
			c.fail(at+"."+k, "sent, and the schema is silent about it")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(p.Properties)) {
		if _, given := m[k]; !given && !bool(p.Properties[k].Optional) {
			c.fail(at+"."+k, "missing")
		}
	}
}

func (c *answerCheck) scalar(at string, p *property, v any) {
	ok := true
	switch p.Type {
	case "boolean":
		_, isBool := v.(bool)
		if c.schema.dialect == dialectPVE {
			ok = !isBool && slices.Contains([]string{"0", "1"}, fmt.Sprint(v))
		} else {
			ok = isBool
		}
	case "integer", "number":
		ok = c.isNumber(p.Type, v)
	case "string":
		_, ok = v.(string)
	default:
		return
	}
	if !ok {
		c.fail(at, "got %s %v, want %s", kindOf(v), v, p.Type)
		return
	}
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		c.fail(at, "%v is not one of %v", v, p.Enum)
	}
	c.bounds(at, p, v)
}

// bounds checks what a schema says of a value beside its type: range, length, pattern, format.
func (c *answerCheck) bounds(at string, p *property, v any) {
	msg := ""
	switch p.Type {
	case "integer", "number":
		if n, err := strconv.ParseFloat(fmt.Sprint(v), 64); err == nil {
			msg = p.wrongRange(n)
		}
	case "string":
		if s, ok := v.(string); ok {
			msg = p.wrongString(s)
		}
	}
	if msg != "" {
		c.fail(at, "%s", msg)
	}
}

func (c *answerCheck) isNumber(kind string, v any) bool {
	text := fmt.Sprint(v)
	if _, isString := v.(string); isString && c.schema.dialect == dialectPBS {
		return false
	}
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && (kind == "number" || n == math.Trunc(n))
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}
