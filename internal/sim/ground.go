package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/probes"
)

// Ground is the simulated network without its agents and its log: the machines
// of all sites, the ways between them, and the invariants. The agents run
// elsewhere, on a log of their own (real Raft in a bubble of testing/synctest)
// and tell what their log applied. All methods may be called at once.
//
// Nothing waits in here: what a call costs is slept off by Sleep, outside the lock.
type Ground struct {
	now   func() time.Time
	sleep func(context.Context, time.Duration) error

	mu     sync.Mutex
	w      *World
	hashes map[uint64]string // of State by the index of its newest entry
	took   uint64            // index of the newest entry that any agent applied
	before uint64            // the same, when Settled was last asked
}

// GroundConfig is what a Ground needs. Now is the agents' clock, which must
// begin at Epoch; Sleep waits on it and returns the error of ctx if that ends
// first. Idle says that the agents carry the log and do nothing else: then nobody
// looks at the world.
type GroundConfig struct {
	Options
	Idle  bool
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// NewGround makes the network of some options at its beginning: all machines
// run, no agent does.
func NewGround(c GroundConfig) (*Ground, error) {
	if c.Timing == (Timing{}) {
		c.Timing = FastTiming()
	}
	if c.Mode == "" {
		c.Mode = network.ModeAuto
	}
	w, err := newWorld(c.Options)
	if err != nil {
		return nil, fmt.Errorf("make the world: %w", err)
	}
	g := &Ground{now: c.Now, sleep: c.Sleep, w: w, hashes: map[uint64]string{}}
	w.loop.After = nil // what is violated is asked for
	w.log.electing = true
	w.log.Applied = nil
	for _, id := range w.ids {
		w.sites[id].agent.starting = true // the agents of this world are others
		w.sites[id].agent.node = w.log.nodes[id]
	}
	if c.Idle {
		return g, nil
	}
	for _, at := range []time.Duration{5 * time.Second, 35 * time.Second} {
		w.loop.In(at, "", w.backup)
	}
	var look func()
	look = func() {
		w.check.world()
		w.loop.In(5*time.Second, "", look)
	}
	w.loop.In(5*time.Second, "", look)
	w.loop.In(truthEvery, "", w.check.truth.follow)
	w.loop.In(writeEvery, "", w.check.ledger.follow)
	return g, nil
}

// do does something in the world at this moment.
func (g *Ground) do(f func(w *World)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.w.loop.Run(g.now()) // without After it returns no error
	f(g.w)
}

// paid is do for what costs time; it returns how much.
func (g *Ground) paid(f func(w *World)) (cost time.Duration) {
	g.do(func(w *World) {
		payer := &Actor{}
		w.paying = payer
		defer func() { w.paying = nil }()
		f(w)
		cost = payer.cost
	})
	return cost
}

// Spec returns the declared network.
func (g *Ground) Spec() *network.Spec { return g.w.spec }

// Sites returns all sites, in the order of their addresses.
func (g *Ground) Sites() []failover.SiteID { return g.w.ids }

// Targets returns the sites that can take guests.
func (g *Ground) Targets() []failover.SiteID {
	var out []failover.SiteID
	for _, id := range g.w.ids {
		if g.w.sites[id].raoull != nil {
			out = append(out, id)
		}
	}
	return out
}

// Tell writes a line into the account of the run.
func (g *Ground) Tell(format string, args ...any) {
	g.do(func(w *World) { w.tell(format, args...) })
}

// Account returns the last lines of the account of the run.
func (g *Ground) Account() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.w.trace.last...)
}

// Stats returns what the run did.
func (g *Ground) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.stats
}

// Err lets the world's time come and returns the first violation.
func (g *Ground) Err() (err error) {
	g.do(func(w *World) { err = w.check.err })
	return err
}

// Violated reports a violation that was seen elsewhere.
func (g *Ground) Violated(err error) { g.do(func(w *World) { w.check.violated(err) }) }

// Boots says that an agent's process starts: its log begins with nothing.
func (g *Ground) Boots(s failover.SiteID, server *dnsctl.Server) {
	g.do(func(w *World) {
		a := w.sites[s].agent
		a.boot++
		a.life = &life{a: a, dns: server, actors: map[string]*Actor{}, workers: map[string]*Actor{}}
		a.node.state = failover.NewState()
		a.up = true
		w.log.Evaluate()
	})
}

// Dies says that an agent's process is gone.
func (g *Ground) Dies(s failover.SiteID) {
	g.do(func(w *World) {
		w.stats.Crashes++
		w.sites[s].agent.stop()
		w.log.Evaluate()
	})
}

