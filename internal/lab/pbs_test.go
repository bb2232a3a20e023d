package lab_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

const pbsOther = "other@pbs!x"

// limitedPBS is a world whose PBS gives the other token these rights on the datastore.
func limitedPBS(t *testing.T, privs ...string) *world {
	t.Helper()
	w := newWorld(t, func(_ *lab.PVEConfig, b *lab.PBSConfig) {
		b.Tokens[pbsOther] = secret
		b.ACL = map[string]map[string][]string{pbsOther: {"/datastore/backups": privs}}
	})
	w.backup(100)
	if err := w.pbs.AddSnapshot(lab.Snapshot{NS: "moulin", Type: "vm", ID: "777", Time: w.now.Unix(), Owner: pbsOther, Files: []lab.SnapshotFile{{Name: "index.json.blob"}}}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) pbsTry(token, method, path string, args url.Values) reply {
	w.t.Helper()
	return w.request(w.pbsRT, "PBSAPIToken="+token+":"+secret, method, path, args)
}

// TestPBSPrivileges: what each right gives on one's own snapshots and on those of others.
func TestPBSPrivileges(t *testing.T) {
	const store = "/admin/datastore/backups"
	type want struct{ list, foreign, own int } // rows of the listing (-1 = refused); status of an act on either
	for _, tt := range []struct {
		privs []string
		act   string // method and path of the act on one snapshot
		args  []string
		want  want
	}{
		{nil, "GET /protected", nil, want{-1, 403, 403}},
		{[]string{"Datastore.Audit"}, "GET /protected", nil, want{2, 200, 200}},
		{[]string{"Datastore.Audit"}, "PUT /protected", []string{"protected", "true"}, want{2, 403, 403}},
		{[]string{"Datastore.Backup"}, "PUT /protected", []string{"protected", "true"}, want{1, 403, 200}},
		{[]string{"Datastore.Modify", "Datastore.Audit"}, "PUT /protected", []string{"protected", "true"}, want{2, 200, 200}},
		{[]string{"Datastore.Prune", "Datastore.Audit"}, "DELETE /snapshots", nil, want{2, 403, 200}},
		{[]string{"Datastore.Backup"}, "POST /verify", nil, want{1, 403, 200}},
		{[]string{"Datastore.Verify", "Datastore.Audit"}, "POST /verify", nil, want{2, 200, 200}},
	} {
		t.Run(fmt.Sprint(tt.privs, tt.act), func(t *testing.T) {
			w := limitedPBS(t, tt.privs...)
			r := w.pbsTry(pbsOther, "GET", store+"/snapshots", pairs("ns", "moulin"))
			rows, _ := r.body.Data.([]any)
			got := want{list: len(rows)}
			if r.status != 200 {
				got.list = -1
				if r.status != 403 || r.raw != "permission check failed" {
					t.Errorf("listing: %d %q", r.status, r.raw)
				}
			}
			method, path, _ := strings.Cut(tt.act, " ")
			for _, s := range w.pbs.Snapshots("moulin") {
				one := with(pairs("ns", "moulin", "backup-type", s.Type, "backup-id", s.ID, "backup-time", itoa(s.Time)), tt.args...)
				status := w.pbsTry(pbsOther, method, store+path, one).status
				if s.Owner == pbsOther {
					got.own = status
				} else {
					got.foreign = status
				}
			}
			if got != tt.want {
				t.Errorf("rows, foreign, own = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestPBSTasksAreTheCallersOwn, unless it has Sys.Audit.
func TestPBSTasksAreTheCallersOwn(t *testing.T) {
	w := limitedPBS(t, "Datastore.Audit")
	upid, _ := w.pbsCall("POST", "/admin/sync/pull-quai/run", nil).(string)
	if rows, _ := w.pbsTry(pbsOther, "GET", "/nodes/localhost/tasks", nil).body.Data.([]any); len(rows) != 0 {
		t.Errorf("tasks of another = %v", rows)
	}
	if r := w.pbsTry(pbsOther, "GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/status", nil); r.status != 403 {
		t.Errorf("status of another's task: %d", r.status)
	}
	if rows, _ := w.pbsTry(pbsOther, "GET", "/admin/sync", nil).body.Data.([]any); len(rows) != 0 {
		t.Errorf("sync jobs without Remote.Audit = %v", rows)
	}
}

// TestEntryOfAnOwnerSeesOnlyItsGroups: with Datastore.Backup alone a storage entry shows what its user owns.
func TestEntryOfAnOwnerSeesOnlyItsGroups(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, b *lab.PBSConfig) {
		b.Tokens[pbsOther] = secret
		b.ACL = map[string]map[string][]string{pbsOther: {"/datastore/backups": {"Datastore.Backup"}}}
		p.Storages = append(p.Storages, lab.StorageConfig{ID: "pbs-other", Type: "pbs", Server: "10.10.1.10", Datastore: "backups", Namespace: "moulin", Username: pbsOther, Password: secret})
	})
	w.backup(100)
	if rows, _ := w.call("GET", nodePath("/storage/pbs-other/content"), nil).([]any); len(rows) != 0 {
		t.Errorf("content = %v, want nothing of another owner", rows)
	}
	volid := strings.Replace(w.newest(100), "pbs-local", "pbs-other", 1)
	if upid, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900", "archive", volid)); !strings.HasSuffix(exit, "failed: exit code 255") || !contains(w.log(upid), "permission check failed") {
		t.Errorf("restore of another's backup ended %q", exit)
	}
}

// TestPBSNamespacesArePermittedOneByOne.
func TestPBSNamespacesArePermittedOneByOne(t *testing.T) {
	w := newWorld(t, func(_ *lab.PVEConfig, b *lab.PBSConfig) {
		b.Tokens[pbsOther], b.Namespaces = secret, []string{"quai", "away/moulin"}
		b.ACL = map[string]map[string][]string{pbsOther: {"/datastore/backups/quai": {"Datastore.Audit"}}}
	})
	rows, _ := w.pbsTry(pbsOther, "GET", "/admin/datastore/backups/namespace", nil).body.Data.([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["ns"] != "quai" {
		t.Errorf("namespaces = %v, want only quai", rows)
	}
	if stores, _ := w.pbsTry(pbsOther, "GET", "/admin/datastore", nil).body.Data.([]any); len(stores) != 1 {
		t.Errorf("datastores = %v, want the one with a namespace of its own", stores)
	}
	if r := w.pbsTry(pbsOther, "GET", "/admin/datastore/backups/snapshots", nil); r.status != 403 {
		t.Errorf("snapshots of the root: %d", r.status)
	}
	got, _ := w.pbsTry(pbsOther, "GET", "/access/permissions", pairs("path", "/datastore/backups/quai")).body.Data.(map[string]any)
	if x := fmt.Sprint(got); x != "map[/datastore/backups/quai:map[Datastore.Audit:true]]" {
		t.Errorf("permissions = %s", x)
	}
}

// TestPruneKeepsWhatItMust: protected and unfinished snapshots, and the newest of each group.
func TestPruneKeepsWhatItMust(t *testing.T) {
	const store = "/admin/datastore/backups"
	w := newWorld(t)
	for range 4 {
		w.backup(100)
	}
	all := w.pbs.Snapshots("moulin")
	w.pbsCall("PUT", store+"/protected", pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", itoa(all[0].Time), "protected", "true"))
	args := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "keep-last", "1", "dry-run", "true")
	if err := w.pbs.AddSnapshot(lab.Snapshot{NS: "moulin", Type: "vm", ID: "100", Time: w.now.Unix() + 60, Owner: pbsToken, Unfinished: true}); err != nil {
		t.Fatal(err)
	}
	rows, _ := w.pbsCall("POST", store+"/prune", args).([]any)
	var kept []any
	for _, r := range rows {
		kept = append(kept, r.(map[string]any)["keep"])
	}
	if fmt.Sprint(kept) != "[true true false false true]" || len(w.pbs.Snapshots("moulin")) != 5 {
		t.Errorf("dry run keeps %v of %d, want the unfinished newest, the newest and the protected and nothing removed", kept, len(w.pbs.Snapshots("moulin")))
	}
	w.pbsCall("POST", "/admin/prune/old/run", nil) // keeps 2
	w.advance(2 * time.Second)
	if n := len(w.pbs.Snapshots("moulin")); n != 4 {
		t.Errorf("%d snapshots after the prune job, want the unfinished, the 2 newest and the protected", n)
	}
	jobs, _ := w.pbsCall("GET", "/admin/prune", nil).([]any)
	if jobs[0].(map[string]any)["last-run-state"] != "OK" {
		t.Errorf("prune job = %v", jobs[0])
	}
	w.advance(2 * time.Minute)
	w.backup(100) // the unfinished one was broken off: it is no longer the newest
	w.pbsCall("POST", "/admin/prune/old/run", nil)
	w.advance(2 * time.Second)
	for _, s := range w.pbs.Snapshots("moulin") {
		if s.Unfinished {
			t.Error("an unfinished snapshot behind a finished one was kept")
		}
	}
	if r := w.pbsTry(pbsToken, "POST", store+"/prune", with(args, "keep-last", "0")); r.status != 400 {
		t.Errorf("keep-last 0: %d", r.status)
	}
}

// TestGarbageCollectionAndVerifyJobTellTheirResult.
func TestGarbageCollectionAndVerifyJobTellTheirResult(t *testing.T) {
	const store = "/admin/datastore/backups"
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	w.pbsCall("POST", store+"/prune-datastore", pairs("ns", "moulin", "keep-last", "1"))
	for _, s := range w.pbs.Snapshots("moulin") {
		if s.Type == "ct" {
			w.pbsCall("DELETE", store+"/snapshots", pairs("ns", "moulin", "backup-type", "ct", "backup-id", "101", "backup-time", itoa(s.Time)))
		}
	}
	w.pbsCall("POST", store+"/gc", nil)
	w.advance(2 * time.Second)
	gc, _ := w.pbsCall("GET", store+"/gc", nil).(map[string]any)
	if gc["last-run-state"] != "OK" || gc["removed-chunks"].(float64) < 2 {
		t.Errorf("gc = %v, want that the chunks of the container are gone", gc)
	}
	w.suffer(w.pbs, lab.Fault{Effect: lab.EffectCorruptSnapshot})
	w.pbsCall("POST", "/admin/verify/all/run", nil)
	w.advance(2 * time.Second)
	jobs, _ := w.pbsCall("GET", "/admin/verify", nil).([]any)
	if state := jobs[0].(map[string]any)["last-run-state"]; state != "verification failed - please check the log for details" {
		t.Errorf("verify job over a corrupt chunk: %v", state)
	}
	if v := w.pbs.Snapshots("moulin")[0].Verification; v == nil || v.State != "failed" || !strings.Contains(v.UPID, "verificationjob") {
		t.Errorf("verification = %+v, want failed by the job", v)
	}
}

// TestScheduledMaintenance runs verify and prune jobs when they are due.
func TestScheduledMaintenance(t *testing.T) {
	w := newWorld(t, func(_ *lab.PVEConfig, b *lab.PBSConfig) {
		b.VerifyJobs[0].Every, b.PruneJobs[0].Every = time.Minute, 2*time.Minute
	})
	for range 3 {
		w.backup(100)
	}
	w.now = w.now.Add(3 * time.Minute)
	w.advance(3 * time.Second)
	s := w.pbs.Snapshots("moulin")
	if len(s) != 2 || s[1].Verification == nil || s[1].Verification.State != "ok" {
		t.Errorf("after the jobs: %d snapshots, verification %+v; want 2, verified", len(s), s[len(s)-1].Verification)
	}
}
