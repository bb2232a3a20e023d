package failover

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// BeginWarm has a target restore a warm copy of a guest. It holds no guest, and
// whatever begins at the target meanwhile comes first.
type BeginWarm struct {
	Assignment Assignment `json:"assignment"`
}

// DropWarm has a target remove a warm copy that nobody has started.
type DropWarm struct {
	Guest  GuestID `json:"guest"`
	Of     OpID    `json:"of"` // the operation that restored it
	Reason Reason  `json:"reason"`
}

func (c BeginWarm) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	a := c.Assignment
	a.Warm, a.Automatic = "", false
	if _, ok := s.Guests[a.Guest]; !ok {
		return reject(CodeUnknownGuest, "guest", string(a.Guest))
	}
	if !s.Network.Warm(a.Guest) || !s.AtHome(a.Guest) {
		return reject(CodeStaleWarm, "guest", string(a.Guest), "site", string(a.Target))
	}
	if err := s.checkAssignment(KindWarm, a); err != nil {
		return err
	}
	for _, o := range s.Warm[a.Guest].Copies {
		if o.State == WarmFilling {
			return reject(CodeAlreadyBegun, "domain", string(a.Guest), "op", string(o.Of))
		}
	}
	id, ok := s.warmID(a.Target, s.idsInUse())
	if !ok {
		return reject(CodeNoFreeID, "site", string(a.Target))
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindWarm, Phase: OpPreparing, Begun: st,
		Plan:   Plan{Loss: Loss{Site: s.Network.Home(a.Guest), Guests: []GuestID{a.Guest}}, Assignments: []Assignment{a}},
		Guests: map[GuestID]GuestRun{a.Guest: {State: RunActive, Assignment: a, VMID: id, Token: st.Index, Steps: pendingSteps(StepRestore)}},
	}
	s.Ops[op.ID] = op
	spent := s.WarmSpent[a.Target]
	if st.At.Sub(spent.Since) >= budgetTime {
		spent.Since, spent.Bytes = st.At, 0
	}
	spent.Bytes += a.Point.Size
	s.WarmSpent[a.Target] = spent
	s.putWarm(a.Guest, WarmCopy{
		Of: op.ID, State: WarmFilling, Site: a.Target, Host: a.Host, VMID: id, VLAN: a.VLAN, Point: a.Point, Since: st,
	})
	return nil
}

func (c DropWarm) apply(s *State, st Stamp) error {
	w, ok := s.warmCopy(c.Guest, c.Of)
	if !ok || w.State != WarmReady || s.adopted(c.Of) {
		return reject(CodeStaleWarm, "guest", string(c.Guest), "site", string(w.Site))
	}
	guest := s.Network.Guests[c.Guest]
	a := Assignment{
		Guest: c.Guest, Structure: guest.Structure, Priority: guest.Priority, Target: w.Site, Host: w.Host, VLAN: w.VLAN, Point: w.Point,
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindWarm, Of: c.Of, Phase: OpReleasing, Begun: st, ReleaseAt: st.At, Cancelled: c.Reason,
		Plan:   Plan{Loss: Loss{Site: s.Network.Home(c.Guest), Guests: []GuestID{c.Guest}}, Assignments: []Assignment{a}},
		Guests: map[GuestID]GuestRun{c.Guest: {State: RunCancelled, Assignment: a, VMID: w.VMID, Token: st.Index, Steps: pendingSteps(StepCleanup)}},
	}
	s.Ops[op.ID] = op
	w.State, w.Op, w.Since = WarmLeaving, op.ID, st
	s.putWarm(c.Guest, w)
	if !c.Reason.IsZero() {
		s.event(st, c.Reason, Event{Op: op.ID, Guest: c.Guest, Site: w.Site})
	}
	return nil
}

// cancelWarm gives up the restore of a warm copy: what there is of it is removed.
func (s *State) cancelWarm(op Operation, why Reason, st Stamp) error {
	if op.Phase != OpPreparing {
		return reject(CodeWrongPhase, "op", string(op.ID), "phase", string(op.Phase))
	}
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g].edit()
		begun := run.Steps[0].Attempt > 0
		run.State, run.Token, run.Steps = RunCancelled, st.Index, nil
		if begun {
			run.Steps = pendingSteps(StepCleanup)
		}
		op.Guests[g] = run
		c, _ := s.warmCopy(g, op.ID)
		c.State, c.Op, c.Since = WarmLeaving, op.ID, st
		s.putWarm(g, c)
		if sb := s.Warm[g]; why.Code == CodeWarmFailed {
			sb.Fails++
			sb.Failed, sb.Again = why, st.At.Add(min(24*time.Hour, warmPause<<min(sb.Fails-1, 10)))
			s.Warm[g] = sb
		}
		if !why.IsZero() {
			s.event(st, why, Event{Op: op.ID, Guest: g, Site: run.Assignment.Target})
		}
	}
	op.Phase, op.Cancelled, op.ReleaseAt = OpReleasing, why, st.At
	s.Ops[op.ID] = op
	return nil
}

// warmPause is how long a guest waits after its copy could not be restored; it
// doubles with each failure in a row.
const warmPause = 15 * time.Minute

// movedWarm draws the consequences of a step's move in a KindWarm operation.
func movedWarm(run *GuestRun, c StepMoved) {
	if c.Token.Step == StepRestore && c.To == StatusDone {
		run.State = RunDone
	}
}

