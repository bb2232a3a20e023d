package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// ownDown has the structure's machine at a site stop.
func (w *World) ownDown(s *Site) {
	if s.structure != nil {
		if s.own {
			s.ownGone = w.loop.Now()
		}
		s.own = false
		s.structure.PowerLoss(w.loop.Now())
		for _, m := range s.guests {
			delete(w.check.ranOn, guestID(s.place, m))
		}
		w.serving(s)
	}
}

// ownUp has it start, unless its fence keeps it off.
func (w *World) ownUp(s *Site) {
	if s.structure != nil && !s.own && !s.plug && s.power {
		s.own, s.ownBack = true, w.loop.Now()
		w.keptOff(s)
		s.structure.PowerOn(w.loop.Now())
		w.serving(s)
	}
}

// crashOwn is the structure's machine that fails alone; after back it runs
// again, unless back is 0.
func (w *World) crashOwn(s *Site, back time.Duration) {
	if !s.own {
		return
	}
	w.tell("fault: the structure's machine of %s crashes", s.name)
	w.ownDown(s)
	w.log.Evaluate()
	if back == 0 {
		return
	}
	w.then(back, "machine of the structure of "+string(s.name)+" is back", func() {
		if !s.own {
			w.tell("the structure's machine of %s would be back, kept off by its fence: %t", s.name, s.plug)
			w.ownUp(s)
			w.log.Evaluate()
		}
	})
}

// unplugged is a person who gives a structure's machine back its power, as
// docs/operations.md says: what was rescued beside it does not start there.
func (w *World) unplugged(s *Site) {
	if s.structure == nil || s.own {
		return
	}
	now := w.log.Last()
	for _, op := range now.Ops {
		if s.plug && op.Kind == failover.KindRescue && op.Plan.Loss.Site == s.name && !op.Phase.Ended() {
			w.loop.In(5*time.Second, "a person waits for the rescue to end", func() { w.unplugged(s) })
			return
		}
	}
	for n, m := range s.guests {
		id := w.declared(s, n)
		if _, there := s.structure.Guest(id); !there {
			continue // given up for room
		}
		if p := now.Guests[guestID(s.place, m)]; s.plug && rescuedAt(p, s.name) && p.Host != structureHost(s.name) {
			w.check.parked[guestID(s.place, m)] = true
			if err := s.structure.SetOption(id, "onboot", "0"); err != nil {
				w.check.violated(err)
			}
		}
	}
	if s.plug {
		w.tell("a person gives the structure's machine of %s back its power", s.name)
	}
	s.plug = false
	w.ownUp(s)
}

// rescuedAt says whether a copy of a guest stands on Raoull's machine of a site: the one that
// owns it, or one that it has left since, which may run on.
func rescuedAt(p failover.Placement, site failover.SiteID) bool {
	return slices.ContainsFunc(append(slices.Clone(p.Former), p.Now()), func(at failover.Place) bool {
		return at.Site == site && at.Host == raoullHost(site)
	})
}

// plugFence is the smart plug of a structure's machine.
type plugFence struct{ a *Agent }

var errPlug = errors.New("the plug does not answer")

// Off implements agent.Fence.
func (f plugFence) Off(context.Context) (bool, string, error) {
	f.a.w.charge(200 * time.Millisecond)
	if f.a.site.mute {
		return false, "", errPlug
	}
	return f.a.site.plug, "the plug says off", nil
}

// PutOff implements agent.Fence.
func (f plugFence) PutOff(context.Context) error {
	w, s := f.a.w, f.a.site
	w.charge(300 * time.Millisecond)
	if s.mute {
		return errPlug
	}
	w.tell("the plug of the structure's machine of %s is put off", s.name)
	w.check.fenced(s)
	s.plug = true
	w.ownDown(s)
	w.log.Evaluate()
	return nil
}

// fences are what a site's agent can put off.
func (a *Agent) fences() map[string]agent.Fence {
	if a.site.unfenced {
		return nil
	}
	return map[string]agent.Fence{"plug-" + string(a.site.name): plugFence{a}}
}

// hostAnswers says whether a machine of an agent's own site answers at a URL.
func (a *Agent) hostAnswers(_ context.Context, url string) bool {
	a.w.charge(5 * time.Millisecond)
	return strings.Contains(url, hostAddr(a.site.index, 0)) && a.site.own
}

// fenced: S9, nothing is put off that runs; S4, nor for an operation that nobody has admitted.
// Who cancels it comes too late for what the leader has given its word for.
func (c *checker) fenced(s *Site) {
	if s.own {
		c.fail("S9", "the structure's machine of %s runs and is put off", s.name)
	}
	for _, op := range c.w.log.Last().Ops {
		if op.Plan.Loss.Site == s.name && admittedRescue(op) {
			return
		}
	}
	if off, ok := c.calledOff[s.name]; !ok || c.w.loop.Now().Sub(off) > wordHolds {
		c.fail("S4", "the structure's machine of %s is put off and no rescue of it was admitted", s.name)
	}
}

// wordHolds is how long an agent may act on the word of a leader.
const wordHolds = 2 * time.Second

func admittedRescue(op failover.Operation) bool {
	for _, run := range op.Guests {
		if op.Kind == failover.KindRescue && run.Admitted != 0 {
			return true
		}
	}
	return false
}

// addresses: S3, a guest and its copy do not run on one VLAN, where both would
// have one address.
func (c *checker) addresses(s *Site) {
	running := map[string]int{}
	for _, p := range []*lab.PVE{s.structure, s.raoull} {
		for _, g := range p.Guests() {
			if !g.Running || c.foreign[at(s.name, g.ID)] {
				continue
			}
			for _, n := range g.Nets {
				if n.Address == "" || !n.Connected {
					continue
				}
				key := fmt.Sprintf("%s on vlan %d", n.Address, n.Tag)
				if other, taken := running[key]; taken {
					c.fail("S3", "%s and %d of %s run with one address: %s", at(s.name, other), g.ID, s.name, key)
				}
				running[key] = g.ID
			}
		}
	}
}
