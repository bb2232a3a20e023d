package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestPruneJobKeepsByPeriods: keep-last counts snapshots, the others periods of which nothing is kept yet, in all
// namespaces below its own.
func TestPruneJobKeepsByPeriods(t *testing.T) {
	w := newWorld(t, func(_ *lab.PVEConfig, b *lab.PBSConfig) {
		b.PruneJobs = []lab.MaintenanceJob{{ID: "all", Below: true, Keep: lab.Keep{Last: 1, Hourly: 2, Daily: 2}}}
	})
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for _, ns := range []string{"", "away/moulin"} {
		for _, hours := range []float64{90, 40, 26, 20, 3, 2, 1, 0.5, 0} {
			if err := w.pbs.AddSnapshot(lab.Snapshot{NS: ns, Type: "vm", ID: "7", Time: noon.Unix() - int64(hours*3600), Owner: pbsToken}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.pbsCall("POST", "/admin/prune/all/run", nil)
	w.advance(2 * time.Second)
	for _, ns := range []string{"", "away/moulin"} {
		var kept []string
		for _, s := range w.pbs.Snapshots(ns) {
			kept = append(kept, time.Unix(s.Time, 0).UTC().Format("2T15:04"))
		}
		// The newest; of the hours 11 and 10 the newest; of the days before the newest.
		if got := strings.Join(kept, " "); got != "28T20:00 1T16:00 2T10:00 2T11:30 2T12:00" {
			t.Errorf("namespace %q keeps %s", ns, got)
		}
	}
}

// TestSyncOfTheNewestAndOfVerified: transfer-last and verified-only leave snapshots out, and what is older than the
// newest that came never comes.
func TestSyncOfTheNewestAndOfVerified(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.backup(100)
	}
	job := pull
	job.VerifiedOnly = true
	if n, _ := w.pull(job); n != 0 {
		t.Errorf("verified-only copied %d of what nobody has verified", n)
	}
	job = pull
	job.TransferLast = 2
	if n, _ := w.pull(job); n != 2 {
		t.Errorf("transfer-last 2 copied %d", n)
	}
	if n, _ := w.pull(pull); n != 0 {
		t.Errorf("%d older ones came afterwards, want that the hole stays", n)
	}
	w.pbsCall("POST", "/admin/verify/all/run", nil)
	w.advance(2 * time.Second)
	w.backup(100)
	job = pull
	job.VerifiedOnly = true
	if n, _ := w.pull(job); n != 0 {
		t.Errorf("verified-only copied %d, want nothing newer that is verified", n)
	}
}

// TestHostListsItsBackupJobs with what they prune.
func TestHostListsItsBackupJobs(t *testing.T) {
	w := newWorld(t)
	rows, _ := w.call("GET", "/cluster/backup", nil).([]any)
	if len(rows) != 1 {
		t.Fatalf("backup jobs = %v", rows)
	}
	row, _ := rows[0].(map[string]any)
	keep, _ := row["prune-backups"].(map[string]any)
	if row["id"] != "nightly" || row["node"] != node || keep["keep-last"] != 3.0 {
		t.Errorf("backup job = %v", row)
	}
}
