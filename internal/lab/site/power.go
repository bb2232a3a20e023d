package site

import (
	"net"
	"sync"
)

// mains is the power of one machine. Without it, whoever dials the machine meets
// silence: connections are taken and never answered, as behind a forwarder that the
// kernel answers for.
type mains struct {
	mu      sync.Mutex
	off     bool
	waiting []net.Conn
	open    map[net.Conn]struct{}
}

func newMains() *mains { return &mains{open: map[net.Conn]struct{}{}} }

// cut takes the power: open connections are held open and say nothing any more.
func (m *mains) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = true
}

// on gives the power back: what waited is reset, as by a machine that has booted.
func (m *mains) on() {
	m.mu.Lock()
	held := m.waiting
	for c := range m.open {
		held = append(held, c)
	}
	m.off, m.waiting = false, nil
	m.mu.Unlock()
	for _, c := range held {
		_ = c.Close() // nobody listens at the other end of the dead era
	}
}

func (m *mains) isOff() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.off
}

// listen returns ln as the machine's.
func (m *mains) listen(ln net.Listener) net.Listener { return &mainsListener{Listener: ln, m: m} }

type mainsListener struct {
	net.Listener
	m *mains
}

// Accept returns the next connection made while there is power.
func (l *mainsListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn, ok := l.m.admit(c); ok {
			return conn, nil
		}
	}
}

func (m *mains) admit(c net.Conn) (net.Conn, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		m.waiting = append(m.waiting, c)
		return nil, false
	}
	m.open[c] = struct{}{}
	return &mainsConn{Conn: c, m: m}, true
}

// Close closes the listener and what waits at it.
func (l *mainsListener) Close() error {
	err := l.Listener.Close()
	l.m.mu.Lock()
	waiting := l.m.waiting
	l.m.waiting = nil
	l.m.mu.Unlock()
	for _, c := range waiting {
		_ = c.Close() // the process ends
	}
	return err
}

// mainsConn is an accepted connection.
type mainsConn struct {
	net.Conn
	m *mains
}

// Write drops everything without power: the caller sees nothing.
func (c *mainsConn) Write(b []byte) (int, error) {
	if c.m.isOff() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close closes the connection; without power its peer is not told.
func (c *mainsConn) Close() error {
	c.m.mu.Lock()
	off := c.m.off
	if off {
		c.m.waiting = append(c.m.waiting, c.Conn)
	}
	delete(c.m.open, c.Conn)
	c.m.mu.Unlock()
	if off {
		return nil
	}
	return c.Conn.Close()
}
