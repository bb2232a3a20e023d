package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// A history is one story of the way home: guests leave their home, people write to both copies for as long
// as that lasts, they come home, and what they have left is cleared away. It is a campaign in which nothing
// happens that does not matter to what was written (no zone elsewhere, no warm copies, no observers that are
// wrong), in a network of three sites that can take guests, with one or two that do: cheap enough for a
// hundred thousand.
type history struct {
	w    *World
	c    *campaign
	r    *rand.Rand
	home failover.SiteID // of the guests

	lives   map[failover.GuestID]failover.SiteID // since it was last given to a site
	out     time.Time                            // since when it is lost
	long    time.Duration                        // that it is lost for, at rest
	nights  int                                  // in how many pieces
	regrets int                                  // how far people are who have kept the wrong copy
	kept    failover.Keep                        // what they have kept
}

// Histories is a run of one history.
func Histories() Scenario {
	var h *history
	return Scenario{
		Name:    "histories",
		Prepare: prepareHistory,
		Plan: func(w *World) {
			c := &campaign{w: w, odds: odds{home: 0.1, month: 0.4, fire: 0.15}, brought: map[string]int{}}
			h = &history{w: w, c: c, r: w.rand("history"), home: w.ids[0], lives: map[failover.GuestID]failover.SiteID{}}
			c.tale, c.left = h, 2
			if chance(h.r, 0.25) {
				c.left = 3
			}
			w.watch = h.follow
			w.loop.In(campaignWarm, "", c.begin)
		},
		Check: func(*World) error {
			h.sum()
			return nil
		},
		Until: campaignLeast + longestOut + monthLater + 48*time.Hour,
	}
}

func prepareHistory(o *Options) {
	stream := func(name string) *rand.Rand { return NewStreams(o.Seed).Stream("history " + name) }
	o.Timing, o.ReadyEvery, o.Chatter = BriefTiming(), 5*time.Minute, 3*time.Hour
	o.Writing = 15 * time.Second
	o.RestoreRate = 3 * restoreRate
	o.OneBackup, o.Homeward, o.Apart = true, true, true
	o.Mode = drawMode(stream("mode"))
	o.layout = layHistory(stream("places"))
	o.Alone = o.layout[0].structure == stopsAlone
	if r := stream("window"); slices.Contains(comeByThemselves, o.layout[0].structure) && chance(r, 0.3) {
		o.Window = network.Window{From: 0, To: 24*60 - 1}
	}
	if r := stream("jobs"); chance(r, 0.25) {
		o.Jobs = drawJobs(r)
	}
	if chance(stream("spoilt"), 0.08) {
		o.Spoilt = 0.4
	}
	if r := stream("live"); chance(r, 0.08) {
		o.Live = []string{LiveWaits, LiveBold}[r.IntN(2)]
	}
}

// layHistory draws three sites, or five of which two can take no guest, and what lives at the first.
func layHistory(r *rand.Rand) []place {
	out := []place{
		{name: "moulin", structure: []network.StructureID{"le-moulin", stopsAlone, "les-docks"}[r.IntN(3)], vlan: 120},
		{name: "fabrique", structure: "second", vlan: 130, bare: true},
		{name: "quai", structure: "third", vlan: 140, bare: true},
	}
	for n := range out {
		out[n].kind = network.Brique
	}
	if chance(r, 0.4) {
		out[0].onReturn = "stop"
	}
	kinds := []network.GuestType{network.VM, network.CT}
	out[0].guests = []member{{name: "nuage", kind: kinds[r.IntN(2)], priority: 1, chunks: 1}}
	if chance(r, 0.2) {
		out[0].guests = append(out[0].guests, member{name: "agenda", kind: kinds[r.IntN(2)], priority: 2, chunks: 1})
	}
	if chance(r, 0.1) { // two of five may be gone at once
		out = append(out, place{name: "temoin", kind: network.Witness}, place{name: "phare", kind: network.Witness})
	}
	return out
}

