package proxmox

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// BackupJob is a scheduled backup job of the host or its cluster.
type BackupJob struct {
	ID       string
	Storage  string // entry that it writes to; "" = a directory
	Node     string // it runs on this node only; "" = on all
	Disabled bool
	Prune    string // what it removes instead of what the entry says, "keep-last=3"; "" = nothing of its own
}

// BackupJobs lists the scheduled backup jobs (Sys.Audit on /).
func (p *PVE) BackupJobs(ctx context.Context) ([]BackupJob, error) {
	var rows []struct {
		ID      wireString
		Storage wireString
		Node    wireString
		Enabled wireBool
		Prune   wirePrune `json:"prune-backups"`
	}
	c, err := p.get(ctx, "list backup jobs", "/cluster/backup", &rows)
	if err != nil {
		return nil, err
	}
	all := make([]BackupJob, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "id", w.ID.Set); err != nil {
			return nil, err
		}
		all = append(all, BackupJob{ID: w.ID.V, Storage: w.Storage.V, Node: w.Node.V, Disabled: w.Enabled.Set && !w.Enabled.V, Prune: string(w.Prune)})
	}
	return all, nil
}

// wirePrune is prune-backups: a property string in storage entries ("keep-last=3,keep-daily=7"), an object in backup
// jobs. What keeps everything is "".
type wirePrune string

// UnmarshalJSON implements json.Unmarshaler.
func (w *wirePrune) UnmarshalJSON(b []byte) error {
	var options []string
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '{' {
		var m map[string]wireString
		if err := json.Unmarshal(b, &m); err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			options = append(options, k+"="+m[k].V)
		}
	} else {
		text, _, err := scalar(b)
		if err != nil {
			return err
		}
		options = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	}
	*w = wirePrune(strings.Join(slices.DeleteFunc(options, keepsAll), ","))
	return nil
}

// keepsAll says whether an option removes nothing: keep-all, or a number of zero.
func keepsAll(option string) bool {
	name, value, _ := strings.Cut(option, "=")
	return name == "keep-all" || value == "0"
}
