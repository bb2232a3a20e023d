package lab_test

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

var pull = lab.SyncJob{ID: "pull-moulin", Remote: "moulin", RemoteStore: "backups", FromNS: "moulin", NS: "moulin"}

func (w *world) pull(job lab.SyncJob) (copied int, moved int64) {
	w.t.Helper()
	copied, moved, err := w.far.Sync(w.pbs, job, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return copied, moved
}

func TestSyncCopiesOnlyMissingChunks(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	n, first := w.pull(pull)
	if n != 1 || first < 2*diskBytes {
		t.Errorf("first pull: %d snapshots, %d bytes, want 1 and at least %d", n, first, 2*diskBytes)
	}
	w.backup(100)
	n, second := w.pull(pull)
	if n != 1 || second > first/4 {
		t.Errorf("second pull: %d snapshots, %d bytes, want 1 and little", n, second)
	}
	if n, bytes := w.pull(pull); n != 0 || bytes != 0 {
		t.Errorf("third pull: %d snapshots, %d bytes, want nothing", n, bytes)
	}
	if got, want := w.far.Store().Len(), w.pbs.Store().Len(); got != want {
		t.Errorf("%d chunks there, %d here", got, want)
	}
}

// names lists what the far PBS holds of moulin.
func (w *world) names() string {
	var s []string
	for _, x := range w.far.Snapshots("moulin") {
		s = append(s, x.Name())
	}
	return strings.Join(s, " ")
}

func TestSyncSkipsWhatIsOlderAndCopiesTheVerification(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	old := w.pbs.Snapshots("moulin")[0]
	w.backup(100)
	if err := w.pbs.AddSnapshot(lab.Snapshot{NS: "moulin", Type: "vm", ID: "100", Time: w.now.Unix() + 1, Owner: pbsToken, Unfinished: true}); err != nil {
		t.Fatal(err)
	}
	w.pull(pull)
	both := w.names()
	if strings.Count(both, "vm/100/") != 2 {
		t.Fatalf("snapshots = %q, want the two finished ones", both)
	}

	// What is older than the newest local one never comes back.
	if removed := w.far.Prune("moulin", 1); removed != 1 {
		t.Fatalf("pruned %d, want 1", removed)
	}
	w.pull(pull)
	if got := w.names(); strings.Contains(got, old.Name()) {
		t.Errorf("the hole was filled: %q", got)
	}

	// The verification state comes with the newest one's manifest; the protected flag does not.
	newest := w.pbs.Snapshots("moulin")[1]
	one := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", itoa(newest.Time))
	upid, _ := w.pbsCall("POST", "/admin/datastore/backups/verify", one).(string)
	w.advance(3 * time.Second)
	one.Set("protected", "true")
	w.pbsCall("PUT", "/admin/datastore/backups/protected", one)
	w.pull(pull)
	got := w.far.Snapshots("moulin")[0]
	if got.Verification == nil || got.Verification.UPID != upid || !strings.HasPrefix(upid, "UPID:pbs-moulin:") || got.Protected {
		t.Errorf("snapshot there = %+v, want verified by %s and not protected", got, upid)
	}
	if strings.Count(upid, ":") != 9 {
		t.Errorf("UPID %q has %d fields, want nine and an end", upid, strings.Count(upid, ":"))
	}
}

func TestSyncOfUnencryptedBackups(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	if err := w.pve.Backup(100, "pbs-nokey", w.now.Add(time.Second)); err == nil || !strings.Contains(err.Error(), "backup owner check failed (root@pam != "+pbsToken+")") {
		t.Errorf("backup with another owner: %v", err)
	}
	if err := w.pve.Backup(101, "pbs-nokey", w.now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	job := pull
	job.EncryptedOnly = true
	if n, _ := w.pull(job); n != 1 || strings.Contains(w.names(), "ct/") {
		t.Errorf("encrypted-only copied %d: %q, want only the encrypted one", n, w.names())
	}
	if n, _ := w.pull(pull); n != 1 || !strings.Contains(w.names(), "ct/101/") {
		t.Errorf("without it %d came: %q, want the unencrypted one", n, w.names())
	}
}

func TestSyncHoldsOwnersApartAndRemovesWhatVanished(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	w.pull(pull)
	job := pull
	job.Owner = "b@pbs"
	w.backup(101)
	if _, _, err := w.far.Sync(w.pbs, job, w.now); err == nil || !strings.HasSuffix(err.Error(), "sync failed with some errors.") {
		t.Errorf("sync with another owner = %v", err)
	}

	// remove-vanished removes what the source lost, but nothing that is protected.
	job = pull
	job.RemoveVanished = true
	for _, s := range w.pbs.Snapshots("moulin") {
		if s.Type == "ct" {
			w.pbsCall("DELETE", "/admin/datastore/backups/snapshots", pairs("ns", "moulin", "backup-type", "ct", "backup-id", "101", "backup-time", itoa(s.Time)))
		}
	}
	w.pull(job)
	if strings.Contains(w.names(), "ct/") {
		t.Errorf("vanished snapshots are still there: %q", w.names())
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestSyncOfACorruptChunkLeavesNoSnapshot(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	id := w.pbs.Snapshots("moulin")[0].Files[1].Chunks[0]
	if err := w.pbs.Store().Corrupt(id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.far.Sync(w.pbs, pull, w.now); err == nil || len(w.far.Snapshots("moulin")) != 0 {
		t.Errorf("sync = %v with %d snapshots there, want an error and none", err, len(w.far.Snapshots("moulin")))
	}
	one := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", itoa(w.pbs.Snapshots("moulin")[0].Time))
	w.pbsCall("POST", "/admin/datastore/backups/verify", one)
	w.advance(3 * time.Second)
	if v := w.pbs.Snapshots("moulin")[0].Verification; v == nil || v.State != "failed" {
		t.Errorf("verification = %+v, want failed", v)
	}
}

func TestSyncJobRunsOnDemandAndTellsItsState(t *testing.T) {
	w := newWorld(t)
	state := func() any {
		rows, _ := w.pbsCall("GET", "/admin/sync", nil).([]any)
		return rows[0].(map[string]any)["last-run-state"]
	}
	if state() != nil {
		t.Errorf("state before the first run = %v", state())
	}
	upid, _ := w.pbsCall("POST", "/admin/sync/pull-quai/run", nil).(string)
	w.advance(time.Second)
	if state() != "OK" {
		t.Errorf("state = %v, want OK", state())
	}
	w.far.PowerLoss(w.now)
	w.pbsCall("POST", "/admin/sync/pull-quai/run", nil)
	w.advance(time.Second)
	if s, _ := state().(string); !strings.Contains(s, "error trying to connect") {
		t.Errorf("state with the source down = %q", s)
	}
	ended := func(upid string) {
		t.Helper()
		st, _ := w.pbsCall("GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/status", nil).(map[string]any)
		if st["exitstatus"] == nil || st["type"] != "syncjob" {
			t.Errorf("task = %v", st)
		}
	}
	ended(upid)
	// A run by hand is the one that was asked for a moment ago: its task ends, too.
	upid, _ = w.pbsCall("POST", "/admin/sync/pull-quai/run", nil).(string)
	_, _, _ = w.pbs.Sync((*lab.PBS)(nil), lab.SyncJob{ID: "pull-quai", NS: "moulin"}, w.now) // the source is down: only the task matters
	ended(upid)
}

func TestSyncOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	from := lab.RemoteSource(t.Context(), lab.InProcess(w.pbs.SyncHandler()), "http://lab", pbsToken+":"+secret)
	n, moved, err := w.far.Sync(from, pull, w.now)
	if err != nil || n != 1 || moved < 2*diskBytes {
		t.Errorf("Sync = %d, %d, %v", n, moved, err)
	}
	bad := lab.RemoteSource(t.Context(), lab.InProcess(w.pbs.SyncHandler()), "http://lab", pbsToken+":wrong")
	if _, _, err := w.far.Sync(bad, pull, w.now); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Sync with a wrong secret = %v", err)
	}
}

func TestUnfinishedSnapshots(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	if err := w.pbs.AddSnapshot(lab.Snapshot{
		NS: "moulin", Type: "vm", ID: "100", Time: w.now.Unix() + 10, Owner: pbsToken, Unfinished: true, Files: []lab.SnapshotFile{{Name: "drive-scsi0.img.fidx"}},
	}); err != nil {
		t.Fatal(err)
	}
	rows, _ := w.call("GET", nodePath("/storage/pbs-local/content"), pairs("vmid", "100")).([]any)
	if len(rows) != 2 || rows[1].(map[string]any)["size"] != 1.0 || rows[1].(map[string]any)["encrypted"] != nil {
		t.Errorf("content = %v, want the unfinished one with size 1", rows)
	}
	snaps, _ := w.pbsCall("GET", "/admin/datastore/backups/snapshots", pairs("ns", "moulin")).([]any)
	if last := snaps[1].(map[string]any); last["size"] != nil {
		t.Errorf("unfinished snapshot = %v, want no size", last)
	}
	groups, _ := w.pbsCall("GET", "/admin/datastore/backups/groups", pairs("ns", "moulin")).([]any)
	if g := groups[0].(map[string]any); g["last-backup"] != float64(w.now.Unix()+10) {
		t.Errorf("last-backup = %v, want that of the unfinished snapshot", g["last-backup"])
	}
}

func TestStore(t *testing.T) {
	dir, err := lab.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*lab.Store{"memory": lab.NewMemStore(), "directory": dir} {
		t.Run(name, func(t *testing.T) {
			a, err := s.Put([]byte("hello"))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := s.Put([]byte("hello")); err != nil || a != b || s.Len() != 1 {
				t.Errorf("the same again: %v %v, %d chunks", b, err, s.Len())
			}
			if got, err := s.Get(a); err != nil || !bytes.Equal(got, []byte("hello")) {
				t.Errorf("Get = %q, %v", got, err)
			}
			if _, err := s.Get(lab.ChunkID{1}); !errors.Is(err, lab.ErrNoChunk) {
				t.Errorf("Get of nothing = %v, want ErrNoChunk", err)
			}
			if err := s.Corrupt(a); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(a); !errors.Is(err, lab.ErrBadChunk) {
				t.Errorf("Get of a corrupt chunk = %v, want ErrBadChunk", err)
			}
		})
	}
}

func TestCollectGarbage(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	before := w.pbs.Store().Len()
	if n, err := w.pbs.CollectGarbage(); n != 0 || err != nil {
		t.Errorf("nothing to collect, got %d, %v", n, err)
	}
	w.pbs.Prune("moulin", 0)
	if n, err := w.pbs.CollectGarbage(); n != before || err != nil || w.pbs.Store().Len() != 0 {
		t.Errorf("collected %d of %d, %v", n, before, err)
	}
}

func TestKilledProcessComesBackAsAfterAPowerLoss(t *testing.T) {
	dir := t.TempDir()
	onDisk := func(p *lab.PVEConfig, b *lab.PBSConfig) {
		p.Dir, b.Dir = filepath.Join(dir, "pve"), filepath.Join(dir, "pbs")
	}
	w := newWorld(t, onDisk)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	w.advance(10 * time.Second)
	w.backup(100)
	upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900")).(string)
	w.advance(3 * time.Second) // saved on the way; then the process is gone
	want := w.guest(100).Data()

	var err error
	if w.pbs, err = lab.NewPBS(w.pbsCfg); err != nil {
		t.Fatal(err)
	}
	if w.pve, err = lab.NewPVE(w.pveCfg); err != nil {
		t.Fatal(err)
	}
	w.pveRT = lab.InProcess(w.pve)
	w.now = w.now.Add(time.Minute)
	w.pbs.PowerOn(w.now)
	w.pve.PowerOn(w.now)
	if exit := w.wait(upid); exit != "unexpected status" {
		t.Errorf("exit of the killed restore = %q", exit)
	}
	if lock := w.guest(900).Config["lock"]; lock != "create" {
		t.Errorf("lock = %q, want create", lock)
	}
	g := w.guest(100)
	got := g.Data()
	if !g.Running || len(got) == 0 || len(want)-len(got) > 4 || got[0] != want[0] {
		t.Errorf("guest runs %v with %d lines, want true and nearly %d", g.Running, len(got), len(want))
	}
	w.ok("POST", nodePath("/qemu"), vmArgs(w, "901"))
	if got := w.guest(901).Inside; got != "nuage" {
		t.Errorf("restored from the store on disk: %q inside", got)
	}
}

func TestBrokenStateIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"now":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.NewPVE(lab.PVEConfig{Node: "x", Dir: dir}); err == nil || !strings.Contains(err.Error(), "state.json") {
		t.Errorf("NewPVE = %v, want an error that names the file", err)
	}
	if _, err := lab.NewPBS(lab.PBSConfig{Node: "x", Datastore: "y", Dir: dir}); err == nil || !strings.Contains(err.Error(), "state.json") {
		t.Errorf("NewPBS = %v, want an error that names the file", err)
	}
}
