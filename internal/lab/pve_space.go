package lab

// thin tells whether a storage gives room only to what is written: it accepts more volumes than it can
// hold and fails late, and then stalls every guest on it.
func (s StorageConfig) thin() bool { return s.Type == "lvmthin" }

// taken is what a volume takes of its storage. In a thin pool that is what was written: the data area and
// the chunks that are not zeros.
func (p *PVE) taken(s StorageConfig, d disk) int64 {
	switch {
	case !s.thin():
		return d.Size
	case d.Body == nil:
		return 0
	}
	n := d.Size - int64(len(d.Body))*ChunkSize
	for _, id := range d.Body {
		if id != p.zero {
			n += ChunkSize
		}
	}
	return n
}

// used returns the bytes taken on a storage: volumes of guests, of running restores, stray ones, faults.
func (p *PVE) used(id string) int64 {
	s, used := p.storages[id], p.st.Fill[id]
	add := func(disks []disk) {
		for _, d := range disks {
			if d.Storage == id {
				used += p.taken(s, d)
			}
		}
	}
	for _, g := range p.st.Guests {
		add(g.Disks)
	}
	add(p.st.Stray)
	for _, t := range p.st.Tasks {
		if t.job == nil || t.job.live && t.job.guest.Running {
			continue // those of a live restore are the guest's already
		}
		for _, d := range t.job.disks {
			if d.storage == id && s.thin() {
				used += d.done - d.zeroes
			} else if d.storage == id {
				used += d.done
			}
		}
	}
	return used
}

// stalled tells whether a running guest has met the end of its thin pool: QEMU pauses it with an I/O
// error until there is room again.
func (p *PVE) stalled(g *guest) bool {
	for _, d := range g.Disks {
		if s := p.storages[d.Storage]; s.thin() && p.used(s.ID) >= s.Size {
			return true
		}
	}
	return false
}
