package failover

import (
	"fmt"
	"slices"
	"time"
)

// Check compares the state before and after one command with the invariants of
// design section 5 that one state can show. It returns the first violation.
// The simulator calls it after every entry, tests after every command; what
// needs the world outside State (S2, S3, S7, S9) is checked by the simulator.
// It shares no code with what it checks: who votes, what a majority is, the
// delay, the mode and the pauses are read from what was declared.
func Check(prev, next *State) error {
	for _, check := range []func(prev, next *State) error{
		checkEpochs, checkServing, checkRuns, checkPlanned, checkBlast, checkAdmission, checkClock, checkBounds, checkWarm, checkReturns, checkLineages, checkAway, checkWakes, checkSeals, checkRemovals, checkReplaced, checkHomeWindow, checkUnprepared, checkUnstarted,
	} {
		if err := check(prev, next); err != nil {
			return err
		}
	}
	return nil
}

func violated(id, format string, args ...any) error {
	return fmt.Errorf("invariant %s violated: %s", id, fmt.Sprintf(format, args...))
}

// checkEpochs: S1, one owner per (guest, epoch); epochs only grow.
func checkEpochs(prev, next *State) error {
	for _, g := range sortedKeys(next.Guests) {
		n := next.Guests[g]
		p, ok := prev.Guests[g]
		if !ok {
			continue
		}
		if n.Epoch.Less(p.Epoch) {
			return violated("S1", "epoch of %s fell from %s to %s", g, p.Epoch, n.Epoch)
		}
		if n.Owner != p.Owner && n.Epoch == p.Epoch && prev.NetworkVersion == next.NetworkVersion {
			return violated("S1", "owner of %s moved from %s to %s within epoch %s", g, p.Owner, n.Owner, n.Epoch)
		}
		if n.Host != p.Host && n.Epoch == p.Epoch && prev.NetworkVersion == next.NetworkVersion {
			return violated("S1", "%s moved from host %s to %s within epoch %s", g, p.Host, n.Host, n.Epoch)
		}
	}
	return nil
}

// checkServing: S2 as far as State shows it. A guest is never shown at a place
// that does not own it, unless that is where it was shown all along.
func checkServing(prev, next *State) error {
	for _, g := range sortedKeys(next.Guests) {
		n, p := next.Guests[g], prev.Guests[g]
		if n.Serving == p.Serving || prev.NetworkVersion != next.NetworkVersion {
			continue
		}
		if n.Serving == "" || n.Serving != n.Owner {
			return violated("S2", "%s is shown at %q but owned by %q", g, n.Serving, n.Owner)
		}
		run := next.Ops[n.Op].Guests[g]
		if check, ok := run.Step(StepCheck); !ok || check.Status != StatusDone {
			return violated("S2", "%s is shown at %s before it was checked", g, n.Serving)
		}
	}
	return nil
}

