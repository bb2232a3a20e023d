package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// A campaign is two hours and more in the life of a network, with several
// incidents. Between them it comes to rest, and the time in which nothing
// happens is passed over: see pass.
const (
	campaignLeast = 2 * time.Hour
	campaignMore  = 40 * time.Minute
	worstDrift    = 500e-6           // of a clock that nobody sets: 43 s a day
	campaignWarm  = 15 * time.Second // the network is declared and everybody has reported
	settleLook    = 2 * time.Second
	passAtMost    = 20 * time.Minute // at a time
	passBreath    = 2 * time.Second  // of life between
)

// Campaign is a run of several random incidents.
func Campaign() Scenario {
	return Scenario{
		Name: "campaign",
		Prepare: func(o *Options) {
			r := NewStreams(o.Seed).Stream("campaign options")
			o.Mode = drawMode(r)
			o.Warm = chance(NewStreams(o.Seed).Stream("campaign warm"), 0.5)
			if live := NewStreams(o.Seed).Stream("campaign live"); chance(live, 0.25) {
				o.Live = []string{LiveWaits, LiveBold}[live.IntN(2)]
			}
			o.Homeward = chance(NewStreams(o.Seed).Stream("campaign homeward"), 0.5)
			if o.Homeward && chance(NewStreams(o.Seed).Stream("campaign spoilt"), 0.25) {
				o.Spoilt = 0.3
			}
			if elsewhere := NewStreams(o.Seed).Stream("campaign primaries"); chance(elsewhere, 0.25) {
				o.Primaries = 1 + elsewhere.IntN(2)
			}
			o.Alone = chance(NewStreams(o.Seed).Stream("campaign alone"), 0.3)
			if home := NewStreams(o.Seed).Stream("campaign window"); o.Homeward && chance(home, 0.4) {
				o.Window = []network.Window{{From: 0, To: 24*60 - 1}, {From: 4 * 60, To: 4*60 + 30}}[home.IntN(2)]
			}
			if bad := NewStreams(o.Seed).Stream("campaign jobs"); o.Homeward && chance(bad, 0.2) {
				o.Jobs = drawJobs(bad)
			}
			if chance(r, 0.2) {
				o.HostMemory = reserved + (2+r.Int64N(7))*guestMemory/2 // room for a few only
			}
			o.ReadyEvery = 5 * time.Minute
			o.OneBackup = true
			o.Timing = BriefTiming()
			if o.layout = layCampaign(NewStreams(o.Seed).Stream("campaign size")); o.layout != nil {
				o.RestoreRate = 3 * restoreRate
			}
		},
		Plan: func(w *World) {
			r := w.rand("campaign")
			for _, id := range w.ids {
				if chance(r, 0.3) {
					w.sites[id].drift = (2*r.Float64() - 1) * worstDrift
				}
				w.sites[id].unfenced = chance(r, 0.15)
			}
			c := &campaign{w: w, odds: odds{home: 0.6, month: 0.5, fire: 0.25}, brought: map[string]int{}, left: 2, until: campaignLeast + between(r, 0, campaignMore)}
			if third := r.Float64(); third < 0.5 && w.opts.layout == nil || third < 0.2 {
				c.left = 3
			}
			w.loop.In(campaignWarm, "", c.begin)
		},
		Until: 4*campaignLeast + monthLater,
	}
}

// layCampaign draws what lives at the homes of a campaign's five sites: in seven of eight one guest each, or two.
// What goes wrong with ten does so with few nearly always, and those cost half; nil: all ten.
func layCampaign(r *rand.Rand) []place {
	most := 1
	switch x := r.Float64(); {
	case x < 0.12:
		return nil
	case x < 0.25:
		most = 2
	}
	out := places(Full)
	for i := range out {
		out[i].guests = someOf(r, out[i].guests, most)
	}
	return out
}

