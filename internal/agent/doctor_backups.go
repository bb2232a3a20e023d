package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// readEntries learns the storage configuration and plans one listing per
// namespace that holds backups of a source.
func (d *Doctor) readEntries(ctx context.Context, r *doctorRound) error {
	list, err := r.PVE.Storages(ctx)
	if err != nil {
		return err
	}
	r.facts.Entries = map[string]doctor.Entry{}
	for _, e := range list {
		r.facts.Entries[e.ID] = doctor.Entry{
			ID: e.ID, Type: e.Type, Datastore: e.Datastore, Namespace: e.Namespace, Key: e.Key, Content: e.Content, Nodes: e.Nodes,
			Prune: e.Prune, Disabled: e.Disabled, Foreign: e.Type == "pbs" && e.Datastore != r.PBS.Datastore(),
		}
	}
	for _, source := range slices.Sorted(maps.Keys(r.host.Sources)) {
		spaces := map[string][]doctor.Entry{}
		for _, name := range r.host.Sources[source] {
			if e, ok := r.facts.Entries[name]; ok && e.Type == "pbs" && !e.Disabled && !e.Foreign {
				spaces[e.Namespace] = append(spaces[e.Namespace], e)
			}
		}
		for _, ns := range slices.Sorted(maps.Keys(spaces)) {
			r.plan(doctor.Backups, func(ctx context.Context) error { return d.readSnapshots(ctx, r, source, ns, spaces[ns]) })
		}
	}
	for _, source := range slices.Sorted(maps.Keys(r.host.Lineages)) {
		for _, name := range []string{r.host.Lineages[source].Away, r.host.Lineages[source].Sealed} {
			if e, ok := r.facts.Entries[name]; ok && e.Type == "pbs" && !e.Disabled && !e.Foreign {
				r.plan(doctor.Backups, func(ctx context.Context) error { return d.readLineage(ctx, r, source, e) })
			}
		}
	}
	return nil
}

// readLineage judges and opens the newest snapshot of every line in a namespace
// of away or sealed copies. Their ids are those of restored guests, so that no
// declaration tells which guest a line is of.
func (d *Doctor) readLineage(ctx context.Context, r *doctorRound, source failover.SiteID, e doctor.Entry) error {
	snaps, err := r.PBS.Snapshots(ctx, e.Namespace, "", 0)
	if err != nil {
		return err
	}
	r.owned(e.Namespace, snaps)
	if e.Namespace == failover.SealedNamespace(source) {
		r.kept(e, snaps)
	}
	byLine := lines(snaps)
	for _, g := range order(byLine) {
		named := doctor.Snapshot{Source: source, Line: string(g.kind) + ":" + strconv.Itoa(g.id) + " in " + e.Namespace}
		d.judge(r, named, byLine[g], []doctor.Entry{e})
	}
	return nil
}

// kept notes what lies in a namespace of sealed branches.
func (r *doctorRound) kept(e doctor.Entry, snaps []proxmox.Snapshot) {
	list := []doctor.Kept{}
	for _, s := range snaps {
		_, why := proxmox.Usable(s, e.Key)
		list = append(list, doctor.Kept{Group: fmt.Sprintf("%s/%d", s.Kind, s.ID), Time: s.Time, Protected: s.Protected, Reason: doctor.Reason(why)})
	}
	if r.facts.Kept == nil {
		r.facts.Kept = map[string][]doctor.Kept{}
	}
	r.facts.Kept[e.Namespace] = list
}

// lines sorts snapshots by the group that they are in, newest first.
func lines(snaps []proxmox.Snapshot) map[group][]proxmox.Snapshot {
	out := map[group][]proxmox.Snapshot{}
	for _, s := range snaps {
		g := group{s.Kind, s.ID}
		out[g] = append(out[g], s)
	}
	for g := range out {
		slices.SortFunc(out[g], func(a, b proxmox.Snapshot) int { return b.Time.Compare(a.Time) })
	}
	return out
}

func order(byLine map[group][]proxmox.Snapshot) []group {
	return slices.SortedFunc(maps.Keys(byLine), func(a, b group) int { return cmp.Or(a.id-b.id, cmp.Compare(a.kind, b.kind)) })
}

