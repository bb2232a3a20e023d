package sim

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// truth follows who can in truth reach whom over the simulated network. No
// agent knows it: what they concluded is held against it (S4).
type truth struct {
	w    *World
	sees map[pair]time.Time // since when an observer that is well and in contact reaches a site's public side
	open map[pair]time.Time // since when any way at all from an observer to a site is open
	shut map[pair]time.Time // since when none is

	unfit map[failover.SiteID]time.Time // since when an agent does not work, or has no contact with a majority
	skew  map[failover.SiteID]time.Duration
}

type pair struct{ observer, site failover.SiteID }

const (
	truthEvery = time.Second
	// What a clock may be set by without a jump: probes.Health takes less than two
	// seconds for a slew.
	slewed = 3 * time.Second
	// A way that is open for less than a round of probes may be missed by all.
	openMissed = 2 * time.Second
	// seesAtMost is how long a sound observer may reach a site that is given up:
	// a round of probes, the proposal of its report, and a slow log.
	seesAtMost = 12 * time.Second
	// shutMargin is how much less than the commit delay the ways may have been
	// shut: failover's grace for sightings, and the steps of this account.
	shutMargin = 3 * time.Second
)

func newTruth(w *World) *truth {
	return &truth{
		w: w, sees: map[pair]time.Time{}, open: map[pair]time.Time{}, shut: map[pair]time.Time{},
		unfit: map[failover.SiteID]time.Time{}, skew: map[failover.SiteID]time.Duration{},
	}
}

// follow takes a look every now and then; it is bookkeeping, no event.
func (t *truth) follow() {
	now := t.w.loop.Now()
	for _, o := range t.w.ids {
		t.agent(o, now)
		for _, s := range t.w.ids {
			if o != s {
				t.look(pair{o, s}, now)
			}
		}
	}
	t.w.loop.In(truthEvery, "", t.follow)
}

// agent follows whether an agent is fit to be counted, and its clock.
func (t *truth) agent(id failover.SiteID, now time.Time) {
	s := t.w.sites[id]
	since(t.unfit, id, t.unable(s), now)
	if before, known := t.skew[id]; known && (s.skew-before).Abs() > slewed {
		t.w.check.jumps[id] = now
	}
	t.skew[id] = s.skew // at the first look it has always been so
}

func (t *truth) look(p pair, now time.Time) {
	here := t.w.sites[p.observer]
	public := !here.sick && t.w.net.passes(p.observer, p.site, failover.PathPublic)
	mesh := !here.sick && t.w.net.passes(p.observer, p.site, failover.PathMesh)
	lossy := t.w.net.loss[way{p.observer, p.site, failover.PathPublic}] > 0
	well := here.host && here.agent.up && here.skew == 0 && t.w.log.Quorum(p.observer)
	since(t.sees, p, public && !lossy && well, now)
	since(t.open, p, public || mesh, now)
	switch began, open := t.open[p]; {
	case open && now.Sub(began) >= openMissed:
		delete(t.shut, p)
	case !open:
		since(t.shut, p, true, now)
	}
}

// since keeps in m when a condition has come true, as long as it is.
func since[K comparable](m map[K]time.Time, p K, holds bool, now time.Time) {
	if _, known := m[p]; !holds {
		delete(m, p)
	} else if !known {
		m[p] = now
	}
}

// given checks an automatic commit: of a site, or of a structure's machine,
// which must have been dead for the delay.
func (t *truth) given(l failover.Loss, delay time.Duration) {
	s := t.w.sites[l.Site]
	switch {
	case l.Host == "":
		t.lost(l.Site, delay)
	case l.Host != structureHost(l.Site):
		// Raoull's machine holds no home guests here.
	case s.own:
		if up := t.w.loop.Now().Sub(s.ownBack); up >= seesAtMost {
			t.w.check.fail("S4", "%s is given up and runs for %s", l.Host, up)
		}
	case t.w.loop.Now().Sub(s.ownGone) < delay-shutMargin:
		t.w.check.fail("S4", "%s is given up %s after it died, the delay is %s", l.Host, t.w.loop.Now().Sub(s.ownGone), delay)
	}
}

// lost checks an automatic commit against the network: nobody who is well
// reached the site, and a majority of all voters had no way to it for the delay.
func (t *truth) lost(site failover.SiteID, delay time.Duration) {
	now, shut := t.w.loop.Now(), 0
	for _, o := range t.w.ids {
		if began, ok := t.sees[pair{o, site}]; ok && now.Sub(began) >= seesAtMost {
			t.w.check.fail("S4", "%s is given up and %s, which is well, has reached it for %s", site, o, now.Sub(began))
		}
		if began, ok := t.shut[pair{o, site}]; ok && now.Sub(began) >= delay-shutMargin {
			shut++
		}
	}
	if shut < len(t.w.ids)/2+1 {
		t.w.check.fail("S4", "%s is given up and only %d of %d voters had no way to it for %s", site, shut, len(t.w.ids), delay)
	}
}

// unable says whether an agent does not work, or has no contact with a majority.
func (t *truth) unable(s *Site) bool {
	return !s.power || !s.host || !s.agent.lives() || !t.w.log.Quorum(s.name)
}
