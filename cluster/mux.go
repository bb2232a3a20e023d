package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// maxHandshakes bounds the connections that have not said who they are; more
// wait in the kernel's queue.
const maxHandshakes = 128

// Mux shares one mesh port between raft and the API. Each connection is
// authenticated in its own goroutine before it is handed over by its ALPN
// protocol, so that a peer that says nothing keeps nobody waiting.
type Mux struct {
	listener net.Listener
	config   *tls.Config
	logger   *slog.Logger
	raft     *handover
	api      *handover
	join     *handover

	mu    sync.Mutex
	conns map[*tls.Conn]struct{} // authenticated, and not closed yet
}

// NewMux shares listener; nothing is accepted before Run.
func NewMux(listener net.Listener, creds *TLS, logger *slog.Logger) *Mux {
	return &Mux{
		listener: listener, config: creds.Server(), logger: logger,
		raft: newHandover(listener.Addr()), api: newHandover(listener.Addr()), join: newHandover(listener.Addr()),
		conns: map[*tls.Conn]struct{}{},
	}
}

// Raft returns the listener for Config.Listener.
func (m *Mux) Raft() net.Listener { return m.raft }

// API returns the listener for http.Server.Serve: its connections are
// *tls.Conn, so that requests have r.TLS and HTTP/2 works if the server's
// Protocols include it.
func (m *Mux) API() net.Listener { return m.api }

// Join returns the listener of connections without a certificate, which are for
// joining with a token and nothing else.
func (m *Mux) Join() net.Listener { return m.join }

// Expel closes every open connection whose certificate is refused now, as a new
// one with it would be.
func (m *Mux) Expel(refused func(*x509.Certificate) error) {
	m.mu.Lock()
	var out []*tls.Conn
	for c := range m.conns {
		if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 && refused(certs[0]) != nil {
			out = append(out, c)
		}
	}
	m.mu.Unlock()
	for _, c := range out {
		m.logger.Warn("connection closed: its certificate was revoked", "from", c.RemoteAddr().String())
		_ = c.NetConn().Close() // without a word: its user may not read, and a word could wait for that
	}
}

// tracked tells when a connection is closed.
type tracked struct {
	net.Conn
	once   sync.Once
	closed func()
}

// Close closes the connection and tells.
func (t *tracked) Close() error {
	t.once.Do(t.closed)
	return t.Conn.Close()
}

// Run accepts until ctx ends, closes the port and both listeners, and waits
// for the handshakes under way. It returns nil then, and an error if the port
// fails before.
func (m *Mux) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { m.listener.Close() })
	defer stop()
	defer m.raft.Close()
	defer m.api.Close()
	defer m.join.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before waiting
	slots := make(chan struct{}, maxHandshakes)
	for failures := 0; ; {
		raw, err := m.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				raw.Close() // too late; the peer tries the next agent
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on mesh port: %w", err)
		case err != nil:
			// Out of files or a connection that was gone at once: go on, slower
			// each time.
			failures++
			m.logger.Warn("cannot accept on mesh port", "err", err)
			pause(ctx, min(time.Duration(failures)*10*time.Millisecond, time.Second))
			continue
		}
		failures = 0
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			raw.Close()
			return nil
		}
		wg.Go(func() {
			m.welcome(ctx, raw)
			<-slots
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// welcome authenticates one connection and hands it over.
func (m *Mux) welcome(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	t := &tracked{Conn: raw}
	conn := tls.Server(t, m.config)
	t.closed = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, conn)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		m.logger.Warn("connection refused on mesh port", "from", raw.RemoteAddr().String(), "err", err)
		raw.Close() // the peer was told by the handshake
		return
	}
	m.mu.Lock()
	m.conns[conn] = struct{}{}
	m.mu.Unlock()
	to, state := m.api, conn.ConnectionState()
	switch {
	case len(state.PeerCertificates) == 0: // the handshake lets only who joins be without
		to = m.join
	case state.NegotiatedProtocol == protoRaft:
		to = m.raft
	}
	if !to.give(ctx, conn) {
		conn.Close() // nobody serves this protocol now
	}
}

// handover is a listener that is fed.
type handover struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handover) give(ctx context.Context, c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	case <-ctx.Done():
		return false
	}
}

// Accept returns the next connection, or net.ErrClosed.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends this listener only; the port stays open for the other protocol.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is the mesh port's.
func (h *handover) Addr() net.Addr { return h.addr }
