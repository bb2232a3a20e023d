package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// authDelay is how long both vendors hold back a 401.
const authDelay = 3 * time.Second

// lockTimeout is how long a call waits for a guest's lock file before it gives up.
const lockTimeout = 10 * time.Second

func pveRoutes() []route[*PVE] {
	return slices.Concat(baseRoutes(), storageRoutes(), guestRoutes(), restoreRoutes(), taskRoutes())
}

func baseRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("GET", "/version", "", (*PVE).version),
		newRoute("GET", "/cluster/status", "", (*PVE).clusterStatus),
		newRoute("GET", "/cluster/resources", "type:string=vm|storage|node|sdn", (*PVE).resources),
		newRoute("GET", "/cluster/nextid", "vmid:integer", (*PVE).nextID),
		newRoute("GET", "/cluster/ha/resources", "type:string=ct|vm", (*PVE).haResources),
		newRoute("GET", "/nodes", "", (*PVE).nodes),
		newRoute("GET", "/nodes/{node}/status", "", (*PVE).nodeStatus),
		newRoute("GET", "/nodes/{node}/network", "type:string=bridge|bond|eth|alias|vlan|any_bridge|any_local_bridge|include_sdn", (*PVE).network),
		newRoute("GET", "/access/permissions", "path:string", (*PVE).permissions),
	}
}

// ServeHTTP answers one API request as pveproxy does. A host without power gives no answer (a Hint).
func (p *PVE) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	args, argErr := RequestParams(r)
	p.mu.Lock()
	if p.cfg.Clock != nil {
		p.advance(p.cfg.Clock())
	}
	a := p.answer(r, func() (any, *call, error) {
		c := &call{args: args}
		var rt *route[*PVE]
		path := strings.TrimPrefix(r.URL.EscapedPath(), apiPrefix)
		if rt, c.vars = find(p.routes, r.Method, path); rt == nil || !strings.HasPrefix(r.URL.Path, apiPrefix) {
			return nil, c, &apiError{status: http.StatusNotImplemented, text: fmt.Sprintf("Method '%s %s' not implemented", r.Method, path)}
		}
		if argErr != nil {
			return nil, c, argErr
		}
		c.token, _, _ = pveToken(r)
		if bad := rt.check(args, c.vars); len(bad) > 0 {
			return nil, c, &apiError{status: http.StatusBadRequest, text: "Parameter verification failed.", params: bad}
		}
		if node, ok := c.vars["node"]; ok && node != p.cfg.Node {
			return nil, c, errText("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", node, node)
		}
		data, err := rt.handle(p, c)
		return data, c, err
	})
	p.mu.Unlock()
	a.send(w)
}

func (p *PVE) answer(r *http.Request, serve func() (any, *call, error)) *answer {
	a := newAnswer()
	if p.st.Off {
		a.status = http.StatusServiceUnavailable
		Hint{Reply: ReplyHangs}.put(a.header)
		return a
	}
	if reason := p.refuse(r); reason != "" {
		a.WriteReason(http.StatusUnauthorized, reason)
		Hint{Delay: authDelay}.put(a.header)
		return a
	}
	data, c, err := serve()
	if err != nil {
		pveError(a, err, c.delay)
		return a
	}
	out := map[string]any{"data": data}
	maps.Copy(out, c.extra)
	a.header.Set("Content-Type", "application/json;charset=UTF-8")
	writeJSON(a, out)
	return a
}

func writeJSON(a *answer, v any) {
	if err := json.NewEncoder(&a.body).Encode(v); err != nil {
		// Only maps, slices and scalars are ever given: this is a mistake of the lab itself.
		a.body.Reset()
		a.WriteReason(http.StatusInternalServerError, "encode answer: "+err.Error())
	}
}

// pveError writes an error: the reason phrase carries the first line of the text, the body all of it
// (since pve-http-server 5.2.0) and what is wrong by parameter.
func pveError(a *answer, err error, delay time.Duration) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = errText("%s", err.Error())
	}
	first, _, _ := strings.Cut(e.text, "\n")
	a.WriteReason(e.status, first)
	a.header.Set("Connection", "close")
	Hint{Delay: max(delay, e.delay)}.put(a.header)
	a.header.Set("Content-Type", "application/json;charset=UTF-8")
	if e.status == http.StatusNotImplemented {
		if strings.HasPrefix(e.text, "Unexpected content") {
			a.body.WriteString(e.text)
			return
		}
		writeJSON(a, map[string]any{"data": nil, "message": e.text})
		return
	}
	out := map[string]any{"data": nil, "message": e.text + "\n"}
	if len(e.params) > 0 {
		out["errors"] = e.params
	}
	writeJSON(a, out)
}

// pveToken takes "user@realm!token" and the secret out of a request.
func pveToken(r *http.Request) (id, secret string, ok bool) {
	v, ok := strings.CutPrefix(r.Header.Get("Authorization"), "PVEAPIToken=")
	if !ok {
		return "", "", false
	}
	return strings.Cut(v, "=")
}

// refuse returns the reason of a 401, or "".
func (p *PVE) refuse(r *http.Request) string {
	id, secret, ok := pveToken(r)
	if !ok {
		return "No ticket"
	}
	if want, known := p.cfg.Tokens[id]; !known || want == "" || want != secret || p.st.Revoked[id] {
		return "Authentication failed!"
	}
	return ""
}

// privileges are those that the lab checks or shows, for PVE 9; PVE 8 has VM.Monitor in place of the
// VM.GuestAgent ones.
var privileges = []string{
	"Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit", "Pool.Audit", "SDN.Audit", "SDN.Use", "Sys.Audit", "Sys.Modify",
	"VM.Allocate", "VM.Audit", "VM.Backup", "VM.Config.CPU", "VM.Config.Cloudinit", "VM.Config.Disk", "VM.Config.HWType",
	"VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", "VM.PowerMgmt",
}

