package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const snapshotArgs = "ns:string backup-type:string!=vm|ct|host backup-id:string! backup-time:integer! "

func pbsRoutes() []route[*PBS] {
	store := "/admin/datastore/{store}"
	return append(maintenanceRoutes(), []route[*PBS]{
		newRoute("GET", "/ping", "", (*PBS).ping),
		newRoute("GET", "/version", "", (*PBS).version),
		newRoute("GET", "/admin/datastore", "", (*PBS).datastores),
		newRoute("GET", store+"/status", "verbose:boolean", (*PBS).status),
		newRoute("GET", store+"/namespace", "parent:string max-depth:integer", (*PBS).namespaces),
		newRoute("GET", store+"/groups", "ns:string", (*PBS).groups),
		newRoute("GET", store+"/snapshots", "ns:string backup-type:string=vm|ct|host backup-id:string", (*PBS).snapshots),
		newRoute("DELETE", store+"/snapshots", snapshotArgs, (*PBS).deleteSnapshot),
		newRoute("GET", store+"/protected", snapshotArgs, (*PBS).getProtected),
		newRoute("PUT", store+"/protected", snapshotArgs+"protected:boolean!", (*PBS).putProtected),
		newRoute("GET", store+"/notes", snapshotArgs, (*PBS).getNotes),
		newRoute("PUT", store+"/notes", snapshotArgs+"notes:string!", (*PBS).putNotes),
		newRoute("POST", store+"/verify", "ns:string backup-type:string=vm|ct|host backup-id:string backup-time:integer "+
			"ignore-verified:boolean outdated-after:integer max-depth:integer", (*PBS).verify),
		newRoute("GET", "/admin/sync", "store:string sync-direction:string=all|push|pull", (*PBS).syncJobs),
		newRoute("POST", "/admin/sync/{id}/run", "", (*PBS).runSync),
		newRoute("GET", "/nodes/{node}/tasks", "start:integer limit:integer store:string running:boolean errors:boolean userfilter:string "+
			"since:integer until:integer typefilter:string", (*PBS).tasks),
		newRoute("GET", "/nodes/{node}/tasks/{upid}/status", "", (*PBS).taskStatus),
		newRoute("GET", "/nodes/{node}/tasks/{upid}/log", "start:integer limit:integer", (*PBS).taskLog),
	}...)
}

// ServeHTTP answers one API request as proxmox-backup-proxy does: errors are plain text although they
// are labelled JSON. A server without power gives no answer (a Hint).
func (b *PBS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	args, argErr := RequestParams(r)
	b.mu.Lock()
	if b.cfg.Clock != nil {
		b.advance(b.cfg.Clock())
	}
	a := newAnswer()
	if b.st.Off || b.st.Stalled {
		silent(a)
	} else {
		a.header.Set("Date", b.wall().UTC().Format(http.TimeFormat))
		c := &call{args: args}
		data, err := b.serve(r, c, argErr)
		a.header.Set("Content-Type", "application/json")
		if err != nil {
			pbsError(a, err)
		} else {
			out := map[string]any{"data": data}
			maps.Copy(out, c.extra)
			writeJSON(a, out)
		}
	}
	b.mu.Unlock()
	a.send(w)
}

func pbsError(a *answer, err error) {
	status, delay := http.StatusBadRequest, time.Duration(0)
	if e, ok := errors.AsType[*apiError](err); ok {
		status, delay = e.status, e.delay
	}
	a.WriteHeader(status)
	Hint{Delay: delay}.put(a.header)
	a.body.WriteString(err.Error())
}

func pbsToken(r *http.Request) (id, secret string, ok bool) {
	v, ok := strings.CutPrefix(r.Header.Get("Authorization"), "PBSAPIToken=")
	if !ok {
		return "", "", false
	}
	// The secret is a UUID without colons; user@realm!token has none either.
	return strings.Cut(v, ":")
}

// caller returns the token of a request, and whether it is good.
func (b *PBS) caller(r *http.Request) (id string, ok bool) {
	id, secret, ok := pbsToken(r)
	return id, ok && secret != "" && b.cfg.Tokens[id] == secret && !b.st.Revoked[id]
}

