package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// What the ledger knows of sealed backups that go bad where they lie: one of two may.

// badDisk is where a chunk of backups has gone bad, and since when.
type badDisk struct {
	site  failover.SiteID
	since time.Time
}

// spoil has the disk go bad that holds a chunk which only one backup at a site has; false: there is none, or
// it is bad already, there or elsewhere.
func (l *ledger) spoil(s *Site, ns string, snap lab.Snapshot) bool {
	others := map[lab.ChunkID]bool{}
	for _, space := range []string{string(l.w.ids[0]), failover.AwayNamespace(l.w.ids[0]), ns} {
		for _, o := range s.pbs.Snapshots(space) {
			for _, id := range chunksOf(o) {
				others[id] = others[id] || space != ns || o.Name() != snap.Name()
			}
		}
	}
	for _, id := range chunksOf(snap) {
		if _, bad := l.spoilt[id]; bad {
			return false
		}
		if !others[id] && s.pbs.Store().Corrupt(id) == nil {
			l.spoilt[id] = badDisk{s.name, l.w.loop.Now()}
			clear(l.read)
			return true
		}
	}
	return false
}

func chunksOf(snap lab.Snapshot) []lab.ChunkID {
	var out []lab.ChunkID
	for _, f := range snap.Files {
		out = append(out, f.Chunks...)
	}
	return out
}

// isBad says since when a backup of a sealed branch is bad.
func (l *ledger) isBad(c failover.SealCopy) (since time.Time, bad bool) {
	ns, name := savedAs(c)
	for _, snap := range l.w.sites[c.Site].pbs.Snapshots(ns) {
		if snap.Name() != name {
			continue
		}
		for _, id := range chunksOf(snap) {
			if b, ok := l.spoilt[id]; ok && b.site == c.Site {
				return b.since, true
			}
		}
	}
	return time.Time{}, false
}

// savedAs is the namespace and the name of a backup of a sealed branch.
func savedAs(c failover.SealCopy) (ns, name string) {
	entry, name, _ := strings.Cut(c.Point.Volid, ":backup/")
	return failover.SealedNamespace(failover.SiteID(strings.TrimPrefix(entry, sealedEntry("")))), name
}

// whole is at how many sites a sealed branch lies and is not bad.
func (l *ledger) whole(seal failover.Seal) int {
	n := 0
	for _, c := range seal.Copies {
		if _, bad := l.isBad(c); !bad && !l.w.sites[c.Site].burnt {
			n++
		}
	}
	return n
}

// spoiltSince is how many backups of a branch have gone bad since then.
func (l *ledger) spoiltSince(seal failover.Seal, then time.Time) int {
	n := 0
	for _, c := range seal.Copies {
		if at, bad := l.isBad(c); bad && at.After(then) {
			n++
		}
	}
	return n
}

// giveUp takes note of what lies in a sealed branch that a person gives up.
func (l *ledger) giveUp(seal *failover.Seal, where failover.Place) {
	had := held{lines: map[string]bool{}}
	if seal != nil {
		for _, c := range seal.Copies {
			if lines, err := l.w.sites[c.Site].raoull.SavedData(c.Point.Volid); err == nil {
				had = linesHeld(lines)
			}
		}
	}
	l.givenUp[where] = had
}

// ruined says whether all that is left of a copy are sealed backups of which one has gone bad, and the other burnt.
func (l *ledger) ruined(state *failover.State, g failover.GuestID, at failover.Place) bool {
	seal := state.SealOf(g, at)
	return seal != nil && len(seal.Copies) > 1 && l.whole(*seal) == 0 &&
		slices.ContainsFunc(seal.Copies, func(c failover.SealCopy) bool { return l.w.sites[c.Site].burnt })
}
