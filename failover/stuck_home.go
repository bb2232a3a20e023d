package failover

import "fmt"

// A guest may be stuck away from home for good: ownership has moved, and the copy there can
// never be started, because its only backup is corrupt, say, or its host refuses what it
// declares. Then its home comes back, with a good copy. A failback that keeps that one is the way on,
// whatever became of the operation in which the guest is stuck. The copy away was never served, so
// no name ever led to it; whether anybody has written to it all the same, only its host knows.
// If that proves that it never ran, it holds nothing and is removed like any residue once the
// guest serves at home; else it is sealed first and kept, as in every failback.

// stuckAway returns the operation in which a guest is stuck away from home: the copy that it
// has given the guest to was never served.
func (s *State) stuckAway(g GuestID) (Operation, bool) {
	if s.Guests[g].Phase != PhaseStuck || s.AtHome(g) {
		return Operation{}, false
	}
	return s.stuckIn(g)
}

// stuckIn returns the operation in which a guest is stuck with the copy that counts, before that served.
func (s *State) stuckIn(g GuestID) (Operation, bool) {
	e := s.Guests[g].Epoch
	if e == (Epoch{}) {
		return Operation{}, false
	}
	for _, id := range sortedKeys(s.Ops) {
		run, has := s.Ops[id].Guests[g]
		if has && run.stuckIn(e) && !s.Unconfirmed[id] {
			return s.Ops[id], true
		}
	}
	return Operation{}, false
}

// homePhase is the phase of a guest that no operation holds. What was begun beside one that is stuck
// with the copy that counts, and is given up, leaves it stuck.
func (s *State) homePhase(g GuestID) Phase {
	_, stuck := s.stuckIn(g)
	switch {
	case stuck:
		return PhaseStuck
	case !s.AtHome(g):
		return PhaseAway
	case s.Network.Guests[g].Priority == 4:
		return PhaseExcluded
	}
	return PhaseHome
}

// stuckIn says whether a run is stuck with the copy that became its guest in an epoch.
func (r GuestRun) stuckIn(e Epoch) bool {
	return r.State == RunStuck && r.Owned() && r.Epoch == e && r.Served.Index == 0
}

