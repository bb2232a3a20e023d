package cluster

import (
	"fmt"
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

func (s watchedStore) watch(call string) (stop func() bool) {
	return time.AfterFunc(s.limit, func() {
		s.exit(fmt.Sprintf("raft store: %s takes more than %s", call, s.limit))
	}).Stop
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
