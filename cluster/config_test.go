package cluster_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
)

// The reasons stand in the design, section 10, and in raftConfig.
func TestRaftIsConfiguredAsDecided(t *testing.T) {
	c := cluster.RaftConfig(cluster.Config{Logger: quiet(), Timing: cluster.Timing{Commit: time.Second}})
	if err := raft.ValidateConfig(c); err != nil {
		t.Error(err)
	}
	for what, ok := range map[string]bool{
		"timing":     c.HeartbeatTimeout == 2*time.Second && c.ElectionTimeout == 2*time.Second && c.LeaderLeaseTimeout == 1500*time.Millisecond,
		"own timing": c.CommitTimeout == time.Second,
		"log":        c.TrailingLogs == 10240 && c.SnapshotThreshold == 8192 && c.MaxAppendEntries == 64,
		"votes":      !c.PreVoteDisabled && c.ProtocolVersion == 3,
		"removal":    !c.ShutdownOnRemove,
		"telemetry":  c.NoLegacyTelemetry,
	} {
		if !ok {
			t.Errorf("%s is not as decided: %+v", what, c)
		}
	}
}

func TestRaftLogsThroughSlog(t *testing.T) {
	var out bytes.Buffer
	l := cluster.RaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	l.Debug("hidden")
	l.Trace("hidden")
	l.Named("raft").With("term", 7).Warn("lost", "servers", hclog.Fmt("%+v", []int{1, 2}))
	l.Error("broken")
	l.Info("fine", "odd")
	text := out.String()
	for _, want := range []string{`level=WARN msg=lost part=raft term=7 servers="[1 2]"`, "level=ERROR msg=broken", "level=INFO msg=fine"} {
		if !strings.Contains(text, want) {
			t.Errorf("logged %q, want %q in it", text, want)
		}
	}
	if strings.Contains(text, "hidden") || l.IsDebug() || l.IsTrace() || !l.IsInfo() || !l.IsWarn() || !l.IsError() {
		t.Errorf("levels are not slog's: %q", text)
	}
}
