package sim

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func awayEntry(s network.SiteID) string   { return "pbs-away-" + string(s) }
func sealedEntry(s network.SiteID) string { return "pbs-sealed-" + string(s) }

// laterEntries are a target's storage entries for the lines of backups of a home's guests
// that begin after they have moved.
func (w *World) laterEntries(i int, home network.SiteID, keys map[network.SiteID]*lab.Key) []lab.StorageConfig {
	away, sealed := w.entry(i, awayEntry(home), home, keys), w.entry(i, sealedEntry(home), home, keys)
	away.Namespace, sealed.Namespace = failover.AwayNamespace(home), failover.SealedNamespace(home)
	// Its own agent makes these backups and its own jobs bring them: it may protect them.
	away.Username, sealed.Username = pbsToken, pbsToken
	return []lab.StorageConfig{away, sealed}
}

// laterSpaces are the namespaces of a store for a home's later lines.
func (w *World) laterSpaces(home place) []string {
	if !home.saved() {
		return nil
	}
	return []string{failover.AwayNamespace(home.name), failover.SealedNamespace(home.name)}
}

// pullOfAway is the job that brings the backups of a home's guests that live at another site.
func pullOfAway(home, from network.SiteID) lab.SyncJob {
	ns := failover.AwayNamespace(home)
	return lab.SyncJob{ID: "pull-away-" + string(home) + "-" + string(from), Remote: string(from), RemoteStore: datastore, FromNS: ns, NS: ns, Owner: pbsToken}
}

// awayEvery is how often the stores pull the backups of guests that live away.
const awayEvery = 40 * time.Second

// pullAway has every store that is reachable pull what others have of such guests; it is
// bookkeeping, no event.
func (w *World) pullAway() {
	now := w.loop.Now()
	w.loop.In(awayEvery, "", w.pullAway)
	if w.unpulled {
		return
	}
	state := w.log.Last()
	for _, id := range sortedKeys(state.Lineages) {
		l := state.Lineages[id]
		from := w.sites[l.Site]
		if l.Backups.Newest.IsZero() || from == nil || !from.power || !from.host {
			continue
		}
		for _, other := range w.ids {
			o := w.sites[other]
			if o.pbs == nil || other == l.Site || !o.power || !o.host || !w.net.mesh(l.Site, other) {
				continue
			}
			job, _ := w.opts.Jobs.job(other, pullOfAway(l.Home, l.Site))
			if _, _, err := o.pbs.Sync(from.pbs, job, now); err != nil {
				w.tell("sync of guests away from %s, %s to %s: %v", l.Home, l.Site, other, err)
			}
		}
	}
}