// someOf draws a few members in their order; what one waits for that was not drawn it does not wait for.
func someOf(r *rand.Rand, all []member, most int) []member {
	var out []member
	for i, m := range all {
		left := len(all) - i
		if r.IntN(left) >= most-len(out) {
			continue
		}
		if !slices.ContainsFunc(out, func(other member) bool { return other.name == m.after }) {
			m.after = ""
		}
		out = append(out, m)
	}
	return out
}

// odds are the probabilities of what happens when all is at rest.
type odds struct {
	home  float64 // people bring home what lives elsewhere
	month float64 // a month passes, at the end
	fire  float64 // and then a site burns down
}

// campaign is a run's sequence of incidents.
type campaign struct {
	w        *World
	odds     odds
	tale     *history // one history of the way home instead; nil: whatever comes
	n        int      // incidents begun
	left     int
	homed    int // the incident after which people have looked at what lives elsewhere
	burnt    *burning
	later    bool             // a month has passed
	heeded   map[advised]bool // what people have typed since all was at rest
	brought  map[string]int   // how often people have brought home what was stuck away, by incident and guest
	tidied   int              // how often people have looked at what guests have left
	until    time.Duration
	deadline time.Time // by when everything is put right
}

// begin begins the next incident.
func (c *campaign) begin() {
	w := c.w
	c.n++
	c.left--
	r := w.rand(fmt.Sprintf("incident %d", c.n))
	i := &incident{w: w, r: r, window: between(r, 25*time.Second, 70*time.Second)}
	if w.opts.layout != nil && c.tale == nil {
		i.window = i.window * 4 / 5
	}
	w.tell("incident %d, for %s", c.n, i.window)
	w.stats.Incidents++
	if c.tale != nil {
		c.tale.incident(i)
		return
	}
	i.plan()
	c.endsIn(i.window)
}

// endsIn has all faults end after a while, and everything be put right then.
func (c *campaign) endsIn(d time.Duration) {
	w := c.w
	c.deadline = w.loop.Now().Add(d + putRight)
	w.loop.In(d, "all faults end", func() {
		w.healAll()
		w.loop.In(settleLook, "", c.settle)
	})
}

// settle waits until the network is at rest, or should be.
func (c *campaign) settle() {
	w := c.w
	why := w.unrest()
	if why != "" && w.loop.Now().Before(c.deadline) {
		w.loop.In(settleLook, "", c.settle)
		return
	}
	if why == "" && (c.heedAdvice() || c.bringStuck() || c.homecoming() || c.tale.next() || c.tidying()) {
		c.deadline = w.loop.Now().Add(putRight)
		w.loop.In(settleLook, "", c.settle)
		return
	}
	w.check.end()
	if why != "" {
		w.tell("no rest: %s", why)
		w.stats.restless(why)
	}
	w.acknowledge(w.rand(fmt.Sprintf("acks %d", c.n)).Float64())
	if c.left > 0 {
		w.backup()
		gap := c.tale.gap()
		if gap == 0 {
			gap = between(w.rand(fmt.Sprintf("gap %d", c.n)), 2*time.Minute, 2*(c.until-w.loop.Since())/time.Duration(c.left+1)-2*time.Minute)
		}
		c.pass(w.loop.Now().Add(gap), c.begin)
		return
	}
	c.pass(Epoch.Add(c.until), func() {
		c.deadline = w.loop.Now().Add(putRight)
		c.end()
	})
}

// end ends the run once what came by the clock alone is done with.
func (c *campaign) end() {
	why := c.w.unrest()
	if why == "" && (c.heedAdvice() || c.month() || c.later && c.tidying()) {
		why, c.deadline = "work", c.w.loop.Now().Add(putRight)
	}
	if why != "" && c.w.loop.Now().Before(c.deadline) {
		c.w.loop.In(settleLook, "", c.end)
		return
	}
	if why != "" || !c.burn() {
		c.w.loop.Stop()
	}
}

// acknowledge has people take note of what was done, so that automation may act
// on the same domains again.
func (w *World) acknowledge(p float64) {
	s := w.log.Last()
	for n, d := range sortedKeys(s.Blocks) {
		if float64(n%4) < 4*p {
			w.propose(failover.Ack{Domain: d})
		}
	}
}

