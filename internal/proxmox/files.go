package proxmox

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"
	"time"
)

// FileEntry is one entry of a directory in a backup.
type FileEntry struct {
	Path string // from the root of the backup: "/root.pxar.didx/etc/hostname"
	Name string
	// Type is what proxmox-file-restore says of it: "d" directory, "f" file, "l" link, "h" hard
	// link, "v" what only it shows so: an archive, a disk, a partition.
	Type  string
	Leaf  bool      // nothing is below it
	Size  int64     // bytes; 0 = none, or unknown
	MTime time.Time // zero: unknown
}

// Files lists a directory in a backup, "/" for its archives, as the file restore of the web page does
// (PVE.API2.Storage.FileRestore). It needs what listing the backup needs. Containers are read
// from their catalogue; for a VM the node starts a small machine that mounts the disks, which
// takes some seconds, and says in an error what it cannot mount. A name that is no
// UTF-8 comes as the bytes that it has.
func (p *PVE) Files(ctx context.Context, volid, path string) ([]FileEntry, error) {
	op := "list files in backup " + volid
	v, err := ParseVolid(volid)
	if err != nil {
		return nil, requestError(op, "%s", err)
	}
	if !strings.HasPrefix(path, "/") {
		return nil, requestError(op, "path %q does not begin with /", path)
	}
	if path != "/" {
		path = base64.StdEncoding.EncodeToString([]byte(path))
	}
	var rows []struct {
		Filepath wireString
		Text     wireString
		Type     wireString
		Leaf     wireBool
		Size     wireInt
		MTime    wireInt
	}
	query := url.Values{"filepath": {path}, "volume": {volid}}
	c, err := p.get(ctx, op, p.nodePath("/storage/"+url.PathEscape(v.Storage)+"/file-restore/list?"+query.Encode()), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]FileEntry, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "filepath", w.Filepath.Set, "text", w.Text.Set, "type", w.Type.Set); err != nil {
			return nil, err
		}
		full, err := base64.StdEncoding.DecodeString(w.Filepath.V)
		if err != nil {
			return nil, c.bad("filepath of entry %d is not in base64", i)
		}
		e := FileEntry{Path: "/" + strings.TrimPrefix(string(full), "/"), Name: w.Text.V, Type: w.Type.V, Leaf: w.Leaf.V, Size: w.Size.V}
		if w.MTime.Set {
			e.MTime = time.Unix(w.MTime.V, 0).UTC()
		}
		all = append(all, e)
	}
	return all, nil
}
