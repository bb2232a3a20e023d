package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func guestRoutes() []route[*PVE] {
	rs := []route[*PVE]{
		newRoute("POST", "/nodes/{node}/qemu/{vmid}/config", vmOptions+"delete:string digest:string background_delay:integer skiplock:boolean", (*PVE).postConfig),
		newRoute("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", "", (*PVE).agentPing),
		newRoute("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", "", (*PVE).agentInterfaces),
		newRoute("GET", "/nodes/{node}/lxc/{vmid}/interfaces", "", (*PVE).ctInterfaces),
		newRoute("GET", "/nodes/{node}/qemu", "full:boolean", listGuests(qemu)),
		newRoute("GET", "/nodes/{node}/lxc", "", listGuests(lxc)),
		newRoute("PUT", "/nodes/{node}/qemu/{vmid}/config", vmOptions+"delete:string digest:string skiplock:boolean", putConfig(qemu)),
		newRoute("PUT", "/nodes/{node}/lxc/{vmid}/config", ctOptions+"delete:string digest:string", putConfig(lxc)),
		newRoute("POST", "/nodes/{node}/qemu/{vmid}/status/start", "timeout:integer skiplock:boolean", power(qemu, (*PVE).startGuest)),
		newRoute("POST", "/nodes/{node}/qemu/{vmid}/status/stop", "timeout:integer overrule-shutdown:boolean skiplock:boolean", power(qemu, (*PVE).stopGuest)),
		newRoute("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", "timeout:integer forceStop:boolean skiplock:boolean", power(qemu, (*PVE).shutdownGuest)),
		newRoute("POST", "/nodes/{node}/lxc/{vmid}/status/start", "debug:boolean skiplock:boolean", power(lxc, (*PVE).startGuest)),
		newRoute("POST", "/nodes/{node}/lxc/{vmid}/status/stop", "overrule-shutdown:boolean skiplock:boolean", power(lxc, (*PVE).stopGuest)),
		newRoute("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", "timeout:integer forceStop:boolean", power(lxc, (*PVE).shutdownGuest)),
		newRoute("DELETE", "/nodes/{node}/qemu/{vmid}", "purge:boolean destroy-unreferenced-disks:boolean skiplock:boolean", destroyGuest(qemu)),
		newRoute("DELETE", "/nodes/{node}/lxc/{vmid}", "purge:boolean destroy-unreferenced-disks:boolean force:boolean", destroyGuest(lxc)),
	}
	for _, kind := range []string{qemu, lxc} {
		path := "/nodes/{node}/" + kind + "/{vmid}"
		rs = append(rs,
			newRoute("GET", path+"/config", "#unprotected current:boolean", getConfig(kind)),
			newRoute("GET", path+"/status/current", "", currentStatus(kind)),
			newRoute("GET", path+"/rrddata", "timeframe:string!=hour|day|week|month|year cf:string=AVERAGE|MAX", rrdData(kind)))
	}
	return rs
}

// guestOf returns the guest of a request. A missing one is a 500, not a 404.
func (p *PVE) guestOf(c *call, kind string) (*guest, error) {
	id, err := strconv.Atoi(c.vars["vmid"])
	if err != nil {
		return nil, badParam("vmid", "type check ('integer') failed - got '%s'", c.vars["vmid"])
	}
	g := p.st.Guests[id]
	if g == nil || g.Kind != kind {
		if err := p.need(c, vmPath(id), "VM.Audit"); err != nil {
			return nil, err
		}
		return nil, errText("Configuration file 'nodes/%s/%s' does not exist", p.cfg.Node, confFile(kind, id))
	}
	return g, nil
}

// lockTimeout is what a call gets that waits for the lock file of a guest being restored.
func (p *PVE) lockTimeout(g *guest) *apiError {
	file := fmt.Sprintf("/var/lock/qemu-server/lock-%d.conf", g.ID)
	if g.Kind == lxc {
		file = fmt.Sprintf("/run/lock/lxc/pve-config-%d.lock", g.ID)
	}
	e := errText("can't lock file '%s' - got timeout", file)
	e.delay = lockTimeout
	return e
}

func (p *PVE) guestUptime(g *guest) int64 {
	if !g.Running {
		return 0
	}
	return int64(p.st.Now.Sub(g.Started).Seconds())
}

