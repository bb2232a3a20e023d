package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// goLive starts the VM of a live restore: what it reads comes from the PBS, and the copying
// goes on behind it under its lock.
func (p *PVE) goLive(t *task) error {
	j := t.job
	b, err := p.connect(j.entry)
	if err != nil {
		return err
	}
	first := *j.disks[0]
	for i := int64(0); i*ChunkSize < first.areaSize; i++ {
		if err := p.copyChunk(j, &first, b, i); err != nil {
			return err
		}
	}
	g := j.guest
	if g.OS, g.Text, err = decodeArea(first.area); err != nil {
		return err
	}
	g.Conf = p.mergedConf(j)
	g.Conf["lock"] = "create"
	for _, d := range j.disks {
		x := disk{Key: d.key, Storage: d.storage, Volume: d.volume, Size: d.size, Owner: g.ID, Kind: g.Kind}
		g.Disks = append(g.Disks, x)
		g.Conf[d.key] = diskValue(x)
	}
	g.Restored, g.Pool, g.Born = j.volid, j.pool, p.st.Now
	g.start(p.st.Now)
	t.logf("starting VM for live-restore")
	return nil
}

// endLive ends the copying behind a VM that runs: what was written to it stays.
func (p *PVE) endLive(t *task) {
	g := t.job.guest
	for _, d := range t.job.disks {
		for i := range g.Disks {
			if g.Disks[i].Key == d.key {
				g.Disks[i].Body = d.body
			}
		}
	}
	delete(g.Conf, "lock")
	p.dirty = true
	t.finish(p.wall(), nil)
}

// checkMerged holds the NICs of a VM's merged configuration against the token once more: its rights may
// have changed during the copy.
func (p *PVE) checkMerged(t *task, conf map[string]string) error {
	if t.job.kind != qemu {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(conf)) {
		if strings.TrimRight(k, "0123456789") == "net" {
			if err := p.mayUse(t.User, conf[k]); err != nil {
				return fmt.Errorf("403 %w", err)
			}
		}
	}
	return nil
}

// failMerge ends a restore whose data is there and whose configuration was refused: the stub stays, the
// volumes too, without an owner in a configuration.
func (p *PVE) failMerge(t *task, err error) {
	j := t.job
	for _, d := range j.disks {
		p.st.Stray = append(p.st.Stray, disk{
			Key: d.key, Storage: d.storage, Volume: d.volume, Size: d.size, Body: d.body, Owner: j.guest.ID, Kind: j.kind,
		})
	}
	j.guest.Conf, j.guest.Disks = map[string]string{"memory": "128"}, j.kept
	t.logf("error after data was restored, VM disks should be OK but config may require adaptions. VM %d state is NOT cleaned up.", j.guest.ID)
	t.finish(p.wall(), err)
}

func (p *PVE) mergedConf(j *restoreJob) map[string]string {
	conf := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(j.conf)) {
		v := j.conf[k]
		switch {
		case isDiskKey(k):
			if !slices.ContainsFunc(j.disks, func(d *diskJob) bool { return d.key == k }) {
				// A disk that is not in the backup becomes a comment, so part of the description.
				conf["description"] = strings.TrimPrefix(conf["description"]+"\n"+k+": "+v, "\n")
			}
		case k == "description":
			conf[k] = strings.Trim(v+"\n"+conf[k], "\n")
		case k == "vmgenid":
			conf[k] = p.newUUID() // always renewed
		case k == "smbios1" && j.unique:
			conf[k] = "uuid=" + p.newUUID()
		case strings.HasPrefix(k, "net") && j.unique:
			conf[k] = p.replaceMAC(v)
		default:
			conf[k] = v
		}
	}
	for _, k := range slices.Sorted(maps.Keys(j.over)) {
		if _, archived := j.conf[k]; archived && j.unique && j.kind == lxc && strings.HasPrefix(k, "net") {
			continue
		}
		conf[k] = j.over[k]
	}
	return conf
}