// checkRuns: one guest is in at most one operation (design section 5), on its
// structure's VLAN (S11), with consent (S10), owned only after admission (S4).
func checkRuns(_, next *State) error {
	in := map[GuestID]OpID{}
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		for _, g := range sortedKeys(op.Guests) {
			run := op.Guests[g]
			if (run.State == RunStuck || run.State == RunDone) && next.Guests[g].Op != id || op.Kind.aside() || op.Kind.planned() && run.State == RunCancelled {
				continue // a later operation took it over, or may; one beside them, and one that was taken back, holds no guest
			}
			if other, ok := in[g]; ok && run.State != RunDone {
				return violated("one operation per guest", "%s is in %s and %s", g, other, id)
			}
			// What was taken back and cleaned up holds nobody, in an operation that a
			// retry of another guest has opened again, either.
			if _, _, left := run.Current(); left || run.State != RunCancelled {
				in[g] = id
			}
			if err := checkRun(next, op, run); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkRun(s *State, op Operation, run GuestRun) error {
	a := run.Assignment
	st := s.Network.Structures[a.Structure]
	if vlan := st.VLAN; vlan != a.VLAN && s.NetworkVersion < op.Begun.Index {
		return violated("S11", "%s of %s goes to vlan %d, not %d", a.Guest, op.ID, a.VLAN, vlan)
	}
	if err := checkRescue(s, op, run); err != nil {
		return err
	}
	if err := checkSwitchover(s, op, run); err != nil {
		return err
	}
	if st.OffSite.Policy != "allowed" && a.Target != s.Network.SiteOf(s.Network.Guests[a.Guest].Host) && s.NetworkVersion < op.Begun.Index {
		return violated("S10", "%s moves without consent", a.Guest)
	}
	if run.Owned() && run.Admitted == 0 {
		return violated("S4", "%s is owned without having been admitted", a.Guest)
	}
	for i, step := range run.Steps {
		started := step.Status != StatusPending || step.Attempt > 0
		if i > 0 && started && run.Steps[i-1].Status != StatusDone {
			return violated("L2", "%s: step %s began before %s was done", a.Guest, step.ID, run.Steps[i-1].ID)
		}
		if (step.ID == StepStart || step.ID == StepLive) && started && !run.Owned() {
			return violated("S3", "%s started before it was owned", a.Guest)
		}
	}
	return nil
}

// checkPlanned: S12 on the entry that begins an operation. Who is left out for
// want of room at a target that could restore it stands before every guest of a
// lower priority there.
func checkPlanned(_, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Begun.Index != next.Index {
			continue
		}
		for _, out := range op.Plan.LeftOut {
			switch out.Reason.Code {
			case CodeNoMemory, CodeNoStorage, CodeNoFreeID:
			default:
				continue
			}
			guest := next.Network.Guests[out.Guest]
			if next.Network.Structures[guest.Structure].Split == "never" {
				continue // its place may be taken by its own structure's
			}
			for _, a := range op.Plan.Assignments {
				if a.Target == next.Network.Home(out.Guest) && !op.Plan.Loss.Local {
					continue // no failover leads home, where the copy that it left may run
				}
				restorable := slices.ContainsFunc(next.Readiness[a.Target].Ready.Points[out.Guest], func(p RestorePoint) bool {
					return p.Unusable == "" && (guest.MaxLoss == 0 || next.Clock.Sub(p.Time) <= guest.MaxLoss.D())
				})
				if restorable && a.Priority > out.Priority {
					return violated("S12", "%s of priority %d is left out (%s) and %s of priority %d goes to %s", out.Guest, out.Priority, out.Reason.Code, a.Guest, a.Priority, a.Target)
				}
			}
		}
	}
	return nil
}

// committedNow says whether an operation was committed on evidence by the last
// entry; what a person approves or retries is theirs to judge.
func committedNow(op Operation, next *State) bool {
	return op.Phase == OpCommitted && op.Committed.Index == next.Index && len(op.Votes) > 0
}

// checkBlast: S6, at most K domains are failed over automatically at once. What a person has opened
// again is theirs, until more of it is admitted by itself.
func checkBlast(prev, next *State) error {
	n, now := 0, false
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Phase == OpCommitted && !op.Forced && len(op.Votes) > 0 && op.Again.Index == 0 {
			n++
			now = now || committedNow(op, next) || prev.Ops[id].Again.Index != 0
		}
	}
	if now && n > next.Network.Policy.MaxDomains {
		return violated("S6", "%d domains are failed over automatically at once", n)
	}
	return nil
}

// checkAdmission: S4 and S5 on the entry that commits: a majority of all
// voters from outside, dark over two kinds of path, for the commit delay.
func checkAdmission(prev, next *State) error {
	for _, id := range next.opOrder() {
		op, before := next.Ops[id], prev.Ops[id]
		if !committedNow(op, next) {
			continue
		}
		if before.ID == "" {
			return violated("S4", "%s committed without preparation", id)
		}
		for _, v := range op.Votes {
			if len(v.Sees) > 0 && v.Age < seenJustNow && prev.believes(v.Observer) {
				return violated("S4", "%s committed although %s sees %v", id, v.Observer, v.Sees)
			}
		}
		if err := checkDelays(prev, next, op); err != nil {
			return err
		}
	}
	return nil
}

