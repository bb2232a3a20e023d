package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

func rebuildable(t *testing.T) []byte {
	t.Helper()
	s := failover.NewState()
	s.Index, s.Term, s.Generation = 42, 5, 3
	s.Members["moulin"] = failover.Member{ServerID: "m1", Address: "127.0.0.1:1", Voter: true}
	s.Members["quai"] = failover.Member{ServerID: "q1", Address: "127.0.0.1:2", Voter: true}
	b, err := cluster.EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rebuild(dir string, from []byte) cluster.Rebuild {
	return cluster.Rebuild{Dir: dir, Network: "assos", Site: "moulin", Address: "127.0.0.1:1", From: from, Cause: "a test", Actor: "tester", Now: someTime()}
}

// A rebuild takes effect only once it is committed, and a crash anywhere on the
// way is finished at the next start.
func TestRebuildIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	old, err := cluster.ServerID(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := rebuild(dir, rebuildable(t)).Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.FinishRebuild(dir, someTime()); err != nil {
		t.Fatal(err)
	}
	if got, err := cluster.ServerID(dir); err != nil || got != old {
		t.Fatalf("prepared only: server id %s, %v, want the old one %s", got, err, old)
	}
	if err := cluster.CommitRebuild(dir); err != nil {
		t.Fatal(err)
	}
	// A crash after the old store was moved away.
	if err := os.Rename(filepath.Join(dir, "raft.db"), filepath.Join(t.TempDir(), "raft.db")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := cluster.FinishRebuild(dir, someTime().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err := cluster.ServerID(dir); err != nil || got != id || got == old {
			t.Fatalf("server id %s, %v, want %s", got, err, id)
		}
	}
	if has, err := cluster.HasLog(dir); err != nil || !has {
		t.Errorf("has a log: %v, %v", has, err)
	}
}

func TestRebuildRefusesWhatIsNotOurs(t *testing.T) {
	empty, err := cluster.EncodeSnapshot(failover.NewState())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from []byte
		want string
	}{
		"an empty directory": {nil, "never began"},
		"an empty snapshot":  {empty, "never began"},
		"damage":             {rebuildable(t)[:60], "read snapshot"},
	} {
		dir := t.TempDir()
		if _, err := rebuild(dir, c.from).Prepare(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := cluster.FinishRebuild(dir, someTime()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
