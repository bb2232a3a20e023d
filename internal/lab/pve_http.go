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

// authDelay is how long both vendors hold back a 401.
const authDelay = 3 * time.Second

// lockTimeout is how long a call waits for a guest's lock file before it gives up.
const lockTimeout = 10 * time.Second

func pveRoutes() []route[*PVE] {
	return slices.Concat(baseRoutes(), capRoutes(), storageRoutes(), guestRoutes(), restoreRoutes(), taskRoutes())
}

func baseRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("GET", "/version", "#unprotected", (*PVE).version),
		newRoute("GET", "/cluster/status", "", (*PVE).clusterStatus),
		newRoute("GET", "/cluster/resources", "#unprotected type:string=vm|storage|node|sdn", (*PVE).resources),
		newRoute("GET", "/cluster/nextid", "#unprotected vmid:integer", (*PVE).nextID),
		newRoute("GET", "/cluster/backup", "#unprotected", (*PVE).backupJobs),
		newRoute("GET", "/cluster/ha/resources", "#unprotected type:string=ct|vm", (*PVE).haResources),
		newRoute("GET", "/nodes", "#unprotected", (*PVE).nodes),
		newRoute("GET", "/nodes/{node}/status", "#unprotected", (*PVE).nodeStatus),
		newRoute("GET", "/nodes/{node}/network", "#unprotected type:string=bridge|bond|eth|alias|vlan|any_bridge|any_local_bridge|include_sdn", (*PVE).network),
		newRoute("GET", "/access/permissions", "#unprotected path:string", (*PVE).permissions),
	}
}

// ServeHTTP answers one API request as pveproxy does. A host without power gives no answer (a Hint).
func (p *PVE) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if to, ok := p.peer(r); ok {
		p.forward(w, r, to)
		return
	}
	args, argErr := RequestParams(r)
	taken, online := p.elsewhere()
	p.mu.Lock()
	if p.cfg.Clock != nil {
		p.advance(p.cfg.Clock())
	}
	a := p.answer(r, func() (any, *call, error) {
		c := &call{args: args, elsewhere: taken, online: online}
		var rt *route[*PVE]
		path := strings.TrimPrefix(r.URL.EscapedPath(), apiPrefix)
		if !slices.Contains([]string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"}, r.Method) {
			return nil, c, &apiError{status: http.StatusNotImplemented, text: fmt.Sprintf("method '%s' not available", r.Method)}
		}
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
		if c.yes("skiplock") { // no token is root@pam
			return nil, c, badParam("skiplock", "Only root may use this option.")
		}
		if node, ok := c.vars["node"]; ok && node != p.cfg.Node {
			return nil, c, errText("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", node, node)
		}
		c.protected = rt.Protected
		data, err := rt.handle(p, c)
		return data, c, err
	})
	p.mu.Unlock()
	a.send(w)
}

func (p *PVE) answer(r *http.Request, serve func() (any, *call, error)) *answer {
	a := newAnswer()
	if p.st.Off || p.st.Stalled {
		silent(a)
		return a
	}
	a.header.Set("Date", p.wall().UTC().Format(http.TimeFormat))
	if reason := p.refuse(r); reason != "" {
		unauthorized(a, reason)
		return a
	}
	data, c, err := serve()
	if c.protected {
		defer cutLong(a)
	}
	if err != nil {
		pveError(a, err, c.delay)
		return a
	}
	Hint{Delay: c.delay}.put(a.header)
	out := map[string]any{"data": data}
	maps.Copy(out, c.extra)
	a.header.Set("Content-Type", "application/json;charset=UTF-8")
	writeJSON(a, out)
	return a
}

