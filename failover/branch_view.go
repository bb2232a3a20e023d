package failover

import (
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// BranchView is what a person has to know of the two copies of a guest to choose one.
type BranchView struct {
	Guest  GuestID   `json:"guest"`
	Serves Place     `json:"serves"`          // the copy that names lead to; of one that is stuck, the one that never did
	Stuck  bool      `json:"stuck,omitempty"` // its copy there was never served: only the one at home can go on
	Since  time.Time `json:"since,omitzero"`  // it is the owner's
	Parted time.Time `json:"parted,omitzero"` // of the backup that it began with: what was written at home later is not in it
	// Left is the copy at home, of a guest at home that which it has left away; none: it is not there any more. Why says what became of it,
	// Running whether it runs, LastRun when it was last seen to.
	Left    *Place    `json:"left,omitempty"`
	Why     Reason    `json:"why,omitzero"`
	Running bool      `json:"running,omitempty"`
	LastRun time.Time `json:"last_run,omitzero"`
	// Whole: the guest was moved by plan, so that the copy at home has nothing of its own.
	Whole  bool  `json:"whole,omitempty"`
	Sealed *Seal `json:"sealed,omitempty"` // of the copy at home
	Size   int64 `json:"size,omitempty"`   // of the copy that serves, when it was restored
	// Downtime is about how long the guest would be away to move home, by the rate at which
	// its site restores; 0: not measured.
	Downtime time.Duration `json:"downtime,omitempty"`
	Propose  Keep          `json:"propose"`
	// Window is when its structure lets its guests come home by themselves: people are away then. Zero: it says nothing.
	Window network.Window `json:"window,omitzero"`
}

// lastBackupTakes is reckoned for the last backup of a guest, of which only what has
// changed is sent, and for its start.
const lastBackupTakes = 3 * time.Minute

// BranchesOf describes the copies of guests that live away from home, or of those at home whose
// copies away an undo would have serve again (KeepBack).
func BranchesOf(s *State, keep Keep, guests []GuestID) []BranchView {
	var out []BranchView
	for _, g := range guests {
		p, ok := s.Guests[g]
		if at, left := s.AwayBranch(g); keep == KeepBack && left {
			v := BranchView{Guest: g, Serves: p.Now(), Since: p.Owned, Propose: KeepBack}
			s.viewLeft(&v, at)
			out = append(out, v)
		}
		if !ok || s.Network == nil || s.AtHome(g) {
			continue
		}
		v := BranchView{Guest: g, Serves: p.Now(), Since: p.Owned, Parted: p.Point.Time, Size: p.Point.Size, Propose: KeepAway}
		if _, stuck := s.stuckAway(g); stuck {
			v.Stuck, v.Propose = true, KeepHome
		}
		if at, left := s.HomeBranch(g); left {
			s.viewLeft(&v, at)
		}
		if back := s.Network.Structures[s.Network.Guests[g].Structure].Return; back != nil {
			v.Window = back.Window
		}
		if rate := s.Readiness[s.Network.Home(g)].Ready.Rate; rate > 0 && v.Size > 0 {
			v.Downtime = lastBackupTakes + time.Duration(float64(v.Size)/float64(rate)*float64(time.Second)).Round(time.Second)
		}
		out = append(out, v)
	}
	return out
}

// viewLeft adds what is known of the copy that a guest has left at a place.
func (s *State) viewLeft(v *BranchView, at Place) {
	if s.gone(v.Guest, at) {
		return
	}
	v.Left, v.Sealed = &at, s.SealOf(v.Guest, at)
	if id, known := s.lineageAt(v.Guest, at); known {
		v.Whole = s.Lineages[id].Moved
	}
	if b := s.Guests[v.Guest].Branch; b != nil && b.same(at) {
		v.Why, v.LastRun = b.Reason, b.LastRun
	}
	for _, c := range s.CopiesOf(v.Guest) {
		if c.same(at) && c.Unread == "" {
			v.Running = c.Running
		}
	}
}
