package doctor

import (
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// later says whether a namespace holds later lineages: of guests that live away from
// their home, or branches that are sealed.
func later(ns string) bool {
	return strings.HasPrefix(ns, "away/") || strings.HasPrefix(ns, "sealed/")
}

// lineages checks what keeps two lines of one guest's backups apart, and each of them
// from being dropped (design section 7).
func (h here) lineages(r *result) {
	for _, home := range sorted(h.host.Sources) {
		if _, ok := h.host.Lineages[home]; !ok && home != h.Local.Site {
			r.add(found(Backups, CodeNoLineage, h.Local.Site, "site "+string(home), "home", string(home)))
		}
	}
	for _, home := range sorted(h.host.Lineages) {
		l := h.host.Lineages[home]
		h.lineageEntry(r, l.Away, failover.AwayNamespace(home))
		h.lineageEntry(r, l.Sealed, failover.SealedNamespace(home))
		h.lineageKeys(r, home)
		h.lineageIDs(r, home)
		h.lineagePulls(r, home)
		h.retention(r, home)
		h.entryPrunes(r, home)
		h.seals(r, home)
	}
	for _, home := range sorted(h.host.Sources) {
		for _, name := range h.host.Sources[home] {
			if e, ok := h.Facts.Entries[name]; ok && e.Type == "pbs" && later(e.Namespace) {
				r.add(found(Backups, CodeLineageNS, h.Local.Site, "storage "+name, "storage", name, "ns", e.Namespace, "want", "that of the backups made at "+string(home)))
			}
		}
	}
}

// lineageEntry checks that an entry writes where the log says that it does.
func (h here) lineageEntry(r *result, name, ns string) {
	r.checked++
	e, ok := h.Facts.Entries[name]
	if ok && e.Type == "pbs" && e.Namespace != ns {
		r.add(found(Backups, CodeLineageNS, h.Local.Site, "storage "+name, "storage", name, "ns", e.Namespace, "want", ns))
	}
}

// lineageKeys checks that what is written for a home's later lineages is sealed with the key of its
// other backups: another key is one that nobody has there on the day of the return. An
// entry without any is told of elsewhere.
func (h here) lineageKeys(r *result, home failover.SiteID) {
	l, sources := h.host.Lineages[home], h.host.Sources[home]
	if len(sources) == 0 {
		return
	}
	source := sources[0] // a guest is restored from
	want := h.Facts.Entries[source].Key
	for _, name := range []string{l.Away, l.Sealed} {
		e, ok := h.Facts.Entries[name]
		if ok && e.Type == "pbs" && e.Key != "" && want != "" && e.Key != want {
			r.add(found(Backups, CodeLineageKey, h.Local.Site, "storage "+name, "storage", name, "other", source, "home", string(home)))
		}
	}
}

// lineageIDs checks that two guests with the same id cannot meet in a namespace: backups
// of all sites come together there, and of home's own guests in the sealed one.
func (h here) lineageIDs(r *result, home failover.SiteID) {
	spec, ids := h.State.Network, h.host.Restore.IDs
	for _, site := range spec.SiteIDs() {
		_, other, ok := spec.Target(site)
		_, same := other.Lineages[home]
		if ok && same && site != h.Local.Site && overlap(ids, other.Restore.IDs) {
			r.add(found(Backups, CodeLineageIDs, h.Local.Site, "ids "+rangeText(ids), "range", rangeText(ids), "home", string(home), "with", "those of "+string(site)))
		}
	}
	for _, g := range spec.GuestIDs() {
		if spec.Home(g) == home && ids.Contains(spec.Guests[g].ID) {
			r.add(found(Backups, CodeLineageIDs, h.Local.Site, "ids "+rangeText(ids), "range", rangeText(ids), "home", string(home), "with", "that of guest "+string(g)))
		}
	}
}

func overlap(a, b network.IDRange) bool { return a.First <= b.Last && b.First <= a.Last }
