package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// peers keeps one API client per agent of the group.
type peers struct {
	http *http.Client

	mu      sync.Mutex
	clients map[string]*api.Client
}

func newPeers(creds *cluster.TLS, dialer *net.Dialer) *peers {
	return &peers{
		clients: map[string]*api.Client{},
		http: &http.Client{Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: creds.Client(), ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		}},
	}
}

func (p *peers) client(addr string) *api.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[addr]
	if !ok {
		c = api.NewClient("https://"+addr, p.http)
		p.clients[addr] = c
	}
	return c
}

func (p *peers) propose(ctx context.Context, leader string, envelope []byte) (failover.Stamp, error) {
	return p.client(leader).Propose(ctx, envelope)
}

func (p *peers) confirm(ctx context.Context, leader string, t failover.Token) error {
	return p.client(leader).Confirm(ctx, t)
}

// dialFrom returns a dial function from a source address of this agent, so
// that what crosses the mesh or the internet does so as this site.
func dialFrom(from netip.Addr) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{}
		if from.IsValid() {
			if network == "udp" {
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			} else {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			}
		}
		return d.DialContext(ctx, network, addr)
	}
}

// raftAPI answers what only other agents may ask.
type raftAPI struct{ d *daemon }

func (r raftAPI) ProposeEnvelope(ctx context.Context, envelope []byte) (failover.Stamp, error) {
	return r.d.node.ProposeEnvelope(ctx, envelope)
}

func (r raftAPI) Confirm(ctx context.Context, t failover.Token) error {
	return r.d.node.ConfirmAsLeader(ctx, t)
}

// Join admits an agent if this agent leads; else the joining agent asks the
// leader itself, since nobody but it can show its certificate.
func (r raftAPI) Join(ctx context.Context, req api.JoinRequest) error {
	want := cluster.Voter
	if req.Nonvoter {
		want = cluster.Nonvoter
	}
	return r.d.node.AddMember(ctx, req.Site, req.ServerID, req.Address, want)
}
