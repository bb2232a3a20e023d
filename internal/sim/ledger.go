package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// ledger is every write that the users of a guest were told is done. At the end
// each must be in the copy that owns the guest or in another that is kept (S7).
// No disk is destroyed for good in here, so no write may be lost.
type ledger struct {
	w       *World
	n       int
	written map[failover.GuestID][]write
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
	return &ledger{w: w, written: map[failover.GuestID][]write{}}
}

// follow has users write every now and then; it is bookkeeping, no event.
func (l *ledger) follow() {
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
	l.w.loop.In(writeEvery, "", l.follow)
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

// check: S7, no write that a user was told is done is nowhere.
func (l *ledger) check() {
	state := l.w.log.Last()
	if state.Network == nil {
		return
	}
	for _, g := range sortedKeys(l.written) {
		held := map[failover.Place]held{}
		for _, wr := range l.written[g] {
			took := failover.Place{Site: wr.site, Host: wr.host, VMID: wr.vmid}
			owns := state.Guests[g].Now()
			owns.Epoch = failover.Epoch{}
			if !l.heldAt(held, took).has(wr) && !l.heldAt(held, owns).has(wr) {
				l.w.check.fail("S7", "%s of %s, taken by %s at %s, is in no copy that is kept", wr.note, g, at(wr.site, wr.vmid), wr.at.Sub(Epoch))
			}
		}
	}
}

// held is what a copy's disk holds; a guest throws its oldest lines away itself.
type held struct {
	lines  map[string]bool
	oldest string
}

func (l *ledger) heldAt(known map[failover.Place]held, at failover.Place) held {
	if h, ok := known[at]; ok {
		return h
	}
	h := held{lines: map[string]bool{}}
	s := l.w.sites[at.Site]
	for _, p := range []*lab.PVE{s.structure, s.raoull} {
		if p == nil || p == s.structure != (at.Host == structureHost(at.Site)) {
			continue
		}
		if copied, ok := p.Guest(at.VMID); ok {
			for i, line := range copied.Data() {
				if i == 0 {
					h.oldest, _, _ = strings.Cut(line, " ")
				}
				h.lines[line[strings.LastIndexByte(line, ' ')+1:]] = true
			}
		}
	}
	known[at] = h
	return h
}

func (h held) has(wr write) bool {
	rotated := h.oldest != "" && wr.at.UTC().Format(time.RFC3339) < h.oldest
	return h.lines[wr.note] || rotated
}
