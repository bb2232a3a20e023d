package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// graceMargin is how much sooner than its promise an observer may count again:
// a look at itself, and a wall clock that runs too fast.
const graceMargin = 2 * time.Second

// latest is by how much an entry may come after it was proposed: a report has
// the age of its entry.
const latest = 15 * time.Second

// clockPenalty is how long a report says that its observer's clock has jumped
// (design section 6: a minute).
const clockPenalty = time.Minute

// reports: S5, an agent in start-up grace, or whose clock has jumped, says of
// itself that it must not be counted. Called when it makes a report.
func (c *checker) reports(l *life, r failover.Report) {
	now, site := c.w.loop.Now(), l.a.site.name
	if len(r.Unwell) > 0 {
		return
	}
	if age := now.Sub(l.begun); age < probes.DefaultGrace-graceMargin {
		c.fail("S5", "the agent of %s began %s ago and wants to be counted", site, age)
	}
	// It notices at its next look, which comes within calmLook. One that stood still from its beginning on has not
	// seen the clock before.
	still := c.thaws[site].After(l.begun) && c.jumps[site].Before(c.thaws[site])
	if at, ok := c.jumps[site]; ok && !still && at.Add(-truthEvery).After(l.begun) && now.Sub(c.thaws[site]) > calmLook+graceMargin && at.Sub(c.thaws[site]).Abs() > graceMargin {
		if since := now.Sub(at); since > calmLook+graceMargin && since < clockPenalty-graceMargin {
			c.fail("S5", "the clock of %s jumped %s ago and it wants to be counted", site, since)
		}
	}
}

// counted: S5, no vote that an automatic commit counts comes from an agent that
// has long been dead, frozen, or alone.
func (t *truth) counted(domain failover.DomainID, votes []failover.Vote) {
	for _, v := range votes {
		if !v.Voter || !v.Dark || len(v.Unwell) > 0 || v.Age > failover.VoteAge {
			continue
		}
		// It is looked at again: since the last look it may have come into contact, and voted.
		if began, ok := t.unfit[v.Observer]; ok && t.unable(t.w.sites[v.Observer]) && t.w.loop.Now().Sub(began) > failover.VoteAge+latest+graceMargin {
			t.w.check.fail("S5", "%s is given up with the vote of %s, whose agent does not work or is alone for %s", domain, v.Observer, t.w.loop.Now().Sub(began))
		}
	}
}

// shownOffer is what a person has seen before an approval.
type shownOffer struct {
	at     time.Time
	guests map[failover.GuestID]string
}

// offer is what a person sees of an operation: the hash to approve it with.
func (w *World) offer(op failover.Operation) string { return w.offerIn(w.log.Last(), op) }

// offerIn is offer by the state that one agent knows.
func (w *World) offerIn(s *failover.State, op failover.Operation) string {
	o := shownOffer{at: w.loop.Now(), guests: map[failover.GuestID]string{}}
	for g, run := range op.Guests {
		if run.State == failover.RunActive && run.Admitted == 0 {
			o.guests[g] = offered(run)
		}
	}
	hash := s.OfferOf(op.ID, s.Clock).Hash
	w.check.offers[string(op.ID)+" "+hash] = o
	return hash
}

func offered(run failover.GuestRun) string {
	return fmt.Sprintf("%s/%s from %s", run.Assignment.Target, run.Assignment.Host, run.Assignment.Point.Volid)
}

// approved: S10, an approval admits what its person has seen, and seen lately.
func (c *checker) approved(next *failover.State, a failover.Approve, index uint64) {
	seen, ok := c.offers[string(a.Op)+" "+a.Hash]
	for g, run := range next.Ops[a.Op].Guests {
		switch {
		case run.Admitted != index:
		case !ok || seen.guests[g] != offered(run):
			c.fail("S10", "the approval of %s admits %s to %s, shown was %q", a.Op, g, offered(run), seen.guests[g])
		case c.w.loop.Now().Sub(seen.at) > failover.ApprovalAge+graceMargin:
			c.fail("S10", "the approval of %s admits what was shown %s ago", a.Op, c.w.loop.Now().Sub(seen.at))
		}
	}
}

// fixed: S8, a restore point is fixed when it is restored, and recorded: what
// the log says of a copy afterwards is what it was made from.
func (c *checker) fixed(prev, next *failover.State) {
	for id, op := range next.Ops {
		before, ok := prev.Ops[id]
		if !ok {
			continue
		}
		for g, run := range op.Guests {
			old := before.Guests[g]
			restore, ok := old.Step(failover.StepRestore)
			if ok && restore.Status == failover.StatusDone && old.VMID == run.VMID && old.Assignment.Target == run.Assignment.Target &&
				old.Assignment.Point.Volid != run.Assignment.Point.Volid {
				c.fail("S8", "the restore point of %s, restored from %s, is now %s", g, old.Assignment.Point.Volid, run.Assignment.Point.Volid)
			}
		}
	}
}

// storeWrites are the requests that an agent may make of a PBS and that change
// something: to protect a snapshot or let go of it, to verify, and to pull now.
var storeWrites = regexp.MustCompile(`^(PUT /admin/datastore/[^/]+/protected|POST /admin/datastore/[^/]+/verify|POST /admin/sync/[^/]+/run)$`)

// stored: S8, no step writes or removes a backup: groups mirror one line each,
// that of the home.
func (c *checker) stored(s *Site, method, path string) {
	if method != http.MethodGet && !storeWrites.MatchString(method+" "+path) {
		c.fail("S8", "%s %s of the PBS of %s: no step does that", method, path, s.name)
	}
}
