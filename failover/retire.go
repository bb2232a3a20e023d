package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A site is retired when it will never come back: where its guests live by now becomes
// their home. What its disks held beyond the backups that they were restored from is lost.

// RetireSite makes the sites where a lost site's guests live their homes.
type RetireSite struct {
	Site SiteID `json:"site"`
	// IfVersion is the version of the declared network that the person saw.
	IfVersion uint64 `json:"if_version"`
}

// RetiredGuest is what the end of its home means for a guest.
type RetiredGuest struct {
	Guest GuestID      `json:"guest"`
	Now   Place        `json:"now"` // its home from then on
	Was   Place        `json:"was"`
	From  RestorePoint `json:"from,omitzero"` // that it was restored from: what was written at home after it is lost
	Whole bool         `json:"whole"`         // nothing is: all of it is in the copy that counts, or sealed elsewhere
}

// Retired returns the network in which a site is nobody's home any more, and what that
// means for the guests whose home it was. It is refused while the site may come back by
// itself, or while anything of it lives nowhere else.
func (s *State) Retired(site SiteID) (*network.Spec, []RetiredGuest, error) {
	if s.Network == nil {
		return nil, nil, reject(CodeNoNetwork)
	}
	if err := s.knownSite(site); err != nil {
		return nil, nil, err
	}
	if d := s.Domains[SiteDomain(site)]; !d.Cause.gone(SiteDomain(site)) {
		return nil, nil, reject(CodeSiteStands, "site", string(site), "cause", string(d.Cause))
	}
	spec := *s.Network
	spec.Guests, spec.Structures = maps.Clone(spec.Guests), maps.Clone(spec.Structures)
	var all []RetiredGuest
	var stay []string
	homes := map[StructureID]SiteID{}
	for _, g := range s.Network.GuestIDs() {
		if s.Network.Home(g) != site {
			continue
		}
		p, guest := s.Guests[g], spec.Guests[g]
		switch first, has := homes[guest.Structure]; {
		case p.Owner == site:
			stay = append(stay, string(g))
			continue
		case p.Op != "":
			return nil, nil, reject(CodeGuestBusy, "guest", string(g), "op", string(p.Op))
		case p.Phase != PhaseAway && p.Phase != PhaseDiverged:
			return nil, nil, reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
		case has && first != p.Owner:
			return nil, nil, reject(CodeTwoHomes, "structure", string(guest.Structure), "one", string(first), "other", string(p.Owner))
		}
		homes[guest.Structure] = p.Owner
		from, whole := s.leftHomeWith(g, site)
		all = append(all, RetiredGuest{Guest: g, Now: p.Now(), Was: s.HomePlace(g), From: from, Whole: whole})
		guest.Host, guest.ID = p.Host, p.VMID
		guest.Prefer = slices.DeleteFunc(slices.Clone(guest.Prefer), func(t SiteID) bool { return t == p.Owner })
		spec.Guests[g] = guest
	}
	switch {
	case len(stay) > 0:
		return nil, nil, reject(CodeLivesThere, "site", string(site), "guests", strings.Join(stay, ", "))
	case len(all) == 0:
		return nil, nil, reject(CodeNothing, "what", "guests whose home it is", "domain", string(SiteDomain(site)))
	}
	for id, home := range homes {
		structure := spec.Structures[id]
		structure.Home = home
		spec.Structures[id] = structure
	}
	return &spec, all, nil
}

// leftHomeWith is the backup until which all that a guest's copies at a site held is in the copy
// that counts, or sealed elsewhere; whole: all of it is. A guest may have left copies there more
// than once, by a rescue and then a failover, say, and may have gone on from the backup of an
// older one: the first moment counts after which something stayed behind.
func (s *State) leftHomeWith(g GuestID, site SiteID) (from RestorePoint, whole bool) {
	now, ok := s.LineageNow(g)
	if !ok {
		return s.Guests[g].Point, false
	}
	line := s.lineTo(now)
	from, whole = s.Guests[g].Point, true
	newest := Epoch{}
	for _, id := range sortedKeys(line) {
		if l := s.Lineages[id]; l.Site == site && !l.Epoch.Less(newest) {
			from, newest = line[id].Base, l.Epoch
		}
	}
	for _, l := range s.LineagesOf(g) {
		sealed := l.Sealed.elsewhere(site)
		if l.Site != site || l.ID() == now.ID() || sealed && !s.startedSince(l) {
			continue
		}
		last, all := s.wentOn(l, line)
		if sealed {
			last, all = l.Sealed.Copies[0].Point, false
		}
		switch {
		case all:
			continue
		case whole || last.Time.Before(from.Time):
			from = last
		}
		whole = false
	}
	return from, whole
}

