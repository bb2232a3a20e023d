// Package proxmox speaks to one Proxmox VE host and one Proxmox Backup Server.
//
// Every method of PVE and PBS that takes a context makes exactly one HTTP call (or none, when the request is refused
// beforehand), retries nothing, reads no clock and starts no goroutine; every failure is an *Error. What is long at
// Proxmox is a task: the call returns its UPID and the caller polls it with Task.
//
// Everything else here is pure: restore points (Usable), network overrides (OverrideNets), progress (RestoreProgress),
// markers, volume and task ids.
package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	px "github.com/luthermonson/go-proxmox"
)

// Kind is the kind of a guest, spelled as PBS spells it.
type Kind string

// The kinds of guests.
const (
	VM Kind = "vm"
	CT Kind = "ct"
)

// segment is the kind in PVE's paths.
func (k Kind) segment() string {
	if k == CT {
		return "lxc"
	}
	return "qemu"
}

func (k Kind) valid() bool { return k == VM || k == CT }

// Config is what a client is made of.
type Config struct {
	URL       string            // "https://host:8006" (PVE) or "https://host:8007" (PBS)
	Node      string            // PVE: name of the node; PBS: not used
	TokenID   string            // "user@realm!name"
	Secret    Secret            // the token's secret
	Transport http.RoundTripper // Transport(...) on real hosts, a handler in simulation; required
	// Reachable says which of the addresses that a guest tells may be asked; nil:
	// global unicast ones. A guest is not trusted: its loopback address would be
	// this machine's own. Only a lab on loopback addresses sets it.
	Reachable func(netip.Addr) bool
	Failed    func(ErrorKind) // told of every request that failed, for whoever counts them; optional
}

// PVE is a client of one node. It is safe for concurrent use if its transport is.
type PVE struct {
	api       *px.Client
	node      string
	token     string
	reachable func(netip.Addr) bool
}

// NewPVE makes a client. It makes no call.
func NewPVE(conf Config) (*PVE, error) {
	client, base, err := newClient(conf, "PVE", "=")
	if err != nil {
		return nil, err
	}
	if conf.Node == "" || strings.ContainsAny(conf.Node, "/?#% ") {
		return nil, fmt.Errorf("make PVE client: node name %q is not valid", conf.Node)
	}
	p := &PVE{
		api: px.NewClient(base, px.WithHTTPClient(client), px.WithUserAgent("wwwd")), node: conf.Node, token: conf.TokenID,
		reachable: conf.Reachable,
	}
	if p.reachable == nil {
		p.reachable = netip.Addr.IsGlobalUnicast
	}
	return p, nil
}

// TokenID gives the id of the token, as a task's UPID carries it ("user@realm!name").
func (p *PVE) TokenID() string { return p.token }

// Node gives the name of the node.
func (p *PVE) Node() string { return p.node }

// do makes c's one call. params is the JSON body of POST and PUT; for GET and DELETE parameters stand in c.path,
// because PVE refuses a body there and go-proxmox's own query helpers turn integers into floats.
func (p *PVE) do(ctx context.Context, c call, params map[string]any) (json.RawMessage, error) {
	x := &exchange{call: c}
	err := p.send(ctx, x, params)
	return x.data, err
}

// send makes the one call of an exchange.
func (p *PVE) send(ctx context.Context, x *exchange, params map[string]any) error {
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	var body any
	if len(params) > 0 { // a nil map inside an interface would be sent as "null"
		body = params
	}
	var err error // go-proxmox gets nothing to decode: the exchange has the answer
	switch x.method {
	case http.MethodPost:
		err = p.api.Post(ctx, x.path, body, nil)
	case http.MethodPut:
		err = p.api.Put(ctx, x.path, body, nil)
	case http.MethodDelete:
		err = p.api.Delete(ctx, x.path, nil)
	default:
		err = p.api.Get(ctx, x.path, nil)
	}
	return outcome(x.call, err)
}

