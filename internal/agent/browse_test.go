package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
)

// diffRig is a guest that goes on at home, after both copies were written to, and a browser at
// the site that served it.
func diffRig(t *testing.T) (b *backRig, files *agent.Browser, sealed, running string) {
	t.Helper()
	b = newBackRig(t)
	if left, _ := b.pve.Guest(awayID); !left.Write("written-away") {
		t.Fatal("the copy away takes no write")
	}
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("the failback ended %s: %s", op.Phase, b.note())
	}
	kept, _ := b.homePVE.Guest(homeID)
	if !kept.Write("written-at-home") {
		t.Fatal("the copy at home takes no write")
	}
	b.lab(b.homePVE.Backup(homeID, "pbs-moulin", b.now))
	snaps := b.homePBS.Snapshots("moulin")
	running = "pbs-moulin:backup/" + snaps[len(snaps)-1].Name()
	for _, s := range b.homePBS.Snapshots(nsSealed) {
		sealed = entrySealed + ":backup/" + s.Name()
	}
	return b, &agent.Browser{PVE: b.there.PVE, Now: func() time.Time { return b.now }}, sealed, running
}

func paths(d failover.FileDiff, kind string) string {
	var out []string
	for _, c := range d.Changes {
		if c.Kind == kind {
			out = append(out, c.Path)
		}
	}
	return strings.Join(out, "\n")
}

// TestBrowserComparesBackups: what each of the branches has alone is told by its path, and what both
// have is not.
func TestBrowserComparesBackups(t *testing.T) {
	_, files, sealed, running := diffRig(t)
	d := files.Diff(t.Context(), sealed, running, "/", agent.DefaultDiffLimits)
	if d.Stopped != "" || len(d.Unread) > 0 || d.Dirs < 4 {
		t.Fatalf("stopped %q, unread %+v, %d directories", d.Stopped, d.Unread, d.Dirs)
	}
	if got := paths(d, failover.FileOnlyRunning); !strings.Contains(got, "written-at-home") {
		t.Errorf("only in what runs: %s; want what was written there", got)
	}
	if got := paths(d, failover.FileOnlySealed); !strings.Contains(got, "written-away") || strings.Contains(got, "written-at-home") {
		t.Errorf("only in the sealed branch: %s; want what was written away", got)
	}
	for _, c := range d.Changes {
		if strings.HasSuffix(c.Path, "/etc/hostname") || c.Path == "" || c.Path[0] != '/' {
			t.Errorf("told as different: %+v", c)
		}
	}
	if same := files.Diff(t.Context(), sealed, sealed, "/", agent.DefaultDiffLimits); len(same.Changes) > 0 || same.Dirs != d.Dirs {
		t.Errorf("a backup differs from itself: %+v", same)
	}
}

// TestBrowserIsBounded: in time, entries, differences and depth; what cannot be read is told with
// the words of Proxmox.
func TestBrowserIsBounded(t *testing.T) {
	b, files, sealed, running := diffRig(t)
	for want, change := range map[string]func(*agent.DiffLimits){
		"are over":             func(l *agent.DiffLimits) { l.Time = 0 },
		"entries were read":    func(l *agent.DiffLimits) { l.Entries = 1 },
		"directories deep":     func(l *agent.DiffLimits) { l.Depth = 1 },
		"differences were fou": func(l *agent.DiffLimits) { l.Changes = 0 },
	} {
		lim := agent.DefaultDiffLimits
		change(&lim)
		if d := files.Diff(t.Context(), sealed, running, "/", lim); !strings.Contains(d.Stopped, want) {
			t.Errorf("stopped %q, want %q", d.Stopped, want)
		}
	}
	d := files.Diff(t.Context(), sealed, "pbs-moulin:backup/vm/1101/2020-01-01T00:00:00Z", "/", agent.DefaultDiffLimits)
	if len(d.Unread) != 1 || !strings.Contains(d.Unread[0].Why, "does not exist") || len(d.Changes) > 0 {
		t.Errorf("of a backup that is not there: %+v", d)
	}
	d = files.Diff(t.Context(), sealed, running, "/nowhere", agent.DefaultDiffLimits)
	if len(d.Unread) != 1 || d.Unread[0].Path != "/nowhere" {
		t.Errorf("below a directory that is not there: %+v", d.Unread)
	}
	if listed := b.count("GET", "file-restore/list"); listed == 0 {
		t.Error("nothing was listed")
	}
}
