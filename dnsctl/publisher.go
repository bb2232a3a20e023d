package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Rates of publication.
const (
	verifyEvery   = 5 * time.Minute  // of what is in sync
	verifyRetry   = 2 * time.Second  // of what is not yet
	absentRetry   = 20 * time.Second // of servers that were not reached
	notedEvery    = time.Minute      // notes that differ in their words only
	lagRetry      = 200 * time.Millisecond
	lagGrace      = 5 * time.Second        // other servers take up a change a moment later: no news until then
	firstTimeout  = 800 * time.Millisecond // first question to a server while others wait for theirs
	verifyTimeout = 2 * time.Second        // one question
	updateTimeout = 5 * time.Second        // one signed exchange: BIND and Knot write to the disk before they answer
	nudgeEvery    = 5 * time.Second        // at most, by what others say
	publishIdle   = 5 * time.Second        // with nothing to do
	maxVerified   = 64                     // names asked for per server and round
	proposeWithin = 10 * time.Second
	writeRetry    = 2 * time.Second // first wait after a failed update; it doubles up to writeRetryMost
	writeMost     = time.Minute
)

// Publisher brings the servers to what State desires: every agent serves it
// from its own embedded server; the leader updates the primaries of other back
// ends, tells the secondaries and verifies by query that every authoritative
// server answers as decided. It is a projection, so that it may stop anywhere
// and be taken up by any leader.
type Publisher struct {
	Site     network.SiteID
	Log      failover.Log
	Server   *Server   // nil on an agent without an embedded server
	Exchange Exchanger // nil: no update, no verification
	// Sign returns the exchanger that signs with a key of wwwd.yaml; nil: updates are not signed (the simulator).
	Sign   func(key string) (Exchanger, error)
	Logger *slog.Logger

	published string
	round     *round
	zones     map[string]*zoneMemory
	failures  atomic.Pointer[map[string]uint64]
	nudges    sync.Map // zones that are to be looked at soon, by name
}

// zoneMemory is what the leader remembers of a zone between rounds.
type zoneMemory struct {
	next    time.Time // of the next round
	changed uint64    // of the last round
	since   time.Time // when a change was first worked on
	noted   time.Time // last proposal
	nudged  time.Time // when somebody last said that the zone changed
	part    int       // where the next round begins among the names
	copies  map[netip.AddrPort]*copyOf
	// settling are updates of this decision whose effect does not show yet.
	settling map[netip.AddrPort]*writer
	writes   map[netip.AddrPort]*backoff
	told     map[netip.AddrPort]*backoff // NOTIFY
}

type backoff struct {
	changed uint64
	times   int
	until   time.Time
	err     error
}

// Publish brings this agent's server to what State desires. It is cheap when
// nothing has changed, needs neither quorum nor network, and is called on every
// change of State by every agent.
func (p *Publisher) Publish(s *failover.State) {
	if p.Server == nil || s.Network == nil {
		return
	}
	key := fmt.Sprint(s.NetworkVersion)
	for _, z := range sortedZones(s.Network) {
		key += fmt.Sprintf(";%s=%d/%d", z, s.Zones[z].Base, s.Zones[z].Changed)
	}
	if key == p.published {
		return
	}
	p.published = key // a fault is told once; the zones without one are served
	p.Server.SetSecondaries(Access(s))
	p.Server.Watch(Watched(s))
	lan := s.Network.Sites[p.Site].LAN
	err := errors.Join(p.Server.Publish(Desired(s)), p.Server.PublishLocal(lan.Prefixes, DesiredAt(s, p.Site)))
	if err != nil {
		p.Logger.Error("a zone has a fault: its former content stays", "err", err)
		return
	}
	p.Logger.Info("zones published", "zones", key)
}

// Failures counts the updates that failed since the start, by zone.
func (p *Publisher) Failures() map[string]uint64 {
	if m := p.failures.Load(); m != nil {
		return *m
	}
	return nil
}

func (p *Publisher) countFailure(zone string) {
	next := maps.Clone(p.Failures())
	if next == nil {
		next = map[string]uint64{}
	}
	next[zone]++
	p.failures.Store(&next)
}

// Nudge has a zone (absolute) verified soon, if this agent leads: one of its
// servers says that it has changed. It may be called from any goroutine.
func (p *Publisher) Nudge(zone string) { p.nudges.Store(strings.TrimSuffix(zone, "."), true) }

