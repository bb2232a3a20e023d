package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ChangeKind says what happened to a value between two networks.
type ChangeKind string

// Kinds of change.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one difference. Path is as in Problem; Old and New are the values
// as they are written in YAML flow style, "" where there is none.
type Change struct {
	Path string     `json:"path"`
	Old  string     `json:"old,omitempty"`
	New  string     `json:"new,omitempty"`
	Kind ChangeKind `json:"kind"`
}

func (c Change) String() string {
	switch c.Kind {
	case Added:
		return fmt.Sprintf("+ %s: %s", c.Path, c.New)
	case Removed:
		return fmt.Sprintf("- %s: %s", c.Path, c.Old)
	default:
		return fmt.Sprintf("~ %s: %s → %s", c.Path, c.Old, c.New)
	}
}

// Diff lists what differs between two networks, sorted by path; nil stands
// for no network at all. A declared thing (site, guest, …) that comes or goes
// is one change; lists are compared as a whole.
func Diff(old, new *Spec) []Change {
	var out []Change
	diffMaps("", tree(old), tree(new), &out)
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// tree is a spec as JSON values: what the network is, with the names that the
// file uses, without Go's types.
func tree(s *Spec) map[string]any {
	if s == nil {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("encode network: %v", err)) // only plain values: cannot fail
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		panic(fmt.Sprintf("decode network: %v", err))
	}
	return out
}

func diffMaps(path string, a, b map[string]any, out *[]Change) {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for k := range keys {
		at := k
		if path != "" {
			at = path + "." + k
		}
		diffValue(at, a[k], b[k], path == "", out)
	}
}

// diffValue compares one value. A section at the top (sites, guests, …) is
// entered even if one side lacks it, so that each thing in it is told apart.
func diffValue(path string, a, b any, section bool, out *[]Change) {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok || section && (aok || bok) {
		diffMaps(path, am, bm, out)
		return
	}
	c := Change{Path: path, Old: flow(a), New: flow(b), Kind: Changed}
	switch {
	case c.Old == c.New:
		return
	case c.Old == "":
		c.Kind = Added
	case c.New == "":
		c.Kind = Removed
	}
	*out = append(*out, c)
}

// flow writes a JSON value in YAML flow style, keys sorted; "" for nil.
func flow(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+": "+flow(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, flow(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		if v == "" || strings.ContainsAny(v, " ,:{}[]#\"'\n") {
			return fmt.Sprintf("%q", v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}
