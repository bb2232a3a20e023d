package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// What people do in a history when all is well again, and the account of what it was about.

// next is what people do who have kept the wrong copy, or clear away what is sealed; false: nothing.
func (h *history) next() bool {
	return h != nil && h.c.left == 0 && (h.regret() || h.clear())
}

// How far people are who have kept the wrong copy.
const (
	noRegret = iota
	undone
	doneAnew
)

// regret is people who have kept the wrong copy: they take it back, and keep the other one.
func (h *history) regret() bool {
	w := h.w
	begun, pick := len(w.log.Last().Ops), h.r.IntN(100)
	switch h.regrets {
	case noRegret:
		if h.kept == "" || !slices.ContainsFunc(w.log.Last().Network.GuestIDs(), h.undoable) {
			return false
		}
		h.regrets = doneAnew
		if chance(h.r, 0.35) {
			h.regrets = undone
			w.undoHomecoming(pick)
		}
	case undone:
		h.regrets = doneAnew
		other := failover.KeepHome
		if h.kept == failover.KeepHome {
			other = failover.KeepAway
		}
		w.comeHome(h.home, pick, other)
	}
	return len(w.log.Last().Ops) > begun
}

func (h *history) undoable(g failover.GuestID) bool {
	_, err := h.w.log.Last().UndoOf(g, h.w.loop.Now())
	return err == nil
}

// clear is people of the structure who delete what was left at home, sealed and acknowledged. Now and then a
// sealed copy goes bad before.
func (h *history) clear() bool {
	w := h.w
	if chance(h.r, 0.1) {
		h.spoilSealed(h.r)
	}
	s, any := w.log.Last(), false
	for _, g := range s.Network.GuestIDs() {
		for _, c := range s.LeftCopies(g, w.loop.Now()) {
			there, ok := w.guestAt(c.Place)
			if !c.Theirs || c.Gone || !ok || there.Running || !s.AtHome(g) || c.Sealed == nil || c.Sealed.Acked.Index == 0 || !chance(h.r, 0.3) {
				continue
			}
			if w.deleteSealed(g, onStructure(c.Site, c.VMID), *c.Sealed) {
				h.saw("deleted by the people of the structure")
				any = true
			}
		}
	}
	return any
}

// spoilSealed has the disk go bad that holds a backup of a sealed branch, or of one that is just being sealed,
// at one of its sites.
func (h *history) spoilSealed(r *rand.Rand) {
	w, ns := h.w, failover.SealedNamespace(h.home)
	for _, n := range r.Perm(len(w.ids)) {
		s := w.sites[w.ids[n]]
		if s.pbs == nil || s.burnt {
			continue
		}
		all := s.pbs.Snapshots(ns)
		if len(all) == 0 {
			continue
		}
		if snap := all[r.IntN(len(all))]; w.check.ledger.spoil(s, ns, snap) {
			w.tell("fault: the disk goes bad that holds %s/%s at %s", ns, snap.Name(), s.name)
			h.saw("a sealed copy goes bad")
			return
		}
	}
}

func (h *history) saw(format string, args ...any) { h.w.cover.count(coverHistory, format, args...) }

// returns is the home that is there again: in the middle of what, and what has it done meanwhile?
func (h *history) returns() {
	w := h.w
	s := w.log.Last()
	both := false
	for _, g := range s.Network.GuestIDs() {
		p, home := s.Guests[g], s.HomePlace(g)
		run, busy := s.Ops[p.Op].Guests[g]
		switch {
		case busy && !s.AtHome(g):
			h.saw("return in the middle of an operation, after ownership")
		case busy && len(run.Steps) > 0:
			h.saw("return in the middle of an operation, before ownership")
		case !s.AtHome(g):
			h.saw("return after an operation")
		default:
			h.saw("return before any operation")
		}
		both = both || !s.AtHome(g) && w.check.ledger.took(g, home, p.Owned) && w.check.ledger.took(g, p.Now(), p.Owned)
	}
	if both {
		h.saw("isolated while both sides were written to")
	}
	w.loop.In(2*time.Second, "", h.starts)
}

// took says whether a copy has taken a write of a guest's users since then.
func (l *ledger) took(g failover.GuestID, at failover.Place, since time.Time) bool {
	at.Epoch = failover.Epoch{}
	return slices.ContainsFunc(l.written[g], func(wr write) bool { return wr.place() == at && wr.at.After(since) })
}

