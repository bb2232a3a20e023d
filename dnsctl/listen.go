package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// stopGrace is how long running answers and transfers may take to end when the server stops.
	stopGrace = 2 * time.Second
	// writeWait ends a TCP write to a client that does not read: miekg/dns sets no deadline for writes.
	writeWait = 5 * time.Second
	readWait  = 3 * time.Second
)

// Run serves until ctx ends, then closes every socket and waits for the handlers. It returns nil after such a stop,
// the first error otherwise. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	bound := s.sockets != nil
	s.mu.Unlock()
	if !bound {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	sockets := s.sockets
	s.mu.Unlock()
	group, gctx := errgroup.WithContext(ctx)
	for _, sock := range sockets {
		s.log.Info("serving DNS", "address", sock.udp.LocalAddr().String())
		s.serve(gctx, group, &dns.Server{PacketConn: sock.udp})
		s.serve(gctx, group, &dns.Server{Listener: sock.tcp})
	}
	err := group.Wait()
	for _, sock := range sockets {
		sock.close()
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	return nil
}

// serve runs one socket in the group and stops it when ctx ends.
func (s *Server) serve(ctx context.Context, group *errgroup.Group, srv *dns.Server) {
	srv.Handler, srv.MsgAcceptFunc, srv.TsigProvider = s, acceptHeader, s.keys
	srv.UDPSize = 4096 // with the default of 512 larger requests are cut and answered FORMERR
	srv.ReadTimeout = readWait
	started, ended := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	group.Go(func() error {
		defer close(ended)
		if err := srv.ActivateAndServe(); err != nil {
			return err
		}
		return ctx.Err() // a socket that ends by itself ends the others
	})
	group.Go(func() error {
		select {
		case <-started: // Shutdown before this moment would do nothing and leave the socket open
		case <-ended:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-ended:
			return nil
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if err := srv.ShutdownContext(grace); err != nil {
			s.log.Warn("DNS clients cut off at stop", "error", err)
		}
		if l, ok := srv.Listener.(*listener); ok {
			l.closeAll()
		}
		return nil
	})
}

// bind opens one address for both transports; for port 0 it looks for a port that is free in both.
func bind(ctx context.Context, addr netip.AddrPort, maxConns int) (socket, error) {
	const attempts = 16
	var lc net.ListenConfig
	for i := 1; ; i++ {
		udp, err := lc.ListenPacket(ctx, "udp", addr.String())
		if err != nil {
			return socket{}, err
		}
		tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err == nil {
			return socket{udp: udp, tcp: &listener{Listener: tcp, limit: maxConns, conns: make(map[*conn]struct{})}}, nil
		}
		_ = udp.Close()
		if addr.Port() != 0 || i == attempts {
			return socket{}, err
		}
	}
}

// close releases the sockets; after a served socket has ended it finds them closed, which is no fault.
func (s socket) close() {
	_ = s.udp.Close()
	_ = s.tcp.Close()
	s.tcp.closeAll()
}

// listener bounds the open connections and knows them, so that a stop can end those that do not end themselves.
type listener struct {
	net.Listener
	limit int

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// Accept returns the next connection; one above the limit is closed at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tracked := l.add(c); tracked != nil {
			return tracked, nil
		}
		_ = c.Close() // the client tries again or elsewhere
	}
}

func (l *listener) add(c net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.limit {
		return nil
	}
	tracked := &conn{Conn: c, home: l}
	l.conns[tracked] = struct{}{}
	return tracked
}

func (l *listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *listener) closeAll() {
	l.mu.Lock()
	open := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// conn is one TCP client, with a deadline for every write.
type conn struct {
	net.Conn
	home *listener
}

// Write sends with a deadline of its own.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close closes the connection and frees its place.
func (c *conn) Close() error {
	c.home.remove(c)
	return c.Conn.Close()
}
