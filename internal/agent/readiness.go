package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// keepPoints is how many restore points per guest enter State: the newest
// usable ones, for a fall-back when the first turns out bad.
const keepPoints = 3

// refreshReady is how often an unchanged readiness is told again.
const refreshReady = 10 * time.Minute

// Readiness reads what this site could restore, and tells the log when it has
// changed. A round makes one call per step; rounds begin every Every, and at
// once when a site is suspected, so that a plan rests on fresh facts. Between
// rounds it has the points that a plan would take verified.
type Readiness struct {
	Site    failover.SiteID
	Log     failover.Log
	PVE     *proxmox.PVE
	PBS     *proxmox.PBS
	PBSNode string // node name of this PBS, to tell its verifications from copied ones; "" or "localhost": learned
	Every   time.Duration
	Hands   []failover.HostID // this site's hosts whose guests the agent may act on, beside its own target
	Logger  *slog.Logger

	node    string // of the PBS, as its tasks carry it
	queue   []func(context.Context) error
	round   failover.Readiness
	store   string // this site's own PBS, as it is declared
	entries map[string]proxmox.StorageEntry
	archive map[string]archived              // by volid
	kept    map[failover.SiteID]map[int]bool // by home: ids of which backups are kept
	unkept  map[failover.SiteID]bool         // of which not all was read
	before  map[failover.SiteID]failover.Kept
	begun   time.Time
	told    *failover.Readiness
	toldAt  time.Time
	hurried bool
	failed  bool

	verifying verification
}

// archived is what an archive's configuration told, which never changes, or why
// it could not be opened.
type archived struct {
	memory   int64
	unusable string
}

// Step makes one call of the round, or proposes what it found.
func (r *Readiness) Step(ctx context.Context, now time.Time) time.Time {
	s := r.Log.State()
	if s.Network == nil || r.PVE == nil || r.PBS == nil {
		return now.Add(idle)
	}
	_, host, ok := s.Network.Target(r.Site)
	if !ok {
		return now.Add(idle)
	}
	suspect := suspected(s)
	hurry := suspect && !r.hurried
	r.hurried = suspect
	if len(r.queue) == 0 {
		if !r.begun.IsZero() && now.Sub(r.begun) < r.Every && !hurry {
			due := r.begun.Add(r.Every)
			if next := r.verify(ctx, s, now); !next.IsZero() && next.Before(due) {
				return next
			}
			return due
		}
		r.begin(s, host, now)
	}
	work := r.queue[0]
	r.queue = r.queue[1:]
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(r.Site)), callTimeout)
	defer cancel()
	if err := work(ctx); err != nil {
		r.Logger.Warn("readiness not read", "err", err)
		r.failed = true
	}
	if len(r.queue) > 0 {
		return now
	}
	return r.finish(ctx, s, now)
}

func suspected(s *failover.State) bool {
	for _, d := range s.Domains {
		if d.Level >= failover.LevelSuspect {
			return true
		}
	}
	return false
}

// begin plans a round's calls.
func (r *Readiness) begin(s *failover.State, host network.Host, now time.Time) {
	id, _, _ := s.Network.Target(r.Site)
	r.begun, r.failed, r.verifying.news = now, false, false
	r.round = failover.Readiness{Site: r.Site, Host: id, AsOf: s.Index, Acts: slices.Sorted(slices.Values(append(slices.Clone(r.Hands), id))), Points: map[failover.GuestID][]failover.RestorePoint{}}
	if r.archive == nil {
		r.archive = map[string]archived{}
	}
	used, standing := map[int]bool{}, s.WarmIDs(r.Site)
	r.queue = []func(context.Context) error{
		func(ctx context.Context) error { return r.readEntries(ctx, s, host) },
		r.readNode,
		func(ctx context.Context) error { return r.readStorage(ctx, host.Restore.Storage) },
	}
	switch {
	case r.PBSNode != "" && r.PBSNode != "localhost":
		r.node = r.PBSNode
	case r.node == "":
		r.queue = append([]func(context.Context) error{r.readPBSNode}, r.queue...)
	}
	for _, kind := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
		r.queue = append(r.queue, func(ctx context.Context) error {
			guests, err := r.PVE.Guests(ctx, kind)
			for _, g := range guests {
				if host.Restore.IDs.Contains(g.ID) {
					used[g.ID] = true
				}
				if slices.Contains(standing, g.ID) && g.Status == "running" {
					r.round.Started = append(r.round.Started, g.ID)
				}
			}
			r.round.UsedIDs = slices.Sorted(maps.Keys(used))
			return err
		})
	}
	r.watchWarm(s)
	r.round.Rate = restoreRate(s, r.Site)
}