// get makes a read below /nodes/NODE and decodes its data into v.
func (p *PVE) get(ctx context.Context, op, path string, v any) (call, error) {
	x := &exchange{call: call{op: op, method: http.MethodGet, path: path}, into: v}
	return x.call, x.read(p.send(ctx, x, nil))
}

func (p *PVE) nodePath(rest string) string { return "/nodes/" + url.PathEscape(p.node) + rest }

func (p *PVE) guestPath(kind Kind, id int, rest string) string {
	return p.nodePath("/" + kind.segment() + "/" + strconv.Itoa(id) + rest)
}

// checkGuest refuses what would end up as another path.
func checkGuest(op string, kind Kind, id int) error {
	if !kind.valid() {
		return requestError(op, "unknown kind of guest %q", kind)
	}
	if id < 100 || id > 999999999 {
		return requestError(op, "guest id %d is not between 100 and 999999999", id)
	}
	return nil
}

func guestOp(verb string, kind Kind, id int) string {
	return verb + " " + string(kind) + " " + strconv.Itoa(id)
}

// Version is what a server says of itself.
type Version struct {
	Version string // "9.2.1"
	Release string // "9.2"
	RepoID  string
}

// AtLeast says whether the version is major.minor or newer; false when it cannot be read.
func (v Version) AtLeast(major, minor int) bool {
	parts := strings.SplitN(strings.SplitN(v.Version, "-", 2)[0], ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

type wireVersion struct {
	Version, Release, RepoID wireString
}

func (w wireVersion) version(c call) (Version, error) {
	if err := need(c, 0, "version", w.Version.Set); err != nil {
		return Version{}, err
	}
	return Version{Version: w.Version.V, Release: w.Release.V, RepoID: w.RepoID.V}, nil
}

// Version asks for the version of PVE. Any token may ask; it answers also while pvedaemon is down.
func (p *PVE) Version(ctx context.Context) (Version, error) {
	var w wireVersion
	c, err := p.get(ctx, "read pve version", "/version", &w)
	if err != nil {
		return Version{}, err
	}
	return w.version(c)
}

// NodeStatus is the state of the node. Memory in bytes.
type NodeStatus struct {
	MemTotal, MemUsed, MemFree int64
	CPUs                       int
	CPUModel                   string     // "Intel(R) Xeon(R) ..."; "" = not told
	CPUFlags                   []string   // as /proc/cpuinfo names them; nil = not told
	Load                       [3]float64 // 1, 5 and 15 minutes
	Uptime                     time.Duration
	PVEVersion                 string // "pve-manager/9.2.1/..."
}

// NodeStatus asks for the node's memory, processors and load (Sys.Audit on /nodes/NODE).
func (p *PVE) NodeStatus(ctx context.Context) (NodeStatus, error) {
	var w struct {
		Memory struct{ Total, Used, Free wireInt }
		CPU    struct {
			CPUs         wireInt `json:"cpus"`
			Model, Flags wireString
		} `json:"cpuinfo"`
		Load    []wireFloat `json:"loadavg"`
		Uptime  wireInt
		Version wireString `json:"pveversion"`
	}
	c, err := p.get(ctx, "read status of node "+p.node, p.nodePath("/status"), &w)
	if err != nil {
		return NodeStatus{}, err
	}
	if err := need(c, 0, "memory.total", w.Memory.Total.Set, "memory.used", w.Memory.Used.Set, "cpuinfo.cpus", w.CPU.CPUs.Set); err != nil {
		return NodeStatus{}, err
	}
	s := NodeStatus{
		MemTotal: w.Memory.Total.V, MemUsed: w.Memory.Used.V, MemFree: w.Memory.Free.V,
		CPUs: int(w.CPU.CPUs.V), CPUModel: w.CPU.Model.V, CPUFlags: strings.Fields(w.CPU.Flags.V), Uptime: seconds(w.Uptime), PVEVersion: w.Version.V,
	}
	if !w.Memory.Free.Set {
		s.MemFree = s.MemTotal - s.MemUsed
	}
	for i, l := range w.Load[:min(len(w.Load), len(s.Load))] {
		s.Load[i] = l.V
	}
	return s, nil
}

// Permissions are the privileges of the token: path -> privilege -> does it propagate to the paths below.
// A privilege that is listed is granted on that path, whatever the value.
type Permissions map[string]map[string]bool

// Has says whether privilege is granted on path.
func (p Permissions) Has(path, privilege string) bool {
	_, ok := p[path][privilege]
	return ok
}

// Permissions asks for the token's own effective privileges on path; any token may ask. An empty path asks for all.
func (p *PVE) Permissions(ctx context.Context, path string) (Permissions, error) {
	query := ""
	if path != "" {
		query = "?" + url.Values{"path": {path}}.Encode()
	}
	var w map[string]map[string]wireBool
	if _, err := p.get(ctx, "read permissions on "+path, "/access/permissions"+query, &w); err != nil {
		return nil, err
	}
	return permissions(w), nil
}

func permissions(w map[string]map[string]wireBool) Permissions {
	all := make(Permissions, len(w))
	for path, privileges := range w {
		all[path] = make(map[string]bool, len(privileges))
		for name, propagate := range privileges {
			all[path][name] = propagate.V
		}
	}
	return all
}

// AgentPing asks whether the QEMU guest agent of a VM answers: nil, or an error of kind NoAgent, NotRunning, ...
// PVE waits up to 3 s for the agent. Privilege: VM.GuestAgent.Audit (PVE 9), VM.Monitor (PVE 8).
func (p *PVE) AgentPing(ctx context.Context, id int) error {
	op := guestOp("ping agent of", VM, id)
	if err := checkGuest(op, VM, id); err != nil {
		return err
	}
	c := call{op: op, method: http.MethodPost, path: p.guestPath(VM, id, "/agent/ping")} // a POST that changes nothing
	data, err := p.do(ctx, c, nil)
	if err != nil {
		return err
	}
	var w struct {
		Result json.RawMessage `json:"result"`
	}
	if err := decode(c, data, &w); err != nil {
		return err
	}
	if isNull(w.Result) {
		return c.bad("no %q", "result")
	}
	return nil
}

type wireInterface struct {
	Name      wireString
	Inet      wireString // "10.9.0.5/24", containers only
	Inet6     wireString
	Addresses []struct {
		Address wireString `json:"ip-address"`
	} `json:"ip-addresses"`
}

// Interfaces asks for the addresses that a running guest has now, from the QEMU guest agent or, for a container, from
// its network namespace: without those of loopback interfaces and without link-local ones, each once, in the order told.
// What the guest says is not trusted: text that is no address is left out.
func (p *PVE) Interfaces(ctx context.Context, kind Kind, id int) ([]netip.Addr, error) {
	op := guestOp("read addresses of", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return nil, err
	}
	c, rows, err := p.interfaces(ctx, op, kind, id)
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for i, row := range rows {
		if err := need(c, i, "name", row.Name.Set); err != nil {
			return nil, err
		}
		told := []string{row.Inet.V, row.Inet6.V}
		for _, a := range row.Addresses {
			told = append(told, a.Address.V)
		}
		for _, s := range told {
			a, ok := guestAddr(s)
			if ok && p.reachable(a) && row.Name.V != "lo" && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all, nil
}

func (p *PVE) interfaces(ctx context.Context, op string, kind Kind, id int) (call, []wireInterface, error) {
	var rows []wireInterface
	if kind == CT {
		c, err := p.get(ctx, op, p.guestPath(CT, id, "/interfaces"), &rows)
		return c, rows, err
	}
	var w struct {
		Result json.RawMessage `json:"result"`
	}
	c, err := p.get(ctx, op, p.guestPath(VM, id, "/agent/network-get-interfaces"), &w)
	if err == nil {
		err = decode(c, w.Result, &rows)
	}
	return c, rows, err
}

// guestAddr reads an address with or without a prefix length.
func guestAddr(s string) (netip.Addr, bool) {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	return a, err == nil
}
