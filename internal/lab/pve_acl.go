package lab

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// privileges are those that the lab checks or shows, for PVE 9; PVE 8 has VM.Monitor in place of the
// VM.GuestAgent ones.
var privileges = []string{
	"Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit", "Pool.Audit", "SDN.Audit", "SDN.Use", "Sys.Audit", "Sys.Modify",
	"VM.Allocate", "VM.Audit", "VM.Backup", "VM.Config.CPU", "VM.Config.Cloudinit", "VM.Config.Disk", "VM.Config.HWType",
	"VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", "VM.PowerMgmt",
}

// otherPrivileges exist beside those that the lab checks; the ones of PVE 9 alone are in newPrivileges.
var (
	otherPrivileges = []string{
		"Datastore.AllocateTemplate", "Group.Allocate", "Mapping.Audit", "Mapping.Modify", "Mapping.Use", "Permissions.Modify",
		"Pool.Allocate", "Realm.Allocate", "Realm.AllocateUser", "SDN.Allocate", "Sys.AccessNetwork", "Sys.Console", "Sys.Incoming",
		"Sys.PowerMgmt", "Sys.Syslog", "User.Modify", "VM.Clone", "VM.Config.CDROM", "VM.Console", "VM.Migrate", "VM.Snapshot",
		"VM.Snapshot.Rollback",
	}
	newPrivileges = []string{"VM.GuestAgent.FileRead", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite", "VM.Replicate"}
)

// checkACL refuses a privilege that this release does not have, as pveum does.
func (p *PVE) checkACL() error {
	known := slices.Concat(p.allPrivileges(), otherPrivileges)
	if p.major() >= 9 {
		known = append(known, newPrivileges...)
	}
	for _, token := range slices.Sorted(maps.Keys(p.cfg.ACL)) {
		for _, path := range slices.Sorted(maps.Keys(p.cfg.ACL[token])) {
			for _, priv := range p.cfg.ACL[token][path] {
				if !slices.Contains(known, priv) {
					return fmt.Errorf("ACL of %s on %s: invalid privilege '%s'", token, path, priv)
				}
			}
		}
	}
	return nil
}

func (p *PVE) allPrivileges() []string {
	if p.major() >= 9 {
		return privileges
	}
	old := slices.DeleteFunc(slices.Clone(privileges), func(s string) bool { return strings.HasPrefix(s, "VM.GuestAgent.") })
	return append(old, "VM.Monitor")
}

// granted returns a token's privileges on a path: what its own entries and those of its user both give,
// without what a fault took.
func (p *PVE) granted(token, path string) []string {
	have := p.listed(token, path)
	if user := userOf(token); user != token {
		of := p.listed(user, path)
		have = slices.DeleteFunc(slices.Clone(have), func(priv string) bool { return !slices.Contains(of, priv) })
	}
	return slices.DeleteFunc(slices.Clone(have), func(priv string) bool { return p.dropped(token, priv) })
}

// listed returns the privileges of a user or token on a path: those of the deepest entry at or above it.
func (p *PVE) listed(who, path string) []string {
	acl, limited := p.cfg.ACL[who]
	if !limited {
		return p.allPrivileges()
	}
	for {
		if privs, ok := acl[path]; ok && !p.st.NoACL[path] {
			return privs
		}
		if path == "/" || path == "" {
			return nil
		}
		if path = path[:strings.LastIndexByte(path, '/')]; path == "" {
			path = "/"
		}
	}
}

// dropACL removes every entry on a path, as the deletion of a guest does to /vms/ID.
func (p *PVE) dropACL(path string) {
	if p.st.NoACL == nil {
		p.st.NoACL = map[string]bool{}
	}
	p.st.NoACL[path] = true
}

func (p *PVE) allowed(token, path string, privs ...string) bool {
	have := p.granted(token, path)
	for _, want := range privs {
		if !slices.Contains(have, want) {
			return false
		}
	}
	return true
}

func forbidden(path, privs string) *apiError {
	return &apiError{status: http.StatusForbidden, text: fmt.Sprintf("Permission check failed (%s, %s)", path, privs)}
}

// need returns a 403 unless the token has one of the privileges on path.
func (p *PVE) need(c *call, path string, oneOf ...string) error {
	for _, priv := range oneOf {
		if p.allowed(c.token, path, priv) {
			return nil
		}
	}
	return forbidden(path, strings.Join(oneOf, "|"))
}

func (p *PVE) permissions(c *call) (any, error) {
	paths := []string{c.str("path")}
	if !c.has("path") {
		paths = []string{"/"}
		for path := range p.cfg.ACL[c.token] {
			paths = append(paths, path)
		}
	}
	out := map[string]map[string]int{}
	for _, path := range paths {
		out[path] = map[string]int{}
		for _, priv := range p.granted(c.token, path) {
			out[path][priv] = 1
		}
	}
	return out, nil
}