// owned counts the groups of a namespace by their owner.
func (r *doctorRound) owned(ns string, snaps []proxmox.Snapshot) {
	byLine := lines(snaps)
	for _, g := range order(byLine) {
		owner := byLine[g][0].Owner
		i := slices.IndexFunc(r.facts.Store.Owners, func(o doctor.Owner) bool { return o.Namespace == ns && o.Name == owner })
		switch {
		case owner == "": // not told
		case i >= 0:
			r.facts.Store.Owners[i].Groups++
		default:
			r.facts.Store.Owners = append(r.facts.Store.Owners, doctor.Owner{
				Namespace: ns, Name: owner, Groups: 1, Example: string(g.kind) + "/" + strconv.Itoa(g.id),
			})
		}
	}
}

// group is one guest's line of backups.
type group struct {
	kind proxmox.Kind
	id   int
}

// readSnapshots lists a namespace, judges the newest snapshot of each guest
// and plans to open the newest usable one.
func (d *Doctor) readSnapshots(ctx context.Context, r *doctorRound, source failover.SiteID, ns string, entries []doctor.Entry) error {
	snaps, err := r.PBS.Snapshots(ctx, ns, "", 0)
	if err != nil {
		return err
	}
	declared := map[group]failover.GuestID{}
	for id, g := range r.spec.Guests {
		if r.spec.Home(id) == source {
			declared[group{proxmox.Kind(g.Type), g.ID}] = id
		}
	}
	r.owned(ns, snaps)
	byLine := lines(snaps)
	for _, g := range order(byLine) {
		line := byLine[g]
		id, ok := declared[g]
		if !ok && r.shared(g, ns) {
			continue
		}
		if !ok {
			r.facts.Strangers = append(r.facts.Strangers, doctor.Stranger{
				Source: source, Namespace: ns, Kind: doctor.Kind(g.kind), ID: g.id, Newest: line[0].Time,
			})
			continue
		}
		d.judge(r, doctor.Snapshot{Guest: id, Source: source}, line, entries)
	}
	return nil
}

// shared says whether a line in a namespace belongs to a declared guest of
// another source that uses the same namespace.
func (r *doctorRound) shared(g group, ns string) bool {
	for id, guest := range r.spec.Guests {
		if guest.ID != g.id || proxmox.Kind(guest.Type) != g.kind {
			continue
		}
		if slices.ContainsFunc(r.host.Sources[r.spec.Home(id)], func(name string) bool {
			e, ok := r.facts.Entries[name]
			return ok && e.Namespace == ns
		}) {
			return true
		}
	}
	return false
}

// judge looks at the snapshots of a guest or a line, newest first. named says
// whose they are.
func (d *Doctor) judge(r *doctorRound, named doctor.Snapshot, line []proxmox.Snapshot, entries []doctor.Entry) {
	newest := true
	for _, s := range line {
		entry, why := opener(s, entries)
		if why == proxmox.ReasonUnfinished {
			continue // being written
		}
		if newest {
			newest = false
			named.Storage, named.Time, named.Reason, named.Key = entry.ID, s.Time, doctor.Reason(why), s.Fingerprint
			r.facts.Snapshots = append(r.facts.Snapshots, named)
		}
		if why != proxmox.ReasonNone {
			continue
		}
		a := doctor.Archive{Guest: named.Guest, Line: named.Line, Storage: entry.ID, Volid: s.Volid(entry.ID)}
		if known, ok := d.archive[a.Volid]; ok {
			r.facts.Archives = append(r.facts.Archives, known)
		} else {
			r.plan(doctor.Keys, func(ctx context.Context) error { return d.readArchive(ctx, r, a) })
		}
		return
	}
}

// opener returns the entry whose key opens a snapshot, or the first with the
// reason why none does. A wrong key says more than none.
func opener(s proxmox.Snapshot, entries []doctor.Entry) (doctor.Entry, proxmox.Reason) {
	best, why := entries[0], proxmox.Reason("")
	for i, e := range entries {
		ok, reason := proxmox.Usable(s, e.Key)
		if ok {
			return e, proxmox.ReasonNone
		}
		if i == 0 || why == proxmox.ReasonNoKey && reason == proxmox.ReasonWrongKey {
			best, why = e, reason
		}
	}
	return best, why
}
