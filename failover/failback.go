package failover

import (
	"fmt"
	"maps"
	"slices"
)

// A failback ends the state in which a guest has two copies. A person has said which of
// them goes on (Keep). The other one, the loser, is shut down by agreement and sealed:
// backed up whole, verified, copied to a second site, protected at both, and written down
// in the log, before any step that could take something away from it. With "away" the home
// copy is then parked under its own id, and the copy that serves moves home as in a
// switchover, under another id. With "home" the home copy goes on as it is. Until
// ownership moves all is taken back when something fails, and both copies serve as before.

// Keep is which copy of a guest goes on.
type Keep string

// What a failback may keep.
const (
	KeepAway Keep = "away" // the copy that serves elsewhere: it moves home
	KeepHome Keep = "home" // the copy that was left at home: it serves again
	KeepBack Keep = "back" // an undo of that: the copy that was left elsewhere serves there again
)

// Stays says whether what is kept goes on where it stands, instead of being restored elsewhere.
func (k Keep) Stays() bool { return k == KeepHome || k == KeepBack }

// sealSteps keep the loser for ever.
var sealSteps = []StepID{StepSeal, StepSealVerify, StepSealCopy}

// awaySteps is the way home of a copy that lives elsewhere, after the home copy, if there
// is one, was sealed and parked.
var awaySteps = []StepID{
	StepReady, StepShutdown, StepBackup, StepPull, StepProtect, StepVerify, StepRestore, StepStill,
	StepOwn, StepStart, StepCheck, StepServe, StepSettle, StepRelease,
}

// failbackSteps is the way of one guest.
func failbackSteps(keep Keep, left, replace bool) []StepID {
	switch {
	case keep == KeepAway && left && replace:
		return slices.Insert(failbackSteps(keep, left, false), len(sealSteps)+2, StepReplace)
	case keep == KeepHome || keep == KeepBack:
		steps := append([]StepID{StepShutdown}, sealSteps...)
		return append(steps, StepUnpark, StepStill, StepOwn, StepStart, StepCheck, StepServe, StepSettle)
	case left:
		steps := append([]StepID{StepLeave}, sealSteps...)
		return append(append(steps, StepPark), awaySteps...)
	}
	return awaySteps
}

// planned says whether an operation moves guests that live, without a loss.
func (k OpKind) planned() bool { return k == KindSwitchover || k == KindFailback }

// loser is the copy that does not go on.
func (r GuestRun) loser() Source {
	if r.Assignment.Keep == KeepAway {
		return r.Left
	}
	return r.Source
}

// Leaves is the copy that a step takes care of where it is left: that which serves, or
// that which was left before.
func (r GuestRun) Leaves(step StepID) Source {
	switch step {
	case StepLeave, StepPark, StepReplace, StepRejoin:
		return r.Left
	case StepSeal, StepSealVerify:
		return r.loser()
	}
	return r.Source
}

// has says whether a step is one of the run's.
func (r GuestRun) has(step StepID) bool { _, ok := r.Step(step); return ok }

// lineageAt returns the newest lineage of the copy of a guest that stands at a place.
func (s *State) lineageAt(g GuestID, at Place) (LineageID, bool) {
	var found LineageID
	for _, id := range sortedKeys(s.Lineages) {
		l := s.Lineages[id]
		here := l.Guest == g && at.same(Place{Site: l.Site, Host: l.Host, VMID: l.VMID})
		if here && (found == "" || s.Lineages[found].Epoch.Less(l.Epoch)) {
			found = id
		}
	}
	return found, found != ""
}

// HomeBranch is the copy at home that a guest has left: the last one whose users' writes
// are in no other copy, else the last one. ok is false while the guest is at home, and
// when its host says that the copy is not there any more.
func (s *State) HomeBranch(g GuestID) (at Place, ok bool) {
	home := s.HomePlace(g)
	var moved Place
	for _, old := range s.superseded(g) {
		if old.Site != home.Site || old.Host != home.Host || s.gone(g, old) {
			continue
		}
		if id, known := s.lineageAt(g, old); !known || !s.Lineages[id].Moved {
			return old, true
		}
		if moved == (Place{}) {
			moved = old
		}
	}
	return moved, moved != Place{}
}

