package failover

import "fmt"

// warmViews are a guest's warm copies as the screens show them.
func (s *State) warmViews(g GuestID) []WarmView {
	var out []WarmView
	for _, c := range s.Warm[g].Copies {
		v := WarmView{Site: c.Site, VMID: c.VMID, State: c.State, Time: c.Point.Time}
		if restore, ok := s.Ops[c.Of].Guests[g].Step(StepRestore); ok && c.State == WarmFilling {
			v.Bytes, v.Total = restore.Bytes, restore.Total
		}
		out = append(out, v)
	}
	return out
}

// keptWarm says which warm copies somebody has started: they are theirs to keep
// or to delete.
func (s *State) keptWarm() []Reason {
	var out []Reason
	for _, g := range sortedKeys(s.Warm) {
		for _, c := range s.Warm[g].Copies {
			if c.State == WarmKept {
				out = append(out, because(CodeWarmKept, "guest", string(g), "site", string(c.Site), "id", fmt.Sprint(c.VMID)))
			}
		}
	}
	return out
}
