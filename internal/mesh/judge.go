package mesh

import (
	"fmt"
	"net/netip"
	"time"
)

// Limits of the judgement, measured with wireguard-go: two peers with a
// keepalive of 25 s see their counters grow every 25 s when idle; a cut tunnel's
// rx stands still while tx goes on growing by keepalives and initiations.
const (
	// frozenAfter is how long nothing may come back while we send: twice the usual
	// keepalive, and a margin. It is longer for a longer keepalive.
	frozenAfter = 60 * time.Second
	margin      = 10 * time.Second
	// sessionEnds is the protocol's REJECT_AFTER_TIME: without a handshake for
	// longer there is no session. It only confirms.
	sessionEnds = 180 * time.Second
)

// Signal is what the counters of a peer tell.
type Signal string

// Signals. Idle and Fresh tell nothing of the peer.
const (
	SignalWorks  Signal = "works"  // bytes came back lately
	SignalFrozen Signal = "frozen" // we send, and nothing has come back for too long
	SignalIdle   Signal = "idle"   // nothing was sent either
	SignalFresh  Signal = "fresh"  // too few readings
)

// Judgement is what is known of a tunnel.
type Judgement struct {
	Signal Signal
	For    time.Duration // of a frozen tunnel: since when we send in vain; never overstated
	Note   string        // for people
	Roamed bool          // the peer's address changed with this reading
}

// Watch is what earlier readings of one peer have left. The zero value is a
// peer that was never read. Times are monotonic, from any fixed start.
type Watch struct {
	begun    bool
	came     bool // rx has grown since the watch began
	rx, tx   uint64
	rxAt     time.Duration // the reading with the newest growth of rx, or the first
	sentFrom time.Duration // the first reading since then with a growth of tx
	sentLast time.Duration // the newest
	sent     bool
	endpoint netip.AddrPort
}

// Judge folds a reading that was made at a time into a Watch.
//
// Silence counts from the first reading that shows that we sent after the last
// byte came: an interface without traffic is silent in both directions and
// healthy. Counters that run back are those of a new peer.
func Judge(w Watch, p Peer, at time.Duration) (Watch, Judgement) {
	if !w.begun || p.Rx < w.rx || p.Tx < w.tx {
		return Watch{begun: true, rx: p.Rx, tx: p.Tx, rxAt: at, endpoint: p.Endpoint},
			Judgement{Signal: SignalFresh, Note: "first reading of the counters" + handshakeNote(p)}
	}
	j := Judgement{Roamed: w.endpoint.IsValid() && p.Endpoint.IsValid() && p.Endpoint != w.endpoint}
	if p.Endpoint.IsValid() {
		w.endpoint = p.Endpoint
	}
	if p.Tx > w.tx {
		if !w.sent {
			w.sentFrom = at
		}
		w.sent, w.sentLast, w.tx = true, at, p.Tx
	}
	if p.Rx > w.rx {
		w.rx, w.rxAt, w.sent, w.came = p.Rx, at, false, true
	}
	j.Signal, j.For = w.signal(limitOf(p), at)
	j.Note = noteOf(j, p)
	return w, j
}

func (w Watch) signal(limit, at time.Duration) (Signal, time.Duration) {
	switch {
	case w.sent && at-w.sentFrom > limit && at-w.sentLast <= limit:
		return SignalFrozen, at - w.sentFrom
	case w.came && at-w.rxAt <= limit:
		return SignalWorks, 0
	case w.sent && at-w.sentFrom <= limit:
		return SignalFresh, 0
	case at-w.rxAt <= limit:
		return SignalFresh, 0
	}
	return SignalIdle, 0
}

// limitOf is how long nothing may come back from a peer.
func limitOf(p Peer) time.Duration { return max(frozenAfter, 2*p.Keepalive+margin) }

func noteOf(j Judgement, p Peer) string {
	switch j.Signal {
	case SignalWorks:
		return "bytes come back" + handshakeNote(p)
	case SignalFrozen:
		return fmt.Sprintf("nothing came back for %s while sending%s", j.For.Round(time.Second), handshakeNote(p))
	case SignalIdle:
		return "no traffic" + handshakeNote(p)
	default:
		return "too few readings" + handshakeNote(p)
	}
}

func handshakeNote(p Peer) string {
	switch {
	case p.Handshake < 0:
		return "; never a handshake"
	case p.Handshake > sessionEnds:
		return fmt.Sprintf("; last handshake %s ago, no session", p.Handshake.Round(time.Second))
	}
	return fmt.Sprintf("; last handshake %s ago", p.Handshake.Round(time.Second))
}