// starts sees which guests have started by themselves with their host, though they live elsewhere by now.
func (h *history) starts() {
	s, site := h.w.log.Last(), h.w.sites[h.home]
	for _, g := range s.Network.GuestIDs() {
		there, ok := h.w.guestAt(s.HomePlace(g))
		if ok && there.Running && !s.AtHome(g) && site.ownBack.After(h.out) {
			h.saw("started by itself with its host, and lives elsewhere")
		}
	}
}

// follow takes note of what the log tells.
func (h *history) follow(e Committed) {
	s := h.w.log.Last()
	switch c := e.Command.(type) {
	case failover.Own:
		h.owned(s, s.Ops[c.Token.Op], c.Token.Guest)
	case failover.BeginOp:
		h.begun(c)
	case failover.StepMoved:
		if did, tells := deeds[c.Token.Step]; tells && c.To == failover.StatusDone {
			h.saw("%s", did)
		}
	case failover.CancelOp:
		if s.Ops[c.Op].Kind == failover.KindFailback {
			h.saw("a way home is cancelled")
		}
	case failover.AckSeal:
		h.saw("acknowledged")
	case failover.RetireSite:
		h.saw("burnt down, and retired")
	}
}

// deeds are steps that a history is about.
var deeds = map[failover.StepID]string{
	failover.StepSealCopy:   "sealed at two sites",
	failover.StepRemove:     "removed by its agent",
	failover.StepUnsealCopy: "a sealed branch is given up after its month",
	failover.StepFork:       "forked",
	failover.StepReplace:    "given up for room",
}

func (h *history) owned(s *failover.State, op failover.Operation, g failover.GuestID) {
	switch {
	case op.Plan.Loss.Keep == failover.KeepBack:
		h.saw("kept the copy at home, and the one away serves again")
	case op.Kind == failover.KindFailback:
		h.saw("came home, keeping the copy %s", op.Guests[g].Assignment.Keep)
		h.kept = op.Guests[g].Assignment.Keep
		if h.regrets == doneAnew {
			h.saw("came home anew, keeping the other copy")
		}
	case op.Kind == failover.KindSwitchover && h.regrets == undone:
		h.saw("kept the wrong copy, and undone")
	case op.Kind == failover.KindFailover && h.lives[g] != "" && h.lives[g] != h.home:
		h.saw("second failover before failback")
	}
	h.lives[g] = s.Guests[g].Owner
}

func (h *history) begun(c failover.BeginOp) {
	switch {
	case c.Kind != failover.KindFailback:
	case c.Window:
		h.saw("comes home by itself")
	case h.w.opts.Jobs != (BadJobs{}):
		h.saw("comes home with bad sync jobs: %s", h.w.opts.Jobs.How)
	}
}

// sum takes note of what is known in the end only.
func (h *history) sum() {
	for _, k := range h.w.cover.Of(coverCrash) {
		for _, at := range []string{"seal", "park", "leave", "unpark", "rejoin"} {
			if strings.Contains(k, " "+at+":") {
				h.saw("an agent dies at work on the way home")
			}
		}
	}
	if len(h.w.check.handled) > 0 {
		h.saw("a copy is started, or deleted, by hand")
	}
	if h.w.check.ledger.account().Lost > 0 {
		h.saw("writes are lost with a disk")
	}
}

// told is all that the histories of a long run must tell of.
var told = []string{
	"isolated for seconds", "isolated for minutes", "isolated for hours", "isolated for days", "isolated while both sides were written to",
	"started by itself with its host, and lives elsewhere",
	"return before any operation", "return in the middle of an operation, before ownership", "return in the middle of an operation, after ownership", "return after an operation",
	"second failover before failback", "a sealed copy goes bad", "sealed at two sites",
	"came home, keeping the copy away", "came home, keeping the copy home", "comes home by itself",
	"comes home with bad sync jobs: " + JobsMissing, "comes home with bad sync jobs: " + JobsVanish,
	"comes home with bad sync jobs: " + JobsLast, "comes home with bad sync jobs: " + JobsVerified,
	"kept the wrong copy, and undone", "kept the copy at home, and the one away serves again", "came home anew, keeping the other copy", "given up for room", "forked", "acknowledged", "a way home is cancelled",
	"removed by its agent", "deleted by the people of the structure", "a sealed branch is given up after its month",
	"burnt down, and retired", "writes are lost with a disk", "an agent dies at work on the way home", "a copy is started, or deleted, by hand",
}

// Untold names what histories must tell of and have not.
func Untold(c Coverage) []string {
	return slices.DeleteFunc(slices.Clone(told), func(what string) bool { return c[coverHistory+" "+what] > 0 })
}