// Step makes one exchange of a round, or proposes its result.
func (p *Publisher) Step(ctx context.Context, now time.Time) time.Time {
	s := p.Log.State()
	if _, lead := p.Log.Lead(); !lead || s.Network == nil || p.Exchange == nil {
		p.round, p.zones = nil, nil
		return now.Add(publishIdle)
	}
	if p.round != nil && s.Zones[p.round.goal.Zone].Changed != p.round.goal.Token.Index {
		p.round.abandon() // what was asked for is not desired any more
		p.round = nil
	}
	if p.round == nil {
		if p.release(ctx, s) {
			return now
		}
		next, found := p.choose(s, now)
		if !found {
			return next
		}
	}
	if p.round.step(ctx, now) {
		return now
	}
	return p.conclude(ctx, now)
}

// release ends a hold whose time is over, by the log's clock: this agent's own may be wrong.
func (p *Publisher) release(ctx context.Context, s *failover.State) bool {
	for _, name := range slices.Sorted(maps.Keys(s.Holds)) {
		h := s.Holds[name]
		if h.Until.IsZero() || s.Clock.Before(h.Until) {
			continue
		}
		p.propose(ctx, failover.ReleaseName{Name: name, If: h.By.Index})
		return true
	}
	return false
}

func (p *Publisher) propose(ctx context.Context, c failover.Command) bool {
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(p.Site)), proposeWithin)
	defer cancel()
	_, err := p.Log.Propose(ctx, c)
	if _, rejected := errors.AsType[*failover.RejectedError](err); err != nil && !rejected {
		p.Logger.Warn("not recorded", "what", fmt.Sprintf("%T", c), "err", err)
		return false
	}
	return true
}

// choose begins a round of the next zone that wants one: changed ones at once,
// the others from time to time. Without one it returns when to look again.
func (p *Publisher) choose(s *failover.State, now time.Time) (time.Time, bool) {
	if p.zones == nil {
		p.zones = map[string]*zoneMemory{}
	}
	next := now.Add(time.Second)
	for _, name := range sortedZones(s.Network) {
		z, st := p.zones[name], s.Zones[name]
		if z == nil {
			z = &zoneMemory{copies: map[netip.AddrPort]*copyOf{}, writes: map[netip.AddrPort]*backoff{}, told: map[netip.AddrPort]*backoff{}}
			p.zones[name] = z
		}
		if _, told := p.nudges.LoadAndDelete(name); told {
			// An answer to a forged NOTIFY must not become a flood of questions.
			if at := z.nudged.Add(nudgeEvery); !at.After(now) {
				z.next, z.nudged = now, now
			} else if at.Before(z.next) {
				z.next = at
			}
		}
		fresh := z.changed != st.Changed && st.Verified != st.Changed
		if !fresh && now.Before(z.next) {
			if z.next.Before(next) {
				next = z.next
			}
			continue
		}
		if z.changed != st.Changed {
			z.changed, z.since, z.settling = st.Changed, now, nil
		}
		g, ok := GoalOf(s, name)
		if !ok {
			z.next = now.Add(verifyEvery) // a fault in the declaration, which Publish has told
			continue
		}
		p.round = newRound(p, g, z, now)
		return now, true
	}
	return next, false
}

// conclude ends a round: it says when to come again, and tells the log if
// there is news.
func (p *Publisher) conclude(ctx context.Context, now time.Time) time.Time {
	r, z := p.round, p.round.memory
	p.round = nil
	good := r.good()
	z.next = now.Add(r.rest())
	if r.settles || !good && r.mayLag && now.Sub(z.since) < lagGrace {
		z.next = now.Add(lagRetry)
		return now // other zones do not wait for this one
	}
	name := r.goal.Zone
	st := p.Log.State().Zones[name]
	same := good == (st.Verified == r.goal.Token.Index) && maps.Equal(st.Servers, r.results) && z.sameNotes(st.Notes, r.notes, now)
	if st.Changed != r.goal.Token.Index || len(r.results) == 0 && len(r.notes) == 0 || same {
		return now.Add(100 * time.Millisecond)
	}
	z.noted = now
	if !p.propose(ctx, failover.VerifyZone{Zone: name, Changed: r.goal.Token.Index, Servers: r.results, Notes: r.notes}) {
		z.next = now.Add(verifyRetry)
	}
	return now
}

// sameNotes says whether notes are no news: about the same servers, and in the
// same words or told a moment ago, since words can carry figures that move.
func (z *zoneMemory) sameNotes(a, b map[string]string, now time.Time) bool {
	if maps.Equal(a, b) {
		return true
	}
	if len(a) != len(b) || now.Sub(z.noted) >= notedEvery {
		return false
	}
	for server := range b {
		if _, ok := a[server]; !ok {
			return false
		}
	}
	return true
}
