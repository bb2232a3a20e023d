package sim

import (
	"fmt"
	"maps"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// observers sees to it that some agents are wrong about what they see.
func (i *incident) observers() {
	w, r := i.w, i.r
	i.some(0.15, 1, func() {
		id := i.pick()
		w.fault(i.when(), string(id)+" sees nothing", func() { w.tell("fault: %s sees nothing", id); w.sites[id].sick = true })
	})
	i.some(0.08, 1, func() {
		id := i.pick()
		w.fault(i.when(), string(id)+" sees what is not there", func() { w.tell("fault: %s sees everything well", id); w.sites[id].liar = true })
	})
	i.some(0.12, 1, func() {
		id, skew := i.pick(), between(r, -15*time.Minute, 15*time.Minute)
		w.fault(i.when(), fmt.Sprintf("the clock of %s is off by %s", id, skew), func() {
			w.tell("fault: clock of %s is off by %s", id, skew)
			w.sites[id].skew = skew
		})
	})
	i.some(0.12, 2, func() {
		id, lasts := i.pick(), []time.Duration{time.Second, 10 * time.Second, time.Minute}[r.IntN(3)]
		w.fault(i.when(), fmt.Sprintf("the agent of %s stands still for %s", id, lasts), func() {
			w.freeze(w.sites[id], true)
			w.then(lasts, "goes on", func() {
				if w.sites[id].agent.frozen {
					w.freeze(w.sites[id], false)
				}
			})
		})
	})
}

// lines are cut in one or both directions, lose a part of what they carry for a
// while, or are slow.
func (i *incident) lines() {
	w, r := i.w, i.r
	paths := []failover.Path{failover.PathMesh, failover.PathPublic}
	i.some(0.6, 3, func() {
		from, to, p, lasts := i.pick(), i.pick(), paths[r.IntN(2)], i.span(2*time.Second, 90*time.Second)
		if from == to {
			return
		}
		w.fault(i.when(), fmt.Sprintf("%s is cut from %s to %s for %s", p, from, to, lasts), func() {
			w.tell("fault: %s is cut from %s to %s", p, from, to)
			w.net.Cut(from, to, p)
			w.log.Evaluate()
			w.then(lasts, "heal", func() {
				w.net.Heal(from, to, p)
				w.log.Evaluate()
			})
		})
	})
	i.some(0.4, 2, func() {
		from, to, p, part, lasts := i.pick(), i.pick(), paths[r.IntN(2)], r.Float64()*0.5, i.span(2*time.Second, 60*time.Second)
		w.fault(i.when(), fmt.Sprintf("%s from %s to %s loses %.0f %% for %s", p, from, to, 100*part, lasts), func() {
			w.net.Lose(from, to, p, part)
			w.then(lasts, "loss ends", func() { w.net.Lose(from, to, p, 0) })
		})
	})
	i.some(0.15, 1, func() {
		from, by, lasts := i.pick(), i.span(100*time.Millisecond, 1500*time.Millisecond), i.span(5*time.Second, 60*time.Second)
		w.fault(i.when(), fmt.Sprintf("the line of %s is %s slower for %s", from, by, lasts), func() {
			w.tell("fault: the line of %s is %s slower", from, by)
			w.net.Slow(from, by)
			w.then(lasts, "fast again", func() { w.net.Slow(from, 0) })
		})
	})
}

// Ways in which a site's DNS server is wrong to those who ask it from elsewhere.
const (
	dnsRefuses = "refuses"
	dnsLags    = "serves what was"
)

// servers has DNS servers refuse, or serve an older state with its older serial.
func (i *incident) servers() {
	w, r := i.w, i.r
	i.some(0.15, 1, func() {
		id, how, lasts := i.pick(), []string{dnsRefuses, dnsLags}[r.IntN(2)], i.span(5*time.Second, 100*time.Second)
		w.fault(i.when(), fmt.Sprintf("the DNS server of %s %s for %s", id, how, lasts), func() {
			w.tell("fault: the DNS server of %s %s", id, how)
			s := w.sites[id]
			s.dns = dnsFault{how: how, since: w.loop.Now()}
			if how == dnsLags {
				s.dns.old = w.oldServer(w.log.Node(id).State())
			}
			w.then(lasts, "DNS server well", func() { s.dns = dnsFault{} })
		})
	})
}

// dnsFault is what ails a site's DNS server.
type dnsFault struct {
	how   string
	since time.Time
	old   *dnsctl.Server
}

// oldServer is a DNS server that goes on serving a state.
func (w *World) oldServer(s *failover.State) *dnsctl.Server {
	server, err := dnsctl.NewServer(dnsctl.Config{Logger: w.logger("old"), Now: w.loop.Since})
	if err == nil && s.Network != nil {
		err = server.Publish(dnsctl.Desired(s))
	}
	if err != nil {
		w.check.violated(fmt.Errorf("serve an old state: %w", err))
	}
	return server
}

// operators are people who do things in the middle of it all.
func (i *incident) operators() {
	w, r := i.w, i.r
	i.some(0.25, 1, func() {
		site, lasts, until := failover.SiteID(""), i.span(5*time.Second, 60*time.Second), chance(r, 0.5)
		if chance(r, 0.3) {
			site = i.brique()
		}
		w.fault(i.when(), fmt.Sprintf("somebody pauses %q for %s", site, lasts), func() {
			if until {
				w.propose(failover.SetPause{Site: site, Reason: "simulation", For: lasts})
				return
			}
			w.propose(failover.SetPause{Site: site, Reason: "simulation"})
			w.loop.In(lasts, "operator: resume", func() { w.propose(failover.EndPause{Site: site}) })
		})
	})
	i.some(0.6, 2, func() { w.fault(i.when(), "somebody approves", w.approve) })
	i.some(0.15, 1, func() {
		late := i.span(5*time.Second, 60*time.Second)
		w.fault(i.when(), fmt.Sprintf("somebody approves what was shown %s ago", late), func() { w.approveLate(late) })
	})
	i.some(0.2, 1, func() {
		id, again := i.brique(), chance(r, 0.4)
		w.fault(i.when(), fmt.Sprintf("failover of %s by hand, twice: %t", id, again), func() {
			w.failoverByHand(id)
			if again {
				w.loop.In(between(w.rand("again"), 0, 5*time.Second), "operator: failover again", func() { w.failoverByHand(id) })
			}
		})
	})
	i.some(0.2, 1, func() {
		w.fault(i.when(), "somebody retries what is stuck", func() {
			for _, id := range sortedKeys(w.log.Last().Ops) {
				w.propose(failover.RetryOp{Op: id})
			}
		})
	})
	i.some(0.15, 1, func() { w.fault(i.when(), "another network.yaml", i.otherNetwork()) })
	i.some(0.1, 1, func() {
		id, lasts := i.brique(), i.span(20*time.Second, 90*time.Second)
		w.fault(i.when(), fmt.Sprintf("maintenance of %s for %s", id, lasts), func() {
			w.propose(failover.BeginMaintenance{Domain: failover.SiteDomain(id), For: lasts, Reason: "simulation"})
		})
	})
	i.some(0.08, 1, func() {
		id, lasts := i.pick(), i.span(20*time.Second, 90*time.Second)
		w.fault(i.when(), fmt.Sprintf("%s is not believed for %s", id, lasts), func() {
			w.propose(failover.ExcludeObserver{Site: id, For: lasts, Reason: "simulation"})
		})
	})
}

func (w *World) failoverByHand(id failover.SiteID) {
	w.tell("operator: failover of %s by hand", id)
	plan := failover.PlanFor(w.log.Last(), failover.Loss{Site: id, ByHand: true}, w.loop.Now())
	w.propose(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(id), Plan: plan, Forced: true})
}