// readEntries learns which storage entry reads which namespace with which key,
// and plans one listing per namespace.
func (r *Readiness) readEntries(ctx context.Context, s *failover.State, host network.Host) error {
	entries, err := r.PVE.Storages(ctx)
	if err != nil {
		return err
	}
	if _, store, ok := s.Network.Store(r.Site); ok {
		if u, err := url.Parse(store.PBS.URL); err == nil {
			r.store = u.Hostname()
		}
	}
	r.entries = map[string]proxmox.StorageEntry{}
	for _, e := range entries {
		r.entries[e.ID] = e
	}
	for _, site := range slices.Sorted(maps.Keys(host.Sources)) {
		for _, name := range host.Sources[site] {
			e, ok := r.entries[name]
			if !ok || e.Type != "pbs" || e.Disabled {
				r.round.Problems = append(r.round.Problems, failover.Reason{
					Code: failover.CodeNoSource, Args: map[string]string{"storage": name, "site": string(r.Site), "source": string(site)},
				})
				continue
			}
			r.queue = append(r.queue, func(ctx context.Context) error { return r.readPoints(ctx, s, site, e) })
		}
	}
	r.planKept(s, host)
	return nil
}

// readPBSNode learns under which name this PBS signs its tasks: its own sync jobs
// tell. Every PBS takes "localhost" in paths, but none calls itself so. Until it is
// known no snapshot counts as verified here.
func (r *Readiness) readPBSNode(ctx context.Context) error {
	jobs, err := r.PBS.SyncJobs(ctx)
	if err != nil { // what could be restored is known without
		r.Logger.Debug("node name of the PBS not learned", "err", err)
	}
	for _, j := range jobs {
		if u, err := proxmox.ParsePBSUPID(j.LastUPID); err == nil {
			r.node = u.Node
		}
	}
	return nil
}

func (r *Readiness) readNode(ctx context.Context) error {
	n, err := r.PVE.NodeStatus(ctx)
	r.round.MemoryTotal, r.round.MemoryFree = n.MemTotal, n.MemFree
	return err
}

func (r *Readiness) readStorage(ctx context.Context, storage string) error {
	st, err := r.PVE.StorageStatus(ctx, storage)
	r.round.StorageFree = st.Avail
	return err
}

// readPoints lists the snapshots that one entry reads and keeps those of the
// guests that are at home at the source site.
func (r *Readiness) readPoints(ctx context.Context, s *failover.State, source failover.SiteID, e proxmox.StorageEntry) error {
	snaps, err := r.PBS.Snapshots(ctx, e.Namespace, "", 0)
	if err != nil {
		return err
	}
	byGuest := map[string]failover.GuestID{}
	for _, g := range s.Network.GuestIDs() {
		if guest := s.Network.Guests[g]; s.Network.Home(g) == source {
			byGuest[string(guest.Type)+"/"+strconv.Itoa(guest.ID)] = g
		}
	}
	found := map[failover.GuestID][]failover.RestorePoint{}
	for _, snap := range snaps {
		g, ok := byGuest[string(snap.Kind)+"/"+strconv.Itoa(snap.ID)]
		if !ok {
			continue
		}
		if usable, why := proxmox.Usable(snap, e.Key); !usable && (why == proxmox.ReasonWrongKey || why == proxmox.ReasonNoKey) && r.otherKey(e, snap) {
			continue // another entry of this site opens it
		}
		p := r.point(e, snap)
		p.Protected = snap.Protected && !s.Pins(r.Site, p.Volid, r.round.AsOf)
		found[g] = append(found[g], p)
	}
	for _, g := range slices.Sorted(maps.Keys(found)) {
		r.keep(g, found[g])
	}
	return nil
}