func (p *PVE) allPrivileges() []string {
	if p.major() >= 9 {
		return privileges
	}
	old := slices.DeleteFunc(slices.Clone(privileges), func(s string) bool { return strings.HasPrefix(s, "VM.GuestAgent.") })
	return append(old, "VM.Monitor")
}

// granted returns a token's privileges on a path: those of the deepest entry at or above it.
func (p *PVE) granted(token, path string) []string {
	acl, limited := p.cfg.ACL[token]
	if !limited {
		return p.allPrivileges()
	}
	for {
		if privs, ok := acl[path]; ok {
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

func (p *PVE) version(*call) (any, error) {
	release, _, _ := strings.Cut(p.cfg.Version, ".")
	minor := strings.Split(p.cfg.Version, ".")
	if len(minor) > 1 {
		release += "." + minor[1]
	}
	return map[string]any{"version": p.cfg.Version, "release": release, "repoid": "0000000000000000"}, nil
}

func (p *PVE) quorate() bool { return p.cfg.Cluster == "" || !p.noQuo }

func (p *PVE) clusterStatus(c *call) (any, error) {
	if err := p.need(c, "/", "Sys.Audit"); err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	if p.cfg.Cluster != "" {
		rows = append(rows, map[string]any{
			"type": "cluster", "id": "cluster", "name": p.cfg.Cluster, "nodes": 2, "version": 2, "quorate": bit(p.quorate()),
		})
	}
	return append(rows, map[string]any{
		"type": "node", "id": "node/" + p.cfg.Node, "name": p.cfg.Node, "nodeid": 1, "ip": p.cfg.Address, "local": 1, "online": 1, "level": "",
	}), nil
}

// bit writes a boolean as PVE does.
func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (p *PVE) uptime() int64 { return int64(p.st.Now.Sub(p.st.Booted).Seconds()) }

func (p *PVE) usedMemory() int64 {
	used := int64(1 << 30)
	for _, g := range p.st.Guests {
		if g.Running {
			used += g.memory()
		}
	}
	return min(used, p.cfg.Memory)
}

func (p *PVE) nodeRow() map[string]any {
	return map[string]any{
		"node": p.cfg.Node, "status": "online", "cpu": 0.02, "maxcpu": 4, "level": "",
		"mem": p.usedMemory(), "maxmem": p.cfg.Memory, "uptime": p.uptime(),
	}
}

func (p *PVE) nodes(*call) (any, error) {
	row := p.nodeRow()
	row["id"], row["type"] = "node/"+p.cfg.Node, "node"
	return []map[string]any{row}, nil
}

func (p *PVE) nodeStatus(c *call) (any, error) {
	if err := p.need(c, "/nodes/"+p.cfg.Node, "Sys.Audit"); err != nil {
		return nil, err
	}
	used := p.usedMemory()
	const root = 32 << 30
	return map[string]any{
		"uptime": p.uptime(), "cpu": 0.02, "wait": 0, "idle": 0, "pveversion": "pve-manager/" + p.cfg.Version + "/0000000000000000",
		"loadavg": []string{"0.10", "0.10", "0.10"}, "kversion": "Linux 6.14.0-1-pve",
		"memory":         map[string]any{"total": p.cfg.Memory, "used": used, "free": p.cfg.Memory - used, "available": p.cfg.Memory - used},
		"cpuinfo":        map[string]any{"cpus": 4, "cores": 4, "sockets": 1, "model": "Lab CPU", "mhz": "2000.000", "hvm": "1"},
		"rootfs":         map[string]any{"total": int64(root), "used": int64(root / 4), "free": int64(root / 4 * 3), "avail": int64(root / 4 * 3)},
		"boot-info":      map[string]any{"mode": "efi", "secureboot": 0},
		"current-kernel": map[string]any{"machine": "x86_64", "release": "6.14.0-1-pve", "sysname": "Linux", "version": "#1 SMP"},
	}, nil
}

func (p *PVE) network(c *call) (any, error) {
	rows := []map[string]any{}
	for i, b := range p.cfg.Bridges {
		path := "/sdn/zones/localnetwork/" + b.Name
		if !p.allowed(c.token, path, "SDN.Audit") && !p.allowed(c.token, path, "SDN.Use") {
			continue // hidden, not refused
		}
		if t := c.str("type"); t != "" && t != "bridge" && t != "any_bridge" && t != "any_local_bridge" {
			continue
		}
		row := map[string]any{
			"iface": b.Name, "type": "bridge", "active": 1, "autostart": 1, "exists": 1, "method": "manual", "method6": "manual",
			"bridge_ports": b.Ports, "families": []string{"inet"}, "priority": i + 3,
		}
		if b.VLANAware {
			row["bridge_vlan_aware"], row["bridge_vids"] = 1, b.vids()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (b BridgeConfig) vids() string {
	if b.VIDs == "" {
		return "2-4094"
	}
	return b.VIDs
}

func (p *PVE) haResources(c *call) (any, error) {
	if err := p.need(c, "/", "Sys.Audit"); err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, sid := range slices.Sorted(slices.Values(p.cfg.HA)) {
		kind, _, _ := strings.Cut(sid, ":")
		if c.has("type") && c.str("type") != kind {
			continue
		}
		rows = append(rows, map[string]any{"sid": sid, "type": kind, "state": "started", "digest": digest(sid)})
	}
	return rows, nil
}
