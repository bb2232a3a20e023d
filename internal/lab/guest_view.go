package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Attachment is one NIC of a guest and what it is plugged into.
type Attachment struct {
	Key       string // "net0"
	Bridge    string
	Tag       int    // 0 = untagged
	Address   string // CIDR, "" = unknown
	Connected bool   // the link is up and the bridge exists and carries the tag
	name, mac string
}

// DiskView is one disk of a guest.
type DiskView struct {
	Key, Storage, Volume string
	Size                 int64
}

// GuestView is a guest as it was when it was asked for. Data, Disk and ServeHTTP look at the guest as it
// is when they are called.
type GuestView struct {
	ID        int
	Kind      string // "qemu" or "lxc"
	Name      string // in the configuration
	Inside    string // what the system on the disk calls itself; "" = nothing bootable
	Site      string
	Running   bool
	Serving   bool // running, and its system is up
	Uptime    time.Duration
	Lock      string
	Config    map[string]string
	Nets      []Attachment
	Disks     []DiskView
	HostNames []string // public names its web server answers
	Restored  string   // volid of the backup that this copy was restored from, "" = original

	host *PVE
}

// Guest returns the guest of an id.
func (p *PVE) Guest(id int) (GuestView, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.st.Guests[id]
	if !ok {
		return GuestView{}, false
	}
	return p.view(g), true
}

// Guests returns all guests, by id.
func (p *PVE) Guests() []GuestView {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []GuestView{}
	for _, id := range p.guestIDs() {
		out = append(out, p.view(p.st.Guests[id]))
	}
	return out
}

// Answering marks the public names that a running guest of this host answers.
func (p *PVE) Answering(names map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.st.Guests {
		if p.serves(g) {
			for _, n := range g.OS.HostNames {
				names[n] = true
			}
		}
	}
}

func (p *PVE) view(g *guest) GuestView {
	v := GuestView{
		ID: g.ID, Kind: g.Kind, Name: g.name(), Inside: g.OS.Name, Site: p.cfg.Site, Running: g.Running,
		Serving: p.serves(g), Uptime: time.Duration(p.guestUptime(g)) * time.Second, Lock: g.Conf["lock"],
		Config: maps.Clone(g.Conf), HostNames: slices.Clone(g.OS.HostNames), Restored: g.Restored, host: p,
	}
	for _, n := range g.nics() {
		b, ok := p.bridge(n.Bridge)
		n.Connected = n.Connected && ok && p.bridgeError(nic{bridge: n.Bridge, tag: tagText(n.Tag)}) == "" && b.carries(tagText(n.Tag))
		v.Nets = append(v.Nets, n)
	}
	for _, d := range g.Disks {
		v.Disks = append(v.Disks, DiskView{Key: d.Key, Storage: d.Storage, Volume: d.Volume, Size: d.Size})
	}
	return v
}

func (p *PVE) serves(g *guest) bool {
	return !p.st.Off && g.booted(p.st.Now) && g.OS.Name != "" && !p.stalled(g)
}

func tagText(tag int) string {
	if tag == 0 {
		return ""
	}
	return strconv.Itoa(tag)
}

// nics returns the guest's NICs in order. A CT's address is in its configuration; a VM's in its disk,
// unless cloud-init sets it.
func (g *guest) nics() []Attachment {
	var out []Attachment
	for i := range 32 {
		key := "net" + strconv.Itoa(i)
		v, ok := g.Conf[key]
		if !ok {
			continue
		}
		n := parseNIC(v)
		a := Attachment{Key: key, Bridge: n.bridge, Address: g.OS.Addresses[key], Connected: !n.down, name: n.name, mac: n.mac}
		if tag, err := strconv.Atoi(n.tag); err == nil {
			a.Tag = tag
		}
		ip := n.ip
		if g.Kind == qemu {
			ip = parseNIC(g.Conf["ipconfig"+strconv.Itoa(i)]).ip
		}
		if strings.Contains(ip, "/") {
			a.Address = ip
		}
		out = append(out, a)
	}
	return out
}

