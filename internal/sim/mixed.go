package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The mixed scenario's times: faults begin at Warm, end at mixedHeal, and what
// they left must have been put right at mixedEnd.
const (
	mixedHeal = Warm + 170*time.Second
	mixedEnd  = mixedHeal + 200*time.Second
)

// Mixed is a random incident: a site is lost, or nearly, and everything else
// that can go wrong does so at the same time, more or less.
func Mixed() Scenario {
	return Scenario{
		Name: "mixed",
		Prepare: func(o *Options) {
			r := NewStreams(o.Seed).Stream("mixed options")
			o.Log = logFaults(r)
			if chance(r, 0.15) {
				o.Mode = network.ModeAsk
			}
		},
		Plan: planMixed, Heal: mixedHeal, Until: mixedEnd,
	}
}

func logFaults(r *rand.Rand) LogFaults {
	if chance(r, 0.2) {
		return LogFaults{}
	}
	x := r.Float64()
	return LogFaults{Refused: 0.04 * x, Lost: 0.03 * x, Unknown: 0.05 * x, Late: 0.04 * x, Change: 0.004 * x, Slow: 0.1 * x}
}

func planMixed(w *World) {
	r := w.rand("mixed plan")
	when := func() time.Duration { return between(r, Warm, mixedHeal-10*time.Second) }
	w.mainFault(r)
	for range r.IntN(8) {
		// Most while there are restores to be hit.
		w.addLabFault(r, between(r, Warm+10*time.Second, Warm+80*time.Second))
	}
	for range r.IntN(3) {
		w.loop.In(when(), "nemesis: leader", func() { w.log.Depose() })
	}
	for range r.IntN(4) {
		id, back := w.pick(r), between(r, time.Second, 25*time.Second)
		w.loop.In(when(), "nemesis: agent", func() { w.crashAgent(w.sites[id], back) })
	}
	if chance(r, 0.5) {
		w.crashAtRandom(r, 0.01+0.05*r.Float64(), 1+r.IntN(5))
	}
	if chance(r, 0.2) {
		id := w.pick(r)
		w.loop.In(when(), "nemesis: sick", func() { w.tell("fault: %s sees nothing", id); w.sites[id].sick = true })
	}
	if chance(r, 0.3) {
		id, skew := w.pick(r), between(r, -15*time.Minute, 15*time.Minute)
		w.loop.In(between(r, 0, mixedHeal), "nemesis: clock", func() { w.tell("fault: clock of %s is off by %s", id, skew); w.sites[id].skew = skew })
	}
	if chance(r, 0.3) {
		id, back := w.brique(r), between(r, 15*time.Second, 90*time.Second)
		w.loop.In(when(), "nemesis: machine", func() { w.crashHost(w.sites[id], back) })
	}
	w.randomCuts(r, when)
	w.operators(r, when)
	w.changedMinds(w.rand("mixed minds"))
}

// pick draws a site; brique one that guests live at.
func (w *World) pick(r *rand.Rand) failover.SiteID   { return w.ids[r.IntN(len(w.ids))] }
func (w *World) brique(r *rand.Rand) failover.SiteID { return w.ids[r.IntN(3)] }

// mainFault is what the incident is about.
func (w *World) mainFault(r *rand.Rand) {
	id := w.brique(r)
	begin := between(r, Warm, Warm+20*time.Second)
	switch x := r.IntN(10); {
	case x < 3: // lost for good, until the end of all faults
		w.loop.In(begin, "kill", func() { w.kill(id) })
	case x < 4: // back, and lost again while the copies are kept
		w.loop.In(begin, "kill", func() { w.kill(id) })
		back := begin + between(r, 14*time.Second, 29*time.Second)
		w.loop.In(back, "revive", func() { w.revive(id) })
		w.loop.In(back+between(r, 5*time.Second, 20*time.Second), "kill again", func() { w.kill(id) })
	case x < 7: // lost for a while: back before or after anything
		w.loop.In(begin, "kill", func() { w.kill(id) })
		w.loop.In(begin+between(r, 2*time.Second, 80*time.Second), "revive", func() { w.revive(id) })
	case x < 8:
		w.loop.In(begin, "isolate", func() { w.setUplink(id, false) })
		w.loop.In(begin+between(r, 2*time.Second, 120*time.Second), "join again", func() { w.setUplink(id, true) })
	case x < 9: // the mesh dies, the public side lives
		w.loop.In(begin, "cut mesh", func() { w.cutMesh(id) })
	default:
		other := w.brique(r)
		w.loop.In(begin, "kill", func() { w.kill(id) })
		w.loop.In(begin+between(r, 0, 60*time.Second), "kill another", func() { w.kill(other) })
	}
}

func (w *World) cutMesh(id failover.SiteID) {
	w.tell("fault: the mesh of %s is cut", id)
	for _, o := range w.ids {
		if o != id {
			w.net.Cut(o, id, failover.PathMesh)
		}
	}
	w.log.Evaluate()
}

// crashAtRandom has agents die at the boundaries of their calls.
func (w *World) crashAtRandom(r *rand.Rand, p float64, atMost int) {
	w.crash = func(failover.SiteID, string) bool {
		if atMost == 0 || !chance(r, p) {
			return false
		}
		atMost--
		return true
	}
}

// requests are what the faults of the machines hit.
var requests = []lab.Match{
	{Method: "POST"},
	{Method: "GET"},
	{Method: "POST", Path: "*/qemu"},
	{Method: "POST", Path: "*/lxc"},
	{Method: "POST", Path: "*/start"},
	{Method: "DELETE"},
	{Method: "PUT"},
	{Method: "GET", Path: "*/tasks*"},
	{Method: "GET", Path: "*/config"},
	{Method: "GET", Path: "*/extractconfig*"},
}