// How long a site is lost: of every order of magnitude as often.
const (
	shortestOut = 3 * time.Second
	longestOut  = 4 * 24 * time.Hour
	// awakeOut is from when on the others come to rest without it, and the time until it is back is passed over.
	awakeOut = 32 * time.Second
)

func drawOut(r *rand.Rand) time.Duration {
	orders := math.Log(float64(longestOut) / float64(shortestOut))
	return time.Duration(float64(shortestOut) * math.Exp(orders*r.Float64())).Round(time.Second)
}

// incident begins the next one of a history.
func (h *history) incident(i *incident) {
	i.homes = []failover.SiteID{h.home}
	switch {
	case h.c.n == 1:
		h.leave(i)
	case h.c.left > 0:
		h.loseAgain(i)
	default:
		h.comeHome(i)
	}
}

// gap is how long nothing happens between two incidents.
func (h *history) gap() time.Duration {
	if h == nil {
		return 0
	}
	return between(h.w.rand(fmt.Sprintf("gap %d", h.c.n)), time.Minute, passAtMost)
}

// leave is how the guests leave their home.
func (h *history) leave(i *incident) {
	w, r, home := h.w, i.r, h.home
	lasts, begin := drawOut(r), between(r, 0, 5*time.Second)
	h.long, h.nights = lasts-awakeOut, 1+r.IntN(2)
	gone, back := func() { w.setUplink(home, false) }, func() { w.setUplink(home, true) }
	name, cut := "isolate", true
	switch x := r.Float64(); {
	case x < 0.5:
	case x < 0.7:
		name, cut, gone, back = "kill", false, func() { w.kill(home) }, func() { w.revive(home) }
	case x < 0.85: // its guests start by themselves, and those in the house work on
		name, gone = "cut the line and the power, which is back soon, of", func() {
			w.setUplink(home, false)
			w.kill(home)
			w.then(min(between(w.rand("power"), 5*time.Second, 50*time.Second), lasts), "power is back", func() { w.revive(home) })
		}
	case x < 0.95:
		name, cut, gone = "the structure's machine fails of", false, func() { w.crashOwn(w.sites[home], 0) }
		back = func() { w.unplugged(w.sites[home]) }
	default:
		target, pick := i.away(h), r.IntN(100)
		name, cut, gone, back = "move by plan to "+string(target)+" from", false, func() { w.move(home, target, pick) }, func() {}
		lasts, h.long = 40*time.Second, 0
	}
	w.fault(begin, fmt.Sprintf("%s %s for %s", name, home, lasts), func() {
		h.out = w.loop.Now()
		gone()
		if cut {
			h.saw("isolated for %s", order(lasts))
		}
		if h.long <= 0 {
			w.then(lasts, "it ends", func() { h.returns(); back() })
		}
	})
	i.deaths(deaths{leader: 0.15, agent: 0.15, boundary: 0.25})
	h.machines(i, 0.2)
	if h.long <= 0 {
		h.c.endsIn(begin + lasts + between(r, 0, 25*time.Second))
		return
	}
	h.c.deadline = w.loop.Now().Add(putRight)
	w.loop.In(begin+awakeOut, "", h.wait)
}

// away draws a site that is not the guests' home.
func (i *incident) away(h *history) failover.SiteID {
	return h.w.ids[1+i.r.IntN(2)]
}

// machines has Proxmox fail in some way.
func (h *history) machines(i *incident, p float64) {
	i.some(p, 2, func() { i.machineFault(i.span(10*time.Second, 80*time.Second)) })
}

// wait waits until the others have come to rest without the home, and lets the time pass until it is back.
func (h *history) wait() {
	w := h.w
	w.approve()
	if why := w.unrestBut(h.home); why != "" && w.loop.Now().Before(h.c.deadline) {
		w.loop.In(settleLook, "", h.wait)
		return
	}
	if h.nights == 0 || w.unrestBut(h.home) != "" {
		h.returns()
		h.c.endsIn(0)
		return
	}
	w.check.ledger.everybodyWrites()
	w.passOver(h.long / time.Duration(h.nights))
	h.long -= h.long / time.Duration(h.nights)
	h.nights--
	w.backup()
	w.check.ledger.everybodyWrites()
	h.c.deadline = w.loop.Now().Add(putRight)
	w.loop.In(between(h.r, passBreath, 4*passBreath), "", h.wait)
}