// failedWarm takes note of a warm copy that turned out not to be what is known
// of it: gone, or started or changed by somebody.
func (s *State) failedWarm(op Operation, run GuestRun, c StepMoved, st Stamp) {
	of := run.Assignment.Warm
	if op.Kind == KindWarm {
		of = op.origin()
	}
	switch {
	case of == "" || c.To != StatusFailed:
	case c.Failure == FailStarted:
		s.keepWarm(c.Token.Guest, of, c.Note, st)
		if op.Kind == KindWarm { // there is nothing to do about it
			delete(s.Ops, op.ID)
			delete(s.Unconfirmed, op.ID)
		}
	case c.Failure == FailPoint && op.Kind != KindWarm && c.Token.Step == StepRestore:
		s.dropWarm(c.Token.Guest, of)
	}
}

// keepWarm leaves a copy that somebody has started to whoever did.
func (s *State) keepWarm(g GuestID, of OpID, note string, st Stamp) {
	w, ok := s.warmCopy(g, of)
	if !ok || w.State == WarmKept {
		return
	}
	w.State, w.Op, w.Since = WarmKept, "", st
	s.putWarm(g, w)
	s.event(st, because(CodeWarmKept, "guest", string(g), "site", string(w.Site), "id", fmt.Sprint(w.VMID), "note", note),
		Event{Guest: g, Site: w.Site})
}

// endWarm takes note of what became of a warm copy and forgets the operation: a
// network in rest has many of them.
func (s *State) endWarm(op Operation, phase OpPhase, st Stamp) {
	delete(s.Ops, op.ID)
	delete(s.Unconfirmed, op.ID)
	for _, g := range sortedKeys(op.Guests) {
		run := op.Guests[g]
		w, ok := s.warmCopy(g, op.origin())
		if !ok || w.State == WarmKept {
			continue
		}
		spent := s.WarmSpent[w.Site]
		if phase == OpDone {
			restore, _ := run.Step(StepRestore)
			spent.Total += max(restore.Total, restore.Bytes)
			w.State, w.Since = WarmReady, st
			s.putWarm(g, w)
			sb := s.Warm[g]
			sb.Failed, sb.Again, sb.Fails = Reason{}, time.Time{}, 0
			s.Warm[g] = sb
			s.roomAt(w.Site, restore.Begun.Index, -w.Point.Size)
			s.event(st, because(CodeWarmReady, "guest", string(g), "site", string(w.Site), "id", fmt.Sprint(w.VMID), "point", clockText(w.Point.Time)),
				Event{Guest: g, Site: w.Site, Op: op.ID})
		} else {
			spent.Waste += w.Point.Size
			s.dropWarm(g, w.Of)
			s.roomAt(w.Site, st.Index, w.Point.Size)
		}
		s.WarmSpent[w.Site] = spent
	}
}

// roomAt reckons what an effect at an index has changed of a target's free
// storage, if that was reported before.
func (s *State) roomAt(site SiteID, index uint64, by int64) {
	r, ok := s.Readiness[site]
	if !ok || r.Stamp.Index > index {
		return
	}
	r.Ready.StorageFree = max(0, r.Ready.StorageFree+by)
	s.Readiness[site] = r
}

// readWarm compares what a target has reported with the warm copies there: one
// that is gone is forgotten, one that somebody has started is left to them.
func (s *State) readWarm(r Readiness, st Stamp) {
	for _, g := range sortedKeys(s.Warm) {
		for _, c := range s.Warm[g].Copies {
			if c.Site != r.Site || c.Since.Index > r.AsOf || c.State != WarmReady && c.State != WarmKept {
				continue
			}
			switch {
			case !slices.Contains(r.UsedIDs, c.VMID):
				s.dropWarm(g, c.Of)
			case slices.Contains(r.Started, c.VMID):
				s.keepWarm(g, c.Of, "seen by its agent", st)
			}
		}
	}
}

// ownWarm: the copy is the guest from here on.
func (s *State) ownWarm(run GuestRun) {
	a := run.Assignment
	if a.Warm == "" {
		return
	}
	s.dropWarm(a.Guest, a.Warm)
	spent := s.WarmSpent[a.Target]
	spent.Top = run.VMID
	s.WarmSpent[a.Target] = spent
}

// losesWarm names a warm copy that could not be removed any more under another
// declaration, "" if none: of an undeclared guest, or at a host that is none now.
func (s *State) losesWarm(spec *network.Spec) string {
	for _, g := range sortedKeys(s.Warm) {
		will, declared := spec.Guests[g]
		for _, c := range s.Warm[g].Copies {
			host, _, _ := spec.Target(c.Site)
			if _, stands := spec.Sites[c.Site]; !stands {
				continue // the site is given up with all that lies there
			}
			if c.State != WarmKept && (!declared || will.Type != s.Network.Guests[g].Type || host != c.Host) {
				return fmt.Sprintf("warm copy %d of %s at %s", c.VMID, g, c.Site)
			}
		}
	}
	return ""
}

// forgetWarm forgets what is left of guests and sites that are declared no more.
func (s *State) forgetWarm() {
	for _, g := range sortedKeys(s.Warm) {
		_, guest := s.Network.Guests[g]
		for _, c := range s.Warm[g].Copies {
			if _, site := s.Network.Sites[c.Site]; guest && site {
				continue
			}
			for _, op := range []OpID{c.Of, c.Op} {
				if s.Ops[op].Kind == KindWarm {
					delete(s.Ops, op)
					delete(s.Unconfirmed, op)
				}
			}
			s.dropWarm(g, c.Of)
		}
		if !guest {
			delete(s.Warm, g)
		}
	}
	for _, site := range sortedKeys(s.WarmSpent) {
		if _, ok := s.Network.Sites[site]; !ok {
			delete(s.WarmSpent, site)
		}
	}
	for _, site := range sortedKeys(s.Wasted) {
		if _, ok := s.Network.Sites[site]; !ok {
			delete(s.Wasted, site)
		}
	}
}