// Runs says whether a site's machine is on, so that an agent can run on it.
func (g *Ground) Runs(s failover.SiteID) (on bool) {
	g.do(func(w *World) { on = w.sites[s].power && w.sites[s].host })
	return on
}

// Leads says which agent leads in truth, "" if none does.
func (g *Ground) Leads(s failover.SiteID) {
	g.do(func(w *World) {
		if w.log.leader != s {
			w.tell("log: %q leads", s)
		}
		w.log.leader = s
	})
}

// hashEvery: of the states after reports, which are most, every fourth is
// compared between the agents; of all others each.
const hashEvery = 4

// Applied says what an agent's log has applied: next is the state that came of
// it, which must stay as it is. A nil command is a snapshot or an entry that
// changes nothing. Each node's every step is held against failover.Check, its
// state against that of all others at the same index, and what is new against
// the invariants of the world.
func (g *Ground) Applied(s failover.SiteID, next *failover.State, e Committed) {
	hash := ""
	if _, report := e.Command.(failover.Report); !report || next.Index%hashEvery == 0 {
		hash = Hash(next)
	}
	g.do(func(w *World) {
		n := w.log.nodes[s]
		prev := n.state
		n.state = next
		if want, known := g.hashes[next.Index]; known && hash != "" && want != hash {
			w.check.fail("S1", "the state of %s at index %d is %s, another's was %s", s, next.Index, hash, want)
		}
		if hash != "" {
			g.hashes[next.Index] = hash
		}
		if e.Command == nil {
			return
		}
		if next.Index != prev.Index && next.Index <= prev.Index {
			w.check.fail("S1", "the log of %s goes back from %d to %d", s, prev.Index, next.Index)
		}
		if err := failover.Check(prev, next); err != nil {
			w.check.violated(fmt.Errorf("at %s, index %d: %w", s, next.Index, err))
		}
		if next.Index > g.took {
			g.took, w.log.last = next.Index, next
			w.committed(prev, next, e)
		}
	})
}

// Offer shows a person what an operation offers for approval, by the state of
// the agent that is asked, and returns the hash to approve it with.
func (g *Ground) Offer(s *failover.State, op failover.Operation) (hash string) {
	g.do(func(w *World) { hash = w.offerIn(s, op) })
	return hash
}

// Answers checks what a site's DNS server says, after it took up a new state.
func (g *Ground) Answers(s failover.SiteID) {
	g.do(func(w *World) {
		if a := w.sites[s].agent; a.up {
			w.check.answers(a)
		}
	})
}

// Prober answers the probes of a site's agent.
func (g *Ground) Prober(s failover.SiteID) probes.Func {
	r := g.w.rand("loss " + string(s))
	return func(ctx context.Context, t probes.Target) (out probes.Result) {
		var cost time.Duration
		g.do(func(w *World) {
			out = w.net.prober(s, r, func(d time.Duration) { cost = d })(ctx, t)
		})
		_ = g.sleep(ctx, cost) // the answer is what it is
		return out
	}
}

// groundTransport is a site's machines for its agent; alive is asked before and
// after: a process that is gone asks nothing and hears nothing.
type groundTransport struct {
	g     *Ground
	t     *transport
	alive func() bool
}

var errGone = errors.New("the process is gone")

// Transport takes a site's agent's requests to its machines while alive says so.
func (g *Ground) Transport(s failover.SiteID, alive func() bool) http.RoundTripper {
	return &groundTransport{g: g, alive: alive, t: &transport{w: g.w, s: g.w.sites[s], r: g.stream("transport", s)}}
}

// stream is a source of its own for each life of an agent.
func (g *Ground) stream(what string, s failover.SiteID) (r *rand.Rand) {
	g.do(func(w *World) { r = w.rand(fmt.Sprintf("%s %s %d", what, s, w.sites[s].agent.boot)) })
	return r
}

// RoundTrip implements http.RoundTripper.
func (t *groundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	var res *http.Response
	err := errGone
	cost := t.g.paid(func(*World) {
		if t.alive() {
			res, err = t.t.RoundTrip(req)
		}
	})
	if late := t.g.sleep(req.Context(), cost); late != nil {
		return nil, late
	}
	if err == nil && !t.alive() {
		return nil, errGone
	}
	return res, err
}

// groundHands are a site's guests and root helper for its agent.
type groundHands struct {
	g      *Ground
	guests checkGuest
	root   *rootHelper
	alive  func() bool
}

// Hands returns what looks at a site's guests, and its root helper.
func (g *Ground) Hands(s failover.SiteID, alive func() bool) (agent.Checker, agent.RootHelper) {
	a := g.w.sites[s].agent
	h := &groundHands{g: g, alive: alive, guests: checkGuest{a}}
	g.do(func(*World) { h.root = newRootHelper(a) })
	return h, h
}

