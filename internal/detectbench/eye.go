package detectbench

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// Probing on virtual time, in milliseconds: one probe per second and window,
// at a phase of its own, that is answered after an answerTime or lost after
// the whole second (probes.DefaultTimeout).
const (
	second     = 1000
	answerTime = 40
)

// eye is the window of one target, and where its probing stands. Its window's
// time stands still while nothing is wrong: windows know only differences.
type eye struct {
	observer, site int // site < 0: an anchor of the observer's own uplink
	name           string
	path           failover.Path
	hardware       int
	agent          bool
	id             uint64
	luck           uint64 // what is drawn for its probes begins here

	window  *probes.Window
	seen    failover.Seen
	changed int64 // when seen changed last
	phase   int64 // of its probes in the second
	n       int64 // number of the next probe
	result  failover.Seen
	start   int64 // of the probe under way
	due     int64 // when its result comes; 0: no probe is under way
	off     int64 // time that was skipped
	frozen  int64 // since when its time stands still
	last    int64 // begin of the last probe with a result
}

func newEye(o, s int, name string, path failover.Path, id, seed uint64) *eye {
	e := &eye{observer: o, site: s, name: name, path: path, id: id, luck: mix(mix(seed) ^ id), agent: name == "agent"}
	if s >= 0 {
		e.hardware = hardwareOf(siteNames[s], name)
	}
	e.forget(0)
	return e
}

// forget starts a new window, as a process that starts does.
func (e *eye) forget(t int64) {
	e.window = probes.NewWindow(probes.DefaultMisses, probes.DefaultEvery)
	e.seen, e.changed, e.due = failover.SeenUnknown, t, 0
	e.n = (t - e.phase + second - 1) / second
}

// wake lets its time go on, with a new phase: after an hour of jitter any is as likely.
func (e *eye) wake(t int64, phase int64) {
	e.off += t - e.frozen
	e.last += t - e.frozen
	e.phase, e.due = phase, 0
	e.n = (t - e.phase + second - 1) / second
}

func (e *eye) mono(t int64) time.Duration { return time.Duration(t-e.off) * time.Millisecond }

func (e *eye) slot(n int64) int64 { return n*second + e.phase }

// draw is the luck of the probe number n.
func (e *eye) draw(n int64) uint64 { return mix(e.luck ^ uint64(n)) }

// add folds a result and says whether what is seen has changed.
func (e *eye) add(r failover.Seen, start, now int64) bool {
	e.window.Add(r, "", e.mono(start))
	e.last = start
	seen, _, _ := e.window.Observe(e.mono(now))
	if seen == e.seen {
		return false
	}
	e.seen, e.changed = seen, now
	return true
}

// step makes the probes that are due until now and folds their results. It
// says whether what is seen has changed.
func (e *eye) step(f field, now int64) (changed bool) {
	for {
		if e.due == 0 {
			start := e.slot(e.n)
			if start > now {
				return changed
			}
			r, tried := f.ask(e, e.n, start)
			if !tried {
				e.n++
				continue
			}
			e.start, e.result, e.due = start, r, start+answerTime
			if r == failover.SeenDown {
				e.due = start + second
			}
		}
		if e.due > now {
			return changed
		}
		changed = e.add(e.result, e.start, e.due) || changed
		e.due = 0
		e.n++
	}
}

// stale notices that the window has forgotten for want of results.
func (e *eye) stale(now int64) bool {
	if now-e.last <= 3*second {
		return false
	}
	seen, _, _ := e.window.Observe(e.mono(now))
	if seen == e.seen {
		return false
	}
	e.seen, e.changed = seen, now
	return true
}

// ask says what the probe number n of a window meets. What is drawn depends on
// the probe alone.
func (f field) ask(e *eye, n, t int64) (seen failover.Seen, tried bool) {
	s := e.site
	if s < 0 {
		if f.connected(e.observer, t) {
			return failover.SeenUp, true
		}
		return failover.SeenDown, true
	}
	w := f.look(e.observer, s, t)
	stride := f.stride(e.observer, t)
	h := e.draw(n)
	switch {
	case stride > 1 && n%stride != 0:
		return "", false
	case w.forced != "":
		return w.forced, true
	case stride > 1 && h>>60 < 12:
		return failover.SeenDown, true // three of four answers come too late for it
	case !f.open(&w, e.observer, s, e.path) || !w.answers(e.hardware, e.agent):
		return failover.SeenDown, true
	}
	baseline, burst := f.loss(&w, e.observer, s)
	u := unit(h)
	if burst && u < burstLoss {
		return failover.SeenDown, true
	}
	// Never five in a row (see baselineLoss), and as many in all.
	if (uint64(n)+e.id)%5 != 0 && u < baseline*1.25 {
		return failover.SeenDown, true
	}
	return failover.SeenUp, true
}

