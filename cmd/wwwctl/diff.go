package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// fileDiff shows what differs between the sealed branch of a guest and its newest backup, and how
// a file is fetched. Nothing is touched.
func (a *app) fileDiff(ctx context.Context, g failover.GuestID, copied, path string) error {
	req := api.DiffRequest{Guest: g, Path: path}
	if copied != "" {
		host, id, ok := strings.Cut(copied, "/")
		n, err := strconv.Atoi(id)
		if !ok || err != nil {
			return usagef("--copy %s: want HOST/ID, as wwwctl failback remove %s --dry-run shows them", copied, g)
		}
		req.Host, req.VMID = failover.HostID(host), n
	}
	a.g.timeout = max(a.g.timeout, api.DiffWait+a.g.timeout)
	return a.present(ctx, func(ctx context.Context) (view, error) {
		d, err := request(ctx, a, func(ctx context.Context) (api.FileDiff, error) { return a.client.FileDiff(ctx, req) })
		return view{kind: api.KindFileDiff, data: d, table: a.changesTable(d), text: func() string { return a.diffScreen(d) }}, err
	})
}

// changesTable is what differs, a path per row.
func (a *app) changesTable(d api.FileDiff) table {
	t := table{cols: cols("IN", "PATH", ">SEALED", "SEALED AT", ">RUNNING", "RUNNING AT")}
	for _, f := range d.Changes {
		where := map[string]string{failover.FileOnlySealed: "sealed only", failover.FileOnlyRunning: "running only", failover.FileDiffers: "both"}[f.Kind]
		name := f.Path
		if f.Dir {
			name += "/"
		}
		t.add(c(where), c(name), c(sizeOf(f, f.Sealed, failover.FileOnlyRunning)), c(a.show.date(f.Sealed.MTime)),
			c(sizeOf(f, f.Running, failover.FileOnlySealed)), c(a.show.date(f.Running.MTime)))
	}
	return t
}

// sizeOf is the size of a file in one backup, "-" where it is in the other one only.
func sizeOf(f failover.FileChange, s failover.FileState, absent string) string {
	if f.Kind == absent || f.Dir {
		return "-"
	}
	return message.Bytes(s.Size)
}

func (a *app) diffScreen(d api.FileDiff) string {
	p := &page{s: a.show}
	p.prose("", "  ", fmt.Sprintf("%s: the files of two backups, as %s at %s reads them", d.Pair.Guest, d.Pair.Host, d.Pair.Site))
	p.prose("  sealed   ", "           ", fmt.Sprintf("%s, the branch of %s/%d", a.show.date(d.Pair.Sealed.Time), d.Pair.Copy.Host, d.Pair.Copy.VMID))
	p.prose("  running  ", "           ", a.show.date(d.Pair.Running.Time)+", the newest backup")
	if len(d.Changes) > 0 {
		a.changeLines(p, d)
	}
	for _, u := range d.Unread {
		p.prose("not read: ", "  ", fmt.Sprintf("%s of %s: %s", u.Path, u.Volid, u.Why))
	}
	p.prose("", "  ", foundLine(d))
	if len(d.Changes) > 0 {
		entry, volume, _ := strings.Cut(d.Pair.Sealed.Volid, ":backup/")
		p.prose("", "  ", fmt.Sprintf("To fetch a file from the sealed branch: web page of %s, storage %s, Backups, %s, File Restore.", d.Pair.Host, entry, volume))
	}
	return p.b.String()
}

// changeLines is what differs: as rows, or on a terminal that is too narrow for them each path above what is known of it,
// since half a path is of no use.
func (a *app) changeLines(p *page, d api.FileDiff) {
	t := a.changesTable(d)
	if !a.show.cut || t.natural(a.show, a.g.noHeaders) <= a.show.columns() {
		p.raw(t.lines(a.show, a.g.noHeaders)...)
		return
	}
	for i, f := range d.Changes {
		row := t.rows[i]
		text := row[0].text
		if f.Kind != failover.FileOnlyRunning {
			text += fmt.Sprintf(", sealed %s of %s", row[2].text, row[3].text)
		}
		if f.Kind != failover.FileOnlySealed {
			text += fmt.Sprintf(", running %s of %s", row[4].text, row[5].text)
		}
		p.raw("  " + a.show.text(row[1].text))
		p.prose("    ", "      ", text)
	}
}

// foundLine says how much was compared, and whether that was all.
func foundLine(d api.FileDiff) string {
	text := fmt.Sprintf("%s in %s compared.", plural(len(d.Changes), "difference"), plural(d.Dirs, "folder"))
	switch {
	case d.Stopped != "":
		return text + " Not all: " + d.Stopped + ". Go on below one directory: wwwctl failback diff " + string(d.Pair.Guest) + " --path FOLDER"
	case len(d.Unread) > 0:
		return text + " What could not be read was not compared."
	}
	return text + " That is all."
}
