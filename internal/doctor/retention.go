package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// leastReach is how far back the backups of a guest that lives away have to go: what went
// wrong at night is found by day, and by then the newest backups have it, too.
const leastReach = 24 * time.Hour

// Keep is what a prune leaves of each group, as PBS spells it: the newest of so many hours,
// days, and so on. All zero: it removes nothing.
type Keep struct{ Last, Hourly, Daily, Weekly, Monthly, Yearly int }

// PruneJob is a prune job of this site's datastore.
type PruneJob struct {
	ID, NS   string
	MaxDepth int // AllDepths
	Keep     Keep
	Disabled bool
}

// prunes says whether the job removes backups of a namespace.
func (j PruneJob) prunes(ns string) bool {
	covered, _ := takes(j.NS, j.MaxDepth, ns)
	return covered && !j.Disabled && j.Keep != Keep{}
}

// reach is how far back what a prune leaves goes at least, of backups that are made so
// often. The rules of PBS add up, each to where the one before ends; the longest alone is
// what is sure.
func (k Keep) reach(every time.Duration) time.Duration {
	const day = 24 * time.Hour
	return max(time.Duration(k.Last)*every, time.Duration(k.Hourly)*time.Hour, time.Duration(k.Daily)*day,
		time.Duration(k.Weekly)*7*day, time.Duration(k.Monthly)*30*day, time.Duration(k.Yearly)*365*day)
}

// count is how many backups of a group a prune leaves at most.
func (k Keep) count() int { return k.Last + k.Hourly + k.Daily + k.Weekly + k.Monthly + k.Yearly }

func (k Keep) String() string {
	var out []string
	for _, o := range []struct {
		name string
		n    int
	}{{"last", k.Last}, {"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}, {"yearly", k.Yearly}} {
		if o.n > 0 {
			out = append(out, "keep-"+o.name+"="+itoa(o.n))
		}
	}
	return strings.Join(out, " ")
}

// retention checks the prune jobs that reach into the namespaces of a home's later lineages.
// A prune never removes the newest of a group nor what is protected, as sealed branches
// are; the backups of guests that live away are not.
func (h here) retention(r *result, home failover.SiteID) {
	if !h.Facts.Store.PrunesRead {
		return
	}
	away := failover.AwayNamespace(home)
	for _, ns := range []string{away, failover.SealedNamespace(home)} {
		r.checked++
		pruned := slices.ContainsFunc(h.Facts.Prunes, func(j PruneJob) bool { return j.prunes(ns) })
		if !pruned && !h.jobsHidden(ns) && !h.jobsHidden("") {
			r.add(found(Backups, CodeLineageGrows, h.Local.Site, "namespace "+ns, "ns", ns, "store", h.Facts.Store.Datastore, "name", strings.ReplaceAll(ns, "/", "-")))
		}
	}
	every, want := h.awayEvery(home), leastReach
	as := ""
	for _, j := range h.Facts.Prunes {
		if reach := j.Keep.reach(every); h.prunesHome(j, home) && !j.prunes(away) && reach > want {
			want, as = reach, j.ID
		}
	}
	for _, j := range h.Facts.Prunes {
		if reach := j.Keep.reach(every); j.prunes(away) && (j.Keep.count() < 2 || reach < want) {
			r.add(found(Backups, CodeLineagePruned, h.Local.Site, "prune job "+j.ID, "job", j.ID, "keep", j.Keep.String(), "ns", away,
				"count", itoa(j.Keep.count()), "reach", round(reach), "every", round(every), "want", round(want), "as", as, "store", h.Facts.Store.Datastore))
		}
	}
}

// prunesHome says whether a job removes backups that a home made itself.
func (h here) prunesHome(j PruneJob, home failover.SiteID) bool {
	return slices.ContainsFunc(h.host.Sources[home], func(name string) bool {
		e, ok := h.Facts.Entries[name]
		return ok && e.Type == "pbs" && !e.Foreign && j.prunes(e.Namespace)
	})
}

// awayEvery is how often at most a guest of a home is backed up while it lives elsewhere.
func (h here) awayEvery(home failover.SiteID) time.Duration {
	every := leastReach
	for _, g := range h.State.Network.GuestIDs() {
		if h.State.Network.Home(g) == home && h.State.Network.Guests[g].Priority != 4 {
			every = min(every, h.State.AwayEvery(g))
		}
	}
	return every
}

// BackupJob is a scheduled backup job of the PVE.
type BackupJob struct {
	ID, Storage, Node string // Node: "" = on all
	Disabled          bool
	Prune             string // "keep-last=3"; "" = nothing of its own
}

// entryPrunes checks that nobody else writes through the entries of a home's later
// lineages, and that nothing is pruned by a backup through them: the agent's own prune
// nothing, the prune jobs of the backup server do.
func (h here) entryPrunes(r *result, home failover.SiteID) {
	l := h.host.Lineages[home]
	for _, name := range []string{l.Away, l.Sealed} {
		e, ok := h.Facts.Entries[name]
		if !ok || e.Type != "pbs" {
			continue // told of elsewhere
		}
		r.checked++
		if e.Prune != "" {
			r.add(found(Backups, CodeEntryPrunes, h.Local.Site, "storage "+name, "storage", name, "prune", e.Prune))
		}
		for _, j := range h.Facts.BackupJobs {
			if j.Storage == name && !j.Disabled && (j.Node == "" || j.Node == h.Facts.Node) {
				r.add(found(Backups, CodeLineageWriter, h.Local.Site, "backup job "+j.ID, "job", j.ID, "storage", name, "prune", j.Prune, "ns", e.Namespace))
			}
		}
	}
}
