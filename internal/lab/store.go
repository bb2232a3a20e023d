package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// ChunkSize is the size in bytes of a whole plain chunk; disks are multiples of it. (A real PBS cuts VM
// images into 4 MiB; smaller ones let small lab disks share chunks.)
const ChunkSize = 64 << 10

// ErrNoChunk is returned by Store.Get for a chunk that the store does not hold.
var ErrNoChunk = errors.New("no such chunk")

// ErrBadChunk is returned by Store.Get for a chunk whose bytes no longer have its digest.
var ErrBadChunk = errors.New("chunk has wrong digest")

// ChunkID is the SHA-256 of a chunk's bytes.
type ChunkID [sha256.Size]byte

// String returns the digest in lower-case hex.
func (id ChunkID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the digest as hex.
func (id ChunkID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 64 hex digits.
func (id *ChunkID) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(id) {
		return fmt.Errorf("parse chunk digest: %d characters, want %d", len(text), 2*len(id))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return fmt.Errorf("parse chunk digest: %w", err)
	}
	return nil
}

// Store keeps chunks by their digest, each once. It is in memory or in a directory; both are safe for
// concurrent use, and the lock is never held over a disk access.
type Store struct {
	dir string // "" = in memory

	mu  sync.RWMutex
	mem map[ChunkID][]byte // the bytes in memory; nil values when they are on disk
}

// NewMemStore returns an empty store in memory.
func NewMemStore() *Store { return &Store{mem: map[ChunkID][]byte{}} }

// OpenStore opens the store in dir, creating the directory if it is missing. Left-over temporary files
// of a killed process are ignored.
func OpenStore(dir string) (*Store, error) {
	s := &Store{dir: dir, mem: map[ChunkID][]byte{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open chunk store: %w", err)
	}
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		var id ChunkID
		if id.UnmarshalText([]byte(e.Name())) == nil {
			s.mem[id] = nil
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open chunk store: %w", err)
	}
	return s, nil
}

func (s *Store) path(id ChunkID) string {
	name := id.String()
	return filepath.Join(s.dir, name[:2], name)
}

// Put stores data and returns its digest; data that is already there is not written again. The store
// keeps the slice: the caller must not change it afterwards.
func (s *Store) Put(data []byte) (ChunkID, error) {
	id := ChunkID(sha256.Sum256(data))
	return id, s.put(id, data)
}

func (s *Store) put(id ChunkID, data []byte) error {
	if s.Has(id) {
		return nil
	}
	if s.dir != "" {
		// Rename makes the chunk appear whole or not at all when the process is killed. No fsync: the
		// lab has to outlive its processes, not the machine.
		if err := writeFileAtomic(s.path(id), data); err != nil {
			return fmt.Errorf("store chunk: %w", err)
		}
		data = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem[id] = data
	return nil
}

// Get returns a chunk's bytes, which the caller must not change. The error is ErrNoChunk, ErrBadChunk or
// one of the file system.
func (s *Store) Get(id ChunkID) ([]byte, error) {
	s.mu.RLock()
	data, ok := s.mem[id]
	s.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("read chunk %s: %w", id, ErrNoChunk)
	}
	if s.dir != "" {
		var err error
		if data, err = os.ReadFile(s.path(id)); err != nil {
			return nil, fmt.Errorf("read chunk: %w", err)
		}
	}
	if ChunkID(sha256.Sum256(data)) != id {
		return nil, fmt.Errorf("read chunk %s: %w", id, ErrBadChunk)
	}
	return data, nil
}

// Has tells whether the store holds the chunk, without looking at its bytes.
func (s *Store) Has(id ChunkID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.mem[id]
	return ok
}

// Len returns the number of chunks.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mem)
}

// CopyTo copies the named chunks that dst lacks and returns how many bytes that were.
func (s *Store) CopyTo(dst *Store, ids []ChunkID) (int64, error) { return copyChunks(s.Get, dst, ids) }

func copyChunks(get func(ChunkID) ([]byte, error), dst *Store, ids []ChunkID) (int64, error) {
	var moved int64
	for _, id := range ids {
		if dst.Has(id) {
			continue
		}
		data, err := get(id)
		if err != nil {
			return moved, err
		}
		if got := ChunkID(sha256.Sum256(data)); got != id {
			return moved, fmt.Errorf("copy chunk %s: %w", id, ErrBadChunk)
		}
		if err := dst.put(id, data); err != nil {
			return moved, err
		}
		moved += int64(len(data))
	}
	return moved, nil
}

// Corrupt flips a byte of a stored chunk, as a failing disk does: Get answers ErrBadChunk from then on,
// for every snapshot that shares the chunk.
func (s *Store) Corrupt(id ChunkID) error {
	data, err := s.Get(id)
	if err != nil {
		return fmt.Errorf("corrupt chunk: %w", err)
	}
	bad := bytes.Clone(data)
	bad[len(bad)/2] ^= 0x40
	if s.dir != "" {
		return writeFileAtomic(s.path(id), bad)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem[id] = bad
	return nil
}

// keep drops every chunk that is not in used and returns the number dropped.
func (s *Store) keep(used map[ChunkID]struct{}) (int, error) {
	s.mu.Lock()
	drop := maps.Clone(s.mem)
	for id := range used {
		delete(drop, id)
	}
	for id := range drop {
		delete(s.mem, id)
	}
	s.mu.Unlock()
	if s.dir == "" {
		return len(drop), nil
	}
	var errs []error
	for id := range drop {
		errs = append(errs, os.Remove(s.path(id)))
	}
	return len(drop), errors.Join(errs...)
}

// writeFileAtomic writes data beside path and renames it into place, creating the directory.
func writeFileAtomic(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