// approveLate approves what an operation offered a while ago.
func (w *World) approveLate(late time.Duration) {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		if op := s.Ops[id]; len(op.Waiting()) > 0 {
			hash := w.offer(op)
			w.loop.In(late, "operator: approve late", func() {
				w.proposeAs("p-approver", failover.Approve{Op: id, Hash: hash}, nil)
			})
		}
	}
}

// otherNetwork draws a change of the declared network: of what no guest depends
// on, of a guest's priority or memory, or of a structure's mode.
func (i *incident) otherNetwork() func() {
	w, r := i.w, i.r
	kind, which, n := r.IntN(4), r.IntN(100), r.IntN(4)
	return func() {
		now := w.log.Last()
		if now.Network == nil {
			return
		}
		spec := *now.Network
		guests, structures := spec.GuestIDs(), sortedKeys(spec.Structures)
		switch kind {
		case 0:
			spec.Common = map[string]network.CommonSet{fmt.Sprint("set-", n): {VLAN: 10}}
		case 1, 2:
			g := spec.Guests[guests[which%len(guests)]]
			if kind == 1 {
				g.Priority = 1 + n
			} else {
				g.Memory = network.Bytes(256<<20) << n
			}
			spec.Guests = maps.Clone(spec.Guests)
			spec.Guests[guests[which%len(guests)]] = g
		case 3:
			st := spec.Structures[structures[which%len(structures)]]
			st.Mode = []network.Mode{network.ModeAuto, network.ModeAsk, network.ModeManual, network.ModeNever}[n]
			spec.Structures = maps.Clone(spec.Structures)
			spec.Structures[structures[which%len(structures)]] = st
		}
		w.propose(failover.ApplyNetwork{Spec: &spec, IfVersion: now.NetworkVersion})
	}
}

// minds are people who cancel what runs, and send single guests elsewhere.
func (i *incident) minds() {
	w, r := i.w, i.r
	i.some(0.2, 1, func() {
		w.fault(i.when(), "somebody cancels all operations", w.cancelAll)
	})
	i.some(0.2, 1, func() {
		guest, target := r.IntN(100), i.brique()
		w.fault(i.when(), fmt.Sprintf("one guest is sent to %s by hand", target), func() {
			s := w.log.Last()
			all := s.Network.GuestIDs()
			g := all[guest%len(all)]
			loss := failover.Loss{Site: s.Guests[g].Owner, Guests: []failover.GuestID{g}, Target: target, ByHand: true}
			w.tell("operator: failover of %s to %s by hand", g, target)
			w.propose(failover.BeginOp{
				Kind: failover.KindFailover, Domain: failover.SiteDomain(loss.Site), Plan: failover.PlanFor(s, loss, w.loop.Now()), Forced: true,
			})
		})
	})
	i.some(0.1, 1, func() {
		name, at := r.IntN(100), i.brique()
		w.fault(i.when(), "somebody holds a name at "+string(at), func() { w.holdName(name, at) })
	})
}

// cancelAll has a person cancel whatever is open.
func (w *World) cancelAll() {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		if !s.Ops[id].Phase.Ended() {
			w.propose(failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409", Args: map[string]string{"reason": "simulation"}}})
		}
	}
}