func (h *groundHands) do(ctx context.Context, f func(context.Context) error) error {
	err := errGone
	cost := h.g.paid(func(*World) {
		if h.alive() {
			err = f(ctx)
		}
	})
	return errors.Join(err, h.g.sleep(ctx, cost))
}

// Check implements agent.Checker.
func (h *groundHands) Check(ctx context.Context, url string, status int, expect string) error {
	return h.do(ctx, func(ctx context.Context) error { return h.guests.Check(ctx, url, status, expect) })
}

// Connect implements agent.Checker.
func (h *groundHands) Connect(ctx context.Context, address string) error {
	return h.do(ctx, func(ctx context.Context) error { return h.guests.Connect(ctx, address) })
}

// Unlock implements agent.RootHelper.
func (h *groundHands) Unlock(ctx context.Context, id int) error {
	return h.do(ctx, func(ctx context.Context) error { return h.root.Unlock(ctx, id) })
}

// Umount implements agent.RootHelper.
func (h *groundHands) Umount(ctx context.Context, id int) error {
	return h.do(ctx, func(ctx context.Context) error { return h.root.Umount(ctx, id) })
}

// groundDNS asks the agents' DNS servers.
type groundDNS struct {
	g *Ground
	s failover.SiteID
}

// Exchanger asks the DNS servers of all agents on behalf of a site's, with the
// messages as they are on the wire.
func (g *Ground) Exchanger(s failover.SiteID) dnsctl.Exchanger { return groundDNS{g: g, s: s} }

// Exchange implements dnsctl.Exchanger.
func (x groundDNS) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	question, err := rewired(m)
	if err != nil {
		return nil, err
	}
	var answer *dns.Msg
	cost := x.g.paid(func(w *World) {
		answer, err = exchanger{w.sites[x.s].agent}.Exchange(ctx, server, question)
	})
	if late := x.g.sleep(ctx, cost); late != nil {
		return nil, late
	}
	if err != nil {
		return nil, err
	}
	return rewired(answer)
}

// rewired is a message after its way over the wire.
func rewired(m *dns.Msg) (*dns.Msg, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack DNS message: %w", err)
	}
	out := &dns.Msg{}
	if err := out.Unpack(wire); err != nil {
		return nil, fmt.Errorf("unpack DNS message: %w", err)
	}
	return out, nil
}

// Kill cuts a site's power; its agent must be told to die. Revive gives it back.
func (g *Ground) Kill(s failover.SiteID) { g.do(func(w *World) { w.kill(s) }) }

// Revive gives a site power again; its agent may be started.
func (g *Ground) Revive(s failover.SiteID) { g.do(func(w *World) { w.revive(s) }) }

// Uplink breaks or mends a site's line.
func (g *Ground) Uplink(s failover.SiteID, works bool) {
	g.do(func(w *World) { w.setUplink(s, works) })
}

// Way cuts or mends one direction between two sites over a kind of path.
func (g *Ground) Way(from, to failover.SiteID, p failover.Path, works bool) {
	g.do(func(w *World) {
		if works {
			w.net.Heal(from, to, p)
		} else {
			w.net.Cut(from, to, p)
		}
		w.log.Evaluate()
	})
}

// Passes says whether what one site sends reaches another over the mesh.
func (g *Ground) Passes(from, to failover.SiteID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, b := g.w.sites[from], g.w.sites[to]
	return from == to || a.power && b.power && a.uplink && b.uplink && !g.w.net.cuts[way{from, to, failover.PathMesh}]
}

// Fault puts a fault of the lab's catalogue in force at a PVE or PBS.
func (g *Ground) Fault(f lab.Fault) (err error) {
	g.do(func(w *World) {
		w.tell("fault: %s at %s", f.Effect, f.Where)
		err = w.faults.Add(f)
	})
	return err
}

// Heal ends all faults but those of sites that are lost for good.
func (g *Ground) Heal(lost map[failover.SiteID]bool) {
	g.do(func(w *World) {
		w.healAll()
		for _, id := range w.ids {
			if lost[id] {
				w.kill(id)
			}
		}
	})
}

// End checks what must be so when a run is over, as the simulator does.
func (g *Ground) End() (err error) {
	g.do(func(w *World) {
		if w.check.err == nil {
			w.check.end()
		}
		err = w.check.err
	})
	return err
}

// Tokens returns the API tokens that the simulated PVEs and PBSs know.
func Tokens() (pve, pbs string, value proxmox.Secret) {
	return pveToken, pbsToken, proxmox.NewSecret(secret)
}
