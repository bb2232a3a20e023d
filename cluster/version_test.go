package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// TestOlderAgentStops: an agent that was not upgraded, or that went back to an older release,
// goes no further than the entry that lets the others write what it cannot read, takes no
// snapshot of them, and says what to do.
func TestOlderAgentStops(t *testing.T) {
	const remedy = "install the newer package again"
	t.Run("in the log", func(t *testing.T) {
		b, err := cluster.Encode(cluster.Entry{ID: "id", At: someTime(), Command: failover.RaiseVersion{Version: failover.CommandVersion + 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, remedy) {
				t.Errorf("it stopped with %q, want %q", got, remedy)
			}
		}()
		cluster.NewFSM().Apply(&raft.Log{Index: 1, Term: 1, Data: b})
		t.Error("it went on")
	})
	t.Run("in a snapshot", func(t *testing.T) {
		s := failover.NewState()
		s.MinVersion = failover.CommandVersion + 1
		var b bytes.Buffer
		if err := cluster.WriteSnapshot(&b, s); err != nil {
			t.Fatal(err)
		}
		err := cluster.NewFSM().Restore(io.NopCloser(&b))
		if !errors.Is(err, cluster.ErrUnknownSnapshot) || !strings.Contains(err.Error(), remedy) {
			t.Errorf("restore: %v, want ErrUnknownSnapshot and %q", err, remedy)
		}
	})
}
