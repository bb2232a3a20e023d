package failover

import "time"

// NameHold keeps a public name in a person's hands: what it pointed to when it
// was held is what an embedded server goes on serving, and in a zone of
// another back end nobody but the person writes it.
type NameHold struct {
	Site   SiteID    `json:"site,omitempty"` // that the name pointed to then; "": it follows no guest
	Until  time.Time `json:"until,omitzero"` // zero: until released
	Reason string    `json:"reason,omitempty"`
	By     Stamp     `json:"by"`
}

// HoldName keeps a declared public name as it is. Holding it again replaces the
// reason and the time, not what it points to.
type HoldName struct {
	Name   string        `json:"name"`          // as declared: lower case, without the final dot
	For    time.Duration `json:"for,omitempty"` // 0 = until released
	Reason string        `json:"reason,omitempty"`
}

// ReleaseName gives a held name back. If is the index of the hold that is
// meant, 0 for any: a hold that has run out must not end one that was set anew.
type ReleaseName struct {
	Name string `json:"name"`
	If   uint64 `json:"if,omitempty"`
}

func (c HoldName) apply(s *State, st Stamp) error {
	switch {
	case s.Network == nil:
		return reject(CodeNoNetwork)
	case c.For < 0:
		return reject(CodeInvalid, "what", "a hold of "+c.For.String())
	}
	site, declared := s.nameAt(c.Name)
	if !declared {
		return reject(CodeInvalid, "what", "name "+c.Name)
	}
	if h, held := s.Holds[c.Name]; held {
		site = h.Site
	}
	h := NameHold{Site: site, Reason: c.Reason, By: st}
	if c.For > 0 {
		h.Until = st.At.Add(c.For)
	}
	s.Holds[c.Name] = h
	s.touchZone(s.Network.ZoneOf(c.Name), st)
	s.event(st, because(CodeNameHeld, "name", c.Name, "site", string(site), "reason", c.Reason), Event{Site: site})
	return nil
}

func (c ReleaseName) apply(s *State, st Stamp) error {
	h, held := s.Holds[c.Name]
	if !held || c.If != 0 && c.If != h.By.Index {
		return reject(CodeNothing, "what", "hold", "name", c.Name)
	}
	delete(s.Holds, c.Name)
	if s.Network != nil {
		s.touchZone(s.Network.ZoneOf(c.Name), st)
	}
	s.event(st, because(CodeNameReleased, "name", c.Name), Event{})
	return nil
}

// nameAt returns the site that a declared public name points to, "" for one of
// a common set.
func (s *State) nameAt(name string) (SiteID, bool) {
	for _, g := range s.Network.GuestIDs() {
		for _, n := range s.Network.Guests[g].Names {
			if n == name {
				return s.Guests[g].Serving, true
			}
		}
	}
	for _, set := range sortedKeys(s.Network.Common) {
		for _, n := range s.Network.Common[set].Names {
			if n == name {
				return "", true
			}
		}
	}
	return "", false
}

// touchZone marks a zone as changed.
func (s *State) touchZone(zone string, st Stamp) {
	if z, ok := s.Zones[zone]; ok {
		z.Changed, z.Since = st.Index, st.At
		s.Zones[zone] = z
	}
}