// startedSince says whether the copy of a sealed branch was seen to run since: somebody has started it, and what is
// written there then is in no seal.
func (s *State) startedSince(l Lineage) bool {
	told := s.Copies[l.Site].Copies
	at := Place{Site: l.Site, Host: l.Host, VMID: l.VMID}
	newest, _ := s.lineageAt(l.Guest, at)
	return newest == l.ID() && told.AsOf >= l.Sealed.At.Index &&
		slices.ContainsFunc(told.Copies, func(c Copy) bool { return c.Guest == l.Guest && c.same(at) && c.Running })
}

// lineTo is what a lineage was made from, and what that was made from, and so on: of each the
// lineage that began with it.
func (s *State) lineTo(l Lineage) map[LineageID]Lineage {
	line := map[LineageID]Lineage{}
	for {
		before, known := s.Lineages[l.Of]
		if _, twice := line[l.Of]; twice || !known {
			return line
		}
		line[l.Of] = l
		l = before
	}
}

// wentOn says until which backup a line has what a lineage held, or that it has all of it.
func (s *State) wentOn(l Lineage, line map[LineageID]Lineage) (last RestorePoint, all bool) {
	up := l // the newest of those that it was made from, itself included, that the line has
	for range len(s.Lineages) {
		next, has := line[up.ID()]
		before, known := s.Lineages[up.Of]
		switch {
		case has && up.ID() == l.ID():
			return next.Base, next.Resumes == l.ID() || l.Moved && next.From.Index == l.To.Index
		case has:
			return next.Base, false
		case !known:
			return l.Base, false
		}
		up = before
	}
	return l.Base, false
}

// elsewhere says whether a sealed branch lies at another site as well; a seal may be nil.
func (l *Seal) elsewhere(site SiteID) bool {
	return l != nil && slices.ContainsFunc(l.Copies, func(c SealCopy) bool { return c.Site != site })
}

func (c RetireSite) apply(s *State, st Stamp) error {
	spec, all, err := s.Retired(c.Site)
	switch {
	case err != nil:
		return err
	case c.IfVersion != s.NetworkVersion:
		return reject(CodeStaleNetwork, "have", fmt.Sprint(s.NetworkVersion), "got", fmt.Sprint(c.IfVersion))
	}
	for _, r := range all {
		p := s.Guests[r.Guest]
		was := r.Was
		if id, ok := s.lineageAt(r.Guest, was); ok {
			was.Epoch = s.Lineages[id].Epoch
		}
		p.Former = slices.DeleteFunc(slices.Clone(p.Former), r.Now.same)
		if !slices.ContainsFunc(p.Former, was.same) {
			p.Former = append([]Place{was}, p.Former...)
		}
		p.Phase, p.Since = PhaseHome, st
		s.Guests[r.Guest] = p
	}
	s.Network, s.NetworkVersion = spec, st.Index
	for _, r := range all {
		if spec.Guests[r.Guest].Priority == 4 {
			s.setPhase(r.Guest, PhaseExcluded, "", st)
		}
		s.event(st, because(CodeNewHome, "guest", string(r.Guest), "site", string(r.Now.Site), "host", string(r.Now.Host), "id", fmt.Sprint(r.Now.VMID), "was", string(c.Site)),
			Event{Guest: r.Guest, Site: r.Now.Site})
	}
	s.event(st, because(CodeRetired, "site", string(c.Site), "guests", fmt.Sprint(len(all)), "by", st.Actor), Event{Site: c.Site})
	return nil
}

// settledAway says whether a guest's home was retired: it lives where it was brought to, and
// its site's agent goes on backing it up as it did while it was away.
func (s *State) settledAway(g GuestID, l Lineage) bool {
	return s.AtHome(g) && l.Home != s.Network.Home(g) && l.Storage != ""
}
