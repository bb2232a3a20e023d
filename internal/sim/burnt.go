package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// What a campaign has of a site that is destroyed for good, disks and all, as its last act:
// its guests are brought back elsewhere, a person retires it (wwwctl site retire), and what
// is lost with its disks is no more than what the person was told.

// burning is a site that has burnt, until it is retired.
type burning struct {
	site    failover.SiteID
	until   time.Time
	retired bool
	tried   int // how often people have had the guests restored elsewhere
}

const (
	burntFor  = 30 * time.Minute // that people take at most
	burntLook = 15 * time.Second // how often they look
	// triesAtMost is how often they type the same.
	triesAtMost = 20
)

// burn destroys a site for good when all else is over; false: it does not.
func (c *campaign) burn() bool {
	w := c.w
	r := w.rand("burnt")
	if c.burnt != nil || !chance(r, c.odds.fire) {
		return false
	}
	c.burnt = &burning{site: w.ids[r.IntN(3)], until: w.loop.Now().Add(burntFor)}
	w.tell("fault: %s burns down", c.burnt.site)
	w.sites[c.burnt.site].burnt = true
	w.kill(c.burnt.site)
	w.loop.In(burntLook, "people look at what burnt down", c.afterFire)
	return true
}

// afterFire is what people do about it until the site is retired.
func (c *campaign) afterFire() {
	w, b := c.w, c.burnt
	switch late := w.loop.Now().After(b.until); {
	case !b.retired && late:
		w.undecided = true
		w.cover.count(coverOp, "retirement that did not come about")
		w.loop.Stop()
		return
	case b.retired && !late && w.unrestBut(b.site) != "": // what was under way goes on
		w.loop.In(burntLook, "people look at what burnt down", c.afterFire)
		return
	case b.retired:
		w.loop.Stop()
		return
	}
	again := burntLook
	s := w.log.Last()
	_, told, err := s.Retired(b.site)
	refused, _ := errors.AsType[*failover.RejectedError](err)
	switch {
	case err == nil:
		w.tell("operator: retires %s", b.site)
		w.check.told(told)
		w.proposeAs("p-operator", failover.RetireSite{Site: b.site, IfVersion: s.NetworkVersion}, func(_ failover.Stamp, err error) {
			b.retired = err == nil
			if err == nil {
				w.cover.count(coverOp, "site retired")
			}
		})
		again = time.Minute // and what follows from it
	case refused == nil:
		w.check.violated(fmt.Errorf("retire %s: %w", b.site, err))
	case refused.Reason.Code == failover.CodeNothing:
		b.retired = true // all that was its was another's home already
	case refused.Reason.Code == failover.CodeLivesThere:
		c.bringBack()
	case refused.Reason.Code == failover.CodeTwoHomes:
		c.gather(failover.StructureID(refused.Reason.Args["structure"]), failover.SiteID(refused.Reason.Args["one"]))
	default:
		w.tell("operator: %s is not retired: %v", b.site, err)
		w.retryAll()
	}
	w.loop.In(again, "people look at what burnt down", c.afterFire)
}

// bringBack has the guests that live nowhere else restored elsewhere by hand.
func (c *campaign) bringBack() {
	w := c.w
	w.approve()
	if c.unwanted() {
		return
	}
	s := w.log.Last()
	var all []failover.GuestID
	for _, g := range s.Network.GuestIDs() {
		if p := s.Guests[g]; p.Owner == c.burnt.site && p.Op == "" {
			all = append(all, g)
		}
	}
	if len(all) == 0 {
		return
	}
	if c.burnt.tried++; c.burnt.tried > triesAtMost { // it ends as often in the same way
		c.burnt.until = w.loop.Now()
		return
	}
	loss := failover.Loss{Site: c.burnt.site, Guests: all, ByHand: true}
	plan := failover.PlanFor(s, loss, w.loop.Now())
	w.tell("operator: failover of %v by hand, left out %v", all, plan.LeftOut)
	if len(plan.Assignments) == 0 {
		w.retryAll()
		return
	}
	w.propose(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(c.burnt.site), Plan: plan, Forced: true})
}

// gather has the guests of a structure restored at one site, by hand, from their newest backup there.
func (c *campaign) gather(of failover.StructureID, to failover.SiteID) {
	w := c.w
	s := w.log.Last()
	for _, g := range s.Network.GuestIDs() {
		p := s.Guests[g]
		if s.Network.Guests[g].Structure != of || p.Owner == to || p.Op != "" {
			continue
		}
		loss := failover.Loss{Site: p.Owner, Guests: []failover.GuestID{g}, Target: to, ByHand: true}
		plan := failover.PlanFor(s, loss, w.loop.Now())
		w.tell("operator: failover of %s to %s by hand, left out %v", g, to, plan.LeftOut)
		if len(plan.Assignments) > 0 {
			w.propose(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(p.Owner), Plan: plan, Forced: true})
		}
	}
	w.retryAll()
}

