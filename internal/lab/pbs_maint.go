package lab

import (
	"fmt"
	"strings"
	"time"
)

// MaintenanceJob is a verify or prune job of a PBS.
type MaintenanceJob struct {
	ID    string
	NS    string
	Below bool          // prune: every namespace below NS, too
	Keep  Keep          // prune
	Every time.Duration // 0 = only on demand
}

// gcRun is the last garbage collection.
type gcRun struct {
	UPID    string `json:"upid"`
	State   string `json:"state"`
	End     int64  `json:"end"`
	Removed int    `json:"removed"` // chunks
}

const keepArgs = "keep-last:integer keep-hourly:integer keep-daily:integer keep-weekly:integer keep-monthly:integer keep-yearly:integer dry-run:boolean "

func maintenanceRoutes() []route[*PBS] {
	store := "/admin/datastore/{store}"
	return []route[*PBS]{
		newRoute("GET", store+"/gc", "", (*PBS).gcStatus),
		newRoute("POST", store+"/gc", "", (*PBS).startGC),
		newRoute("POST", store+"/prune", "ns:string backup-type:string!=vm|ct|host backup-id:string! "+keepArgs, (*PBS).pruneGroup),
		newRoute("POST", store+"/prune-datastore", "ns:string "+keepArgs, (*PBS).pruneStore),
		newRoute("GET", "/admin/gc", "store:string", (*PBS).gcList),
		newRoute("GET", "/admin/verify", "store:string", (*PBS).verifyJobs),
		newRoute("POST", "/admin/verify/{id}/run", "", (*PBS).runVerify),
		newRoute("GET", "/admin/prune", "store:string", (*PBS).pruneJobs),
		newRoute("POST", "/admin/prune/{id}/run", "", (*PBS).runPrune),
		newRoute("GET", "/access/permissions", "auth-id:string path:string", (*PBS).permissions),
	}
}

// beginFor starts a task that does its work after d.
func (b *PBS) beginFor(kind, id, user string, d time.Duration, work func(*task) error) *task {
	t := b.begin(kind, id, user)
	due := b.st.Now.Add(d)
	t.step = func(time.Duration) {
		if !b.st.Now.Before(due) {
			t.finish(b.wall(), work(t))
		}
	}
	return t
}

func (b *PBS) gcRow() map[string]any {
	disk := int64(b.cfg.Store.Len())
	index := int64(0)
	files := 0
	for _, s := range b.st.Snapshots {
		for _, f := range s.Files {
			if strings.Contains(f.Name, "idx") {
				index += f.Size
				files++
			}
		}
	}
	row := map[string]any{
		"store": b.cfg.Datastore, "disk-bytes": disk * ChunkSize, "disk-chunks": disk, "index-data-bytes": index, "index-file-count": files,
		"pending-bytes": 0, "pending-chunks": 0, "removed-bad": 0, "removed-bytes": int64(b.st.GC.Removed) * ChunkSize,
		"removed-chunks": b.st.GC.Removed, "still-bad": 0,
	}
	if b.st.GC.UPID != "" {
		row["upid"], row["last-run-state"], row["last-run-endtime"] = b.st.GC.UPID, b.st.GC.State, b.st.GC.End
	}
	return row
}

func (b *PBS) gcStatus(c *call) (any, error) {
	if err := b.need(c, b.storePath(""), "Datastore.Audit"); err != nil {
		return nil, err
	}
	return b.gcRow(), nil
}

func (b *PBS) gcList(c *call) (any, error) {
	if (c.has("store") && c.str("store") != b.cfg.Datastore) || !b.allowed(c.token, b.storePath(""), "Datastore.Audit", "Datastore.Modify") {
		return []any{}, nil
	}
	return []any{b.gcRow()}, nil
}

// startGC starts a garbage collection; see CollectGarbage for what it must not meet.
func (b *PBS) startGC(c *call) (any, error) {
	if err := b.need(c, b.storePath(""), "Datastore.Modify"); err != nil {
		return nil, err
	}
	return b.beginFor("garbage_collection", b.cfg.Datastore, c.token, verifyTime, func(t *task) error {
		n, err := b.cfg.Store.keep(b.usedChunks())
		t.logf("Removed garbage: %d chunks", n)
		state := "OK"
		if err != nil {
			state = err.Error()
		}
		b.st.GC = gcRun{UPID: t.UPID, State: state, End: b.wall().Unix(), Removed: n}
		return err
	}).UPID, nil
}

