package sim

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// What a campaign has of the copies that guests have left (wwwctl failback ack, remove,
// give-up and fork): people who tidy up when all is well and in the middle of trouble, who
// start such a copy once more, and what must be so of it.

// tidiers are people who do something about the copies that were left while things go wrong, and who
// start one.
func (i *incident) tidiers(tidy, start float64) {
	w := i.w
	if !w.opts.Homeward {
		return
	}
	i.r = w.rand(fmt.Sprintf("tidiers %d", len(w.plan))) // of their own: other draws stay as they are
	i.some(tidy, 2, func() {
		dice := w.rand(fmt.Sprintf("tidies %d", len(w.plan)))
		w.fault(i.when(), "an operator tidies up after guests", func() { w.tidyUp(dice) })
	})
	i.some(start, 1, func() {
		pick, lasts := i.r.IntN(100), i.span(10*time.Second, 40*time.Second)
		w.fault(i.when(), fmt.Sprintf("a person starts a copy that was left for %s", lasts), func() { w.startLeft(pick, lasts) })
	})
}

// tidyUp has a person go through what guests have left, and do with some of it what may be
// done. It says whether anything was begun.
func (w *World) tidyUp(r *rand.Rand) bool {
	s := w.log.Last()
	begun := len(s.Ops)
	for _, g := range s.Network.GuestIDs() {
		if s.AtHome(g) && chance(r, 0.7) && w.unacked(g) {
			w.propose(failover.AckSeal{Guest: g})
		}
		for _, c := range w.log.Last().LeftCopies(g, w.loop.Now()) {
			remove, fork, giveUp := chance(r, 0.6), chance(r, 0.06), chance(r, 0.8)
			switch {
			case fork && c.Fork.IsZero():
				w.propose(failover.ForkCopy{Guest: g, Host: c.Host, VMID: c.VMID})
			case remove && c.Remove.IsZero():
				w.propose(failover.RemoveCopy{Guest: g, Host: c.Host, VMID: c.VMID})
			}
			if giveUp && c.Sealed != nil && c.GiveUp.IsZero() {
				w.propose(failover.GiveUpSeal{Guest: g, Lineage: c.Lineage})
			}
		}
	}
	return len(w.log.Last().Ops) > begun
}

func (w *World) unacked(g failover.GuestID) bool {
	return slices.ContainsFunc(w.log.Last().LineagesOf(g), func(l failover.Lineage) bool {
		return l.Sealed != nil && l.Sealed.Acked.Index == 0
	})
}

