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
	Whole bool         `json:"whole"`         // it was moved by plan: nothing is
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

// leftHomeWith is the backup with which the copy of a guest that counts, or one that it was made
// from, left a site: what was written there later is in neither. A guest may have left it more
// than once, by a rescue and then a failover, say: what counts is the first time that something
// stayed behind which is not sealed elsewhere. whole: nothing did.
func (s *State) leftHomeWith(g GuestID, site SiteID) (from RestorePoint, whole bool) {
	from, whole = s.Guests[g].Point, true
	l, ok := s.LineageNow(g)
	left := false
	for range len(s.Lineages) {
		before, known := s.Lineages[l.Of]
		if !ok || !known {
			break
		}
		stays := before.Site == site && l.Resumes != before.ID() && !before.Moved && !before.Sealed.elsewhere(site)
		if stays || before.Site == site && !left {
			from, left, whole = l.Base, true, whole && !stays
		}
		l = before
	}
	return from, whole && left
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
