package failover

import (
	"fmt"
	"slices"
	"time"
)

// A sealed branch is a copy that does not go on, kept: its last backup lies verified and
// protected at two sites, and the log says where. Only what is sealed may ever be
// deleted, and only after a person has said that nothing in it is missed (Ack).

// Seal is the manifest of a sealed branch.
type Seal struct {
	Copies []SealCopy `json:"copies"` // of one backup, at different sites
	At     Stamp      `json:"at"`
	Op     OpID       `json:"op,omitempty"`
	// Acked is when a person said that nothing of the branch is missed any more. The clock
	// of its retention starts then, never by itself.
	Acked Stamp `json:"acked,omitzero"`
}

// SealCopy is one place where a sealed branch lies.
type SealCopy struct {
	Site  SiteID       `json:"site"`
	Point RestorePoint `json:"point"`
}

// KeepSealed is how long a sealed branch is kept after a person has acknowledged it.
const KeepSealed = 30 * 24 * time.Hour

// sealedAt is at how many sites a sealed branch must lie for its copy to be given up.
const sealedAt = 2

// Sites lists where a seal lies.
func (l Seal) Sites() []SiteID {
	var out []SiteID
	for _, c := range l.Copies {
		if !slices.Contains(out, c.Site) {
			out = append(out, c.Site)
		}
	}
	return out
}

// seal writes the manifest of a run's loser into its lineage.
func (s *State) seal(g GuestID, run GuestRun, op OpID, st Stamp) {
	loser := run.loser()
	at := Place{Site: loser.Site, Host: loser.Host, VMID: loser.VMID, Epoch: loser.Epoch}
	l := s.lineageFor(g, at, st)
	l.Sealed = &Seal{Copies: run.Sealed, At: st, Op: op}
	s.Lineages[l.ID()] = l
}

// lineageFor returns the lineage of the copy of a guest that was left at a place, which may
// have been left before the log knew of lineages.
func (s *State) lineageFor(g GuestID, at Place, st Stamp) Lineage {
	if id, ok := s.lineageAt(g, at); ok {
		return s.Lineages[id]
	}
	return Lineage{
		Guest: g, Home: s.Network.Home(g), Site: at.Site, Host: at.Host, VMID: at.VMID, To: st,
		Group: fmt.Sprintf("%s/%d", s.Network.Guests[g].Type, at.VMID),
	}
}

// unseal forgets the manifest of a copy that runs again: what is written there now is not
// in it. The backups stay where they are.
func (s *State) unseal(g GuestID, at Place) {
	if id, ok := s.lineageAt(g, at); ok && s.Lineages[id].Sealed != nil {
		l := s.Lineages[id]
		l.Sealed = nil
		s.Lineages[id] = l
	}
}

// SealOf returns the manifest of the copy of a guest that stands at a place, nil for none.
func (s *State) SealOf(g GuestID, at Place) *Seal {
	if id, ok := s.lineageAt(g, at); ok {
		return s.Lineages[id].Sealed
	}
	return nil
}

// AckSeal is a person's word that nothing of a guest's sealed branches is missed: their
// retention begins. It is refused while a branch of the guest is not sealed.
type AckSeal struct {
	Guest GuestID `json:"guest"`
}

func (c AckSeal) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	p, ok := s.Guests[c.Guest]
	switch {
	case !ok:
		return reject(CodeUnknownGuest, "guest", string(c.Guest))
	case p.Op != "":
		return reject(CodeGuestBusy, "guest", string(c.Guest), "op", string(p.Op))
	case !s.AtHome(c.Guest):
		return reject(CodeStillAway, "guest", string(c.Guest), "site", string(p.Owner))
	}
	n := 0
	for _, id := range sortedKeys(s.Lineages) {
		l := s.Lineages[id]
		if l.Guest != c.Guest || l.Sealed == nil || l.Sealed.Acked.Index != 0 {
			continue
		}
		seal := *l.Sealed
		seal.Acked = st
		l.Sealed = &seal
		s.Lineages[id] = l
		n++
	}
	if n == 0 {
		return reject(CodeNothing, "what", "sealed branch", "guest", string(c.Guest))
	}
	s.event(st, because(CodeSealAcked, "guest", string(c.Guest), "n", fmt.Sprint(n), "until", clockText(st.At.Add(KeepSealed)), "by", st.Actor),
		Event{Guest: c.Guest})
	return nil
}

// checkSeals: S7, a manifest names one backup at two sites and never changes but for the
// word of a person; nobody parks or gives up what has none.
func checkSeals(prev, next *State) error {
	for _, id := range sortedKeys(next.Lineages) {
		l, was := next.Lineages[id].Sealed, prev.Lineages[id].Sealed
		if l == nil {
			continue
		}
		if len(l.Sites()) < sealedAt || !l.Copies[0].Point.Time.Equal(l.Copies[1].Point.Time) {
			return violated("S7", "%s is sealed at %v", id, l.Sites())
		}
		if was != nil && was.At == l.At && !slices.EqualFunc(was.Copies, l.Copies, func(a, b SealCopy) bool {
			return a.Site == b.Site && a.Point.Volid == b.Point.Volid
		}) {
			return violated("S7", "%s was sealed as %v and is as %v", id, was.Copies, l.Copies)
		}
	}
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindFailback {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			if err := checkSealedRun(next, op, op.Guests[g]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkSealedRun: S7 on one guest of a failback.
func checkSealedRun(s *State, op Operation, run GuestRun) error {
	g := run.Assignment.Guest
	copied, seals := run.Step(StepSealCopy)
	for _, id := range []StepID{StepPark, StepUnpark} {
		if step, ok := run.Step(id); ok && step.Attempt > 0 && copied.Status != StatusDone && !run.Source.Unstarted {
			return violated("S7", "%s of %s: %s began before the copy that does not go on was sealed", g, op.ID, id)
		}
	}
	if !run.Owned() {
		return nil
	}
	if seals && copied.Status != StatusDone || run.Assignment.Keep != KeepAway && !seals && !run.Source.Unstarted {
		return violated("S7", "%s is owned by %s and its other copy is not sealed", g, run.Assignment.Target)
	}
	if guest := s.Network.Guests[g]; run.Assignment.Keep != KeepBack && run.State == RunActive && s.Guests[g].Epoch == run.Epoch && (guest.ID != run.VMID || guest.Host != run.Assignment.Host) {
		return violated("S1", "%s came home as %d on %s, and %d on %s is declared", g, run.VMID, run.Assignment.Host, guest.ID, guest.Host)
	}
	return nil
}
