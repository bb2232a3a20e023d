package fabric

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// What one direction of a connection may hold: chunkSize × chunksHeld bytes beside
// the kernel's buffers. It bounds a stalled connection and, divided by the delay,
// the rate of a delayed one.
const (
	chunkSize  = 32 << 10
	chunksHeld = 8
)

// orphanGrace is how long a connection that is not open yet outlives its caller's
// end of stream. Probes give up and close once a second while a path is cut;
// without it each would cost a file descriptor until the path heals.
const orphanGrace = 5 * time.Second

// link is one TCP connection: the caller's half, and the backend's half once both
// directions let the handshake through.
type link struct {
	fabric *Fabric
	svc    Service
	source netip.Addr
	flow   flow // from the caller to the service
	client *net.TCPConn
	cancel context.CancelFunc // resets both halves
	done   chan struct{}      // closed when both halves are gone
}

// chunk is what was read at once: data, or the end of the stream.
type chunk struct {
	at   time.Time
	data []byte
	end  error // nil: data; io.EOF: orderly end; else the sender is gone
}

// run carries the connection to its end. Cancelling ctx resets both halves.
func (l *link) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.cancel()
	began := time.Now()
	wg.Go(func() { resetAfter(ctx, l.client) })
	up, ended := make(chan chunk, chunksHeld), make(chan error, 1)
	wg.Go(func() { ended <- fill(ctx, l.client, up) })

	backend, err := l.open(ctx, began, ended)
	switch {
	case errors.Is(err, errAbandoned):
		_ = l.client.Close() // the caller has closed already: nobody to tell
		return
	case err != nil:
		if ctx.Err() == nil && !errors.Is(err, syscall.ECONNREFUSED) {
			l.fabric.log.Warn("dial backend", "service", l.svc.Name, "site", l.svc.Site, "backend", l.svc.Backend, "err", err)
		}
		return // cancel resets the caller: the address is alive, the service is down
	}
	wg.Go(func() { resetAfter(ctx, backend) })
	down := make(chan chunk, chunksHeld)
	wg.Go(func() { _ = fill(ctx, backend, down) })

	results := make(chan error, 2)
	wg.Go(func() { results <- l.drain(ctx, up, l.flow, backend) })
	wg.Go(func() { results <- l.drain(ctx, down, l.flow.reverse(), l.client) })
	for range cap(results) {
		if err := <-results; err != nil {
			return // the other direction has nobody left to talk to
		}
	}
	_ = backend.Close()
	_ = l.client.Close()
}

// errAbandoned says that the caller left before the connection could be opened.
var errAbandoned = errors.New("caller left")

// open waits until the handshake would be through, dials the backend, and lets an
// error back only when the way back is open. The backend sees the caller's own
// address, as behind a router that does not translate.
func (l *link) open(ctx context.Context, began time.Time, ended <-chan error) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() {
		var grace time.Duration
		select {
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				grace = orphanGrace
			}
		case <-ctx.Done():
			return
		}
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
			cancel(errAbandoned)
		case <-ctx.Done():
		}
	})
	if err := l.fabric.await(ctx, began, l.flow, l.flow.reverse()); err != nil {
		return nil, err
	}
	d := net.Dialer{}
	if l.source.IsLoopback() {
		d.LocalAddr = &net.TCPAddr{IP: l.source.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp4", l.svc.Backend.String())
	if err != nil {
		if gone := l.fabric.await(ctx, time.Now(), l.flow.reverse()); gone != nil {
			return nil, gone
		}
		return nil, err
	}
	backend, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("backend connection is not TCP"), conn.Close())
	}
	return backend, nil
}

// fill reads src into q until its end, which is both queued and returned.
func fill(ctx context.Context, src io.Reader, q chan<- chunk) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := src.Read(buf)
		at := time.Now()
		if n > 0 && !push(ctx, q, chunk{at: at, data: bytes.Clone(buf[:n])}) {
			return context.Cause(ctx)
		}
		if err != nil {
			push(ctx, q, chunk{at: at, end: err})
			return err
		}
	}
}

func push(ctx context.Context, q chan<- chunk, c chunk) bool {
	select {
	case q <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

// drain writes q to dst as far as the flow lets it. Nil means that the stream
// ended in order and dst was told so; an error, that the connection is broken and
// whoever is to know of it may know by now.
func (l *link) drain(ctx context.Context, q <-chan chunk, w flow, dst *net.TCPConn) error {
	for {
		var c chunk
		select {
		case c = <-q:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := l.fabric.await(ctx, c.at, w); err != nil {
			return err
		}
		if c.end != nil {
			if !errors.Is(c.end, io.EOF) {
				return c.end
			}
			_ = dst.CloseWrite() // fails only if dst is gone, which its reader tells
			return nil
		}
		if _, err := dst.Write(c.data); err != nil {
			// The news of dst's end travels against this flow.
			return errors.Join(err, l.fabric.await(ctx, time.Now(), w.reverse()))
		}
	}
}

// resetAfter closes conn when ctx ends, with a reset if it is still open then.
func resetAfter(ctx context.Context, conn *net.TCPConn) {
	<-ctx.Done()
	_ = conn.SetLinger(0) // errors: closed in order already
	_ = conn.Close()
}
