package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrStoreLost says that a data directory has a server id but not the raft
// store that belongs to it. Going on under that id would forget votes and
// acknowledged entries, and could lose what the others believe committed.
var ErrStoreLost = errors.New("raft store lost")

const (
	idFile      = "server-id"
	storeFile   = "raft.db"
	snapshotDir = "snapshots"
)

// The id stands in the store as well, so that neither can be exchanged alone.
var storeIDKey = []byte("www/server-id")

// ServerID returns the server id of a data directory and makes both on the
// first call. The id is random and names this very copy of the log: a wiped
// disk gets a new one. The directory must not be in use by a Node.
func ServerID(dir string) (string, error) {
	st, id, err := openStore(dir)
	if err != nil {
		return "", err
	}
	if err := st.Close(); err != nil {
		return "", fmt.Errorf("close raft store: %w", err)
	}
	return id, nil
}

func openStore(dir string) (*raftboltdb.BoltStore, string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("create data directory: %w", err)
	}
	id, err := readID(dir)
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, storeFile)
	// bbolt takes an empty file for a new one.
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	if err != nil && !missing {
		return nil, "", fmt.Errorf("open raft store: %w", err)
	}
	if id != "" && missing {
		return nil, "", lostError(dir, id, "is missing")
	}
	st, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true,
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, "", fmt.Errorf("open raft store %s: in use by another process", path)
	}
	if err != nil {
		return nil, "", fmt.Errorf("open raft store %s: %w", path, err)
	}
	id, err = matchID(dir, id, st)
	if err != nil {
		return nil, "", errors.Join(err, st.Close())
	}
	return st, id, nil
}

// matchID demands that file and store tell the same id. Where both are new the
// id is drawn and written to the store first: a crash between the two leaves a
// store that names its id, and the file is written again.
func matchID(dir, id string, st *raftboltdb.BoltStore) (string, error) {
	b, err := st.Get(storeIDKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return "", fmt.Errorf("read server id from raft store: %w", err)
	}
	inStore := string(b)
	switch {
	case id != "" && inStore == "":
		return "", lostError(dir, id, "was replaced by an empty one")
	case id != "" && id != inStore:
		return "", lostError(dir, id, "belongs to server "+inStore)
	case id != "":
		return id, nil
	case inStore != "":
		return inStore, writeID(dir, inStore)
	}
	if last, err := st.LastIndex(); err != nil || last != 0 {
		return "", errors.Join(fmt.Errorf("%s holds a log up to entry %d but no server id: %w", filepath.Join(dir, storeFile), last, ErrStoreLost), err)
	}
	if snaps, err := os.ReadDir(filepath.Join(dir, snapshotDir)); err == nil && len(snaps) > 0 {
		return "", fmt.Errorf("%s holds snapshots but no server id: %w", dir, ErrStoreLost)
	}
	id = strings.ToLower(rand.Text())
	if err := st.Set(storeIDKey, []byte(id)); err != nil {
		return "", fmt.Errorf("store server id: %w", err)
	}
	return id, writeID(dir, id)
}

func lostError(dir, id, what string) error {
	return fmt.Errorf("%s %s, and server %s may not go on without its log: "+
		"move %s away, start with an empty one (it gets a new id) and have this site's old member removed: %w",
		filepath.Join(dir, storeFile), what, id, dir, ErrStoreLost)
}

func readID(dir string) (string, error) {
	path := filepath.Join(dir, idFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read server id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if len(id) < 16 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", fmt.Errorf("read server id: %s does not hold one", path)
	}
	return id, nil
}

func writeID(dir, id string) (err error) {
	f, err := os.CreateTemp(dir, idFile+".*")
	if err != nil {
		return fmt.Errorf("write server id: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write server id: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	if _, err := f.WriteString(id + "\n"); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, idFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
