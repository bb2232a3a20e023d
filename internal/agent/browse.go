package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Browser compares the files of two backups that this site's PVE can read. It changes nothing.
type Browser struct {
	PVE *proxmox.PVE
	Now func() time.Time
}

// DiffLimits bound a comparison.
type DiffLimits struct {
	Time    time.Duration
	Entries int // that are read in all
	Changes int
	Depth   int // of directories below the one that it begins with
}

// DefaultDiffLimits are for a person who waits for the answer.
var DefaultDiffLimits = DiffLimits{Time: 40 * time.Second, Entries: 50_000, Changes: 500, Depth: 24}

// comparison is a FileDiff in the making.
type comparison struct {
	b       *Browser
	sealed  string // volids
	running string
	lim     DiffLimits
	until   time.Time
	entries int
	out     failover.FileDiff
}

// Diff compares two backups from a directory on, breadth first, so that what is cut off is deep
// down. What cannot be read is told in Unread: all, when it is the directory that it begins with.
func (b *Browser) Diff(ctx context.Context, sealed, running, dir string, lim DiffLimits) failover.FileDiff {
	c := &comparison{b: b, sealed: sealed, running: running, lim: lim, until: b.Now().Add(lim.Time), out: failover.FileDiff{Changes: []failover.FileChange{}, Unread: []failover.UnreadDir{}}}
	level := []string{dir}
	for depth := 0; len(level) > 0; depth++ {
		if depth > lim.Depth {
			c.out.Stopped = fmt.Sprintf("%d directories deep", lim.Depth)
			break
		}
		var next []string
		for _, d := range level {
			if c.full(); c.out.Stopped != "" {
				break
			}
			next = append(next, c.dir(ctx, d)...)
		}
		level = next
		if c.out.Stopped != "" {
			break
		}
	}
	slices.SortStableFunc(c.out.Changes, func(a, b failover.FileChange) int { return strings.Compare(a.Path, b.Path) })
	return c.out
}

// full notes why no further directory is looked into.
func (c *comparison) full() {
	switch {
	case !c.b.Now().Before(c.until):
		c.out.Stopped = fmt.Sprintf("%s are over", c.lim.Time)
	case c.entries >= c.lim.Entries:
		c.out.Stopped = fmt.Sprintf("%d entries were read", c.entries)
	case len(c.out.Changes) >= c.lim.Changes:
		c.out.Stopped = fmt.Sprintf("%d differences were found", len(c.out.Changes))
	}
}

// dir compares one directory, and returns those below it that both have. One that only one
// backup lets be read says nothing of what differs.
func (c *comparison) dir(ctx context.Context, dir string) (both []string) {
	before, ok := c.list(ctx, c.sealed, dir)
	if !ok {
		return nil
	}
	after, ok := c.list(ctx, c.running, dir)
	if !ok {
		return nil
	}
	c.out.Dirs++
	paired := map[string]bool{}
	for _, o := range before {
		i := slices.IndexFunc(after, func(n proxmox.FileEntry) bool { return n.Name == o.Name })
		if i < 0 {
			c.change(failover.FileChange{Path: o.Path, Kind: failover.FileOnlySealed, Dir: isDir(o), Sealed: stateOf(o)})
			continue
		}
		n := after[i]
		paired[n.Name] = true
		switch {
		case isDir(o) && isDir(n):
			both = append(both, o.Path)
		case isDir(o) || isDir(n) || o.Type != n.Type || o.Size != n.Size || !o.MTime.Equal(n.MTime):
			c.change(failover.FileChange{Path: o.Path, Kind: failover.FileDiffers, Sealed: stateOf(o), Running: stateOf(n)})
		}
	}
	for _, n := range after {
		if !paired[n.Name] {
			c.change(failover.FileChange{Path: n.Path, Kind: failover.FileOnlyRunning, Dir: isDir(n), Running: stateOf(n)})
		}
	}
	return both
}

func stateOf(f proxmox.FileEntry) failover.FileState {
	return failover.FileState{Size: f.Size, MTime: f.MTime}
}

func (c *comparison) change(f failover.FileChange) {
	if len(c.out.Changes) < c.lim.Changes {
		c.out.Changes = append(c.out.Changes, f)
	}
}

// list reads a directory of one of the backups.
func (c *comparison) list(ctx context.Context, volid, dir string) (all []proxmox.FileEntry, ok bool) {
	all, err := c.b.PVE.Files(ctx, volid, dir)
	if err != nil {
		c.out.Unread = append(c.out.Unread, failover.UnreadDir{Path: dir, Volid: volid, Why: err.Error()})
		return nil, false
	}
	c.entries += len(all)
	return all, true
}

// isDir says whether there may be something below an entry.
func isDir(f proxmox.FileEntry) bool {
	return f.Type == "d" || f.Type == "v" || !f.Leaf && f.Type == ""
}
