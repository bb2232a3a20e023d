package lab

import (
	"encoding/json"
	"math"
	"testing"
)

func TestAppendJSONWritesAsEncodingJSON(t *testing.T) {
	type other struct {
		A string `json:"a,omitempty"`
	}
	for _, v := range []any{
		nil, true, false, 0, -7, int64(math.MaxInt64), 0.02, "", "plain", "a \"b\" \\ <c> & d", "é\u2028\x01\xff\x7f",
		map[string]any(nil),
		map[string]any{},
		map[string]any{"b": 1, "a": []string{"x", "<"}, "é": nil},
		[]any(nil),
		[]any{},
		[]any{1, "two", map[string]any{"three": 3.5}, uint8(4)},
		[]map[string]any(nil),
		[]map[string]any{},
		[]map[string]any{nil, {"z": true, "y": map[string]int{"x": 1}}},
		other{},
		other{"q"},
		[]other{{"r"}},
		json.RawMessage(`{ "s" : 1 }`),
	} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendJSON([]byte("before "), v)
		if err != nil || string(got) != "before "+string(want) {
			t.Errorf("appendJSON(%#v): %s, %v, want %s", v, got, err, want)
		}
	}
	if _, err := appendJSON(nil, []any{math.NaN()}); err == nil {
		t.Error("a number that JSON does not have is encoded")
	}
}
