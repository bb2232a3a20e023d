package lab

import (
	"net/http"
	"slices"
	"strings"
)

// pbsPrivileges are those that the lab's PBS checks or shows; they are the same in 3.4 and 4.x.
var pbsPrivileges = []string{
	"Datastore.Audit", "Datastore.Backup", "Datastore.Modify", "Datastore.Prune", "Datastore.Read", "Datastore.Verify",
	"Remote.Audit", "Remote.Read", "Sys.Audit",
}

// storePath is the ACL path of a namespace of the datastore.
func (b *PBS) storePath(ns string) string {
	return strings.TrimSuffix("/datastore/"+b.cfg.Datastore+"/"+ns, "/")
}

// granted returns a token's privileges on a path: what its own entries and those of its user both give.
// Who has no entry at all has everything.
func (b *PBS) granted(token, path string) []string {
	have := b.entries(token, path)
	if user := userOf(token); user != token {
		of := b.entries(user, path)
		have = slices.DeleteFunc(slices.Clone(have), func(priv string) bool { return !slices.Contains(of, priv) })
	}
	return slices.DeleteFunc(slices.Clone(have), func(priv string) bool {
		return slices.Contains(b.st.Dropped[token], priv)
	})
}

func (b *PBS) entries(who, path string) []string {
	acl, limited := b.cfg.ACL[who]
	if !limited {
		return pbsPrivileges
	}
	for {
		if privs, ok := acl[path]; ok {
			return privs
		}
		i := strings.LastIndexByte(path, '/')
		switch {
		case path == "/" || i < 0:
			return nil
		case i == 0:
			path = "/"
		default:
			path = path[:i]
		}
	}
}

func (b *PBS) allowed(token, path string, oneOf ...string) bool {
	have := b.granted(token, path)
	return slices.ContainsFunc(oneOf, func(priv string) bool { return slices.Contains(have, priv) })
}

// errPermission is the one text of PBS for a missing privilege; it names none.
func errPermission() *apiError {
	return &apiError{status: http.StatusForbidden, text: "permission check failed"}
}

// need returns a 403 unless the caller has one of the privileges on path.
func (b *PBS) need(c *call, path string, oneOf ...string) error {
	if b.allowed(c.token, path, oneOf...) {
		return nil
	}
	return errPermission()
}

// may tells whether a token may do something to a snapshot: with the privilege for any, or with the one
// for its own and being the owner of the group.
func (b *PBS) may(token string, s Snapshot, forAny, forOwn string) bool {
	path := b.storePath(s.NS)
	return b.allowed(token, path, forAny) || (s.Owner == token && b.allowed(token, path, forOwn))
}

// seen returns the snapshots of a namespace that a token may list, or a 403 when it may list none at all.
func (b *PBS) seen(token, ns string) ([]Snapshot, error) {
	path := b.storePath(ns)
	if !b.allowed(token, path, "Datastore.Audit", "Datastore.Backup", "Datastore.Read") {
		return nil, errPermission()
	}
	return slices.DeleteFunc(b.listed(ns), func(s Snapshot) bool { return !b.may(token, s, "Datastore.Audit", "Datastore.Backup") }), nil
}

// listFor returns what a storage entry's user sees of a namespace.
func (b *PBS) listFor(user, ns string) ([]Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen(user, ns)
}

// readable tells whether a storage entry's user may restore a snapshot.
func (b *PBS) readable(user string, s Snapshot) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.may(user, s, "Datastore.Read", "Datastore.Backup")
}

// permissions answers for the caller itself: path -> privilege -> does it propagate.
func (b *PBS) permissions(c *call) (any, error) {
	if c.has("auth-id") && c.str("auth-id") != c.token {
		return nil, errPermission()
	}
	paths := []string{c.str("path")}
	if !c.has("path") {
		paths = []string{"/", "/datastore/" + b.cfg.Datastore}
		for path := range b.cfg.ACL[c.token] {
			paths = append(paths, path)
		}
	}
	out := map[string]map[string]bool{}
	for _, path := range paths {
		have := b.granted(c.token, path)
		if len(have) == 0 {
			continue // the real one does not tell that such a path exists
		}
		out[path] = map[string]bool{}
		for _, priv := range have {
			out[path][priv] = true
		}
	}
	return out, nil
}
