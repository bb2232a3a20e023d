package cluster_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memNet is a network of streams in memory, for synctest bubbles: data arrives
// after a delay; a host or a direction that is cut off carries nothing, and what
// was under way arrives when it is healed, as by TCP's retransmission. A host
// that dies takes its connections with it.
type memNet struct {
	delay time.Duration
	// transit says how long what is sent now takes, retransmissions included;
	// nil: delay. It is called with mu held.
	transit func(from, to string) time.Duration

	mu        sync.Mutex
	listeners map[string]*memListener // by address
	cut       map[string]bool         // by host
	ways      map[[2]string]bool      // cut directions, from and to
	pipes     map[*pipe]bool          // of connections that are not closed
	changed   chan struct{}           // closed at the next cut or heal
}

func newMemNet(delay time.Duration) *memNet {
	return &memNet{
		delay: delay, listeners: map[string]*memListener{}, cut: map[string]bool{}, ways: map[[2]string]bool{},
		pipes: map[*pipe]bool{}, changed: make(chan struct{}),
	}
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func (m *memNet) set(host string, cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[host] = cut
	close(m.changed)
	m.changed = make(chan struct{})
}

// way cuts or heals one direction.
func (m *memNet) way(from, to string, cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ways[[2]string{from, to}] = cut
	close(m.changed)
	m.changed = make(chan struct{})
}

// blocked says whether what a sends does not reach b now.
func (m *memNet) blocked(a, b string) (bool, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return a != b && (m.cut[a] || m.cut[b] || m.ways[[2]string{a, b}]), m.changed
}

// blockedEither says whether no connection can be opened between two hosts now.
func (m *memNet) blockedEither(a, b string) (bool, <-chan struct{}) {
	if blocked, changed := m.blocked(a, b); blocked {
		return true, changed
	}
	return m.blocked(b, a)
}

// kill ends a host: nothing that its processes still say leaves it. A process
// that dies alone resets its connections; when the machine goes with it, the
// others hear nothing, until it is back.
func (m *memNet) kill(host string, silent bool) {
	m.mu.Lock()
	var pipes []*pipe
	for p := range m.pipes {
		if p.from == host || p.to == host {
			pipes = append(pipes, p)
		}
	}
	for addr := range m.listeners {
		if hostOf(addr) == host {
			delete(m.listeners, addr)
		}
	}
	m.mu.Unlock()
	for _, p := range pipes {
		p.mu.Lock()
		p.mute = true
		p.reset = p.reset || !silent || p.to == host
		p.wake()
		p.mu.Unlock()
	}
}

// reset ends every connection that a host's death left half open, as the machine
// does when it is back, or that ever was (host "").
func (m *memNet) reset(host string) {
	m.mu.Lock()
	pipes := maps.Clone(m.pipes)
	m.mu.Unlock()
	for p := range pipes {
		p.mu.Lock()
		if host == "" || p.mute && (p.from == host || p.to == host) {
			p.reset = true
			p.wake()
		}
		p.mu.Unlock()
	}
}

func (m *memNet) listen(addr string) *memListener {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &memListener{net: m, addr: memAddr(addr), conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	m.listeners[addr] = l
	return l
}

func (m *memNet) dialFrom(host string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		for {
			blocked, changed := m.blockedEither(host, hostOf(addr))
			if !blocked {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		m.mu.Lock()
		l := m.listeners[addr]
		m.mu.Unlock()
		if l == nil {
			return nil, errors.New("connection refused")
		}
		there, back := newPipe(m, host, hostOf(addr)), newPipe(m, hostOf(addr), host)
		m.mu.Lock()
		m.pipes[there], m.pipes[back] = true, true
		m.mu.Unlock()
		local := &memConn{in: back, out: there, local: memAddr(host + ":0"), remote: memAddr(addr)}
		remote := &memConn{in: there, out: back, local: memAddr(addr), remote: memAddr(host + ":0")}
		select {
		case l.conns <- remote:
			return local, nil
		case <-l.closed:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

type memListener struct {
	net    *memNet
	addr   memAddr
	conns  chan net.Conn
	closed chan struct{}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
		if l.net.listeners[string(l.addr)] == l {
			delete(l.net.listeners, string(l.addr))
		}
	}
	return nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

// pipe is one direction of a connection.
type pipe struct {
	net      *memNet
	from, to string

	mu       sync.Mutex
	queue    []chunk
	last     time.Time     // when the newest of it arrives
	closed   bool          // by the reader's side
	mute     bool          // the sender or the receiver is dead: nothing more is sent
	reset    bool          // both ends are told that it is over
	deadline time.Time     // of reads
	changed  chan struct{} // closed at the next change
}

type chunk struct {
	at   time.Time
	data []byte // nil: end of stream
}

func newPipe(m *memNet, from, to string) *pipe {
	return &pipe{net: m, from: from, to: to, changed: make(chan struct{})}
}

// wake must be called with mu held.
func (p *pipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) send(data []byte) error {
	p.net.mu.Lock()
	takes := p.net.delay
	if p.net.transit != nil {
		takes = p.net.transit(p.from, p.to)
	}
	p.net.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return io.ErrClosedPipe
	case p.mute:
		return nil // the reader is told, if anybody is
	case p.reset:
		return syscall.ECONNRESET
	}
	at := time.Now().Add(takes)
	if at.Before(p.last) {
		at = p.last // a stream: what was sent before comes first
	}
	p.last = at
	p.queue = append(p.queue, chunk{at: at, data: data})
	p.wake()
	return nil
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		blocked, healed := p.net.blocked(p.from, p.to)
		n, wait, changed, err := p.take(b, blocked)
		if wait == 0 {
			return n, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-healed:
		}
		timer.Stop()
	}
}

// take reads what is there, or says how long nothing can be.
func (p *pipe) take(b []byte, blocked bool) (n int, wait time.Duration, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	wait = 24 * time.Hour
	switch {
	case p.closed:
		return 0, 0, nil, net.ErrClosed
	case p.reset:
		return 0, 0, nil, syscall.ECONNRESET
	case !p.deadline.IsZero() && !now.Before(p.deadline):
		return 0, 0, nil, os.ErrDeadlineExceeded
	case len(p.queue) > 0 && !blocked && !now.Before(p.queue[0].at):
		if p.queue[0].data == nil {
			return 0, 0, nil, io.EOF
		}
		n = copy(b, p.queue[0].data)
		if p.queue[0].data = p.queue[0].data[n:]; len(p.queue[0].data) == 0 {
			p.queue = p.queue[1:]
		}
		return n, 0, nil, nil
	case len(p.queue) > 0 && !blocked:
		wait = p.queue[0].at.Sub(now)
	}
	if !p.deadline.IsZero() {
		wait = min(wait, p.deadline.Sub(now))
	}
	return 0, wait, p.changed, nil
}

type memConn struct {
	in, out       *pipe
	local, remote memAddr
}

func (c *memConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return c.in.read(b)
}

func (c *memConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.out.send(append([]byte(nil), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *memConn) Close() error {
	c.in.mu.Lock()
	first := !c.in.closed
	c.in.closed = true
	c.in.wake()
	c.in.mu.Unlock()
	c.in.net.mu.Lock()
	delete(c.in.net.pipes, c.in)
	c.in.net.mu.Unlock()
	if first {
		return c.out.send(nil)
	}
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.deadline = t
	c.in.wake()
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil } // writes never wait
