package doctor

import (
	"maps"
	"slices"
	"strconv"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func itoa(n int) string { return strconv.Itoa(n) }

func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// guests compares what exists with what is declared (R25): the guests of this
// site's PVEs, and the backups that came here from other sites.
func (in Input) guests() result {
	var r result
	h, why := in.target()
	switch {
	case why == nil:
		h.ownGuests(&r)
	case why.Code != CodeNotHere || len(in.inventory()) == 0:
		f := *why
		f.Category = Guests
		r.add(f)
	}
	if in.Facts != nil {
		in.otherPVEs(&r)
	}
	return r
}

func (h here) ownGuests(r *result) {
	if h.lacks("/vms", "VM.Audit") {
		// The list is silently short then; nothing can be concluded from it.
		r.add(found(Guests, CodeListIncomplete, h.Local.Site, "token "+h.Facts.Token))
		return
	}
	h.compare(r, h.id, h.Facts.Residents, h.host.Restore.IDs)
	for _, s := range h.Facts.Strangers {
		r.checked++
		if h.former(s) {
			continue
		}
		r.add(found(Guests, CodeUndeclaredBackup, h.Local.Site, guestLabel(string(s.Kind), s.ID, ""),
			"source", string(s.Source), "ns", s.Namespace, "time", s.Newest.UTC().Format("2006-01-02 15:04")))
	}
}

// inventory are the PVEs of this site besides the one that restores: a
// structure's own, above all.
func (in Input) inventory() []network.HostID {
	if in.State.Network == nil {
		return nil
	}
	target, _, _ := in.State.Network.Target(in.Local.Site)
	site := in.State.Network.Sites[in.Local.Site]
	return slices.DeleteFunc(slices.Clone(site.HostIDs()), func(id network.HostID) bool { return id == target || site.Hosts[id].PVE == nil })
}

// otherPVEs compares the guests of the site's other PVEs, where the agent was
// given a token to list them.
func (in Input) otherPVEs(r *result) {
	for _, id := range in.inventory() {
		r.checked++
		subject := "host " + string(id)
		i := slices.IndexFunc(in.Facts.Others, func(o OtherPVE) bool { return o.Host == id })
		if i < 0 {
			r.add(found(Guests, CodePVENotAsked, in.Local.Site, subject, "host", string(id)))
			continue
		}
		switch o := in.Facts.Others[i]; {
		case o.Access != "":
			r.add(found(Guests, CodePVEUnread, in.Local.Site, subject, "host", string(id), "why", o.Access))
		case o.Blind:
			r.add(found(Guests, CodeListIncomplete, in.Local.Site, subject))
		default:
			in.compare(r, id, o.Residents, network.IDRange{})
		}
	}
}

// compare holds the guests of one PVE against those declared on it. Within
// restored, the range of ids for restored guests, only marked ones belong.
func (in Input) compare(r *result, host network.HostID, residents map[Kind][]Resident, restored network.IDRange) {
	declared := in.declared(host)
	for _, kind := range sorted(residents) {
		for _, g := range residents[kind] {
			r.checked++
			in.resident(r, host, g, declared, restored)
		}
	}
	in.absent(r, host, residents, declared)
}

type place struct {
	kind Kind
	id   int
}

// declared are the guests that belong on a host.
func (in Input) declared(host network.HostID) map[place]failover.GuestID {
	out := map[place]failover.GuestID{}
	for id, g := range in.State.Network.Guests {
		if g.Host == host {
			out[place{Kind(g.Type), g.ID}] = id
		}
	}
	return out
}

func (in Input) resident(r *result, host network.HostID, g Resident, declared map[place]failover.GuestID, restored network.IDRange) {
	subject := guestLabel(string(g.Kind), g.ID, g.Name)
	if restored.Contains(g.ID) {
		if g.Examined && g.Marker != in.State.Network.Network {
			r.add(found(Guests, CodeForeignInRange, in.Local.Site, subject, "id", itoa(g.ID), "kind", string(g.Kind), "range", rangeText(restored)))
		}
		return
	}
	if _, ok := declared[place{g.Kind, g.ID}]; !ok && !g.Template && !in.left(host, g.ID) {
		r.add(found(Guests, CodeUndeclared, in.Local.Site, subject, "host", string(host), "id", itoa(g.ID), "kind", string(g.Kind)))
	}
}

// former says whether backups of nobody who is declared are those of a copy that a guest has left, which nobody
// has forked: it came home under another id.
func (in Input) former(s Stranger) bool {
	for _, l := range in.State.Lineages {
		if l.Home == s.Source && l.Group == string(s.Kind)+"/"+itoa(s.ID) && l.Forked.Index == 0 {
			return true
		}
	}
	return false
}

// left says whether an id is that of a copy which a guest has left and nobody has forked: it stays until somebody
// removes it (`wwwctl failback remove`), and may not be declared.
func (in Input) left(host network.HostID, id int) bool {
	for _, g := range in.State.Network.GuestIDs() {
		for _, c := range in.State.LeftCopies(g, in.Now) {
			if c.Host == host && c.VMID == id && !c.Gone {
				return true
			}
		}
	}
	return false
}

func rangeText(r network.IDRange) string { return itoa(r.First) + "-" + itoa(r.Last) }

// absent names the declared guests that should be on a host and are not.
func (in Input) absent(r *result, host network.HostID, residents map[Kind][]Resident, declared map[place]failover.GuestID) {
	for _, where := range slices.SortedFunc(maps.Keys(declared), func(a, b place) int { return a.id - b.id }) {
		id := declared[where]
		list, read := residents[where.kind]
		if !read || in.State.Guests[id].Owner != in.Local.Site {
			continue // not known, or away
		}
		r.checked++
		if !slices.ContainsFunc(list, func(g Resident) bool { return g.ID == where.id }) {
			r.add(found(Guests, CodeAbsent, in.Local.Site, "guest "+string(id), "id", itoa(where.id), "kind", string(where.kind), "host", string(host)))
		}
	}
}

// Undeclared counts the guests of the site's own PVEs that the network does not declare. known is
// false where none was found and a list is missing or not whole: nothing can be said of those.
func Undeclared(in Input) (n int, known bool) {
	if in.State.Network == nil || in.Facts == nil {
		return 0, false
	}
	whole := !slices.ContainsFunc(in.Facts.Failed, func(f Failure) bool { return f.Category == Guests })
	for _, f := range in.guests().findings {
		switch f.Code {
		case CodeUndeclared:
			n++
		case CodeListIncomplete, CodeNoAccess, CodeNotHere, CodeNotYet, CodePVEUnread:
			whole = false
		}
	}
	return n, n > 0 || whole
}