// read calls f with the guest as it is now; it does nothing when the guest is gone.
func (v GuestView) read(f func(p *PVE, g *guest)) {
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	if g, ok := v.host.st.Guests[v.ID]; ok {
		if v.host.cfg.Clock != nil {
			v.host.advance(v.host.cfg.Clock())
		}
		f(v.host, g)
	}
}

// Data returns the lines in the guest's data area, oldest first, without newlines.
func (v GuestView) Data() []string {
	var text []byte
	v.read(func(_ *PVE, g *guest) { text = slices.Clone(g.Text) })
	return splitLines(text)
}

func splitLines(text []byte) []string {
	s := strings.TrimSuffix(string(text), "\n")
	if s == "" {
		return []string{}
	}
	return strings.Split(s, "\n")
}

// Disk returns the whole content of a disk, "" meaning the first one. The error is that of the store, or
// tells that there is no such disk.
func (v GuestView) Disk(key string) ([]byte, error) {
	var (
		area []byte
		body []ChunkID
		err  = fmt.Errorf("read disk %q of guest %d: no such disk", key, v.ID)
	)
	v.read(func(_ *PVE, g *guest) {
		for i, d := range g.Disks {
			if key == "" || d.Key == key {
				body, err = d.Body, nil
				if i == 0 {
					area, err = encodeArea(d.Size, g.OS, g.Text)
				}
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	out := area
	for _, id := range body {
		chunk, err := v.host.local.Get(id)
		if err != nil {
			return nil, fmt.Errorf("read disk %q of guest %d: %w", key, v.ID, err)
		}
		out = append(out, chunk...)
	}
	return out, nil
}

// ServeHTTP is the guest's web service: GET / (plain text), /status and /status.php (JSON), /data (all
// lines), POST /data (a line is written, with the first line of the body in it). A guest that does not
// run or is still booting answers 503, which a driver should turn into a closed port; see Serving.
func (v GuestView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	note := ""
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, 4<<10))
		if err != nil {
			http.Error(w, "read body: "+err.Error(), http.StatusBadRequest)
			return
		}
		note, _, _ = strings.Cut(strings.ReplaceAll(string(body), "\x00", ""), "\n")
	}
	var (
		name  string
		lines []string
	)
	v.read(func(p *PVE, g *guest) {
		if !p.serves(g) {
			return
		}
		if r.Method == http.MethodPost && r.URL.Path == "/data" {
			p.note(g, note)
		}
		name, lines = g.OS.Name, splitLines(g.Text)
	})
	if name == "" {
		http.Error(w, "guest is not running", http.StatusServiceUnavailable)
		return
	}
	v.page(w, r, name, lines)
}

// Write has a user write a line with a note in it, as POST /data does; it says whether the guest took it.
func (v GuestView) Write(note string) (taken bool) {
	v.read(func(p *PVE, g *guest) {
		if taken = p.serves(g); taken {
			p.note(g, note)
		}
	})
	return taken
}

// note appends a user's line.
func (p *PVE) note(g *guest, note string) {
	_, n := lastLine(g.Text)
	g.Text = appendBounded(g.Text, dataLine(p.st.Now, g.OS.Name, n+1, note), textRoom(g.Disks[0].Size))
	p.dirty = true
}

func (v GuestView) page(w http.ResponseWriter, r *http.Request, name string, lines []string) {
	first, last := "", ""
	if len(lines) > 0 {
		first, last = lines[0], lines[len(lines)-1]
	}
	isData := r.URL.Path == "/data"
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Method != http.MethodPost || !isData):
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case isData:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	case r.URL.Path == "/status" || r.URL.Path == "/status.php":
		w.Header().Set("Content-Type", "application/json")
		// Strings, an int and a bool always encode; a client that left needs no answer.
		_ = json.NewEncoder(w).Encode(map[string]any{"guest": name, "site": v.Site, "installed": true, "lines": len(lines), "first": first, "last": last})
	case r.URL.Path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "guest: %s\nsite: %s\nlines: %d\nlast: %s\nversion data\n", name, v.Site, len(lines), last)
	default:
		http.NotFound(w, r)
	}
}