var troubles = []lab.Fault{
	{Effect: lab.EffectDelay, Delay: 8 * time.Second},
	{Effect: lab.EffectHang},
	{Effect: lab.EffectStatus, Status: 500, Text: "got timeout"},
	{Effect: lab.EffectStatus, Status: 596, Text: "Broken pipe"},
	{Effect: lab.EffectStatus, Status: 503, Text: "Service Unavailable"},
	{Effect: lab.EffectDropReply},
	{Effect: lab.EffectDropReply},
	{Effect: lab.EffectTwice},
	{Effect: lab.EffectTwice},
	{Effect: lab.EffectCrashHost},
	{Effect: lab.EffectHTML},
	{Effect: lab.EffectTruncate},
	{Effect: lab.EffectFillStorage},
	{Effect: lab.EffectLoseSnapshot},
	{Effect: lab.EffectCorruptSnapshot},
	{Effect: lab.EffectWrongKey},
	{Effect: lab.EffectRevokeToken},
}

func (w *World) addLabFault(r *rand.Rand, when time.Duration) {
	f := troubles[r.IntN(len(troubles))]
	f.Match, f.Times = requests[r.IntN(len(requests))], 1+r.IntN(3)
	f.Match.Skip = r.IntN(3)
	if chance(r, 0.4) {
		f.Where = []string{"pve:", "pbs:"}[r.IntN(2)] + string(w.brique(r))
	}
	w.loop.In(when, "nemesis: machine fault", func() {
		w.tell("fault: %s of %d × %s %s at %q", f.Effect, f.Times, f.Match.Method, f.Match.Path, f.Where)
		if err := w.faults.Add(f); err != nil {
			w.check.violated(err)
		}
	})
}

// randomCuts cuts single ways, in one or both directions, and makes some lossy.
func (w *World) randomCuts(r *rand.Rand, when func() time.Duration) {
	paths := []failover.Path{failover.PathMesh, failover.PathPublic}
	for range r.IntN(4) {
		from, to, p := w.pick(r), w.pick(r), paths[r.IntN(2)]
		begin, lasts := when(), between(r, 2*time.Second, 90*time.Second)
		if from == to {
			continue
		}
		w.loop.In(begin, "nemesis: cut", func() {
			w.tell("fault: %s is cut from %s to %s", p, from, to)
			w.net.Cut(from, to, p)
			w.log.Evaluate()
		})
		w.loop.In(begin+lasts, "nemesis: heal", func() {
			w.net.Heal(from, to, p)
			w.log.Evaluate()
		})
	}
	for range r.IntN(3) {
		from, to, p, part := w.pick(r), w.pick(r), paths[r.IntN(2)], r.Float64()*0.5
		w.loop.In(when(), "nemesis: loss", func() { w.net.Lose(from, to, p, part) })
	}
}

// operators are people who do things in the middle of it all.
func (w *World) operators(r *rand.Rand, when func() time.Duration) {
	if chance(r, 0.25) {
		begin, lasts := when(), between(r, 5*time.Second, 60*time.Second)
		w.loop.In(begin, "operator: pause", func() { w.propose(failover.SetPause{Reason: "simulation"}) })
		w.loop.In(begin+lasts, "operator: resume", func() { w.propose(failover.EndPause{}) })
	}
	for range r.IntN(3) {
		w.loop.In(when(), "operator: approve", w.approve)
	}
	if chance(r, 0.2) {
		id := w.brique(r)
		w.loop.In(when(), "operator: failover", func() {
			w.tell("operator: failover of %s by hand", id)
			plan := failover.PlanFor(w.log.Last(), failover.Loss{Site: id, ByHand: true}, w.loop.Now())
			w.propose(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(id), Plan: plan, Forced: true})
		})
	}
	if chance(r, 0.2) {
		w.loop.In(when(), "operator: retry", func() {
			for _, id := range sortedKeys(w.log.Last().Ops) {
				w.propose(failover.RetryOp{Op: id})
			}
		})
	}
	if chance(r, 0.1) {
		w.loop.In(when(), "operator: network again", func() {
			spec := *w.spec
			spec.Common = map[string]network.CommonSet{fmt.Sprint("set-", r.IntN(9)): {VLAN: 10}}
			w.propose(failover.ApplyNetwork{Spec: &spec, IfVersion: w.log.Last().NetworkVersion})
		})
	}
}

// changedMinds are people who cancel what runs, and send single guests elsewhere.
func (w *World) changedMinds(r *rand.Rand) {
	when := func() time.Duration { return between(r, Warm+10*time.Second, mixedHeal-10*time.Second) }
	if chance(r, 0.2) {
		w.loop.In(when(), "operator: cancel", func() {
			s := w.log.Last()
			for _, id := range sortedKeys(s.Ops) {
				if !s.Ops[id].Phase.Ended() {
					w.propose(failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409", Args: map[string]string{"reason": "simulation"}}})
				}
			}
		})
	}
	if !chance(r, 0.2) {
		return
	}
	guest, target := r.IntN(100), w.brique(r)
	w.loop.In(when(), "operator: one guest elsewhere", func() {
		s := w.log.Last()
		all := s.Network.GuestIDs()
		g := all[guest%len(all)]
		loss := failover.Loss{Site: s.Guests[g].Owner, Guests: []failover.GuestID{g}, Target: target, ByHand: true}
		w.tell("operator: failover of %s to %s by hand", g, target)
		w.propose(failover.BeginOp{
			Kind: failover.KindFailover, Domain: failover.SiteDomain(loss.Site), Plan: failover.PlanFor(s, loss, w.loop.Now()), Forced: true,
		})
	})
}
