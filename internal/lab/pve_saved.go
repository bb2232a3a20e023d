package lab

import (
	"fmt"
	"slices"
	"strings"
)

// SavedData returns the lines in the data area of a backup, oldest first, as this host reads it
// with its storage entry and key. Errors are those that a restore would have.
func (p *PVE) SavedData(volid string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry, b, snap, err := p.backupOf(volid)
	if err != nil {
		return nil, err
	}
	_, text, err := p.savedArea(entry, b, snap)
	return splitLines(text), err
}

// savedArea reads and decrypts the data area of the first disk in a snapshot.
func (p *PVE) savedArea(e StorageConfig, b *PBS, snap Snapshot) (osInfo, []byte, error) {
	if _, err := p.readConfig(e, b, snap); err != nil {
		return osInfo{}, nil, err
	}
	i := firstDisk(snap)
	if i < 0 {
		return osInfo{}, nil, fmt.Errorf("%s has no disk", snap.Name())
	}
	file := snap.Files[i]
	var area []byte
	for _, id := range file.Chunks {
		if int64(len(area)) >= dataArea(file.Size) {
			break
		}
		chunk, err := b.cfg.Store.Get(id)
		if err != nil {
			return osInfo{}, nil, err
		}
		if snap.Encrypted() {
			if chunk, err = p.key(e).Open(chunk); err != nil {
				return osInfo{}, nil, err
			}
		}
		area = append(area, chunk...)
	}
	return decodeArea(area)
}

// firstDisk is the place of the archive of a snapshot's first disk; -1: there is none.
func firstDisk(snap Snapshot) int {
	return slices.IndexFunc(snap.Files, func(f SnapshotFile) bool {
		return strings.HasSuffix(f.Name, ".img.fidx") || strings.HasSuffix(f.Name, ".pxar.didx")
	})
}
