package failover

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A copy that a guest has left stays where it is until a person has it removed, and its
// sealed branch longer. In this order: the branch is sealed, a person says that nothing of
// it is missed (AckSeal), the copy may be removed, and once the retention is over the
// sealed backups may be given up. On a structure's host its people remove the copy.

// RemoveCopy has the agent of its site remove a copy that a guest has left, after the sealed
// backups were read once more at both of their sites. A copy that is not sealed is sealed
// first; if it may hold what no other copy has, that is all, and a person looks into it.
type RemoveCopy struct {
	Guest GuestID `json:"guest"`
	Host  HostID  `json:"host"`
	VMID  int     `json:"vmid"`
}

// GiveUpSeal lets the backups of a sealed branch be pruned, when its copy is gone and its
// retention is over. Nothing is deleted by it: only their protection is lifted.
type GiveUpSeal struct {
	Guest   GuestID   `json:"guest"`
	Lineage LineageID `json:"lineage"`
}

// CopyStands is what may be done with a copy that a guest has left.
type CopyStands struct {
	Place
	Lineage LineageID `json:"lineage,omitempty"`
	Theirs  bool      `json:"theirs,omitempty"`  // on a structure's host: its people remove it
	Gone    bool      `json:"gone,omitempty"`    // its agent has looked, and it is not there
	Running bool      `json:"running,omitempty"` // when its agent looked last
	Moved   bool      `json:"moved,omitempty"`   // all that it has is in the copy that came after it
	Sealed  *Seal     `json:"sealed,omitempty"`
	Until   time.Time `json:"until,omitzero"` // its sealed branch is kept so long at least; zero: nobody has acknowledged it
	// Remove, GiveUp and Fork say why the copy cannot be removed, its branch given up, or the copy
	// made a guest of its own, now; zero: it can.
	Remove Reason `json:"remove,omitzero"`
	GiveUp Reason `json:"give_up,omitzero"`
	Fork   Reason `json:"fork,omitzero"`
}

// LeftCopies lists the copies that a guest has left, the last one first.
func (s *State) LeftCopies(g GuestID, now time.Time) []CopyStands {
	if s.Network == nil {
		return nil
	}
	var out []CopyStands
	for _, at := range s.superseded(g) {
		c := CopyStands{Place: at, Gone: s.gone(g, at)}
		if host, ok := s.Network.Sites[at.Site].Hosts[at.Host]; ok {
			c.Theirs = host.Owner != network.OwnerRaoull
		}
		for _, seen := range s.CopiesOf(g) {
			if seen.same(at) && seen.Unread == "" {
				c.Running = seen.Running
			}
		}
		if id, ok := s.lineageAt(g, at); ok {
			l := s.Lineages[id]
			c.Lineage, c.Moved, c.Sealed = id, l.Moved, l.Sealed
			if l.Sealed != nil && l.Sealed.Acked.Index != 0 {
				c.Until = l.Sealed.Acked.At.Add(KeepSealed)
			}
		}
		c.Remove, c.GiveUp = reasonOf(s.removable(g, at)), reasonOf(s.mayGiveUp(g, c.Lineage, now))
		c.Fork = reasonOf(s.forkable(g, at))
		out = append(out, c)
	}
	return out
}

func reasonOf(err error) Reason {
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return r.Reason
	}
	return Reason{}
}

// idle refuses what is done to a guest's copies while an operation moves it, or is about to
// start one of them again.
func (s *State) idle(g GuestID) error {
	p, known := s.Guests[g]
	busy, reviving := s.revivedBy(g)
	switch {
	case s.Network == nil:
		return reject(CodeNoNetwork)
	case !known:
		return reject(CodeUnknownGuest, "guest", string(g))
	case p.Op != "":
		return reject(CodeGuestBusy, "guest", string(g), "op", string(p.Op))
	case reviving:
		return reject(CodeGuestBusy, "guest", string(g), "op", string(busy))
	}
	return nil
}

// restsAtHome refuses what is done to a guest's old copies while the guest is not at home
// and at rest: they may still be wanted.
func (s *State) restsAtHome(g GuestID) error {
	if err := s.idle(g); err != nil {
		return err
	}
	p := s.Guests[g]
	switch {
	case !s.AtHome(g):
		return reject(CodeStillAway, "guest", string(g), "site", string(p.Owner))
	case p.Phase != PhaseHome && p.Phase != PhaseExcluded:
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	}
	return nil
}

