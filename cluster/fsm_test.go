package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

func logEntry(t *testing.T, index uint64, id string, c failover.Command) *raft.Log {
	t.Helper()
	b, err := cluster.Encode(cluster.Entry{
		ID: id, Actor: "tester", At: someTime().Add(time.Duration(index) * time.Second), Command: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 4, Type: raft.LogCommand, Data: b}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFSMStampsAndApplies(t *testing.T) {
	f := cluster.NewFSM()
	before := f.State()
	st, err := f.Outcome(logEntry(t, 9, "p1", failover.SetPause{Reason: "storm"}))
	want := failover.Stamp{Index: 9, Term: 4, At: someTime().Add(9 * time.Second), ID: "p1", Actor: "tester"}
	if err != nil || st != want {
		t.Errorf("Apply: (%+v, %v), want %+v", st, err, want)
	}
	after := f.State()
	if after.Index != 9 || after.Pauses[""].Reason != "storm" {
		t.Errorf("state at %d with pause %q", after.Index, after.Pauses[""].Reason)
	}
	if before.Index != 0 || len(before.Pauses) != 0 {
		t.Error("a state that was handed out has changed")
	}
	if f.State() != after {
		t.Error("State clones again although nothing changed")
	}
	if st, err = f.Outcome(logEntry(t, 10, "p1", failover.SetPause{Reason: "again"})); err != nil || st.Index != 9 {
		t.Errorf("Apply of a repetition: (%+v, %v), want index 9", st, err)
	}
	_, err = f.Outcome(logEntry(t, 11, "p2", failover.EndPause{Site: "nowhere"}))
	if _, ok := errors.AsType[*failover.RejectedError](err); !ok {
		t.Errorf("Apply of what does not fit: %v", err)
	}
}

func TestFSMStopsAtWhatItDoesNotKnow(t *testing.T) {
	f := cluster.NewFSM()
	skip := &raft.Log{Index: 5, Data: entry(1, 1<<15|32000, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{}}`)}
	if _, err := f.Outcome(skip); err != nil || f.State().Index != 5 {
		t.Errorf("Apply of an ignorable entry: %v, state at %d, want 5", err, f.State().Index)
	}
	for _, data := range [][]byte{nil, entry(1, 32000, "{}"), entry(1, 23, `{"newer":1}`)} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, "entry 77") {
					t.Errorf("Apply of %q: panic %q, want one that names entry 77", data, text)
				}
			}()
			f.Apply(&raft.Log{Index: 77, Data: data})
		}()
	}
}

// history applies entries that touch many parts of State.
func history(t *testing.T, f cluster.FSM, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		var c failover.Command = failover.SetPause{Reason: fmt.Sprint("entry ", i)}
		switch i % 4 {
		case 0:
			c = failover.Bootstrap{Network: "assos", Generation: 2}
		case 1:
			c = failover.SetMember{Site: failover.SiteID(fmt.Sprint("site-", i)), ServerID: fmt.Sprint("id-", i), Address: "10.77.1.1:9977"}
		case 2:
			c = failover.EndPause{}
		}
		f.Apply(logEntry(t, i, fmt.Sprint("p", i), c))
	}
}

func TestSnapshotAndTailIsFullReplay(t *testing.T) {
	full, half := cluster.NewFSM(), cluster.NewFSM()
	history(t, full, 1, 40)
	history(t, half, 1, 20)
	var b bytes.Buffer
	if err := cluster.WriteSnapshot(&b, half.State()); err != nil {
		t.Fatal(err)
	}
	restored := cluster.NewFSM()
	history(t, restored, 1, 3) // must be gone afterwards
	if err := restored.Restore(io.NopCloser(&b)); err != nil {
		t.Fatal(err)
	}
	if got, want := asJSON(t, restored.State()), asJSON(t, half.State()); got != want {
		t.Fatalf("restored state\n%s\nwant\n%s", got, want)
	}
	history(t, restored, 21, 40)
	if got, want := asJSON(t, restored.State()), asJSON(t, full.State()); got != want {
		t.Fatalf("restored and went on\n%s\nwant\n%s", got, want)
	}
}

func TestEmptySnapshotHasUsableMaps(t *testing.T) {
	var b bytes.Buffer
	if err := cluster.WriteSnapshot(&b, failover.NewState()); err != nil {
		t.Fatal(err)
	}
	f := cluster.NewFSM()
	if err := f.Restore(io.NopCloser(&b)); err != nil {
		t.Fatal(err)
	}
	history(t, f, 1, 8) // writes to a nil map would panic
}

func TestSnapshotFormat1IsRead(t *testing.T) {
	if *update {
		s := failover.NewState()
		fill(t, reflect.ValueOf(s).Elem(), "State")
		s.MinVersion = 1 // a newer one would be refused
		var b bytes.Buffer
		if err := cluster.WriteSnapshot(&b, s); err != nil {
			t.Fatal(err)
		}
		golden(t, "snapshot-1.golden", b.Bytes())
	}
	b, err := os.ReadFile(filepath.Join("testdata", "snapshot-1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := cluster.ReadSnapshot(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"index":     s.Index == 7 && s.Term == 7,
		"clock":     s.Clock.Equal(someTime()),
		"network":   s.Network != nil && s.Network.Network == "Network" && len(s.Network.Guests) == 1,
		"members":   s.Members["Members-key"].ServerID == "ServerID",
		"reports":   s.Reports["Reports-key"].Report.Observations[0].Target == "Target",
		"guests":    s.Guests["Guests-key"].Epoch.Index == 7,
		"operation": len(s.Ops["Ops-key"].Guests["Guests-key"].Steps) == 1,
		"pauses":    s.Pauses["Pauses-key"].Reason == "Reason",
		"events":    len(s.Events) == 1 && len(s.Seen) == 1,
	} {
		if !ok {
			t.Errorf("%s did not survive in %s", what, asJSON(t, s))
		}
	}
}

func TestReadSnapshotRefuses(t *testing.T) {
	f := cluster.NewFSM()
	history(t, f, 1, 5)
	var buf bytes.Buffer
	if err := cluster.WriteSnapshot(&buf, f.State()); err != nil {
		t.Fatal(err)
	}
	good := buf.String()
	for name, in := range map[string]string{
		"nothing":        "",
		"no header":      strings.Repeat("x", 10_000),
		"a cut state":    good[:len(good)-1],
		"more":           good + "x",
		"a flipped bit":  strings.Replace(good, "id-1", "id-2", 1),
		"a newer format": strings.Replace(good, `"format":1`, `"format":2`, 1),
		"format 0":       strings.Replace(good, `"format":1`, `"format":0`, 1),
		"another index":  strings.Replace(good, `"index":5`, `"index":6`, 1),
		"a huge length":  strings.Replace(good, `"length":`, `"length":9999999999`, 1),
	} {
		before := asJSON(t, f.State())
		if err := f.Restore(io.NopCloser(strings.NewReader(in))); err == nil {
			t.Errorf("%s: Restore: nil", name)
		}
		if after := asJSON(t, f.State()); after != before {
			t.Errorf("%s: a failed Restore changed the state", name)
		}
	}
}
