package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/cluster"
)

func TestServerIDIsBoundToItsStore(t *testing.T) {
	id := func(t *testing.T, dir string) string {
		t.Helper()
		got, err := cluster.ServerID(dir)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string // in the error; "": same id, "new": another one
	}{
		{"nothing happened", func(*testing.T, string) {}, ""},
		{"the id file is lost", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "server-id")))
		}, ""},
		{"the whole directory is lost", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
		}, "new"},
		{"the store is lost", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "raft.db")))
		}, "is missing"},
		{"the store is empty", func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, "raft.db"), 0))
		}, "is missing"},
		{"the store is another's", func(t *testing.T, dir string) {
			other := filepath.Join(t.TempDir(), "other")
			id(t, other)
			must(t, os.Rename(filepath.Join(other, "raft.db"), filepath.Join(dir, "raft.db")))
		}, "belongs to server"},
		{"the id file is no id", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "server-id"), []byte("../../etc\n"), 0o600))
		}, "does not hold one"},
		{"only snapshots are left", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.MkdirAll(filepath.Join(dir, "snapshots", "2-3-4"), 0o700))
		}, "no server id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			first := id(t, dir)
			if len(first) != 26 {
				t.Errorf("id %q", first)
			}
			tc.damage(t, dir)
			again, err := cluster.ServerID(dir)
			switch {
			case tc.want == "" && (err != nil || again != first):
				t.Errorf("ServerID: (%q, %v), want %q", again, err, first)
			case tc.want == "new" && (err != nil || again == first):
				t.Errorf("ServerID: (%q, %v), want a new one", again, err)
			case tc.want != "" && tc.want != "new" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("ServerID: (%q, %v), want an error with %q", again, err, tc.want)
			}
			if strings.Contains(tc.want, "missing") && !errors.Is(err, cluster.ErrStoreLost) {
				t.Errorf("ServerID: %v, want ErrStoreLost", err)
			}
		})
	}
}
