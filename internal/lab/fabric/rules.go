package fabric

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Cut is one direction of one kind of path that carries nothing. From and To may
// be Any, Path may be AnyPath. What stays inside one site is never cut.
type Cut struct {
	From string `json:"from"`
	To   string `json:"to"`
	Path Path   `json:"path"`
}

// covers reports whether every flow of other belongs to the rule c.
func (c Cut) covers(other Cut) bool {
	return (c.From == Any || c.From == other.From) &&
		(c.To == Any || c.To == other.To) &&
		(c.Path == AnyPath || c.Path == other.Path)
}

// flow is one direction of one connection or exchange.
type flow struct {
	from, to string
	path     Path
	stray    bool    // the sender has no route to this address
	service  silence // that it belongs to
}

func (w flow) reverse() flow {
	w.from, w.to = w.to, w.from
	return w
}

// Cut makes all that goes from one site to another on a path vanish: datagrams are
// lost, TCP connections stall in that direction and go on after Heal, and new
// ones, whose handshake needs both directions, open and stay silent.
func (f *Fabric) Cut(from, to string, path Path) {
	c := Cut{from, to, path}
	f.mu.Lock()
	f.cuts[c] = struct{}{}
	f.broadcast()
	f.mu.Unlock()
	f.log.Info("path cut", "from", from, "to", to, "path", path)
}

// Heal removes every cut that the arguments cover: Heal(Any, Any, AnyPath) all of
// them. A wider cut than the arguments stays in force.
func (f *Fabric) Heal(from, to string, path Path) {
	c := Cut{from, to, path}
	f.mu.Lock()
	for r := range f.cuts {
		if c.covers(r) {
			delete(f.cuts, r)
		}
	}
	f.broadcast()
	f.mu.Unlock()
	f.log.Info("path healed", "from", from, "to", to, "path", path)
}

// Delay makes what goes from one site to another on a path arrive d later. Zero
// removes every delay that the arguments cover; the longest of several counts.
func (f *Fabric) Delay(from, to string, path Path, d time.Duration) {
	c := Cut{from, to, path}
	f.mu.Lock()
	for r := range f.delays {
		if d <= 0 && c.covers(r) {
			delete(f.delays, r)
		}
	}
	if d > 0 {
		f.delays[c] = d
	}
	f.broadcast()
	f.mu.Unlock()
	f.log.Info("path delayed", "from", from, "to", to, "path", path, "delay", d)
}

// silence is a service of a site.
type silence struct{ site, name string }

// Silence makes one service of a site answer nobody, those of the same site neither, while
// everything else of the site goes on.
func (f *Fabric) Silence(site, name string) {
	f.mu.Lock()
	f.quiet[silence{site, name}] = struct{}{}
	f.broadcast()
	f.mu.Unlock()
	f.log.Info("service silent", "site", site, "service", name)
}

// Hear has a service answer again that Silence has made silent.
func (f *Fabric) Hear(site, name string) {
	f.mu.Lock()
	delete(f.quiet, silence{site, name})
	f.broadcast()
	f.mu.Unlock()
	f.log.Info("service heard", "site", site, "service", name)
}

// Cuts returns the cuts in force, sorted.
func (f *Fabric) Cuts() []Cut {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Cut, 0, len(f.cuts))
	for c := range f.cuts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Cut) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Path, b.Path))
	})
	return all
}

// broadcast wakes all that wait at a gate. The caller holds f.mu.
func (f *Fabric) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// gate tells whether all of the flows may pass now, their delays added up, and a
// channel that is closed when the answer may have changed.
func (f *Fabric) gate(flows ...flow) (open bool, delay time.Duration, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range flows {
		if !f.passes(w) {
			return false, 0, f.changed
		}
		delay += f.delayOf(w)
	}
	return true, delay, f.changed
}

// passes says whether a flow is neither dead, stray nor cut. The caller holds f.mu.
func (f *Fabric) passes(w flow) bool {
	_, fromDead := f.dead[w.from]
	_, toDead := f.dead[w.to]
	if _, quiet := f.quiet[w.service]; fromDead || toDead || w.stray || quiet {
		return false
	}
	if w.from == w.to {
		return true
	}
	for c := range f.cuts {
		if c.covers(Cut{w.from, w.to, w.path}) {
			return false
		}
	}
	return true
}

// delayOf returns the longest delay that concerns a flow. The caller holds f.mu.
func (f *Fabric) delayOf(w flow) time.Duration {
	var d time.Duration
	for c, v := range f.delays {
		if w.from != w.to && c.covers(Cut{w.from, w.to, w.path}) {
			d = max(d, v)
		}
	}
	return d
}

// await blocks until all flows may pass and what was sent at that moment has
// travelled for their delay. It returns the cause of ctx if that ends first.
func (f *Fabric) await(ctx context.Context, sent time.Time, flows ...flow) error {
	for {
		open, delay, changed := f.gate(flows...)
		if ctx.Err() != nil { // looked at after the gate: see Revive
			return context.Cause(ctx)
		}
		left := delay - time.Since(sent)
		switch {
		case !open:
			select {
			case <-ctx.Done():
			case <-changed:
			}
		case left <= 0:
			return nil
		default:
			nap(ctx, left, changed)
		}
	}
}

// nap waits for d, the end of ctx or changed (may be nil), whichever is first.
func nap(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}

// deliverable waits for the delay of a datagram and reports whether it arrives.
// Unlike a segment of TCP nobody sends it again after a cut.
func (f *Fabric) deliverable(ctx context.Context, sent time.Time, w flow) bool {
	for {
		open, delay, changed := f.gate(w)
		if !open || ctx.Err() != nil {
			return false
		}
		left := delay - time.Since(sent)
		if left <= 0 {
			return true
		}
		nap(ctx, left, changed)
	}
}
