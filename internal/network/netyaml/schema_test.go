package netyaml_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// The schemas know each key that the reader knows, at its place, and no other;
// the shipped examples fit.
func TestSchema(t *testing.T) {
	const unknown = "qqqqqqqq" // near to no key, so that the reader lists them all
	for name, tt := range map[string]struct {
		into     any
		examples []string
	}{
		"network.yaml": {network.Spec{}, []string{"../../../deploy/examples/network.yaml", "../../../cmd/wwwctl/example.yaml", "testdata/valid.yaml"}},
		"wwwd.yaml":    {config.Config{}, []string{"../../../deploy/examples/wwwd.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := netyaml.Schema(name, tt.into)
			if err != nil {
				t.Fatal(err)
			}
			var schema openapi3.Schema
			if err := schema.UnmarshalJSON(b); err != nil {
				t.Fatal(err)
			}
			for _, file := range tt.examples {
				if err := schema.VisitJSON(readYAML(t, file)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
			seen := 0
			walk(&schema, "", "", func(before, after string, keys []string) {
				seen += len(keys)
				text := before + "{" + unknown + ": 1}" + after
				if err := schema.VisitJSON(parseYAML(t, []byte(text))); err == nil {
					t.Errorf("%s: the schema takes an unknown key", text)
				}
				if got := knownTo(name, tt.into, text); cmp.Diff(got, keys) != "" {
					t.Errorf("%s: reader (-) and schema (+):\n%s", text, cmp.Diff(got, keys))
				}
			})
			if seen < 40 {
				t.Errorf("%d keys were compared", seen)
			}
		})
	}
}

// walk calls f for each object of a schema that has named keys, with the text
// that leads into it.
func walk(s *openapi3.Schema, before, after string, f func(before, after string, keys []string)) {
	switch {
	case s.Properties != nil:
		f(before, after, slices.Sorted(maps.Keys(s.Properties)))
		for key, p := range s.Properties {
			walk(p.Value, before+"{"+key+": ", "}"+after, f)
		}
	case s.AdditionalProperties.Schema != nil:
		walk(s.AdditionalProperties.Schema.Value, before+"{x: ", "}"+after, f)
	case s.Items != nil:
		walk(s.Items.Value, before+"[", "]"+after, f)
	}
}

// knownTo returns the keys that the reader says it knows where a text has an
// unknown one.
func knownTo(name string, into any, text string) []string {
	var problems []network.Problem
	switch into.(type) {
	case network.Spec:
		problems = netyaml.Decode(name, []byte(text), &network.Spec{})
	case config.Config:
		problems = netyaml.Decode(name, []byte(text), &config.Config{})
	}
	for _, p := range problems {
		if list, ok := strings.CutPrefix(p.Hint, "known here: "); ok && p.Code == network.CodeUnknownKey {
			return slices.Sorted(slices.Values(strings.Split(list, ", ")))
		}
	}
	return nil
}

func readYAML(t *testing.T, file string) any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseYAML(t, b)
}

func parseYAML(t *testing.T, b []byte) any {
	t.Helper()
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(j, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