func (p *PVE) guestRow(g *guest) map[string]any {
	status := "stopped"
	mem := int64(0)
	if g.Running {
		status, mem = "running", g.memory()/2
	}
	row := map[string]any{
		"vmid": g.ID, "status": status, "name": g.name(), "maxmem": g.memory(), "mem": mem, "maxdisk": g.bootDisk(), "disk": 0,
		"cpus": 1, "cpu": 0, "uptime": p.guestUptime(g), "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
	}
	for _, k := range []string{"lock", "tags"} {
		if v := g.Conf[k]; v != "" {
			row[k] = v
		}
	}
	if g.Conf["template"] == "1" {
		row["template"] = 1
	}
	if g.Kind == lxc {
		row["type"] = lxc
	}
	return row
}

func listGuests(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		rows := []map[string]any{}
		for _, id := range p.guestIDs() {
			if g := p.st.Guests[id]; g.Kind == kind && p.allowed(c.token, vmPath(id), "VM.Audit") {
				rows = append(rows, p.guestRow(g))
			}
		}
		return rows, nil
	}
}

func currentStatus(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		g, err := p.guestOf(c, kind)
		if err != nil {
			return nil, err
		}
		if err := p.need(c, vmPath(g.ID), "VM.Audit"); err != nil {
			return nil, err
		}
		row := p.guestRow(g)
		row["ha"] = map[string]any{"managed": bit(p.haManaged(g))}
		if kind == qemu {
			row["qmpstatus"] = row["status"]
			if g.Running && p.stalled(g) {
				row["qmpstatus"] = "io-error"
			}
			if truth(g.Conf["agent"]) {
				row["agent"] = 1
			}
			if g.Running {
				row["pid"] = 10_000 + g.ID
			}
		}
		return row, nil
	}
}

// power wraps a power call: the guest's existence shows only in the task of a VM.
func power(kind string, do func(*PVE, *call, *guest) (any, error)) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		id, err := strconv.Atoi(c.vars["vmid"])
		if err != nil {
			return nil, badParam("vmid", "type check ('integer') failed - got '%s'", c.vars["vmid"])
		}
		if err := p.need(c, vmPath(id), "VM.PowerMgmt"); err != nil {
			return nil, err
		}
		g := p.st.Guests[id]
		if g == nil || g.Kind != kind {
			g = &guest{ID: id, Kind: kind}
		}
		return do(p, c, g)
	}
}

// taskType is "qmstart" for a VM and "vzstart" for a CT.
func taskType(kind, verb string) string {
	if kind == lxc {
		return "vz" + verb
	}
	return "qm" + verb
}

// exists returns the task error of an id without a guest.
func (p *PVE) exists(g *guest) error {
	if p.st.Guests[g.ID] != g {
		return vendorText("Configuration file 'nodes/%s/%s' does not exist", p.cfg.Node, confFile(g.Kind, g.ID))
	}
	return nil
}

// held returns why a guest's state cannot be changed now.
func (p *PVE) held(g *guest) error {
	if p.restoring(g.ID) != nil || p.lockHeld(strconv.Itoa(g.ID)) > 0 {
		return p.lockTimeout(g)
	}
	if lock := g.Conf["lock"]; lock != "" && lock != "backup" {
		return fmt.Errorf("%s is locked (%s)", label(g.Kind), lock)
	}
	return nil
}

func (p *PVE) startGuest(c *call, g *guest) (any, error) {
	if !p.quorate() {
		return nil, errText("cluster not ready - no quorum?")
	}
	if g.Kind == lxc {
		if err := cmp.Or(p.exists(g), p.held(g)); err != nil {
			return nil, err
		}
		if g.Running {
			return nil, errText("CT %d already running", g.ID)
		}
	}
	if p.haManaged(g) {
		return p.requestHA(c, g, "start", p.starting(g)).UPID, nil
	}
	return p.beginStart(g, c.token).UPID, nil
}

// beginStart starts the start task of a guest, for a call or for start=1 of a restore.
func (p *PVE) beginStart(g *guest, user string) *task {
	return p.beginFor(taskType(g.Kind, "start"), strconv.Itoa(g.ID), user, powerTask, p.starting(g))
}

// starting returns the work of a start task.
func (p *PVE) starting(g *guest) func(*task) error {
	return func(t *task) error {
		if err := p.exists(g); err != nil {
			return err
		}
		if err := p.held(g); err != nil {
			return err
		}
		if g.Running {
			return fmt.Errorf("%s %d already running", label(g.Kind), g.ID)
		}
		if err := p.canStart(g, t); err != nil {
			return err
		}
		g.start(p.st.Now)
		return nil
	}
}

func (p *PVE) stopGuest(c *call, g *guest) (any, error) { return p.stopIn(c, g, "stop", powerTask) }