// otherKey says whether another entry of the same namespace has the key of a snapshot.
func (r *Readiness) otherKey(e proxmox.StorageEntry, snap proxmox.Snapshot) bool {
	for _, o := range r.entries {
		if o.ID != e.ID && o.Namespace == e.Namespace && o.Datastore == e.Datastore && o.Key == snap.Fingerprint && o.Key != "" {
			return true
		}
	}
	return false
}

func (r *Readiness) point(e proxmox.StorageEntry, snap proxmox.Snapshot) failover.RestorePoint {
	p := failover.RestorePoint{
		Storage: e.ID, Volid: snap.Volid(e.ID), Namespace: snap.NS, Time: snap.Time, Size: snap.Size,
		Key: snap.Fingerprint, Verified: proxmox.VerifiedHere(snap, r.node),
		Remote: !slices.Contains([]string{r.store, "localhost", "127.0.0.1", "::1"}, e.Server),
	}
	p.Verified = p.Verified || r.verifying.well[p.Volid]
	if usable, why := proxmox.Usable(snap, e.Key); !usable {
		p.Unusable = why.String()
	}
	return p
}

// keep merges points of a guest, newest first, and plans a look into the
// newest archive if it was never read: that proves the key and tells memory. One
// that could not be opened is tried again each round, since its key may have been
// mended, and the next older one with it, which would take its place.
func (r *Readiness) keep(g failover.GuestID, points []failover.RestorePoint) {
	all := append(slices.Clone(r.round.Points[g]), points...)
	slices.SortStableFunc(all, func(a, b failover.RestorePoint) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Volid, b.Volid))
	})
	seen, usable := map[string]bool{}, map[string]int{} // by namespace: of each lineage some are kept
	kept := all[:0]
	for _, p := range all {
		first := !seen[p.Namespace]
		seen[p.Namespace] = true
		if p.Unusable == "" {
			usable[p.Namespace]++
		} else if !first {
			continue // of the unusable only the newest is news
		}
		if usable[p.Namespace] <= keepPoints {
			kept = append(kept, p)
		}
	}
	r.round.Points[g] = kept
	for _, p := range kept {
		if p.Unusable != "" {
			continue
		}
		a, known := r.archive[p.Volid]
		if !known || a.unusable != "" {
			r.queue = append(r.queue, func(ctx context.Context) error { return r.readArchive(ctx, p.Volid) })
		}
		if a.unusable == "" {
			break
		}
	}
}

// readArchive opens an archive. A verdict on the key or the backup is a fact of
// this round; any other trouble fails the round.
func (r *Readiness) readArchive(ctx context.Context, volid string) error {
	a, err := r.PVE.ExtractConfig(ctx, volid)
	switch proxmox.KindOf(err) {
	case "":
		r.archive[volid] = archived{memory: memoryOf(a)}
	case proxmox.KeyMissing, proxmox.KeyWrong, proxmox.BackupBroken:
		r.archive[volid] = archived{unusable: clip(err.Error())}
	default:
		return err
	}
	return nil
}

// memoryOf reads a guest's memory from its archived configuration; Proxmox
// counts it in MiB (VM default 512, CT default 512).
func memoryOf(a proxmox.ArchiveConfig) int64 {
	mib, err := strconv.ParseInt(a.Raw["memory"], 10, 64)
	if err != nil {
		mib = 512
	}
	return mib << 20
}

