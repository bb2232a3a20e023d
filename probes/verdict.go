package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// heard is a connection that remembers whether the other side ever said a byte,
// and counts packets. It is used by one goroutine.
type heard struct {
	net.Conn
	any   bool
	count func(n int)
}

// segment is what fits into one packet of most lines, WireGuard included.
const segment = 1380

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.any = h.any || n > 0
	h.count((n + segment - 1) / segment)
	return n, err
}

func (h *heard) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	h.count((n + segment - 1) / segment)
	return n, err
}

// Packets of TCP beside those with data (RFC 9293).
const (
	packetsOpen  = 3 // SYN, SYN-ACK, ACK
	packetsTried = 1 // the SYN alone; a second one follows after a second
	packetsClose = 3 // FIN each way and an ACK
	packetsReset = 1
)

// dial opens a connection to the target and counts.
func (p prober) dial(ctx context.Context, network string, t Target) (net.Conn, error) {
	conn, err := p.Dial(ctx, network, t.Addr.String(), t.From)
	switch {
	case network != "tcp":
	case err == nil:
		p.Packets(packetsOpen)
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Packets(packetsTried + 1)
	default:
		p.Packets(packetsTried)
	}
	return conn, err
}

// talk dials the target, runs say under the deadline of ctx, and closes. What
// say returns is the result; its error is judged with what was heard before.
func (p prober) talk(ctx context.Context, network string, t Target, say func(net.Conn) (Result, error)) Result {
	conn, err := p.dial(ctx, network, t)
	if err != nil {
		return p.dialFailed(ctx, t, err)
	}
	switch {
	case t.Kind == KindKnock:
		p.Packets(packetsReset)
	case network == "tcp":
		p.Packets(packetsClose)
	}
	return p.converse(ctx, conn, say)
}

// converse runs say on an open connection and closes it.
func (p prober) converse(ctx context.Context, conn net.Conn, say func(net.Conn) (Result, error)) Result {
	defer conn.Close() // nothing was buffered that could be lost
	r, _ := p.exchange(ctx, conn, say)
	return r
}

// exchange runs say on an open connection under the deadline of ctx. sound says
// that say came to its end, so that the connection may be used again.
func (p prober) exchange(ctx context.Context, conn net.Conn, say func(net.Conn) (Result, error)) (r Result, sound bool) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return unknown("set deadline: " + err.Error()), false
		}
	}
	stop := context.AfterFunc(ctx, func() {
		// A deadline in the past ends the read or write underway; its error is judged below.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	h, ok := conn.(*heard)
	if !ok {
		h = &heard{Conn: conn, count: p.Packets}
	}
	r, err := say(h)
	// Else the function above may still run, and spoil the deadline of the next use.
	inTime := stop()
	if err == nil {
		return r, inTime
	}
	// A datagram may come from anybody: one that was no answer proves nothing.
	_, datagrams := h.Conn.(net.PacketConn)
	return talkFailed(ctx, h.any && !datagrams, err), false
}

// dialFailed judges an error before there was a connection.
func (p prober) dialFailed(ctx context.Context, t Target, err error) Result {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return unknown("the probe was cancelled")
	case errors.Is(err, syscall.ENETUNREACH) && p.noRoute(ctx, t):
		return unknown("no route from here to " + t.Addr.Addr().String())
	}
	if seen, note := bySyscall(err); seen != "" {
		return Result{Seen: seen, Note: note}
	}
	if timedOut(ctx, err) {
		return down("no answer")
	}
	return unknown("dial: " + err.Error())
}

// noRoute tells an own routing table without the way (which says nothing about
// the target) from a router on the way that answered "network unreachable":
// connecting a UDP socket looks the route up and sends nothing.
func (p prober) noRoute(ctx context.Context, t Target) bool {
	conn, err := p.Dial(ctx, "udp", t.Addr.String(), t.From)
	if err == nil {
		_ = conn.Close() // no datagram was sent
	}
	return errors.Is(err, syscall.ENETUNREACH)
}

// talkFailed judges an error on a connection that was open.
func talkFailed(ctx context.Context, heardAny bool, err error) Result {
	if errors.Is(ctx.Err(), context.Canceled) {
		return unknown("the probe was cancelled")
	}
	if timedOut(ctx, err) {
		if heardAny {
			// Somebody spoke, so the address lives; the answer did not come to its end.
			return refused("the answer stalled")
		}
		return down("connected, but no answer")
	}
	if note := byRemark(err, heardAny); note != "" {
		return refused(note)
	}
	if seen, note := bySyscall(err); seen != "" {
		return Result{Seen: seen, Note: note}
	}
	if heardAny {
		return refused("unexpected answer: " + err.Error())
	}
	return unknown(err.Error())
}

// remarks of a living remote side.
const (
	noteCertificate = "certificate differs"
	noteClosed      = "closed without an answer"
	noteReset       = "connection reset"
	noteBroken      = "the answer breaks off"
	noteNotTLS      = "does not speak TLS"
)

// byRemark judges errors that only a living remote side can cause. A close
// without a byte is one: a dead site closes nothing.
func byRemark(err error, heardAny bool) string {
	switch {
	case errors.Is(err, errCertificate):
		return noteCertificate
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if heardAny {
			return noteBroken
		}
		return noteClosed
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return noteNotTLS
	}
	return ""
}

// bySyscall judges what the kernel says. The empty Seen: nothing known.
//
// A reset or refusal comes from the address itself. Host and network
// unreachable come from ARP on our own LAN or from a router on the way: nobody
// is there. EDESTADDRREQ is WireGuard's "this peer has no endpoint": it was
// never heard of. All else here (no such source address, a local firewall, no
// descriptors or memory, no WireGuard peer for the address: ENOKEY) is our own.
func bySyscall(err error) (failover.Seen, string) {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return "", ""
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return failover.SeenRefused, "connection refused"
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return failover.SeenRefused, noteReset
	case syscall.ETIMEDOUT:
		return failover.SeenDown, "no answer"
	case syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENONET:
		return failover.SeenDown, "host unreachable"
	case syscall.ENETUNREACH:
		return failover.SeenDown, "network unreachable"
	case syscall.EDESTADDRREQ:
		return failover.SeenDown, "the tunnel has never heard of this peer"
	default:
		return failover.SeenUnknown, clean("not tried: " + errno.Error())
	}
}

// timedOut says whether err is the end of the probe's own time.
func timedOut(ctx context.Context, err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	// A dialer reports its own i/o timeout slightly before the context ends.
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return true
	}
	return ctx.Err() != nil
}
