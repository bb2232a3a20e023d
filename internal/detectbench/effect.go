package detectbench

import (
	"github.com/raoull/worldwidewelsh/failover"
)

// effectKind is what is wrong for a while.
type effectKind uint8

// Effects. "Site" is where; N and Mask are explained at each.
const (
	lineDown   effectKind = iota // N: which uplink. Router reboots and resyncs are among these
	lossBurst                    // N: which uplink; a probe is lost with burstLoss
	pairDown                     // no packets between Site and Other, either way
	cutFrom                      // Mask: the observers that cannot reach Site, by any path; others can
	meshDown                     // the site's tunnel is dead, its public entry serves
	publicDown                   // the public entry is dead, the mesh works
	agentStall                   // the agent does nothing and answers nothing
	hostDown                     // N: onRaoull or onPartner. Reboot: the machine starts anew at the end
	powerOff                     // everything at the site is off
	slowLoop                     // sick observer: one probe in N seconds, and most answers come too late for it
	clockJump                    // sick observer: its wall clock jumps by two minutes at the beginning
	deaf                         // sick observer: it sees nobody, and believes itself well
	sayDown                      // lying observer: claims that Other is silent
	sayUp                        // lying observer: claims that Other answers
)

// burstLoss is the share of probes that a burst of loss eats.
const burstLoss = 0.4

// Effect is one thing that is wrong at a site, from From to To (milliseconds
// since the beginning of the trace).
type Effect struct {
	Kind        effectKind
	From, To    int64
	Site, Other int
	N           int
	Mask        uint8
	Reboot      bool
}

func (e *Effect) at(t int64) bool { return e.From <= t && t < e.To }

// sickens says whether the effect makes an observer at its site unfit to
// testify, besides cutting it off.
func (e *Effect) sickens() bool {
	switch e.Kind {
	case slowLoop, clockJump, deaf, sayDown, sayUp, agentStall:
		return true
	}
	return e.Kind == hostDown && e.N == onRaoull
}

// about says whether the effect can change what observer o meets at site s.
func (e *Effect) about(o, s int) bool {
	switch e.Kind {
	case pairDown:
		return e.Site == o && e.Other == s || e.Site == s && e.Other == o
	case cutFrom:
		return e.Site == s && e.Mask>>o&1 != 0 || e.Site == o && e.Mask>>s&1 != 0
	case sayDown, sayUp:
		return e.Site == o && e.Other == s
	case slowLoop, clockJump, deaf:
		return e.Site == o
	}
	return e.Site == o || e.Site == s
}

// field is what is wrong at some time, and on which lines.
type field struct {
	lines   *[sites]Line
	effects []Effect
}

// way is the state of the ways between an observer and a site at one moment.
type way struct {
	offO, offS   bool // powered off
	lostO, lostS uint // uplinks that are down, as bits
	burstO       uint
	burstS       uint
	cut          bool // pair or transit
	mesh, public bool // dead for that path only
	hostS        int  // bits 1<<onRaoull, 1<<onPartner: down
	agentS       bool // the site's agent answers nothing
	forced       failover.Seen
}

// look gathers what the effects do to a pair at a time.
func (f field) look(o, s int, t int64) way {
	var w way
	for i := range f.effects {
		if e := &f.effects[i]; e.at(t) && e.about(o, s) {
			w.add(e, o, s)
		}
	}
	return w
}

func (w *way) add(e *Effect, o, s int) {
	here := e.Site == s
	switch e.Kind {
	case lineDown, lossBurst:
		w.line(e, here)
	case pairDown, cutFrom:
		w.cut = true
	case meshDown:
		w.mesh = true
	case publicDown:
		w.public = w.public || here
	case agentStall:
		w.agentS = w.agentS || here
	case hostDown:
		if here {
			w.hostS |= 1 << e.N
		}
	case powerOff:
		w.offO, w.offS = w.offO || !here, w.offS || here
	case deaf:
		w.forced = failover.SeenDown
	case sayDown:
		w.forced = failover.SeenDown
	case sayUp:
		w.forced = failover.SeenUp
	}
}

func (w *way) line(e *Effect, here bool) {
	lost, burst := &w.lostO, &w.burstO
	if here {
		lost, burst = &w.lostS, &w.burstS
	}
	if e.Kind == lossBurst {
		lost = burst
	}
	*lost |= 1 << e.N
}

// inUse returns the uplink that carries a site's traffic, -1 if none is left:
// the first one that works.
func inUse(l Line, lost uint) int {
	n := 1
	if l == Dual {
		n = 2
	}
	for i := range n {
		if lost>>i&1 == 0 {
			return i
		}
	}
	return -1
}

// open says whether packets of a path kind pass between observer and site.
func (f field) open(w *way, o, s int, p failover.Path) bool {
	if w.offO || w.offS || w.cut || inUse(f.lines[o], w.lostO) < 0 || inUse(f.lines[s], w.lostS) < 0 {
		return false
	}
	if p == failover.PathMesh {
		return !w.mesh
	}
	// The public entry has the address of the first line only.
	return !w.public && w.lostS&1 == 0
}

// loss is the chance that a probe over an open path is lost.
func (f field) loss(w *way, o, s int) (baseline float64, burst bool) {
	uo, us := inUse(f.lines[o], w.lostO), inUse(f.lines[s], w.lostS)
	baseline = baselineLoss[f.lines[o].uplinks()[uo]] + baselineLoss[f.lines[s].uplinks()[us]]
	return baseline, w.burstO>>uo&1 != 0 || w.burstS>>us&1 != 0
}

// answers says whether a target's hardware is there to answer.
func (w *way) answers(hardware int, agent bool) bool {
	if hardware == onRouter {
		return true
	}
	return w.hostS>>hardware&1 == 0 && !(agent && w.agentS)
}

// connected says whether a site has power and a line.
func (f field) connected(site int, t int64) bool {
	w := f.look(site, site, t)
	return !w.offS && inUse(f.lines[site], w.lostS) >= 0
}

// running says whether a site's agent can do anything.
func (f field) running(site int, t int64) bool {
	w := f.look(site, site, t)
	return !w.offS && !w.agentS && w.hostS>>onRaoull&1 == 0
}

// meets says whether two agents can talk over the mesh, loss apart.
func (f field) meets(a, b int, t int64) bool {
	w := f.look(a, b, t)
	return f.open(&w, a, b, failover.PathMesh)
}

// healthy says whether an observer is fit to testify: it runs, has a line and
// is neither sick nor lying.
func (f field) healthy(o int, t int64) bool {
	for i := range f.effects {
		if e := &f.effects[i]; e.at(t) && e.Site == o && e.sickens() {
			return false
		}
	}
	return f.connected(o, t)
}

// served says whether in truth some healthy observer elsewhere still reaches
// the site, on any path.
func (f field) served(s int, t int64) bool {
	for o := range sites {
		if o == s || !f.healthy(o, t) {
			continue
		}
		w := f.look(o, s, t)
		mesh := f.open(&w, o, s, failover.PathMesh)
		public := s != temoin && f.open(&w, o, s, failover.PathPublic) && w.answers(onRaoull, false)
		if mesh || public {
			return true
		}
	}
	return false
}