// pass lets time go by until then. While the network is at rest its probes
// stand still (eyes.go), nobody has anything to do, and the agents' refreshed
// reports would say the same: so the clock is moved on, all that is scheduled
// with it, and the reports are made anew. What happens by the clock alone, the
// end of a pause or of a block, comes up to passAtMost late.
func (c *campaign) pass(until time.Time, then func()) {
	w := c.w
	left := until.Sub(w.loop.Now())
	if left <= passBreath {
		w.loop.In(max(0, left), "", then)
		return
	}
	if w.unrest() == "" {
		w.passOver(min(left-passBreath, passAtMost))
	}
	w.loop.In(passBreath, "", func() { c.pass(until, then) })
}

// passOver moves the clock on, and has everybody's next report made anew. The probes that do not
// stand still (those of a site that is cut off) make none meanwhile.
func (w *World) passOver(d time.Duration) {
	w.loop.Skip(d)
	for _, id := range w.ids {
		if a := w.sites[id].agent; a.up {
			a.life.eyes.hold(d)
			a.life.eyes.report.Wake()
		}
	}
}

// unrest says why time cannot be passed over: something is not well, or
// somebody has something to do; "": nothing.
func (w *World) unrest() string { return w.unrestBut("") }

// unrestBut is the same but for what is known of one site: that it is lost, say.
func (w *World) unrestBut(out failover.SiteID) string {
	s := w.log.Last()
	switch {
	case s.Network == nil || w.log.leader == "" || !w.log.ready:
		return "nobody leads"
	case len(w.net.cuts)+len(w.net.loss)+len(w.net.slow) > 0:
		return "cut lines"
	}
	for _, id := range w.ids {
		if why := w.sites[id].unrest(len(w.log.entries), out); why != "" && id != out {
			return string(id) + ": " + why
		}
		// What comes home by itself does so by what its agent has seen last: that looks before hours are passed over.
		if w.opts.Window != (network.Window{}) && w.loop.Now().Sub(w.sites[id].handed) < w.opts.ReadyEvery+10*time.Second {
			return string(id) + ": a guest that a person has started, and nobody has looked at"
		}
	}
	for _, id := range sortedKeys(s.Domains) {
		d := s.Domains[id]
		if id == failover.SiteDomain(out) || id == failover.HostDomain(structureHost(out)) {
			continue
		}
		if d.Level != failover.LevelNone || d.Cause != failover.CauseUp && d.Cause != failover.CauseMaintenance {
			return fmt.Sprintf("%s is %s", id, d.Cause)
		}
	}
	for _, id := range sortedKeys(s.Ops) {
		if op := s.Ops[id]; !op.Phase.Ended() && len(op.Waiting()) == 0 && (out == "" || !tidiesLost(op, map[failover.SiteID]bool{out: true})) {
			return fmt.Sprintf("%s of %s is %s", op.Kind, op.Domain, op.Phase)
		}
	}
	for _, z := range sortedKeys(s.Zones) {
		if s.Zones[z].Verified != s.Zones[z].Changed {
			return "zone " + z + " not verified"
		}
	}
	return w.primaries.unrest()
}

func (s *Site) unrest(entries int, out failover.SiteID) string {
	a := s.agent
	switch {
	case !s.power || !s.host || s.structure != nil && !s.own || !s.uplink || s.sick || s.liar || s.refuses || s.dns.how != "":
		return "a fault"
	case !a.up || a.frozen:
		return "no agent"
	case a.node.applied != entries:
		return "behind the log"
	case len(a.life.eyes.unwell) > 0:
		return strings.Join(a.life.eyes.unwell, " ")
	case !a.life.eyes.resting(out):
		return "sees " + a.life.eyes.restless(out)
	case len(a.life.workers) > 0:
		return "work"
	case a.waits("alone"):
		return "an answer that does not come"
	case a.life.stopper != nil && a.life.stopper.Owes():
		return "guests to start again"
	}
	return ""
}
