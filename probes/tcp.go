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
