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
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
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
}

// GuestStatus is one guest of a PVE.
type GuestStatus struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Serving  bool   `json:"serving"`
	Address  string `json:"address,omitempty"`
	Restored string `json:"restored,omitempty"` // volid of the backup that it came from
}

// Act is what a person may do to a guest behind everybody's back.
type Act struct {
	Guest string `json:"guest"`
	Do    string `json:"do"` // start, stop
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
	mux.HandleFunc("POST /guest", func(w http.ResponseWriter, r *http.Request) {
		var a Act
		err := decode(r, &a)
		if err == nil {
			err = p.act(a)
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
// what is off gets power.
func (p *process) clearFaults() {
	p.faults.Clear()
	for _, m := range p.machines {
		if m.pve != nil {
			m.pve.Heal()
		}
		if m.pbs != nil {
			m.pbs.Heal()
		}
		m.on(time.Now())
	}
}

func (p *process) act(a Act) error {
	for _, m := range p.machines {
		if m.pve == nil {
			continue
		}
		for _, v := range m.pve.Guests() {
			if v.Name != a.Guest {
				continue
			}
			switch a.Do {
			case "start":
				return m.pve.StartGuest(v.ID, time.Now())
			case "stop":
				return m.pve.StopGuest(v.ID, time.Now())
			}
			return fmt.Errorf("do %q: want start or stop", a.Do)
		}
	}
	return fmt.Errorf("no guest %q at %s", a.Guest, p.name)
}

func (p *process) status() Status {
	out := Status{Site: p.name, Faults: p.faults.List(), Restores: p.restores.all(), Hosts: []HostStatus{}}
	for _, m := range p.machines {
		h := HostStatus{Name: m.Name, Power: !m.power.isOff()}
		if m.pve != nil {
			for _, v := range m.pve.Guests() {
				g := GuestStatus{ID: v.ID, Name: v.Name, Running: v.Running, Serving: v.Serving, Restored: v.Restored}
				if addr, ok := p.addressOf(v); ok {
					g.Address = addr.String()
				}
				h.Guests = append(h.Guests, g)
			}
		}
		if m.pbs != nil {
			h.Snapshots = map[string]int{}
			for _, s := range p.lab.Names() {
				if n := len(m.pbs.Snapshots(s)); n > 0 {
					h.Snapshots[s] = n
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
