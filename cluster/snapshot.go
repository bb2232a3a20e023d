package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

// snapshotFormat is raised when an older version could not read the state
// rightly; readers of every earlier format are kept.
const snapshotFormat = 1

// ErrUnknownSnapshot says that a newer version wrote a snapshot.
var ErrUnknownSnapshot = errors.New("snapshot format not known to this version")

// maxSnapshot bounds what a header may announce. The design's largest network
// (100 sites, 5 000 guests) takes 30 MiB.
const maxSnapshot = 512 << 20

// LastSnapshot is when the newest snapshot of this agent was taken, by the wall
// clock of its machine; zero: there is none.
func (n *Node) LastSnapshot() (time.Time, error) {
	snaps, err := n.snaps.List()
	if err != nil {
		return time.Time{}, fmt.Errorf("list snapshots: %w", err)
	}
	var newest time.Time
	for _, s := range snaps {
		// raft names them TERM-INDEX-MILLISECONDS (v1.7.3, snapshotName) and keeps the time nowhere else.
		ms, err := strconv.ParseInt(s.ID[strings.LastIndex(s.ID, "-")+1:], 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("read the time of snapshot %s: %w", s.ID, err)
		}
		if at := time.UnixMilli(ms); at.After(newest) {
			newest = at
		}
	}
	return newest, nil
}

// snapshotHeader is the first line of a snapshot; the state as JSON follows.
type snapshotHeader struct {
	Format int    `json:"format"`
	Index  uint64 `json:"index"`
	Length int    `json:"length"` // bytes of the state
	CRC    uint32 `json:"crc"`    // CRC-32C of them
}

// snapshot is a state that no one changes any more.
type snapshot struct{ state *failover.State }

// Persist writes the header and the state; raft fsyncs and renames.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, s.state); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release has nothing to give back: clones are garbage.
func (s snapshot) Release() {}

func writeSnapshot(w io.Writer, s *failover.State) error {
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	head, err := json.Marshal(snapshotHeader{
		Format: snapshotFormat, Index: s.Index, Length: len(body), CRC: checksum(body),
	})
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	for _, part := range [][]byte{head, []byte("\n"), body} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
	}
	return nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func readSnapshot(r io.Reader) (*failover.State, error) {
	in := bufio.NewReader(r)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read snapshot: header: %w", err)
	}
	var head snapshotHeader
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("read snapshot: header: %w", err)
	}
	switch {
	case head.Format > snapshotFormat:
		return nil, fmt.Errorf("read snapshot: format %d, this version reads up to %d: %w", head.Format, snapshotFormat, ErrUnknownSnapshot)
	case head.Format < 1 || head.Length < 0 || head.Length > maxSnapshot:
		return nil, fmt.Errorf("read snapshot: header: format %d, length %d", head.Format, head.Length)
	}
	body, err := io.ReadAll(io.LimitReader(in, int64(head.Length)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read snapshot: %w", err)
	case len(body) != head.Length:
		return nil, fmt.Errorf("read snapshot: state has %d bytes or more, header says %d", len(body), head.Length)
	case checksum(body) != head.CRC:
		return nil, fmt.Errorf("read snapshot: checksum %08x, header says %08x", checksum(body), head.CRC)
	}
	// Decoding into NewState keeps the maps that were empty and left out.
	s := failover.NewState()
	if err := strictJSON(body, s); err != nil {
		return nil, fmt.Errorf("read snapshot: state: %w: %w", ErrUnknownSnapshot, err)
	}
	if s.MinVersion > failover.CommandVersion {
		return nil, fmt.Errorf("read snapshot: %w: %w", tooNew(s.MinVersion), ErrUnknownSnapshot)
	}
	if s.Index != head.Index {
		return nil, fmt.Errorf("read snapshot: state at index %d, header says %d", s.Index, head.Index)
	}
	return s, nil
}
