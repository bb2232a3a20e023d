package doctor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// Grants returns what the token of a site's restoring host needs on a PVE of
// the given version ("9.2.1").
func Grants(spec *network.Spec, site failover.SiteID, version string) ([]privileges.Grant, error) {
	release, err := privileges.ParseRelease(version)
	if err != nil {
		return nil, err
	}
	_, host, ok := spec.Target(site)
	if !ok {
		return nil, nil
	}
	p := privileges.Paths{Node: host.PVE.Node, Storages: []string{host.Restore.Storage}}
	for _, e := range entries(host) {
		if !slices.Contains(p.Backups, e.name) {
			p.Backups = append(p.Backups, e.name)
		}
	}
	for _, tag := range tags(spec, site, host) {
		p.Networks = append(p.Networks, privileges.NIC{Bridge: host.Restore.Bridge, Tag: tag})
	}
	return privileges.Needed(release, p), nil
}

// tags are the VLANs of the structures whose guests the host may receive: from
// the sites that it has sources of, and of its own site (rescue).
func tags(spec *network.Spec, site failover.SiteID, host network.Host) []int {
	var out []int
	for _, g := range spec.GuestIDs() {
		home := spec.Home(g)
		vlan := spec.Structures[spec.Guests[g].Structure].VLAN
		_, source := host.Sources[home]
		if (source || home == site) && !slices.Contains(out, vlan) {
			out = append(out, vlan)
		}
	}
	slices.Sort(out)
	return out
}

// GrantPaths returns the ACL paths that Grants asks about, each once: the reader
// asks for each, since the answer for all paths leaves out what is inherited.
func GrantPaths(grants []privileges.Grant) []string {
	var out []string
	for _, g := range grants {
		if !slices.Contains(out, g.Path) {
			out = append(out, g.Path)
		}
	}
	return out
}

func (h here) privileges() result {
	var r result
	f := h.Facts
	if f.Release == "" || f.Permissions == nil {
		return r // why stands among the failures
	}
	need, err := Grants(h.State.Network, h.Local.Site, f.Release)
	if err != nil {
		r.add(found(Privileges, CodeBadRelease, h.Local.Site, "node "+f.Node, "why", err.Error()))
		return r
	}
	// A path that was not read is not held against the token.
	need = slices.DeleteFunc(need, func(g privileges.Grant) bool { _, read := f.Permissions[g.Path]; return !read })
	type pair struct{ path, name string }
	jobs := map[pair][]string{}
	var order []pair
	for _, g := range privileges.Missing(f.Permissions, need) {
		p := pair{g.Path, g.Privilege}
		if jobs[p] == nil {
			order = append(order, p)
		}
		jobs[p] = append(jobs[p], string(g.Job))
		r.checked++
	}
	slices.SortFunc(order, func(a, b pair) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.name, b.name)) })
	user, _, _ := strings.Cut(f.Token, "!")
	for _, p := range order {
		r.add(found(Privileges, CodeMissingPrivilege, h.Local.Site, "token "+f.Token,
			"privilege", p.name, "path", p.path, "jobs", strings.Join(jobs[p], ", "), "token", f.Token, "user", user, "role", roleOf(p.path)))
	}
	r.checked = len(need)
	return r
}

// roleOf names the role of deploy/proxmox that gives rights on a path.
func roleOf(path string) string {
	switch {
	case path == "/" || strings.HasPrefix(path, "/nodes"):
		return "WWWHealth"
	case strings.HasPrefix(path, "/storage"):
		return "WWWStorage"
	case strings.HasPrefix(path, "/sdn"):
		return "WWWNetwork"
	}
	return "WWWGuests"
}

// lacks says whether the token was seen to miss a privilege.
func (h here) lacks(path, privilege string) bool {
	f := h.Facts
	if _, read := f.Permissions[path]; !read {
		return false
	}
	return len(privileges.Missing(f.Permissions, []privileges.Grant{{Path: path, Privilege: privilege}})) > 0
}