func (p *PVE) shutdownGuest(c *call, g *guest) (any, error) {
	if g.Deaf && g.Running && !p.haManaged(g) {
		within := time.Duration(c.num("timeout", int(shutdownLimit/time.Second))) * time.Second
		return p.beginFor(taskType(g.Kind, "shutdown"), strconv.Itoa(g.ID), c.token, within, func(*task) error {
			if c.yes("forceStop") {
				g.Running = false
				return nil
			}
			return vendorText("VM quit/powerdown failed - got timeout")
		}).UPID, nil
	}
	return p.stopIn(c, g, "shutdown", 3*powerTask)
}

// shutdownLimit is how long a shutdown waits that says no time itself.
const shutdownLimit = time.Minute

func (p *PVE) stopIn(c *call, g *guest, verb string, d time.Duration) (any, error) {
	if g.Kind == lxc {
		if err := p.exists(g); err != nil {
			return nil, err
		}
		if !g.Running {
			return nil, errText("CT %d not running", g.ID)
		}
	}
	ran := g.Running // a stopped VM is stopped: the task is OK, and does nothing to one that is started after it
	stopping := func(*task) error {
		if err := p.exists(g); err != nil {
			return err
		}
		if err := p.held(g); err != nil {
			return err
		}
		g.Running = g.Running && !ran
		return nil
	}
	if p.haManaged(g) {
		return p.requestHA(c, g, "stop", stopping).UPID, nil
	}
	return p.beginFor(taskType(g.Kind, verb), strconv.Itoa(g.ID), c.token, d, stopping).UPID, nil
}

func destroyGuest(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		g, err := p.guestOf(c, kind)
		if err != nil {
			return nil, err
		}
		if err := p.mayDestroy(c, g); err != nil {
			return nil, err
		}
		unreferenced := c.yes("destroy-unreferenced-disks")
		return p.beginFor(taskType(kind, "destroy"), strconv.Itoa(g.ID), c.token, powerTask, func(t *task) error {
			if err := p.exists(g); err != nil {
				return err
			}
			if err := p.held(g); err != nil {
				return err
			}
			// "repeat early checks because of locking" (PVE/API2/Qemu.pm, LXC.pm)
			if err := p.mayDestroy(c, g); err != nil {
				return err
			}
			if !p.quorate() {
				return vendorText("unable to open file '/etc/pve/nodes/%s/%s.tmp.%d' - Permission denied", p.cfg.Node, confFile(kind, g.ID), t.PID)
			}
			t.logf("destroy %s %d", label(kind), g.ID)
			delete(p.st.Guests, g.ID)
			if p.haManaged(g) {
				p.st.HAGone[haID(g)] = true // mayDestroy has seen purge
			}
			p.dropACL(vmPath(g.ID))
			p.st.Stray = slices.DeleteFunc(p.st.Stray, func(d disk) bool { return unreferenced && d.Owner == g.ID })
			return nil
		}).UPID, nil
	}
}

func (p *PVE) mayDestroy(c *call, g *guest) error {
	if err := p.need(c, vmPath(g.ID), "VM.Allocate"); err != nil {
		return err
	}
	switch {
	case g.Conf["protection"] == "1":
		return errText("can't remove %s %d - protection mode enabled", label(g.Kind), g.ID)
	case p.haManaged(g) && !c.yes("purge"):
		return errText("unable to remove %s %d - used in HA resources and purge parameter not set.", label(g.Kind), g.ID)
	case g.Running && g.Kind == qemu:
		return errText("VM %d is running - destroy failed", g.ID)
	case g.Running && !c.yes("force"):
		return errText("unable to destroy CT %d - container is running", g.ID)
	case g.Kind == lxc && g.Conf["lock"] != "":
		return errText("CT is locked (%s)", g.Conf["lock"]) // also while a restore runs
	}
	return nil
}

func (p *PVE) agentReady(c *call) (*guest, error) {
	g, err := p.guestOf(c, qemu)
	if err != nil {
		return nil, err
	}
	priv := "VM.GuestAgent.Audit"
	if p.major() < 9 {
		priv = "VM.Monitor"
	}
	if err := p.need(c, vmPath(g.ID), priv); err != nil {
		return nil, err
	}
	agent := strings.TrimPrefix(strings.Split(g.Conf["agent"], ",")[0], "enabled=")
	switch {
	case !truth(agent):
		return nil, errText("No QEMU guest agent configured")
	case !g.Running:
		return nil, errText("VM %d is not running", g.ID)
	case !g.booted(p.st.Now) || len(g.Disks) == 0:
		e := errText("QEMU guest agent is not running")
		e.delay = authDelay // ping waits up to 3 s
		return nil, e
	}
	return g, nil
}

