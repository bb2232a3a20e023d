package lab

import (
	"encoding/base64"
	"errors"
	"path"
	"slices"
	"strings"
	"time"
)

// partition is where the file restore of a real PVE shows the file system of a VM's first disk.
const partition = "/part/1"

// listFiles is the file restore's listing of a directory in a backup (PVE.API2.Storage.FileRestore):
// each line that a guest's users have written is a file of its day.
func (p *PVE) listFiles(c *call) (any, error) {
	volid := c.str("volume")
	if !strings.Contains(volid, ":") {
		volid = c.vars["storage"] + ":" + volid
	}
	s, b, snap, err := p.backupOf(volid)
	if err != nil {
		return nil, err
	}
	if err := p.mayRead(c, s, snap); err != nil {
		return nil, err
	}
	dir := c.str("filepath")
	if dir != "/" {
		raw, err := base64.StdEncoding.DecodeString(dir)
		if err != nil {
			return nil, badParam("filepath", "not in base64")
		}
		dir = path.Clean("/" + string(raw))
	}
	files, err := p.savedFiles(s, b, snap)
	if err != nil {
		return nil, errText("proxmox-file-restore failed: Error: %s", err)
	}
	rows := below(files, dir)
	if len(rows) == 0 {
		return nil, errText("proxmox-file-restore failed: Error: no such file or directory: %s", dir)
	}
	return rows, nil
}

// savedFile is a file in a backup.
type savedFile struct {
	path  string
	size  int
	mtime time.Time
}

// savedFiles lists all files in a backup, by path.
func (p *PVE) savedFiles(e StorageConfig, b *PBS, snap Snapshot) ([]savedFile, error) {
	info, text, err := p.savedArea(e, b, snap)
	if err != nil {
		return nil, err
	}
	i := firstDisk(snap)
	if i < 0 {
		return nil, errors.New("no archive")
	}
	root := "/" + snap.Files[i].Name
	if snap.Type == "vm" {
		root += partition
	}
	all := []savedFile{{path: root + "/etc/hostname", size: len(info.Name) + 1}}
	for _, line := range splitLines(text) {
		at, rest, _ := strings.Cut(line, " ")
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			continue // not one that a guest has written
		}
		name := strings.ReplaceAll(strings.ReplaceAll(rest, " ", "-"), "/", "-")
		all = append(all, savedFile{path: root + "/srv/data/" + when.Format(time.DateOnly) + "/" + name + ".txt", size: len(line) + 1, mtime: when})
	}
	slices.SortFunc(all, func(a, b savedFile) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(all, func(a, b savedFile) bool { return a.path == b.path }), nil
}

// below are the rows of a directory: its files, and each directory in it once.
func below(files []savedFile, dir string) []map[string]any {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	seen := map[string]bool{}
	rows := []map[string]any{}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.path, prefix)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if seen[name] {
			continue
		}
		seen[name] = true
		row := map[string]any{"filepath": base64.StdEncoding.EncodeToString([]byte(prefix + name)), "text": name, "leaf": bit(!deeper), "type": kindOfEntry(prefix, name, deeper)}
		if !deeper {
			row["size"], row["mtime"] = f.size, f.mtime.Unix()
			if f.mtime.IsZero() {
				row["mtime"] = int64(0)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// kindOfEntry is the type of an entry: archives and partitions are "v", not on any disk.
func kindOfEntry(prefix, name string, deeper bool) string {
	switch {
	case !deeper:
		return "f"
	case prefix == "/" || strings.HasSuffix(prefix+name, ".img.fidx"+partition) || name == "part":
		return "v"
	}
	return "d"
}
