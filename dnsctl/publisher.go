package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Rates of verification.
const (
	verifyEvery   = 5 * time.Minute // of what is in sync
	verifyRetry   = 2 * time.Second // of what is not yet
	lagRetry      = 200 * time.Millisecond
	lagGrace      = 5 * time.Second // other agents apply a change a moment later: no news until then
	verifyTimeout = 2 * time.Second // one question
	publishIdle   = 5 * time.Second // with nothing to do
	maxVerified   = 64              // names asked for per server and round
	proposeWithin = 10 * time.Second
)

// Publish brings a server to what State desires. It is cheap when nothing has
// changed, needs neither quorum nor network, and is called on every change of
// State by every agent. published is the serial set of the last call.
func (p *Publisher) Publish(s *failover.State) {
	if p.Server == nil || s.Network == nil {
		return
	}
	key := ""
	for _, z := range sortedZones(s.Network) {
		key += fmt.Sprintf("%s=%d/%d;", z, s.Zones[z].Base, s.Zones[z].Changed)
	}
	if key == p.published {
		return
	}
	if err := p.Server.Publish(Desired(s)); err != nil {
		p.Logger.Error("zones not published", "err", err)
		return
	}
	p.published = key
	p.Logger.Info("zones published", "zones", key)
}

// Publisher serves the desired records and, on the leader, verifies by query
// that every authoritative server does.
type Publisher struct {
	Site     network.SiteID
	Log      failover.Log
	Server   *Server   // nil on an agent without an embedded server
	Exchange Exchanger // nil: no verification
	Logger   *slog.Logger

	published string
	zone      Zone
	changed   uint64
	todo      []netip.AddrPort
	current   *Verifier
	asking    netip.AddrPort
	results   map[string]bool
	next      map[string]time.Time // per zone
	since     map[string]seenChange
}

// seenChange is when this leader first verified a change of a zone.
type seenChange struct {
	changed uint64
	at      time.Time
}

// Step makes one question of a verification, or proposes its result.
func (p *Publisher) Step(ctx context.Context, now time.Time) time.Time {
	s := p.Log.State()
	if _, lead := p.Log.Lead(); !lead || s.Network == nil || p.Exchange == nil {
		p.current, p.todo, p.results = nil, nil, nil
		return now.Add(publishIdle)
	}
	if p.current == nil && len(p.todo) == 0 && p.results == nil {
		if !p.choose(s, now) {
			return now.Add(time.Second)
		}
	}
	if p.current == nil && !p.open(s) {
		return p.conclude(ctx, now)
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	if !p.current.Step(ctx) {
		return now
	}
	p.settle(p.current.Result())
	p.current = nil
	return now
}

// choose takes the next zone that wants verification: changed ones at once,
// the others from time to time.
func (p *Publisher) choose(s *failover.State, now time.Time) bool {
	if p.next == nil {
		p.next = map[string]time.Time{}
	}
	for _, z := range Desired(s) {
		name := z.Name[:len(z.Name)-1]
		st := s.Zones[name]
		if st.Changed == p.changed && p.zone.Name == z.Name || st.Verified == st.Changed {
			if now.Before(p.next[name]) {
				continue
			}
		}
		p.zone, p.changed, p.results = z, st.Changed, map[string]bool{}
		p.todo = nil
		for _, id := range s.Network.SiteIDs() {
			if addr := s.Network.Sites[id].DNS; addr.IsValid() && s.Domains[failover.SiteDomain(id)].Lost.Index == 0 {
				p.todo = append(p.todo, addr)
			}
		}
		p.todo = append(p.todo, s.Network.Zones[name].Secondaries...)
		return true
	}
	return false
}

// open begins with the next server.
func (p *Publisher) open(s *failover.State) bool {
	for len(p.todo) > 0 {
		p.asking, p.todo = p.todo[0], p.todo[1:]
		v, err := NewVerifier(p.Exchange, p.asking.String(), p.zone, p.names(s))
		if err != nil {
			p.Logger.Error("zone not verified", "zone", p.zone.Name, "err", err)
			continue
		}
		p.current = v
		return true
	}
	return false
}

// names are those asked for: first the ones that moved.
func (p *Publisher) names(s *failover.State) []string {
	zone := p.zone.Name[:len(p.zone.Name)-1]
	var moved, still []string
	for _, g := range s.Network.GuestIDs() {
		for _, name := range s.Network.Guests[g].Names {
			switch {
			case s.Network.ZoneOf(name) != zone:
			case s.Guests[g].Serving != s.Network.Home(g):
				moved = append(moved, name+".")
			default:
				still = append(still, name+".")
			}
		}
	}
	all := append(moved, still...)
	return all[:min(len(all), maxVerified)]
}

// settle notes one server's result. One that cannot be reached is left out:
// it converges when it comes back.
func (p *Publisher) settle(r Result) {
	switch r.Status {
	case InSync:
		p.results[r.Server] = true
	case Silent, Unreachable:
		p.Logger.Debug("DNS server not reached", "server", r.Server, "why", r.Err)
	default:
		p.results[r.Server] = false
		p.Logger.Warn("DNS server out of sync", "server", r.Server, "zone", p.zone.Name, "status", r.Status, "why", r.Err)
	}
}

// conclude tells the log, if there is news.
func (p *Publisher) conclude(ctx context.Context, now time.Time) time.Time {
	name := p.zone.Name[:len(p.zone.Name)-1]
	results, changed := p.results, p.changed
	p.results = nil
	good := len(results) > 0
	for _, ok := range results {
		good = good && ok
	}
	p.next[name] = now.Add(verifyRetry)
	if good {
		p.next[name] = now.Add(verifyEvery)
	}
	if p.since[name].changed != changed {
		if p.since == nil {
			p.since = map[string]seenChange{}
		}
		p.since[name] = seenChange{changed, now}
	}
	if !good && now.Sub(p.since[name].at) < lagGrace {
		p.next[name] = now.Add(lagRetry)
		return now.Add(lagRetry)
	}
	st := p.Log.State().Zones[name]
	if st.Changed != changed || len(results) == 0 || (good == (st.Verified == changed) && sameResults(st.Servers, results)) {
		return now.Add(100 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(p.Site)), proposeWithin)
	defer cancel()
	_, err := p.Log.Propose(ctx, failover.VerifyZone{Zone: name, Changed: changed, Servers: results})
	if _, rejected := errors.AsType[*failover.RejectedError](err); err != nil && !rejected {
		p.Logger.Warn("verification not recorded", "zone", name, "err", err)
		p.next[name] = now.Add(verifyRetry)
	}
	return now
}

func sameResults(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