// removable refuses a copy of which no removal may begin now.
func (s *State) removable(g GuestID, at Place) error {
	if err := s.restsAtHome(g); err != nil {
		return err
	}
	name := []string{"guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID)}
	if op, busy := s.removedBy(g); busy {
		return reject(CodeGuestBusy, "guest", string(g), "op", string(op))
	}
	host, declared := s.Network.Sites[at.Site].Hosts[at.Host]
	id, known := s.lineageAt(g, at)
	l := s.Lineages[id]
	switch {
	case s.gone(g, at):
		return reject(CodeNothing, "what", fmt.Sprintf("copy %d on %s", at.VMID, at.Host), "guest", string(g))
	case !declared || !known:
		return reject(CodeInvalid, "what", fmt.Sprintf("copy %d on %s: nothing is known of its backups", at.VMID, at.Host))
	case host.Owner != network.OwnerRaoull:
		return reject(CodeTheirCopy, name...)
	case l.Sealed != nil && l.Sealed.Acked.Index == 0:
		return reject(CodeNotAcked, name...)
	case l.Sealed != nil:
		return nil
	}
	home := s.Network.Home(g)
	vault, _, ok := s.Network.Target(s.vaultFor(home, at.Site, s.Guests[g].Owner))
	switch {
	case s.lineagesOf(at.Host, home).Sealed == "":
		return reject(CodeNoLineage, "guest", string(g), "host", string(at.Host), "site", string(at.Site), "home", string(home))
	case !ok || s.lineagesOf(vault, home).Sealed == "":
		return reject(CodeNoVault, "guest", string(g), "home", string(home))
	}
	return nil
}

// removedBy returns the operation that removes a copy of a guest, or gives a branch of it up.
func (s *State) removedBy(g GuestID) (OpID, bool) {
	for _, id := range s.opOrder() {
		if _, has := s.Ops[id].Guests[g]; has && s.Ops[id].Kind == KindRemoval {
			return id, true
		}
	}
	return "", false
}

func (c RemoveCopy) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	all := s.superseded(c.Guest)
	i := slices.IndexFunc(all, func(p Place) bool { return p.Host == c.Host && p.VMID == c.VMID })
	if i < 0 {
		return reject(CodeNothing, "what", fmt.Sprintf("copy %d on %s that it has left", c.VMID, c.Host), "guest", string(c.Guest))
	}
	at := all[i]
	if err := s.removable(c.Guest, at); err != nil {
		return err
	}
	id, _ := s.lineageAt(c.Guest, at)
	l := s.Lineages[id]
	run := s.removalRun(c.Guest, at, st)
	home := s.Network.Home(c.Guest)
	switch steps := []StepID{StepSealVerify, StepSealCopy, StepRemove}; {
	case l.Sealed != nil:
		run.Sealed, run.Assignment.Vault, run.Steps = l.Sealed.Copies[:1:1], l.Sealed.Copies[1].Site, pendingSteps(steps...)
	case l.Moved:
		run.Assignment.Vault, run.Steps = s.vaultFor(home, at.Site, s.Guests[c.Guest].Owner), pendingSteps(append([]StepID{StepSeal}, steps...)...)
	default:
		run.Assignment.Vault, run.Steps = s.vaultFor(home, at.Site, s.Guests[c.Guest].Owner), pendingSteps(sealSteps...)
	}
	s.beginRemoval(run, st)
	return nil
}

// removalRun is the run of an operation on a copy that a guest has left.
func (s *State) removalRun(g GuestID, at Place, st Stamp) GuestRun {
	guest := s.Network.Guests[g]
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: at.Site, Host: at.Host,
		VLAN: s.Network.Structures[guest.Structure].VLAN,
	}
	return GuestRun{
		State: RunActive, Assignment: a, VMID: at.VMID, Token: st.Index, Admitted: st.Index,
		Source: Source{Site: at.Site, Host: at.Host, VMID: at.VMID, Epoch: at.Epoch},
	}
}

func (s *State) beginRemoval(run GuestRun, st Stamp) {
	a := run.Assignment
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindRemoval, Phase: OpReleasing, Begun: st, ReleaseAt: st.At, Forced: true,
		Plan:   Plan{Loss: Loss{Site: a.Target, Guests: []GuestID{a.Guest}, ByHand: true}, Assignments: []Assignment{a}},
		Guests: map[GuestID]GuestRun{a.Guest: run},
	}
	s.Ops[op.ID] = op
	s.event(st, because(CodeRemovalBegun, "guest", string(a.Guest), "site", string(a.Target), "host", string(a.Host), "id", fmt.Sprint(run.VMID), "op", string(op.ID), "by", st.Actor),
		Event{Op: op.ID, Guest: a.Guest, Site: a.Target})
	s.dropOldOps()
}

