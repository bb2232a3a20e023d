package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// saveEvery is how often a fake with a directory saves its state, in lab time.
const saveEvery = 2 * time.Second

const stateFile = "state.json"

// loadState reads a state; a directory without one leaves it as it is and returns false.
func loadState(dir string, into any) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load state: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return false, fmt.Errorf("load state %s: %w", filepath.Join(dir, stateFile), err)
	}
	return true, nil
}

// load brings back the state of a process that ended: to the guests and tasks that is a power loss.
func (p *PVE) load() error {
	if p.cfg.Dir == "" {
		p.local = NewMemStore()
		return nil
	}
	var err error
	if p.local, err = OpenStore(filepath.Join(p.cfg.Dir, "chunks")); err != nil {
		return fmt.Errorf("new PVE %s: %w", p.cfg.Node, err)
	}
	found, err := loadState(p.cfg.Dir, &p.st)
	if err != nil {
		return fmt.Errorf("new PVE %s: %w", p.cfg.Node, err)
	}
	p.st.whole()
	if p.st.Mounted == nil {
		p.st.Mounted = map[int]bool{}
	}
	if p.st.HAGone == nil {
		p.st.HAGone = map[string]bool{}
	}
	if found {
		p.powerLoss()
	}
	return nil
}

// Flush saves the state to the directory, if there is one. The state is written beside the old one and
// renamed into place, so a killed process leaves the one or the other.
func (p *PVE) Flush() error {
	if p.cfg.Dir == "" {
		return nil
	}
	p.mu.Lock()
	b, err := json.Marshal(&p.st)
	if err == nil {
		p.dirty, p.saved = false, p.st.Now
	}
	p.mu.Unlock()
	if err == nil {
		err = writeFileAtomic(filepath.Join(p.cfg.Dir, stateFile), b)
	}
	if err != nil {
		p.mu.Lock()
		p.dirty = true
		p.mu.Unlock()
		return fmt.Errorf("save state of %s: %w", p.cfg.Node, err)
	}
	return nil
}

func (b *PBS) load() error {
	if b.cfg.Dir == "" {
		if b.cfg.Store == nil {
			b.cfg.Store = NewMemStore()
		}
		return nil
	}
	var err error
	if b.cfg.Store == nil {
		if b.cfg.Store, err = OpenStore(filepath.Join(b.cfg.Dir, "chunks")); err != nil {
			return fmt.Errorf("new PBS %s: %w", b.cfg.Node, err)
		}
	}
	found, err := loadState(b.cfg.Dir, &b.st)
	if err != nil {
		return fmt.Errorf("new PBS %s: %w", b.cfg.Node, err)
	}
	b.st.whole()
	if found {
		b.powerLoss()
	}
	return nil
}

// Flush saves the state to the directory, if there is one, like PVE.Flush.
func (b *PBS) Flush() error {
	if b.cfg.Dir == "" {
		return nil
	}
	b.mu.Lock()
	data, err := json.Marshal(&b.st)
	if err == nil {
		b.dirty, b.saved = false, b.st.Now
	}
	b.mu.Unlock()
	if err == nil {
		err = writeFileAtomic(filepath.Join(b.cfg.Dir, stateFile), data)
	}
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		return fmt.Errorf("save state of %s: %w", b.cfg.Node, err)
	}
	return nil
}
