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

// privileges compares the tokens' rights, on the PVE and on the PBS, with what is needed.
func (h here) privileges() result {
	var r result
	h.node(&r)
	h.store(&r)
	for _, m := range h.Facts.Unusable {
		r.add(found(Privileges, CodeMachineOut, h.Local.Site, m.Name, "why", m.Why))
	}
	if asked := h.Facts.Helper; asked.ID != 0 {
		r.checked++
		if asked.Why != "" {
			r.add(found(Privileges, CodeNoHelper, h.Local.Site, "root helper",
				"id", itoa(asked.ID), "why", asked.Why, "range", rangeText(h.host.Restore.IDs)))
		}
	}
	return r
}

func (h here) node(r *result) {
	f := h.Facts
	if f.Release == "" || f.Permissions == nil {
		return // why stands among the machines that cannot be used
	}
	need, err := Grants(h.State.Network, h.Local.Site, f.Release)
	if err != nil {
		r.add(found(Privileges, CodeBadRelease, h.Local.Site, "node "+f.Node, "why", err.Error()))
		return
	}
	need = read(f.Permissions, need)
	r.checked += len(need)
	user, _, _ := strings.Cut(f.Token, "!")
	for _, m := range missing(f.Permissions, need) {
		r.add(found(Privileges, CodeMissingPrivilege, h.Local.Site, "token "+f.Token,
			"privilege", m.Privilege, "path", m.Path, "jobs", m.jobs, "token", f.Token, "user", user, "role", roleOf(m.Path)))
	}
}

// read leaves out the grants on paths that were not read: they are not held
// against the token.
func read(have map[string]map[string]bool, need []privileges.Grant) []privileges.Grant {
	return slices.DeleteFunc(need, func(g privileges.Grant) bool { _, ok := have[g.Path]; return !ok })
}

// lack is one privilege that is missing, with all that it is needed for.
type lack struct {
	privileges.Grant
	jobs string
}

// missing returns each missing privilege once, by path and name.
func missing(have map[string]map[string]bool, need []privileges.Grant) []lack {
	var out []lack
	for _, g := range privileges.Missing(have, need) {
		i := slices.IndexFunc(out, func(l lack) bool { return l.Path == g.Path && l.Privilege == g.Privilege })
		if i < 0 {
			out = append(out, lack{g, string(g.Job)})
		} else if job := string(g.Job); !slices.Contains(strings.Split(out[i].jobs, ", "), job) {
			out[i].jobs += ", " + job
		}
	}
	slices.SortFunc(out, func(a, b lack) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Privilege, b.Privilege)) })
	return out
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
