package proxmox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// PVE sends booleans as 0 and 1 (some as JSON booleans), integers as numbers or strings, sizes sometimes as floats.
// The wire types take all of these, refuse anything else, and know whether the field was there at all.

type wireInt struct {
	V   int64
	Set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *wireInt) UnmarshalJSON(b []byte) error {
	text, ok, err := scalar(b)
	if err != nil || !ok {
		return err
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		*w = wireInt{v, true}
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1<<62 {
		return fmt.Errorf("%q is no integer", clip(text, maxExcerpt))
	}
	*w = wireInt{int64(f), true}
	return nil
}

type wireFloat struct {
	V   float64
	Set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *wireFloat) UnmarshalJSON(b []byte) error {
	text, ok, err := scalar(b)
	if err != nil || !ok {
		return err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%q is no number", clip(text, maxExcerpt))
	}
	*w = wireFloat{f, true}
	return nil
}

type wireBool struct {
	V   bool
	Set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *wireBool) UnmarshalJSON(b []byte) error {
	text, ok, err := scalar(b)
	if err != nil || !ok {
		return err
	}
	switch text {
	case "1", "true", "yes", "on":
		*w = wireBool{true, true}
	case "0", "false", "no", "off", "":
		*w = wireBool{false, true}
	default:
		return fmt.Errorf("%q is no boolean", clip(text, maxExcerpt))
	}
	return nil
}

type wireString struct {
	V   string
	Set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *wireString) UnmarshalJSON(b []byte) error {
	text, ok, err := scalar(b)
	if err != nil || !ok {
		return err
	}
	*w = wireString{text, true}
	return nil
}

// scalar gives the text of a JSON string, number or boolean; ok is false for null.
func scalar(b []byte) (text string, ok bool, err error) {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || b[0] == '{' || b[0] == '[':
		return "", false, errors.New("an object or list stands where a single value belongs")
	case bytes.Equal(b, []byte("null")):
		return "", false, nil
	case b[0] == '"':
		// What needs no unescaping is there already; a listing has tens of thousands of these.
		if len(b) > 1 && bytes.IndexByte(b, '\\') < 0 && utf8.Valid(b) {
			return string(b[1 : len(b)-1]), true, nil
		}
		if err := json.Unmarshal(b, &text); err != nil {
			return "", false, err
		}
		return text, true, nil
	}
	return string(b), true, nil
}

// read is the end of an exchange that wanted data: nil once into holds it.
func (x *exchange) read(err error) error {
	if err != nil || x.decoded {
		return err
	}
	return decode(x.call, x.data, x.into)
}

// decode fills v (a struct, slice or map of wire types) from the data of an answer. Data must be there: PVE sends []
// for an empty list, so null is never an answer to a read.
func decode(c call, data json.RawMessage, v any) error {
	if isNull(data) {
		return c.bad("no data")
	}
	if err := json.Unmarshal(data, v); err != nil {
		text := err.Error()
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // without Go's type names
			text = "field " + t.Field + ": unexpected " + t.Value
		}
		return c.bad("%s", clip(text, maxMessage))
	}
	return nil
}

func isNull(data json.RawMessage) bool {
	data = bytes.TrimSpace(data)
	return len(data) == 0 || bytes.Equal(data, []byte("null"))
}

// text decodes data that must be one non-empty string, as a UPID is.
func text(c call, data json.RawMessage) (string, error) {
	var s string
	if isNull(data) || json.Unmarshal(data, &s) != nil || strings.TrimSpace(s) == "" {
		return "", c.bad("data is no text")
	}
	return s, nil
}

// need reports the first of pairs (name, was it there) that is missing.
func need(c call, row int, pairs ...any) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if set, _ := pairs[i+1].(bool); !set {
			return c.bad("row %d has no %q", row, pairs[i])
		}
	}
	return nil
}

func unix(w wireInt) time.Time {
	if !w.Set || w.V <= 0 {
		return time.Time{}
	}
	return time.Unix(w.V, 0).UTC()
}

func seconds(w wireInt) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(w.V, 0), most)) * time.Second
}

// list splits a PVE list ("a;b", "a,b" or "a b"); nil when empty.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' || r == ' ' || r == 0 })
}