func (b *PBS) serve(r *http.Request, c *call, argErr error) (any, error) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), apiPrefix)
	id, ok := b.caller(r)
	if path != "/ping" && !ok {
		return nil, &apiError{status: http.StatusUnauthorized, text: "authentication failed", delay: authDelay}
	}
	c.token = id
	rt, vars := find(b.routes, r.Method, path)
	if rt == nil || !strings.HasPrefix(r.URL.Path, apiPrefix) {
		return nil, &apiError{status: http.StatusNotFound, text: fmt.Sprintf("Path '%s' not found.", r.URL.Path)}
	}
	c.vars = vars
	if argErr != nil {
		return nil, &apiError{status: http.StatusBadRequest, text: argErr.Error()}
	}
	if bad := rt.check(c.args, vars); len(bad) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(bad)))
		what := bad[name]
		if rt.param(name) == nil {
			what = "schema does not allow additional properties."
		}
		return nil, &apiError{status: http.StatusBadRequest, text: fmt.Sprintf("parameter verification failed - '%s': %s", name, what)}
	}
	if node, ok := vars["node"]; ok && node != "localhost" && node != b.cfg.Node {
		return nil, errors.New("no such node")
	}
	if store, ok := vars["store"]; ok && store != b.cfg.Datastore {
		return nil, fmt.Errorf("no such datastore '%s'", store)
	}
	return rt.handle(b, c)
}

func (b *PBS) ping(*call) (any, error) { return map[string]any{"pong": true}, nil }

func (b *PBS) version(*call) (any, error) {
	v := strings.Split(b.cfg.Version, ".")
	release := "0"
	if len(v) > 2 {
		release = v[2]
	}
	return map[string]any{"version": strings.Join(v[:min(2, len(v))], "."), "release": release, "repoid": "0000000000000000"}, nil
}

// datastores lists the stores on which the caller has any right, namespaces included.
func (b *PBS) datastores(c *call) (any, error) {
	some := len(b.granted(c.token, b.storePath(""))) > 0
	for path, privs := range b.cfg.ACL[c.token] {
		some = some || (strings.HasPrefix(path, b.storePath("")+"/") && len(privs) > 0)
	}
	if !some {
		return []map[string]any{}, nil
	}
	row := map[string]any{"store": b.cfg.Datastore}
	if b.major() >= 4 {
		row["backend-type"], row["mount-status"] = "filesystem", "nonremovable"
	}
	return []map[string]any{row}, nil
}

func (b *PBS) major() int { return b.release.major }

func (b *PBS) status(c *call) (any, error) {
	if err := b.need(c, b.storePath(""), "Datastore.Audit", "Datastore.Backup"); err != nil {
		return nil, err
	}
	total, used := b.used()
	out := map[string]any{"total": total, "used": used, "avail": total - used}
	if b.major() >= 4 {
		out["backend-type"] = "filesystem"
	}
	return out, nil
}

// namespaces lists the parent itself and what is below it.
func (b *PBS) namespaces(c *call) (any, error) {
	all := map[string]bool{"": true}
	for _, ns := range b.cfg.Namespaces {
		all[ns] = true
	}
	for _, s := range b.st.Snapshots {
		all[s.NS] = true
	}
	for _, ns := range slices.Collect(maps.Keys(all)) {
		for i, r := range ns {
			if r == '/' {
				all[ns[:i]] = true
			}
		}
	}
	parent, rows := c.str("parent"), []map[string]any{}
	if !all[parent] {
		return nil, fmt.Errorf("namespace '%s' does not exist", parent)
	}
	for _, ns := range slices.Sorted(maps.Keys(all)) {
		rest, below := strings.CutPrefix(ns, parent)
		if parent != "" {
			below = below && (rest == "" || rest[0] == '/')
		}
		depth := strings.Count(strings.Trim(rest, "/"), "/") + bit(rest != "")
		if len(b.granted(c.token, b.storePath(ns))) == 0 {
			continue // hidden, not refused
		}
		if below && (!c.has("max-depth") || depth <= c.num("max-depth", 0)) {
			rows = append(rows, map[string]any{"ns": ns})
		}
	}
	return rows, nil
}