// gone says whether an agent has looked at a copy since it was left, and it is not there; or whether one has
// removed it.
func (s *State) gone(g GuestID, at Place) bool {
	if s.cleared(g, at) {
		return true
	}
	seen, looked := s.Copies[at.Site]
	if !looked || seen.Copies.AsOf < s.Guests[g].Epoch.Index {
		return false
	}
	return !slices.ContainsFunc(seen.Copies.Copies, func(c Copy) bool { return c.Guest == g && c.same(at) })
}

// placed gives a run what its failback starts from.
func (s *State) placed(run *GuestRun) {
	a := run.Assignment
	if at, ok := s.AwayBranch(a.Guest); ok && a.Keep == KeepBack {
		run.Left = Source{Site: at.Site, Host: at.Host, VMID: at.VMID, Epoch: at.Epoch} // what is away never starts with its host
	} else if at, ok := s.HomeBranch(a.Guest); ok {
		run.Left = Source{Site: at.Site, Host: at.Host, VMID: at.VMID, Epoch: at.Epoch}
		run.Left.OnBoot = s.Guests[a.Guest].OnBoot
	}
	s.fromStuck(run)
	run.Steps = pendingSteps(failbackSteps(a.Keep, run.Left.Site != "", a.Replace != 0)...)
}

// homeID is the id of the copy that a failback gives the guest to: that of the copy which
// goes on there, or the first of the host's range that no copy and no backup has.
func (s *State) homeID(a Assignment, ids usedIDs) (int, error) {
	if a.Keep == KeepBack {
		at, _ := s.AwayBranch(a.Guest) // checkBack has found it
		return at.VMID, nil
	}
	if a.Keep == KeepHome {
		at, ok := s.HomeBranch(a.Guest)
		if !ok {
			return 0, reject(CodeNoHomeCopy, "guest", string(a.Guest), "host", string(a.Host))
		}
		return at.VMID, nil
	}
	host := s.Network.Sites[a.Target].Hosts[a.Host]
	if host.Restore == nil {
		return 0, reject(CodeNoWayBack, "guest", string(a.Guest), "host", string(a.Host))
	}
	declared := map[int]bool{}
	for _, g := range s.Network.Guests {
		declared[g.ID] = declared[g.ID] || g.Host == a.Host
	}
	for id := host.Restore.IDs.First; id <= host.Restore.IDs.Last; id++ {
		if !ids[a.Target][id] && !declared[id] {
			return id, nil
		}
	}
	return 0, reject(CodeNoFreeID, "site", string(a.Target))
}

// checkFailback refuses what no failback may do, whoever planned it.
func (s *State) checkFailback(a Assignment) error {
	g := s.Network.Guests[a.Guest]
	home := s.Network.Home(a.Guest)
	switch {
	case a.Keep != KeepAway && a.Keep != KeepHome && a.Keep != KeepBack:
		return reject(CodeInvalid, "what", fmt.Sprintf("keep %q for %s: neither away nor home", a.Keep, a.Guest))
	case a.Keep != KeepBack && (a.Target != home || a.Host != g.Host):
		return reject(CodeNotTarget, "guest", string(a.Guest), "site", string(a.Target))
	case a.Structure != g.Structure:
		return reject(CodeInvalid, "what", fmt.Sprintf("structure %q for %s, declared %q", a.Structure, a.Guest, g.Structure))
	case a.VLAN != s.Network.Structures[g.Structure].VLAN:
		return reject(CodeInvalid, "what", fmt.Sprintf("vlan %d for %s, declared %d", a.VLAN, a.Guest, s.Network.Structures[g.Structure].VLAN))
	case a.Warm != "":
		return reject(CodeInvalid, "what", "a failback with a warm copy")
	case a.Replace != 0 && !s.replaceable(a):
		return reject(CodeNothing, "what", fmt.Sprintf("copy %d on %s that it has left", a.Replace, a.Host), "guest", string(a.Guest))
	}
	if a.Keep == KeepBack {
		return s.checkBack(a)
	}
	if r := s.sealable(a); !r.IsZero() && (a.Keep != KeepHome || a.Vault != "" || !s.neverRan(a.Guest)) {
		return &RejectedError{Reason: r}
	}
	return nil
}

