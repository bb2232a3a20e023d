package doctor

import (
	"maps"
	"slices"
	"strconv"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func itoa(n int) string { return strconv.Itoa(n) }

// guests compares what exists with what is declared (R25): the guests of this
// PVE, and the backups that came here from other sites.
func (h here) guests() result {
	var r result
	if h.lacks("/vms", "VM.Audit") {
		// The list is silently short then; nothing can be concluded from it.
		r.add(found(Guests, CodeListIncomplete, h.Local.Site, "token "+h.Facts.Token))
		return r
	}
	declared := h.declared()
	for _, kind := range sorted(h.Facts.Residents) {
		for _, g := range h.Facts.Residents[kind] {
			r.checked++
			h.resident(&r, g, declared)
		}
	}
	h.absent(&r, declared)
	for _, s := range h.Facts.Strangers {
		r.checked++
		r.add(found(Guests, CodeUndeclaredBackup, h.Local.Site, guestLabel(string(s.Kind), s.ID, ""),
			"source", string(s.Source), "ns", s.Namespace, "time", s.Newest.UTC().Format("2006-01-02 15:04")))
	}
	return r
}

type place struct {
	kind Kind
	id   int
}

// declared are the guests that belong on this host.
func (h here) declared() map[place]failover.GuestID {
	out := map[place]failover.GuestID{}
	for id, g := range h.State.Network.Guests {
		if g.Host == h.id {
			out[place{Kind(g.Type), g.ID}] = id
		}
	}
	return out
}

func (h here) resident(r *result, g Resident, declared map[place]failover.GuestID) {
	subject := guestLabel(string(g.Kind), g.ID, g.Name)
	if h.host.Restore.IDs.Contains(g.ID) {
		if g.Examined && g.Marker != h.State.Network.Network {
			r.add(found(Guests, CodeForeignInRange, h.Local.Site, subject, "id", itoa(g.ID), "kind", string(g.Kind), "range", rangeText(h.host.Restore.IDs)))
		}
		return
	}
	if _, ok := declared[place{g.Kind, g.ID}]; !ok && !g.Template {
		r.add(found(Guests, CodeUndeclared, h.Local.Site, subject, "host", string(h.id), "id", itoa(g.ID), "kind", string(g.Kind)))
	}
}

func rangeText(r network.IDRange) string { return itoa(r.First) + "-" + itoa(r.Last) }

// absent names the declared guests that should be here and are not.
func (h here) absent(r *result, declared map[place]failover.GuestID) {
	for _, where := range slices.SortedFunc(maps.Keys(declared), func(a, b place) int { return a.id - b.id }) {
		id := declared[where]
		list, read := h.Facts.Residents[where.kind]
		if !read || h.State.Guests[id].Owner != h.Local.Site {
			continue // not known, or away
		}
		r.checked++
		if !slices.ContainsFunc(list, func(g Resident) bool { return g.ID == where.id }) {
			r.add(found(Guests, CodeAbsent, h.Local.Site, "guest "+string(id), "id", itoa(where.id), "kind", string(where.kind), "host", string(h.id)))
		}
	}
}
