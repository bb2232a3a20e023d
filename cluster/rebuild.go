package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/raoull/worldwidewelsh/failover"
)

// Names in a data directory while and after its log is replaced.
const (
	rebuildDir   = "rebuild.new"
	rebuildReady = "ready"
	replacedDir  = "replaced-"
)

// EncodeSnapshot writes a state in the form of raft's snapshots.
func EncodeSnapshot(s *failover.State) ([]byte, error) {
	var out bytes.Buffer
	if err := writeSnapshot(&out, s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// DecodeSnapshot reads what EncodeSnapshot wrote, after checking it.
func DecodeSnapshot(b []byte) (*failover.State, error) { return readSnapshot(bytes.NewReader(b)) }

// HasLog says whether a data directory holds a log or a snapshot. The directory
// must not be in use by a Node.
func HasLog(dir string) (bool, error) {
	st, _, err := openStore(dir)
	if err != nil {
		return false, err
	}
	last, err := st.LastIndex()
	if err := errors.Join(err, st.Close()); err != nil {
		return false, fmt.Errorf("look at raft store: %w", err)
	}
	snaps, err := os.ReadDir(filepath.Join(dir, snapshotDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look at snapshots: %w", err)
	}
	return last > 0 || len(snaps) > 0, nil
}

// Rebuild describes a new group that begins with the state of a lost one.
type Rebuild struct {
	Dir     string // data directory; not in use by a Node
	Network string
	Site    failover.SiteID
	Address string // of the mesh port, for the others
	From    []byte // snapshot; nil: what Dir itself knows
	Cause   string // where the state comes from, for the history
	Actor   string
	Now     time.Time
}

// Prepare makes the new log beside the old one and changes nothing else;
// FinishRebuild puts it in place. It returns the new server id: the old
// group knows the old one, and must not be able to talk to the new group.
//
// A state of this agent's own takes in every entry of its log, those included
// whose commitment it never heard of: to forget an ownership that was agreed is
// worse than to remember one that was not.
func (r Rebuild) Prepare() (serverID string, err error) {
	s, term, err := r.state()
	if err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	if s.Generation == 0 {
		return "", errors.New("rebuild: this log never began: there is nothing to rebuild from")
	}
	if s.Network != nil && s.Network.Network != r.Network {
		return "", fmt.Errorf("rebuild: the state is of network %q, this agent is of %q", s.Network.Network, r.Network)
	}
	fresh := filepath.Join(r.Dir, rebuildDir)
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	st, id, err := openStore(fresh)
	if err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	stamp := failover.Stamp{Index: s.Index + 1, Term: term + 1, At: r.Now, Actor: r.Actor}
	self := failover.SetMember{Site: r.Site, ServerID: id, Address: r.Address, Voter: true}
	if err := r.writeSnapshot(fresh, s.Rebuilt(self, r.Cause, stamp), self); err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	// The key under which raft keeps its term (hashicorp/raft, raft.go, keyCurrentTerm).
	if err := st.SetUint64([]byte("CurrentTerm"), stamp.Term); err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	return id, nil
}

func (r Rebuild) writeSnapshot(dir string, s *failover.State, self failover.SetMember) error {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 1, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	_, trans := raft.NewInmemTransport(raft.ServerAddress(self.Address))
	group := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(self.ServerID), Address: raft.ServerAddress(self.Address),
	}}}
	sink, err := snaps.Create(raft.SnapshotVersionMax, s.Index, s.Term, group, s.Index, trans)
	if err != nil {
		return errors.Join(err, trans.Close())
	}
	return errors.Join(snapshot{state: s}.Persist(sink), trans.Close())
}

// state returns what the new group begins with, and the newest term known.
func (r Rebuild) state() (*failover.State, uint64, error) {
	if r.From != nil {
		s, err := DecodeSnapshot(r.From)
		if err != nil {
			return nil, 0, err
		}
		return s, s.Term, nil
	}
	return readDir(r.Dir)
}

// readDir replays the newest snapshot of a data directory and the whole log after it.
func readDir(dir string) (s *failover.State, term uint64, err error) {
	st, _, err := openStore(dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	f := newFSM()
	if err := restoreNewest(dir, f, &term); err != nil {
		return nil, 0, err
	}
	first, err := st.FirstIndex()
	if err != nil {
		return nil, 0, err
	}
	last, err := st.LastIndex()
	if err != nil {
		return nil, 0, err
	}
	for i := max(first, f.index+1); i <= last; i++ {
		var l raft.Log
		if err := st.GetLog(i, &l); err != nil {
			return nil, 0, fmt.Errorf("read entry %d: %w", i, err)
		}
		term = max(term, l.Term)
		if l.Type == raft.LogCommand {
			f.Apply(&l)
		}
	}
	known, err := st.GetUint64([]byte("CurrentTerm"))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, 0, fmt.Errorf("read term: %w", err)
	}
	s = f.read().Clone()
	s.Index = max(s.Index, last)
	return s, max(term, known), nil
}

func restoreNewest(dir string, f *fsm, term *uint64) error {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 3, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	list, err := snaps.List()
	if err != nil || len(list) == 0 {
		return err
	}
	_, r, err := snaps.Open(list[0].ID)
	if err != nil {
		return err
	}
	*term = list[0].Term
	return f.Restore(r)
}

// CommitRebuild says that everything else of the new group is in place too
// (certificates): from here on FinishRebuild goes through with it.
func CommitRebuild(dir string) error {
	f, err := os.Create(filepath.Join(dir, rebuildDir, rebuildReady))
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), syncDir(filepath.Join(dir, rebuildDir)), syncDir(dir)); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	return nil
}

// FinishRebuild puts a prepared and committed log in the place of the old one,
// which is kept beside. It does nothing without one and may be repeated after a crash: an
// agent calls it before it opens its node.
func FinishRebuild(dir string, now time.Time) error {
	fresh := filepath.Join(dir, rebuildDir)
	if _, err := os.Stat(filepath.Join(fresh, rebuildReady)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("finish rebuild: %w", err)
	}
	old := filepath.Join(dir, replacedDir+now.UTC().Format("20060102-150405"))
	if err := os.MkdirAll(old, 0o700); err != nil {
		return fmt.Errorf("finish rebuild: %w", err)
	}
	// The id last: an old store without its id is never mistaken for a new one.
	for _, name := range []string{snapshotDir, storeFile, idFile} {
		if _, err := os.Stat(filepath.Join(fresh, name)); errors.Is(err, fs.ErrNotExist) {
			continue // moved before a crash
		}
		err := os.Rename(filepath.Join(dir, name), filepath.Join(old, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("finish rebuild: %w", err)
		}
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("finish rebuild: %w", err)
		}
	}
	if err := errors.Join(syncDir(dir), os.RemoveAll(fresh), syncDir(dir)); err != nil {
		return fmt.Errorf("finish rebuild: %w", err)
	}
	return nil
}
