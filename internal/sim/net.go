package sim

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// way is one direction between two sites over one kind of path.
type way struct {
	from, to failover.SiteID
	path     failover.Path
}

// Network is what lies between the sites: who hears whom.
type Network struct {
	w    *World
	cuts map[way]bool
	loss map[way]float64 // per probe
	rtt  map[failover.SiteID]time.Duration
	slow map[failover.SiteID]time.Duration // on top of it
}

func newNetwork(w *World) *Network {
	n := &Network{w: w, cuts: map[way]bool{}, loss: map[way]float64{}, rtt: map[failover.SiteID]time.Duration{}, slow: map[failover.SiteID]time.Duration{}}
	r := w.rand("latency")
	for _, id := range w.ids {
		n.rtt[id] = between(r, 4*time.Millisecond, 40*time.Millisecond)
	}
	return n
}

// Cut stops what goes from one site to another over a path; Heal ends that.
func (n *Network) Cut(from, to failover.SiteID, p failover.Path) { n.cuts[way{from, to, p}] = true }

func (n *Network) Heal(from, to failover.SiteID, p failover.Path) { delete(n.cuts, way{from, to, p}) }

// Lose has a part of the probes from one site to another go unanswered.
func (n *Network) Lose(from, to failover.SiteID, p failover.Path, part float64) {
	if part == 0 {
		delete(n.loss, way{from, to, p})
		return
	}
	n.loss[way{from, to, p}] = part
}

// Slow has all that goes over a site's line take longer; 0 ends that.
func (n *Network) Slow(at failover.SiteID, by time.Duration) {
	if by == 0 {
		delete(n.slow, at)
		return
	}
	n.slow[at] = by
}

// HealAll ends every cut, loss and slowness.
func (n *Network) HealAll() {
	n.cuts, n.loss, n.slow = map[way]bool{}, map[way]float64{}, map[failover.SiteID]time.Duration{}
}

// passes says whether a question from one site to another can be answered.
func (n *Network) passes(from, to failover.SiteID, p failover.Path) bool {
	a, b := n.w.sites[from], n.w.sites[to]
	if !a.power || !b.power {
		return false
	}
	if from == to {
		return true
	}
	return a.uplink && b.uplink && !n.cuts[way{from, to, p}] && !n.cuts[way{to, from, p}]
}

// lossy says whether probes between two sites are lost by chance.
func (n *Network) lossy(from, to failover.SiteID) bool {
	return n.slow[from]+n.slow[to] > 0 || n.loss[way{from, to, failover.PathMesh}] > 0 || n.loss[way{from, to, failover.PathPublic}] > 0
}

func (n *Network) mesh(a, b failover.SiteID) bool { return n.passes(a, b, failover.PathMesh) }

// took is how long an answer takes.
func (n *Network) took(from, to failover.SiteID) time.Duration {
	if from == to {
		return n.rtt[from]
	}
	return n.rtt[from] + n.rtt[to] + n.slow[from] + n.slow[to]
}

// prober is what one agent's probes ask; charge makes the probe pay.
func (n *Network) prober(self failover.SiteID, r *rand.Rand, charge func(time.Duration)) probes.Func {
	return func(_ context.Context, t probes.Target) probes.Result {
		seen, note := n.ask(self, r, t)
		took := n.took(self, t.Site)
		limit := t.Timeout
		if limit <= 0 {
			limit = probes.DefaultTimeout
		}
		if seen == failover.SeenDown || took > limit {
			charge(limit)
			return probes.Result{Seen: failover.SeenDown, Note: note}
		}
		charge(took)
		return probes.Result{Seen: seen, Note: note, RTT: took}
	}
}

func (n *Network) ask(self failover.SiteID, r *rand.Rand, t probes.Target) (failover.Seen, string) {
	here := n.w.sites[self]
	if here.sick && t.Path != failover.PathLAN {
		return failover.SeenDown, "no answer"
	}
	if here.liar && t.Path != failover.PathLAN {
		return failover.SeenUp, ""
	}
	if strings.HasPrefix(t.Name, "anchor:") {
		if here.uplink {
			return failover.SeenUp, ""
		}
		return failover.SeenDown, "no answer"
	}
	if part := n.loss[way{self, t.Site, t.Path}]; part > 0 && chance(r, part) {
		return failover.SeenDown, "no answer"
	}
	there := n.w.sites[t.Site]
	if !n.passes(self, t.Site, t.Path) {
		return failover.SeenDown, "no answer"
	}
	return n.answer(there, t.Name)
}

// answer is what a target says that was reached.
func (n *Network) answer(there *Site, name string) (failover.Seen, string) {
	if there.refuses {
		return failover.SeenRefused, "connection refused"
	}
	kind, what, _ := strings.Cut(name, ":")
	switch kind {
	case "agent", "dns":
		switch {
		case !there.host || there.agent.up && there.agent.frozen:
			return failover.SeenDown, "no answer"
		case !there.agent.up:
			return failover.SeenRefused, "connection refused"
		}
		return failover.SeenUp, ""
	case "pve", "pbs":
		own := what == string(structureHost(there.name))
		if own && there.own || !own && there.host {
			return failover.SeenUp, ""
		}
		return failover.SeenDown, "no answer"
	case "name":
		if n.w.served(there, what) {
			return failover.SeenUp, ""
		}
		return failover.SeenRefused, "status 502"
	case "dropbear":
		return failover.SeenDown, "no answer"
	}
	return failover.SeenUp, "" // router, entry
}
