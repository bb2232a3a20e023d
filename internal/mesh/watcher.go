package mesh

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Rates of reading. A router answers few requests at once and logs each
// (RouterOS REST), so it is asked seldom and by one caller.
const (
	DefaultEvery = 15 * time.Second
	readWithin   = 10 * time.Second
	staleAfter   = 3 // intervals without a reading
)

// Errors of Watcher.Tell.
var (
	ErrNotRead = errors.New("not read yet")
	ErrStale   = errors.New("not read lately")
	ErrNoPeer  = errors.New("no peer carries the address")
)

// Reader reads all peers once.
type Reader interface {
	Peers(ctx context.Context) ([]Peer, error)
}

var (
	_ Reader = Local{}
	_ Reader = (*RouterOS)(nil)
)

// Watched is a peer with what its readings tell.
type Watched struct {
	Peer
	Judgement
	watch Watch
}

// Watcher reads peers every Every and judges them. Step is called by one driver
// at a time, everything else may be called beside it.
type Watcher struct {
	Reader Reader
	Every  time.Duration // zero: DefaultEvery
	Start  time.Time     // zero of the monotonic times

	mu    sync.Mutex // never held while reading
	next  time.Time
	peers map[Key]Watched
	at    time.Time // of the newest reading
	err   error     // of the newest attempt
}

// Step reads if it is time to, and returns when to next.
func (w *Watcher) Step(ctx context.Context, now time.Time) (next time.Time) {
	w.mu.Lock()
	next, due := w.next, !now.Before(w.next)
	if due {
		w.next = now.Add(w.every())
		next = w.next
	}
	w.mu.Unlock()
	if !due {
		return next
	}
	limited, cancel := context.WithTimeout(ctx, min(readWithin, w.every()))
	peers, err := w.Reader.Peers(limited)
	cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err != nil {
		return next
	}
	w.at = now
	fresh := make(map[Key]Watched, len(peers))
	for _, p := range peers {
		// A row that is listed twice is read once: the second reading of the same
		// moment would look like one without growth.
		if _, twice := fresh[p.Key()]; twice {
			continue
		}
		watch, j := Judge(w.peers[p.Key()].watch, p, now.Sub(w.Start))
		fresh[p.Key()] = Watched{Peer: p, Judgement: j, watch: watch}
	}
	w.peers = fresh
	return next
}

func (w *Watcher) every() time.Duration {
	if w.Every <= 0 {
		return DefaultEvery
	}
	return w.Every
}

// Peers returns what is known of every peer, ordered by key, when it was read,
// and the error of the newest attempt.
func (w *Watcher) Peers() ([]Watched, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Watched, 0, len(w.peers))
	for _, p := range w.peers {
		out = append(out, p)
	}
	slices.SortFunc(out, func(x, y Watched) int { return compareKeys(x.Peer, y.Peer) })
	return out, w.at, w.err
}

// Tell returns what is known of the peer that carries the first of the
// addresses that one carries. The error is ErrNotRead, ErrStale or ErrNoPeer,
// joined with why it could not be read.
func (w *Watcher) Tell(now time.Time, to ...netip.Addr) (Watched, error) {
	all, at, err := w.Peers()
	switch {
	case at.IsZero():
		return Watched{}, errors.Join(ErrNotRead, err)
	case now.Sub(at) > staleAfter*w.every():
		return Watched{}, errors.Join(ErrStale, err)
	}
	peers := make([]Peer, len(all))
	for i, p := range all {
		peers[i] = p.Peer
	}
	for _, a := range to {
		if !a.IsValid() {
			continue
		}
		if p, ok := For(peers, a); ok {
			i := slices.IndexFunc(all, func(w Watched) bool { return w.Key() == p.Key() })
			return all[i], nil
		}
	}
	return Watched{}, ErrNoPeer
}
