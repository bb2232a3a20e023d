package fabric

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// errorPause keeps a listener that cannot accept (no file descriptors left) from
// spinning.
const errorPause = 50 * time.Millisecond

// maxStrays bounds the memory of senders that were warned about.
const maxStrays = 256

// front is the listener of one service. Its serve goroutine alone accepts and
// turns it into a black hole and back.
type front struct {
	fabric *Fabric
	svc    Service
	ln     *net.TCPListener
	udp    *net.UDPConn // nil: TCP only
	stop   context.CancelFunc
	pokes  chan chan error
	ended  chan struct{}
	hole   *blackHole // nil: forwarding

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session
	strays   map[netip.Addr]struct{}
}

// serve accepts until the listener is closed.
func (fr *front) serve(ctx context.Context) {
	defer close(fr.ended)
	defer fr.fillIn()
	fr.attend(ctx) // added dead: what fills the queue must not be accepted
	for {
		conn, err := fr.ln.AcceptTCP()
		switch {
		case err == nil:
			fr.admit(ctx, conn)
		case errors.Is(err, os.ErrDeadlineExceeded):
			fr.attend(ctx)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			fr.fabric.log.Warn("accept", "service", fr.svc.Name, "site", fr.svc.Site, "err", err)
			nap(ctx, errorPause, nil)
		}
	}
}

// poke asks serve to look at the life of its site and to answer on reply. The poke
// is laid down before the accept is interrupted, and attend clears the
// interruption before it collects pokes, so none is overlooked.
func (fr *front) poke(reply chan error) {
	select {
	case fr.pokes <- reply:
		// The error is that of a closed listener, which fr.ended tells as well.
		_ = fr.ln.SetDeadline(time.Unix(1, 0))
	case <-fr.ended:
	}
}

// attend answers pokes; while the site is dead it stays here and accepts nothing.
func (fr *front) attend(ctx context.Context) {
	_ = fr.ln.SetDeadline(time.Time{})
	for {
		select {
		case reply := <-fr.pokes:
			reply <- fr.converge()
			continue
		default:
		}
		if fr.hole == nil {
			return
		}
		select {
		case reply := <-fr.pokes:
			reply <- fr.converge()
		case <-ctx.Done():
			return
		}
	}
}

// converge makes the listener what the life of its site demands.
func (fr *front) converge() error {
	alive, _, _ := fr.fabric.gate(flow{from: fr.svc.Site, to: fr.svc.Site})
	var err error
	switch {
	case !alive && fr.hole == nil:
		fr.hole, err = openBlackHole(fr.ln)
	case alive && fr.hole != nil:
		err = fr.hole.close(fr.ln)
		fr.hole = nil
	}
	return err
}

// fillIn gives up the black hole of a listener that is closed.
func (fr *front) fillIn() {
	if fr.hole != nil {
		fr.hole.drop()
		fr.hole = nil
	}
}

// close ends the listener, its connections and its sessions; their goroutines are
// waited for by Fabric.Close.
func (fr *front) close() error {
	fr.stop()
	err := fr.ln.Close()
	if fr.udp != nil {
		err = errors.Join(err, fr.udp.Close())
	}
	return err
}

// route names the flow from a source address to this service.
func (fr *front) route(src netip.Addr) flow {
	e, known := fr.fabric.sources[src]
	if !known {
		e = Endpoint{Site: Outside, Path: Public}
	}
	w := flow{from: e.Site, to: fr.svc.Site, path: fr.svc.Path, service: silence{fr.svc.Site, fr.svc.Name}}
	w.stray = fr.svc.Path == Mesh && e.Path != Mesh && e.Site != fr.svc.Site
	if w.stray {
		fr.warnStray(src, e)
	}
	return w
}

func (fr *front) warnStray(src netip.Addr, e Endpoint) {
	fr.mu.Lock()
	_, told := fr.strays[src]
	if fr.strays == nil {
		fr.strays = map[netip.Addr]struct{}{}
	}
	if len(fr.strays) < maxStrays {
		fr.strays[src] = struct{}{}
	} else {
		told = true
	}
	fr.mu.Unlock()
	if !told {
		fr.fabric.log.Warn("no route to a mesh address from here: the caller meets silence",
			"service", fr.svc.Name, "site", fr.svc.Site, "listen", fr.svc.Listen, "source", src, "from", e.Site)
	}
}

// admit starts the forwarding of a new connection.
func (fr *front) admit(ctx context.Context, conn *net.TCPConn) {
	f := fr.fabric
	src := addrPort(conn.RemoteAddr()).Addr()
	ctx, cancel := context.WithCancel(ctx)
	l := &link{fabric: f, svc: fr.svc, source: src, flow: fr.route(src), client: conn, cancel: cancel, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[l] = struct{}{}
	// serve is itself counted in f.wg, so Close still waits when this is added.
	f.wg.Go(func() {
		l.run(ctx)
		f.mu.Lock()
		delete(f.links, l)
		f.mu.Unlock()
		close(l.done)
	})
}
