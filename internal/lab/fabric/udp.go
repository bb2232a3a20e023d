package fabric

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxDatagram   = 64 << 10
	datagramsHeld = 64   // per direction of a session; more are lost
	maxSessions   = 4096 // per service; a further caller is not heard
)

// session is the exchange between one caller's address and port and the backend.
type session struct {
	fabric *Fabric
	caller netip.AddrPort
	flow   flow // from the caller to the service
	up     chan datagram
	socket *net.UDPConn // connected to the backend
	began  time.Time
	heard  atomic.Int64 // last activity, nanoseconds since began
	held   atomic.Int64 // datagrams underway, which a long delay must not lose
}

type datagram struct {
	at   time.Time
	data []byte
}

// serveUDP hands each datagram to its caller's session until the socket is closed.
// For a dead site or a cut path it is read and dropped: the sender meets the same
// silence as with a socket that nobody reads, and nothing old is left at revival.
func (fr *front) serveUDP(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := fr.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			fr.fabric.log.Warn("read datagram", "service", fr.svc.Name, "site", fr.svc.Site, "err", err)
			nap(ctx, errorPause, nil)
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		w := fr.route(from.Addr())
		if open, _, _ := fr.fabric.gate(w); !open {
			continue
		}
		s := fr.session(ctx, &wg, from, w)
		if s == nil {
			continue
		}
		s.hold(s.up, buf[:n])
	}
}

// session finds or begins the caller's session; nil means that there is none to be had.
func (fr *front) session(ctx context.Context, wg *sync.WaitGroup, caller netip.AddrPort, w flow) *session {
	fr.mu.Lock()
	s, n := fr.sessions[caller], len(fr.sessions)
	fr.mu.Unlock()
	if s != nil || n >= maxSessions {
		return s
	}
	var local *net.UDPAddr
	if caller.Addr().IsLoopback() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(caller.Addr(), 0))
	}
	socket, err := net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(fr.svc.Backend))
	if err != nil {
		fr.fabric.log.Warn("open UDP session", "service", fr.svc.Name, "site", fr.svc.Site, "caller", caller, "err", err)
		return nil
	}
	s = &session{
		fabric: fr.fabric, caller: caller, flow: w, socket: socket,
		up: make(chan datagram, datagramsHeld), began: time.Now(),
	}
	fr.mu.Lock()
	fr.sessions[caller] = s
	fr.mu.Unlock()
	wg.Go(func() {
		s.run(ctx, fr.udp)
		fr.mu.Lock()
		delete(fr.sessions, caller)
		fr.mu.Unlock()
	})
	return s
}

func (s *session) touch() { s.heard.Store(int64(time.Since(s.began))) }

// hold queues a copy of a datagram, or loses it as a router does when the queue is full.
func (s *session) hold(q chan<- datagram, b []byte) {
	s.touch()
	s.held.Add(1)
	select {
	case q <- datagram{time.Now(), bytes.Clone(b)}:
	default:
		s.held.Add(-1)
	}
}

// run carries datagrams both ways until the session was idle for too long.
func (s *session) run(ctx context.Context, out *net.UDPConn) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		_ = s.socket.Close()
	})
	down := make(chan datagram, datagramsHeld)
	wg.Go(func() {
		s.send(ctx, s.up, s.flow, func(b []byte) error {
			_, err := s.socket.Write(b)
			return err
		})
	})
	wg.Go(func() {
		s.send(ctx, down, s.flow.reverse(), func(b []byte) error {
			_, err := out.WriteToUDPAddrPort(b, s.caller)
			return err
		})
	})
	s.receive(down)
}

// receive queues the backend's answers. It returns when the session is idle.
func (s *session) receive(down chan<- datagram) {
	buf := make([]byte, maxDatagram)
	for {
		if s.held.Load() > 0 {
			s.touch()
		}
		idle := time.Since(s.began) - time.Duration(s.heard.Load())
		if idle >= s.fabric.udpIdle {
			return
		}
		if err := s.socket.SetReadDeadline(time.Now().Add(s.fabric.udpIdle - idle)); err != nil {
			return
		}
		n, err := s.socket.Read(buf)
		switch {
		case err == nil:
			s.hold(down, buf[:n])
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // look at the idle time again
		default: // the backend's process is down; it may come back
		}
	}
}

// send delivers queued datagrams in order. A failed write is a lost datagram.
func (s *session) send(ctx context.Context, q <-chan datagram, w flow, write func([]byte) error) {
	for {
		select {
		case d := <-q:
			if s.fabric.deliverable(ctx, d.at, w) {
				_ = write(d.data)
			}
			s.touch()
			s.held.Add(-1)
		case <-ctx.Done():
			return
		}
	}
}