func writeJSON(a *answer, v any) {
	b, err := appendJSON(a.body.AvailableBuffer(), v)
	if err != nil {
		// Only maps, slices and scalars are ever given: this is a mistake of the lab itself.
		a.WriteReason(http.StatusInternalServerError, "encode answer: "+err.Error())
		return
	}
	a.body.Write(append(b, '\n'))
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
	want, known := p.cfg.Tokens[id]
	known = known && want != "" && !p.st.Revoked[id]
	user, name, _ := strings.Cut(id, "!")
	switch {
	case known && want == secret:
		return ""
	case p.release.atLeast(9, 2): // one text since pve-manager 9.1.5
		return "Authentication failed!"
	case !known:
		return fmt.Sprintf("no such token '%s' for user '%s'", name, user)
	}
	return "invalid token value!"
}

func (p *PVE) version(*call) (any, error) {
	release, _, _ := strings.Cut(p.cfg.Version, ".")
	minor := strings.Split(p.cfg.Version, ".")
	if len(minor) > 1 {
		release += "." + minor[1]
	}
	return map[string]any{"version": p.cfg.Version, "release": release, "repoid": "0000000000000000"}, nil
}

func (p *PVE) quorate() bool { return p.cfg.Cluster == "" || !(p.noQuo || p.st.Minority) }

func (p *PVE) clusterStatus(c *call) (any, error) {
	if err := p.need(c, "/", "Sys.Audit"); err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	if p.cfg.Cluster != "" {
		rows = append(rows, map[string]any{
			"type": "cluster", "id": "cluster", "name": p.cfg.Cluster, "nodes": max(2, 1+len(p.cfg.Peers)), "version": 2, "quorate": bit(p.quorate()),
		})
	}
	rows = append(rows, map[string]any{
		"type": "node", "id": "node/" + p.cfg.Node, "name": p.cfg.Node, "nodeid": 1, "ip": p.cfg.Address, "local": 1, "online": 1, "level": "",
	})
	for i, x := range p.cfg.Peers {
		rows = append(rows, map[string]any{
			"type": "node", "id": "node/" + x.Name, "name": x.Name, "nodeid": 2 + i, "ip": x.address(), "local": 0, "online": bit(c.online[x.Name]), "level": "",
		})
	}
	return rows, nil
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

func (p *PVE) nodes(c *call) (any, error) {
	row := p.nodeRow()
	row["id"], row["type"] = "node/"+p.cfg.Node, "node"
	rows := []map[string]any{row}
	for _, x := range p.cfg.Peers {
		status := "offline"
		if c.online[x.Name] {
			status = "online"
		}
		rows = append(rows, map[string]any{"node": x.Name, "id": "node/" + x.Name, "type": "node", "status": status})
	}
	return rows, nil
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
		"cpuinfo":        map[string]any{"cpus": 4, "cores": 4, "sockets": 1, "model": "Lab CPU", "mhz": "2000.000", "hvm": "1", "flags": hostFlags},
		"rootfs":         map[string]any{"total": int64(root), "used": int64(root / 4), "free": int64(root / 4 * 3), "avail": int64(root / 4 * 3)},
		"boot-info":      map[string]any{"mode": "efi", "secureboot": 0},
		"current-kernel": map[string]any{"machine": "x86_64", "release": "6.14.0-1-pve", "sysname": "Linux", "version": "#1 SMP"},
	}, nil
}

func (p *PVE) network(c *call) (any, error) {
	rows := []map[string]any{}
	for i, b := range p.cfg.Bridges {
		if !p.seesBridge(c.token, b.Name) {
			continue // hidden, not refused
		}
		if t := c.str("type"); t != "" && t != "bridge" && t != "any_bridge" && t != "any_local_bridge" {
			continue
		}
		row := map[string]any{
			"iface": b.Name, "type": "bridge", "active": 1, "autostart": 1, "exists": 1, "method": "manual", "method6": "manual",
			"bridge_ports": b.Ports, "families": []string{"inet"}, "priority": i + 3,
		}
		if b.Address != "" {
			row["cidr"] = b.Address
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
		if p.st.HAGone[sid] {
			continue
		}
		row := map[string]any{"sid": sid, "type": kind, "state": "started", "digest": digest(sid)}
		if p.major() < 9 {
			row["group"] = "all" // HA rules took the groups' place in PVE 9.0
		}
		rows = append(rows, row)
	}
	return rows, nil
}
