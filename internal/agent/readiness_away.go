package agent

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// readAway keeps, of what a namespace of later lineages holds, the backups of the copies
// that count now: what a second failover would restore.
func (r *Readiness) readAway(s *failover.State, e proxmox.StorageEntry, snaps []proxmox.Snapshot) {
	byGroup, only := map[string]failover.GuestID{}, map[failover.GuestID]time.Time{}
	for _, g := range network.SortedKeys(s.Guests) {
		if l, ok := s.LineageNow(g); ok && l.Namespace != "" && l.Namespace == e.Namespace {
			byGroup[l.Group] = g
		}
		if base, ok := s.CameFrom(g); ok && base.Namespace == e.Namespace {
			byGroup[base.Group()], only[g] = g, base.Time
		}
	}
	if len(byGroup) == 0 {
		return
	}
	found := map[failover.GuestID][]failover.RestorePoint{}
	for _, snap := range snaps {
		g, ok := byGroup[fmt.Sprintf("%s/%d", snap.Kind, snap.ID)]
		if last, came := only[g]; !ok || came && !snap.Time.Equal(last) {
			continue
		}
		p := r.point(e, snap)
		p.Protected = snap.Protected && !s.Pins(r.Site, p.Volid, r.round.AsOf)
		found[g] = append(found[g], p)
	}
	for _, g := range network.SortedKeys(found) {
		r.keep(g, found[g])
	}
}
