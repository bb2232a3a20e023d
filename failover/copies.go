package failover

import (
	"fmt"
	"slices"
	"time"
)

// ReportCopies carries what one agent sees of the copies, on its own site's
// machines, of guests that have moved.
type ReportCopies struct {
	Copies SiteCopies `json:"copies"`
}

// SiteCopies is what the agent of a site sees of them. A copy that is not
// there any more is not in it.
type SiteCopies struct {
	Site   SiteID `json:"site"`
	Copies []Copy `json:"copies,omitempty"` // in the order of CopiesAt
	AsOf   uint64 `json:"as_of,omitempty"`  // index of the State that the reader had when it began
}

// Copy is one copy of a guest as it stands on a host. Its times are the log's.
type Copy struct {
	Place
	Guest   GuestID   `json:"guest"`
	Running bool      `json:"running,omitempty"`
	Since   time.Time `json:"since,omitzero"`   // it runs since
	Booted  time.Time `json:"booted,omitzero"`  // its host runs since; zero: the host does not tell
	OnBoot  bool      `json:"onboot,omitempty"` // it starts with its host
	Unread  string    `json:"unread,omitempty"` // why nothing is known of it: its host does not answer, say
}

// Place is where a copy of a guest stands, and the epoch in which it was its
// guest's owner; the zero Epoch is that of a home copy before anything moved.
type Place struct {
	Site  SiteID `json:"site"`
	Host  HostID `json:"host"`
	VMID  int    `json:"vmid"`
	Epoch Epoch  `json:"epoch,omitzero"`
}

// same says whether two places are one, whatever the epoch.
func (p Place) same(o Place) bool { return p.Site == o.Site && p.Host == o.Host && p.VMID == o.VMID }

// StoredCopies is a site's newest word on its copies and where it stands in the log.
type StoredCopies struct {
	Copies SiteCopies `json:"copies"`
	Stamp  Stamp      `json:"stamp"`
}

// GuestCopy is a copy, whether it is superseded, and when it was seen.
type GuestCopy struct {
	Copy
	Superseded bool  `json:"superseded"`
	Seen       Stamp `json:"seen"`
}

// Branch is what is known of the newest copy of a guest that was superseded:
// its data and that of the copy which serves have parted.
type Branch struct {
	Place
	Reason  Reason    `json:"reason"`            // CodeBranchOff, CodeBranchRan, CodeBranchBooted, CodeBranchStopped
	At      Stamp     `json:"at"`                // of the reason
	Since   time.Time `json:"since,omitzero"`    // the copy runs since; zero: it is off
	LastRun time.Time `json:"last_run,omitzero"` // when it was last seen to run
	// Stopped is when our agent had shut it down. OnBoot says whether it starts with its
	// host; after Stopped how it was found, for who brings it back.
	Stopped Stamp `json:"stopped,omitzero"`
	OnBoot  bool  `json:"onboot,omitempty"`
	Op      OpID  `json:"op,omitempty"` // that shuts it down, or did
}

// maxFormer bounds the places that a guest has left, its home not counted.
const maxFormer = 8

// Now is where a guest is its owner's.
func (p Placement) Now() Place {
	return Place{Site: p.Owner, Host: p.Host, VMID: p.VMID, Epoch: p.Epoch}
}

// HomePlace is the place of a guest's home copy, as declared.
func (s *State) HomePlace(g GuestID) Place {
	return Place{Site: s.Network.Home(g), Host: s.Network.Guests[g].Host, VMID: s.Network.Guests[g].ID}
}

// learnBoot remembers how the copy at home starts with its host, as an agent has just
// found it before it changed that: a later failback has it start so again. What our agents
// have taken from it before, a copy that is not its guest's owner no longer shows.
func (s *State) learnBoot(run GuestRun, st Stamp) {
	for _, from := range []Source{run.Source, run.Left} {
		g := run.Assignment.Guest
		at := Place{Site: from.Site, Host: from.Host, VMID: from.VMID}
		if from.Found.Index != st.Index || !at.same(s.HomePlace(g)) {
			continue
		}
		p := s.Guests[g]
		p.OnBoot = from.OnBoot || p.OnBoot && !p.Now().same(at)
		s.Guests[g] = p
	}
}

