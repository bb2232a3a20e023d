package failover

import "sync/atomic"

// tail lets the clones of a state share the lists that only grow. Of those that
// see the same end of an array one may write behind it; the others copy. What
// was written before is never changed, so that older states stay as they are.
type tail struct{ room atomic.Int64 }

// grow returns list with x behind it. At the end of the array it copies, with
// room for as much again.
func grow[T any](t **tail, list []T, x T) []T {
	n, room := len(list), int64(cap(list)-len(list))
	if *t != nil && room > 0 && (*t).room.CompareAndSwap(room, room-1) {
		return append(list, x)
	}
	out := append(make([]T, 0, 2*n+16), list...)
	out = append(out, x)
	fresh := &tail{}
	fresh.room.Store(int64(cap(out) - len(out)))
	*t = fresh
	return out
}
