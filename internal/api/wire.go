package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Version is the version of the interface, in every answer.
const Version = "www/v1"

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
)

// Marshal writes v, which must be a struct, as an answer of the given kind.
// The core's types carry durations as Go's nanoseconds and times in any zone;
// here they become seconds and UTC.
func Marshal(kind string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	body, err := transcode(raw, reflect.TypeOf(v), wireOut)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	if len(body) < 2 || body[0] != '{' {
		return nil, fmt.Errorf("encode %s: want an object, got %.20s", kind, body)
	}
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q`, Version, kind)
	if len(body) > 2 {
		head += ","
	}
	return append([]byte(head), body[1:]...), nil
}

// Unmarshal reads an answer that Marshal wrote into v, a pointer. Keys that v
// does not know are ignored: a newer agent may have added them.
func Unmarshal(b []byte, kind string, v any) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	if head.APIVersion != Version || head.Kind != kind {
		return fmt.Errorf("decode %s: got %q of version %q, want version %q", kind, head.Kind, head.APIVersion, Version)
	}
	raw, err := transcode(b, reflect.TypeOf(v), wireIn)
	if err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	return nil
}

// direction of a transcoding.
type direction int

const (
	wireOut direction = iota // nanoseconds → seconds, times → UTC
	wireIn                   // seconds → nanoseconds
)

// transcoder copies JSON token by token, beside the Go type that it belongs
// to, and rewrites the values of durations and times. The order of keys and
// what encoding/json left out stay as they were.
type transcoder struct {
	dec    *json.Decoder
	out    bytes.Buffer
	dir    direction
	fields map[reflect.Type]map[string]reflect.Type
}

func transcode(b []byte, t reflect.Type, dir direction) ([]byte, error) {
	if !json.Valid(b) { // also bounds the depth, which reading by token does not
		return nil, errors.New("not valid JSON")
	}
	tc := transcoder{dec: json.NewDecoder(bytes.NewReader(b)), dir: dir, fields: map[reflect.Type]map[string]reflect.Type{}}
	tc.dec.UseNumber()
	if err := tc.value(t); err != nil {
		return nil, err
	}
	return tc.out.Bytes(), nil
}

func (tc *transcoder) value(t reflect.Type) error {
	tok, err := tc.dec.Token()
	if err != nil {
		return err
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return tc.object(t)
		}
		return tc.array(t)
	case json.Number:
		text := v.String()
		if t == durationType {
			if text, err = convertDuration(text, tc.dir); err != nil {
				return err
			}
		}
		tc.out.WriteString(text)
		return nil
	case string:
		if t == timeType && tc.dir == wireOut {
			if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
				v = at.UTC().Format(time.RFC3339Nano)
			}
		}
		return tc.write(v)
	default: // true, false, null
		return tc.write(v)
	}
}

func (tc *transcoder) write(v any) error {
	b, err := json.Marshal(v)
	tc.out.Write(b)
	return err
}

func (tc *transcoder) object(t reflect.Type) error {
	tc.out.WriteByte('{')
	for n := 0; tc.dec.More(); n++ {
		key, err := tc.dec.Token()
		if err != nil {
			return err
		}
		if n > 0 {
			tc.out.WriteByte(',')
		}
		name, _ := key.(string)
		if err := tc.write(name); err != nil {
			return err
		}
		tc.out.WriteByte(':')
		if err := tc.value(tc.member(t, name)); err != nil {
			return err
		}
	}
	tc.out.WriteByte('}')
	_, err := tc.dec.Token()
	return err
}

func (tc *transcoder) array(t reflect.Type) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	tc.out.WriteByte('[')
	for n := 0; tc.dec.More(); n++ {
		if n > 0 {
			tc.out.WriteByte(',')
		}
		if err := tc.value(elem); err != nil {
			return err
		}
	}
	tc.out.WriteByte(']')
	_, err := tc.dec.Token()
	return err
}

// member returns the type of an object's member, nil where it has no type of
// its own: keys nobody knows, and values that write themselves.
func (tc *transcoder) member(t reflect.Type, name string) reflect.Type {
	switch {
	case t == nil:
		return nil
	case t.Kind() == reflect.Map:
		return t.Elem()
	case t.Kind() != reflect.Struct:
		return nil
	}
	if tc.fields[t] == nil {
		tc.fields[t] = map[string]reflect.Type{}
		collectFields(t, tc.fields[t])
	}
	return tc.fields[t][name]
}

func collectFields(t reflect.Type, into map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			collectFields(f.Type, into)
		case f.IsExported() && name != "" && name != "-":
			into[name] = f.Type
		}
	}
}

// convertDuration rewrites a JSON number between nanoseconds and seconds.
func convertDuration(text string, dir direction) (string, error) {
	if dir == wireOut {
		ns, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", fmt.Errorf("duration %s: %w", text, err)
		}
		return strconv.FormatFloat(time.Duration(ns).Seconds(), 'f', -1, 64), nil
	}
	sec, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(sec) > math.MaxInt64/1e9 {
		return "", fmt.Errorf("duration %s: not a number of seconds", text)
	}
	return strconv.FormatInt(int64(math.Round(sec*1e9)), 10), nil
}
