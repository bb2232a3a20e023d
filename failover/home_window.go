package failover

import (
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A structure may let its guests come home by themselves (return: window). Only what was
// failed over for a loss comes home so, only into a home that has been well for a while, and
// only while the copy at home has not run since: where it has, a person chooses. A structure
// moves as a whole, or not at all.

// comesHome says whether a guest may come home by itself now, or why not.
func (s *State) comesHome(g GuestID, now time.Time) error {
	p, guest := s.Guests[g], s.Network.Guests[g]
	structure, home := s.Network.Structures[guest.Structure], s.Network.Home(g)
	name := []string{"guest", string(g), "structure", string(guest.Structure), "site", string(home)}
	rule := structure.Return
	switch {
	case rule == nil:
		return reject(CodeInvalid, "what", "a failback of "+string(g)+" without a person: its structure has no return window")
	case p.Op != "":
		return reject(CodeGuestBusy, "guest", string(g), "op", string(p.Op))
	case p.Phase != PhaseAway && p.Phase != PhaseDiverged || p.Serving != p.Owner:
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	case p.Parked:
		return reject(CodeMovedByPlan, name...)
	case !s.unbranched(g):
		return reject(CodeHomeRan, name...)
	}
	for _, site := range []SiteID{home, p.Owner} {
		if pause, paused := s.PausedAt(site, now); paused {
			return reject(CodePaused, "site", string(site), "reason", pause.Reason)
		}
	}
	for _, d := range []DomainID{HostDomain(guest.Host), HostDomain(p.Host)} {
		if rest, resting := s.RestOf(d); resting {
			return reject(CodeMaintenance, "domain", string(d), "until", clockText(rest.Until))
		}
	}
	if d := s.Domains[SiteDomain(home)]; s.unwell(home, guest.Host) || d.Cause != CauseUp || now.Sub(d.Since.At) < rule.After.D() {
		return reject(CodeNotBack, "guest", string(g), "site", string(home))
	}
	for _, id := range sortedKeys(s.Ops) {
		op := s.Ops[id]
		if _, had := op.Guests[g]; had && op.Kind == KindFailback && now.Sub(op.Begun.At) < homeAgain {
			return reject(CodeTriedHome, append(name, "op", string(id))...)
		}
	}
	if !rule.Window.Open(now) {
		return reject(CodeHomeWaits, append(name, "window", rule.Window.String())...)
	}
	return nil
}

// homeAgain is how long nothing comes home by itself after a failback was begun: what was
// taken back, or undone by a person, is not tried again at once.
const homeAgain = 24 * time.Hour

// unbranched says whether an agent has seen the copy of a guest at home, since it was left,
// and never seen it run: nobody but the guest itself can have written to it.
func (s *State) unbranched(g GuestID) bool {
	at, left := s.HomeBranch(g)
	if !left {
		return len(s.superseded(g)) == 0 || slices.ContainsFunc(s.superseded(g), func(p Place) bool { return s.gone(g, p) })
	}
	b := s.Guests[g].Branch
	off := b != nil && b.same(at) && (b.Reason.Code == CodeBranchOff || b.Reason.Code == CodeBranchStopped)
	return off && b.LastRun.IsZero() && b.Since.IsZero()
}

// comeHome begins the failback of a structure whose window is open.
func (d *decider) comeHome() {
	for _, id := range network.SortedKeys(d.s.Network.Structures) {
		structure := d.s.Network.Structures[id]
		if structure.Return == nil {
			continue
		}
		guests, held := d.s.allComeHome(id, d.now)
		if !held.IsZero() {
			d.why(held)
		}
		if len(guests) == 0 || !held.IsZero() || d.verdicts[SiteDomain(structure.Home)].Cause != CauseUp {
			continue
		}
		plan := PlanFor(d.s, Loss{Site: d.s.Network.Home(guests[0]), Guests: guests, Planned: true, Keep: KeepAway}, d.now)
		if len(plan.LeftOut) > 0 {
			d.why(plan.LeftOut[0].Reason)
			continue
		}
		d.propose(BeginOp{Kind: KindFailback, Plan: plan, Window: true})
		return
	}
}

// allComeHome lists the guests of a structure that live away, and why they do not come home
// by themselves now.
func (s *State) allComeHome(id StructureID, now time.Time) (guests []GuestID, held Reason) {
	for _, g := range s.Network.GuestIDs() {
		if s.Network.Guests[g].Structure != id || s.AtHome(g) {
			continue
		}
		guests = append(guests, g)
		if r := reasonOf(s.comesHome(g, now)); !r.IsZero() && held.IsZero() {
			held = r
		}
	}
	return guests, held
}

// ranAtHome says whether the copy at home was found running by a failback that nobody asked
// for: then a person chooses.
func (op Operation) ranAtHome(run GuestRun) bool {
	return op.Kind == KindFailback && !op.Forced && run.Left.Ran && !run.Owned()
}

// checkHomeWindow: S10, a failback without a person is one that its structure's window allows.
func checkHomeWindow(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindFailback || op.Forced || op.Begun.Index != next.Index {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			rule := next.Network.Structures[next.Network.Guests[g].Structure].Return
			b := prev.Guests[g].Branch
			if _, left := prev.HomeBranch(g); !left {
				b = nil // it is gone, by a person's choice
			}
			switch {
			case rule == nil || !rule.Window.Open(next.Clock):
				return violated("S10", "%s comes home by itself at %s", g, clockText(next.Clock))
			case declaredPause(prev, run.Assignment.Target, next.Clock):
				return violated("S10", "%s comes home by itself while %s is paused", g, run.Assignment.Target)
			case run.Assignment.Keep != KeepAway || b != nil && (b.Reason.Code == CodeBranchRan || b.Reason.Code == CodeBranchBooted):
				return violated("S7", "%s comes home by itself, and its copy there ran", g)
			}
		}
	}
	return nil
}

// wholeStructure lists the guests of an assignment's structure that live away, if the plan
// has them all; else none.
func (c BeginOp) wholeStructure(s *State, a Assignment) []GuestID {
	guests, _ := s.allComeHome(a.Structure, s.Clock)
	for _, g := range guests {
		if !slices.ContainsFunc(c.Plan.Assignments, func(o Assignment) bool { return o.Guest == g }) {
			return nil
		}
	}
	return guests
}
