package dnsctl_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

func rec(name, rtype, data string) dnsctl.Record {
	return dnsctl.Record{Name: name, Type: rtype, TTL: time.Minute, Data: data}
}

func TestDiff(t *testing.T) {
	a1, a2 := rec("a.test.", "A", "192.0.2.1"), rec("a.test.", "A", "192.0.2.2")
	v6 := rec("a.test.", "AAAA", "2001:db8::1")
	alias, txt := rec("a.test.", "CNAME", "b.test."), rec("a.test.", "TXT", `"hand made"`)
	slow := a1
	slow.TTL = time.Hour
	declared := dnsctl.Guard{Names: []string{"a.test."}}
	emptying := dnsctl.Guard{Names: []string{"a.test."}, MayEmpty: []string{"a.test."}}
	for _, tc := range []struct {
		name             string
		current, desired []dnsctl.Record
		guard            dnsctl.Guard
		want             dnsctl.Changes
	}{
		{"equal in another order", []dnsctl.Record{a1, a2}, []dnsctl.Record{a2, a1}, declared, dnsctl.Changes{}},
		{"create", nil, []dnsctl.Record{a1}, declared, dnsctl.Changes{Create: []dnsctl.Change{{Name: "a.test.", Type: "A", After: []dnsctl.Record{a1}}}}},
		{"update", []dnsctl.Record{a1}, []dnsctl.Record{a2}, declared, dnsctl.Changes{Update: []dnsctl.Change{
			{Name: "a.test.", Type: "A", Before: []dnsctl.Record{a1}, After: []dnsctl.Record{a2}},
		}}},
		{"TTL is content", []dnsctl.Record{slow}, []dnsctl.Record{a1}, declared, dnsctl.Changes{Update: []dnsctl.Change{
			{Name: "a.test.", Type: "A", Before: []dnsctl.Record{slow}, After: []dnsctl.Record{a1}},
		}}},
		{"forgotten AAAA goes", []dnsctl.Record{a1, v6}, []dnsctl.Record{a1}, declared, dnsctl.Changes{Delete: []dnsctl.Change{
			{Name: "a.test.", Type: "AAAA", Before: []dnsctl.Record{v6}},
		}}},
		{"A becomes CNAME", []dnsctl.Record{a1}, []dnsctl.Record{alias}, declared, dnsctl.Changes{
			Create: []dnsctl.Change{{Name: "a.test.", Type: "CNAME", After: []dnsctl.Record{alias}}},
			Delete: []dnsctl.Change{{Name: "a.test.", Type: "A", Before: []dnsctl.Record{a1}}},
		}},
		{"CNAME beside foreign data leaves the name alone", []dnsctl.Record{a1, txt}, []dnsctl.Record{alias}, declared, dnsctl.Changes{
			Refused: []dnsctl.Refusal{{"a.test.", "A", dnsctl.Conflict}, {"a.test.", "CNAME", dnsctl.Conflict}},
		}},
		{"never to nothing", []dnsctl.Record{a1}, nil, declared, dnsctl.Changes{
			Refused: []dnsctl.Refusal{{"a.test.", "A", dnsctl.WouldEmpty}},
		}},
		{"to nothing when asked", []dnsctl.Record{a1}, nil, emptying, dnsctl.Changes{
			Delete: []dnsctl.Change{{Name: "a.test.", Type: "A", Before: []dnsctl.Record{a1}}},
		}},
		{"foreign names and types stay", []dnsctl.Record{txt, rec("b.test.", "A", "192.0.2.9")}, nil, emptying, dnsctl.Changes{}},
		{"undeclared name", nil, []dnsctl.Record{a1}, dnsctl.Guard{}, dnsctl.Changes{
			Refused: []dnsctl.Refusal{{"a.test.", "A", dnsctl.NotDeclared}},
		}},
		{"unmanaged type", nil, []dnsctl.Record{txt}, declared, dnsctl.Changes{
			Refused: []dnsctl.Refusal{{"a.test.", "TXT", dnsctl.NotManaged}},
		}},
	} {
		got := dnsctl.Diff(tc.current, tc.desired, tc.guard)
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, d)
		}
		if got.Empty() != (len(got.All()) == 0) {
			t.Errorf("%s: Empty() = %t with %d changes", tc.name, got.Empty(), len(got.All()))
		}
	}
}

// Whatever the two sides are: applying the changes touches only declared names, never empties one, and reaches what is
// desired wherever nothing was refused.
func TestDiffConvergesWithinItsGuard(t *testing.T) {
	record := rapid.Custom(func(t *rapid.T) dnsctl.Record {
		name := rapid.SampledFrom([]string{"a.test.", "b.test.", "c.test."}).Draw(t, "name")
		switch rapid.IntRange(0, 3).Draw(t, "type") {
		case 0:
			return rec(name, "A", rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "addr"))
		case 1:
			return rec(name, "AAAA", "2001:db8::1")
		case 2:
			return rec(name, "CNAME", rapid.SampledFrom([]string{"x.test.", "y.test."}).Draw(t, "target"))
		default:
			return rec(name, "TXT", `"x"`)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		current := rapid.SliceOf(record).Draw(t, "current")
		desired := rapid.SliceOf(record).Draw(t, "desired")
		guard := dnsctl.Guard{Names: []string{"a.test.", "b.test."}}
		changes := dnsctl.Diff(current, desired, guard)
		after := slices.Clone(current)
		for _, c := range changes.All() {
			if !slices.Contains(guard.Names, c.Name) {
				t.Fatalf("touches %s", c)
			}
			after = slices.DeleteFunc(after, func(r dnsctl.Record) bool { return r.Name == c.Name && r.Type == c.Type })
			after = append(after, c.After...)
		}
		has := func(records []dnsctl.Record, name string) bool {
			return slices.ContainsFunc(records, func(r dnsctl.Record) bool { return r.Name == name && r.Type != "TXT" })
		}
		for _, name := range guard.Names {
			if has(current, name) && !has(after, name) {
				t.Fatalf("%s was emptied by %v", name, changes.All())
			}
		}
		rest := dnsctl.Diff(after, desired, guard)
		if !rest.Empty() || !cmp.Equal(rest.Refused, changes.Refused) {
			t.Fatalf("second diff %v refused %v, want nothing and %v", rest.All(), rest.Refused, changes.Refused)
		}
	})
}
