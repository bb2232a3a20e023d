package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// ledger is every write that the users of a guest were told is done. At the end
// each must be in the copy that owns the guest, in another that is kept, or in a sealed
// branch at two sites (S7); or it is lost with the disks of a site that was destroyed for
// good, and with it no more than the person who retired the site was told.
type ledger struct {
	w         *World
	n         int
	written   map[failover.GuestID][]write
	forgotten int                     // of them, with copies that people have deleted by hand
	unread    map[string]time.Time    // and those that could not be read, then
	read      map[string]held         // sealed backups, by site and volid: they never change
	spoilt    map[lab.ChunkID]badDisk // of sealed backups
	givenUp   map[failover.Place]held // copies whose sealed branch a person has given up after its retention, and what was in it
}

// write is one acknowledged write: who took it, and when.
type write struct {
	note string
	site failover.SiteID
	host failover.HostID
	vmid int
	at   time.Time
}

// writeEvery is how often the users of each guest write: those in its house, and
// those who follow its name.
const writeEvery = 40 * time.Second

func newLedger(w *World) *ledger {
	return &ledger{w: w, written: map[failover.GuestID][]write{}, read: map[string]held{}, unread: map[string]time.Time{}, spoilt: map[lab.ChunkID]badDisk{}, givenUp: map[failover.Place]held{}}
}

// follow has users write every now and then; it is bookkeeping, no event.
func (l *ledger) follow() {
	l.everybodyWrites()
	l.w.loop.In(l.w.opts.Writing, "", l.follow)
}

func (l *ledger) everybodyWrites() {
	state := l.w.log.Last()
	if state.Network != nil {
		for _, g := range state.Network.GuestIDs() {
			home, p := state.HomePlace(g), state.Guests[g]
			l.write(g, home)
			if now := p.Now(); p.Serving == p.Owner && (now.Host != home.Host || now.VMID != home.VMID) {
				l.write(g, now)
			}
		}
	}
}

// pve is the machine of a copy, nil while it has no power.
func (l *ledger) pve(at failover.Place) *lab.PVE {
	s := l.w.sites[at.Site]
	switch {
	case s == nil:
	case at.Host == structureHost(at.Site) && s.own:
		return s.structure
	case at.Host == raoullHost(at.Site) && s.host:
		return s.raoull
	}
	return nil
}

// write has a user write to a copy, which may not run.
func (l *ledger) write(g failover.GuestID, at failover.Place) {
	p := l.pve(at)
	if p == nil {
		return
	}
	p.Advance(l.w.loop.Now())
	copied, ok := p.Guest(at.VMID)
	if !ok {
		return
	}
	note := fmt.Sprintf("user-%d", l.n)
	if !copied.Write(note) {
		return
	}
	l.n++
	l.written[g] = append(l.written[g], write{note, at.Site, at.Host, at.VMID, l.w.loop.Now()})
}

// check: S7, no write that a user was told is done is nowhere: it is in the copy that took
// it, in the one that owns the guest, or in a sealed branch at two sites.
func (l *ledger) check() {
	state := l.w.log.Last()
	if state.Network == nil {
		return
	}
	for _, g := range sortedKeys(l.written) {
		if _, declared := state.Network.Guests[g]; !declared {
			continue // nobody wanted it back from a site that burnt down
		}
		known := map[failover.Place]held{}
		for _, wr := range l.written[g] {
			if !l.kept(state, g, wr, known) && !l.burntDown(state, g, wr) && !l.ruined(state, g, wr.place()) {
				l.w.check.fail("S7", "%s of %s, taken by %s at %s, is in no copy that is kept, and sealed as %+v",
					wr.note, g, at(wr.site, wr.vmid), wr.at.Sub(Epoch), state.SealOf(g, wr.place()))
			}
		}
	}
}

// forget takes the writes of a copy out of the ledger that a person has deleted by hand; another
// one may stand there later.
func (l *ledger) forget(at failover.Place) {
	for g, all := range l.written {
		l.written[g] = slices.DeleteFunc(all, func(wr write) bool { return wr.place() == at })
		l.forgotten += len(all) - len(l.written[g])
	}
}

// readable: S7, at the end, when nothing is broken any more, both sites have the key of every
// sealed branch. (That a backup is corrupt is seen when it is read once more, and keeps its copy.)
func (l *ledger) readable() {
	state := l.w.log.Last()
	for _, id := range sortedKeys(state.Lineages) {
		line := state.Lineages[id]
		if line.Sealed == nil {
			continue
		}
		for _, c := range line.Sealed.Copies {
			s := l.w.sites[c.Site]
			if s.burnt || l.read[string(c.Site)+" "+c.Point.Volid].lines != nil {
				continue
			}
			if _, err := s.raoull.SavedData(c.Point.Volid); err != nil && strings.Contains(err.Error(), "key") {
				l.w.check.fail("S7", "the branch %s of %s is sealed, and cannot be read at %s: %v", id, line.Guest, c.Site, err)
			}
		}
	}
}

