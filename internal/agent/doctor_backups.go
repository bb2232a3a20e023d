package agent

import (
	"context"
	"maps"
	"slices"

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
			Disabled: e.Disabled, Foreign: e.Type == "pbs" && e.Datastore != r.PBS.Datastore(),
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
	return nil
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
	lines := map[group][]proxmox.Snapshot{}
	for _, s := range snaps {
		g := group{s.Kind, s.ID}
		lines[g] = append(lines[g], s)
	}
	for _, g := range slices.SortedFunc(maps.Keys(lines), func(a, b group) int { return a.id - b.id }) {
		line := slices.SortedFunc(slices.Values(lines[g]), func(a, b proxmox.Snapshot) int { return b.Time.Compare(a.Time) })
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
		d.judge(r, id, source, line, entries)
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

// judge looks at a guest's snapshots, newest first.
func (d *Doctor) judge(r *doctorRound, id failover.GuestID, source failover.SiteID, line []proxmox.Snapshot, entries []doctor.Entry) {
	newest := true
	for _, s := range line {
		entry, why := opener(s, entries)
		if why == proxmox.ReasonUnfinished {
			continue // being written
		}
		if newest {
			newest = false
			r.facts.Snapshots = append(r.facts.Snapshots, doctor.Snapshot{
				Guest: id, Source: source, Storage: entry.ID, Time: s.Time, Reason: doctor.Reason(why), Key: s.Fingerprint,
			})
		}
		if why != proxmox.ReasonNone {
			continue
		}
		a := doctor.Archive{Guest: id, Storage: entry.ID, Volid: s.Volid(entry.ID)}
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
