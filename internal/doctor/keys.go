package doctor

import (
	"maps"
	"slices"
	"strings"
)

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// keys checks that each declared storage entry is there and that the newest
// snapshot of every guest can be opened with a key that is here (R38).
func (h here) keys() result {
	var r result
	f := h.Facts
	if f.Entries == nil {
		return r
	}
	seen := map[string]bool{}
	for _, u := range entries(h.host) {
		if seen[u.name] {
			continue
		}
		seen[u.name] = true
		r.checked++
		h.entry(&r, u)
	}
	for _, s := range f.Snapshots {
		r.checked++
		if s.Reason == ReasonWrongKey || s.Reason == ReasonNoKey {
			r.add(found(Keys, CodeWrongKey, h.Local.Site, subject(s.Guest, s.Line),
				"storage", s.Storage, "need", keyName(s.Key), "have", keyName(f.Entries[s.Storage].Key), "source", string(s.Source)))
		}
	}
	for _, a := range f.Archives {
		r.checked++
		if a.Shut != "" {
			r.add(found(Keys, CodeArchiveShut, h.Local.Site, subject(a.Guest, a.Line), "volid", a.Volid, "why", a.Shut, "node", f.Node))
		}
	}
	return r
}

func keyName(fingerprint string) string {
	switch fingerprint {
	case "":
		return "no key"
	case "1":
		return "a key without a fingerprint"
	}
	return "key " + fingerprint
}

// entry checks one declared PBS entry.
func (h here) entry(r *result, u use) {
	f := h.Facts
	site, subject := h.Local.Site, "storage "+u.name
	e, ok := f.Entries[u.name]
	switch {
	case !ok:
		r.add(found(Keys, CodeNoEntry, site, subject, "storage", u.name, "source", string(u.source), "node", f.Node))
	case e.Type != "pbs":
		r.add(found(Keys, CodeNotPBS, site, subject, "storage", u.name, "type", e.Type))
	case e.Disabled:
		r.add(found(Keys, CodeEntryDisabled, site, subject, "storage", u.name))
	case len(e.Nodes) > 0 && !slices.Contains(e.Nodes, f.Node):
		r.add(found(Keys, CodeEntryNotHere, site, subject, "storage", u.name, "node", f.Node, "nodes", strings.Join(e.Nodes, ",")))
	case e.Key == "":
		r.add(found(Keys, CodeEntryNoKey, site, subject, "storage", u.name, "source", string(u.source)))
	case e.Foreign:
		r.add(found(Keys, CodeOtherStore, site, subject, "storage", u.name, "store", e.Datastore))
	}
}
