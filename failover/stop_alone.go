package failover

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A structure may choose that its guests are stopped when their site has been without a
// majority for a while (on_isolation: stop): whoever would write to them then would write
// to a copy that the others may be replacing. Who is in contact again and still owns them
// has them started again.

// StopsAlone lists the guests that the agent of a site shuts down once it has been cut off
// for that long, those first that depend on others; none while automatic failover is paused.
func (s *State) StopsAlone(site SiteID, alone time.Duration, now time.Time) []Copy {
	if s.Network == nil {
		return nil
	}
	if _, paused := s.PausedAt(site, now); paused {
		return nil
	}
	var out []Copy
	add := map[GuestID]bool{}
	var take func(GuestID)
	take = func(g GuestID) {
		structure, p := s.Network.Structures[s.Network.Guests[g].Structure], s.Guests[g]
		if add[g] || structure.OnIsolation != "stop" || alone < structure.IsolationAfter.D() || p.Owner != site || p.Op != "" || p.Phase == PhaseExcluded {
			return
		}
		add[g] = true
		for _, other := range network.SortedKeys(s.Guests) {
			for _, needs := range s.Network.Guests[other].After {
				if needs == g {
					take(other)
				}
			}
		}
		out = append(out, Copy{Guest: g, Place: p.Now()})
	}
	for _, g := range sortedKeys(s.Guests) {
		take(g)
	}
	return out
}

// StartAgain has the agent of the site that owns a guest start it, which it has shut down
// itself while it was cut off.
type StartAgain struct {
	Guest GuestID `json:"guest"`
	Epoch Epoch   `json:"epoch,omitzero"`
}

// MayStartAgain refuses a guest that is not its site's to start any more. What the network has
// come to want of it since it was shut down does not matter: it ran, and its agent put it off.
func (s *State) MayStartAgain(g GuestID, e Epoch) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	p, known := s.Guests[g]
	busy, reviving := s.revivedBy(g)
	switch {
	case !known:
		return reject(CodeUnknownGuest, "guest", string(g))
	case p.Op != "":
		return reject(CodeGuestBusy, "guest", string(g), "op", string(p.Op))
	case reviving:
		return reject(CodeGuestBusy, "guest", string(g), "op", string(busy))
	case p.Epoch != e || p.Serving != p.Owner:
		return reject(CodeStaleToken, "guest", string(g), "have", p.Epoch.String(), "got", e.String())
	case p.Phase != PhaseHome && p.Phase != PhaseAway && p.Phase != PhaseDiverged && p.Phase != PhaseExcluded:
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
	}
	return nil
}

func (c StartAgain) apply(s *State, st Stamp) error {
	if err := s.MayStartAgain(c.Guest, c.Epoch); err != nil {
		return err
	}
	op := s.beginWake(c.Guest, st)
	p := s.Guests[c.Guest]
	s.event(st, because(CodeStartsAgain, "guest", string(c.Guest), "site", string(p.Owner), "op", string(op)), Event{Op: op, Guest: c.Guest, Site: p.Owner})
	s.dropOldOps()
	return nil
}

// beginWake begins the operation that starts the copy of a guest that counts.
func (s *State) beginWake(g GuestID, st Stamp) OpID {
	p, guest := s.Guests[g], s.Network.Guests[g]
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: p.Owner, Host: p.Host,
		VLAN: s.Network.Structures[guest.Structure].VLAN, Automatic: true,
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindWake, Phase: OpReleasing, Begun: st, ReleaseAt: st.At,
		Plan: Plan{Loss: Loss{Site: p.Owner, Guests: []GuestID{g}}, Assignments: []Assignment{a}},
		Guests: map[GuestID]GuestRun{g: {
			State: RunActive, Assignment: a, VMID: p.VMID, Token: st.Index, Admitted: st.Index, Steps: pendingSteps(StepRevive), Source: s.sourceOf(g),
		}},
	}
	s.Ops[op.ID] = op
	return op.ID
}