// order is a duration's order of magnitude.
func order(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "seconds"
	case d < time.Hour:
		return "minutes"
	case d < 24*time.Hour:
		return "hours"
	}
	return "days"
}

// loseAgain is the loss of the site where the guests live now, before anybody has brought them home.
func (h *history) loseAgain(i *incident) {
	w, r := h.w, i.r
	at := i.away(h)
	s := w.log.Last()
	for _, g := range s.Network.GuestIDs() {
		if now := s.Guests[g].Owner; now != h.home {
			at = now
		}
	}
	i.window = between(r, 30*time.Second, 55*time.Second)
	begin, back := between(r, 0, 5*time.Second), between(r, 5*time.Second, 2*i.window)
	if chance(r, 0.5) {
		w.fault(begin, fmt.Sprintf("kill %s for %s", at, back), func() {
			w.kill(at)
			w.then(back, "revive", func() { w.revive(at) })
		})
	} else {
		w.fault(begin, fmt.Sprintf("isolate %s for %s", at, back), func() {
			w.setUplink(at, false)
			w.then(back, "join again", func() { w.setUplink(at, true) })
		})
	}
	i.deaths(deaths{leader: 0.15, agent: 0.15, boundary: 0.25, machine: 0.1})
	h.machines(i, 0.3)
	i.homecomers(0.2, 0)
	h.c.endsIn(i.window)
}

// comeHome is people who bring the guests home, in the middle of whatever may go wrong.
func (h *history) comeHome(i *incident) {
	w, r := h.w, i.r
	i.window = between(r, 30*time.Second, 65*time.Second)
	h.c.odds.home = 0.9 // who could not does it afterwards
	w.opts.Spoilt = 0
	if f := logFaults(r); f != (LogFaults{}) && chance(r, 0.4) {
		w.fault(0, "the log loses, delays and reorders", func() { w.log.Faults = f })
	}
	i.some(0.35, 1, func() {
		id, begin, back := w.ids[r.IntN(3)], i.when(), between(r, 3*time.Second, i.window)
		how, gone, join := "kill", w.kill, w.revive
		if chance(r, 0.5) {
			how, gone, join = "isolate", func(id failover.SiteID) { w.setUplink(id, false) }, func(id failover.SiteID) { w.setUplink(id, true) }
		}
		w.fault(begin, fmt.Sprintf("%s %s for %s", how, id, back), func() {
			gone(id)
			w.then(back, "it ends", func() { join(id) })
		})
	})
	i.deaths(deaths{leader: 0.3, agent: 0.4, boundary: 0.5, machine: 0.12})
	h.machines(i, 0.5)
	i.some(0.1, 1, func() {
		id := h.home
		w.fault(i.when(), "the structure's machine of "+string(id)+" fails", func() { w.crashOwn(w.sites[id], 20*time.Second) })
	})
	i.some(0.15, 1, func() { w.fault(i.when(), "somebody cancels all operations", w.cancelAll) })
	i.some(0.1, 1, func() { w.fault(i.when(), "somebody retries what is stuck", w.retryAll) })
	i.some(0.1, 1, func() {
		target, pick := i.away(h), r.IntN(100)
		w.fault(i.when(), "an operator moves what is at home to "+string(target), func() { w.move(h.home, target, pick) })
	})
	i.some(0.3, 2, func() {
		dice := w.rand(fmt.Sprintf("bad disk %d", len(w.plan)))
		w.fault(i.when(), "a sealed copy goes bad", func() { h.spoilSealed(dice) })
	})
	i.hands()
	i.homecomers(1, 0.2)
	i.tidiers(0.3, 0.25)
	h.c.endsIn(i.window)
}