// stride is how many seconds apart a sick observer probes, 1 for a well one.
func (f field) stride(o int, t int64) int64 {
	for i := range f.effects {
		if e := &f.effects[i]; e.Kind == slowLoop && e.Site == o && e.at(t) {
			return int64(e.N)
		}
	}
	return 1
}

// agent is the observing half of one site's agent: the real Health and
// Reporter over the windows of the real target list.
type agent struct {
	site     int
	eyes     []*eye // by site, name, path
	anchors  []*eye
	running  bool
	stalled  int64 // since when it does nothing, 0: it works
	boots    uint64
	begun    int64 // mono of the start of the process
	health   *probes.Health
	unwell   []string
	skew     time.Duration // of its wall clock
	reporter *probes.Reporter
	in       probes.Inputs

	next    int64 // when to look whether a report is due
	failing bool  // its last proposal failed
	tried   int64 // when
	told    int64 // when its last report was accepted
}

func newAgent(place *Place, site int, seed uint64) *agent {
	a := &agent{site: site, running: true}
	opts := probes.Options{}
	for k, t := range probes.Targets(place.Spec, siteNames[site], nil, opts) {
		if t.Path != failover.PathMesh && t.Path != failover.PathPublic {
			continue
		}
		id := mix(seed ^ uint64(site*1000+k+1))
		a.eyes = append(a.eyes, newEye(site, siteIndex(t.Site), t.Name, t.Path, id, seed))
	}
	for k, t := range probes.AnchorTargets(place.Spec, siteNames[site], opts) {
		a.anchors = append(a.anchors, newEye(site, -1, t.Name, t.Path, mix(seed^uint64(site*1000+500+k)), seed))
	}
	// Clocks of agents differ by up to a second.
	a.skew = time.Duration(draw(seed, 77, uint64(site))%2000)*time.Millisecond - time.Second
	return a
}

// start is a new process.
func (a *agent) start(t, mono int64) {
	a.boots++
	a.begun, a.running, a.stalled = mono, true, 0
	a.health = probes.NewHealth(0)
	a.unwell = nil
	a.reporter = probes.NewReporter(probes.ReporterConfig{
		Observer: siteNames[a.site], Boot: string(rune('a' + a.boots%26)), Version: "bench",
	})
	for _, e := range a.all() {
		e.forget(t)
	}
	a.next, a.failing = t, false
}

func (a *agent) all() []*eye { return append(a.eyes[:len(a.eyes):len(a.eyes)], a.anchors...) }

// look is the Health's look at itself, about once a second.
func (a *agent) look(mono int64, late float64) (changed bool) {
	at := time.Duration(mono-a.begun) * time.Millisecond
	a.health.Observe(probes.Input{
		Wall: epoch.Add(time.Duration(mono)*time.Millisecond + a.skew), Mono: at, Late: late, Well: a.anchored(),
	})
	now := a.health.Unwell(at)
	if equal(now, a.unwell) {
		return false
	}
	a.unwell = now
	return true
}

// anchored is what probes.Uplink.Well says.
func (a *agent) anchored() bool {
	for _, e := range a.anchors {
		if e.seen != failover.SeenDown {
			return true
		}
	}
	return len(a.anchors) == 0
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// inputs gathers what a report at a time would be made of.
func (a *agent) inputs(t int64, term uint64, place *Place, suspicion bool) probes.Inputs {
	obs := a.in.Observations[:0]
	for _, e := range a.eyes {
		seen, lasted, _ := e.window.Observe(e.mono(t))
		obs = append(obs, failover.Observation{Site: siteNames[e.site], Target: e.name, Path: e.path, Seen: seen, For: lasted})
	}
	a.in = probes.Inputs{
		Observations: obs, Unwell: a.unwell, Term: term, Suspicion: suspicion,
		ReturnAfter: place.Spec.Policy.ReturnAfter.D(),
		Levels:      func(s network.SiteID) []time.Duration { return place.levels[s] },
	}
	return a.in
}
