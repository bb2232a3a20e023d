package site

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// leases gives the guests of a host their addresses at this site. Sites share one
// loopback, so a guest cannot keep its address when it moves, as it would in its own
// VLAN: the site's DHCP gives it another, and here Proxmox reports that one.
type leases struct {
	next http.Handler
	// address returns the address of the guest with that id, false if it has none.
	address func(id int) (netip.Addr, bool)
}

var (
	interfacesPath = regexp.MustCompile(`^/api2/json/nodes/[^/]+/(?:qemu/(\d+)/agent/network-get-interfaces|lxc/(\d+)/interfaces)$`)
	restorePath    = regexp.MustCompile(`^/api2/json/nodes/[^/]+/(?:qemu|lxc)$`)
)

func (l leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := interfacesPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		l.next.ServeHTTP(w, r)
		return
	}
	id, err := strconv.Atoi(m[1] + m[2])
	if err != nil {
		l.next.ServeHTTP(w, r)
		return
	}
	addr, ok := l.address(id)
	if !ok {
		l.next.ServeHTTP(w, r)
		return
	}
	l.next.ServeHTTP(&leaseWriter{ResponseWriter: w, addr: addr}, r)
}

// leaseWriter puts the lease into the one answer that it carries.
type leaseWriter struct {
	http.ResponseWriter
	addr netip.Addr
}

// WriteReason hands a status line with its own reason on; see lab.Waiting.
func (w *leaseWriter) WriteReason(status int, reason string) {
	if rw, ok := w.ResponseWriter.(interface{ WriteReason(int, string) }); ok {
		rw.WriteReason(status, reason)
		return
	}
	w.WriteHeader(status)
}

// Write takes the whole body at once, as the fakes write it.
func (w *leaseWriter) Write(b []byte) (int, error) {
	out, err := lease(b, w.addr)
	if err != nil {
		out = b // an error text, or what a fault made of the answer: as it is
	}
	w.Header().Del("Content-Length")
	if _, err := w.ResponseWriter.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// lease replaces every address but those of the loopback interface in an answer about
// interfaces; a NIC without any gets one, as from DHCP.
func lease(body []byte, addr netip.Addr) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var answer map[string]any
	if err := dec.Decode(&answer); err != nil {
		return nil, err
	}
	rows, ok := answer["data"].([]any)
	if !ok { // a VM's agent wraps its answer
		inner, _ := answer["data"].(map[string]any)
		rows, _ = inner["result"].([]any)
	}
	for _, row := range rows {
		nic, ok := row.(map[string]any)
		if !ok || nic["name"] == "lo" {
			continue
		}
		nic["ip-addresses"] = []any{map[string]any{"ip-address": addr.String(), "ip-address-type": "ipv4", "prefix": 24}}
		if _, ct := nic["hwaddr"]; ct {
			nic["inet"] = addr.String() + "/24"
		}
	}
	return json.Marshal(answer)
}

// Restore tells that a host was asked to restore a guest.
type Restore struct {
	At   time.Time `json:"at"`
	Host string    `json:"host"`
}

// keptRestores bounds the list of a site's restores.
const keptRestores = 1000

// witnessed notes the requests that begin restores.
type witnessed struct {
	mu   sync.Mutex
	list []Restore
}

func (l *witnessed) watch(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && restorePath.MatchString(r.URL.Path) {
			l.add(Restore{At: time.Now(), Host: host})
		}
		next.ServeHTTP(w, r)
	})
}

func (l *witnessed) add(r Restore) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
	if n := len(l.list); n > keptRestores {
		l.list = l.list[n-keptRestores:]
	}
}

func (l *witnessed) all() []Restore {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Restore{}, l.list...)
}
