package probes

import (
	"context"
	"net"
)

// tcp opens a connection and asks nothing. It proves that something accepts at
// the address, which behind a forwarder is the forwarder: so it serves only for
// a guest's own declared check, inside its site, with nothing in between.
func (p prober) tcp(ctx context.Context, t Target) Result {
	return p.talk(ctx, "tcp", t, func(net.Conn) (Result, error) { return up("connected"), nil })
}

// knock opens a connection and resets it: four packets instead of seven, and
// nothing lingers. It proves that something accepts at the address and no more;
// see Prober for what that is worth.
func (p prober) knock(ctx context.Context, t Target) Result {
	return p.talk(ctx, "tcp", t, func(conn net.Conn) (Result, error) {
		if h, ok := conn.(*heard); ok {
			conn = h.Conn
		}
		if l, ok := conn.(*net.TCPConn); ok {
			_ = l.SetLinger(0) // else it is closed as usual
		}
		return up("accepts connections"), nil
	})
}
