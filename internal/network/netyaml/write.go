package netyaml

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Marshal writes a network as YAML that Parse reads back to the same spec.
// Zero fields are left out: they either have no default or are none. Keys
// stand in the order of the types, names in alphabetical order.
func Marshal(s *network.Spec) ([]byte, error) {
	var w writer
	if err := w.structure(0, reflect.ValueOf(*s)); err != nil {
		return nil, fmt.Errorf("write network: %w", err)
	}
	return w.Bytes(), nil
}

// writer emits block style down to things that fit on a line.
type writer struct{ bytes.Buffer }

func (w *writer) structure(depth int, v reflect.Value) error {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if f := v.Field(i); !empty(f) {
			if err := w.entry(depth, name, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty says whether a field may be left out. A pointer that is set is kept:
// an empty mapping there means something.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

func (w *writer) entry(depth int, key string, v reflect.Value) error {
	fmt.Fprintf(w, "%s%s:", strings.Repeat("  ", depth), plainOrQuoted(key))
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	_, textual := v.Interface().(encoding.TextMarshaler)
	switch {
	case !textual && v.Kind() == reflect.Struct:
		if v.IsZero() {
			w.WriteString(" {}\n")
			return nil
		}
		w.WriteByte('\n')
		return w.structure(depth+1, v)
	case !textual && v.Kind() == reflect.Map:
		w.WriteByte('\n')
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, k := range keys {
			if err := w.entry(depth+1, k.String(), v.MapIndex(k)); err != nil {
				return err
			}
		}
		return nil
	default:
		w.WriteByte(' ')
		if err := w.inline(v); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		w.WriteByte('\n')
		return nil
	}
}

// inline writes a value on one line: a scalar, a list, a mapping in a list.
func (w *writer) inline(v reflect.Value) error {
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := t.MarshalText()
		if err != nil {
			return err
		}
		w.WriteString(plainOrQuoted(string(b)))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		w.WriteString(plainOrQuoted(v.String()))
	case reflect.Bool:
		w.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int64:
		w.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint16, reflect.Uint32:
		w.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Slice:
		w.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				w.WriteString(", ")
			}
			if err := w.inline(v.Index(i)); err != nil {
				return err
			}
		}
		w.WriteByte(']')
	case reflect.Struct:
		return w.flow(v)
	default:
		return fmt.Errorf("no form for %s", v.Type())
	}
	return nil
}

// flow writes a struct inside a list: "{name: www, type: A}".
func (w *writer) flow(v reflect.Value) error {
	w.WriteByte('{')
	more := false
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if empty(v.Field(i)) {
			continue
		}
		if more {
			w.WriteString(", ")
		}
		more = true
		w.WriteString(name + ": ")
		if err := w.inline(v.Field(i)); err != nil {
			return err
		}
	}
	w.WriteByte('}')
	return nil
}

// plain is text that every YAML reader takes for text; it begins with a letter
// or is an address, a duration or a range.
var (
	plain    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9._/-]*|[0-9]+(\.[0-9]+){3}|[0-9]+(ns|us|ms|s|m|h|d|B|KiB|MiB|GiB|TiB)|[0-9]+-[0-9]+)$`)
	reserved = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf)$`)
)

func plainOrQuoted(s string) string {
	if plain.MatchString(s) && !reserved.MatchString(s) {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // a JSON string is a double-quoted YAML scalar
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string into memory cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