// seenBoot is the same for a copy at home that its guest has left without our agents' doing.
func (s *State) seenBoot(seen Copy) {
	if p, ok := s.Guests[seen.Guest]; ok && seen.OnBoot && !p.OnBoot && seen.same(s.HomePlace(seen.Guest)) {
		p.OnBoot = true
		s.Guests[seen.Guest] = p
	}
}

// superseded lists the places of a guest's copies that own it no more, the one
// that was left last first.
func (s *State) superseded(g GuestID) []Place {
	p := s.Guests[g]
	if p.Epoch == (Epoch{}) {
		return nil
	}
	var out []Place
	for _, f := range slices.Backward(p.Former) {
		if !f.same(p.Now()) && !s.forked(g, f) {
			out = append(out, f)
		}
	}
	home := s.HomePlace(g)
	switch {
	case home.same(p.Now()) || s.forked(g, home) || slices.ContainsFunc(out, home.same):
	case len(out) > 0 && s.leftBefore(g, out[0], p.Epoch):
		out = slices.Insert(out, 0, home) // it came home in between
	default:
		out = append(out, home)
	}
	return out
}

// leftBefore says whether a guest had left a place already when an epoch of it was born.
func (s *State) leftBefore(g GuestID, at Place, born Epoch) bool {
	l, known := s.Lineages[LineageOf(g, Placement{Epoch: at.Epoch})]
	return known && at.Epoch.Generation == born.Generation && l.To.Index != 0 && l.To.Index < born.Index
}

// CopiesAt lists the copies that the agent of a site is to look at: of every
// guest that has moved, the one that owns it and those that did.
func (s *State) CopiesAt(site SiteID) []Copy {
	if s.Network == nil {
		return nil
	}
	var out []Copy
	for _, g := range sortedKeys(s.Guests) {
		old := s.superseded(g)
		if len(old) == 0 {
			continue
		}
		for _, place := range append([]Place{s.Guests[g].Now()}, old...) {
			if place.Site == site {
				out = append(out, Copy{Guest: g, Place: place})
			}
		}
	}
	return out
}

// CopiesOf returns the copies of a guest as their agents last saw them, the
// owner's first. A guest that never moved has none here.
func (s *State) CopiesOf(g GuestID) []GuestCopy {
	var out []GuestCopy
	now := s.Guests[g].Now()
	for _, site := range sortedKeys(s.Copies) {
		for _, c := range s.Copies[site].Copies.Copies {
			if c.Guest != g {
				continue
			}
			seen := GuestCopy{Copy: c, Superseded: !c.same(now), Seen: s.Copies[site].Stamp}
			if !seen.Superseded {
				out = slices.Insert(out, 0, seen)
			} else {
				out = append(out, seen)
			}
		}
	}
	return out
}

func (c ReportCopies) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	if _, ok := s.Network.Sites[c.Copies.Site]; !ok {
		return reject(CodeUnknownSite, "site", string(c.Copies.Site))
	}
	for _, seen := range c.Copies.Copies {
		if seen.Site != c.Copies.Site {
			return reject(CodeInvalid, "what", fmt.Sprintf("a copy at %s, told by %s", seen.Site, c.Copies.Site))
		}
	}
	if len(c.Copies.Copies) == 0 && len(s.CopiesAt(c.Copies.Site)) == 0 {
		delete(s.Copies, c.Copies.Site)
		return nil
	}
	s.Copies[c.Copies.Site] = StoredCopies{Copies: c.Copies, Stamp: st}
	for _, seen := range c.Copies.Copies {
		s.branch(seen, c.Copies.AsOf, st)
		s.seenBoot(seen)
		s.ranSince(seen, c.Copies.AsOf)
	}
	return nil
}

