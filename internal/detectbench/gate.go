package detectbench

import (
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// gate spares calls of Decide that can only return nothing. It opens whenever
// something changed that Judge or Decide reads; what does not count as a change
// is little, and the strict run of the tests proves each point:
//
//   - a report that says the same as the one before it, but for longer, while
//     no threshold was crossed by the second or third longest silence (Judge
//     reads durations through these, suspicion and majority);
//   - anything at all while all is well and of each site at most one observer
//     sees anything but life: one voice is no majority and no suspicion;
//   - the passing of time, but for the ages and dates in timer and ages.
type gate struct {
	pending bool
	up      bool // every domain is recorded as up
	clean   bool // and no operation is on
	doubt   bool // an observer is sick or lies: one voice is not trusted to be harmless
	ages    [sites]int
}

// stir says that something changed.
func (g *gate) stir() { g.pending = true }

// before looks at a report that is about to be applied.
func (g *gate) before(w *World, r failover.Report) {
	if g.pending || w.opts.Strict {
		return
	}
	old, ok := w.state.Reports[r.Observer]
	if !ok || old.Stamp.Term != w.term || !slices.Equal(old.Report.Unwell, r.Unwell) || !w.sameMeaning(old.Report, r) {
		g.pending = true
		return
	}
	for _, site := range siteNames {
		if g.telling(w, site, r) {
			g.pending = true
			return
		}
	}
}

// young is a silence of which every second may matter.
const young = 15 * time.Second

// sameMeaning says whether two reports of an observer see the same, as far as
// single silences and sightings go.
func (w *World) sameMeaning(old, now failover.Report) bool {
	if len(old.Observations) != len(now.Observations) {
		return false
	}
	back := w.place.Spec.Policy.ReturnAfter.D()
	for i, o := range now.Observations {
		was := old.Observations[i]
		if was.Target != o.Target || was.Site != o.Site || was.Seen != o.Seen ||
			was.Seen == failover.SeenDown && was.For < young || (was.For >= back) != (o.For >= back) {
			return false
		}
		if was.Seen == failover.SeenDown && w.reaches(was, o) && darkOf(now, o.Site).some {
			return false // a host of a living site is judged by its own silence
		}
	}
	return true
}

// reaches says whether a silence has reached a level since it was last told.
func (w *World) reaches(was, now failover.Observation) bool {
	levels := w.place.levels[now.Site]
	return bucket(levels, was.For) != bucket(levels, now.For)
}

// dark is what one report says of a site.
type dark struct {
	all, some bool // everything silent, something alive
	silence   time.Duration
}

func darkOf(r failover.Report, site failover.SiteID) dark {
	d := dark{}
	n := 0
	for _, o := range r.Observations {
		if o.Site != site {
			continue
		}
		n++
		if o.Seen == failover.SeenDown {
			if !d.all || o.For < d.silence {
				d.all, d.silence = true, o.For
			}
			continue
		}
		d.some = true
	}
	d.all = d.all && !d.some && n > 0
	return d
}

// closeBy is how near to the beginning of a silence a report must stand for it
// to be open whether it contradicts; Judge's own limit is 1.5 s.
const closeBy = 4 * time.Second

// telling says whether a report, which sees what it saw, matters for a site
// that at least two see nothing of.
func (g *gate) telling(w *World, site failover.SiteID, r failover.Report) bool {
	var before, after []time.Duration
	var begun []time.Time
	for _, o := range siteNames {
		stored := w.state.Reports[o]
		d := darkOf(stored.Report, site)
		if !d.all {
			continue
		}
		before = append(before, d.silence)
		begun = append(begun, stored.Stamp.At.Add(-d.silence))
		if o == r.Observer {
			d = darkOf(r, site)
		}
		after = append(after, d.silence)
	}
	if len(before) < 2 {
		return false
	}
	if r.Observer == site || !darkOf(r, site).all {
		// It contradicts, unless it did so before.
		told := w.state.Reports[r.Observer].Stamp.At
		return slices.ContainsFunc(begun, func(b time.Time) bool { return told.Sub(b) < closeBy })
	}
	slices.Sort(before)
	slices.Sort(after)
	levels := w.place.levels[site]
	for k := 2; k <= len(before) && k <= 3; k++ {
		if bucket(levels, before[len(before)-k]) != bucket(levels, after[len(after)-k]) {
			return true
		}
	}
	return w.contradictable(site, begun)
}

// contradictable says whether some sighting stands so close to the beginning
// of the silence that the order of the reports decides what it means.
func (w *World) contradictable(site failover.SiteID, begun []time.Time) bool {
	for o, r := range w.state.Reports {
		if o != site && !darkOf(r.Report, site).some {
			continue
		}
		for _, b := range begun {
			if since := r.Stamp.At.Sub(b); since > 0 && since < closeBy {
				return true
			}
		}
	}
	return false
}

func bucket(levels []time.Duration, d time.Duration) int {
	n := 0
	for _, l := range levels {
		if d >= l {
			n++
		}
	}
	return n
}

// open says whether Decide must be called now.
func (g *gate) open(w *World) bool {
	if !g.pending && (g.aged(w) || !w.now().Before(g.timer(w))) {
		g.pending = true
	}
	if g.pending && g.clean && !g.doubt && w.loneVoices() {
		g.pending = false
	}
	return g.pending
}

// shut takes note that Decide has nothing more to say.
func (g *gate) shut(w *World) {
	g.pending = false
	g.up = len(w.state.Domains) > 0
	for _, d := range w.state.Domains {
		g.up = g.up && d.Cause == failover.CauseUp && d.Level == failover.LevelNone && d.Held.IsZero() && d.Lost.Index == 0
	}
	g.clean = g.up
	for _, op := range w.state.Ops {
		g.clean = g.clean && op.Phase.Ended()
	}
	g.aged(w)
}

// aged compares the ages of the reports with what they were when last asked.
func (g *gate) aged(w *World) bool {
	changed := false
	for i, o := range siteNames {
		age := 0
		if r, ok := w.state.Reports[o]; ok {
			d := w.now().Sub(r.Stamp.At)
			switch {
			case d > failover.PresenceAge:
				age = 2
			case d > failover.VoteAge && w.darkAny(r.Report):
				age = 1
			}
		}
		changed = changed || g.ages[i] != age
		g.ages[i] = age
	}
	return changed
}

func (w *World) darkAny(r failover.Report) bool {
	for _, s := range siteNames {
		if darkOf(r, s).all {
			return true
		}
	}
	return false
}

// never is a date that no run reaches.
var never = epoch.Add(100 * 365 * day)

// timer is the next date on which Decide, or an executor, may act though
// nothing has changed.
func (g *gate) timer(w *World) time.Time {
	next := never
	at := func(t time.Time) {
		if t.After(w.lastLook()) && t.Before(next) {
			next = t
		}
	}
	if g.clean {
		return next
	}
	for _, op := range w.state.Ops {
		if op.Phase.Ended() {
			continue
		}
		at(op.ReleaseAt)
		for _, d := range w.state.Domains {
			switch d.Cause {
			case failover.CauseAgentOnly, failover.CauseHostDown, failover.CauseLocked:
				at(d.Since.At.Add(w.place.Spec.Policy.Commit.D()))
			}
		}
	}
	for _, b := range w.state.Blocks {
		at(b.Until)
	}
	if !g.up {
		for _, d := range w.state.Domains {
			for _, u := range d.Useless {
				at(u.Add(day))
			}
		}
	}
	return next
}

// lastLook is the leader's look before this one.
func (w *World) lastLook() time.Time { return w.now().Add(-leadLook * time.Millisecond) }

// loneVoices says whether of every site at most one observer sees anything but
// life, and most observers are well.
func (w *World) loneVoices() bool {
	var voices [sites]int
	unwell := 0
	for _, r := range w.state.Reports {
		if len(r.Report.Unwell) > 0 {
			unwell++
		}
		heard := uint8(0)
		for _, o := range r.Report.Observations {
			if s := siteIndex(o.Site); !o.Seen.Alive() && heard>>s&1 == 0 {
				heard |= 1 << s
				voices[s]++
			}
		}
	}
	return unwell <= sites/2 && slices.Max(voices[:]) <= 1
}
