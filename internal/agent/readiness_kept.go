package agent

import (
	"context"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// planKept plans one listing per namespace of later lineages, away and sealed: an id of
// which a backup is kept there must not be given to another guest, whose backups would
// land in the same group (S8).
func (r *Readiness) planKept(s *failover.State, host network.Host) {
	r.kept, r.unkept = map[failover.SiteID]map[int]bool{}, map[failover.SiteID]bool{}
	for _, home := range network.SortedKeys(host.Lineages) {
		r.kept[home] = map[int]bool{}
		for _, name := range []string{host.Lineages[home].Away, host.Lineages[home].Sealed} {
			e, ok := r.entries[name]
			if !ok || e.Type != "pbs" || e.Disabled { // doctor tells
				r.unkept[home] = true
				continue
			}
			r.queue = append(r.queue, func(ctx context.Context) error { return r.readKept(ctx, s, home, e, host.Restore.IDs) })
		}
	}
	r.before = s.Readiness[r.Site].Ready.Kept
}

// readKept lists one of these namespaces. What cannot be restored for another reason
// must not wait for it: a namespace that cannot be read leaves what was known of it.
func (r *Readiness) readKept(ctx context.Context, s *failover.State, home failover.SiteID, e proxmox.StorageEntry, ids network.IDRange) error {
	snaps, err := r.PBS.Snapshots(ctx, e.Namespace, "", 0)
	if err != nil {
		r.Logger.Warn("backups of a later lineage not listed", "storage", e.ID, "err", err)
		r.unkept[home] = true
		return nil
	}
	for _, snap := range snaps {
		if ids.Contains(snap.ID) {
			r.kept[home][snap.ID] = true
		}
	}
	r.readAway(s, e, snaps)
	return nil
}

// keptIDs is what the round tells of them.
func (r *Readiness) keptIDs() map[failover.SiteID]failover.Kept {
	out := map[failover.SiteID]failover.Kept{}
	for home, ids := range r.kept {
		if r.unkept[home] {
			for _, id := range r.before[home].IDs {
				ids[id] = true
			}
		}
		out[home] = failover.Kept{IDs: network.SortedKeys(ids), Read: !r.unkept[home]}
	}
	return out
}
