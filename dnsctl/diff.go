package dnsctl

import (
	"slices"
	"strings"
)

// Change is what happens to one set of records (one owner, one type).
type Change struct {
	Name, Type string
	// Before is empty for a creation, After for a deletion; both are in Compare order.
	Before, After []Record
	// Partial: only the records of Before go, one by one; others of their set stay.
	Partial bool
	// Fresh: nothing at all was seen at the name, which one condition of an update can guard.
	Fresh bool
}

// Refusal is a difference that Diff left alone, and why.
type Refusal struct {
	Name, Type string
	Reason     Reason
}

// Reason says why a difference was not turned into a change.
type Reason string

// The reasons of a Refusal.
const (
	// NotDeclared: records are desired for a name that the allow-list does not contain.
	NotDeclared Reason = "not-declared"
	// NotManaged: records of a type outside the managed types are desired.
	NotManaged Reason = "not-managed"
	// WouldEmpty: a declared name would be left without any managed record.
	WouldEmpty Reason = "would-empty"
	// Conflict: a CNAME is desired where data of an unmanaged type stands.
	Conflict Reason = "conflict"
)

// Guard bounds what Diff may touch. The zero Guard permits nothing.
type Guard struct {
	// Names is the allow-list: canonical names as the network declares them. Everything else in the zone is left alone.
	Names []string
	// Types are the managed types; empty means A, AAAA and CNAME. A person's TXT or MX at a declared name stays.
	Types []string
	// MayEmpty lists the names of which all managed records may go, because somebody asked for it.
	MayEmpty []string
}

// Changes is the difference between two sets of records, by set, each list ordered by name and type.
type Changes struct {
	Create, Update, Delete []Change
	// Refused is what the guard held back; a caller shows it, since the servers will not converge to what is desired.
	Refused []Refusal
}

// Empty says whether there is nothing to do.
func (c Changes) Empty() bool { return len(c.Create)+len(c.Update)+len(c.Delete) == 0 }

// All returns the deletions, updates and creations in the order in which one message must carry them: a CNAME has to be
// gone before other data of its name arrives.
func (c Changes) All() []Change { return slices.Concat(c.Delete, c.Update, c.Create) }

type setKey struct{ name, rtype string }

// Diff compares canonical records as sets and returns what turns current into desired within the guard. A TTL counts as
// content. It reads nothing but its arguments and gives the same result for any order of them.
func Diff(current, desired []Record, g Guard) Changes {
	if len(g.Types) == 0 {
		g.Types = []string{"A", "AAAA", "CNAME"}
	}
	have, want := group(current), group(desired)
	var keys []Record // as records, for their order
	for k := range have {
		keys = append(keys, Record{Name: k.name, Type: k.rtype})
	}
	for k := range want {
		if _, both := have[k]; !both {
			keys = append(keys, Record{Name: k.name, Type: k.rtype})
		}
	}
	slices.SortFunc(keys, Compare)
	var out Changes
	for _, r := range keys {
		k := setKey{r.Name, r.Type}
		out.add(Change{Name: k.name, Type: k.rtype, Before: have[k], After: want[k]}, newSurroundings(k.name, have, want, g))
	}
	return out
}

// surroundings is what the guard must know about the other records of a name.
type surroundings struct {
	guard Guard
	// wanted: some managed record is desired at the name; blocked: a CNAME is desired beside data that is not ours.
	// Then the whole name is left alone: deleting the addresses that the CNAME was to replace would empty it.
	wanted, blocked bool
}

func newSurroundings(name string, have, want map[setKey][]Record, g Guard) surroundings {
	s := surroundings{guard: g}
	for _, t := range g.Types {
		s.wanted = s.wanted || len(want[setKey{name, t}]) > 0
	}
	for t := range codecs {
		foreign := len(have[setKey{name, t}]) > 0 && !slices.Contains(g.Types, t)
		s.blocked = s.blocked || (foreign && len(want[setKey{name, "CNAME"}]) > 0)
	}
	return s
}

func (c *Changes) add(ch Change, s surroundings) {
	declared, managed := slices.Contains(s.guard.Names, ch.Name), slices.Contains(s.guard.Types, ch.Type)
	refuse := func(why Reason) { c.Refused = append(c.Refused, Refusal{Name: ch.Name, Type: ch.Type, Reason: why}) }
	switch {
	case slices.Equal(ch.Before, ch.After):
	case len(ch.After) > 0 && !declared:
		refuse(NotDeclared)
	case len(ch.After) > 0 && !managed:
		refuse(NotManaged)
	case !declared || !managed: // somebody else's record
	case len(ch.After) == 0 && !s.wanted && !slices.Contains(s.guard.MayEmpty, ch.Name):
		refuse(WouldEmpty)
	case s.blocked:
		refuse(Conflict)
	case len(ch.After) == 0:
		c.Delete = append(c.Delete, ch)
	case len(ch.Before) == 0:
		c.Create = append(c.Create, ch)
	default:
		c.Update = append(c.Update, ch)
	}
}

func group(records []Record) map[setKey][]Record {
	sorted := slices.Clone(records)
	slices.SortFunc(sorted, Compare)
	sorted = slices.Compact(sorted)
	out := make(map[setKey][]Record)
	for set := range sets(sorted) {
		out[setKey{set[0].Name, set[0].Type}] = set
	}
	return out
}

// String is a change as a person reads it.
func (c Change) String() string {
	data := func(records []Record) string {
		out := make([]string, len(records))
		for i, r := range records {
			out[i] = r.Data
		}
		return strings.Join(out, ", ")
	}
	return strings.TrimSpace(c.Name + " " + c.Type + " " + data(c.Before) + " -> " + data(c.After))
}
