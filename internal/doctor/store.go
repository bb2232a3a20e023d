package doctor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// The oldest PBS whose parameters and privileges are known here (proxmox.md section 12).
const oldestPBS = "3.4"

// StoreGrants returns what the agent's token needs on the PBS of its site:
// on the datastore, on the namespaces that the declared storage entries read,
// and on the remotes of the pull jobs that it sees.
func StoreGrants(host network.Host, f Facts) []privileges.Grant {
	p := privileges.StorePaths{Datastore: f.Store.Datastore}
	for _, u := range entries(host) {
		if e, ok := f.Entries[u.name]; ok && e.Type == "pbs" && !e.Foreign && !slices.Contains(p.Namespaces, e.Namespace) {
			p.Namespaces = append(p.Namespaces, e.Namespace)
		}
	}
	for _, j := range f.Jobs {
		r := privileges.Remote{Name: j.Remote, Datastore: j.RemoteStore}
		if j.Pull && j.Remote != "" && !slices.Contains(p.Remotes, r) {
			p.Remotes = append(p.Remotes, r)
		}
	}
	slices.SortFunc(p.Remotes, func(a, b privileges.Remote) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Datastore, b.Datastore))
	})
	need := privileges.NeededPBS(p)
	if len(p.Namespaces) == 0 { // not the root namespace, but none that is known
		need = slices.DeleteFunc(need, func(g privileges.Grant) bool {
			return g.Job != privileges.Health && !strings.HasPrefix(g.Path, "/remote")
		})
	}
	return need
}

// supported says whether a version of PBS ("3.4", "4.2.1") is known here.
func supported(release string) bool {
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, okA := number(major)
	b, okB := number(minor)
	return okA && (a > 3 || okB && a == 3 && b >= 4)
}

// store checks the token's rights on the PBS, and that it owns what it has to
// protect: Datastore.Backup is for a token's own groups only (section 9).
func (h here) store(r *result) {
	f := h.Facts
	s := f.Store
	if s.Release != "" && !supported(s.Release) {
		r.add(found(Privileges, CodeBadReleasePBS, h.Local.Site, "PBS", "release", s.Release, "oldest", oldestPBS))
	}
	if s.Permissions == nil || f.Entries == nil {
		return // why stands among the failures
	}
	need := read(s.Permissions, StoreGrants(h.host, *f))
	r.checked += len(need)
	user, _, _ := strings.Cut(s.Token, "!")
	for _, m := range missing(s.Permissions, need) {
		r.add(found(Privileges, CodeMissingPrivilegePBS, h.Local.Site, "token "+s.Token,
			"privilege", m.Privilege, "path", m.Path, "jobs", m.jobs, "token", s.Token, "user", user, "role", storeRole(m.Privilege)))
	}
	h.owners(r)
	if s.JobsRead {
		h.pulls(r)
	}
}

// owners tells of groups that belong to another user or token.
func (h here) owners(r *result) {
	s := h.Facts.Store
	for _, o := range s.Owners {
		ns := privileges.StorePath(s.Datastore, o.Namespace)
		if _, any := s.Permissions[ns]["Datastore.Modify"]; any || o.Name == s.Token {
			continue
		}
		r.add(found(Privileges, CodeForeignOwner, h.Local.Site, "token "+s.Token,
			"owner", o.Name, "groups", itoa(o.Groups), "group", o.Example, "ns", o.Namespace, "store", s.Datastore, "token", s.Token))
	}
}

// pulls tells of sources for which no pull job is to be seen: jobs on whose
// remote the token lacks Remote.Audit are left out without an error.
func (h here) pulls(r *result) {
	for _, site := range sorted(h.host.Sources) {
		if site == h.Local.Site {
			continue // backups of its own need no way here
		}
		var spaces []string
		hidden := false
		for _, name := range h.host.Sources[site] {
			if e, ok := h.Facts.Entries[name]; ok && e.Type == "pbs" && !e.Foreign {
				spaces = append(spaces, e.Namespace)
				hidden = hidden || h.jobsHidden(e.Namespace)
			}
		}
		pulled := slices.ContainsFunc(h.Facts.Jobs, func(j SyncJob) bool { return j.Pull && slices.Contains(spaces, j.NS) })
		if len(spaces) > 0 && !pulled && !hidden { // without Datastore.Audit, which is told, no job is shown
			r.add(found(Privileges, CodeNoPull, h.Local.Site, "token "+h.Facts.Store.Token, "source", string(site), "ns", strings.Join(spaces, ", ")))
		}
	}
}

// storeRole names the role of PBS with which deploy/proxmox gives a privilege.
func storeRole(privilege string) string {
	switch {
	case strings.HasPrefix(privilege, "Remote."):
		return "RemoteSyncOperator"
	case privilege == "Datastore.Backup":
		return "DatastoreBackup"
	case privilege == "Datastore.Verify":
		return "DatastoreReader"
	}
	return "DatastoreAudit"
}
