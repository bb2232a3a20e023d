package failover

import (
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// House is what an agent that is cut off sees of its own site, asked of its own
// machines.
type House struct {
	At      time.Time `json:"at"`
	Running int       `json:"running"`           // of the guests that are this site's
	Guests  int       `json:"guests"`            // that could be looked at
	Off     []GuestID `json:"off,omitempty"`     // of them
	Silent  []HostID  `json:"silent,omitempty"`  // hosts that do not answer
	Unknown []HostID  `json:"unknown,omitempty"` // hosts that it may not look at
	Store   bool      `json:"store,omitempty"`   // the backup server answers
	NoStore bool      `json:"no_store,omitempty"`
}

// Isolation is what an agent without a majority can say of what goes on.
type Isolation struct {
	Since time.Time `json:"since,omitzero"` // of the newest shared state; zero: none since the start
	// TakeOver is the earliest moment at which the others may have committed to take
	// guests of this site over by themselves; zero: none of its guests moves without a person.
	TakeOver   time.Time          `json:"take_over,omitzero"`
	Possible   bool               `json:"possible"` // it is past, or not known when it was
	Structures []HouseRule        `json:"structures,omitempty"`
	Moved      map[GuestID]SiteID `json:"moved,omitempty"` // known to be another site's before the line was cut
}

// HouseRule is what a structure of the site has decided for this case.
type HouseRule struct {
	Structure StructureID `json:"structure"`
	Isolation string      `json:"on_isolation"` // keep-local or stop
	Mode      string      `json:"mode"`
	Consent   string      `json:"consent,omitempty"`
}

// isolation tells what may have happened since this agent was cut off. It asks
// nobody: State as it was then, and the time.
func (e explainer) isolation() *Isolation {
	out := &Isolation{Possible: true}
	here, spec := e.local.Site, e.s.Network
	if e.local.LastContact > 0 {
		out.Since = e.now.Add(-e.local.LastContact)
	}
	soonest := time.Duration(0)
	for _, id := range spec.GuestIDs() {
		st := spec.Structures[spec.Guests[id].Structure]
		switch p := e.s.Guests[id]; {
		case spec.Home(id) == here && p.Owner != here:
			if out.Moved == nil {
				out.Moved = map[GuestID]SiteID{}
			}
			out.Moved[id] = p.Owner
		case p.Owner == here && p.Phase != PhaseExcluded && st.Mode == network.ModeAuto:
			if d := spec.CommitDelay(id); soonest == 0 || d < soonest {
				soonest = d
			}
		}
	}
	switch {
	case soonest == 0:
		out.Possible = false
	case !out.Since.IsZero():
		out.TakeOver = out.Since.Add(soonest)
		out.Possible = !e.now.Before(out.TakeOver)
	}
	for _, id := range network.SortedKeys(spec.Structures) {
		if st := spec.Structures[id]; st.Home == here {
			out.Structures = append(out.Structures, HouseRule{Structure: id, Isolation: st.OnIsolation, Mode: string(st.Mode), Consent: st.OffSite.Consent})
		}
	}
	return out
}

// HouseGuests lists what an agent that is cut off looks at: its site's hosts,
// and the guests that are this site's there.
func (s *State) HouseGuests(site SiteID) map[HostID][]Copy {
	out := map[HostID][]Copy{}
	if s.Network == nil {
		return out
	}
	for id, host := range s.Network.Sites[site].Hosts {
		if host.PVE != nil {
			out[id] = nil
		}
	}
	for _, g := range sortedKeys(s.Guests) {
		if p := s.Guests[g]; p.Owner == site && p.Phase != PhaseExcluded {
			out[p.Host] = append(out[p.Host], Copy{Guest: g, Place: p.Now()})
		}
	}
	return out
}

// See counts one guest.
func (h *House) See(g GuestID, running bool) {
	h.Guests++
	if running {
		h.Running++
	} else if !slices.Contains(h.Off, g) {
		h.Off = append(h.Off, g)
	}
}