// checkDelays compares the k-th longest silence of the votes that count with
// the commit delay of every guest that they admitted, and S10 with its mode.
func checkDelays(prev, next *State, op Operation) error {
	observers := map[SiteID]bool{}
	votes := slices.DeleteFunc(slices.Clone(op.Votes), func(v Vote) bool {
		return !prev.Members[v.Observer].Voter || !prev.believes(v.Observer) || v.Observer == op.Plan.Loss.Site ||
			!v.Dark || len(v.Unwell) > 0 || v.Age > VoteAge || len(v.Paths) < 2
	})
	for _, v := range votes {
		observers[v.Observer] = true
	}
	voters, most := declaredVoters(prev)
	if voters < 3 {
		return violated("S4", "%s committed in a network of %d voters", op.ID, voters)
	}
	if len(observers) < most {
		return violated("S4", "%s committed on %d votes of %d needed", op.ID, len(observers), most)
	}
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g]
		if run.Admitted != next.Index {
			continue
		}
		if mode := prev.Network.Structures[prev.Network.Guests[g].Structure].Mode; mode != "auto" || !run.Assignment.Automatic {
			return violated("S10", "%s was admitted without the person that its mode %q asks for", g, mode)
		}
		if declaredPause(prev, op.Plan.Loss.Site, next.Clock) {
			return violated("S10", "%s was admitted while %s is paused", g, op.Plan.Loss.Site)
		}
		if _, resting := prev.restOfGuest(g); resting {
			return violated("S10", "%s was admitted while its home is in maintenance", g)
		}
		n := 0
		for _, v := range votes {
			if v.Silence >= declaredDelay(next, g) {
				n++
			}
		}
		if n < most {
			return violated("S4", "%s was admitted on %d votes that are as old as its commit delay", g, n)
		}
	}
	return nil
}

// declaredVoters counts the members that vote, and how many are most of them.
func declaredVoters(s *State) (voters, most int) {
	for _, m := range s.Members {
		if m.Voter {
			voters++
		}
	}
	return voters, (voters + 2) / 2
}

// declaredPause says whether a pause of a site or of everything is in force.
func declaredPause(s *State, site SiteID, now time.Time) bool {
	for key, p := range s.Pauses {
		ended := !p.Until.IsZero() && !p.Until.After(now)
		if (key == "" || key == string(site)) && !ended {
			return true
		}
	}
	return false
}

// declaredDelay is a guest's own commit delay, else its structure's, else the
// network's: the shorter one only for a home of two lines or more.
func declaredDelay(s *State, g GuestID) time.Duration {
	guest := s.Network.Guests[g]
	structure := s.Network.Structures[guest.Structure]
	if guest.Commit != 0 {
		return guest.Commit.D()
	}
	one, dual := s.Network.Policy.Commit, s.Network.Policy.CommitDual
	if structure.Policy.Commit != 0 {
		one = structure.Policy.Commit
	}
	if structure.Policy.CommitDual != 0 {
		dual = structure.Policy.CommitDual
	}
	for _, site := range s.Network.Sites {
		if _, home := site.Hosts[guest.Host]; home && len(site.Upstreams) >= 2 {
			return dual.D()
		}
	}
	return one.D()
}

// checkClock: State's clock and index never run back.
func checkClock(prev, next *State) error {
	if next.Clock.Before(prev.Clock) || next.Index < prev.Index || next.Term < prev.Term {
		return violated("clock", "index %d→%d, term %d→%d, clock %s→%s",
			prev.Index, next.Index, prev.Term, next.Term, prev.Clock, next.Clock)
	}
	return nil
}

func checkBounds(_, next *State) error {
	if len(next.Events) > MaxEvents || len(next.Seen) > MaxSeen {
		return violated("bounds", "%d events, %d seen ids", len(next.Events), len(next.Seen))
	}
	return nil
}