// mayComeHome refuses a guest that a failback cannot bring home now.
func (c BeginOp) mayComeHome(s *State, a Assignment) error {
	p := s.Guests[a.Guest]
	engaged := s.engaged(a.Guest, a.Keep)
	switch {
	case !c.Forced && !c.Window:
		return reject(CodeInvalid, "what", "a failback without a person")
	case !c.Forced && (a.Keep != KeepAway || !slices.Contains(c.wholeStructure(s, a), a.Guest)):
		return reject(CodeInvalid, "what", "a failback without a person, of a part of a structure")
	case !c.Forced && a.Replace != 0:
		return reject(CodeInvalid, "what", "a copy given up without a person")
	case !c.Forced && s.comesHome(a.Guest, s.Clock) != nil:
		return s.comesHome(a.Guest, s.Clock)
	case a.Keep != c.Plan.Loss.Keep || s.Network.Home(a.Guest) != c.Plan.Loss.Site:
		return reject(CodeInvalid, "what", fmt.Sprintf("%s is not for this failback", a.Guest))
	case a.Keep == KeepBack:
		return c.mayServeAgain(s, a)
	case s.AtHome(a.Guest):
		return reject(CodeIsHome, "guest", string(a.Guest), "site", string(p.Owner))
	case !engaged.IsZero():
		return &RejectedError{Reason: engaged}
	case s.unwell(p.Owner, p.Host):
		return reject(CodeSourceDown, "guest", string(a.Guest), "site", string(p.Owner))
	case s.unwell(a.Target, a.Host):
		return reject(CodeNotBack, "guest", string(a.Guest), "site", string(a.Target))
	}
	return nil
}

// unwell says whether a site or one of its hosts is no ground for a move that can wait.
func (s *State) unwell(site SiteID, host HostID) bool {
	d, h := s.Domains[SiteDomain(site)], s.Domains[HostDomain(host)]
	return d.Cause.gone(SiteDomain(site)) || d.Lost.Index != 0 || d.Level >= LevelSuspect || h.Cause == CauseHostDown || h.Cause == CauseLocked
}

// mayRejoin says whether the copy that was left may be started again, as it was found
// before a failback that was given up: its guest is still served elsewhere, and no later
// operation has been promised it.
func (s *State) mayRejoin(run GuestRun) bool {
	p := s.Guests[run.Assignment.Guest]
	now := p.Now()
	return p.Op == "" && p.Epoch == run.Source.Epoch && !now.same(run.Left.place())
}

// cameHome makes the copy that a failback gives the guest to its declared one, in the
// entry that gives it.
func (s *State) cameHome(run GuestRun, p *Placement, st Stamp) {
	g := run.Assignment.Guest
	was := s.HomePlace(g)
	if was.VMID == run.VMID {
		return
	}
	if id, ok := s.lineageAt(g, was); ok {
		was.Epoch = s.Lineages[id].Epoch
	}
	if !slices.ContainsFunc(p.Former, was.same) {
		p.Former = append([]Place{was}, p.Former...)
	}
	spec := *s.Network
	spec.Guests = maps.Clone(spec.Guests)
	guest := spec.Guests[g]
	guest.ID = run.VMID
	spec.Guests[g] = guest
	s.Network, s.NetworkVersion = &spec, st.Index
	s.event(st, because(CodeRedeclared, "guest", string(g), "host", string(was.Host), "was", fmt.Sprint(was.VMID), "id", fmt.Sprint(run.VMID)),
		Event{Guest: g, Site: was.Site})
}

