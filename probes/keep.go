package probes

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// Keeping a connection to each agent spares a handshake per probe, which is
// nine tenths of the cost of one. What it could hide is bounded: each probe
// still asks the agent and waits for its answer, so that a dead process, host or
// direction of the way is a miss at once; a connection that missed is closed,
// and a new one is proved every keptFor.
const (
	keptFor  = 30 * time.Second // after this a connection is replaced
	keptIdle = 10 * time.Second // unused for longer, its target is probed no more
)

// Keeper holds one open connection per agent between two probes. The zero
// value is ready; it is safe for concurrent use.
type Keeper struct {
	mu   sync.Mutex // never held over a read, write or dial
	idle map[Target]*line
}

// line is an open connection to an agent. It is used by one probe at a time.
type line struct {
	conn   *tls.Conn
	heard  *heard // below conn
	limit  *io.LimitedReader
	reader *bufio.Reader
	now    func() time.Time
	born   time.Time
	used   time.Time
}

func newLine(c *tls.Conn, h *heard, now func() time.Time) *line {
	l := &line{conn: c, heard: h, limit: &io.LimitedReader{R: c}, now: now, born: now()}
	l.reader = bufio.NewReader(l.limit)
	return l
}

// errAnswerTooLong is a health that is none.
var errAnswerTooLong = errors.New("the answer is too long")

// ask makes one request and reads its answer to the end, so that the next may follow.
func (l *line) ask(req *http.Request) (Result, error) {
	l.limit.N = maxHeader + maxBody
	sent := l.now()
	resp, err := roundTripOn(l.conn, l.reader, req)
	if err != nil {
		return Result{}, err
	}
	received := l.now()
	r, err := judgeHTTP("200", resp)
	r.Ahead = ahead(resp, sent, received)
	if err != nil || req.Close {
		return r, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return Result{}, err
	}
	if l.limit.N == 0 {
		return Result{}, errAnswerTooLong
	}
	if resp.Close {
		l.born = time.Time{} // the agent closes: not to be kept
	}
	return r, nil
}

// timeHeader is where an agent tells its wall clock (internal/api, TimeHeader).
const timeHeader = "Www-Time"

// ahead is by how much the clock of who answered is ahead of the own one, as if both ways took
// as long; 0 where it tells none.
func ahead(resp *http.Response, sent, received time.Time) time.Duration {
	theirs, err := time.Parse(time.RFC3339Nano, resp.Header.Get(timeHeader))
	if err != nil {
		return 0
	}
	return theirs.Sub(sent.Add(received.Sub(sent) / 2))
}

// take returns the connection that is kept for a target, nil if there is none.
func (k *Keeper) take(t Target, now time.Time) *line {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	l := k.idle[t]
	delete(k.idle, t)
	stale := k.unused(now)
	k.mu.Unlock()
	closeAll(stale)
	if l != nil && now.Sub(l.born) >= keptFor {
		closeAll([]*line{l})
		return nil
	}
	return l
}

// put keeps a connection for the next probe, if it is to be kept.
func (k *Keeper) put(t Target, l *line, now time.Time) bool {
	if k == nil || now.Sub(l.born) >= keptFor {
		return false
	}
	l.used = now
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.idle == nil {
		k.idle = map[Target]*line{}
	}
	k.idle[t] = l
	return true
}

// unused takes the connections out that no probe has asked for lately.
func (k *Keeper) unused(now time.Time) []*line {
	var out []*line
	for t, l := range k.idle {
		if now.Sub(l.used) > keptIdle {
			out = append(out, l)
			delete(k.idle, t)
		}
	}
	return out
}

// Close closes every connection that is kept.
func (k *Keeper) Close() {
	k.mu.Lock()
	var all []*line
	for _, l := range k.idle {
		all = append(all, l)
	}
	k.idle = nil
	k.mu.Unlock()
	closeAll(all)
}

func closeAll(lines []*line) {
	for _, l := range lines {
		_ = l.heard.Close() // between two exchanges nothing is buffered
	}
}