func (b *PBS) usedChunks() map[ChunkID]struct{} {
	used := map[ChunkID]struct{}{}
	for _, s := range b.st.Snapshots {
		for _, id := range s.chunks() {
			used[id] = struct{}{}
		}
	}
	return used
}

// jobRow is what the listings of jobs have in common.
func (b *PBS) jobRow(kind string, j MaintenanceJob) map[string]any {
	row := map[string]any{"id": j.ID, "store": b.cfg.Datastore, "schedule": "daily"}
	if j.NS != "" {
		row["ns"] = j.NS
	}
	r := b.run(kind + " " + j.ID)
	if r.UPID != "" {
		row["last-run-upid"], row["last-run-state"], row["last-run-endtime"] = r.UPID, r.State, r.End
	}
	if j.Every > 0 {
		row["schedule"] = "*:0/" + fmt.Sprint(max(1, int(j.Every.Minutes())))
		row["next-run"] = r.Start + int64(j.Every.Seconds())
	}
	return row
}

func (b *PBS) verifyJobs(c *call) (any, error) {
	rows := []map[string]any{}
	for _, j := range b.cfg.VerifyJobs {
		if b.allowed(c.token, b.storePath(j.NS), "Datastore.Audit", "Datastore.Verify") {
			rows = append(rows, b.jobRow("verify", j))
		}
	}
	return rows, nil
}

func (b *PBS) pruneJobs(c *call) (any, error) {
	rows := []map[string]any{}
	for _, j := range b.cfg.PruneJobs {
		if b.allowed(c.token, b.storePath(j.NS), "Datastore.Audit", "Datastore.Modify") {
			row := b.jobRow("prune", j)
			for option, n := range j.Keep.options() {
				row[option] = n
			}
			if !j.Below {
				row["max-depth"] = 0
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// runMaintenance starts a job's task and keeps its result.
func (b *PBS) runMaintenance(kind, taskType string, j MaintenanceJob, user string, work func(*task) error) *task {
	r := b.run(kind + " " + j.ID)
	r.Start = b.wall().Unix()
	return b.beginFor(taskType, b.cfg.Datastore+":"+j.ID, user, verifyTime, func(t *task) error {
		err := work(t)
		r.UPID, r.State, r.End = t.UPID, "OK", b.wall().Unix()
		if err != nil {
			r.State = err.Error()
		}
		return err
	})
}

func (b *PBS) beginVerifyJob(j MaintenanceJob, user string) *task {
	return b.runMaintenance("verify", "verificationjob", j, user, func(t *task) error {
		return b.verifyAll(t, verifyRequest{ns: j.NS, anyGroup: true, skipVerified: true})
	})
}

func (b *PBS) beginPruneJob(j MaintenanceJob, user string) *task {
	return b.runMaintenance("prune", "prunejob", j, user, func(t *task) error {
		for _, ns := range b.spacesOf(j) {
			b.prune(b.plan(ns, j.Keep, func(Snapshot) bool { return true }), t.logf)
		}
		return nil
	})
}

func (b *PBS) runVerify(c *call) (any, error) {
	for _, j := range b.cfg.VerifyJobs {
		if j.ID == c.vars["id"] {
			if err := b.need(c, b.storePath(j.NS), "Datastore.Verify"); err != nil {
				return nil, err
			}
			b.beginVerifyJob(j, c.token)
			return nil, nil // its UPID is in the job's row
		}
	}
	return nil, fmt.Errorf("no such verification job '%s'", c.vars["id"])
}

func (b *PBS) runPrune(c *call) (any, error) {
	for _, j := range b.cfg.PruneJobs {
		if j.ID == c.vars["id"] {
			if err := b.need(c, b.storePath(j.NS), "Datastore.Modify"); err != nil {
				return nil, err
			}
			b.beginPruneJob(j, c.token)
			return nil, nil
		}
	}
	return nil, fmt.Errorf("no such prune job '%s'", c.vars["id"])
}

// startDueMaintenance starts the scheduled verify and prune jobs whose time has come.
func (b *PBS) startDueMaintenance() {
	due := func(kind string, j MaintenanceJob) bool {
		return j.Every > 0 && b.wall().Sub(time.Unix(b.run(kind+" "+j.ID).Start, 0)) >= j.Every
	}
	for _, j := range b.cfg.VerifyJobs {
		if due("verify", j) {
			b.beginVerifyJob(j, "root@pam")
		}
	}
	for _, j := range b.cfg.PruneJobs {
		if due("prune", j) {
			b.beginPruneJob(j, "root@pam")
		}
	}
}