// groups lists the groups; last-backup may be that of an unfinished snapshot.
func (b *PBS) groups(c *call) (any, error) {
	rows := []map[string]any{}
	byGroup := map[string]map[string]any{}
	seen, err := b.seen(c.token, c.str("ns"))
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		row := byGroup[s.Group()]
		if row == nil {
			row = map[string]any{"backup-type": s.Type, "backup-id": s.ID, "owner": s.Owner, "backup-count": 0}
			byGroup[s.Group()] = row
			rows = append(rows, row)
		}
		files := []string{}
		for _, f := range s.Files {
			files = append(files, f.Name)
		}
		row["last-backup"], row["files"], row["backup-count"] = s.Time, files, row["backup-count"].(int)+1
	}
	return rows, nil
}

func (b *PBS) snapshots(c *call) (any, error) {
	rows := []map[string]any{}
	seen, err := b.seen(c.token, c.str("ns"))
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		if (c.has("backup-type") && c.str("backup-type") != s.Type) || (c.has("backup-id") && c.str("backup-id") != s.ID) {
			continue
		}
		rows = append(rows, snapshotRow(s))
	}
	return rows, nil
}

func snapshotRow(s Snapshot) map[string]any {
	files := []map[string]any{}
	for _, f := range s.Files {
		row := map[string]any{"filename": f.Name}
		if !s.Unfinished {
			row["crypt-mode"], row["size"] = f.CryptMode, f.Size
		}
		files = append(files, row)
	}
	row := map[string]any{
		"backup-type": s.Type, "backup-id": s.ID, "backup-time": s.Time, "files": files, "protected": s.Protected, "owner": s.Owner,
	}
	if s.Comment != "" {
		row["comment"] = s.Comment
	}
	if !s.Unfinished {
		row["size"] = s.Size()
		if s.Encrypted() {
			row["fingerprint"] = s.Fingerprint
		}
		if s.Verification != nil {
			row["verification"] = map[string]any{"state": s.Verification.State, "upid": s.Verification.UPID}
		}
	}
	return row
}

// one returns the snapshot that a call names, if the caller may do what needs one privilege on any and
// another on its own.
func (b *PBS) one(c *call, forAny, forOwn string) (*Snapshot, error) {
	s := Snapshot{Type: c.str("backup-type"), ID: c.str("backup-id"), Time: int64(c.num("backup-time", 0))}
	i := b.index(c.str("ns"), s.Name())
	if i < 0 {
		return nil, vendorText("snapshot %s does not exist.", s.Name())
	}
	if !b.may(c.token, b.st.Snapshots[i], forAny, forOwn) {
		return nil, errPermission()
	}
	return &b.st.Snapshots[i], nil
}

func (b *PBS) deleteSnapshot(c *call) (any, error) {
	s, err := b.one(c, "Datastore.Modify", "Datastore.Prune")
	if err != nil {
		return nil, err
	}
	return nil, b.remove(s.NS, s.Name())
}

func (b *PBS) getProtected(c *call) (any, error) {
	s, err := b.one(c, "Datastore.Audit", "Datastore.Backup")
	if err != nil {
		return nil, err
	}
	return s.Protected, nil
}

func (b *PBS) putProtected(c *call) (any, error) {
	s, err := b.one(c, "Datastore.Modify", "Datastore.Backup")
	if err != nil {
		return nil, err
	}
	s.Protected, b.dirty = c.yes("protected"), true
	return nil, nil
}

func (b *PBS) getNotes(c *call) (any, error) {
	s, err := b.one(c, "Datastore.Audit", "Datastore.Backup")
	if err != nil {
		return nil, err
	}
	return s.Comment, nil
}

func (b *PBS) putNotes(c *call) (any, error) {
	s, err := b.one(c, "Datastore.Modify", "Datastore.Backup")
	if err != nil {
		return nil, err
	}
	s.Comment, b.dirty = c.str("notes"), true
	return nil, nil
}
