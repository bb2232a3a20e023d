package chaos

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const (
	lookEvery = time.Second
	lookLimit = 3 * time.Second // of one answer of an agent or a machine
	dnsLimit  = time.Second     // of all answers of a name server
)

// watcher looks at one site, all the time, from within it: no cut hides it.
type watcher struct {
	room   *netns.Room
	lab    *site.Lab
	dir    string
	name   string
	agent  *api.Client
	server *dns.Conn // nil: to be opened
	offset int64     // in the log of effects
}

func newWatcher(r *netns.Room, l *site.Lab, dir, name string) *watcher {
	return &watcher{room: r, lab: l, dir: dir, name: name, agent: api.NewSocketClient(site.AgentSocket(dir, name))}
}

// run hands what it sees to the checker, until ctx ends.
func (w *watcher) run(ctx context.Context, c *checker, tl *timeline) {
	defer w.close()
	for site.Sleep(ctx, lookEvery) == nil {
		l, err := w.look(ctx)
		if ctx.Err() != nil {
			return // answers were cut short
		}
		if err != nil {
			tl.add("note", fmt.Sprintf("look at %s: %v", w.name, err), nil)
			continue
		}
		c.look(l)
	}
}

func (w *watcher) close() {
	w.agent.Close()
	if w.server != nil {
		w.server.Close()
		w.server = nil
	}
}

// look asks everything of a site once.
func (w *watcher) look(ctx context.Context) (*Look, error) {
	l := &Look{Site: w.name, Asked: time.Now()}
	var err error
	l.DNS = w.askDNS(ctx)
	// Before the others, so that what they tell is later than each effect.
	if l.Effects, w.offset, err = site.ReadEffects(site.EffectsLog(w.dir, w.name), w.offset); err != nil {
		return nil, err
	}
	l.Agent = w.askAgent(ctx)
	if w.room.HostsAlive(w.name) {
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		defer cancel()
		if st, err := w.room.Hosts(w.name).Status(ctx); err == nil {
			l.Hosts = &st
		}
	}
	l.At = time.Now()
	return l, nil
}

// askAgent returns nil when the agent does not answer everything in time.
func (w *watcher) askAgent(ctx context.Context) *Agent {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var a Agent
	var err error
	if a.Status, err = w.agent.Status(ctx); err != nil || a.Status.Network == "" {
		return nil
	}
	if a.Ops, err = w.agent.Ops(ctx); err != nil {
		return nil
	}
	if a.Guests, err = w.agent.Guests(ctx); err != nil {
		return nil
	}
	return &a
}

// askDNS asks a site's name server for every name. One that does not answer one of them
// is taken not to answer the rest.
func (w *watcher) askDNS(ctx context.Context) map[string][]string {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	out := map[string][]string{}
	for _, g := range w.lab.Guests {
		for _, name := range g.Names {
			sites, ok := w.askName(ctx, name)
			if !ok {
				return out
			}
			out[name] = sites
		}
	}
	return out
}

// askName returns the sites that a name leads to; false: no answer, or one that says
// that the server has none to give (RFC 1035, section 4.1.1: SERVFAIL, REFUSED).
func (w *watcher) askName(ctx context.Context, name string) ([]string, bool) {
	if w.server == nil {
		i, err := w.lab.Index(w.name)
		if err != nil {
			return nil, false
		}
		conn, err := w.room.World.DialAt(ctx, w.name, "udp", w.lab.DNS(i))
		if err != nil {
			return nil, false
		}
		w.server = &dns.Conn{Conn: conn}
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	in, _, err := (&dns.Client{Timeout: dnsLimit}).ExchangeWithConnContext(ctx, q, w.server)
	if err != nil {
		w.server.Close() // a late answer must not be taken for the next one
		w.server = nil
		return nil, false
	}
	if in.Rcode != dns.RcodeSuccess && in.Rcode != dns.RcodeNameError {
		return nil, false
	}
	return w.sites(in), true
}

// sites returns which sites an answer sends people to.
func (w *watcher) sites(in *dns.Msg) []string {
	var out []string
	for _, rr := range in.Answer {
		a, ok := rr.(*dns.A)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(a.A)
		where := addr.Unmap().String()
		for i, s := range w.lab.Names() {
			if w.lab.Plan().Public(i) == addr.Unmap() {
				where = s
			}
		}
		if !slices.Contains(out, where) {
			out = append(out, where)
		}
	}
	return out
}