// finish completes the round and proposes it if it tells something new. What
// could not be read leaves the last word standing: a failed read never erases
// what was known.
func (r *Readiness) finish(ctx context.Context, s *failover.State, now time.Time) time.Time {
	next := r.begun.Add(r.Every)
	if r.verifying.asked != nil || len(failover.WarmToVerify(s, r.Site)) > 0 { // there may be more to verify
		next = now.Add(min(r.Every, verifyPoll))
	}
	if r.failed {
		return now.Add(min(r.Every, 5*time.Second))
	}
	r.fill()
	r.round.Kept = r.keptIDs()
	slices.Sort(r.round.Started)
	r.round.Started = slices.Compact(r.round.Started)
	ready := r.round
	stored, ok := s.Readiness[r.Site]
	if ok && r.told != nil && now.Sub(r.toldAt) < refreshReady && similar(stored.Ready, ready) {
		return next
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	_, err := r.Log.Propose(ctx, failover.ReportReadiness{Ready: ready})
	if _, rejected := errors.AsType[*failover.RejectedError](err); err != nil && !rejected {
		r.Logger.Warn("readiness not recorded", "err", err)
		return now.Add(2 * time.Second)
	}
	r.told, r.toldAt = &ready, now
	return next
}

// fill adds what the archives told, and forgets archives that are gone.
func (r *Readiness) fill() {
	seen := map[string]bool{}
	for _, g := range slices.Sorted(maps.Keys(r.round.Points)) {
		points := r.round.Points[g]
		var memory int64
		for i := len(points) - 1; i >= 0; i-- {
			a, ok := r.archive[points[i].Volid]
			seen[points[i].Volid] = true
			if ok && a.unusable != "" {
				points[i].Unusable = a.unusable
			}
			if ok && a.memory != 0 {
				memory = a.memory
			}
			points[i].Memory = memory
		}
	}
	maps.DeleteFunc(r.archive, func(volid string, _ archived) bool { return !seen[volid] })
	maps.DeleteFunc(r.verifying.well, func(volid string, _ bool) bool { return !seen[volid] })
}

// similar says whether two readinesses lead to the same plans: free memory and
// storage may differ by a twentieth.
func similar(a, b failover.Readiness) bool {
	close := func(x, y int64) bool { return max(x, y)-min(x, y) <= max(x, y)/20 }
	if !close(a.MemoryFree, b.MemoryFree) || !close(a.StorageFree, b.StorageFree) || !close(a.Rate, b.Rate) {
		return false
	}
	a.MemoryFree, a.StorageFree, a.Rate, a.AsOf = b.MemoryFree, b.StorageFree, b.Rate, b.AsOf
	return reflect.DeepEqual(normal(a), normal(b))
}

// normal makes an empty list and no list the same, as a trip through the log does.
func normal(r failover.Readiness) failover.Readiness {
	if len(r.UsedIDs) == 0 {
		r.UsedIDs = nil
	}
	if len(r.Started) == 0 {
		r.Started = nil
	}
	if len(r.Problems) == 0 {
		r.Problems = nil
	}
	if len(r.Kept) == 0 {
		r.Kept = nil
	}
	points := map[failover.GuestID][]failover.RestorePoint{}
	for g, ps := range r.Points {
		if len(ps) == 0 {
			continue
		}
		ps = slices.Clone(ps)
		for i := range ps {
			ps[i].Time = ps[i].Time.UTC()
		}
		points[g] = ps
	}
	r.Points = points
	return r
}

// restoreRate measures the restore speed of a site, in bytes per second, from
// the restores that State remembers; 0 = never measured.
func restoreRate(s *failover.State, site failover.SiteID) int64 {
	var bytes int64
	var took time.Duration
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			st, ok := run.Step(failover.StepRestore)
			if !ok || run.Assignment.Warm != "" || run.Assignment.Target != site || st.Status != failover.StatusDone || st.Total == 0 {
				continue
			}
			bytes += st.Total
			took += st.Ended.At.Sub(st.Begun.At)
		}
	}
	if took <= 0 {
		return 0
	}
	return int64(float64(bytes) / took.Seconds())
}