// kept says whether a write is in the copy that took it, in one that owns the guest or was
// made since, or in a sealed branch at two sites, or was given up by a person's word.
func (l *ledger) kept(state *failover.State, g failover.GuestID, wr write, known map[failover.Place]held) bool {
	took := wr.place()
	owns := state.Guests[g].Now()
	owns.Epoch = failover.Epoch{}
	if _, gone := l.givenUp[took]; gone || l.heldAt(known, took).has(wr) || l.heldAt(known, owns).has(wr) {
		return true
	}
	sealed := func(at failover.Place) bool {
		seal := state.SealOf(g, at)
		return seal != nil && l.sealed(*seal, wr) >= l.sealsLeft(*seal)
	}
	if sealed(took) {
		return true
	}
	if !l.w.sites[took.Site].burnt {
		return false
	}
	return slices.ContainsFunc(state.LineagesOf(g), func(o failover.Lineage) bool { // it was in a backup that another copy began with
		at := failover.Place{Site: o.Site, Host: o.Host, VMID: o.VMID}
		return l.heldAt(known, at).has(wr) || sealed(at) || l.givenUp[at].has(wr)
	})
}

// sealsLeft is at how many sites a sealed branch must lie: at two, less those that are gone, and those
// where it has gone bad.
func (l *ledger) sealsLeft(seal failover.Seal) int { return max(1, l.whole(seal)) }
func sealKey(c failover.SealCopy) string           { return string(c.Site) + " " + c.Point.Volid }

func (w write) place() failover.Place {
	return failover.Place{Site: w.site, Host: w.host, VMID: w.vmid}
}

// sealed says at how many sites a write lies in the protected backups of a seal.
func (l *ledger) sealed(seal failover.Seal, wr write) int {
	n := 0
	for _, c := range seal.Copies {
		s := l.w.sites[c.Site]
		if s.burnt {
			continue
		}
		ns, name := savedAs(c)
		if !slices.ContainsFunc(s.pbs.Snapshots(ns), func(snap lab.Snapshot) bool { return snap.Name() == name && snap.Protected }) {
			continue
		}
		if saved := l.readSeal(c); saved.lines != nil && saved.has(wr) {
			n++
		}
	}
	return n
}

// readSeals reads the backups of a seal, if there is one.
func (l *ledger) readSeals(seal *failover.Seal) {
	if seal == nil {
		return
	}
	for _, c := range seal.Copies {
		if !l.w.sites[c.Site].burnt {
			l.readSeal(c)
		}
	}
}

// readSeal is what a sealed backup holds, since it was first read.
func (l *ledger) readSeal(c failover.SealCopy) held {
	key := sealKey(c)
	saved, known := l.read[key]
	if known || l.unread[key] == l.w.loop.Now() {
		return saved
	}
	lines, err := l.w.sites[c.Site].raoull.SavedData(c.Point.Volid)
	if err != nil {
		l.unread[key] = l.w.loop.Now()
		l.w.tell("the sealed backup %s at %s is not read: %v", c.Point.Volid, c.Site, err)
		return held{}
	}
	l.read[key] = linesHeld(lines)
	return l.read[key]
}

// held is what a copy's disk holds; a guest throws its oldest lines away itself.
type held struct {
	lines  map[string]bool
	oldest string
}

func linesHeld(lines []string) held {
	h := held{lines: map[string]bool{}}
	for i, line := range lines {
		if i == 0 {
			h.oldest, _, _ = strings.Cut(line, " ")
		}
		h.lines[line[strings.LastIndexByte(line, ' ')+1:]] = true
	}
	return h
}

func (l *ledger) heldAt(known map[failover.Place]held, at failover.Place) held {
	if h, ok := known[at]; ok {
		return h
	}
	var lines []string
	if s := l.w.sites[at.Site]; s.structure != nil && !s.burnt {
		if copied, ok := l.w.guestAt(at); ok {
			lines = copied.Data()
		}
	}
	known[at] = linesHeld(lines)
	return known[at]
}

func (h held) has(wr write) bool {
	rotated := h.oldest != "" && wr.at.UTC().Format(time.RFC3339) < h.oldest
	return h.lines[wr.note] || rotated
}
