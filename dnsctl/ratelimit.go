package dnsctl

import (
	"net/netip"
	"sync"
	"time"
)

// RateLimit bounds equal answers over UDP to one network (/24, /56), so that the server is no amplifier for forged
// sources. The zero value limits nothing: an agent that serves only the mesh needs none.
type RateLimit struct {
	// PerSecond answers of one kind about one name to one network; 0 switches the limiter off. Small public servers
	// take 20 to 50.
	PerSecond int
	// Burst is the size of the bucket; 0 means 2 × PerSecond.
	Burst int
	// Slip: every Slip-th limited answer goes out empty with TC=1, so that a real client comes back over TCP; 0 means 2.
	Slip int
	// Entries bounds the table (0 means 65536); when it is full it starts afresh.
	Entries int
	// Exempt networks are never limited.
	Exempt []netip.Prefix
}

type verdict uint8

const (
	pass verdict = iota
	slip
	drop
)

type bucketKey struct {
	network netip.Prefix
	about   string
	kind    kind
}

type bucket struct {
	tokens  float64
	at      time.Duration
	limited int
}

// limiter is a table of token buckets. It reads no clock: the time since some fixed moment is an argument.
type limiter struct {
	cfg RateLimit

	mu      sync.Mutex
	buckets map[bucketKey]bucket
}

func newLimiter(cfg RateLimit) *limiter {
	if cfg.Burst <= 0 {
		cfg.Burst = 2 * cfg.PerSecond
	}
	if cfg.Slip <= 0 {
		cfg.Slip = 2
	}
	if cfg.Entries <= 0 {
		cfg.Entries = 1 << 16
	}
	return &limiter{cfg: cfg, buckets: make(map[bucketKey]bucket)}
}

// allow takes a token for an answer to the source at the monotonic time now.
func (l *limiter) allow(source netip.Addr, r result, now time.Duration) verdict {
	if l.cfg.PerSecond <= 0 || containsAddr(l.cfg.Exempt, source) {
		return pass
	}
	bits := 24
	if source.Is6() {
		bits = 56
	}
	network, err := source.Prefix(bits)
	if err != nil { // no address at all: not a UDP client
		return pass
	}
	k := bucketKey{network: network, about: r.about, kind: r.kind}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets[k]
	if !known {
		if len(l.buckets) >= l.cfg.Entries {
			clear(l.buckets)
		}
		b = bucket{tokens: float64(l.cfg.Burst), at: now}
	}
	b.tokens = min(float64(l.cfg.Burst), b.tokens+(now-b.at).Seconds()*float64(l.cfg.PerSecond))
	b.at = now
	v := pass
	if b.tokens >= 1 {
		b.tokens--
	} else {
		b.limited++
		v = drop
		if b.limited%l.cfg.Slip == 0 {
			v = slip
		}
	}
	l.buckets[k] = b
	return v
}

func containsAddr(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
