package api

import (
	"cmp"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates holds how much one caller may ask for. What is over is refused with 429,
// but for agents, who wait: what they say of a failover must not get lost.
type Rates struct {
	Person, Agent, Nobody Rate
}

// Rate is requests in a second over time, and how many at once.
type Rate struct {
	Every float64
	Burst int
}

// DefaultRates bear people with scripts and completions, and an agent that restores
// hundreds of guests; a loop gone wild they stop.
func DefaultRates() Rates {
	return Rates{Person: Rate{50, 200}, Agent: Rate{200, 1000}, Nobody: Rate{5, 20}}
}

// Bounds of what is remembered of callers, and of what each may keep open.
const (
	maxCallers       = 1024
	forgetCallers    = 10 * time.Minute
	streamsPerCaller = 4
)

// callers counts what each caller asks for.
type callers struct {
	rates Rates

	mu    sync.Mutex
	known map[string]*caller
}

type caller struct {
	bucket  *rate.Limiter
	seen    time.Time
	streams int
}

func newCallers(r Rates) *callers {
	d := DefaultRates()
	r.Person, r.Agent, r.Nobody = cmp.Or(r.Person, d.Person), cmp.Or(r.Agent, d.Agent), cmp.Or(r.Nobody, d.Nobody)
	return &callers{rates: r, known: map[string]*caller{}}
}

// who is the key under which a request counts, and the rate that it may have.
func (c *callers) who(r *http.Request) (string, Rate) {
	a, known := ActorFrom(r.Context())
	switch {
	case !known:
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return "nobody:" + host, c.rates.Nobody
	case a.Kind == ActorAgent:
		return a.String(), c.rates.Agent
	}
	return string(a.Kind) + ":" + a.Name, c.rates.Person
}

// of returns what is remembered of a caller. Those not seen for long are forgotten,
// and when there are too many at once all but those with streams: they begin anew
// with a full bucket, which bounds memory and harms nobody.
func (c *callers) of(key string, r Rate, now time.Time) *caller {
	known, ok := c.known[key]
	if !ok {
		if len(c.known) >= maxCallers {
			c.forget(now.Add(-forgetCallers))
		}
		if len(c.known) >= maxCallers {
			c.forget(now.Add(time.Hour))
		}
		known = &caller{bucket: rate.NewLimiter(rate.Limit(r.Every), r.Burst)}
		c.known[key] = known
	}
	known.seen = now
	return known
}

func (c *callers) forget(before time.Time) {
	for key, known := range c.known {
		if known.streams == 0 && known.seen.Before(before) {
			delete(c.known, key)
		}
	}
}

// bucket returns the caller's bucket, and whether the caller waits for it.
func (c *callers) bucket(r *http.Request) (b *rate.Limiter, waits bool) {
	key, limit := c.who(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	a, _ := ActorFrom(r.Context())
	return c.of(key, limit, time.Now()).bucket, a.Kind == ActorAgent
}

// stream takes one of the caller's open streams; the func gives it back.
func (c *callers) stream(r *http.Request) (end func(), ok bool) {
	key, limit := c.who(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(key, limit, time.Now())
	if known.streams >= streamsPerCaller {
		return nil, false
	}
	known.streams++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		known.streams--
	}, true
}

// limited lets each caller ask for so much and no more.
func (h *handler) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, waits := h.callers.bucket(r)
		if waits {
			if err := bucket.Wait(r.Context()); err != nil {
				return // the caller has gone, or its time is over before its turn
			}
			next.ServeHTTP(w, r)
			return
		}
		if left := bucket.Reserve(); left.Delay() > 0 {
			wait := left.Delay()
			left.Cancel()
			h.tooMany(w, r, wait)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := strconv.Itoa(int(wait/time.Second) + 1)
	w.Header().Set("Retry-After", seconds)
	h.refuse(w, r, &Error{Status: http.StatusTooManyRequests, Code: CodeTooMany, Args: args("wait", seconds+" s")})
}