// mayGiveUp refuses a branch whose sealed backups nobody may give up now.
func (s *State) mayGiveUp(g GuestID, id LineageID, now time.Time) error {
	if err := s.restsAtHome(g); err != nil {
		return err
	}
	l, known := s.Lineages[id]
	at := Place{Site: l.Site, Host: l.Host, VMID: l.VMID, Epoch: l.Epoch}
	name := []string{"guest", string(g), "site", string(l.Site), "host", string(l.Host), "id", fmt.Sprint(l.VMID)}
	if op, busy := s.removedBy(g); busy {
		return reject(CodeGuestBusy, "guest", string(g), "op", string(op))
	}
	switch {
	case !known || l.Guest != g || l.Sealed == nil:
		return reject(CodeNothing, "what", "sealed branch "+string(id), "guest", string(g))
	case l.Sealed.Acked.Index == 0:
		return reject(CodeNotAcked, name...)
	case now.Before(l.Sealed.Acked.At.Add(KeepSealed)):
		return reject(CodeStillKept, append(name, "until", clockText(l.Sealed.Acked.At.Add(KeepSealed)))...)
	case slices.ContainsFunc(s.superseded(g), at.same) && !s.gone(g, at):
		return reject(CodeCopyStands, name...)
	}
	return nil
}

func (c GiveUpSeal) apply(s *State, st Stamp) error {
	if err := s.mayGiveUp(c.Guest, c.Lineage, st.At); err != nil {
		return err
	}
	l := s.Lineages[c.Lineage]
	run := s.removalRun(c.Guest, Place{Site: l.Site, Host: l.Host, VMID: l.VMID, Epoch: l.Epoch}, st)
	run.Sealed = l.Sealed.Copies
	run.Assignment.Target, run.Assignment.Vault = l.Sealed.Copies[0].Site, l.Sealed.Copies[1].Site
	run.Steps = pendingSteps(StepUnseal, StepUnsealCopy)
	s.beginRemoval(run, st)
	return nil
}

// mayRemove says whether the effect of a removal's step may go ahead: it is what the agent
// asks its newest State, and the leader, before a copy is deleted or a protection lifted.
func (s *State) mayRemove(op Operation, run GuestRun, step StepID) error {
	g := run.Assignment.Guest
	if err := s.restsAtHome(g); err != nil {
		return err
	}
	at := Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID}
	id, known := s.lineageAt(g, at)
	seal := s.Lineages[id].Sealed
	switch {
	case op.Kind != KindRemoval:
		return reject(CodeInvalid, "what", "a removal by a "+string(op.Kind))
	case at.same(s.Guests[g].Now()) || at.same(s.HomePlace(g)):
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(s.Guests[g].Phase))
	case !known || seal == nil || len(seal.Sites()) < sealedAt || seal.Acked.Index == 0 || !seal.Copies[0].Point.Time.Equal(run.Sealed[0].Point.Time):
		return reject(CodeNotAcked, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
	case step == StepRemove && !(run.isDone(StepSealVerify) && run.isDone(StepSealCopy)):
		return reject(CodeWrongStep, "guest", string(g), "have", string(StepSealCopy), "got", string(step))
	case step == StepRemove && s.Network.Sites[at.Site].Hosts[at.Host].Owner != network.OwnerRaoull:
		return reject(CodeTheirCopy, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
	case step != StepRemove && s.Clock.Before(seal.Acked.At.Add(KeepSealed)):
		return reject(CodeStillKept, "guest", string(g), "host", string(at.Host), "id", fmt.Sprint(at.VMID), "until", clockText(seal.Acked.At.Add(KeepSealed)))
	}
	return nil
}

func (r GuestRun) isDone(id StepID) bool {
	step, ok := r.Step(id)
	return ok && step.Status == StatusDone
}

// removes says whether a step takes a copy or a sealed branch away.
func (s StepID) removes() bool { return s == StepRemove || s == StepUnseal || s == StepUnsealCopy }

// MayDestroy says whether the copy of a token's run may be deleted: it never counted, or it
// is sealed and a person has said that nothing of it is missed, or has named it to be replaced.
func (s *State) MayDestroy(t Token) error {
	if t.Step != StepRemove && t.Step != StepReplace {
		return s.NeverCounted(t)
	}
	if err := s.TokenCurrent(t); err != nil {
		return err
	}
	op := s.Ops[t.Op]
	if t.Step == StepReplace {
		return s.mayDeleteReplaced(op.Guests[t.Guest])
	}
	return s.mayRemove(op, op.Guests[t.Guest], t.Step)
}

// MayUnseal says whether the protection of a sealed branch may be lifted.
func (s *State) MayUnseal(t Token) error {
	if t.Step != StepUnseal && t.Step != StepUnsealCopy {
		return reject(CodeWrongStep, "guest", string(t.Guest), "have", string(StepUnseal), "got", string(t.Step))
	}
	return s.TokenCurrent(t)
}

