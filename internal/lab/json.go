package lab

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// appendJSON appends v as encoding/json writes it. Most of what the fakes answer is rows of maps, which
// reflection takes several times as long for; what is none of these it is left to.
func appendJSON(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case string:
		return appendText(b, v)
	case map[string]any:
		return appendMap(b, v)
	case []map[string]any:
		return appendList(b, v)
	case []any:
		return appendList(b, v)
	}
	return appendOther(b, v)
}

func appendOther(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}

func appendMap(b []byte, m map[string]any) ([]byte, error) {
	if m == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '{')
	var err error
	for i, k := range network.SortedKeys(m) {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendText(b, k); err != nil {
			return b, err
		}
		if b, err = appendJSON(append(b, ':'), m[k]); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func appendList[E any](b []byte, list []E) ([]byte, error) {
	if list == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '[')
	var err error
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, v); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// appendText quotes a text; one with anything to escape goes the long way.
func appendText(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return appendOther(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
