package lab

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// wounds is what faults have done to a PVE and Heal undoes.
type wounds struct {
	hostWounds
	Fill     map[string]int64     `json:"fill"`               // storage -> bytes taken
	BadKey   map[string]bool      `json:"badKey"`             // storage entries with another key
	NoKey    map[string]bool      `json:"noKey,omitempty"`    // storage entries without their key file
	Offline  map[string]bool      `json:"offline,omitempty"`  // storages
	Held     map[string]time.Time `json:"held,omitempty"`     // lock file ("100", "storage:ID") -> until when
	Minority bool                 `json:"minority,omitempty"` // corosync has no majority
}

func newWounds() wounds {
	return wounds{
		hostWounds: newHostWounds(), Fill: map[string]int64{}, BadKey: map[string]bool{}, NoKey: map[string]bool{},
		Offline: map[string]bool{}, Held: map[string]time.Time{},
	}
}

// whole gives a state that was saved by an older version the maps that it lacks.
func (w *wounds) whole() {
	w.hostWounds.whole()
	fresh := newWounds()
	for _, m := range []*map[string]bool{&w.BadKey, &w.NoKey, &w.Offline} {
		if *m == nil {
			*m = map[string]bool{}
		}
	}
	if w.Fill == nil {
		w.Fill = fresh.Fill
	}
	if w.Held == nil {
		w.Held = fresh.Held
	}
}

// Heal undoes what faults did to the host and its storages, but for snapshots: what is lost stays lost.
func (p *PVE) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.wounds = newWounds()
	p.dirty = true
}

// suffer changes the host as a fault says.
func (p *PVE) suffer(f Fault, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	if token, _, _ := pveToken(r); p.st.hostWounds.suffer(f, token) {
		return
	}
	switch f.Effect {
	case EffectCrashHost:
		p.powerLoss()
	case EffectKillTask:
		p.killRestores()
	case EffectHoldLock:
		p.st.Held[f.Text] = p.st.Now.Add(f.Delay)
	case EffectLoseQuorum:
		p.st.Minority = true
	case EffectLoseSnapshot, EffectCorruptSnapshot:
		p.sufferBackups(f, r)
	default:
		p.sufferStorages(f)
	}
}

// sufferStorages changes the storage entries that a fault names.
func (p *PVE) sufferStorages(f Fault) {
	mark := func(m map[string]bool, kind func(StorageConfig) bool) {
		for _, s := range p.named(f.Text, kind) {
			m[s.ID] = true
		}
	}
	backup := func(s StorageConfig) bool { return s.Type == "pbs" }
	local := func(s StorageConfig) bool { return s.Type != "pbs" }
	switch f.Effect {
	case EffectFillStorage:
		for _, s := range p.named(f.Text, local) {
			p.st.Fill[s.ID] = s.Size
		}
	case EffectWrongKey:
		mark(p.st.BadKey, backup)
	case EffectLoseKey:
		mark(p.st.NoKey, backup)
	case EffectOfflineStorage:
		mark(p.st.Offline, local)
	}
}

// killRestores ends the running restores as kill -9 does: no last line, the lock and the volumes stay, and
// a container's raw image stays mounted until somebody unmounts it or the host boots.
func (p *PVE) killRestores() {
	for _, t := range p.st.Tasks {
		if !t.running() || t.job == nil {
			continue
		}
		if t.job.kind == lxc && t.job.stage == stageCopy {
			p.st.Mounted[t.job.guest.ID] = true
		}
		t.die(p.wall())
		p.st.Stray = append(p.st.Stray, t.job.written()...)
		t.job, t.step = nil, nil
	}
}

// endTasks ends what else was running without a last line.
func (p *PVE) endTasks() {
	for _, t := range p.st.Tasks {
		if t.running() {
			t.die(p.wall())
			t.job, t.step = nil, nil
		}
	}
}

// Mounted tells whether a dead restore has left a container's raw image mounted on /var/lib/lxc/ID/rootfs.
func (p *PVE) Mounted(id int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Mounted[id]
}

// Unmount unmounts what Mounted tells of, as local root's umount does; there is no API call.
func (p *PVE) Unmount(id int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.st.Mounted[id] {
		return fmt.Errorf("unmount rootfs of %d: not mounted", id)
	}
	delete(p.st.Mounted, id)
	p.dirty = true
	return nil
}

// sufferBackups hands a fault to every PBS that the host's entries reach.
func (p *PVE) sufferBackups(f Fault, r *http.Request) {
	seen := map[*PBS]bool{}
	for _, s := range p.named("", func(s StorageConfig) bool { return s.Type == "pbs" }) {
		if b := p.dial(s); b != nil && !seen[b] {
			seen[b] = true
			b.suffer(f, r)
		}
	}
}

// named returns the storage entries that a fault means: those of a kind, or the one of that kind with an id.
func (p *PVE) named(id string, kind func(StorageConfig) bool) []StorageConfig {
	return slices.DeleteFunc(p.sortedStorages(), func(s StorageConfig) bool { return !kind(s) || (id != "" && s.ID != id) })
}

// wall is what the host's clock shows; tasks, backups and log times carry it.
func (p *PVE) wall() time.Time { return p.st.Now.Add(p.st.Skew) }

// lockHeld returns for how much longer somebody holds a lock file: that of guest "100" or of "storage:ID".
func (p *PVE) lockHeld(name string) time.Duration { return max(0, p.st.Held[name].Sub(p.st.Now)) }

// dropped tells whether a fault has taken a privilege from a token.
func (p *PVE) dropped(token, priv string) bool {
	return slices.Contains(p.st.Dropped[token], priv) || slices.Contains(p.st.Dropped[userOf(token)], priv)
}

// userOf returns the user of a token "user@realm!name".
func userOf(token string) string {
	user, _, _ := strings.Cut(token, "!")
	return user
}