// removed draws the consequences of the moves of a removal's steps.
func (s *State) removed(run *GuestRun, op Operation, c StepMoved, st Stamp) {
	if c.To != StatusDone {
		return
	}
	g, at := c.Token.Guest, run.Source
	name := []string{"guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID)}
	where := Event{Op: op.ID, Guest: g, Site: at.Site}
	id, _ := s.lineageAt(g, at.place())
	switch c.Token.Step {
	case StepSealCopy:
		if s.Lineages[id].Sealed == nil {
			s.seal(g, *run, op.ID, st)
			s.event(st, because(CodeSealed, append(name, "second", string(run.Assignment.Vault), "point", clockText(run.Sealed[0].Point.Time))...), where)
		}
		if l := s.Lineages[id]; l.Moved && l.Sealed.Acked.Index == 0 { // nothing can be missed of what moved on
			seal := *l.Sealed
			seal.Acked = op.Begun
			l.Sealed = &seal
			s.Lineages[id] = l
		}
	case StepFork:
		s.fork(*run, op, st)
	case StepRemove:
		s.notThere(g, at.place())
		s.event(st, because(CodeRemoved, append(name, "sealed", joined(run.Sealed))...), where)
	case StepUnsealCopy:
		l := s.Lineages[id]
		l.Sealed = nil
		s.Lineages[id] = l
		s.event(st, because(CodeGivenUp, append(name, "sealed", joined(run.Sealed))...), where)
	}
	if _, _, left := run.Current(); !left {
		run.State = RunDone
	}
}

// notThere takes a copy out of what its site was last seen to have, when its agent has told
// that it is gone: nobody needs to wait for the next look to know it.
func (s *State) notThere(g GuestID, at Place) {
	seen, looked := s.Copies[at.Site]
	if !looked {
		return
	}
	seen.Copies.Copies = slices.DeleteFunc(slices.Clone(seen.Copies.Copies), func(c Copy) bool { return c.Guest == g && c.same(at) })
	seen.Copies.AsOf = max(seen.Copies.AsOf, s.Guests[g].Epoch.Index)
	s.Copies[at.Site] = seen
}

func joined(copies []SealCopy) string {
	text := ""
	for i, c := range copies {
		if i > 0 {
			text += " and "
		}
		text += string(c.Site)
	}
	return text
}

// dropRemovals ends the removal of a copy whose guest moves again.
func (s *State) dropRemovals(g GuestID, st Stamp) {
	s.dropRuns(g, st, func(op Operation, _ GuestRun) bool { return op.Kind == KindRemoval && !op.Phase.Ended() })
}

// cancelRemoval is CancelOp for a removal: what is sealed stays sealed.
func (s *State) cancelRemoval(op Operation, why Reason, st Stamp) error {
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g]
		run.Steps, run.Token, run.State, run.Stuck = nil, st.Index, RunCancelled, Reason{}
		op.Guests[g] = run
	}
	op.Cancelled = why
	s.Ops[op.ID] = op
	s.event(st, because(CodeOpCancelled, "op", string(op.ID), "guests", fmt.Sprint(len(op.Guests)), "why", why.Code), Event{Op: op.ID, Site: op.Plan.Loss.Site})
	return nil
}

// checkRemovals: S7, a copy is removed only while its branch is sealed at two sites and was
// read there again, a person has acknowledged it, and another copy counts; its sealed
// backups are given up only after their retention. On a structure's host nothing is removed.
func checkRemovals(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindRemoval {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run, p := op.Guests[g], next.Guests[g]
			step, _, left := run.Current()
			before, _, _ := prev.Ops[id].Guests[g].Current()
			if !left || !step.ID.removes() || step.Status != StatusRunning || before.ID == step.ID && before.Status == StatusRunning {
				continue
			}
			var seal *Seal
			if l, ok := next.lineageAt(g, Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.VMID}); ok {
				seal = next.Lineages[l].Sealed
			}
			owner := next.Network.Sites[run.Source.Site].Hosts[run.Source.Host].Owner
			switch {
			case seal == nil || len(seal.Sites()) < 2 || seal.Acked.Index == 0:
				return violated("S7", "%s of copy %d of %s begins and it is sealed as %+v", step.ID, run.VMID, g, seal)
			case p.Host == run.Source.Host && p.VMID == run.VMID:
				return violated("S7", "%s begins of the copy of %s that counts", step.ID, g)
			case step.ID == StepRemove && owner != "raoull":
				return violated("S7", "copy %d of %s is removed from %s, which is a structure's", run.VMID, g, run.Source.Host)
			case step.ID != StepRemove && next.Clock.Sub(seal.Acked.At) < 30*24*time.Hour:
				return violated("S7", "the branch %d of %s is given up %s after it was acknowledged", run.VMID, g, next.Clock.Sub(seal.Acked.At))
			}
		}
	}
	return nil
}