// startLeft has a person look into a copy on a Raoull host that its guest has left, for a
// while; somebody writes to it.
func (w *World) startLeft(pick int, lasts time.Duration) {
	s := w.log.Last()
	var all []failover.Place
	var of []failover.GuestID
	for _, g := range s.Network.GuestIDs() {
		for _, c := range s.LeftCopies(g, w.loop.Now()) {
			if there, ok := w.guestAt(c.Place); ok && c.Host == raoullHost(c.Site) && w.sites[c.Site].host && !there.Running && there.Lock == "" {
				all, of = append(all, c.Place), append(of, g)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	where, g := all[pick%len(all)], of[pick%len(all)]
	site := w.sites[where.Site]
	key := at(where.Site, where.VMID)
	w.tell("a person starts the copy %s that %s has left", key, g)
	if err := site.raoull.StartGuest(where.VMID, w.loop.Now()); err != nil {
		w.tell("it does not start: %v", err)
		return
	}
	w.check.foreign[key], w.check.handled[key] = true, true
	w.loop.In(lasts, "a person stops it again", func() {
		w.check.ledger.write(g, where)
		if there, ok := w.guestAt(where); ok && there.Running {
			if err := site.raoull.StopGuest(where.VMID, w.loop.Now()); err != nil {
				w.check.violated(err)
			}
		}
	})
}

// tidying is what people do about copies that were left when all is well again; false:
// nothing, or nothing more.
func (c *campaign) tidying() bool {
	w := c.w
	most := tidiesAtMost * c.n
	if c.tale != nil { // there, people do when the history is over
		most = 0
		if c.left == 0 {
			most = tidiesAtMost - 1
		}
	}
	if c.later {
		most += tidiesAtMost
	}
	if !w.opts.Homeward || c.tidied >= most {
		return false
	}
	c.tidied++
	return w.tidyUp(w.rand(fmt.Sprintf("tidying %d", c.tidied)))
}

// tidiesAtMost is how often people look through what was left after an incident: a copy
// that is not sealed is sealed first, and removed by a second word.
const tidiesAtMost = 3

// monthLater is when the retention of what was acknowledged in a campaign is over.
const monthLater = failover.KeepSealed + time.Hour

// month lets the retention of sealed branches pass, in which nothing happens, when there are
// some that a person has acknowledged; false: it has not passed, or had already.
func (c *campaign) month() bool {
	w := c.w
	if c.later || !w.opts.Homeward || !chance(w.rand("month"), c.odds.month) {
		return false
	}
	for _, l := range w.log.Last().Lineages {
		if l.Sealed != nil && l.Sealed.Acked.Index != 0 {
			c.later = true
		}
	}
	if !c.later {
		return false
	}
	w.tell("a month passes")
	w.month = monthLater
	w.loop.Skip(monthLater)
	w.backup()
	for _, id := range w.ids {
		w.sites[id].kept = monthLater
		w.sites[id].agent.life.eyes.report.Wake()
	}
	return true
}

// removalOf is the newest operation on the copy at a place that its guest has left.
func (w *World) removalOf(at failover.Place) (op failover.Operation, run failover.GuestRun, ok bool) {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		for _, r := range s.Ops[id].Guests {
			if s.Ops[id].Kind == failover.KindRemoval && r.Source.Host == at.Host && r.VMID == at.VMID && s.Ops[id].Begun.Index > op.Begun.Index {
				op, run, ok = s.Ops[id], r, true
			}
		}
	}
	return op, run, ok
}

// removed: S7, what the removal of a copy deletes is sealed: all that its users were told
// is written lies in a protected backup at two sites, and somebody has said that nothing
// of it is missed, or it was moved whole. false: no removal deletes it.
func (c *checker) removed(s *Site, vmid int) bool {
	where := failover.Place{Site: s.name, Host: raoullHost(s.name), VMID: vmid}
	op, run, ok := c.w.removalOf(where)
	if step, _, left := run.Current(); !ok || !(left && step.ID == failover.StepRemove) && !c.justDropped(where) {
		return false
	}
	state, g := c.w.log.Last(), run.Assignment.Guest
	seal := state.SealOf(g, where)
	switch now := state.Guests[g].Now(); {
	case seal == nil || seal.Acked.Index == 0:
		c.fail("S7", "%s deletes %s of %s, which is sealed as %+v", op.ID, at(s.name, vmid), g, seal)
		return true
	case now.Site == s.name && now.Host == where.Host && now.VMID == vmid:
		c.fail("S7", "%s deletes %s, which %s lives in", op.ID, at(s.name, vmid), g)
	}
	for _, wr := range c.ledger.written[g] {
		if wr.site == s.name && wr.host == where.Host && wr.vmid == vmid && c.ledger.sealed(*seal, wr) < 2-c.ledger.spoiltSince(*seal, op.Begun.At) {
			c.fail("S7", "%s deletes %s, and %s of %s lies sealed at %d sites", op.ID, at(s.name, vmid), wr.note, g, c.ledger.sealed(*seal, wr))
		}
	}
	return true
}

// left follows what becomes of the copies that were left.
func (c *checker) leftBehind(prev, next *failover.State, m failover.StepMoved) {
	run := next.Ops[m.Token.Op].Guests[m.Token.Guest]
	if next.Ops[m.Token.Op].Kind != failover.KindRemoval || m.To != failover.StatusDone {
		return
	}
	where := failover.Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID}
	switch m.Token.Step {
	case failover.StepSealCopy: // while its keys are what the agents have seen: a fault may change one in the second of the deletion
		c.ledger.readSeals(next.SealOf(m.Token.Guest, where))
	case failover.StepRemove:
		if _, there := c.w.guestAt(where); there {
			c.fail("L2", "%s is reported removed, and is there", at(where.Site, where.VMID))
		}
		delete(c.starts, at(where.Site, where.VMID)) // whoever has the id next has not run
		delete(c.proved, at(where.Site, where.VMID))
	case failover.StepUnsealCopy:
		if seal := prev.SealOf(m.Token.Guest, where); seal != nil && next.Clock.Sub(seal.Acked.At) < 30*24*time.Hour {
			c.fail("S7", "the branch of %s is given up %s after it was acknowledged", at(where.Site, where.VMID), next.Clock.Sub(seal.Acked.At))
		}
		c.ledger.giveUp(prev.SealOf(m.Token.Guest, where), where)
	case failover.StepFork:
		c.forked(m.Token.Guest, where, prev.Guests[m.Token.Guest].Now())
	}
}

// forked: S3, a copy that became a guest of its own has no address that another copy has,
// its cables are out, and nothing would take it for the one that it was.
func (c *checker) forked(g failover.GuestID, where, now failover.Place) {
	c.forks[where] = true
	own, there := c.w.guestAt(where)
	other, has := c.w.guestAt(now)
	_, marked := proxmox.ParseMarker(own.Config["description"])
	switch {
	case !there || own.Config["onboot"] == "1":
		c.fail("S3", "the fork %s of %s: there %t, onboot %q", at(where.Site, where.VMID), g, there, own.Config["onboot"])
	case marked || strings.Contains(own.Config["tags"], "www-op-"):
		c.fail("S3", "the fork %s would be taken for %s: %q", at(where.Site, where.VMID), g, own.Config["description"])
	}
	for _, n := range own.Nets {
		if mac := cardOf(own, n.Key); n.Connected || has && mac != "" && mac == cardOf(other, n.Key) {
			c.fail("S3", "the fork %s has card %s %q of %s, connected %t", at(where.Site, where.VMID), n.Key, mac, g, n.Connected)
		}
	}
}

// cardOf is the address of a guest's network card.
func cardOf(g lab.GuestView, key string) string {
	for part := range strings.SplitSeq(g.Config[key], ",") {
		if name, value, ok := strings.Cut(part, "="); ok && (name == "hwaddr" || name == "virtio") {
			return value
		}
	}
	return ""
}

// atFork says whether a request at a structure's host makes a copy that was left a guest of
// its own.
func (c *checker) atFork(s *Site, req *http.Request, path string) bool {
	m := guestPath.FindStringSubmatch(path)
	if m == nil || m[2] != "/config" || req.Method == http.MethodGet {
		return false
	}
	where := onStructure(s.name, number(m[1]))
	_, run, ok := c.w.removalOf(where)
	step, _, left := run.Current()
	return ok && left && step.ID == failover.StepFork || c.justDropped(where)
}

// justDropped says whether what was done about a copy was given up a moment ago: an agent may act on the word
// of a leader for that long, and what it has asked for may still arrive.
func (c *checker) justDropped(where failover.Place) bool {
	dropped, was := c.dropped[where]
	return was && c.w.loop.Now().Sub(dropped) < wordAge
}

// drops remembers when a removal, or a fork, of a copy ended because its guest is given elsewhere, or by a person's word.
func (c *checker) drops(prev, next *failover.State) {
	for _, id := range sortedKeys(prev.Ops) {
		if prev.Ops[id].Kind != failover.KindRemoval || prev.Ops[id].Phase.Ended() {
			continue
		}
		for g, run := range prev.Ops[id].Guests {
			step, _, left := run.Current()
			if left && (step.ID == failover.StepFork || step.ID == failover.StepRemove) && next.Ops[id].Guests[g].State == failover.RunCancelled {
				c.dropped[failover.Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID}] = c.w.loop.Now()
			}
		}
	}
}
