package cluster

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// store is raft's log and its term and vote: one file.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// watchedStore ends the process when a call of the store hangs: raft's leader
// would go on heartbeating while it commits nothing, and never be replaced
// (hashicorp/raft 503). The watch is a timer of its own, since neither the
// caller nor raft's main loop runs any more.
type watchedStore struct {
	store
	limit time.Duration
	exit  func(reason string)
}

// lastLook is the part of the limit that a hung call is given after the rest of it:
// one tenth.
const lastLook = 10

// watch looks twice. A process that was itself frozen in the middle of a call (its
// machine suspended, SIGSTOP) finds that all of the limit has passed when it goes on,
// although the disk has done nothing wrong: the first look then starts the last part,
// within which a sound disk answers.
func (s watchedStore) watch(call string) (stop func()) {
	var over atomic.Bool
	last := s.limit / lastLook
	first := time.AfterFunc(s.limit-last, func() {
		time.AfterFunc(last, func() {
			if !over.Load() {
				s.exit(fmt.Sprintf("raft store: %s takes more than %s", call, s.limit))
			}
		})
	})
	return func() {
		over.Store(true)
		first.Stop()
	}
}

func (s watchedStore) StoreLog(l *raft.Log) error {
	defer s.watch("append")()
	return s.store.StoreLog(l)
}

func (s watchedStore) StoreLogs(ls []*raft.Log) error {
	defer s.watch("append")()
	return s.store.StoreLogs(ls)
}

func (s watchedStore) DeleteRange(from, to uint64) error {
	defer s.watch("delete")()
	return s.store.DeleteRange(from, to)
}

func (s watchedStore) GetLog(index uint64, l *raft.Log) error {
	defer s.watch("read")()
	return s.store.GetLog(index, l)
}

func (s watchedStore) Set(key, value []byte) error {
	defer s.watch("set")()
	return s.store.Set(key, value)
}

func (s watchedStore) SetUint64(key []byte, value uint64) error {
	defer s.watch("set")()
	return s.store.SetUint64(key, value)
}
