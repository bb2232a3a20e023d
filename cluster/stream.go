package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer gives raft its connections and knows them all, so that Close
// ends them: raft's own transport never gives up an inbound one.
type streamLayer struct {
	listener net.Listener
	dial     func(ctx context.Context, addr string) (net.Conn, error)
	addr     meshAddr
	ctx      context.Context // ends dials
	cancel   context.CancelFunc

	mu    sync.Mutex
	conns map[*streamConn]struct{} // nil when closed
}

func newStreamLayer(cfg Config) *streamLayer {
	ctx, cancel := context.WithCancel(context.Background())
	return &streamLayer{
		listener: cfg.Listener, dial: cfg.Dial, addr: meshAddr(cfg.Advertise),
		ctx: ctx, cancel: cancel, conns: map[*streamConn]struct{}{},
	}
}

func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.keep(c)
}

func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.dial(ctx, string(addr))
	if err != nil {
		return nil, fmt.Errorf("dial agent %s: %w", addr, err)
	}
	return s.keep(c)
}

// Addr is the declared address, which raft compares with its configuration;
// the listener's may be another.
func (s *streamLayer) Addr() net.Addr { return s.addr }

func (s *streamLayer) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	s.conns = nil
	s.mu.Unlock()
	for _, c := range conns {
		c.Conn.Close() // the peer sees why; nobody here waits for the answer
	}
	return err
}

func (s *streamLayer) keep(c net.Conn) (net.Conn, error) {
	sc := &streamConn{Conn: c, of: s}
	s.mu.Lock()
	open := s.conns != nil
	if open {
		s.conns[sc] = struct{}{}
	}
	s.mu.Unlock()
	if !open {
		c.Close() // it came too late; net.ErrClosed says so
		return nil, net.ErrClosed
	}
	return sc, nil
}

type streamConn struct {
	net.Conn
	of *streamLayer
}

func (c *streamConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

type meshAddr string

func (a meshAddr) Network() string { return "tcp" }
func (a meshAddr) String() string  { return string(a) }

// transport is raft's network transport without the heartbeat fast path, which
// changes term and state beside the main loop and lets the persisted term go
// down (hashicorp/raft 695). It also notes what each peer answers: raft does
// not tell how far its followers are. PreVote stays reachable by embedding.
type transport struct {
	*raft.NetworkTransport

	mu    sync.Mutex
	peers map[raft.ServerID]PeerStats
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// PeerStats is what this agent, as leader, heard of another.
type PeerStats struct {
	LastIndex uint64    // the peer's last log entry, as it answered to a heartbeat
	Heard     time.Time // monotonic
	Snapshots int       // sent since the start; more than a few in 10 minutes is a fault (hashicorp/raft 697)
}

// SetHeartbeatHandler does nothing: heartbeats then take the way of all other
// messages, through the main loop.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries is what raft's heartbeats use.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	if err == nil && resp.Success {
		last := resp.LastLog
		t.note(id, func(p *PeerStats) { p.LastIndex, p.Heard = last, time.Now() })
	}
	return err
}

// InstallSnapshot counts.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	t.note(id, func(p *PeerStats) { p.Snapshots++ })
	return t.NetworkTransport.InstallSnapshot(id, target, req, resp, data)
}

func (t *transport) note(id raft.ServerID, change func(*PeerStats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	change(&p)
	t.peers[id] = p
}

func (t *transport) heard() map[raft.ServerID]PeerStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.peers)
}
