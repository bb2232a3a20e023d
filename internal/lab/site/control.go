package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Status is what a site's process tells of itself.
type Status struct {
	Site     string       `json:"site"`
	Hosts    []HostStatus `json:"hosts"`
	Faults   []lab.Fault  `json:"faults"`
	Restores []Restore    `json:"restores"` // requests that began one, oldest first
}

// HostStatus is one machine with its guests and copies.
type HostStatus struct {
	Name      string         `json:"name"`
	Power     bool           `json:"power"`
	Guests    []GuestStatus  `json:"guests,omitempty"`
	Snapshots map[string]int `json:"snapshots,omitempty"` // complete ones by site of origin
	Pinned    []string       `json:"pinned,omitempty"`    // protected snapshots, "SITE/vm/100/TIME"
	Sealed    []string       `json:"sealed,omitempty"`    // those of sealed branches, "sealed/SITE/vm/100/TIME"
}

// GuestStatus is one guest of a PVE.
type GuestStatus struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Serving  bool   `json:"serving"`
	Address  string `json:"address,omitempty"`
	Restored string `json:"restored,omitempty"` // volid of the backup that it came from
	Lock     string `json:"lock,omitempty"`
	Onboot   bool   `json:"onboot,omitempty"`
	VLANs    []int  `json:"vlans,omitempty"` // of its NICs, 0: untagged
}

// Act is what a person may do to a guest behind everybody's back.
type Act struct {
	Guest string `json:"guest"`        // may be empty where the id says which
	ID    int    `json:"id,omitempty"` // of one copy, where several have the name
	Do    string `json:"do"`           // start, stop, unlock, delete; hold: not to start with its host; create: a guest of nobody, stopped
}

// maxRequest bounds a control request.
const maxRequest = 64 << 10

// serveControl answers on the site's unix socket.
func (p *process) serveControl(ctx context.Context) error {
	path := Socket(p.dir, p.name)
	// The supervisor runs one process per site, so a socket that is there is of a
	// process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("serve control socket: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("serve control socket: %w", err)
	}
	p.serve(ctx, ln, p.control())
	return nil
}

func (p *process) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, p.status(), nil) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, p.faults.List(), nil) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f lab.Fault
		err := decode(r, &f)
		if err == nil {
			err = p.addFault(f)
		}
		reply(w, struct{}{}, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		p.clearFaults()
		reply(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, p.ask(r.Context(), p.backUpNow))
	})
	mux.HandleFunc("POST /sync", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, p.ask(r.Context(), p.syncNow))
	})
	mux.HandleFunc("POST /crash/{host}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, p.crashHost(r.PathValue("host")))
	})
	mux.HandleFunc("POST /repair/{host}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, p.repairHost(r.PathValue("host")))
	})
	mux.HandleFunc("POST /store/stop", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, p.stopStore())
	})
	mux.HandleFunc("POST /store/start", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, p.startStore())
	})
	mux.HandleFunc("POST /plug-in", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, p.plugIn())
	})
	mux.HandleFunc("POST /guest", func(w http.ResponseWriter, r *http.Request) {
		var a Act
		err := decode(r, &a)
		if err == nil {
			err = p.act(r.Context(), a)
		}
		reply(w, struct{}{}, err)
	})
	return mux
}

// addFault puts a fault in force, if it names a host of this site.
func (p *process) addFault(f lab.Fault) error {
	var places []string
	for _, m := range p.machines {
		for _, kind := range m.kinds() {
			places = append(places, kind+":"+m.Name)
		}
	}
	if f.Where != "" && !slices.Contains(places, f.Where) {
		return fmt.Errorf("fault at %q: this site has %v", f.Where, places)
	}
	return p.faults.Add(f)
}

// clearFaults ends every fault and undoes what they did, as far as it can be undone:
// what is off gets power, but for hosts that were broken as a whole.
func (p *process) clearFaults() {
	p.faults.Clear()
	for _, m := range p.machines {
		if m.pve != nil {
			m.pve.Heal()
		}
		if m.pbs != nil {
			m.pbs.Heal()
		}
	}
	p.powerOn(time.Now())
}

func (p *process) act(ctx context.Context, a Act) error {
	if a.Do == "create" {
		return p.createForeign(a)
	}
	for _, m := range p.machines {
		if m.pve == nil {
			continue
		}
		for _, v := range m.pve.Guests() {
			if a.Guest != "" && v.Name != a.Guest || a.ID != 0 && v.ID != a.ID || a.Guest == "" && a.ID == 0 {
				continue
			}
			switch a.Do {
			case "start":
				return m.pve.StartGuest(v.ID, time.Now())
			case "stop":
				return m.pve.StopGuest(v.ID, time.Now())
			case "hold":
				return m.pve.SetOption(v.ID, "onboot", "0")
			case "unlock":
				tool := map[string]string{"qemu": "/usr/sbin/qm", "lxc": "/usr/sbin/pct"}[v.Kind]
				_, err := m.pve.Root().Run(ctx, tool, "unlock", strconv.Itoa(v.ID))
				return err
			case "delete":
				return m.pve.RemoveGuest(v.ID, time.Now())
			}
			return fmt.Errorf("do %q: want start, stop, unlock, delete, hold or create", a.Do)
		}
	}
	return fmt.Errorf("no guest %q at %s", a.Guest, p.name)
}

// foreignMemory is small: it must not keep a rescue from being admitted.
const foreignMemory = 64 << 20

// createForeign makes a guest that has nothing to do with the network, on the host that
// others' guests are restored on.
func (p *process) createForeign(a Act) error {
	pve := p.target()
	if pve == nil {
		return fmt.Errorf("no host at %s takes guests", p.name)
	}
	return pve.AddGuest(lab.GuestSpec{
		ID: a.ID, Kind: "lxc", Name: a.Guest, Memory: foreignMemory, DiskSize: mib, Storage: LocalStorage,
		Nets: map[string]string{"net0": fmt.Sprintf("name=eth0,bridge=%s,ip=dhcp", Bridge)},
	}, nil)
}

func (p *process) status() Status {
	out := Status{Site: p.name, Faults: p.faults.List(), Restores: p.restores.all(), Hosts: []HostStatus{}}
	for _, m := range p.machines {
		h := HostStatus{Name: m.Name, Power: !m.power.isOff()}
		if m.pve != nil {
			for _, v := range m.pve.Guests() {
				g := GuestStatus{
					ID: v.ID, Name: v.Name, Running: v.Running, Serving: v.Serving, Restored: v.Restored,
					Lock: v.Lock, Onboot: v.Config["onboot"] == "1",
				}
				for _, n := range v.Nets {
					g.VLANs = append(g.VLANs, n.Tag)
				}
				if addr, ok := p.addressOf(v); ok {
					g.Address = addr.String()
				}
				h.Guests = append(h.Guests, g)
			}
		}
		if m.pbs != nil {
			h.Snapshots = map[string]int{}
			for _, s := range p.lab.Names() {
				list := m.pbs.Snapshots(s)
				if len(list) > 0 {
					h.Snapshots[s] = len(list)
				}
				for _, snap := range list {
					if snap.Protected {
						h.Pinned = append(h.Pinned, s+"/"+snap.Name())
					}
				}
				sealed := failover.SealedNamespace(network.SiteID(s))
				for _, snap := range m.pbs.Snapshots(sealed) {
					if snap.Protected {
						h.Sealed = append(h.Sealed, sealed+"/"+snap.Name())
					}
				}
			}
		}
		out.Hosts = append(out.Hosts, h)
	}
	return out
}

func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

// failed is the body of every answer but 200.
type failed struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = failed{Error: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}