func (p *PVE) agentPing(c *call) (any, error) {
	if _, err := p.agentReady(c); err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{}}, nil
}

func (p *PVE) agentInterfaces(c *call) (any, error) {
	g, err := p.agentReady(c)
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{{
		"name": "lo", "hardware-address": "00:00:00:00:00:00",
		"ip-addresses": []map[string]any{{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}},
	}}
	for i, n := range g.nics() {
		rows = append(rows, map[string]any{
			"name": "eth" + strconv.Itoa(i), "hardware-address": strings.ToLower(n.mac), "ip-addresses": ipRows(n.Address),
		})
	}
	return map[string]any{"result": rows}, nil
}

func ipRows(cidr string) []map[string]any {
	rows := []map[string]any{}
	if ip, prefix, ok := strings.Cut(cidr, "/"); ok {
		kind := "ipv4"
		if strings.Contains(ip, ":") {
			kind = "ipv6"
		}
		n, err := strconv.Atoi(prefix)
		if err != nil {
			return rows
		}
		rows = append(rows, map[string]any{"ip-address": ip, "ip-address-type": kind, "prefix": n})
	}
	return rows
}

func (p *PVE) ctInterfaces(c *call) (any, error) {
	g, err := p.guestOf(c, lxc)
	if err != nil {
		return nil, err
	}
	if err := p.need(c, vmPath(g.ID), "VM.Audit"); err != nil {
		return nil, err
	}
	if !g.Running {
		return nil, errText("CT %d not running", g.ID)
	}
	rows := []map[string]any{}
	for i, n := range g.nics() {
		name := n.name
		if name == "" {
			name = "eth" + strconv.Itoa(i)
		}
		row := map[string]any{
			"name": name, "hwaddr": strings.ToLower(n.mac), "hardware-address": strings.ToLower(n.mac), "ip-addresses": ipRows(n.Address),
		}
		if n.Address != "" {
			row["inet"] = n.Address
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (p *PVE) nextID(c *call) (any, error) {
	if c.has("vmid") {
		if id := c.num("vmid", 0); p.st.Guests[id] != nil || c.elsewhere[id] != "" {
			return nil, badParam("vmid", "VM %s already exists", c.str("vmid"))
		}
		return c.str("vmid"), nil
	}
	id := 100
	for p.st.Guests[id] != nil || c.elsewhere[id] != "" {
		id++
	}
	return strconv.Itoa(id), nil
}

// resources answers from a cache: a new guest is unknown for its first seconds.
func (p *PVE) resources(c *call) (any, error) {
	want := func(kind string) bool { return !c.has("type") || c.str("type") == kind }
	rows := []map[string]any{}
	if want("vm") {
		for _, id := range p.guestIDs() {
			if g := p.st.Guests[id]; p.allowed(c.token, vmPath(id), "VM.Audit") {
				rows = append(rows, p.vmResource(g))
			}
		}
	}
	if want("node") {
		row := p.nodeRow()
		row["id"], row["type"] = "node/"+p.cfg.Node, "node"
		rows = append(rows, row)
	}
	if !c.has("type") && p.major() >= 9 {
		rows = append(rows, map[string]any{
			"id": "network/" + p.cfg.Node + "/zone/localnetwork", "type": "network", "node": p.cfg.Node, "network": "localnetwork",
			"network-type": "zone", "status": "ok",
		})
	}
	if want("storage") {
		for _, s := range p.sortedStorages() {
			if p.seesStorage(c, s.ID) {
				st := p.storageRow(s, &call{})
				status := map[int]string{0: "unknown", 1: "available"}[st["active"].(int)]
				rows = append(rows, map[string]any{
					"id": "storage/" + p.cfg.Node + "/" + s.ID, "type": "storage", "node": p.cfg.Node, "storage": s.ID, "plugintype": s.Type,
					"content": s.Content, "shared": st["shared"], "status": status, "maxdisk": st["total"], "disk": st["used"],
				})
			}
		}
	}
	return rows, nil
}

func (p *PVE) vmResource(g *guest) map[string]any {
	row := map[string]any{"id": g.Kind + "/" + strconv.Itoa(g.ID), "type": g.Kind, "vmid": g.ID, "node": p.cfg.Node, "status": "unknown", "template": 0}
	if p.st.Now.Sub(g.Born) < statCacheAge {
		return row
	}
	full := p.guestRow(g)
	for _, k := range []string{"status", "name", "tags", "lock", "maxmem", "maxdisk", "mem", "disk", "uptime", "cpu", "template"} {
		if v, ok := full[k]; ok {
			row[k] = v
		}
	}
	row["maxcpu"] = 1
	return row
}
