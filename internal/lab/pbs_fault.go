package lab

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// pbsWounds is what faults have done to a PBS and Heal undoes.
type pbsWounds struct {
	Revoked map[string]bool     `json:"revoked"`
	Dropped map[string][]string `json:"dropped,omitempty"` // token -> privileges taken from it
	Full    bool                `json:"full"`
	Skew    time.Duration       `json:"skew,omitempty"`    // of the clock
	Stalled bool                `json:"stalled,omitempty"` // takes requests, answers none
}

func newPBSWounds() pbsWounds {
	return pbsWounds{Revoked: map[string]bool{}, Dropped: map[string][]string{}}
}

// whole gives a state that was saved by an older version the maps that it lacks.
func (w *pbsWounds) whole() {
	if w.Revoked == nil {
		w.Revoked = map[string]bool{}
	}
	if w.Dropped == nil {
		w.Dropped = map[string][]string{}
	}
}

// Heal undoes what faults did to the server, but for snapshots: what is lost stays lost.
func (b *PBS) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.st.pbsWounds, b.dirty = newPBSWounds(), true
}

// wall is what the server's clock shows; tasks and jobs carry it.
func (b *PBS) wall() time.Time { return b.st.Now.Add(b.st.Skew) }

// suffer changes the server as a fault says.
func (b *PBS) suffer(f Fault, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty = true
	token, _, _ := pbsToken(r)
	switch f.Effect {
	case EffectCrashHost:
		b.powerLoss()
	case EffectFillStorage:
		b.st.Full = true
	case EffectRevokeToken:
		if f.Text != "" {
			token = f.Text
		}
		b.st.Revoked[token] = true
	case EffectRevokePrivilege:
		b.st.Dropped[token] = append(b.st.Dropped[token], f.Text)
	case EffectSkewClock:
		b.st.Skew = f.Delay
	case EffectStallHost:
		b.st.Stalled = true
	case EffectLoseSnapshot:
		if i := b.named(f.Text); i >= 0 {
			b.st.Snapshots = slices.Delete(b.st.Snapshots, i, i+1)
		}
	case EffectCorruptSnapshot:
		if i := b.named(f.Text); i >= 0 {
			b.corrupt(b.st.Snapshots[i])
		}
	}
}

// corrupt spoils the first chunk of a snapshot's data.
func (b *PBS) corrupt(s Snapshot) {
	for _, f := range s.Files {
		if strings.Contains(f.Name, "idx") && len(f.Chunks) > 0 {
			// A chunk that is gone already is as bad as a corrupt one.
			_ = b.cfg.Store.Corrupt(f.Chunks[0])
			return
		}
	}
}

// stalled tells whether the server takes connections and answers none.
func (b *PBS) stalled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.st.Stalled
}