// engaged says what keeps a guest from a failback: an operation that has it, or that nothing
// of it would come home so. One that is stuck away does not, if the copy at home is kept.
func (s *State) engaged(g GuestID, keep Keep) Reason {
	p := s.Guests[g]
	op, stuck := s.stuckAway(g)
	busy, reviving := s.revivedBy(g)
	switch {
	case reviving:
		return because(CodeGuestBusy, "guest", string(g), "op", string(busy))
	case stuck && (p.Op == "" || p.Op == op.ID):
		if keep == KeepHome {
			return Reason{}
		}
		return because(CodeStuckAway, "guest", string(g), "site", string(p.Owner), "id", fmt.Sprint(p.VMID))
	case p.Op != "":
		return because(CodeGuestBusy, "guest", string(g), "op", string(p.Op))
	case p.Phase == PhaseStuck && !s.AtHome(g):
		return because(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	}
	return Reason{}
}

// neverRan says whether nothing in the log speaks for it that the copy of a guest that is stuck
// away has ever run: no start of it ended well, no agent has seen it run. Only then may its
// host prove that there is nothing to seal.
func (s *State) neverRan(g GuestID) bool {
	op, stuck := s.stuckAway(g)
	if !stuck {
		return false
	}
	run, p := op.Guests[g], s.Guests[g]
	if s.HeldData(GuestRun{Assignment: run.Assignment, Source: s.sourceOf(g)}) {
		return false // it has counted before: it went on, it was not made
	}
	check, _ := run.Step(StepCheck)
	live, _ := run.Step(StepLive)
	if run.isDone(StepStart) || live.Attempt > 0 || live.begun() || check.begun() || !p.Booted.IsZero() {
		return false // a live restore starts what it restores
	}
	for _, c := range s.CopiesOf(g) {
		if c.same(p.Now()) && c.Running {
			return false
		}
	}
	return true
}

// WayHomeOpen says whether a guest that is stuck away can come home now, keeping the copy there.
func (s *State) WayHomeOpen(g GuestID) bool {
	if s.Network == nil {
		return false
	}
	if _, stuck := s.stuckAway(g); !stuck {
		return false
	}
	_, why := s.wayHome(g, KeepHome, false)
	return why.IsZero()
}

// wayHomeOf is the home of such a guest, "" for any other: what people are told of it says so.
func (s *State) wayHomeOf(g GuestID) string {
	if !s.WayHomeOpen(g) {
		return ""
	}
	return string(s.Network.Home(g))
}

// fromStuck notes in a run that its guest is stuck where it comes from, and the name that the
// marker of its copy there carries.
func (s *State) fromStuck(run *GuestRun) {
	op, stuck := s.stuckAway(run.Assignment.Guest)
	if !stuck {
		return
	}
	run.Source.Of = op.Marks()
	if warm := op.Guests[run.Assignment.Guest].Assignment.Warm; warm != "" {
		run.Source.Of = warm
	}
}

// FromStuck says whether a failback brings a guest home that is stuck where it was.
func (r GuestRun) FromStuck() bool { return r.Source.Of != "" && r.Assignment.Keep == KeepHome }

// learnStuck takes over what the host of a copy has told before it was shut down: nothing runs
// or ever ran there, if it proves that.
func (r *GuestRun) learnStuck(f Found) error {
	if (f.Unstarted || f.Gone) && !r.FromStuck() || f.Unstarted && f.Running {
		return reject(CodeInvalid, "what", "a copy that never ran, of a guest that is served by it")
	}
	r.Source.Unstarted = f.Unstarted || f.Gone
	r.Source.Ran = f.Running
	return nil
}

// spared drops the sealing from a run whose copy that does not go on never ran.
func (r *GuestRun) spared() {
	var kept []Step
	for _, step := range r.Steps {
		if step.ID != StepSeal && step.ID != StepSealVerify && step.ID != StepSealCopy {
			kept = append(kept, step)
		}
	}
	r.Steps = kept
}

// phaseBefore is the phase of a guest whose run is taken back: what was stuck is so again, and
// what was to be typed then may be typed again.
func (s *State) phaseBefore(run GuestRun) Phase {
	if run.FromStuck() {
		return PhaseStuck
	}
	return s.homePhase(run.Assignment.Guest)
}

// closeStuck ends the runs in which a guest was stuck where it has just come from: it is at
// home now, and nobody is to try them again. What they did stays on record. An operation that had
// ended for want of a person, and wants none any more, has ended well.
func (s *State) closeStuck(back GuestRun, st Stamp) {
	g := back.Assignment.Guest
	for _, id := range sortedKeys(s.Ops) {
		run, has := s.Ops[id].Guests[g]
		if !has || !run.stuckIn(back.Source.Epoch) {
			continue
		}
		op := s.Ops[id].edit()
		run = run.edit()
		if _, at, left := run.Current(); left {
			run.Steps = run.Steps[:at]
		}
		run.State, run.Token, run.Stuck = RunCancelled, st.Index, Reason{}
		run.Back = because(CodeCameHome, "guest", string(g), "site", string(back.Assignment.Target))
		op.Guests[g] = run
		if phase, done := op.outcome(); done && op.Phase == OpStuck {
			op.Phase = phase
		}
		s.Ops[id] = op
	}
}

// tidyStuck begins the operation that removes the copy which a guest was stuck with, now that
// it serves at home, if that copy never ran; and that lets its restore point be pruned again.
// The operation that had protected it does nothing any more.
func (s *State) tidyStuck(run GuestRun, loss Loss, st Stamp) {
	from, g := run.Source, run.Assignment.Guest
	was, known := s.closedAt(g, from.Epoch)
	if !run.FromStuck() || !known || was.Assignment.Point.IsZero() {
		return
	}
	a, step := was.Assignment, StepRelease
	a.Warm = "" // it is a copy like any other now
	if from.Unstarted {
		step = StepCleanup
	}
	tidy := tidies(from.Of, loss, because(CodeCameHome, "guest", string(g), "site", string(run.Assignment.Target)), st)
	tidy.removes(GuestRun{Assignment: a, VMID: from.VMID, Steps: pendingSteps(step), Source: from, Tried: was.Tried})
	s.beginTidy(tidy)
}

// closedAt returns the run in which a guest was stuck with the copy of an epoch, once that is closed.
func (s *State) closedAt(g GuestID, e Epoch) (GuestRun, bool) {
	for _, id := range sortedKeys(s.Ops) {
		if run, has := s.Ops[id].Guests[g]; has && run.Owned() && run.Epoch == e && run.State == RunCancelled {
			return run, true
		}
	}
	return GuestRun{}, false
}

// neverHeld says whether the copy of a lineage may be deleted although it counted once: its host
// has proven that it never ran, another one counts since, and this run is what removes it.
func (r GuestRun) neverHeld(l Lineage) bool {
	return r.Source.Unstarted && l.Unstarted && l.To.Index != 0 && l.Guest == r.Assignment.Guest && l.Epoch == r.Source.Epoch
}

// cleared says whether a copy that never ran was removed when its guest had come home without it.
func (s *State) cleared(g GuestID, at Place) bool {
	if id, known := s.lineageAt(g, at); !known || !s.Lineages[id].Unstarted {
		return false
	}
	for _, op := range s.Ops {
		run, has := op.Guests[g]
		if has && op.Kind == KindTidy && run.Source.Unstarted && run.Assignment.Host == at.Host && run.VMID == at.VMID && run.isDone(StepCleanup) {
			return true
		}
	}
	return false
}

// checkUnstarted: S7, a copy that counted is said never to have run only in the entry that gives its
// guest to its home, and only if it was never served and no start of it ended well in the log.
func checkUnstarted(prev, next *State) error {
	for _, id := range sortedKeys(next.Lineages) {
		l := next.Lineages[id]
		if !l.Unstarted || prev.Lineages[id].Unstarted {
			continue
		}
		if l.Sealed != nil || l.To.Index != next.Index || next.Guests[l.Guest].Host != next.Network.Guests[l.Guest].Host {
			return violated("S7", "%s is said never to have run: %+v", id, l)
		}
		for _, op := range prev.Ops {
			run := op.Guests[l.Guest]
			_, broke := run.Broke() // what that left was removed by a person before its guest was restored whole
			if run.Owned() && run.Epoch == l.Epoch && (run.Served.Index != 0 || run.isDone(StepStart) || run.isDone(StepLive) && !broke) {
				return violated("S7", "%s is said never to have run, and %s has started it", id, op.ID)
			}
		}
	}
	return nil
}
