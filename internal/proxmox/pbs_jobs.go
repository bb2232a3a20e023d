package proxmox

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// AllDepths is the depth of a job that takes every namespace below its own: without
// max-depth PBS recurses without a limit (pbs-api-types, NS_MAX_DEPTH_SCHEMA).
const AllDepths = -1

func depth(w wireInt) int {
	if !w.Set {
		return AllDepths
	}
	return int(w.V)
}

// RunSync starts a sync job now. It gives the id of the task, or "" where a release does not tell it: then SyncJobs shows
// the run when it has ended. A job that runs already is refused (kind Other). Privileges for a pull: Datastore.Backup on
// the namespace, Remote.Read on the remote's datastore.
func (b *PBS) RunSync(ctx context.Context, job string) (string, error) {
	op := "run sync job " + job
	if !datastoreText.MatchString(job) {
		return "", requestError(op, "not a job id")
	}
	c := call{op: op, method: http.MethodPost, path: "/admin/sync/" + url.PathEscape(job) + "/run", write: true}
	data, err := b.do(ctx, c, map[string]any{})
	if err != nil || len(data) == 0 || string(data) == "null" {
		return "", err
	}
	return pbsTask(c, data)
}

// SyncJob is a sync job of the datastore with its last run.
type SyncJob struct {
	ID             string
	NS             string // here; "" = the root
	Remote         string
	RemoteStore    string
	RemoteNS       string
	Direction      string // "pull" or "push"
	Schedule       string // a calendar event; "" = none: it runs only when somebody runs it
	OnMount        bool   // it runs when a removable datastore of its is mounted
	Owner          string // of what it pulls; "" = root@pam
	RemoveVanished bool
	VerifiedOnly   bool
	TransferLast   int      // of each group only so many of the newest; 0 = all
	MaxDepth       int      // namespaces below NS that it takes, in levels; AllDepths
	GroupFilter    []string // "type:vm", "group:vm/100", "regex:…", each maybe behind "exclude:"; none = all groups
	LastState      string   // "OK", an error text, or "" when it never ran
	LastEnd        time.Time
	LastUPID       string
	Next           time.Time
}

// SyncJobs lists the sync jobs of the datastore, both directions, with their last result (PBS 3.4 and newer).
func (b *PBS) SyncJobs(ctx context.Context) ([]SyncJob, error) {
	var rows []struct {
		ID             wireString
		NS             wireString
		Remote         wireString
		RemoteStore    wireString `json:"remote-store"`
		RemoteNS       wireString `json:"remote-ns"`
		Direction      wireString `json:"sync-direction"`
		Schedule       wireString
		OnMount        wireBool `json:"run-on-mount"`
		Owner          wireString
		RemoveVanished wireBool   `json:"remove-vanished"`
		VerifiedOnly   wireBool   `json:"verified-only"`
		TransferLast   wireInt    `json:"transfer-last"`
		MaxDepth       wireInt    `json:"max-depth"`
		GroupFilter    []string   `json:"group-filter"`
		LastState      wireString `json:"last-run-state"`
		LastEnd        wireInt    `json:"last-run-endtime"`
		LastUPID       wireString `json:"last-run-upid"`
		Next           wireInt    `json:"next-run"`
	}
	c, err := b.get(ctx, "list sync jobs of datastore "+b.store, "/admin/sync", url.Values{"store": {b.store}, "sync-direction": {"all"}}, &rows)
	if err != nil {
		return nil, err
	}
	all := make([]SyncJob, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "id", w.ID.Set); err != nil {
			return nil, err
		}
		j := SyncJob{
			ID: w.ID.V, NS: w.NS.V, Remote: w.Remote.V, RemoteStore: w.RemoteStore.V, RemoteNS: w.RemoteNS.V, Direction: w.Direction.V,
			Schedule: w.Schedule.V, OnMount: w.OnMount.V, Owner: w.Owner.V, RemoveVanished: w.RemoveVanished.V, VerifiedOnly: w.VerifiedOnly.V,
			TransferLast: int(w.TransferLast.V), MaxDepth: depth(w.MaxDepth),
			GroupFilter: w.GroupFilter, LastState: w.LastState.V, LastEnd: unix(w.LastEnd), LastUPID: w.LastUPID.V, Next: unix(w.Next),
		}
		if j.Direction == "" {
			j.Direction = "pull"
		}
		all = append(all, j)
	}
	return all, nil
}

// Keep is what a prune leaves of each group: the newest of so many hours, days, and so on.
type Keep struct{ Last, Hourly, Daily, Weekly, Monthly, Yearly int }

// PruneJob is a prune job of the datastore.
type PruneJob struct {
	ID       string
	NS       string // "" = the root
	MaxDepth int    // namespaces below NS that it takes, in levels; AllDepths
	Keep     Keep   // all zero: it removes nothing
	Disabled bool
}

// PruneJobs lists the prune jobs of the datastore. Those on whose namespace the token lacks Datastore.Audit are left out
// without an error.
func (b *PBS) PruneJobs(ctx context.Context) ([]PruneJob, error) {
	var rows []struct {
		ID       wireString
		NS       wireString
		MaxDepth wireInt `json:"max-depth"`
		Disable  wireBool
		Last     wireInt `json:"keep-last"`
		Hourly   wireInt `json:"keep-hourly"`
		Daily    wireInt `json:"keep-daily"`
		Weekly   wireInt `json:"keep-weekly"`
		Monthly  wireInt `json:"keep-monthly"`
		Yearly   wireInt `json:"keep-yearly"`
	}
	c, err := b.get(ctx, "list prune jobs of datastore "+b.store, "/admin/prune", url.Values{"store": {b.store}}, &rows)
	if err != nil {
		return nil, err
	}
	all := make([]PruneJob, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "id", w.ID.Set); err != nil {
			return nil, err
		}
		all = append(all, PruneJob{
			ID: w.ID.V, NS: w.NS.V, MaxDepth: depth(w.MaxDepth), Disabled: w.Disable.V,
			Keep: Keep{int(w.Last.V), int(w.Hourly.V), int(w.Daily.V), int(w.Weekly.V), int(w.Monthly.V), int(w.Yearly.V)},
		})
	}
	return all, nil
}
