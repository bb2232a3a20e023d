package api_test

import (
	"encoding"
	"flag"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/raoull/worldwidewelsh/internal/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The file is what the types say, and it describes each route and no other.
func TestOpenAPIFileIsCurrent(t *testing.T) {
	routes := api.RoutePatterns()
	slices.Sort(routes)
	if got := slices.Sorted(maps.Keys(routesDescribed)); !slices.Equal(got, routes) {
		t.Errorf("described and registered routes differ:\n%v\n%v", got, routes)
	}
	want, err := yaml.MarshalWithOptions(openAPI(), yaml.UseLiteralStyleIfMultiline(true))
	if err != nil {
		t.Fatal(err)
	}
	want = append([]byte("# Written by go test ./internal/api -run OpenAPI -update\n"), want...)
	if *update {
		if err := os.WriteFile("openapi.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("openapi.yaml is not what the routes and types say now: go test ./internal/api -run OpenAPI -update")
	}
}

// What handlers read from a query is described somewhere, and nothing else is.
func TestOpenAPIQueries(t *testing.T) {
	read, told := map[string]bool{}, map[string]bool{}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?:Query\(\)|\bq)\.Get\("([a-z_]+)"\)|\bq\["([a-z_]+)"\]|boolParam\(q, "([a-z_]+)"\)`)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") || path.Ext(e.Name()) != ".go" {
			continue
		}
		src, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range asked.FindAllStringSubmatch(string(src), -1) {
			read[m[1]+m[2]+m[3]] = true
		}
	}
	for _, d := range routesDescribed {
		for _, p := range d.query {
			told[p.name] = true
		}
	}
	if !maps.Equal(read, told) {
		t.Errorf("read by handlers: %v; described: %v", slices.Sorted(maps.Keys(read)), slices.Sorted(maps.Keys(told)))
	}
}

type object = map[string]any

// describer makes schemas of types; named ones become components.
type describer struct{ components object }

func openAPI() object {
	d := describer{object{}}
	paths := object{}
	for pattern, row := range routesDescribed {
		method, where, _ := strings.Cut(pattern, " ")
		if paths[where] == nil {
			paths[where] = object{}
		}
		paths[where].(object)[strings.ToLower(method)] = d.operation(where, row)
	}
	d.components["Error"] = d.envelope(api.KindError, struct {
		Error api.Error `json:"error"`
	}{})
	return object{
		"openapi": "3.0.3",
		"info": object{
			"title": "World Wide Welsh agent", "version": api.Version,
			"description": "Every agent answers on its unix socket (root, group www-admin) and on the mesh port over mutual TLS (ALPN http/1.1). " +
				"Times are RFC 3339 in UTC, durations seconds, sizes bytes; keys are only ever added. " +
				"x-role is the least role that may call; `agent` routes are for agents of the same network alone. " +
				"A caller that asks too often gets 429 with Retry-After. Every error has the schema Error. " +
				"The verbs by which an agent begins, joins, leaves and rebuilds a network exist on the local socket only and belong to wwwctl.",
		},
		"servers": []any{object{"url": "/"}},
		"paths":   paths, "components": object{"schemas": d.components},
	}
}

func (d describer) operation(where string, row described) object {
	var params []any
	for _, m := range regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(where, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range row.query {
		params = append(params, object{"name": q.name, "in": "query", "description": q.about, "schema": object{"type": "string"}})
	}
	content := object{}
	switch {
	case row.text != "":
		content[row.text] = object{"schema": object{"type": "string"}}
		if row.answer != nil {
			d.components[row.kind] = d.envelope(row.kind, row.answer)
		}
	default:
		d.components[row.kind] = d.envelope(row.kind, row.answer)
		content["application/json"] = object{"schema": ref(row.kind)}
	}
	out := object{
		"summary": row.summary, "x-role": row.who,
		"responses": object{
			"200":     object{"description": "as asked", "content": content},
			"default": object{"description": "a refusal or failure, with its code", "content": object{"application/json": object{"schema": ref("Error")}}},
		},
	}
	if params != nil {
		out["parameters"] = params
	}
	switch body := row.body.(type) {
	case nil:
	case []byte:
		out["requestBody"] = object{"required": true, "content": object{"application/octet-stream": object{"schema": object{"type": "string", "format": "binary"}}}}
	default:
		out["requestBody"] = object{"required": !row.bodyOptional, "content": object{"application/json": object{"schema": d.schema(reflect.TypeOf(body))}}}
	}
	return out
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// envelope is an answer: the value's keys beside the version and the kind.
func (d describer) envelope(kind string, v any) object {
	properties, required := object{
		"apiVersion": object{"type": "string", "enum": []string{api.Version}}, "kind": object{"type": "string", "enum": []string{kind}},
	}, []string{"apiVersion", "kind"}
	d.fields(reflect.TypeOf(v), properties, &required)
	return object{"type": "object", "properties": properties, "required": required}
}

func (d describer) schema(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		return d.schema(t.Elem())
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "number", "description": "seconds"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	case t == reflect.TypeFor[[]byte]():
		return object{"type": "string", "format": "byte"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.component(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	default:
		return object{"type": "integer"}
	}
}

// component describes a struct once, under its package's name unless it is the API's own.
func (d describer) component(t reflect.Type) object {
	name := t.Name()
	if pkg := path.Base(t.PkgPath()); pkg != "api" {
		name = pkg + "." + name
	} else {
		name = "api." + name
	}
	if _, known := d.components[name]; !known {
		d.components[name] = nil // a type may hold itself
		properties, required := object{}, []string{}
		d.fields(t, properties, &required)
		out := object{"type": "object", "properties": properties}
		if len(required) > 0 {
			out["required"] = required
		}
		d.components[name] = out
	}
	return ref(name)
}

func (d describer) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			d.fields(f.Type, properties, required)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		properties[name] = d.schema(f.Type)
		switch {
		case strings.Contains(options, "omit"):
		case f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Pointer:
			*required = append(*required, name)
			properties[name] = nullable(properties[name].(object))
		default:
			*required = append(*required, name)
		}
	}
}

// nullable is for what Go writes as null when it is empty.
func nullable(s object) object {
	if s["$ref"] != nil {
		return object{"allOf": []any{s}, "nullable": true}
	}
	s["nullable"] = true
	return s
}
