package lab

import "time"

// hostWounds is what faults have done to a PVE or a PBS alike.
type hostWounds struct {
	Revoked map[string]bool     `json:"revoked"`           // tokens
	Dropped map[string][]string `json:"dropped,omitempty"` // token -> privileges taken from it
	Skew    time.Duration       `json:"skew,omitempty"`    // of the clock
	Stalled bool                `json:"stalled,omitempty"` // takes requests, answers none
}

func newHostWounds() hostWounds {
	return hostWounds{Revoked: map[string]bool{}, Dropped: map[string][]string{}}
}

// whole gives a state that was saved by an older version the maps that it lacks.
func (w *hostWounds) whole() {
	if w.Revoked == nil {
		w.Revoked = map[string]bool{}
	}
	if w.Dropped == nil {
		w.Dropped = map[string][]string{}
	}
}

// suffer does what a fault says, which a request of token met; false: the effect
// is none of these.
func (w *hostWounds) suffer(f Fault, token string) bool {
	switch f.Effect {
	case EffectRevokeToken:
		if f.Text != "" {
			token = f.Text
		}
		w.Revoked[token] = true
	case EffectRevokePrivilege:
		w.Dropped[token] = append(w.Dropped[token], f.Text)
	case EffectSkewClock:
		w.Skew = f.Delay
	case EffectStallHost:
		w.Stalled = true
	default:
		return false
	}
	return true
}