// unwanted takes the guests that nobody rescues out of the declaration.
func (c *campaign) unwanted() bool {
	w := c.w
	s := w.log.Last()
	spec := *s.Network
	spec.Guests = maps.Clone(spec.Guests)
	for _, g := range s.Network.GuestIDs() {
		if s.Guests[g].Owner == c.burnt.site && s.Guests[g].Op == "" && spec.Guests[g].Priority == notRescued {
			delete(spec.Guests, g)
		}
	}
	if len(spec.Guests) == len(s.Network.Guests) {
		return false
	}
	w.propose(failover.ApplyNetwork{Spec: &spec, IfVersion: s.NetworkVersion})
	return true
}

// retryAll has a person retry all that waits for one.
func (w *World) retryAll() {
	for _, id := range sortedKeys(w.log.Last().Ops) {
		if op := w.log.Last().Ops[id]; op.Phase == failover.OpStuck && op.Kind != failover.KindRemoval {
			w.propose(failover.RetryOp{Op: id})
		}
	}
}

// told: S7, what is lost with the disks of a site that is retired is no more than what the
// person who retires it is shown.
func (c *checker) told(all []failover.RetiredGuest) {
	state := c.w.log.Last()
	for _, r := range all {
		known := map[failover.Place]held{}
		if seal := state.SealOf(r.Guest, r.Was); r.Whole && seal != nil && c.ledger.whole(*seal) == 0 {
			continue // its other backup has gone bad since it was read, which the site that burnt would have mended
		}
		for _, wr := range c.ledger.written[r.Guest] {
			was := r.Was
			was.Epoch = failover.Epoch{}
			if wr.place() != was || c.ledger.kept(state, r.Guest, wr, known) {
				continue
			}
			// A person had started what was sealed, and nobody had looked before it burnt.
			if s := c.w.sites[wr.site]; wr.at.After(s.handed) && !s.handed.IsZero() && s.ownGone.Sub(s.handed) < c.w.opts.ReadyEvery+10*time.Second {
				continue
			}
			if r.Whole || !wr.at.After(r.From.Time) {
				c.fail("S7", "%s of %s, written at %s, is lost with %s; told was that it is whole: %t, or goes on from %s", wr.note, r.Guest,
					wr.at.Sub(Epoch), r.Was.Site, r.Whole, r.From.Time.Sub(Epoch))
			}
		}
	}
}

// burntDown says whether a write was lost with the disks of a site that was destroyed for good:
// it was never in a backup that a later copy was made from.
func (l *ledger) burntDown(state *failover.State, g failover.GuestID, wr write) bool {
	if !l.w.sites[wr.site].burnt {
		return false
	}
	if state.Guests[g].Phase == failover.PhaseStuck {
		return true // what it had is in restore points elsewhere, which wait for a person to choose; they are not looked into
	}
	return !l.carriedOn(state, g, wr.place(), wr.at, map[failover.Place]bool{})
}

// carriedOn says whether what a copy was told at a time was in a backup that a copy at a site began with which
// stands, maybe by way of others that burnt.
func (l *ledger) carriedOn(state *failover.State, g failover.GuestID, from failover.Place, when time.Time, seen map[failover.Place]bool) bool {
	seen[from] = true
	lines := state.LineagesOf(g)
	for _, next := range lines {
		of := slices.IndexFunc(lines, func(o failover.Lineage) bool { return o.ID() == next.Of })
		to := placeOfLine(next)
		if of < 0 || next.Resumes != "" || placeOfLine(lines[of]) != from || !when.Before(next.Base.Time) || seen[to] { // backups are told to the second
			continue
		}
		if !l.w.sites[to.Site].burnt && !l.ruined(state, g, to) || l.carriedOn(state, g, to, when, seen) {
			return true
		}
	}
	return false
}

func placeOfLine(l failover.Lineage) failover.Place {
	return failover.Place{Site: l.Site, Host: l.Host, VMID: l.VMID}
}

// burnt are the sites that were destroyed for good.
func (w *World) burnt() map[failover.SiteID]bool {
	out := map[failover.SiteID]bool{}
	for _, id := range w.ids {
		if w.sites[id].burnt {
			out[id] = true
		}
	}
	return out
}
