package failover

import (
	"fmt"
	"time"
)

// An undo takes a failback back. One that kept the copy that served elsewhere brought all of
// its data home: it is undone as a switchover to where it served. One that kept the copy at
// home has left another branch away, sealed, which stands there yet: that copy serves again
// (KeepBack), and what was written at home since is sealed before, as in any failback.

// CommitWindow is how long after a failback `failback undo` takes it back as a switchover.
// Later the same is one that a person asks for by its name.
const CommitWindow = 24 * time.Hour

// Undo is how a failback of a guest would be undone.
type Undo struct {
	Site SiteID // that served the guest before
	Keep Keep   // KeepBack: its copy there serves again; "": the guest moves there, with all that it has
}

// UndoOf says how the last failback of a guest would be undone.
func (s *State) UndoOf(g GuestID, now time.Time) (Undo, error) {
	p, ok := s.Guests[g]
	if !ok || s.Network == nil {
		return Undo{}, reject(CodeUnknownGuest, "guest", string(g))
	}
	nothing := reject(CodeNothing, "what", "failback to undo", "guest", string(g))
	began := s.Lineages[LineageOf(g, p)].From
	if !s.AtHome(g) || len(p.Former) == 0 || began.Index == 0 {
		return Undo{}, nothing
	}
	last := p.Former[len(p.Former)-1]
	id, known := s.lineageAt(g, last)
	if last.Site == s.Network.Home(g) || known && s.Lineages[id].Unstarted {
		return Undo{}, nothing
	}
	if at, ok := s.AwayBranch(g); ok { // nothing else leads to what was written there: there is no hurry
		if s.gone(g, at) {
			return Undo{}, reject(CodeNoBackCopy, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
		}
		return Undo{Site: at.Site, Keep: KeepBack}, nil
	}
	if now.Sub(began.At) > CommitWindow {
		return Undo{}, reject(CodeUndoLate, "guest", string(g), "site", string(last.Site), "at", clockText(began.At))
	}
	return Undo{Site: last.Site}, nil
}

// AwayBranch is the copy that a guest which is at home has left last, elsewhere, if that has
// data of its own: a failback has kept the one at home. It may be gone since.
func (s *State) AwayBranch(g GuestID) (at Place, ok bool) {
	p := s.Guests[g]
	if s.Network == nil || !s.AtHome(g) || len(p.Former) == 0 {
		return Place{}, false
	}
	last := p.Former[len(p.Former)-1]
	id, known := s.lineageAt(g, last)
	if l := s.Lineages[id]; !known || l.To.Index == 0 || l.Moved || l.Unstarted || last.Site == s.Network.Home(g) || s.forked(g, last) {
		return Place{}, false
	}
	return last, true
}

// wayBack is the place of a guest in an undo that has its copy away serve again, or why it
// has none now.
func (s *State) wayBack(g GuestID) (Assignment, Reason) {
	guest, p, home := s.Network.Guests[g], s.Guests[g], s.Network.Home(g)
	at, ok := s.AwayBranch(g)
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: at.Site, Host: at.Host,
		VLAN: s.Network.Structures[guest.Structure].VLAN, Keep: KeepBack,
	}
	engaged := s.engaged(g, KeepBack)
	switch {
	case !engaged.IsZero():
		return a, engaged
	case !ok:
		return a, because(CodeNothing, "what", "failback to undo", "guest", string(g))
	case s.gone(g, at):
		return a, because(CodeNoBackCopy, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
	case s.unwell(p.Owner, p.Host):
		return a, because(CodeSourceDown, "guest", string(g), "site", string(p.Owner))
	case s.unwell(at.Site, at.Host):
		return a, because(CodeNotThere, "guest", string(g), "site", string(at.Site))
	case s.noHands(p.Owner, p.Host):
		return a, because(CodeNoHands, "guest", string(g), "site", string(p.Owner), "host", string(p.Host))
	}
	if c, why := s.thirdCopy(g, at.Site, at); why != "" {
		return a, because(why, "guest", string(g), "site", string(at.Site), "host", string(c.Host), "id", fmt.Sprint(c.VMID))
	}
	a.Vault = s.vaultFor(home, s.losing(a), at.Site)
	return a, reasonOf(s.checkBack(a))
}

// checkBack refuses what no undo may do that has a copy away serve again: where that stands,
// what its structure allows, and where what is at home is sealed.
func (s *State) checkBack(a Assignment) error {
	guest := s.Network.Guests[a.Guest]
	structure := s.Network.Structures[guest.Structure]
	at, ok := s.AwayBranch(a.Guest)
	host, _, target := s.Network.Target(a.Target)
	switch {
	case !ok || at.Site != a.Target || at.Host != a.Host || !target || host != a.Host:
		return reject(CodeNotTarget, "guest", string(a.Guest), "site", string(a.Target))
	case guest.Priority == 4:
		return reject(CodePriority4, "guest", string(a.Guest))
	case structure.Mode == "never":
		return reject(CodeMode, "guest", string(a.Guest), "mode", string(structure.Mode))
	case structure.OffSite.Policy != "allowed":
		return reject(CodeNoConsent, "guest", string(a.Guest), "structure", string(guest.Structure))
	}
	if r := s.sealable(a); !r.IsZero() {
		return &RejectedError{Reason: r}
	}
	return nil
}

// mayServeAgain refuses a guest whose copy away an undo cannot have serve again now.
func (c BeginOp) mayServeAgain(s *State, a Assignment) error {
	if !c.Forced {
		return reject(CodeInvalid, "what", "a failback undone without a person")
	}
	if _, why := s.wayBack(a.Guest); !why.IsZero() {
		return &RejectedError{Reason: why}
	}
	return nil
}

// resumed is the lineage of the copy that a failback gives its guest to, if that goes on as it is.
func (s *State) resumed(a Assignment, at Place) (LineageID, bool) {
	if !a.Keep.Stays() {
		return "", false
	}
	return s.lineageAt(a.Guest, at)
}

// baseOf is the backup that the copy of a lineage began with, however often it has gone on since.
func (s *State) baseOf(id LineageID) RestorePoint {
	for range s.Lineages {
		l := s.Lineages[id]
		if l.Resumes == "" {
			return l.Base
		}
		id = l.Resumes
	}
	return RestorePoint{}
}

// HeldData says whether the copy which a run leaves has counted before: whatever its host
// tells, it holds something.
func (s *State) HeldData(run GuestRun) bool {
	id, known := s.lineageAt(run.Assignment.Guest, Place{Site: run.Source.Site, Host: run.Source.Host, VMID: run.Source.VMID})
	return known && s.Lineages[id].Resumes != ""
}