// settled draws the consequences of the moves of a failback's own steps.
func (s *State) settled(run *GuestRun, op Operation, c StepMoved, st Stamp) {
	if c.To != StatusDone {
		return
	}
	g, loser := c.Token.Guest, run.loser()
	where := Event{Op: op.ID, Guest: g, Site: loser.Site}
	args := []string{"guest", string(g), "site", string(loser.Site), "host", string(loser.Host), "id", fmt.Sprint(loser.VMID)}
	switch c.Token.Step {
	case StepShutdown:
		if run.Source.Unstarted {
			run.spared()
		}
	case StepLeave:
		if run.Left.Ran {
			s.event(st, because(CodeLeftStopped, args...), where)
		}
	case StepSealCopy:
		s.seal(g, *run, op.ID, st)
		s.event(st, because(CodeSealed, append(args, "second", string(run.Assignment.Vault), "point", clockText(run.Sealed[0].Point.Time))...), where)
	case StepPark:
		s.event(st, because(CodeParked, args...), where)
	case StepSettle:
		if !run.has(StepRelease) {
			run.State = RunDone
		}
	case StepReplace:
		s.notThere(g, loser.place())
		s.event(st, because(CodeReplaced, append(args, "sealed", joined(run.Sealed))...), where)
	case StepRejoin:
		if c.Found != nil && c.Found.Gone {
			return // its people have removed it: what it held stays sealed
		}
		at := run.Left.place()
		s.unseal(g, at)
		s.event(st, because(CodeRejoined, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID)),
			Event{Op: op.ID, Guest: g, Site: at.Site})
	}
}

// learnSeal takes over what a step of a failback has found out.
func (r *GuestRun) learnSeal(c StepMoved, st Stamp) error {
	switch {
	case c.Token.Step == StepLeave:
		if c.Found != nil && r.Left.Found.Index == 0 {
			r.Left.Found, r.Left.Ran = st, c.Found.Running
			r.Left.OnBoot = r.Left.OnBoot || c.Found.OnBoot
		}
		if c.To == StatusDone && r.Left.Found.Index == 0 {
			return reject(CodeInvalid, "what", "a copy was shut down of which nobody told how it was")
		}
	case (c.Token.Step == StepSeal || c.Token.Step == StepSealCopy) && c.To == StatusDone:
		at := r.site(c.Token.Step)
		if c.Point.Time.IsZero() || c.Point.Volid == "" || c.Point.Unusable != "" {
			return reject(CodeNoPoint, "guest", string(c.Token.Guest), "site", string(at))
		}
		if c.Token.Step == StepSeal {
			r.Sealed = []SealCopy{{Site: at, Point: c.Point}}
			if r.Assignment.Keep != KeepAway {
				r.Source.Final = c.Point.Time
			}
			return nil
		}
		if len(r.Sealed) != 1 || !c.Point.Time.Equal(r.Sealed[0].Point.Time) {
			return reject(CodeNoPoint, "guest", string(c.Token.Guest), "site", string(at))
		}
		r.Sealed = append(slices.Clone(r.Sealed), SealCopy{Site: at, Point: c.Point})
	}
	return nil
}

// stepIs says whether a run's current step is this one.
func (r GuestRun) stepIs(id StepID) bool {
	step, _, left := r.Current()
	return left && step.ID == id
}

// mayReviveOrRejoin says whether a run that was given up may start its copy again.
func (s *State) mayReviveOrRejoin(run GuestRun) bool {
	if run.stepIs(StepRejoin) {
		return s.mayRejoin(run)
	}
	return s.mayRevive(run)
}