// branch draws the consequences of what was seen of the copy that was
// superseded last. What an agent saw before it knew of that says nothing.
func (s *State) branch(seen Copy, asOf uint64, st Stamp) {
	p, ok := s.Guests[seen.Guest]
	old := s.superseded(seen.Guest)
	if !ok || seen.Unread != "" || len(old) == 0 || !old[0].same(seen.Place) {
		return
	}
	b := Branch{Place: old[0]}
	if p.Branch != nil && p.Branch.same(old[0]) {
		b = *p.Branch
	}
	if asOf < max(p.Epoch.Index, b.Stopped.Index) {
		return
	}
	b.Since = time.Time{}
	if b.Stopped.Index == 0 {
		b.OnBoot = seen.OnBoot
	}
	if seen.Running {
		b.Since, b.LastRun = seen.Since, st.At
	}
	code := s.branchCode(seen, b, p)
	news := b.Reason.Code != code
	if news {
		b.Reason, b.At = branchReason(code, seen.Guest, seen.Place), st
	}
	p.Branch = &b
	s.Guests[seen.Guest] = p
	if news {
		s.event(st, b.Reason, Event{Guest: seen.Guest, Site: seen.Site})
	}
}

func branchReason(code string, g GuestID, at Place) Reason {
	return because(code, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
}

// branchCode says what became of a superseded copy. What was seen to run without having just
// started with its host stays so until it is seen off: times are told by the log's clock, and
// where that has leapt forward, with a leader whose own was ahead, an old start looks new.
func (s *State) branchCode(seen Copy, b Branch, p Placement) string {
	switch {
	case !seen.Running && b.Stopped.Index != 0:
		return CodeBranchStopped
	case !seen.Running:
		return CodeBranchOff
	case b.Reason.Code == CodeBranchRan: // and was not seen off since: it has users
		return CodeBranchRan
	case b.Stopped.Index == 0 && s.bootedSince(seen, p):
		return CodeBranchBooted
	}
	return CodeBranchRan
}

// autostartWithin is how long after its host's start a guest may have started
// and count as started with it.
const autostartWithin = 10 * time.Minute

// clocksApart is how long after the entry that moved its guest a copy must have started
// to have been off then, by its own host's clock: that and the log's differ by some
// seconds, and an entry takes some to be agreed upon.
const clocksApart = 15 * time.Second

// bootedSince says whether a superseded copy was off when its guest became
// another site's, and started only as its host came back: it has no users but
// of the last minutes. Of what the log's clock went on since, where a leader followed another, nothing
// is known to have passed: a copy that ran all the while would look started since. One whose host does not say since when it runs, one that
// ran in a site that was cut off, and one that a person started are none.
func (s *State) bootedSince(c Copy, p Placement) bool {
	off := p.Owned.Add(clocksApart + s.Leapt - p.Leapt)
	if p.Owned.IsZero() || c.Booted.IsZero() || !c.Booted.After(off) || !c.Since.After(off) {
		return false
	}
	back := s.Reports[c.Site].Back
	inTime := c.Since.Sub(c.Booted) <= autostartWithin
	return inTime && back.Index != 0 && back.At.After(p.Owned) && back.At.Sub(c.Since) <= autostartWithin
}

// silentFor is how long an agent's reports stay away before the next one is its
// coming back.
const silentFor = time.Minute

// leave remembers the place that a guest leaves for another one.
func (s *State) leave(g GuestID, p *Placement, st Stamp) {
	if now := p.Now(); !now.same(s.HomePlace(g)) {
		p.Former = append(slices.DeleteFunc(slices.Clone(p.Former), now.same), now) // it may have served there before
		p.Former = p.Former[max(0, len(p.Former)-maxFormer):]
	}
	p.Owned, p.Leapt, p.Booted, p.Branch = st.At, s.Leapt, time.Time{}, nil
}
