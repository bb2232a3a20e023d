package failover

import (
	"fmt"
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// planFailback says which guests of a site, of those that live elsewhere, can come home,
// and by which way. Nothing of it depends on the time: no data is chosen here but by
// Loss.Keep, and what is lost is nothing.
func planFailback(s *State, loss Loss) Plan {
	p := Plan{Loss: loss}
	var away []GuestID
	for _, g := range s.Network.GuestIDs() {
		named := len(loss.Guests) == 0 || slices.Contains(loss.Guests, g)
		if named && s.Network.Home(g) == loss.Site && (len(loss.Guests) > 0 || !s.AtHome(g)) {
			away = append(away, g)
		}
	}
	order := planner{s: s, loss: loss}
	for _, g := range order.order(away) {
		way := func() (Assignment, Reason) { return s.wayHome(g, loss.Keep, slices.Contains(loss.Replace, g)) }
		if loss.Keep == KeepBack {
			way = func() (Assignment, Reason) { return s.wayBack(g) }
		}
		a, r := way()
		if !r.IsZero() {
			p.LeftOut = append(p.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			continue
		}
		p.Assignments = append(p.Assignments, a)
	}
	p.Hash = p.hash(p.bound())
	return p
}

// wayHome is one guest's place in a failback, or why it has none now.
func (s *State) wayHome(g GuestID, keep Keep, replace bool) (Assignment, Reason) {
	guest, p := s.Network.Guests[g], s.Guests[g]
	home := s.Network.Home(g)
	a := Assignment{
		Guest: g, Structure: guest.Structure, Priority: guest.Priority, Target: home, Host: guest.Host,
		VLAN: s.Network.Structures[guest.Structure].VLAN, Keep: keep,
	}
	branch, left := s.HomeBranch(g)
	engaged := s.engaged(g, keep)
	switch {
	case !engaged.IsZero():
		return a, engaged
	case s.AtHome(g):
		return a, because(CodeIsHome, "guest", string(g), "site", string(home))
	case s.unwell(p.Owner, p.Host):
		return a, because(CodeSourceDown, "guest", string(g), "site", string(p.Owner))
	case s.unwell(home, guest.Host):
		return a, because(CodeNotBack, "guest", string(g), "site", string(home))
	case s.noHands(home, guest.Host):
		return a, because(CodeNoHands, "guest", string(g), "site", string(home), "host", string(guest.Host))
	case keep == KeepHome && !left:
		return a, because(CodeNoHomeCopy, "guest", string(g), "host", string(guest.Host))
	}
	if c, why := s.thirdCopy(g, home, branch); why != "" {
		return a, because(why, "guest", string(g), "site", string(home), "host", string(c.Host), "id", fmt.Sprint(c.VMID))
	}
	if keep == KeepHome || left {
		a.Vault = s.vaultFor(home, s.losing(a), p.Owner)
	}
	if replace && left && keep == KeepAway {
		a.Replace = branch.VMID
	}
	if keep == KeepAway {
		a.Point = RestorePoint{Storage: s.lineagesOf(guest.Host, home).Away, Namespace: AwayNamespace(home)}
	}
	why := s.sealable(a)
	if !why.IsZero() && keep == KeepHome && s.neverRan(g) {
		a.Vault, why = "", Reason{} // there is nothing to seal, if its host proves that
	}
	return a, why
}

// thirdCopy is a copy at a site, to which a guest is to go, beside the branch that was left there, and that
// runs (CodeThirdCopy), or of which nobody has told since the guest moved last whether it
// does (CodeUnseen): a rescue made it there, say, and it ran on when the site was lost. It has
// the address of what would come home, and its own users. "": there is none.
func (s *State) thirdCopy(g GuestID, site SiteID, branch Place) (c Place, why string) {
	now := s.Guests[g].Now()
	told := s.Copies[site].Copies
	for _, c := range told.Copies {
		if c.Guest == g && c.Running && !c.same(branch) && !c.same(now) {
			return c.Place, CodeThirdCopy
		}
	}
	for _, old := range s.superseded(g) {
		_, declared := s.Network.Sites[site].Hosts[old.Host] // of one that was given up nobody can tell
		if old.Site != site || !declared || old.same(branch) || s.gone(g, old) {
			continue
		}
		unread := slices.ContainsFunc(told.Copies, func(c Copy) bool { return c.Guest == g && c.same(old) && c.Unread != "" })
		if told.AsOf < now.Epoch.Index || unread {
			return old, CodeUnseen
		}
	}
	return Place{}, ""
}

// losing is the site of the copy that a failback does not keep.
func (s *State) losing(a Assignment) SiteID {
	if a.Keep == KeepAway {
		return s.Network.Home(a.Guest)
	}
	return s.Guests[a.Guest].Owner
}

// vaultFor chooses the second site of a sealed branch: the one that serves the guest or
// will, else the first that can hold it.
func (s *State) vaultFor(home, loser, owner SiteID) SiteID {
	for _, site := range append([]SiteID{owner, home}, s.Network.SiteIDs()...) {
		if host, _, ok := s.Network.Target(site); ok && site != loser && s.lineagesOf(host, home).Sealed != "" && !s.unwell(site, host) {
			return site
		}
	}
	return ""
}

// sealable says whether the storage entries are declared that a failback writes to and
// reads from; if not, which host lacks them.
func (s *State) sealable(a Assignment) Reason {
	p, home := s.Guests[a.Guest], s.Network.Home(a.Guest)
	_, left := s.HomeBranch(a.Guest)
	lacks := func(host HostID) Reason {
		return because(CodeNoLineage, "guest", string(a.Guest), "host", string(host), "site", string(s.Network.SiteOf(host)), "home", string(home))
	}
	source, here := s.lineagesOf(p.Host, home), s.lineagesOf(a.Host, home)
	switch {
	case a.Keep == KeepAway && s.Network.Sites[home].Hosts[a.Host].Restore == nil:
		return because(CodeNoWayBack, "guest", string(a.Guest), "host", string(a.Host))
	case a.Keep == KeepAway && source.Away == "", a.Keep != KeepAway && source.Sealed == "":
		return lacks(p.Host)
	case a.Keep == KeepAway && (here.Away == "" || left && here.Sealed == ""):
		return lacks(a.Host)
	case a.Keep == KeepAway && !left:
		return Reason{}
	}
	vault, _, ok := s.Network.Target(a.Vault)
	if !ok || a.Vault == s.losing(a) || s.lineagesOf(vault, home).Sealed == "" {
		return because(CodeNoVault, "guest", string(a.Guest), "home", string(home))
	}
	return Reason{}
}

// lineagesOf are the storage entries of a host for the later lineages of a home's guests.
func (s *State) lineagesOf(host HostID, home SiteID) network.LineageStorages {
	return s.Network.Sites[s.Network.SiteOf(host)].Hosts[host].Lineages[home]
}

// homeLineage says where the backups of a copy lie that is its guest's again at home:
// where those of its first one did.
func (s *State) homeLineage(now *Lineage) {
	for _, l := range s.LineagesOf(now.Guest) {
		if l.Site == now.Site && l.Host == now.Host && l.Namespace != "" {
			now.Namespace = l.Namespace
			break
		}
	}
}
