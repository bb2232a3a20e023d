package lab

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// pbsWounds is what faults have done to a PBS and Heal undoes.
type pbsWounds struct {
	hostWounds
	Full bool `json:"full"`
}

func newPBSWounds() pbsWounds { return pbsWounds{hostWounds: newHostWounds()} }

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
	if token, _, _ := pbsToken(r); b.st.hostWounds.suffer(f, token) {
		return
	}
	switch f.Effect {
	case EffectCrashHost:
		b.powerLoss()
	case EffectFillStorage:
		b.st.Full = true
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
